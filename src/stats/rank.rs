//! Two samples by rank: Mann-Whitney's test, and the shift of Hodges and Lehmann with the interval that inverts it.

use super::ALPHA;
use super::order::median;

/// Up to this size on both sides the distribution of U is counted out; beyond, it is taken as normal.
const EXACT_UP_TO: usize = 20;
/// Upper 2.5 % point of the normal distribution.
const Z_975: f64 = 1.959_963_984_540_054;

/// Result of the two-sided Mann-Whitney test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    /// Pairs in which the candidate is larger; a tie counts one half.
    pub u: f64,
    /// Two-sided.
    pub p: f64,
    /// Counted out, not approximated.
    pub exact: bool,
}

/// Shift from the baseline to the candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Median of all differences candidate - baseline.
    pub estimate: f64,
    /// At least 95 % interval; `None` where even the full range of differences covers less (below 4+4, for one).
    pub interval: Option<(f64, f64)>,
}

/// Two-sided Mann-Whitney test (R's `wilcox.test`, SciPy's `mannwhitneyu`). Exact by counting if both sides have at most
/// 20 values and none ties with another; otherwise normal, with tie and continuity correction. `None` if a side is empty.
pub fn mann_whitney(baseline: &[f64], candidate: &[f64]) -> Option<MannWhitney> {
    if baseline.is_empty() || candidate.is_empty() {
        return None;
    }
    let (m, n) = (candidate.len(), baseline.len());
    let u = pairs_above(baseline, candidate);
    let ties = tie_sizes(baseline, candidate);
    let exact = m.max(n) <= EXACT_UP_TO && ties.iter().all(|&size| size == 1);
    let p = if exact { exact_p(m, n, u) } else { normal_p(m, n, u, &ties) };
    Some(MannWhitney { u, p, exact })
}

/// Hodges-Lehmann estimate of the shift with its at least 95 % interval: the k-th smallest and k-th largest difference, k
/// from the null distribution of U (Hollander and Wolfe, section 4.3; the same ends as R's `wilcox.test(conf.int = TRUE)`
/// for small samples). Ties leave the interval conservative. On logs the shift is the log of a ratio. `None` if a side is empty.
pub fn hodges_lehmann(baseline: &[f64], candidate: &[f64]) -> Option<Shift> {
    let mut differences: Vec<f64> = candidate.iter().flat_map(|c| baseline.iter().map(move |b| c - b)).collect();
    differences.sort_by(f64::total_cmp);
    let estimate = median(&differences)?;
    let rank = interval_rank(candidate.len(), baseline.len());
    let interval = rank.map(|k| (differences[k - 1], differences[differences.len() - k]));
    Some(Shift { estimate, interval })
}

fn pairs_above(baseline: &[f64], candidate: &[f64]) -> f64 {
    let score = |c: f64, b: f64| match c.total_cmp(&b) {
        _ if c == b => 0.5,
        std::cmp::Ordering::Greater => 1.0,
        _ => 0.0,
    };
    candidate.iter().map(|&c| baseline.iter().map(|&b| score(c, b)).sum::<f64>()).sum()
}

/// How many values share each distinct value.
fn tie_sizes(baseline: &[f64], candidate: &[f64]) -> Vec<usize> {
    let mut all: Vec<f64> = baseline.iter().chain(candidate).copied().collect();
    all.sort_by(f64::total_cmp);
    all.chunk_by(|a, b| a == b).map(<[f64]>::len).collect()
}

/// Number of orders of m + n values with each U from 0 to m * n: the coefficients of the Gaussian binomial, built up as
/// the product over i of `(1 - q^(n + i)) / (1 - q^i)`. At most C(40, 20) here, so that i64 holds them.
fn u_counts(m: usize, n: usize) -> Vec<i64> {
    let mut counts = vec![0i64; m * n + 1];
    counts[0] = 1;
    for i in 1..=m {
        for u in (n + i..counts.len()).rev() {
            counts[u] -= counts[u - n - i];
        }
        for u in i..counts.len() {
            counts[u] += counts[u - i];
        }
    }
    counts
}

fn exact_p(m: usize, n: usize, u: f64) -> f64 {
    let counts = u_counts(m, n);
    let total: i64 = counts.iter().sum();
    let nearer_end = u.min((m * n) as f64 - u) as usize;
    let tail: i64 = counts[..=nearer_end].iter().sum();
    (2.0 * tail as f64 / total as f64).min(1.0)
}

fn normal_p(m: usize, n: usize, u: f64, ties: &[usize]) -> f64 {
    let (m, n) = (m as f64, n as f64);
    let all = m + n;
    let tied: f64 = ties.iter().map(|&size| (size as f64).powi(3) - size as f64).sum();
    let variance = m * n / 12.0 * ((all + 1.0) - tied / (all * (all - 1.0)));
    if variance <= 0.0 {
        // Every value is the same: nothing speaks against equality.
        return 1.0;
    }
    let z = ((u - m * n / 2.0).abs() - 0.5).max(0.0) / variance.sqrt();
    (2.0 * upper_tail(z)).min(1.0)
}

/// Smallest u with P(U <= u) >= 0.025, R's `qwilcox(0.025, m, n)`; `None` if that is 0.
fn interval_rank(m: usize, n: usize) -> Option<usize> {
    let rank = if m.max(n) <= EXACT_UP_TO {
        let counts = u_counts(m, n);
        let total: i64 = counts.iter().sum();
        let mut below = 0;
        counts.iter().position(|count| {
            below += count;
            below as f64 >= ALPHA / 2.0 * total as f64
        })?
    } else {
        let pairs = (m * n) as f64;
        let deviation = (pairs * (m + n + 1) as f64 / 12.0).sqrt();
        (pairs / 2.0 - Z_975 * deviation - 0.5).ceil().max(0.0) as usize
    };
    (rank > 0).then_some(rank)
}

/// P(Z > z) of the standard normal for z >= 0: the power series of the distribution near 0, and Lentz's continued fraction of
/// Mills' ratio in the tail (Abramowitz and Stegun 26.2.11, 26.2.14). Relative error below 1e-12.
fn upper_tail(z: f64) -> f64 {
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if z < 3.0 {
        let (mut term, mut sum) = (z, z);
        for odd in (3..200).step_by(2) {
            term *= z * z / f64::from(odd);
            sum += term;
        }
        return 0.5 - density * sum;
    }
    let fraction = (1..=200).rev().fold(z, |below, k| z + f64::from(k) / below);
    density / fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: [f64; 8] = [41.9, 42.3, 41.2, 43.0, 42.7, 41.5, 42.1, 42.9];
    const B: [f64; 9] = [42.6, 43.9, 44.1, 42.2, 45.0, 43.3, 44.7, 43.5, 42.8];

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "found {found}, expected {expected}");
    }

    /// `scipy.stats.mannwhitneyu(B, A, method="exact")`, SciPy 1.17.1.
    #[test]
    fn small_samples_are_counted_out_as_scipy_does() {
        let test = mann_whitney(&A, &B).unwrap();
        assert_eq!((test.u, test.exact), (63.0, true));
        close(test.p, 0.007897984368572603);
    }

    /// Permeability of the chorioamnion (Hollander and Wolfe, 1973, p. 69), the example of R's `wilcox.test`: W = 35, p = 0.1272 one-sided,
    /// difference in location 0.305. Two-sided p and the ends of the interval: SciPy and NumPy, as below.
    #[test]
    fn agrees_with_r_on_the_data_of_hollander_and_wolfe() {
        let term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let early = [1.15, 0.88, 0.90, 0.74, 1.21];
        let test = mann_whitney(&early, &term).unwrap();
        assert_eq!((test.u, test.exact), (35.0, true));
        close(test.p, 0.2544122544122544);
        let shift = hodges_lehmann(&early, &term).unwrap();
        close(shift.estimate, 0.305);
        let (low, high) = shift.interval.unwrap();
        close(low, -0.15);
        close(high, 0.76);
    }

    /// `mannwhitneyu(range(m), range(100, 100 + m), method="exact").pvalue`: 2 / C(2m, m).
    #[test]
    fn complete_separation_has_the_smallest_p() {
        for (m, expected) in [(4, 0.02857142857142857), (5, 0.007936507936507936), (12, 7.39602301050679e-07)] {
            let low: Vec<f64> = (0..m).map(f64::from).collect();
            let high: Vec<f64> = (100..100 + m).map(f64::from).collect();
            close(mann_whitney(&low, &high).unwrap().p, expected);
            close(mann_whitney(&high, &low).unwrap().p, expected);
        }
    }

    /// `mannwhitneyu(y, x, method="asymptotic", use_continuity=True)`.
    #[test]
    fn ties_and_large_samples_take_the_normal_with_both_corrections() {
        let test = mann_whitney(&[0.0, 0.0, 0.0, 1.0, 2.0, 2.0], &[0.0, 1.0, 3.0, 3.0, 4.0, 5.0, 5.0]).unwrap();
        assert_eq!((test.u, test.exact), (35.0, false));
        close(test.p, 0.049210347458313784);
        let x: Vec<f64> = (0..25).map(|i| f64::from(i * 37 % 101) / 10.0).collect();
        let y: Vec<f64> = (0..25).map(|i| f64::from(i * 53 % 97) / 10.0 + 1.5).collect();
        let test = mann_whitney(&x, &y).unwrap();
        assert_eq!((test.u, test.exact), (369.0, false));
        close(test.p, 0.2771622694352517);
    }

    #[test]
    fn equal_values_throughout_show_nothing() {
        assert_eq!(mann_whitney(&[0.0; 8], &[0.0; 8]).unwrap().p, 1.0);
        assert_eq!(mann_whitney(&[], &[1.0]), None);
        assert_eq!(hodges_lehmann(&[1.0], &[]), None);
    }

    /// Smallest u with `scipy.stats._mannwhitneyu._MWU(m, n).cdf(u) >= 0.025`, the same as R's `qwilcox(0.025, m, n)`.
    #[test]
    fn interval_ranks_agree_with_the_exact_distribution() {
        for (m, n, expected) in
            [(3, 3, None), (4, 4, Some(1)), (5, 5, Some(3)), (8, 9, Some(16)), (12, 12, Some(38)), (20, 20, Some(128))]
        {
            assert_eq!(interval_rank(m, n), expected, "{m}+{n}");
        }
    }

    /// The same from SciPy's exact distribution, beyond the size that is counted out here: the normal may widen the interval
    /// by a rank, but must not narrow it.
    #[test]
    fn ranks_of_large_samples_are_at_most_one_too_cautious() {
        for (m, n, exact) in [(25, 25, 212), (30, 21, 213), (40, 40, 597)] {
            let found = interval_rank(m, n).unwrap();
            assert!(found == exact || found + 1 == exact, "{m}+{n}: {found} against {exact}");
        }
    }

    /// NumPy: `d = sorted(b - a for a in A for b in B)`; `median(d)`, `d[15]` and `d[-16]`, 16 being the rank for 9+8.
    #[test]
    fn the_shift_agrees_with_the_sorted_differences() {
        let shift = hodges_lehmann(&A, &B).unwrap();
        close(shift.estimate, 1.35);
        let (low, high) = shift.interval.unwrap();
        close(low, 0.5);
        close(high, 2.3);
    }

    /// `scipy.stats.norm.sf(z)`.
    #[test]
    fn the_normal_tail_agrees_with_scipy() {
        for (z, expected) in [
            (0.0, 0.5),
            (0.5, 0.3085375387259869),
            (1.96, 0.024997895148220435),
            (2.9, 0.0018658133003840375),
            (3.1, 0.0009676032132183563),
            (5.0, 2.866515718791933e-07),
            (8.0, 6.22096057427174e-16),
        ] {
            assert!((upper_tail(z) / expected - 1.0).abs() < 1e-9, "z {z}: {}", upper_tail(z));
        }
    }

    proptest! {
        #[test]
        fn swapping_the_sides_mirrors_the_shift_and_keeps_p(
            a in prop::collection::vec(-1e3f64..1e3, 4..15), b in prop::collection::vec(-1e3f64..1e3, 4..15),
        ) {
            let (there, back) = (hodges_lehmann(&a, &b).unwrap(), hodges_lehmann(&b, &a).unwrap());
            prop_assert!((there.estimate + back.estimate).abs() < 1e-9);
            let ((low, high), (back_low, back_high)) = (there.interval.unwrap(), back.interval.unwrap());
            prop_assert!((low + back_high).abs() < 1e-9 && (high + back_low).abs() < 1e-9);
            prop_assert!(low <= there.estimate && there.estimate <= high);
            let (p, q) = (mann_whitney(&a, &b).unwrap().p, mann_whitney(&b, &a).unwrap().p);
            prop_assert!((p - q).abs() < 1e-12 && p <= 1.0);
        }
    }
}
