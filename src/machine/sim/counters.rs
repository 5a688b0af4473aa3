//! Counter groups of the simulated CPU.

use std::cell::RefCell;
use std::rc::Rc;

use crate::counters::{Event, EventCode, Group, Reading, Refusal, Role};
use crate::machine::{Counters, Result};

use super::cpu::Cpu;

/// Counters of one CPU.
#[derive(Debug)]
pub struct SimCounters {
    cpu: Rc<RefCell<Cpu>>,
    groups: Vec<Group>,
    refused: Vec<Refusal>,
}

impl SimCounters {
    /// A pinned hardware group and a software group, under the codes that Linux gives the generic events and Skylake the others.
    pub fn new(cpu: Rc<RefCell<Cpu>>) -> Self {
        let hardware = vec![
            event(Role::Cycles, "cycles", 0, 0),
            event(Role::Instructions, "instructions", 0, 1),
            event(Role::ItlbMisses, "iTLB-load-misses", 3, 0x10004),
            event(Role::WalksCompleted, "itlb_misses.walk_completed", 4, 0xe85),
            event(Role::WalkCycles, "itlb_misses.walk_active", 4, 0x100_1085),
            event(Role::StlbHits, "itlb_misses.stlb_hit", 4, 0x2085),
        ];
        let software = vec![event(Role::TaskClock, "task-clock", 1, 1)];
        let groups = vec![
            Group { name: "hardware".to_owned(), events: hardware, pinned: true },
            Group { name: "software".to_owned(), events: software, pinned: false },
        ];
        let refused = vec![Refusal {
            event: event(Role::DtlbMisses, "dTLB-load-misses", 3, 0x10003),
            errno: "ENOENT".to_owned(),
            meaning: "the simulated CPU has no data TLB".to_owned(),
        }];
        Self { cpu, groups, refused }
    }
}

fn event(role: Role, name: &str, pmu_type: u32, config: u64) -> Event {
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
        Ok(())
    }
}
