//! The groups that are open, and reading them: in which pass each is counted, and what its bytes say.

use std::collections::VecDeque;
use std::io;

use super::choice::{Choice, Events, Wish};
use super::host::Host;
use super::layout::{self, Need};
use super::opening::Opener;
use super::source::Source;
use super::stream::{self, Torn};
use super::syntax::{self, BadEvent, Wanted};
use super::{CountSide, Event, EventCode, Group, Reading, Refusal, Role};

/// Why an open group could not be counted with.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    #[error("failed to {verb} group `{group}`: {source}")]
    Call { verb: &'static str, group: String, source: io::Error },
    #[error("failed to read group `{group}`: {torn}; no count of it can be believed, please report this kernel")]
    Torn { group: String, torn: Torn },
}

/// Why nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Bad(#[from] BadEvent),
    /// Events were named, and the host takes none of them.
    #[error("none of the events can be counted")]
    NoneCounts(Vec<Refusal>),
}

/// Groups over a source.
#[derive(Debug)]
pub struct CounterSet<S: Source> {
    opener: Opener<S>,
    open: Vec<Open<S::Group>>,
    groups: Vec<Group>,
    passes: u32,
    pass: u32,
    buffer: Vec<u8>,
}

/// What belongs to a group besides its description.
#[derive(Debug)]
struct Open<G> {
    group: G,
    ids: Vec<u64>,
}

impl<S: Source> CounterSet<S> {
    /// Opens what `choice` asks for: core events in as many passes as they need, pinned; then, counted in every pass, the
    /// time stamp counter and other PMUs, and software events. What the host refuses is remembered with its reason.
    pub fn open(source: S, host: &Host, choice: &Choice) -> Result<Self, OpenError> {
        let wish = choice.wish(host)?;
        let opener = Opener::new(source, host.cpu);
        let mut set = Self { opener, open: Vec::new(), groups: Vec::new(), passes: 1, pass: 0, buffer: Vec::new() };
        for (event, reason) in &wish.lacking {
            let (event, errno) = (event.event(), "not encodable".to_owned());
            set.opener.refused.push(Refusal { event, errno, meaning: reason.clone() });
        }
        set.open_core(&wish, host, choice.side);
        set.open_other(&wish, host);
        set.open_kernel(&wish, host);
        let most = set.open.iter().map(|open| open.ids.len()).max().unwrap_or(0);
        set.buffer = vec![0; stream::length(most)];
        match choice.events {
            Events::List(_) if !set.counts_any(&wish) => Err(OpenError::NoneCounts(set.opener.refused)),
            _ => Ok(set),
        }
    }

    /// The groups, in the order of the readings.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// What the host would not count.
    pub fn refused(&self) -> &[Refusal] {
        &self.opener.refused
    }

    /// How many times the windows must be run so that every group is counted.
    pub fn passes(&self) -> u32 {
        self.passes
    }

    /// Chooses the groups of the windows to come.
    pub fn select(&mut self, pass: u32) {
        self.pass = pass;
    }

    /// Starts the groups of this pass. Core groups, the first, are enabled last: they span least besides the trigger.
    pub fn enable(&mut self) -> Result<(), CountError> {
        for at in (0..self.open.len()).rev().filter(|&at| self.groups[at].is_in(self.pass)) {
            let result = self.opener.source.enable(&self.open[at].group);
            result.map_err(|source| failed("enable", &self.groups[at], source))?;
        }
        Ok(())
    }

    /// Stops them, core groups first.
    pub fn disable(&mut self) -> Result<(), CountError> {
        for at in (0..self.open.len()).filter(|&at| self.groups[at].is_in(self.pass)) {
            let result = self.opener.source.disable(&self.open[at].group);
            result.map_err(|source| failed("disable", &self.groups[at], source))?;
        }
        Ok(())
    }

    /// One reading for each group, in place; empty for a group that is not of this pass, and for one that lost its
    /// counters.
    pub fn read(&mut self, into: &mut Vec<Reading>) -> Result<(), CountError> {
        into.resize_with(self.open.len(), Reading::default);
        for ((open, described), reading) in self.open.iter().zip(&self.groups).zip(into) {
            if !described.is_in(self.pass) {
                reading.clear();
                continue;
            }
            let buffer = &mut self.buffer[..stream::length(open.ids.len())];
            let given = self.opener.source.read(&open.group, buffer);
            let given = given.map_err(|source| failed("read", described, source))?;
            stream::decode(&buffer[..given], &open.ids, reading)
                .map_err(|torn| CountError::Torn { group: described.name.clone(), torn })?;
        }
        Ok(())
    }

    /// Passes of core events: as many as fit in each, the rest in the next.
    fn open_core(&mut self, wish: &Wish, host: &Host, side: CountSide) {
        let mut queue: VecDeque<Wanted> = wish.core.iter().cloned().collect();
        let mut always = wish.always.clone();
        if queue.is_empty() && always.is_empty() {
            return;
        }
        loop {
            let chosen = next_pass(&always, &mut queue, host);
            self.open_pass(&mut always, &chosen, &mut queue, side);
            if queue.is_empty() {
                break;
            }
        }
        for event in &wish.always {
            if !self.is_counted(event) && !self.opener.has_refused(event) {
                self.opener.refuse_unscheduled(event);
            }
        }
        self.number_passes();
    }

    /// Opens one pass; what does not fit goes back to the front of the queue, unless it will not fit the next pass either.
    fn open_pass(
        &mut self,
        always: &mut Vec<Wanted>,
        chosen: &[Wanted],
        queue: &mut VecDeque<Wanted>,
        side: CountSide,
    ) {
        let tried = self.opener.schedule(&[always.as_slice(), chosen].concat(), side);
        always.retain(|event| !self.opener.has_refused(event));
        let events = tried.group.as_ref().map_or(&[][..], |(_, events)| events);
        let counts_chosen = events.iter().any(|event| chosen.contains(event));
        if let Some((group, events)) = tried.group
            && (counts_chosen || self.groups.is_empty())
        {
            self.push(&core_name(self.groups.len()), group, &events, Some(side));
        }
        for event in tried.cut.into_iter().rev().filter(|event| chosen.contains(event)) {
            match counts_chosen {
                true => queue.push_front(event),
                false => self.opener.refuse_unscheduled(&event),
            }
        }
    }

    /// With one pass every group is counted in every window.
    fn number_passes(&mut self) {
        self.passes = self.groups.len().max(1) as u32;
        if self.passes > 1 {
            for (pass, group) in (0..).zip(&mut self.groups) {
                group.pass = Some(pass);
            }
        }
    }

    /// `msr/tsc/` and the events of other PMUs: never behind a leader of another PMU. Behind a software leader that is enabled
    /// as a group, `msr/tsc/` reads 0 in short windows.
    fn open_other(&mut self, wish: &Wish, host: &Host) {
        let mut wanted = syntax::parse("msr/tsc/", host).unwrap_or_else(|error| {
            let event = Event { role: Role::Tsc, name: "msr/tsc/".to_owned(), code: EventCode::new(0, 0) };
            self.opener.refused.push(Refusal { event, errno: "ENOENT".to_owned(), meaning: error.reason });
            Vec::new()
        });
        add_new(&mut wanted, &wish.other);
        while let Some(first) = wanted.first().cloned() {
            let (same, others) = wanted.into_iter().partition(|event| event.source == first.source);
            wanted = others;
            match &first.source {
                syntax::Source::Other { pmu, .. } if pmu != "msr" => self.open_plain(pmu, &same),
                _ => self.open_plain("tsc", &same),
            }
        }
    }

    fn open_kernel(&mut self, wish: &Wish, host: &Host) {
        const USUAL: &str = "task-clock,context-switches,cpu-migrations,page-faults";
        let mut wanted = syntax::parse(USUAL, host).unwrap_or_default();
        add_new(&mut wanted, &wish.kernel);
        self.open_plain("software", &wanted);
    }

    /// A group that is not on the counters of the core: nothing pinned.
    fn open_plain(&mut self, name: &str, wanted: &[Wanted]) {
        let tried = self.opener.group(wanted, None);
        if let Some((group, events)) = tried.group {
            self.push(name, group, &events, None);
        }
        // An event that does not go with the others of its PMU gets a group of its own.
        for event in tried.cut {
            let alone = self.opener.group(std::slice::from_ref(&event), None);
            if let Some((group, events)) = alone.group {
                self.push(&format!("{name} {}", event.name), group, &events, None);
            }
        }
    }

    fn push(&mut self, name: &str, group: S::Group, events: &[Wanted], side: Option<CountSide>) {
        let events: Vec<Event> = events.iter().map(Wanted::event).collect();
        match self.opener.source.ids(&group) {
            Ok(ids) => {
                self.groups.push(Group { name: name.to_owned(), events, pinned: side.is_some(), pass: None, side });
                self.open.push(Open { group, ids });
            }
            Err(error) => events.into_iter().for_each(|event| self.opener.refuse(event, &error)),
        }
    }

    fn is_counted(&self, wanted: &Wanted) -> bool {
        self.groups.iter().any(|group| group.events.contains(&wanted.event()))
    }

    fn counts_any(&self, wish: &Wish) -> bool {
        [&wish.core, &wish.kernel, &wish.other].into_iter().flatten().any(|wanted| self.is_counted(wanted))
    }
}

fn failed(verb: &'static str, group: &Group, source: io::Error) -> CountError {
    CountError::Call { verb, group: group.name.clone(), source }
}

/// Takes from `queue`, in its order, what fits beside `always` in one pass; at least one event, whatever the layout says.
fn next_pass(always: &[Wanted], queue: &mut VecDeque<Wanted>, host: &Host) -> Vec<Wanted> {
    let mut needs: Vec<Need> = always.iter().map(Wanted::need).collect();
    let (mut chosen, mut left) = (Vec::new(), VecDeque::new());
    for event in queue.drain(..) {
        needs.push(event.need());
        if chosen.is_empty() || layout::fit(&needs, host.layout) {
            chosen.push(event);
        } else {
            needs.pop();
            left.push_back(event);
        }
    }
    *queue = left;
    chosen
}

/// Adds what is asked for and not there yet, so that nothing is counted twice.
fn add_new(wanted: &mut Vec<Wanted>, asked: &[Wanted]) {
    for event in asked {
        match wanted.iter_mut().find(|known| known.code == event.code) {
            // Under the name the user gave it.
            Some(known) => *known = Wanted { role: known.role, ..event.clone() },
            None => wanted.push(event.clone()),
        }
    }
}

fn core_name(pass: usize) -> String {
    match pass {
        0 => "hardware".to_owned(),
        later => format!("hardware {}", later + 1),
    }
}

#[cfg(test)]
mod tests;
