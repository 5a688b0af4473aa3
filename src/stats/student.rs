//! Student's t distribution, of any real number of degrees of freedom above zero.

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
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if two_sided(middle, df) > p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// I_x(a, b) by Lentz's continued fraction (DLMF 8.17.22), on the side where it converges fast.
fn beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    }
}

fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut sum = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        sum *= c * d;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let step = c * d;
        sum *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    sum
}

/// Natural logarithm of the gamma function of x > 0: Stirling's series (Abramowitz and Stegun 6.1.41) above 10, reached by the recurrence.
fn ln_gamma(x: f64) -> f64 {
    let mut x = x;
    let mut shift = 0.0;
    while x < 10.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = 1.0 / 12.0
        - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square * (1.0 / 1188.0))));
    shift + (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series / x
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
