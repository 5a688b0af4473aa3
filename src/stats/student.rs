//! Student's t distribution, of any real number of degrees of freedom above zero.

use super::beta::beta;

/// P(|T| > |t|), two-sided; the regularised incomplete beta function I_x(df/2, 1/2) at x = df / (df + t^2)
/// (Abramowitz and Stegun 26.7.1).
pub fn two_sided(t: f64, df: f64) -> f64 {
    if !t.is_finite() {
        return 0.0;
    }
    beta(df / 2.0, 0.5, df / t.mul_add(t, df)).clamp(0.0, 1.0)
}

/// The t with P(|T| > t) = `p`, for p in 0..1; found by bisection, since the tail is monotone.
pub fn critical(p: f64, df: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while two_sided(high, df) > p && high < 1e300 {
        (low, high) = (high, high * 2.0);
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if two_sided(middle, df) > p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-10, "found {found}, expected {expected}");
    }

    /// `2 * scipy.stats.t.sf(t, df)`, SciPy 1.17.1.
    #[test]
    fn tails_agree_with_scipy() {
        for (t, df, expected) in TAILS {
            close(two_sided(t, df), expected);
            close(two_sided(-t, df), expected);
        }
        assert_eq!(two_sided(0.0, 5.0), 1.0);
        assert_eq!(two_sided(f64::INFINITY, 5.0), 0.0);
    }

    /// `scipy.stats.t.isf(p / 2, df)`; the first column of every table of t.
    #[test]
    fn critical_values_agree_with_scipy() {
        for (p, df, expected) in CRITICAL {
            close(critical(p, df), expected);
        }
    }

    const TAILS: [(f64, f64, f64); 11] = [
        (0.5, 1.0, 0.7048327646991335),
        (2.0, 1.0, 0.2951672353008665),
        (12.706, 1.0, 0.05000080235813319),
        (1.0, 2.5, 0.40406102727827364),
        (2.776, 4.0, 0.05002277831997642),
        (3.0, 3.7, 0.04412588561151867),
        (2.2, 11.3, 0.04946374443584093),
        (6.0, 8.0, 0.0003233932218851489),
        (1.96, 1000.0, 0.050273184955748736),
        (15.0, 6.0, 5.53024013859056e-06),
        (0.01, 30.0, 0.9920874925731777),
    ];
    const CRITICAL: [(f64, f64, f64); 8] = [
        (0.05, 1.0, 12.706204736174705),
        (0.05, 3.0, 3.1824463052837086),
        (0.05, 6.5, 2.402002007910278),
        (0.05, 18.0, 2.1009220402410387),
        (0.4, 6.0, 0.9057032851805314),
        (0.01, 4.2, 4.45777030531888),
        (0.0125, 10.0, 3.038243334128307),
        (0.05, 100000.0, 1.95998770753461),
    ];
}
