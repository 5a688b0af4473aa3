//! What a host can count, as far as it is known before anything is opened.

use std::path::Path;

use super::catalog::{Catalog, Core, Cpu, CpuId, Entry};
use super::layout::Layout;
use super::pmu::Pmus;
use super::syntax::{Source, Wanted};
use super::{EventCode, Role};

/// PMUs, catalogue and counters of the CPU the windows run on.
#[derive(Clone, Debug)]
pub struct Host {
    pub pmus: Pmus,
    /// The CPU pinned to.
    pub cpu: u32,
    pub layout: Layout,
    known: Option<(&'static Cpu, Core)>,
}

impl Host {
    /// Reads the PMUs under `sysfs`; `layout` is what is left beside the NMI watchdog.
    pub fn read(sysfs: &Path, id: Option<&CpuId>, cpu: u32, layout: Layout) -> Self {
        let pmus = Pmus::read(sysfs);
        let known = id.and_then(|id| Catalog::get().identify(id)).and_then(|found| {
            let core = match pmus.core(cpu).map(|pmu| pmu.name.as_str()) {
                Some("cpu_core") => Core::Performance,
                Some("cpu_atom") => Core::Efficient,
                Some("cpu") | None => Core::Only,
                // `cpu_lowpower` of Arrow Lake-H: cores of another design, which the list of the model leaves out.
                Some(_) => return None,
            };
            // A hybrid model whose kernel shows one PMU `cpu` runs without its E-cores.
            let core = if found.cores.contains(&core) { core } else { *found.cores.last()? };
            Some((found, core))
        });
        Self { pmus, cpu, layout, known }
    }

    /// Whether the catalogue knows this model.
    pub fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// The catalogue's event of that name, the vendor's or a role's.
    pub fn entry(&self, name: &str) -> Option<&'static Entry> {
        let (cpu, core) = self.known?;
        let named = Catalog::get().entries(cpu, core).find(|entry| entry.name.eq_ignore_ascii_case(name));
        named.or_else(|| Catalog::get().entry(cpu, core, Role::named(name)?))
    }

    /// The catalogue's event for `role`.
    pub fn role(&self, role: Role) -> Option<Wanted> {
        let (cpu, core) = self.known?;
        let entry = Catalog::get().entry(cpu, core, role).filter(|entry| self.lacks(entry).is_none())?;
        Some(self.of_entry(entry))
    }

    /// Why the running kernel cannot count an event of the catalogue; `None` if it can.
    pub fn lacks(&self, entry: &Entry) -> Option<String> {
        let pmu = self.pmus.core(self.cpu)?;
        let lost = pmu.without_place(entry.config);
        (lost != 0).then(|| {
            format!(
                "PMU `{}` has no place for bits {lost:#x} of {}, and the kernel would count another event without them; \
                 use a newer kernel",
                pmu.name,
                entry.raw()
            )
        })
    }

    /// Events of the catalogue for `roles` that the running kernel cannot count, and why.
    pub fn lacking(&self, roles: &[Role]) -> Vec<(Wanted, String)> {
        let Some((cpu, core)) = self.known else { return Vec::new() };
        let entries = roles.iter().filter_map(|&role| Catalog::get().entry(cpu, core, role));
        entries.filter_map(|entry| Some((self.of_entry(entry), self.lacks(entry)?))).collect()
    }

    /// An event of the catalogue, under the PMU of the CPU pinned to.
    pub fn of_entry(&self, entry: &Entry) -> Wanted {
        Wanted {
            role: entry.role,
            name: entry.name.to_owned(),
            code: entry.code(self.raw_type()),
            source: Source::Core,
            side: None,
            counters: entry.counters,
        }
    }

    /// `perf_event_attr.type` of raw codes: that of the core's PMU, which on hybrid parts differs by core.
    pub fn raw_type(&self) -> u32 {
        self.pmus.core(self.cpu).map_or(EventCode::RAW, |pmu| pmu.pmu_type)
    }

    /// The code of a generic event; on a hybrid part with the PMU in the upper half (`PERF_PMU_TYPE_SHIFT`).
    pub fn generic_code(&self, pmu_type: u32, config: u64) -> EventCode {
        let is_core = [EventCode::HARDWARE, EventCode::HW_CACHE].contains(&pmu_type);
        let hybrid = self.pmus.core(self.cpu).filter(|pmu| is_core && pmu.name != "cpu");
        EventCode::new(pmu_type, config | hybrid.map_or(0, |pmu| u64::from(pmu.pmu_type) << 32))
    }
}
