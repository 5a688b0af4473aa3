//! Counter groups of the simulated CPU.

use std::cell::RefCell;
use std::rc::Rc;

use crate::counters::{Choice, CountSide, Event, EventCode, Events, Group, Reading, Refusal, Role};
use crate::machine::{Counters, MachineError, Result};

use super::cpu::Cpu;

/// What the CPU counts, under the codes that Linux gives the generic events and Skylake the others: role, name, type, config.
const HARDWARE: [(Role, &str, u32, u64); 6] = [
    (Role::Cycles, "cycles", 0, 0),
    (Role::Instructions, "instructions", 0, 1),
    (Role::ItlbMisses, "iTLB-load-misses", 3, 0x10004),
    (Role::WalksCompleted, "itlb_misses.walk_completed", 4, 0xe85),
    (Role::WalkCycles, "itlb_misses.walk_active", 4, 0x100_1085),
    (Role::StlbHits, "itlb_misses.stlb_hit", 4, 0x2085),
];
/// The first so many are generic.
const GENERIC: usize = 3;
const SOFTWARE: [(Role, &str, u32, u64); 1] = [(Role::TaskClock, "task-clock", 1, 1)];

/// Counters of one CPU.
#[derive(Debug)]
pub struct SimCounters {
    cpu: Rc<RefCell<Cpu>>,
    groups: Vec<Group>,
    refused: Vec<Refusal>,
    /// Which of the CPU's hardware counts are asked for, in their order.
    hardware: Vec<usize>,
}

impl SimCounters {
    /// A pinned hardware group of what is asked for, and a software group.
    pub fn new(cpu: Rc<RefCell<Cpu>>, choice: &Choice) -> Result<Self> {
        if choice.side == CountSide::User {
            return Err(MachineError::bad_request("--count user: the simulated CPU runs kernel code only"));
        }
        let hardware = match &choice.events {
            Events::Auto => (0..HARDWARE.len()).collect(),
            Events::Generic => (0..GENERIC).collect(),
            Events::List(list) => chosen(list)?,
        };
        let groups = vec![
            Group {
                name: "hardware".to_owned(),
                events: hardware.iter().map(|&at| event(HARDWARE[at])).collect(),
                pinned: true,
                side: Some(choice.side),
                ..Group::default()
            },
            Group { name: "software".to_owned(), events: SOFTWARE.map(event).to_vec(), ..Group::default() },
        ];
        let refused = vec![Refusal {
            event: event((Role::DtlbMisses, "dTLB-load-misses", 3, 0x10003)),
            errno: "ENOENT".to_owned(),
            meaning: "the simulated CPU has no data TLB".to_owned(),
        }];
        Ok(Self { cpu, groups, refused, hardware })
    }
}

/// Places in [`HARDWARE`] of the events that a list names.
fn chosen(list: &str) -> Result<Vec<usize>> {
    let mut places = Vec::new();
    for word in list.split(',').map(str::trim).filter(|word| *word != SOFTWARE[0].1) {
        let place = HARDWARE.iter().position(|(role, name, ..)| *name == word || role.name() == word);
        let place = place.filter(|place| !places.contains(place)).ok_or_else(|| {
            let names: Vec<&str> = HARDWARE.iter().chain(&SOFTWARE).map(|(_, name, ..)| *name).collect();
            let names = names.join(", ");
            MachineError::bad_request(format!(
                "--counters: no event `{word}`: the simulated CPU has, once each, {names}"
            ))
        })?;
        places.push(place);
    }
    Ok(places)
}

fn event((role, name, pmu_type, config): (Role, &str, u32, u64)) -> Event {
    Event { role, name: name.to_owned(), code: EventCode::new(pmu_type, config) }
}

impl Counters for SimCounters {
    fn groups(&self) -> &[Group] {
        &self.groups
    }

    fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    fn enable(&mut self) -> Result<()> {
        self.cpu.borrow_mut().enable();
        Ok(())
    }

    fn disable(&mut self) -> Result<()> {
        self.cpu.borrow_mut().disable();
        Ok(())
    }

    fn read(&mut self, into: &mut Vec<Reading>) -> Result<()> {
        into.clear();
        into.extend(self.cpu.borrow().readings().into_iter().cloned());
        let all = std::mem::take(&mut into[0].counts);
        into[0].counts = self.hardware.iter().map(|&at| all[at]).collect();
        Ok(())
    }
}
