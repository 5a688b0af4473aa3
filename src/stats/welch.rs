//! Two samples by their means, with unequal variances: Welch's t.

use super::ALPHA;
use super::student;

/// Welch's test of candidate against baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Welch {
    /// Mean of the candidate less mean of the baseline.
    pub difference: f64,
    pub standard_error: f64,
    /// Degrees of freedom after Welch and Satterthwaite.
    pub df: f64,
    /// Two-sided.
    pub p: f64,
    /// 95 % interval of the difference.
    pub interval: (f64, f64),
}

/// R's `t.test(candidate, baseline)`, SciPy's `ttest_ind(candidate, baseline, equal_var=False)`. `None` with fewer than two
/// values on a side, or where no value differs from another of its side.
pub fn welch(baseline: &[f64], candidate: &[f64]) -> Option<Welch> {
    let (base, new) = (Moments::of(baseline)?, Moments::of(candidate)?);
    let square = base.error_square + new.error_square;
    if !(square.is_finite() && square > 0.0) {
        return None;
    }
    let standard_error = square.sqrt();
    let df = square * square
        / (base.error_square * base.error_square / (base.n - 1.0)
            + new.error_square * new.error_square / (new.n - 1.0));
    let difference = new.mean - base.mean;
    let reach = student::critical(ALPHA, df) * standard_error;
    Some(Welch {
        difference,
        standard_error,
        df,
        p: student::two_sided(difference / standard_error, df),
        interval: (difference - reach, difference + reach),
    })
}

/// The difference that a two-sided test at level `alpha` finds with the probability `power`, given the spread that `test` saw.
/// The non-central t is taken as the central one shifted: at 4+4 values and a power of 80 % that gives 79.7 %.
pub fn detectable(test: &Welch, alpha: f64, power: f64) -> f64 {
    let reached = 2.0 * (1.0 - power);
    (student::critical(alpha, test.df) + student::critical(reached, test.df)) * test.standard_error
}

struct Moments {
    n: f64,
    mean: f64,
    /// Square of the standard error of the mean.
    error_square: f64,
}

impl Moments {
    fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        if values.len() < 2 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        Some(Self { n, mean, error_square: squares / (n - 1.0) / n })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "found {found}, expected {expected}");
    }

    /// Student's sleep data (Biometrika 1908, p. 20; `sleep` in R). R's help page of `t.test` prints t = 1.8608, df = 17.776, p = 0.07939
    /// and -0.2054832 3.3654832; further digits: `scipy.stats.ttest_ind(g2, g1, equal_var=False)`, SciPy 1.17.1.
    #[test]
    fn agrees_with_r_on_the_data_of_student() {
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let test = welch(&first, &second).unwrap();
        close(test.difference / test.standard_error, 1.8608134674868526);
        close(test.df, 17.776473516178488);
        close(test.p, 0.0793941401873583);
        close(test.interval.0, -0.20548323071171137);
        close(test.interval.1, 3.3654832307117104);
    }

    #[test]
    fn one_value_or_no_spread_gives_no_test() {
        assert_eq!(welch(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(welch(&[1.0, 1.0], &[2.0, 2.0]), None);
        assert!(welch(&[1.0, 1.0], &[2.0, 3.0]).is_some());
    }

    /// `(isf(0.025, 8) + isf(0.2, 8)) * 0.01 * sqrt(2 / 5)`, at which `scipy.stats.nct` gives a power of 79.85 %.
    #[test]
    fn the_detectable_difference_is_found_four_times_in_five() {
        let spread = [-0.01, 0.01].map(|step| step * 2.0f64.sqrt());
        let values = [spread[0], spread[1], 0.0, 0.0, 0.0];
        let test = welch(&values, &values).unwrap();
        close(test.df, 8.0);
        close(detectable(&test, 0.05, 0.8), 0.020206281650809056);
    }
}
