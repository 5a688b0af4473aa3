//! Where images may lie: apart from each other, behind their headers, inside a pack, in the lowest hole.

use std::collections::BTreeMap;

use super::Findings;
use crate::placement::{Addr, Image, pack};
use crate::selftest::body::Kind;
use crate::selftest::subject::Facts;
use crate::selftest::trace::{Event, Left, Life, Remains, Step, cannot, lives};

/// Chunks of an image, and the time it was there for certain.
#[derive(Clone, Copy)]
struct Stay {
    from: u64,
    to: u64,
    from_ns: u64,
    to_ns: u64,
    image: Image,
    /// From a survey: it was there at some moment between the two times.
    surveyed: bool,
}

impl Stay {
    fn new(image: Image, from_ns: u64, to_ns: u64) -> Self {
        Self { from: pack::base(&image), to: pack::end(&image), from_ns, to_ns, image, surveyed: false }
    }

    /// Whether both had a chunk at the same time, for certain.
    fn meets(&self, other: &Self) -> bool {
        let together = match (self.surveyed, other.surveyed) {
            (false, false) => self.from_ns < other.to_ns && other.from_ns < self.to_ns,
            (true, false) => other.from_ns <= self.from_ns && self.to_ns <= other.to_ns,
            (false, true) => self.from_ns <= other.from_ns && other.to_ns <= self.to_ns,
            // Different surveys see each other's code.
            (true, true) => false,
        };
        together && self.from < other.to && other.from < self.to
    }
}

fn stays(lives: &[Life<'_>]) -> Vec<Stay> {
    let of = |life: &Life<'_>| {
        let (from_ns, to_ns) = (life.from_ns, life.to_ns);
        life.places.iter().map(move |place| Stay::new(place.image, from_ns, to_ns)).collect::<Vec<_>>()
    };
    lives.iter().flat_map(of).collect()
}

/// No chunk has two owners at a time, neither of ours nor of others.
pub fn overlap(_: &Facts, steps: &[Step]) -> Findings {
    let mut found = Findings::default();
    let mut all = stays(&lives(steps));
    found.count("images", all.len() as u64);
    for step in steps {
        if let Event::Surveyed(survey) = &step.event {
            found.count("foreign images", survey.foreign.len() as u64);
            let seen = |image: &Image| Stay { surveyed: true, ..Stay::new(*image, step.began_ns, step.ended_ns) };
            all.extend(survey.foreign.iter().map(seen));
        }
    }
    all.sort_by_key(|stay| stay.from);
    for (at, one) in all.iter().enumerate() {
        for other in all[at + 1..].iter().take_while(|other| other.from < one.to) {
            // What one loader surveys is another's own.
            if one.meets(other) && one.image != other.image {
                let (a, b) = (one.image, other.image);
                found.problem(format!(
                    "{} ({} bytes) and {} ({} bytes) have chunks in common",
                    a.addr, a.len, b.addr, b.len
                ));
            } else if one.meets(other) && !one.surveyed && !other.surveyed {
                found.problem(format!("two programs were loaded to {} at the same time", one.image.addr));
            }
        }
    }
    found.needs("images", "no image has an address")
}

/// An image begins behind the 8 bytes of its header in steps of four, and its header says how many chunks it has.
pub fn header(facts: &Facts, steps: &[Step]) -> Findings {
    if facts.pack_bytes.is_none() {
        return Findings::skipped("this kernel gives every program pages of its own: there are no chunks");
    }
    let mut found = Findings::default();
    for life in lives(steps) {
        for image in life.places.iter().map(|place| place.image) {
            let hole = image.addr.0 - pack::base(&image);
            if hole < pack::HEADER_BYTES || !hole.is_multiple_of(4) {
                found.problem(format!("{} begins {hole} bytes into its chunk", image.addr));
            }
        }
    }
    for inspected in inspected(steps) {
        found.count("headers", 1);
        let (image, size) = (inspected.image, u64::from(inspected.header));
        let least = pack::end(&image) - pack::base(&image);
        if !size.is_multiple_of(pack::CHUNK_BYTES) || size < least {
            found.problem(format!(
                "the header of {} says {size} bytes, {} bytes of code take {least}",
                image.addr, image.len
            ));
        }
        let fits = image.end().0 - pack::base(&image) <= size;
        if !fits {
            found.problem(format!("{} ends behind its last chunk", image.addr));
        }
    }
    found.needs("headers", cannot(steps).unwrap_or("no header was read"))
}

pub(super) fn inspected(steps: &[Step]) -> impl Iterator<Item = &crate::selftest::trace::Inspected> {
    steps.iter().flat_map(|step| match &step.event {
        Event::Inspected(images) => images.as_slice(),
        _ => &[],
    })
}

/// Every image lies in one pack, or in an area of its own, from its first chunk to its last.
pub fn inside_pack(_: &Facts, steps: &[Step]) -> Findings {
    let mut found = Findings::default();
    let all = stays(&lives(steps));
    for step in steps {
        let Event::Surveyed(survey) = &step.event else { continue };
        if survey.areas.is_empty() {
            continue;
        }
        for stay in all.iter().filter(|stay| stay.from_ns < step.began_ns && step.ended_ns < stay.to_ns) {
            found.count("images", 1);
            let holds = |(start, bytes): &&(Addr, u64)| start.0 <= stay.from && stay.image.end().0 <= start.0 + bytes;
            if survey.areas.iter().filter(holds).count() != 1 {
                found.problem(format!("{} ({} bytes) does not lie inside one area", stay.image.addr, stay.image.len));
            }
        }
    }
    let hidden = "/proc/vmallocinfo shows no addresses: set kernel.kptr_restrict to 1, with CAP_SYSLOG";
    found.needs("images", cannot(steps).unwrap_or(hidden))
}

/// First fit: no image lies above a hole of the same pack that is long enough and was free before and after.
pub fn reuse(facts: &Facts, steps: &[Step]) -> Findings {
    if facts.pack_bytes.is_none() {
        return Findings::skipped("this kernel gives every program pages of its own: there are no holes");
    }
    let mut found = Findings::default();
    let free = lasting_holes(steps);
    let all = lives(steps);
    let packs: BTreeMap<u64, u64> = all
        .iter()
        .flat_map(|life| life.places)
        .filter_map(|place| Some((pack::base(&place.image), place.pack?.0)))
        .collect();
    for life in &all {
        for place in life.places {
            let (base, chunks) = (pack::base(&place.image), pack::chunks(place.image.len));
            for hole in free.iter().filter(|hole| hole.from_ns < life.from_ns && life.from_ns < hole.to_ns) {
                let same_pack = place.pack.is_some() && packs.get(&hole.base) == place.pack.map(|addr| addr.0).as_ref();
                if !same_pack || hole.chunks < chunks {
                    continue;
                }
                found.count("choices", 1);
                if hole.base < base {
                    found.problem(format!(
                        "{chunks} chunks were put to {} though {} free ones lay below, at {}",
                        place.image.addr,
                        hole.chunks,
                        Addr(hole.base)
                    ));
                }
            }
            found.count("holes reused", u64::from(free_before(steps, base, life.from_ns)));
        }
    }
    found.needs("choices", cannot(steps).unwrap_or("no hole stayed free: others took them all"))
}

struct Hole {
    base: u64,
    chunks: u32,
    from_ns: u64,
    to_ns: u64,
}

/// Holes that were seen to be free at two looks: nobody has used them in between, or has given them back.
fn lasting_holes(steps: &[Step]) -> Vec<Hole> {
    let mut first_seen: BTreeMap<u64, u64> = BTreeMap::new();
    let mut holes = Vec::new();
    for (at, remains) in remains(steps) {
        let base = pack::base(&remains.image);
        match (remains.state, first_seen.get(&base)) {
            (Left::Filled, None) => drop(first_seen.insert(base, at)),
            (Left::Filled, Some(&from_ns)) => {
                holes.push(Hole { base, chunks: pack::chunks(remains.image.len), from_ns, to_ns: at });
            }
            _ => drop(first_seen.remove(&base)),
        }
    }
    holes
}

fn free_before(steps: &[Step], base: u64, ns: u64) -> bool {
    remains(steps).any(|(at, left)| at < ns && left.state == Left::Filled && pack::base(&left.image) == base)
}

/// What was left of freed images, with the time of the look.
pub(super) fn remains(steps: &[Step]) -> impl Iterator<Item = (u64, &Remains)> {
    steps.iter().flat_map(|step| {
        let all = match &step.event {
            Event::Remains(all) => all.as_slice(),
            _ => &[],
        };
        all.iter().map(move |left| (step.ended_ns, left))
    })
}

/// Bytes reserved in packs stay within three times what programs ever used at once, and a pack, whatever the order of frees.
pub fn fragmentation(facts: &Facts, steps: &[Step]) -> Findings {
    let Some(pack_bytes) = facts.pack_bytes else {
        return Findings::skipped("this kernel gives every program pages of its own: nothing is shared");
    };
    let surveys: Vec<_> = steps
        .iter()
        .filter_map(|step| match &step.event {
            Event::Surveyed(survey) => {
                survey.packs.map(|(_, pages)| (step.ended_ns, pages * crate::placement::image::PAGE_BYTES, survey))
            }
            _ => None,
        })
        .collect();
    let Some(&(_, before, first)) = surveys.first() else {
        return Findings::skipped("/proc/vmallocinfo does not show the packs");
    };
    let mut found = Findings::default();
    let all = stays(&lives(steps).into_iter().filter(|life| life.body.kind != Kind::Classic).collect::<Vec<_>>());
    let used_at = |ns: u64| -> u64 {
        all.iter().filter(|stay| stay.from_ns < ns && ns < stay.to_ns).map(|stay| stay.to - stay.from).sum()
    };
    let mut most_used = 0;
    for &(ns, reserved, survey) in &surveys {
        let (used, grown) = (used_at(ns), reserved.saturating_sub(before));
        most_used = used.max(most_used);
        found.count("surveys", 1);
        if used > 0 {
            let room = match grown {
                0 => "the packs that were there had room for them".to_owned(),
                _ => format!("packs grew by {grown} bytes, {:.2} to one", grown as f64 / used as f64),
            };
            found.notes = vec![format!("{used} bytes used when last surveyed: {room}")];
        }
        if grown > 3 * most_used + pack_bytes {
            let text = format!("{grown} bytes are reserved for programs that never took more than {most_used}");
            found.problem_or_others(first, survey, text);
        }
    }
    found.needs("surveys", "nothing was surveyed")
}
