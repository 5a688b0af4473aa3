use std::collections::BTreeSet;

use super::tables::{self, checked, mask};
use super::*;

fn id(vendor: &str, family: u32, model: u32, stepping: u32) -> CpuId {
    CpuId { vendor: vendor.to_owned(), family, model, stepping }
}

fn code(cpu: &str, core: Core, role: Role) -> Option<(u64, u64)> {
    let catalog = Catalog::get();
    catalog.entry(catalog.named(cpu).unwrap(), core, role).map(|entry| (entry.config, entry.config1))
}

#[test]
fn every_line_of_the_tables_is_understood() {
    let bad = |text, read: fn(&[&'static str]) -> bool| {
        checked(text, move |line| read(line).then_some(())).into_iter().find_map(Result::err)
    };
    assert_eq!(bad(tables::CPUS, |line| tables::cpu(line).is_some()), None);
    assert_eq!(bad(tables::EVENTS, |line| tables::entry(line).is_some()), None);
    assert_eq!(bad(tables::GENERIC, |line| tables::generic(line).is_some()), None);
    assert_eq!(bad(tables::ROLES, |line| tables::meaning(line).is_some()), None);
}

#[test]
fn a_cpu_is_found_by_vendor_family_model_and_where_it_matters_stepping() {
    let name = |id: &CpuId| Catalog::get().identify(id).map(|cpu| cpu.name);
    let intel = |model, stepping| name(&id("GenuineIntel", 6, model, stepping));
    assert_eq!(intel(0x3c, 3), Some("haswell"));
    assert_eq!(intel(0x55, 4), Some("skylakex"));
    assert_eq!(intel(0x55, 7), Some("cascadelakex"));
    assert_eq!(intel(0x97, 2), Some("alderlake"));
    assert_eq!(intel(0xad, 1), Some("graniterapids"));
    assert_eq!((intel(0xc5, 0), intel(0xc6, 2)), (Some("arrowlake"), Some("arrowlake")));
    assert_eq!(intel(0xb5, 0), Some("meteorlake"), "Arrow Lake-U has Meteor Lake's cores");
    assert_eq!((intel(0xcc, 0), intel(0xdd, 0)), (Some("pantherlake"), Some("clearwaterforest")));
    assert_eq!(name(&id("GenuineIntel", 18, 1, 0)), Some("novalake"));
    assert_eq!(name(&id("GenuineIntel", 19, 1, 0)), None, "Diamond Rapids is younger than the list");
    assert_eq!(intel(0x2a, 7), None, "Sandy Bridge is older than the list");
    for (family, model, cpu) in
        [(23, 0x01, "amdzen1"), (23, 0x31, "amdzen2"), (25, 0x01, "amdzen3"), (25, 0x11, "amdzen4")]
    {
        assert_eq!(name(&id("AuthenticAMD", family, model, 0)), Some(cpu));
    }
    for (model, cpu) in [(0x02, "amdzen5"), (0x44, "amdzen5"), (0x70, "amdzen5"), (0x50, "amdzen6"), (0x80, "amdzen6")]
    {
        assert_eq!(name(&id("AuthenticAMD", 26, model, 1)), Some(cpu), "{model:#x}");
    }
    assert_eq!(name(&id("HygonGenuine", 24, 0, 0)), None);
}

#[test]
fn no_model_is_two_cpus() {
    for (at, cpu) in Catalog::get().cpus.iter().enumerate() {
        for model in 0..256 {
            for stepping in 0..16 {
                let id = id(cpu.vendor, cpu.family, model, stepping);
                let also = Catalog::get().cpus[at + 1..].iter().find(|other| cpu.is(&id) && other.is(&id));
                assert_eq!(also, None, "{} and {id:?}", cpu.name);
            }
        }
    }
}

#[test]
fn the_codes_are_those_of_the_vendors_manuals() {
    for (cpu, core, role, expected) in [
        ("haswell", Core::Only, Role::WalkCycles, Some((0x1085, 0))),
        ("skylake", Core::Only, Role::WalksCompleted, Some((0xe85, 0))),
        ("skylake", Core::Only, Role::WalkCycles, Some((0x100_1085, 0))),
        ("skylake", Core::Only, Role::RetiredStlbMisses, Some((0x1c6, 0x15))),
        ("icelakex", Core::Only, Role::WalksStarted, None),
        ("alderlake", Core::Performance, Role::WalksCompleted, Some((0xe11, 0))),
        ("alderlake", Core::Efficient, Role::WalksCompleted, Some((0xe85, 0))),
        ("graniterapids", Core::Only, Role::RetiredItlbMisses, Some((0x3c6, 0x14))),
        ("sierraforest", Core::Only, Role::SlotsLostItlb, Some((0x1071, 0))),
        ("amdzen1", Core::Only, Role::WalksCompleted, Some((0x85, 0))),
        ("amdzen3", Core::Only, Role::WalksCompleted, Some((0xff85, 0))),
        ("amdzen3", Core::Only, Role::L1iMisses, Some((0x1_0000_188e, 0))),
        ("amdzen5", Core::Only, Role::WalksCoalesced4k, Some((0x885, 0))),
        ("amdzen2", Core::Only, Role::WalksCoalesced4k, None),
        ("meteorlake", Core::Performance, Role::StlbHits, Some((0x2011, 0))),
        ("lunarlake", Core::Performance, Role::StlbHits, Some((0x100_0000_2011, 0))),
        ("pantherlake", Core::Performance, Role::RetiredItlbMisses, Some((0x3c6, 0x14))),
        ("pantherlake", Core::Efficient, Role::RetiredStlbMisses, Some((0x20c9, 0))),
        ("clearwaterforest", Core::Only, Role::WalksCompleted, Some((0xe85, 0))),
        ("amdzen5", Core::Only, Role::L1iMisses, Some((0x1_0000_188e, 0))),
        ("amdzen6", Core::Only, Role::L1iMisses, Some((0x2_0000_df9c, 0))),
        ("amdzen6", Core::Only, Role::L2BtbCorrections, Some((0x8b, 0))),
        ("amdzen6", Core::Only, Role::DecoderOverrides, Some((0x91, 0))),
    ] {
        assert_eq!(code(cpu, core, role), expected, "{cpu} {role}");
    }
}

#[test]
fn every_core_has_walks_generic_names_and_the_rivals() {
    let catalog = Catalog::get();
    for cpu in catalog.cpus() {
        for &core in &cpu.cores {
            let roles: BTreeSet<Role> = catalog.entries(cpu, core).map(|entry| entry.role).collect();
            assert_eq!(roles.len(), catalog.entries(cpu, core).count(), "{} has a role twice", cpu.name);
            let walks = [Role::WalksCompleted, Role::WalksCompleted4k];
            assert!(walks.iter().any(|role| roles.contains(role)), "{}", cpu.name);
            assert!(roles.contains(&Role::BranchMisses), "{}", cpu.name);
            assert!(roles.contains(&Role::L1iMisses), "{}", cpu.name);
            let predictor = [Role::Resteers, Role::DecoderOverrides];
            assert!(predictor.iter().any(|role| roles.contains(role)), "{}", cpu.name);
            assert!(catalog.generic(cpu, core).is_some(), "{} {core:?}", cpu.name);
        }
    }
}

#[test]
fn amd_from_zen_2_on_counts_all_that_its_true_rate_needs() {
    let catalog = Catalog::get();
    for cpu in catalog.cpus().iter().filter(|cpu| cpu.vendor == "AuthenticAMD") {
        let config = |role| catalog.entry(cpu, Core::Only, role).map(|entry| entry.config & 0xff);
        let found = [Role::StlbHits, Role::WalksCompleted, Role::FetchHits].map(config);
        assert_eq!(found, [Some(0x84), Some(0x85), Some(0x94)], "{}", cpu.name);
    }
}

#[test]
fn the_generic_names_are_events_of_the_catalogue_wherever_it_has_the_code() {
    let catalog = Catalog::get();
    let role = |cpu: &str, code: Option<u64>| {
        let cpu = catalog.named(cpu).unwrap();
        catalog.entries(cpu, cpu.cores[0]).find(|entry| Some(entry.config) == code).map(|entry| entry.role)
    };
    for (cpu, loads, misses) in [
        ("haswell", Some(Role::StlbHits), Some(Role::WalksStarted)),
        ("skylake", Some(Role::StlbHits), Some(Role::WalksCompleted)),
        ("icelake", None, Some(Role::WalksCompleted)),
        ("snowridgex", None, Some(Role::ItlbFills)),
        ("amdzen2", Some(Role::StlbHits), Some(Role::WalksCompleted)),
    ] {
        let generic = catalog.generic(catalog.named(cpu).unwrap(), Core::Only).unwrap();
        assert_eq!((role(cpu, generic.loads), role(cpu, generic.misses)), (loads, misses), "{cpu}");
    }
}

#[test]
fn every_role_says_what_it_counts_for_every_vendor_that_has_it() {
    let catalog = Catalog::get();
    for cpu in catalog.cpus() {
        for entry in cpu.cores.iter().flat_map(|&core| catalog.entries(cpu, core)) {
            let meaning = catalog.meaning(entry.role, cpu.vendor);
            assert!(meaning.is_some_and(|m| !m.counts.is_empty() && !m.not.is_empty()), "{}", entry.role);
        }
    }
    for &role in Role::ALL {
        let known = ["GenuineIntel", "AuthenticAMD"].iter().any(|vendor| catalog.meaning(role, vendor).is_some());
        assert!(known, "{role}");
    }
}

#[test]
fn counters_an_event_is_bound_to_are_a_mask() {
    let catalog = Catalog::get();
    let skylake = catalog.named("skylake").unwrap();
    assert_eq!(catalog.entry(skylake, Core::Only, Role::WalksCompleted).unwrap().counters, 0xf);
    assert_eq!((mask("0,1,7"), mask("-"), mask("x"), mask("64")), (Some(0x83), Some(u64::MAX), None, None));
}
