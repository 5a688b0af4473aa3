//! In which order a trigger visits the programs, and how far apart two visits to one of them are.

use std::fmt;
use std::str::FromStr;

use super::as_text::serde_as_text;
use super::trigger::TriggerKind;

/// The order of visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// As they were loaded, round and round: in pack on the next program lies right behind.
    Sequential,
    /// In a seeded order that has nothing to do with their places, round and round.
    Permuted,
    /// Each drawn anew, all alike likely.
    Random,
    /// Each drawn anew, the program of rank r with a weight of 1 / r^s; ranks have nothing to do with places.
    Zipf(Exponent),
}

/// The s of a Zipf distribution, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exponent(u32);

/// Steeper than any load that was ever published.
const MOST_THOUSANDTHS: u32 = 4000;

impl Exponent {
    /// From thousandths, 1 to 4000.
    pub fn new(thousandths: u32) -> Option<Self> {
        (1..=MOST_THOUSANDTHS).contains(&thousandths).then_some(Self(thousandths))
    }

    /// `base` to the power of s, which is taken in steps of 1/1024: by square roots and products alone, which every machine
    /// rounds alike.
    pub fn power(self, base: f64) -> f64 {
        let steps = (u64::from(self.0) * 1024 + 500) / 1000;
        let whole = (0..steps / 1024).fold(1.0, |power, _| power * base);
        let mut root = base;
        (0..10).rev().fold(whole, |power, bit| {
            root = root.sqrt();
            if ((steps % 1024) >> bit) & 1 == 1 { power * root } else { power }
        })
    }
}

impl Order {
    /// What a trigger does unless it is told otherwise.
    pub fn of(trigger: TriggerKind) -> Self {
        if trigger == TriggerKind::Walk { Self::Random } else { Self::Permuted }
    }

    /// Whether each visit is drawn; otherwise the programs are visited in turn.
    pub fn is_drawn(self) -> bool {
        matches!(self, Self::Random | Self::Zipf(_))
    }

    /// Why `trigger` cannot visit in this order; `None` if it can.
    pub fn refused_by(self, trigger: TriggerKind) -> Option<String> {
        match (trigger == TriggerKind::Walk, self.is_drawn()) {
            (true, false) => Some(format!(
                "`{self}` does not go with trigger `walk`, which draws each program: use \"random\" or \"zipf(S)\", or trigger \"chain\""
            )),
            (false, true) => Some(format!(
                "`{self}` does not go with trigger `{trigger}`, which runs the programs in turn: use \"sequential\" or \"permuted\", or trigger \"walk\""
            )),
            _ => None,
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequential => f.pad("sequential"),
            Self::Permuted => f.pad("permuted"),
            Self::Random => f.pad("random"),
            Self::Zipf(Exponent(thousandths)) => f.pad(&format!("zipf({})", f64::from(*thousandths) / 1000.0)),
        }
    }
}

serde_as_text!(Order);

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let zipf = || {
            let exponent: f64 = text.strip_prefix("zipf(")?.strip_suffix(')')?.trim().parse().ok()?;
            let thousandths = (exponent * 1000.0).round();
            let inside = (1.0..=f64::from(MOST_THOUSANDTHS)).contains(&thousandths);
            Exponent::new(if inside { thousandths as u32 } else { 0 }).map(Self::Zipf)
        };
        match text {
            "sequential" => Ok(Self::Sequential),
            "permuted" => Ok(Self::Permuted),
            "random" => Ok(Self::Random),
            _ => zipf().ok_or_else(|| {
                format!("unknown order `{text}`: expected `sequential`, `permuted`, `random` or `zipf(S)` with S from 0.001 to 4")
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_is_written_as_it_is_read() {
        for text in ["sequential", "permuted", "random", "zipf(0.99)", "zipf(1)", "zipf(0.001)", "zipf(4)"] {
            assert_eq!(text.parse::<Order>().expect(text).to_string(), text);
        }
        for text in ["", "zipf", "zipf()", "zipf(0)", "zipf(5)", "zipf(-1)", "zipf(nan)", "zipf(1", "Random"] {
            assert!(text.parse::<Order>().is_err(), "{text}");
        }
    }

    #[test]
    fn powers_are_powers() {
        for (thousandths, base) in [(1, 2.0), (500, 9.0), (990, 2048.0), (1000, 7.0), (2500, 100.0), (4000, 3.0)] {
            let power = Exponent::new(thousandths).expect("in range").power(base);
            let expected = f64::powf(base, f64::from(thousandths) / 1000.0);
            assert!((power / expected - 1.0).abs() < 0.005, "{base}^{thousandths}: {power} is not {expected}");
        }
    }

    #[test]
    fn a_trigger_refuses_orders_it_cannot_keep() {
        let zipf: Order = "zipf(1)".parse().expect("an order");
        for (trigger, order, fits) in [
            (TriggerKind::Chain, Order::Sequential, true),
            (TriggerKind::Chain, Order::Permuted, true),
            (TriggerKind::Chain, Order::Random, false),
            (TriggerKind::Chain, zipf, false),
            (TriggerKind::Walk, Order::Random, true),
            (TriggerKind::Walk, zipf, true),
            (TriggerKind::Walk, Order::Permuted, false),
        ] {
            assert_eq!(order.refused_by(trigger).is_none(), fits, "{trigger} {order}");
        }
    }
}
