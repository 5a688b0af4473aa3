//! What is recorded of a victim: who it is, and each of its runs in each company.

use serde::{Deserialize, Serialize};

use crate::counters::{CountSide, Event, Refusal};

/// What ran on the victim's CPU besides the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Company {
    /// Nothing of ours: the programs are loaded and rest.
    Alone,
    /// The empty program, as often as the programs would: what interrupting alone costs.
    Empty,
    /// Every program of the case, once with every burst.
    Programs,
    /// Other programs come and go; those of the case rest.
    Churn,
    /// Every program of the case hangs on a hook that the victim itself hits.
    Hooked,
}

impl Company {
    /// All of them, in the order of tables; the last two only where they are asked for.
    pub const ALL: [Self; 5] = [Self::Alone, Self::Empty, Self::Programs, Self::Churn, Self::Hooked];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Empty => "interrupted",
            Self::Programs => "beside",
            Self::Churn => "churn",
            Self::Hooked => "hooked",
        }
    }
}

/// Who the victim is, and what is counted of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
    /// The command's name, or that of a victim of the tool's own.
    pub name: String,
    pub argv: Vec<String>,
    /// Counted in the victim and all it starts, in the order of the counts; user and kernel side in different repetitions.
    pub events: Vec<VictimEvent>,
    pub refused: Vec<Refusal>,
    /// From one burst of the load to the next.
    pub rhythm_ns: u64,
    /// What the programs also hang on, so that the victim itself runs them; `None` if that was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
}

/// One event and the side it is counted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VictimEvent {
    pub side: CountSide,
    pub event: Event,
}

/// One run of the victim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repetition {
    pub company: Company,
    /// From its start to its end.
    pub wall_ns: u64,
    /// Time on a CPU of it and all it started and waited for; the load's is not in it.
    pub cpu_ns: u64,
    pub exit_code: i32,
    /// In the order of the victim's events; `None` where this repetition counts the other side, or was multiplexed.
    pub counts: Vec<Option<u64>>,
    /// Bursts of the load, what was executed, and how long they took. On a hook the programs count themselves, for whoever hit it.
    pub bursts: u64,
    pub executions: u64,
    pub busy_ns: u64,
}

/// What a machine says of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VictimRun {
    pub wall_ns: u64,
    pub cpu_ns: u64,
    pub exit_code: i32,
    pub counts: Vec<Option<u64>>,
}
