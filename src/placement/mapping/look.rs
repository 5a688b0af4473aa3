//! Asks every source of page tables there is the same question, twice, and lets them contradict each other.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::entry::{Leaf, PageSize};
use super::observed::{Mapping, Observed, Source, pages_of, with_neighbours};
use crate::placement::image::{Addr, Image};

/// Looks before page tables that keep changing are given up.
const MOST_LOOKS: u32 = 4;
/// Rests between such attempts before page tables are taken for restless.
const MOST_RESTS: u32 = 20;
/// Such a rest.
pub const REST: Duration = Duration::from_millis(50);

/// Something that can tell how pages are mapped now.
pub trait Look: fmt::Debug {
    /// What it is.
    fn source(&self) -> Source;
    /// How each of `pages` is mapped, read anew; pages that are not mapped are left out. The error says why nobody knows.
    fn look(&mut self, pages: &[u64]) -> Result<BTreeMap<u64, Leaf>, String>;
    /// The page of the direct map that shows `frame`, where the source knows it.
    fn alias(&self, _frame: u64) -> Option<u64> {
        None
    }
}

/// The sources of one host.
#[derive(Debug, Default)]
pub struct Looks {
    sources: Vec<Box<dyn Look>>,
    /// `source: why not`, for those that cannot be used here.
    refused: Vec<String>,
    kernel_text: Option<Addr>,
}

impl Looks {
    /// No source yet. `kernel_text` is an address in the kernel's own text, where it is known.
    pub fn new(kernel_text: Option<Addr>) -> Self {
        Self { kernel_text, ..Self::default() }
    }

    /// Adds a source, or the reason why it cannot be used. The first that works is believed, the others check it.
    pub fn add(&mut self, source: Source, opened: Result<Box<dyn Look>, String>) {
        match opened {
            Ok(look) => self.sources.push(look),
            Err(reason) => self.refused.push(format!("{source}: {reason}")),
        }
    }

    /// Sources that can be asked.
    pub fn sources(&self) -> Vec<Source> {
        self.sources.iter().map(|look| look.source()).collect()
    }

    /// How the pages of `images` are mapped, once those beside them have come to rest as well.
    pub fn observe(&mut self, images: &[Image]) -> Observed {
        self.observe_at_rest(images, REST)
    }

    fn observe_at_rest(&mut self, images: &[Image], rest: Duration) -> Observed {
        let pages = pages_of(images);
        match self.leaves_at_rest(&with_neighbours(&pages), rest) {
            Ok(Seen { source, agreeing, leaves }) => {
                let kernel_text = self.size_of_kernel_text();
                Observed::Seen(Mapping { agreeing, kernel_text, ..Mapping::of(source, &pages, &leaves) })
            }
            Err(reason) => Observed::Unknown { reason },
        }
    }

    /// How each of `pages` is mapped, as all sources agree; an error if none is left or they do not.
    pub fn leaves(&mut self, pages: &[u64]) -> Result<Seen, String> {
        let mut refused = self.refused.clone();
        let mut seen: Option<Seen> = None;
        for look in &mut self.sources {
            let source = look.source();
            match (steady(look.as_mut(), pages), &mut seen) {
                (Err(reason), _) => refused.push(format!("{source}: {reason}")),
                (Ok(leaves), None) => seen = Some(Seen { source, agreeing: Vec::new(), leaves }),
                (Ok(leaves), Some(first)) => match contradiction(first, source, &leaves, pages) {
                    Some(reason) => return Err(reason),
                    None => first.agreeing.push(source),
                },
            }
        }
        seen.ok_or_else(|| if refused.is_empty() { "no source".to_owned() } else { refused.join("; ") })
    }

    /// The same once page tables have come to rest: areas are unmapped some time after the last of their programs, page by page.
    pub fn leaves_at_rest(&mut self, pages: &[u64], rest: Duration) -> Result<Seen, String> {
        for _ in 0..MOST_RESTS {
            let seen = self.leaves(pages);
            if seen.is_ok() || self.sources.is_empty() {
                return seen;
            }
            std::thread::sleep(rest);
        }
        self.leaves(pages)
    }

    /// The page of the direct map that shows `frame`.
    pub fn alias(&self, frame: u64) -> Option<u64> {
        self.sources.iter().find_map(|look| look.alias(frame))
    }

    fn size_of_kernel_text(&mut self) -> Option<PageSize> {
        let page = self.kernel_text?.page();
        let leaves = self.sources.first_mut()?.look(&[page]).ok()?;
        leaves.get(&page).map(|leaf| leaf.size)
    }
}

/// What the sources agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The source that is believed.
    pub source: Source,
    /// The others.
    pub agreeing: Vec<Source>,
    /// By page; pages that are not mapped are absent.
    pub leaves: BTreeMap<u64, Leaf>,
}

/// Two looks in a row that saw the same: page tables can be split, merged and freed while they are read.
fn steady(look: &mut dyn Look, pages: &[u64]) -> Result<BTreeMap<u64, Leaf>, String> {
    let mut before = look.look(pages);
    for _ in 1..MOST_LOOKS {
        let now = look.look(pages);
        if before.is_ok() && before == now {
            return now;
        }
        before = now;
    }
    Err(before.err().unwrap_or_else(|| format!("page tables changed during each of {MOST_LOOKS} looks")))
}

/// The first page of which two sources do not say the same. Only what both show is compared: ptdump has no frames, and rights above
/// the leaf are not in it.
fn contradiction(first: &Seen, source: Source, leaves: &BTreeMap<u64, Leaf>, pages: &[u64]) -> Option<String> {
    pages.iter().find_map(|page| {
        let (one, other) = (first.leaves.get(page), leaves.get(page));
        let alike = match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                let frames = one.frame.zip(other.frame);
                (one.size, one.writable, one.executable) == (other.size, other.writable, other.executable)
                    && frames.is_none_or(|(one, other)| one == other)
            }
            _ => false,
        };
        let said = |leaf: Option<&Leaf>| leaf.map_or("not mapped".to_owned(), said);
        (!alike).then(|| {
            let at = Addr(page * crate::placement::image::PAGE_BYTES);
            format!("sources disagree at {at}: {} says {}, {source} says {}", first.source, said(one), said(other))
        })
    })
}

fn said(leaf: &Leaf) -> String {
    let rights = (if leaf.writable { "RW" } else { "RO" }, if leaf.executable { "X" } else { "NX" });
    let frame = leaf.frame.map(|frame| format!(" in frame {frame:#x}")).unwrap_or_default();
    format!("{} {}+{}{frame}", leaf.size, rights.0, rights.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source that answers in turn, and with its last answer from then on.
    #[derive(Debug)]
    struct Told {
        source: Source,
        answers: Vec<Answer>,
        looks: usize,
    }

    impl Look for Told {
        fn source(&self) -> Source {
            self.source
        }

        fn look(&mut self, pages: &[u64]) -> Answer {
            let answer = self.answers[self.looks.min(self.answers.len() - 1)].clone();
            self.looks += 1;
            answer.map(|leaves| leaves.into_iter().filter(|(page, _)| pages.contains(page)).collect())
        }
    }

    type Answer = Result<BTreeMap<u64, Leaf>, String>;
    type Opened = Result<Box<dyn Look>, String>;

    const TEXT: Addr = Addr(0xffff_ffff_8100_0000);

    fn leaf(size: PageSize) -> Leaf {
        Leaf { size, writable: false, executable: true, global: true, frame: Some(7) }
    }

    /// Page 16 by 4 KiB and kernel text by 2 MiB.
    fn usual() -> BTreeMap<u64, Leaf> {
        BTreeMap::from([(16, leaf(PageSize::Small)), (TEXT.page(), leaf(PageSize::Large))])
    }

    fn told(source: Source, answers: Vec<Answer>) -> Opened {
        Ok(Box::new(Told { source, answers, looks: 0 }))
    }

    fn observe(sources: Vec<(Source, Opened)>) -> Observed {
        let mut looks = Looks::new(Some(TEXT));
        sources.into_iter().for_each(|(source, opened)| looks.add(source, opened));
        looks.observe_at_rest(&[Image { addr: Addr(0x10_040), len: 100 }], Duration::ZERO)
    }

    fn unknown(observed: Observed) -> String {
        match observed {
            Observed::Unknown { reason } => reason,
            Observed::Seen(mapping) => panic!("{mapping:?}"),
        }
    }

    #[test]
    fn a_source_alone_is_believed_if_it_says_the_same_twice() {
        let seen = observe(vec![(Source::BpfWalk, told(Source::BpfWalk, vec![Ok(usual())]))]);
        let Observed::Seen(mapping) = seen else { panic!("{seen:?}") };
        assert_eq!((mapping.source, mapping.pages, mapping.mapped_4k), (Source::BpfWalk, 1, 1));
        assert_eq!((mapping.agreeing.len(), mapping.kernel_text), (0, Some(PageSize::Large)));
    }

    #[test]
    fn a_change_between_two_looks_is_looked_at_again_and_not_for_ever() {
        let other = BTreeMap::from([(16, leaf(PageSize::Large))]);
        let settled = vec![Ok(other.clone()), Ok(usual()), Ok(usual())];
        let seen = observe(vec![(Source::BpfWalk, told(Source::BpfWalk, settled))]);
        assert!(matches!(seen, Observed::Seen(Mapping { mapped_4k: 1, .. })), "{seen:?}");
        let fidgety =
            vec![Ok(other.clone()), Ok(usual()), Ok(other.clone()), Ok(usual()), Ok(other.clone()), Ok(usual())];
        let seen = observe(vec![(Source::BpfWalk, told(Source::BpfWalk, fidgety))]);
        assert!(matches!(seen, Observed::Seen(_)), "a change in each of four looks is waited for: {seen:?}");
        let looks = ((MOST_RESTS + 1) * MOST_LOOKS) as usize;
        let restless = [other, usual()].into_iter().cycle().take(looks).map(Ok).collect();
        let reason = unknown(observe(vec![(Source::BpfWalk, told(Source::BpfWalk, restless))]));
        assert_eq!(reason, "BPF page walk: page tables changed during each of 4 looks");
    }

    #[test]
    fn page_tables_that_change_for_a_while_are_looked_at_again_once_they_rest() {
        let gone = BTreeMap::new();
        // More changes than one attempt bears, and two sources that look before and behind a change.
        let mut restless: Vec<Answer> = [usual(), gone.clone()].into_iter().cycle().take(9).map(Ok).collect();
        restless.push(Ok(gone.clone()));
        let late = vec![Ok(usual()), Ok(usual()), Ok(gone.clone())];
        let alone = vec![(Source::BpfWalk, told(Source::BpfWalk, restless))];
        let two = vec![
            (Source::BpfWalk, told(Source::BpfWalk, vec![Ok(gone)])),
            (Source::KcoreWalk, told(Source::KcoreWalk, late)),
        ];
        for sources in [alone, two] {
            let mut looks = Looks::new(None);
            sources.into_iter().for_each(|(source, opened)| looks.add(source, opened));
            assert!(looks.leaves(&[16]).is_err());
            let seen = looks.leaves_at_rest(&[16], Duration::ZERO);
            assert!(seen.as_ref().is_ok_and(|seen| seen.leaves.is_empty()), "{seen:?}");
        }
        let mut blind = Looks::new(None);
        assert_eq!(blind.leaves_at_rest(&[16], Duration::MAX), Err("no source".to_owned()));
    }

    #[test]
    fn sources_that_agree_are_named_and_one_that_does_not_makes_it_unknown() {
        let ptdump: BTreeMap<u64, Leaf> =
            usual().into_iter().map(|(page, leaf)| (page, Leaf { frame: None, global: false, ..leaf })).collect();
        let agreeing = observe(vec![
            (Source::BpfWalk, told(Source::BpfWalk, vec![Ok(usual())])),
            (Source::Ptdump, told(Source::Ptdump, vec![Ok(ptdump)])),
        ]);
        let Observed::Seen(mapping) = agreeing else { panic!("{agreeing:?}") };
        assert_eq!(mapping.agreeing, [Source::Ptdump]);
        let other = BTreeMap::from([(16, Leaf { frame: Some(0x200), ..leaf(PageSize::Large) })]);
        let reason = unknown(observe(vec![
            (Source::BpfWalk, told(Source::BpfWalk, vec![Ok(usual())])),
            (Source::KcoreWalk, told(Source::KcoreWalk, vec![Ok(other)])),
        ]));
        assert_eq!(
            reason,
            "sources disagree at 0x10000: BPF page walk says 4 KiB RO+X in frame 0x7, /proc/kcore page walk says 2 MiB \
             RO+X in frame 0x200"
        );
    }

    #[test]
    fn sources_must_agree_on_frames_and_rights_too() {
        let first = leaf(PageSize::Small);
        for other in
            [Leaf { frame: Some(8), ..first }, Leaf { writable: true, ..first }, Leaf { executable: false, ..first }]
        {
            let reason = unknown(observe(vec![
                (Source::BpfWalk, told(Source::BpfWalk, vec![Ok(usual())])),
                (Source::KcoreWalk, told(Source::KcoreWalk, vec![Ok(BTreeMap::from([(16, other)]))])),
            ]));
            assert!(reason.starts_with("sources disagree at 0x10000"), "{reason}");
        }
    }

    #[test]
    fn without_a_source_every_reason_is_given() {
        let reason = unknown(observe(vec![
            (Source::BpfWalk, Err("EPERM".to_owned())),
            (Source::KcoreWalk, told(Source::KcoreWalk, vec![Err("torn".to_owned())])),
            (Source::Ptdump, Err("no such file".to_owned())),
        ]));
        assert_eq!(reason, "BPF page walk: EPERM; ptdump: no such file; /proc/kcore page walk: torn");
    }
}
