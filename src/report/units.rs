//! Figures as text: the same digits in every output, and never a NaN.

use crate::compare::Unit;
use crate::runfile::manifest::MachineKind;
use crate::samples::{Metric, Provenance};

/// Stands where there is no figure.
pub const ABSENT: &str = "-";

/// A figure of any metric: 2 decimals below 1000, 1 below 10 000, none above.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => ABSENT.to_owned(),
        size if size < 1e3 => fixed(value, 2),
        size if size < 1e4 => fixed(value, 1),
        _ => fixed(value, 0),
    }
}

/// A ratio: 4 significant digits from 1 up to 999, 3 decimals below.
pub fn ratio(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => ABSENT.to_owned(),
        size if size < 10.0 => fixed(value, 3),
        size if size < 100.0 => fixed(value, 2),
        size if size < 1000.0 => fixed(value, 1),
        _ => fixed(value, 0),
    }
}

/// A ratio as the change it is: `+5.2%`.
pub fn change(ratio: f64) -> String {
    let percent = 100.0 * (ratio - 1.0);
    match percent.abs() {
        size if !size.is_finite() => ABSENT.to_owned(),
        size if size < 0.05 => "0.0%".to_owned(),
        size if size < 1000.0 => format!("{percent:+.1}%"),
        _ => format!("{percent:+.0}%"),
    }
}

/// The interval of a change, without a blank at which a narrow table would break it: `+3.1..+7.4%`.
pub fn change_interval(ends: Option<(f64, f64)>) -> String {
    let bare = |end| change(end).trim_end_matches('%').to_owned();
    ends.map_or_else(|| ABSENT.to_owned(), |(low, high)| format!("{}..{}", bare(low), change(high)))
}

/// A share in percent, one decimal.
pub fn percent(value: f64) -> String {
    if value.is_finite() { fixed(value, 1) } else { ABSENT.to_owned() }
}

/// A p-value, 4 decimals; below that only the bound.
pub fn p_value(p: f64) -> String {
    match p {
        p if !p.is_finite() => ABSENT.to_owned(),
        p if p < 0.0001 => "<0.0001".to_owned(),
        p => fixed(p, 4),
    }
}

/// `[low, high]`, both ends by `format`; absent if there is no interval.
pub fn interval(ends: Option<(f64, f64)>, format: fn(f64) -> String) -> String {
    ends.map_or_else(|| ABSENT.to_owned(), |(low, high)| format!("[{}, {}]", format(low), format(high)))
}

/// `value [low, high]`, or the value alone.
pub fn with_interval(value: f64, ends: Option<(f64, f64)>, format: fn(f64) -> String) -> String {
    match ends {
        Some(_) => format!("{} {}", format(value), interval(ends, format)),
        None => format(value),
    }
}

/// A figure, or the sign for its absence.
pub fn or_absent(value: Option<f64>, format: fn(f64) -> String) -> String {
    value.map_or_else(|| ABSENT.to_owned(), format)
}

/// The metric with its denominator, as it heads a table.
pub fn label(metric: Metric) -> &'static str {
    match metric {
        Metric::WallNs => "wall ns/exec",
        _ => metric.unit(),
    }
}

/// What n counts.
pub fn observation(unit: Unit) -> &'static str {
    match unit {
        Unit::Trial => "trials",
        Unit::Boot => "boots",
    }
}

/// How the figures of `metric` came about on this machine.
pub fn provenance(metric: Metric, machine: MachineKind) -> &'static str {
    match (machine, metric.provenance()) {
        (MachineKind::Sim, _) => "simulated",
        (MachineKind::Kernel, Provenance::Measured) => "measured",
        (MachineKind::Kernel, Provenance::Timed) => "timed",
    }
}

/// Without the minus sign of a value that rounds to zero.
pub fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.bytes().all(|byte| matches!(byte, b'0' | b'.')) => digits.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_their_digits() {
        for (value, expected) in [
            (0.0, "0.00"),
            (-0.001, "0.00"),
            (-1.5, "-1.50"),
            (42.123, "42.12"),
            (999.99, "999.99"),
            (1234.56, "1234.6"),
            (123456.7, "123457"),
            (f64::NAN, "-"),
            (f64::INFINITY, "-"),
        ] {
            assert_eq!(figure(value), expected);
        }
    }

    #[test]
    fn ratios_keep_theirs() {
        for (value, expected) in [(1.5234, "1.523"), (0.9, "0.900"), (15.234, "15.23"), (1523.4, "1523")] {
            assert_eq!(ratio(value), expected);
        }
    }

    #[test]
    fn changes_have_a_sign_unless_they_are_none() {
        for (ratio, expected) in
            [(1.0524, "+5.2%"), (0.5, "-50.0%"), (1.0004, "0.0%"), (88.33, "+8733%"), (f64::NAN, "-")]
        {
            assert_eq!(change(ratio), expected);
        }
    }

    #[test]
    fn an_interval_of_a_change_is_one_word() {
        assert_eq!(change_interval(Some((0.988, 1.092))), "-1.2..+9.2%");
        assert_eq!(change_interval(None), "-");
    }

    #[test]
    fn tiny_p_values_are_bounded() {
        for (p, expected) in [(0.02857, "0.0286"), (0.00004, "<0.0001"), (1.0, "1.0000")] {
            assert_eq!(p_value(p), expected);
        }
    }

    #[test]
    fn what_is_absent_is_marked() {
        assert_eq!(interval(None, figure), "-");
        assert_eq!(with_interval(2.0, None, ratio), "2.000");
        assert_eq!(with_interval(2.0, Some((1.0, 3.0)), figure), "2.00 [1.00, 3.00]");
        assert_eq!(or_absent(None, percent), "-");
    }
}
