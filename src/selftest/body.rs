//! A program to load: what it computes follows from its seed, so its result is known before it runs.

use std::fmt;

/// How a program is built; each way takes another path through the JIT and the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One function.
    Plain,
    /// A main function that calls `parts` others: each gets chunks of its own in one load.
    Subprograms,
    /// `parts` programs, each of which tail-calls the next.
    TailCalls,
    /// One function, of steps that all have the same length in machine code.
    Long,
    /// A classic filter on a socket: no verifier, no id, no symbol.
    Classic,
    /// Loads through kernel pointers, one of them bad: the image has an exception table behind it.
    Extable,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Subprograms => "subprograms",
            Self::TailCalls => "tail-calls",
            Self::Long => "long",
            Self::Classic => "classic",
            Self::Extable => "extable",
        })
    }
}

/// One arithmetic step on a u32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Add(u32),
    Sub(u32),
    Xor(u32),
    Mul(u32),
    Div(u32),
}

impl Step {
    /// What it makes of `value`.
    pub fn apply(self, value: u32) -> u32 {
        match self {
            Self::Add(by) => value.wrapping_add(by),
            Self::Sub(by) => value.wrapping_sub(by),
            Self::Xor(by) => value ^ by,
            Self::Mul(by) => value.wrapping_mul(by),
            Self::Div(by) => value / by,
        }
    }
}

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Body {
    pub kind: Kind,
    /// Decides its constants.
    pub seed: u32,
    /// Steps in each part.
    pub steps: u32,
    /// Functions or programs behind the first.
    pub parts: u32,
}

/// Results of classic filters are lengths: 1 to this many.
pub const MOST_CLASSIC: u32 = 1024;

impl Body {
    /// One function of `steps` steps.
    pub fn plain(seed: u32, steps: u32) -> Self {
        Self { kind: Kind::Plain, seed, steps, parts: 0 }
    }

    /// The steps of part number `part`; 0 is the main function, or the program that is entered.
    pub fn part(&self, part: u32) -> Vec<Step> {
        let mut random = oorandom::Rand32::new(u64::from(self.seed) << 16 | u64::from(part));
        let even = self.kind == Kind::Long || self.kind == Kind::Classic && self.steps > 1000;
        (0..self.steps).map(|at| if even { even_step(at, &mut random) } else { any_step(&mut random) }).collect()
    }

    /// What it returns for `input`.
    pub fn result(&self, input: u32) -> u32 {
        let chain = |from: u32| {
            (0..=self.parts)
                .fold(from, |value, part| self.part(part).into_iter().fold(value, |value, step| step.apply(value)))
        };
        match self.kind {
            Kind::Classic => chain(self.seed) % MOST_CLASSIC + 1,
            // It adds what it loads through its pointers, which is 0 if all is right.
            Kind::Extable => input,
            _ => chain(input),
        }
    }

    /// Programs that the kernel lists: neither functions of another nor classic filters.
    pub fn listed(&self) -> u32 {
        match self.kind {
            Kind::TailCalls => self.parts + 1,
            Kind::Classic => 0,
            _ => 1,
        }
    }

    /// Programs that the kernel frees when it is unloaded.
    pub fn frees(&self) -> u32 {
        match self.kind {
            Kind::TailCalls | Kind::Subprograms => self.parts + 1,
            _ => 1,
        }
    }
}

/// Constants of one, two and four bytes make instructions of different lengths.
fn any_step(random: &mut oorandom::Rand32) -> Step {
    let bits = [6, 12, 31][random.rand_range(0..3) as usize];
    let constant = random.rand_u32() >> (32 - bits) | 1;
    match random.rand_range(0..5) {
        0 => Step::Add(constant),
        1 => Step::Sub(constant),
        2 => Step::Xor(constant),
        3 => Step::Mul(constant),
        _ => Step::Div(constant % 3 + 2),
    }
}

/// Divisions are long in machine code; the additions between them keep the value from running dry.
fn even_step(at: u32, random: &mut oorandom::Rand32) -> Step {
    let constant = random.rand_u32() >> 2 | 1 << 28;
    if at.is_multiple_of(2) { Step::Div(0x3039) } else { Step::Add(constant) }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} steps, seed {}", self.kind, self.steps, self.seed)?;
        if self.parts > 0 { write!(f, ", {} parts", self.parts) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_follows_from_the_seed_and_depends_on_every_part() {
        let body = Body { kind: Kind::Subprograms, seed: 7, steps: 20, parts: 3 };
        assert_eq!(body.result(5), body.result(5));
        assert_ne!(body.result(5), Body { seed: 8, ..body }.result(5));
        assert_ne!(body.part(1), body.part(2));
        let differing = (0..100).filter(|&seed| {
            let body = Body { seed, ..body };
            body.result(9) != Body { parts: 2, ..body }.result(9)
        });
        assert!(differing.count() > 80, "the last part counts");
    }

    #[test]
    fn lengths_of_classic_filters_are_lengths_of_packets() {
        for seed in 0..200 {
            let result = Body { kind: Kind::Classic, seed, steps: 9, parts: 0 }.result(0);
            assert!((1..=MOST_CLASSIC).contains(&result));
        }
    }

    #[test]
    fn long_bodies_do_not_run_dry() {
        let results: std::collections::HashSet<u32> =
            (0..50).map(|seed| Body { kind: Kind::Long, seed, steps: 1000, parts: 0 }.result(1)).collect();
        assert!(results.len() > 45, "{}", results.len());
    }
}
