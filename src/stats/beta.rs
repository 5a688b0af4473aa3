//! The regularised incomplete beta function, and what is one step away from it: the interval of a proportion.

use super::ALPHA;

/// 95 % interval of a proportion after Clopper and Pearson (1934): at least 95 % coverage at any n. `None` of nothing.
pub fn proportion_interval(successes: usize, n: usize) -> Option<(f64, f64)> {
    if n == 0 || successes > n {
        return None;
    }
    let (k, failures) = (successes as f64, (n - successes) as f64);
    let low = if successes == 0 { 0.0 } else { quantile(ALPHA / 2.0, k, failures + 1.0) };
    let high = if successes == n { 1.0 } else { quantile(1.0 - ALPHA / 2.0, k + 1.0, failures) };
    Some((low, high))
}

/// The x with I_x(a, b) = p, by bisection.
fn quantile(p: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if beta(a, b, middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// I_x(a, b) by Lentz's continued fraction (DLMF 8.17.22), on the side where it converges fast.
pub(super) fn beta(a: f64, b: f64, x: f64) -> f64 {
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

    /// `scipy.stats.binomtest(k, n).proportion_ci(method="exact")`, SciPy 1.17.1; R's `binom.test` gives the same.
    #[test]
    fn proportions_agree_with_scipy() {
        for (k, n, low, high) in PROPORTIONS {
            let found = proportion_interval(k, n).unwrap();
            assert!((found.0 - low).abs() < 1e-10 && (found.1 - high).abs() < 1e-10, "{k} of {n}: {found:?}");
        }
        assert_eq!(proportion_interval(0, 0), None);
    }

    const PROPORTIONS: [(usize, usize, f64, f64); 5] = [
        (0, 200, 0.0, 0.018275340355148807),
        (1, 10, 0.0025285785444625728, 0.44501611702819543),
        (10, 200, 0.024234165472108292, 0.09002753770155869),
        (5, 5, 0.47817624989501856, 1.0),
        (103, 2000, 0.04222751211172638, 0.06211338604462719),
    ];
}
