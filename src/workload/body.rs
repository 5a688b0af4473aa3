//! What a measured program does, and how long it is.

use clap::ValueEnum as _;
use serde::{Deserialize, Serialize};

/// A measured body: straight-line code named by the JITed size it aims at in bytes, a model of what a common tool loads, or a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// Straight-line code, as short as it can be
    #[serde(rename = "128")]
    #[value(name = "128")]
    B128,
    /// Straight-line code: additions
    #[serde(rename = "256")]
    #[value(name = "256")]
    B256,
    /// Straight-line code: additions
    #[serde(rename = "512")]
    #[value(name = "512")]
    B512,
    /// Straight-line code: additions
    #[serde(rename = "1024")]
    #[value(name = "1024")]
    B1024,
    /// Straight-line code: additions
    #[serde(rename = "2048")]
    #[value(name = "2048")]
    B2048,
    /// Straight-line code: additions
    #[serde(rename = "4096")]
    #[value(name = "4096")]
    B4096,
    /// Counts on each CPU: array lookup
    Counter,
    /// Longest prefix of an address among 129 routes: trie lookup
    Lpm,
    /// Token bucket, filled by the time that passed: array lookup, clock
    TokenBucket,
    /// Parses Ethernet, IPv4 and UDP, looks five fields up: hash lookup
    Classifier,
    /// Histogram of the time since last seen: clock, array lookup
    Latency,
    /// Finds the flow of a packet and accounts it: LRU hash lookup, clock
    Conntrack,
    /// Ladder of 33 comparisons, as eBPF: what classic filters are translated into; not a classic filter itself
    Seccomp,
    /// Ten rules over kind, number and access of a device
    Device,
    /// Walks over the labels of a name, in lower case, into a hash
    Dns,
    /// Fills a record of an opened file in a per-CPU buffer: array lookup, clock
    Opensnoop,
    /// Branches that depend on data.
    Branchy,
    /// Checksum and mix of a header, each a function of its own (bpf-to-bpf calls).
    Subprograms,
    /// Sizes as published of a fleet: half under 500 bytes, three quarters under 2000.
    Fleet,
    /// All the models of one function in turn.
    Tools,
}

/// Half under 500 bytes, three quarters under 2000; the largest share of a fleet's text is in few programs.
const FLEET: [Body; 8] =
    [Body::B128, Body::B1024, Body::B256, Body::B4096, Body::B128, Body::B2048, Body::B256, Body::B4096];

const TOOLS: [Body; 11] = [
    Body::Counter,
    Body::Lpm,
    Body::TokenBucket,
    Body::Classifier,
    Body::Latency,
    Body::Conntrack,
    Body::Seccomp,
    Body::Device,
    Body::Dns,
    Body::Opensnoop,
    Body::Branchy,
];

impl Body {
    /// The straight-line bodies, smallest first.
    pub const SIZES: [Self; 6] = [Self::B128, Self::B256, Self::B512, Self::B1024, Self::B2048, Self::B4096];

    /// Every body.
    pub fn all() -> Vec<Self> {
        Self::SIZES.into_iter().chain(TOOLS).chain([Self::Subprograms, Self::Fleet, Self::Tools]).collect()
    }

    /// What a mix is made of, in turn by position; itself if it is no mix.
    pub fn parts(self) -> Vec<Self> {
        match self {
            Self::Fleet => FLEET.to_vec(),
            Self::Tools => TOOLS.to_vec(),
            single => vec![single],
        }
    }

    /// The body of the program at `position`.
    pub fn at(self, position: u32) -> Self {
        let parts = self.parts();
        parts[position as usize % parts.len()]
    }

    /// Whether it is straight-line code of a size, and no model of a tool.
    pub fn is_size(self) -> bool {
        self.parts().iter().all(|part| Self::SIZES.contains(part))
    }

    /// The JITed size it aims at, of a mix the mean; the length that counts is read back from the kernel.
    pub fn nominal_bytes(self) -> u32 {
        match self {
            Self::B128 => 128,
            Self::B256 => 256,
            Self::B512 => 512,
            Self::B1024 => 1024,
            Self::B2048 => 2048,
            Self::B4096 => 4096,
            Self::Counter => 147,
            Self::Lpm => 169,
            Self::TokenBucket => 239,
            Self::Classifier => 355,
            Self::Latency => 297,
            Self::Conntrack => 509,
            Self::Seccomp => 500,
            Self::Device => 389,
            Self::Dns => 224,
            Self::Opensnoop => 249,
            Self::Branchy => 989,
            Self::Subprograms => 680,
            Self::Fleet | Self::Tools => {
                let parts = self.parts();
                parts.iter().map(|part| part.nominal_bytes()).sum::<u32>() / parts.len() as u32
            }
        }
    }

    /// What it does, in a few words.
    pub fn meaning(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_else(|| "Straight-line code".to_owned())
    }

    /// `128 bytes`, or the name of what it is.
    pub fn text(self) -> String {
        match Self::SIZES.contains(&self) {
            true => format!("{self} bytes"),
            false => self.to_string(),
        }
    }

    /// Of its parts the one that takes most.
    pub fn largest_bytes(self) -> u32 {
        self.parts().iter().map(|part| part.nominal_bytes()).max().unwrap_or(0)
    }

    /// Of its parts the one that takes least.
    pub fn smallest(self) -> Self {
        self.parts().into_iter().min_by_key(|part| part.nominal_bytes()).unwrap_or(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_fleet_is_under_500_bytes_and_three_quarters_under_2000() {
        let share = |most| FLEET.iter().filter(|part| part.nominal_bytes() < most).count() * 100 / FLEET.len();
        // The body of 2048 bytes has 1917 as JITed.
        assert_eq!((share(500), share(2049)), (50, 75));
    }

    #[test]
    fn every_body_says_what_it_does() {
        for body in Body::all() {
            assert!(body.meaning().len() > 10, "{body}: {}", body.meaning());
        }
        assert!(Body::Seccomp.meaning().contains("not a classic filter"));
    }

    #[test]
    fn a_mix_deals_its_parts_in_turn() {
        assert_eq!([0, 1, 8].map(|position| Body::Fleet.at(position)), [Body::B128, Body::B1024, Body::B128]);
        assert_eq!(Body::Dns.at(5), Body::Dns);
    }
}
