//! Order statistics: quantiles, and an interval of the median that assumes no distribution.

use super::ALPHA;

fn finite(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|value| value.is_finite()).collect()
}

/// Median; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Quantile of type 7 of Hyndman and Fan (1996), the default of R and NumPy: linear between the order statistics around
/// `(n - 1) * q`. `q` is clamped to 0..=1; `None` of nothing.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut values = finite(values);
    let last = values.len().checked_sub(1)?;
    let at = last as f64 * q.clamp(0.0, 1.0);
    let below = at.floor() as usize;
    // A run of a million windows is not sorted for two of its values.
    let (_, &mut low, behind) = values.select_nth_unstable_by(below, f64::total_cmp);
    let high = behind.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    Some(low + (at - below as f64) * (high - low))
}

/// Interval of the median with at least 95 % coverage under any continuous distribution: the narrowest symmetric pair of
/// order statistics `(x[k], x[n - k + 1])` with `1 - 2 P(Binomial(n, 1/2) < k) >= 0.95` (Conover, 1999, section 3.2).
/// `None` below 6 values: even the extremes of 5 cover only 93.75 %.
pub fn median_interval(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = finite(values);
    sorted.sort_by(f64::total_cmp);
    let k = binomial_rank(sorted.len())?;
    Some((sorted[k - 1], sorted[sorted.len() - k]))
}

/// Largest k, counted from 1, with P(Binomial(n, 1/2) <= k - 1) <= 0.025.
fn binomial_rank(n: usize) -> Option<usize> {
    // In logs, so that 2^-n does not underflow for long series.
    let mut log_mass = -(n as f64) * std::f64::consts::LN_2;
    let mut below = 0.0;
    let mut rank = 0;
    while rank < n {
        below += log_mass.exp();
        if below > ALPHA / 2.0 {
            break;
        }
        log_mass += ((n - rank) as f64 / (rank + 1) as f64).ln();
        rank += 1;
    }
    (rank > 0).then_some(rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `numpy.quantile([7, 1, 5, 3], q)`, linear by default.
    #[test]
    fn quantiles_agree_with_numpy() {
        for (q, expected) in [(0.0, 1.0), (0.1, 1.6), (0.25, 2.5), (0.5, 4.0), (0.9, 6.4), (0.99, 6.94), (1.0, 7.0)] {
            let found = quantile(&[7.0, 1.0, 5.0, 3.0], q).unwrap();
            assert!((found - expected).abs() < 1e-12, "q {q}: {found}");
        }
    }

    #[test]
    fn nothing_has_no_median() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[f64::NAN]), None);
        assert_eq!(median(&[4.0]), Some(4.0));
    }

    /// `int(scipy.stats.binom.ppf(0.025, n, 0.5))`, which is the first k with P(X <= k) >= 0.025.
    #[test]
    fn ranks_agree_with_binomial_quantiles_of_scipy() {
        for (n, expected) in [
            (5, None),
            (6, Some(1)),
            (8, Some(1)),
            (9, Some(2)),
            (10, Some(2)),
            (12, Some(3)),
            (20, Some(6)),
            (40, Some(14)),
            (100, Some(40)),
            (3000, Some(1446)),
        ] {
            assert_eq!(binomial_rank(n), expected, "n {n}");
        }
    }

    #[test]
    fn twelve_values_give_the_third_from_either_end() {
        let values: Vec<f64> = (1..=12).rev().map(f64::from).collect();
        assert_eq!(median_interval(&values), Some((3.0, 10.0)));
    }

    #[test]
    fn five_values_are_too_few_for_an_interval() {
        assert_eq!(median_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]), None);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_median(values in prop::collection::vec(-1e6f64..1e6, 6..60)) {
            let (low, high) = median_interval(&values).unwrap();
            let middle = median(&values).unwrap();
            prop_assert!(low <= middle && middle <= high);
        }
    }
}
