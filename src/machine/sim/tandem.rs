//! Victims on the simulated CPU: code of their own on pages of their own, fetched in turns with the load's bursts.

use std::cell::RefCell;
use std::rc::Rc;

use super::cpu::Cpu;
use crate::counters::CountSide;
use crate::machine::{MachineError, Result, Tandem};
use crate::trial::tandem::RHYTHM;
use crate::trial::victim::{Victim, VictimRun};
use crate::victim::{Asked, VictimKind};

/// Turns of the victim in one run; between two of them a burst.
const TURNS: u32 = 20;
/// Rounds over its pages in one turn.
const ROUNDS: u32 = 8;

/// One victim.
#[derive(Debug)]
pub struct SimTandem {
    cpu: Rc<RefCell<Cpu>>,
    victim: Victim,
    pages: u32,
}

impl SimTandem {
    /// A victim of the tool's own; a command cannot be run on a CPU that does not exist.
    pub fn open(cpu: Rc<RefCell<Cpu>>, asked: &Asked) -> Result<Self> {
        let Asked::BuiltIn(kind) = asked else {
            return Err(MachineError::bad_request(
                "--machine sim runs no command: use --victim, or leave --machine out",
            ));
        };
        // Pages of code, as far as such a small iTLB can tell the kinds apart.
        let pages = match kind {
            VictimKind::Code => 100,
            VictimKind::Syscall | VictimKind::Memory => 4,
            VictimKind::Pipe | VictimKind::Datagram => 12,
        };
        let victim = Victim {
            name: kind.to_string(),
            argv: ["simulated", &kind.to_string()].map(str::to_owned).to_vec(),
            rhythm_ns: RHYTHM.as_nanos() as u64,
            ..Victim::default()
        };
        Ok(Self { cpu, victim, pages })
    }
}

impl Tandem for SimTandem {
    fn victim(&self) -> &Victim {
        &self.victim
    }

    fn run(&mut self, _side: CountSide, mut burst: Option<&mut dyn FnMut() -> Result<()>>) -> Result<VictimRun> {
        let mut cpu_ns = 0;
        for _ in 0..TURNS {
            cpu_ns += self.cpu.borrow_mut().run_victim(self.pages, ROUNDS);
            if let Some(burst) = burst.as_mut() {
                burst()?;
            }
        }
        // The waiting in between is no CPU time.
        let wall_ns = cpu_ns + u64::from(TURNS) * self.victim.rhythm_ns;
        Ok(VictimRun { wall_ns, cpu_ns, exit_code: 0, counts: Vec::new() })
    }
}
