//! Where a curve over numbers of programs bends: straight pieces over the logarithms of both, fitted to the trials.

use super::CONFIDENCE;
use super::order::quantile;

/// A place where the curve begins to rise faster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// The number at which it bends, one of those that were measured.
    pub at: f64,
    /// Where it bends in 95 % of the resamplings of the trials.
    pub low: f64,
    pub high: f64,
    /// Growth with each doubling before and behind it, in percent.
    pub before_percent: f64,
    pub after_percent: f64,
}

/// Fewer numbers than this show no knee.
pub const FEWEST_POINTS: usize = 6;
/// Bends that are looked for, those where the curve levels out among them.
const MOST_BENDS: usize = 4;
/// Resamplings.
const RESAMPLED: u32 = 200;
/// A bend counts as a knee if each doubling behind it costs so much more than one before it, in the logarithm.
const LEAST_RISE: f64 = 0.05;

/// Knees of `points`: a number, ascending, and the figures of its trials, all above 0. None where the points are too few or the curve
/// is straight.
pub fn knees(points: &[(f64, Vec<f64>)]) -> Vec<Knee> {
    let usable = points.len() >= FEWEST_POINTS
        && points.iter().all(|(x, ys)| *x > 0.0 && !ys.is_empty() && ys.iter().all(|y| *y > 0.0));
    if !usable {
        return Vec::new();
    }
    let xs: Vec<f64> = points.iter().map(|(x, _)| x.log2()).collect();
    let logs: Vec<Vec<f64>> = points.iter().map(|(_, ys)| ys.iter().map(|y| y.ln()).collect()).collect();
    let means: Vec<f64> = logs.iter().map(|ys| mean(ys)).collect();
    let best = choose(&xs, &means, &logs);
    let rises = |fit: &Fit| -> Vec<usize> {
        (0..fit.bends.len()).filter(|&at| fit.slopes[at + 1] - fit.slopes[at] > LEAST_RISE).collect()
    };
    let found = rises(&best);
    let mut resampled: Vec<Vec<f64>> = vec![Vec::new(); found.len()];
    let mut random = Shuffler(0x6b6e_6565);
    for _ in 0..RESAMPLED {
        let means: Vec<f64> = logs.iter().map(|ys| mean(&random.resample(ys))).collect();
        let again = fit(&xs, &means, best.bends.len());
        // The knees of one resampling are told apart by their order.
        let again_found = rises(&again);
        if again_found.len() == found.len() {
            again_found.iter().zip(&mut resampled).for_each(|(&at, all)| all.push(xs[again.bends[at]].exp2()));
        }
    }
    found
        .iter()
        .zip(&resampled)
        .map(|(&at, all)| {
            let place = xs[best.bends[at]].exp2();
            let tail = (1.0 - CONFIDENCE) / 2.0;
            Knee {
                at: place,
                low: quantile(all, tail).unwrap_or(place).min(place),
                high: quantile(all, 1.0 - tail).unwrap_or(place).max(place),
                before_percent: 100.0 * best.slopes[at].exp_m1(),
                after_percent: 100.0 * best.slopes[at + 1].exp_m1(),
            }
        })
        .collect()
}

/// Straight pieces that meet at `bends`, indices of points.
#[derive(Clone, Debug)]
struct Fit {
    bends: Vec<usize>,
    /// Of each piece, for each doubling.
    slopes: Vec<f64>,
    /// Sum of squares between the means and the pieces.
    rest: f64,
}

/// As many bends as pay for themselves (Bayes' information criterion over all trials).
fn choose(xs: &[f64], means: &[f64], logs: &[Vec<f64>]) -> Fit {
    let trials = logs.iter().map(Vec::len).sum::<usize>() as f64;
    let within: f64 = logs.iter().zip(means).flat_map(|(ys, m)| ys.iter().map(move |y| (y - m).powi(2))).sum();
    let each = trials / xs.len() as f64;
    let cost = |fit: &Fit| {
        // Below a thousandth of the figure nothing is worth a bend.
        let variance = ((within + each * fit.rest) / trials).max(1e-6);
        trials * variance.ln() + (2 * fit.bends.len() + 2) as f64 * trials.ln()
    };
    let fits = (0..=MOST_BENDS.min(xs.len().saturating_sub(3))).map(|bends| fit(xs, means, bends));
    fits.min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(Fit { bends: Vec::new(), slopes: vec![0.0], rest: 0.0 })
}

/// The best of all ways to put so many bends at inner points.
fn fit(xs: &[f64], means: &[f64], bends: usize) -> Fit {
    let mut best: Option<Fit> = None;
    let mut chosen: Vec<usize> = (1..=bends).collect();
    loop {
        if let Some(fit) =
            pieces(xs, means, &chosen).filter(|fit| best.as_ref().is_none_or(|best| fit.rest < best.rest))
        {
            best = Some(fit);
        }
        if !next_choice(&mut chosen, xs.len() - 2) {
            break;
        }
    }
    best.unwrap_or(Fit { bends: Vec::new(), slopes: vec![0.0], rest: f64::INFINITY })
}

/// The next way to choose from 1 to `last`, ascending.
fn next_choice(chosen: &mut [usize], last: usize) -> bool {
    let count = chosen.len();
    for at in (0..count).rev() {
        if chosen[at] < last - (count - 1 - at) {
            chosen[at] += 1;
            for behind in at + 1..count {
                chosen[behind] = chosen[behind - 1] + 1;
            }
            return true;
        }
    }
    false
}

/// Least squares of 1, x and the hinges max(0, x - bend).
fn pieces(xs: &[f64], means: &[f64], bends: &[usize]) -> Option<Fit> {
    let width = bends.len() + 2;
    let row = |x: f64| {
        let hinges = bends.iter().map(|&at| (x - xs[at]).max(0.0));
        [1.0, x - xs[0]].into_iter().chain(hinges).collect::<Vec<f64>>()
    };
    let rows: Vec<Vec<f64>> = xs.iter().map(|&x| row(x)).collect();
    let mut normal = vec![vec![0.0; width + 1]; width];
    for (row, y) in rows.iter().zip(means) {
        for i in 0..width {
            (0..width).for_each(|j| normal[i][j] += row[i] * row[j]);
            normal[i][width] += row[i] * y;
        }
    }
    let solved = solve(normal)?;
    let value = |row: &[f64]| row.iter().zip(&solved).map(|(a, b)| a * b).sum::<f64>();
    let rest = rows.iter().zip(means).map(|(row, y)| (y - value(row)).powi(2)).sum();
    let mut slope = 0.0;
    let slopes = solved[1..].iter().map(|change| {
        slope += change;
        slope
    });
    Some(Fit { bends: bends.to_vec(), slopes: slopes.collect(), rest })
}

/// Gauss with pivots; `None` if the rows depend on each other.
fn solve(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let width = rows.len();
    for column in 0..width {
        let pivot = (column..width).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))?;
        rows.swap(column, pivot);
        if rows[column][column].abs() < 1e-9 {
            return None;
        }
        for below in column + 1..width {
            let factor = rows[below][column] / rows[column][column];
            (column..=width).for_each(|at| rows[below][at] -= factor * rows[column][at]);
        }
    }
    let mut solved = vec![0.0; width];
    for row in (0..width).rev() {
        let known: f64 = (row + 1..width).map(|at| rows[row][at] * solved[at]).sum();
        solved[row] = (rows[row][width] - known) / rows[row][row];
    }
    Some(solved)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Splitmix64 with a fixed seed: the same figures, the same intervals.
struct Shuffler(u64);

impl Shuffler {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn resample(&mut self, values: &[f64]) -> Vec<f64> {
        values.iter().map(|_| values[(self.next() % values.len() as u64) as usize]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XS: [f64; 14] = [16., 24., 32., 48., 64., 96., 128., 192., 256., 384., 512., 768., 1024., 2048.];

    /// Six trials a point with 2 % between the best and the worst.
    fn curve(shape: impl Fn(f64) -> f64) -> Vec<(f64, Vec<f64>)> {
        let trials = |x: f64| (0..6).map(|t| shape(x) * (1.0 + 0.004 * f64::from((t * 7 + x as i32) % 6))).collect();
        XS.iter().map(|&x| (x, trials(x))).collect()
    }

    #[test]
    fn two_knees_of_two_levels_are_found_where_they_are() {
        let knees = knees(&curve(|x| 6.0 * (x / 64.0).max(1.0).powf(0.3) * (x / 512.0).max(1.0).powf(0.6)));
        assert_eq!(knees.iter().map(|knee| knee.at.round()).collect::<Vec<_>>(), [64.0, 512.0], "{knees:?}");
        for knee in &knees {
            assert!(knee.low <= knee.at && knee.at <= knee.high && knee.high / knee.low < 2.5, "{knee:?}");
            assert!(knee.after_percent > knee.before_percent + 10.0, "{knee:?}");
        }
    }

    #[test]
    fn where_the_curve_levels_out_is_no_knee() {
        let knees = knees(&curve(|x| 6.0 * (x.clamp(64.0, 512.0) / 64.0).powf(0.5)));
        assert_eq!(knees.iter().map(|knee| knee.at.round()).collect::<Vec<_>>(), [64.0], "{knees:?}");
    }

    #[test]
    fn flat_and_straight_curves_have_none() {
        assert_eq!(knees(&curve(|_| 7.0)), []);
        assert_eq!(knees(&curve(|x| 2.0 * x.powf(0.4))), []);
    }

    #[test]
    fn too_few_points_and_figures_of_zero_have_none() {
        assert_eq!(knees(&curve(|x| x)[..5]), []);
        let mut zero = curve(|x| 6.0 * (x / 64.0).max(1.0));
        zero[3].1[0] = 0.0;
        assert_eq!(knees(&zero), []);
    }
}
