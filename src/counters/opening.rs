//! Opening groups: what the kernel takes, what is too much for the counters, what it refuses and why.

use std::collections::VecDeque;
use std::io;

use super::errno::explain;
use super::source::{Exclude, Request, Scope, Source};
use super::syntax::{self, Wanted};
use super::{CountSide, Event, Reading, Refusal, stream};

/// `EINVAL`.
const EINVAL: i32 = 22;

/// A source, and what it refused so far.
#[derive(Debug)]
pub struct Opener<S: Source> {
    pub source: S,
    pub refused: Vec<Refusal>,
    /// The CPU whose packages and dies system-wide PMUs count.
    cpu: u32,
}

/// What became of a set of events tried as one group.
#[derive(Debug)]
pub struct Tried<G> {
    /// `None` if nothing opened or nothing could be scheduled.
    pub group: Option<(G, Vec<Wanted>)>,
    /// Open by themselves, but not beside the others.
    pub cut: Vec<Wanted>,
}

impl<S: Source> Opener<S> {
    /// Nothing refused yet.
    pub fn new(source: S, cpu: u32) -> Self {
        Self { source, refused: Vec::new(), cpu }
    }

    /// Opens a group and runs it: opening does not see counters that are held by others (`validate_group` in
    /// arch/x86/events/core.c), only running does. What is too much goes from the right.
    pub fn schedule(&mut self, wanted: &[Wanted], side: CountSide) -> Tried<S::Group> {
        let mut wanted = wanted.to_vec();
        let mut cut = VecDeque::new();
        loop {
            let tried = self.group(&wanted, Some(side));
            tried.cut.into_iter().rev().for_each(|event| cut.push_front(event));
            let Some((group, mut events)) = tried.group else {
                return Tried { group: None, cut: cut.into() };
            };
            if self.runs(&group) {
                return Tried { group: Some((group, events)), cut: cut.into() };
            }
            if let Some(last) = events.pop() {
                cut.push_front(last);
            }
            if events.is_empty() {
                return Tried { group: None, cut: cut.into() };
            }
            wanted = events;
        }
    }

    /// Whether the group was on the PMU all the while something ran.
    fn runs(&mut self, group: &S::Group) -> bool {
        let mut run = || -> io::Result<bool> {
            self.source.enable(group)?;
            self.source.exercise();
            self.source.disable(group)?;
            let ids = self.source.ids(group)?;
            let mut buffer = vec![0; stream::length(ids.len())];
            let given = self.source.read(group, &mut buffer)?;
            let mut reading = Reading::default();
            let whole = stream::decode(&buffer[..given], &ids, &mut reading).is_ok();
            Ok(whole && reading.unusable().is_none())
        };
        run().unwrap_or(false)
    }

    /// Opens what the kernel takes of `wanted` as one group; the first that opens leads. With a side it is a group of the
    /// core's counters, pinned; without, nothing but guests is excluded.
    pub fn group(&mut self, wanted: &[Wanted], side: Option<CountSide>) -> Tried<S::Group> {
        let mut group: Option<S::Group> = None;
        let (mut opened, mut cut) = (Vec::new(), Vec::new());
        for event in wanted {
            let request = self.request(event, side);
            let result = match &mut group {
                None => relaxed(request, |request| self.source.lead(request)).map(|leader| group = Some(leader)),
                Some(group) => relaxed(request, |request| self.source.join(group, request)),
            };
            match result {
                Ok(()) => opened.push(event.clone()),
                Err(error) if group.is_some() && self.opens_alone(&error, request) => cut.push(event.clone()),
                Err(error) => self.refuse(event.event(), &error),
            }
        }
        Tried { group: group.map(|group| (group, opened)), cut }
    }

    /// EINVAL for a sibling says either that there is no such event or that the group is too large with it.
    fn opens_alone(&mut self, error: &io::Error, request: Request) -> bool {
        error.raw_os_error() == Some(EINVAL) && relaxed(request, |request| self.source.lead(request)).is_ok()
    }

    fn request(&self, wanted: &Wanted, side: Option<CountSide>) -> Request {
        let scope = match &wanted.source {
            syntax::Source::Other { system_wide: true, .. } => Scope::Cpu(self.cpu),
            _ => Scope::Thread,
        };
        // Without a side as with both: perf excludes guests unless told otherwise, and so do we.
        let exclude = Exclude::for_side(wanted.side.or(side).unwrap_or(CountSide::Both));
        Request { code: wanted.code, exclude, pinned: side.is_some(), scope }
    }

    /// Whether the host would not count it.
    pub fn has_refused(&self, wanted: &Wanted) -> bool {
        self.refused.iter().any(|refusal| refusal.event == wanted.event())
    }

    /// No counter was free for it.
    pub fn refuse_unscheduled(&mut self, wanted: &Wanted) {
        self.refused.push(Refusal {
            event: wanted.event(),
            errno: "not scheduled".to_owned(),
            meaning: "no free counter for it; stop other profilers, or free the one of the NMI watchdog \
                      (sysctl kernel.nmi_watchdog=0)"
                .to_owned(),
        });
    }

    /// The kernel said no.
    pub fn refuse(&mut self, event: Event, error: &io::Error) {
        if !self.refused.iter().any(|refusal| refusal.event == event) {
            let explained = explain(error);
            self.refused.push(Refusal { event, errno: explained.name, meaning: explained.meaning });
        }
    }
}

impl Wanted {
    /// As it stands in the run file.
    pub fn event(&self) -> Event {
        let suffix = self.side.map_or("", CountSide::suffix);
        Event { role: self.role, name: format!("{}{suffix}", self.name), code: self.code }
    }
}

/// perf does the same: a PMU that knows no guests answers `exclude_guest` with EINVAL.
fn relaxed<T>(request: Request, mut open: impl FnMut(&Request) -> io::Result<T>) -> io::Result<T> {
    match open(&request) {
        Err(error) if error.raw_os_error() == Some(EINVAL) && request.exclude.guest => {
            let without = Request { exclude: Exclude { guest: false, ..request.exclude }, ..request };
            open(&without).map_err(|_| error)
        }
        result => result,
    }
}
