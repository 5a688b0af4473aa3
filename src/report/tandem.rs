//! What the load cost a victim beside it: the victim's own CPU time, alone, interrupted for nothing, and beside the programs.

use std::fmt;

use serde::Serialize;

use super::Summary;
use super::sheet::{Cell, Column, Sheet};
use super::units::{ABSENT, fixed, or_absent, p_value, percent, ratio, with_interval};
use crate::compare::pairing;
use crate::counters::{CountSide, Role};
use crate::runfile::Run;
use crate::stats;
use crate::trial::Trial;
use crate::trial::record::{Company, Repetition, Victim, VictimEvent};
use crate::workload::{Case, PackMode};

/// One case: medians over its trials, each the median of its repetitions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub case: Case,
    pub trials: usize,
    pub repetitions: usize,
    /// Milliseconds of CPU time, by company.
    pub cpu_ms: Vec<Option<f64>>,
    /// Beside the programs over interrupted for nothing, of the same trials, with the 95 % interval of its median.
    pub ratio: Option<f64>,
    pub interval: Option<(f64, f64)>,
    /// Share of the wall time in which the programs ran.
    pub busy_percent: Option<f64>,
    /// Hooked over alone, of the same trials, with the interval of its median.
    pub hooked: Option<f64>,
    pub hooked_interval: Option<(f64, f64)>,
    /// Executions on the hook in one run of the victim, whoever hit it.
    pub hooked_executions: Option<f64>,
    /// Each trial's ratios: beside over interrupted, hooked over alone.
    #[serde(skip)]
    ratios: [Vec<f64>; 2],
}

/// What a victim's time is compared with in each way of running the programs.
const WAYS: [(Company, Company); 2] = [(Company::Programs, Company::Empty), (Company::Hooked, Company::Alone)];

/// Another arm against pack on: ratio of the ratios.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Between {
    pub case: Case,
    /// The company in which the victim paid it.
    pub company: Company,
    pub ratio: f64,
    pub interval: Option<(f64, f64)>,
    pub p: Option<f64>,
    pub trials: (usize, usize),
}

/// A row of each case whose trials had a victim.
pub fn rows(run: &Run, cases: &[Case]) -> Vec<Row> {
    cases.iter().filter_map(|case| row(run, case)).collect()
}

fn row(run: &Run, case: &Case) -> Option<Row> {
    let trials: Vec<&Trial> = pairing::counting(run, case).filter(|trial| !trial.tandem.is_empty()).collect();
    let ratios = WAYS.map(|way| trials.iter().filter_map(|trial| trial_ratio(trial, way)).collect::<Vec<f64>>());
    let in_hook = || trials.iter().flat_map(|trial| &trial.tandem).filter(|r| r.company == Company::Hooked);
    let executions: Vec<f64> = in_hook().map(|r| r.executions as f64).collect();
    let of = |company: Company| {
        let medians = trials.iter().filter_map(|trial| cpu_ns(trial, company)).collect::<Vec<f64>>();
        stats::median(&medians).map(|ns| ns / 1e6)
    };
    let beside = || trials.iter().flat_map(|trial| &trial.tandem).filter(|r| r.company == Company::Programs);
    let busy: Vec<f64> = beside().map(|r| 100.0 * r.busy_ns as f64 / r.wall_ns.max(1) as f64).collect();
    Some(Row {
        case: case.clone(),
        trials: trials.first().map(|_| trials.len())?,
        repetitions: trials.iter().map(|trial| trial.tandem.len()).sum(),
        cpu_ms: Company::ALL.map(of).to_vec(),
        ratio: stats::median(&ratios[0]),
        interval: stats::median_interval(&ratios[0]),
        hooked: stats::median(&ratios[1]),
        hooked_interval: stats::median_interval(&ratios[1]),
        hooked_executions: stats::median(&executions),
        busy_percent: stats::median(&busy),
        ratios,
    })
}

fn cpu_ns(trial: &Trial, company: Company) -> Option<f64> {
    let times = trial.tandem.iter().filter(|r| r.company == company).map(|r| r.cpu_ns as f64).collect::<Vec<f64>>();
    stats::median(&times)
}

fn trial_ratio(trial: &Trial, (with, without): (Company, Company)) -> Option<f64> {
    let (with, without) = (cpu_ns(trial, with)?, cpu_ns(trial, without)?);
    (without > 0.0 && with > 0.0).then(|| with / without)
}

/// Every other arm against pack on at the same point.
pub fn between(rows: &[Row]) -> Vec<Between> {
    let same = |other: &Row, on: &Row| Case { pack: PackMode::On, ..other.case.clone() } == on.case;
    let others = rows.iter().filter(|row| row.case.pack != PackMode::On);
    let pair = |other: &Row, way: usize| {
        let on = rows.iter().find(|on| on.case.pack == PackMode::On && same(other, on))?;
        let logs = |row: &Row| row.ratios[way].iter().map(|ratio| ratio.ln()).collect::<Vec<f64>>();
        let (on_logs, other_logs) = (logs(on), logs(other));
        let shift = stats::hodges_lehmann(&on_logs, &other_logs)?;
        Some(Between {
            case: other.case.clone(),
            company: WAYS[way].0,
            ratio: shift.estimate.exp(),
            interval: shift.interval.map(|(low, high)| (low.exp(), high.exp())),
            p: stats::mann_whitney(&on_logs, &other_logs).map(|test| test.p),
            trials: (other_logs.len(), on_logs.len()),
        })
    };
    others.flat_map(|other| (0..WAYS.len()).filter_map(move |way| pair(other, way))).collect()
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, p, trials: (other, on), .. } = self;
        let shown = with_interval(self.ratio, self.interval, ratio);
        let unclear = self.interval.is_none_or(|(low, high)| low <= 1.0 && high >= 1.0);
        let verdict = if unclear { "no difference shown" } else { "differs" };
        write!(
            f,
            "{}: what pack {} costs the victim{} over what pack on costs it: {shown}, p {}, n = {other} + {on}: {verdict}",
            case.point(),
            case.pack,
            if self.company == Company::Hooked { " on the hook" } else { "" },
            or_absent(*p, p_value)
        )
    }
}

/// The table of the rows.
pub fn sheet(victim: &Victim, rows: &[Row]) -> Sheet {
    let mut columns = vec![Column::words("workload"), Column::figures("programs"), Column::words("pack")];
    let there = |at: &usize| rows.iter().any(|row| row.cpu_ms[*at].is_some());
    let companies: Vec<usize> = (0..Company::ALL.len()).filter(there).collect();
    let hooked = rows.iter().any(|row| row.hooked.is_some());
    let names = companies.iter().map(|&at| Company::ALL[at].name());
    columns.extend(names.map(|name| Column::figures(format!("{name}, ms")).from("timed")));
    columns.push(Column::figures("beside / interrupted"));
    columns.extend(hooked.then(|| Column::figures("hooked / alone")));
    columns.extend(["load, %", "trials", "runs"].map(Column::figures));
    let cells = |row: &Row| {
        let mut cells = vec![
            Cell::words(&row.case.workload),
            Cell::count(row.case.programs),
            Cell::words(row.case.pack.to_string()),
        ];
        let ms = |ms: &Option<f64>| Cell::figure(ms.unwrap_or(f64::NAN), or_absent(*ms, |ms| fixed(ms, 2)));
        cells.extend(companies.iter().map(|&at| ms(&row.cpu_ms[at])));
        let over = |value: Option<f64>, interval| {
            let shown = value.map_or(ABSENT.to_owned(), |value| with_interval(value, interval, ratio));
            Cell::figure(value.unwrap_or(f64::NAN), shown)
        };
        cells.push(over(row.ratio, row.interval));
        cells.extend(hooked.then(|| over(row.hooked, row.hooked_interval)));
        cells.push(Cell::figure(row.busy_percent.unwrap_or(f64::NAN), or_absent(row.busy_percent, percent)));
        cells.extend([Cell::count(row.trials as u64), Cell::count(row.repetitions as u64)]);
        cells
    };
    Sheet { note: note(victim), columns, rows: rows.iter().map(cells).collect() }
}

/// What the figures are.
pub fn note(victim: &Victim) -> String {
    let hook = victim.hook.as_ref().map(|hook| format!("; hooked: the programs hang on {hook}, which it hits itself"));
    let (command, ms) = (victim.argv.join(" "), fixed(victim.rhythm_ns as f64 / 1e6, 0));
    format!(
        "Victim `{command}`, CPU time of one run (the load's is not in it): alone; interrupted every {ms} ms by the empty program; \
         beside the programs, each run once every {ms} ms; with --churn also while others come and go{}",
        hook.unwrap_or_default()
    )
}

/// Counts of the victim by side and event, as a line for each case; or why there are none.
fn counted(run: &Run, victim: &Victim, cases: &[Case]) -> Vec<String> {
    let mut lines: Vec<String> = cases.iter().filter_map(|case| counts_of(run, victim, case)).collect();
    lines.extend(never_counted(run, victim));
    let refused: Vec<String> =
        victim.refused.iter().map(|refusal| format!("{} ({})", refusal.event.name, refusal.errno)).collect();
    if !refused.is_empty() {
        lines.push(format!("not counted of the victim: {}", refused.join(", ")));
    }
    lines
}

/// Events that no repetition has a count of, though the host takes them.
fn never_counted(run: &Run, victim: &Victim) -> Option<String> {
    let repetitions: Vec<&Repetition> = run.trials.iter().flat_map(|trial| &trial.tandem).collect();
    let missing =
        |at: usize| repetitions.iter().all(|repetition| repetition.counts.get(at).is_none_or(Option::is_none));
    let events = victim.events.iter().enumerate().filter(|(at, _)| !repetitions.is_empty() && missing(*at));
    let names: Vec<String> = events.map(|(_, event)| format!("{}{}", event.event.name, event.side.suffix())).collect();
    (!names.is_empty()).then(|| {
        format!(
            "never counted of the victim: {}; a repetition counts one side, --repetitions 2 or more both, and what was multiplexed is left out",
            names.join(", ")
        )
    })
}

fn counts_of(run: &Run, victim: &Victim, case: &Case) -> Option<String> {
    let repetitions: Vec<&Repetition> = pairing::counting(run, case).flat_map(|trial| &trial.tandem).collect();
    let median = |at: usize, company: Company| {
        let of = repetitions.iter().filter(|r| r.company == company);
        stats::median(&of.filter_map(|r| Some((*r.counts.get(at)?)? as f64)).collect::<Vec<f64>>())
    };
    let cell = |(at, event): (usize, &VictimEvent)| {
        let side = if event.side == CountSide::User { "u" } else { "k" };
        let values = Company::ALL[..3].iter().map(|&company| or_absent(median(at, company), |count| fixed(count, 0)));
        median(at, Company::Alone)?;
        Some(format!("{}:{side} {}", event.event.name, values.collect::<Vec<_>>().join("/")))
    };
    let tlb = |event: &VictimEvent| event.event.role != Role::PageFaults;
    let cells: Vec<String> =
        victim.events.iter().enumerate().filter(|(_, event)| tlb(event)).filter_map(cell).collect();
    (!cells.is_empty()).then(|| {
        format!(
            "{case}, {}: {}",
            Company::ALL[..3].iter().map(|company| company.name()).collect::<Vec<_>>().join("/"),
            cells.join("; ")
        )
    })
}

/// Sentences behind the table: arms against each other, then what was counted.
pub fn sentences(summary: &Summary<'_>, victim: &Victim, rows: &[Row]) -> Vec<String> {
    let cases: Vec<Case> = rows.iter().map(|row| row.case.clone()).collect();
    let on_hook = rows.iter().filter_map(|row| {
        let executions = fixed(row.hooked_executions?, 0);
        Some(format!("{}: {executions} executions on the hook while the victim ran, by all processes", row.case))
    });
    let between = between(rows);
    between.iter().map(ToString::to_string).chain(on_hook).chain(counted(summary.run, victim, &cases)).collect()
}

/// The victim of a run and its rows, if it had one.
pub fn of_run<'a>(summary: &Summary<'a>) -> Option<(&'a Victim, Vec<Row>)> {
    let victim = summary.run.manifest.victim.as_ref()?;
    let cases: Vec<Case> = summary.cases.iter().map(|case| case.case.clone()).collect();
    Some((victim, rows(summary.run, &cases)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Event, EventCode};
    use crate::report::fixture;

    const SIDES: [CountSide; 2] = [CountSide::User, CountSide::Kernel];

    fn victim() -> Victim {
        let event =
            Event { role: Role::ItlbMisses, name: "iTLB-load-misses".to_owned(), code: EventCode::new(3, 0x1_0004) };
        let events = SIDES.map(|side| VictimEvent { side, event: event.clone() }).to_vec();
        Victim { name: "code".to_owned(), events, ..Victim::default() }
    }

    /// A repetition that counted `side` alone, as perf gives it: nothing of the other.
    fn repetition(company: Company, side: CountSide, count: u64) -> Repetition {
        let counts = SIDES.map(|counted| (counted == side).then_some(count)).to_vec();
        Repetition { company, wall_ns: 100, cpu_ns: 90, exit_code: 0, counts, bursts: 0, executions: 0, busy_ns: 0 }
    }

    /// Every trial ran the victim with the sides of `rounds`, 10 user and 70 kernel misses alone, ten times that in company.
    fn run(rounds: &[CountSide]) -> Run {
        let mut run = fixture::timed_run();
        let count = |company, side| {
            let alone = if side == CountSide::User { 10 } else { 70 };
            if company == Company::Alone { alone } else { 10 * alone }
        };
        let of = |side: CountSide| {
            Company::ALL[..3].iter().map(move |&company| repetition(company, side, count(company, side)))
        };
        let repetitions: Vec<Repetition> = rounds.iter().flat_map(|&side| of(side).collect::<Vec<_>>()).collect();
        run.trials.iter_mut().for_each(|trial| trial.tandem = repetitions.clone());
        run.manifest.victim = Some(victim());
        run
    }

    fn lines(run: &Run) -> Vec<String> {
        let cases = [run.trials[0].case.clone()];
        counted(run, &victim(), &cases)
    }

    #[test]
    fn a_count_of_one_side_is_the_median_of_the_repetitions_that_counted_it() {
        let both = run(&[CountSide::User, CountSide::Kernel, CountSide::User, CountSide::Kernel]);
        let [line] = &lines(&both)[..] else { panic!("one case, nothing refused: {:?}", lines(&both)) };
        assert!(line.ends_with("iTLB-load-misses:u 10/100/100; iTLB-load-misses:k 70/700/700"), "{line}");
    }

    #[test]
    fn a_side_that_no_repetition_counted_is_named_and_has_no_figure() {
        let one = run(&[CountSide::User]);
        let [line, never] = &lines(&one)[..] else { panic!("a case and a reason: {:?}", lines(&one)) };
        assert!(line.ends_with("iTLB-load-misses:u 10/100/100"), "{line}");
        assert!(never.starts_with("never counted of the victim: iTLB-load-misses:k; "), "{never}");
        assert!(never.contains("--repetitions 2"), "{never}");
    }

    #[test]
    fn a_run_without_a_victim_has_no_word_of_counts() {
        assert_eq!(never_counted(&fixture::timed_run(), &victim()), None);
    }
}
