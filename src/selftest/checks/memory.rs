//! Bytes of images, and of their neighbours.

use std::collections::HashMap;

use super::Findings;
use super::layout::inspected;
use crate::placement::Image;
use crate::selftest::operation::Op;
use crate::selftest::subject::Facts;
use crate::selftest::trace::{Event, Step, cannot};

/// What lies in memory is what bpf_prog_info says was compiled.
pub fn bytes(_: &Facts, steps: &[Step]) -> Findings {
    let mut found = Findings::default();
    for inspected in inspected(steps) {
        found.count("images", 1);
        found.count("bytes", u64::from(inspected.image.len));
        if inspected.differing > 0 {
            let image = inspected.image;
            found.problem(format!(
                "{} of {} bytes at {} are not the program's",
                inspected.differing, image.len, image.addr
            ));
        }
    }
    found.needs("images", cannot(steps).unwrap_or("no image was read"))
}

/// An image stays what it was as long as it is loaded, whatever goes beside it.
pub fn neighbours(_: &Facts, steps: &[Step]) -> Findings {
    let mut found = Findings::default();
    let mut digests: HashMap<(u16, u16), HashMap<Image, u32>> = HashMap::new();
    for step in steps {
        match (step.op, &step.event) {
            (Op::Load { slot, .. }, Event::Loaded(_)) => drop(digests.remove(&(step.lane, slot))),
            (Op::Inspect { slot }, Event::Inspected(images)) => {
                let known = digests.entry((step.lane, slot)).or_default();
                for inspected in images {
                    if known.insert(inspected.image, inspected.digest).is_some_and(|before| before != inspected.digest)
                    {
                        found.problem(format!("the bytes at {} changed", inspected.image.addr));
                    }
                    found.count("looks", 1);
                }
            }
            (Op::Unload { .. }, Event::Done) => found.count("neighbours freed", 1),
            _ => {}
        }
    }
    found.needs("looks", cannot(steps).unwrap_or("no image was read"))
}
