//! Rights of text and of its aliases.

use super::Findings;
use crate::placement::Addr;
use crate::placement::image::PAGE_BYTES;
use crate::placement::mapping::PageSize;
use crate::selftest::subject::Facts;
use crate::selftest::trace::{Event, Mapped, Step, cannot};

/// Pages of images, and of modules in the same area, are read-only and executable, their aliases in the direct map are not executable.
pub fn protection(_: &Facts, steps: &[Step]) -> Findings {
    let mut found = Findings::default();
    for step in steps {
        let Event::Mapped(pages) = &step.event else { continue };
        for page in pages {
            let at = Addr(page.page * PAGE_BYTES);
            match page.text {
                None => found.problem(format!("the code at {at} is not mapped")),
                Some(Mapped { writable, executable, size }) => {
                    found.count(if page.of_module { "pages of modules" } else { "pages" }, 1);
                    found.count(if size == PageSize::Small { "by 4 KiB" } else { "by 2 MiB or more" }, 1);
                    if writable {
                        found.problem(format!("the code at {at} is writable"));
                    }
                    if !executable {
                        found.problem(format!("the code at {at} is not executable"));
                    }
                }
            }
            if let Some(alias) = page.alias {
                found.count("aliases", 1);
                if alias.executable {
                    found.problem(format!("the alias of {at} in the direct map is executable"));
                }
            }
        }
    }
    if !found.counts.contains_key("pages of modules") {
        found.notes = vec!["no module is loaded here: nothing lies beside module text".to_owned()];
    }
    found.needs("pages", cannot(steps).unwrap_or("no page was looked at"))
}

/// No page is writable and executable at any sampled moment while programs are loaded and unloaded.
pub fn never_both(_: &Facts, steps: &[Step]) -> Findings {
    let mut found = Findings::default();
    for step in steps {
        let Event::Watched(watched) = &step.event else { continue };
        found.count("looks", watched.looks);
        found.count("pages seen", watched.pages);
        for page in &watched.writable_executable {
            found.problem(format!("{} was writable and executable", Addr(page * PAGE_BYTES)));
        }
    }
    found.count("loads meanwhile", steps.iter().filter(|step| step.loaded().is_some()).count() as u64);
    found.needs("pages seen", cannot(steps).unwrap_or("the watcher saw no page"))
}
