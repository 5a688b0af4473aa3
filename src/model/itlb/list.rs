//! Arrays of one set.

use super::NOBODY;

/// One entry of a fully associative array.
#[derive(Clone, Copy, Debug)]
struct Node {
    key: u64,
    /// Next in the chain of its bucket.
    chain: u16,
    /// Where that chain begins.
    bucket: u16,
    newer: u16,
    older: u16,
}

/// A fully associative array: a ring in the order of use, in which the oldest is the newer neighbour of the newest, and buckets to
/// find a key in it.
#[derive(Clone, Debug)]
pub(super) struct List {
    /// The last one is in no ring: it ends the chains, and nobody looks for its key.
    nodes: Box<[Node]>,
    buckets: Box<[u16]>,
    shift: u32,
    newest: u16,
}

impl List {
    pub(super) fn new(entries: u16) -> Self {
        let node = |at: u16| Node {
            key: NOBODY,
            chain: entries,
            bucket: 0,
            newer: if at == 0 { entries - 1 } else { at - 1 },
            older: if at + 1 == entries { 0 } else { at + 1 },
        };
        // Sixteen buckets an entry: nearly no chain has two nodes.
        let bits = (16 * u32::from(entries)).next_power_of_two().ilog2().min(u16::BITS);
        Self {
            nodes: (0..=entries).map(node).collect(),
            buckets: vec![entries; 1 << bits].into_boxed_slice(),
            shift: u64::BITS - bits,
            newest: 0,
        }
    }

    /// Whether `key` is there; it is the most recent afterwards.
    #[inline]
    pub(super) fn touch(&mut self, key: u64) -> bool {
        // Multiplicative hashing by the golden ratio: neighbours in memory land far apart.
        let bucket = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as u16;
        let mut at = self.buckets[bucket as usize];
        let none = (self.nodes.len() - 1) as u16;
        loop {
            let node = &self.nodes[at as usize];
            if node.key == key {
                self.move_to_front(at);
                return true;
            }
            if at == none {
                break;
            }
            at = node.chain;
        }
        self.replace_oldest(key, bucket);
        false
    }

    /// The ring stays as it is: its newest is now the one that was its oldest.
    #[inline]
    fn replace_oldest(&mut self, key: u64, bucket: u16) {
        let at = self.nodes[self.newest as usize].newer;
        self.newest = at;
        self.unchain(at);
        let node = &mut self.nodes[at as usize];
        (node.key, node.bucket) = (key, bucket);
        node.chain = std::mem::replace(&mut self.buckets[bucket as usize], at);
    }

    #[inline]
    fn unchain(&mut self, at: u16) {
        let Node { key, chain, bucket, .. } = self.nodes[at as usize];
        if key == NOBODY {
            return;
        }
        let mut before = self.buckets[bucket as usize];
        if before == at {
            self.buckets[bucket as usize] = chain;
            return;
        }
        while self.nodes[before as usize].chain != at {
            before = self.nodes[before as usize].chain;
        }
        self.nodes[before as usize].chain = chain;
    }

    #[inline]
    fn move_to_front(&mut self, at: u16) {
        let newest = self.newest;
        if at == newest {
            return;
        }
        let Node { newer, older, .. } = self.nodes[at as usize];
        self.nodes[newer as usize].older = older;
        self.nodes[older as usize].newer = newer;
        let oldest = std::mem::replace(&mut self.nodes[newest as usize].newer, at);
        self.nodes[oldest as usize].older = at;
        let node = &mut self.nodes[at as usize];
        (node.newer, node.older) = (oldest, newest);
        self.newest = at;
    }

    /// The keys, the most recent first.
    fn by_age(&self) -> impl Iterator<Item = u64> {
        let nodes = std::iter::successors(Some(self.newest), |at| Some(self.nodes[*at as usize].older));
        nodes.map(|at| self.nodes[at as usize].key).take(self.nodes.len() - 1)
    }
}

/// What is held, and in which order it would go.
impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.by_age().eq(other.by_age())
    }
}

impl Eq for List {}
