//! `itlbench list triggers`: each trigger, tried here with one program.

use super::machines;
use crate::workload::TriggerKind;

/// What trying a trigger gave: nanoseconds of an empty run and the most programs, or why it is not offered.
type Tried = Result<(f64, Option<u32>), String>;

/// Tries every trigger.
pub fn text() -> String {
    TriggerKind::ALL.iter().map(|&kind| entry(kind, &machines::try_trigger(kind))).collect()
}

fn entry(kind: TriggerKind, tried: &Tried) -> String {
    let found = match tried {
        Ok((empty_ns, most)) => {
            let most = most.map_or_else(String::new, |most| format!("; at most {most} programs"));
            let unit =
                if matches!(kind, TriggerKind::Socket | TriggerKind::Syscall) { "each program" } else { "a run" };
            format!("offered here; {empty_ns:.0} ns {unit} with an empty program{most}")
        }
        Err(reason) => format!("not offered here: {reason}"),
    };
    format!("{kind}: {}\n  {found}\n", kind.meaning())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_is_listed_with_its_cost_or_with_the_reason_why_not() {
        let offered = entry(TriggerKind::Fentry, &Ok((81.4, Some(1344))));
        assert!(
            offered.ends_with("\n  offered here; 81 ns a run with an empty program; at most 1344 programs\n"),
            "{offered}"
        );
        let refused = entry(TriggerKind::Kprobe, &Err("no such thing; build it".to_owned()));
        assert!(
            refused.starts_with("kprobe: ") && refused.ends_with("not offered here: no such thing; build it\n"),
            "{refused}"
        );
    }
}
