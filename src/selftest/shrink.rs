//! Makes a failing sequence shorter as long as it still fails.

use super::operation::{Lanes, Op};

/// Leaves out steps of `lanes` while `fails` holds, ever smaller stretches of them, and returns what is left. `fails` says `None` when
/// there is no more time.
pub fn shrink(lanes: Lanes, fails: &mut dyn FnMut(&Lanes) -> Option<bool>) -> Lanes {
    let mut kept: Vec<(usize, Op)> =
        lanes.iter().enumerate().flat_map(|(lane, ops)| ops.iter().map(move |op| (lane, *op))).collect();
    let count = lanes.len();
    let mut stretch = kept.len().div_ceil(2);
    while stretch > 0 {
        let mut from = 0;
        let mut shortened = false;
        while from < kept.len() {
            let to = (from + stretch).min(kept.len());
            let shorter: Vec<(usize, Op)> = kept[..from].iter().chain(&kept[to..]).copied().collect();
            match fails(&in_lanes(&shorter, count)) {
                None => return in_lanes(&kept, count),
                Some(true) => (kept, shortened) = (shorter, true),
                Some(false) => from = to,
            }
        }
        if stretch == 1 && !shortened {
            break;
        }
        stretch = if stretch == 1 { 1 } else { stretch.div_ceil(2) };
    }
    in_lanes(&kept, count)
}

fn in_lanes(ops: &[(usize, Op)], count: usize) -> Lanes {
    let mut lanes = vec![Vec::new(); count];
    ops.iter().for_each(|(lane, op)| lanes[*lane].push(*op));
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(lanes: &Lanes) -> Vec<u16> {
        let slot = |op: &Op| match op {
            Op::Unload { slot } => *slot,
            _ => u16::MAX,
        };
        lanes.iter().flatten().map(slot).collect()
    }

    fn sequence(lanes: usize) -> Lanes {
        (0..lanes).map(|lane| (0..100).map(|at| Op::Unload { slot: (lane * 100 + at) as u16 }).collect()).collect()
    }

    #[test]
    fn what_is_needed_to_fail_is_all_that_is_left() {
        for needed in [vec![0u16], vec![99], vec![3, 57], vec![10, 11, 160], vec![0, 50, 99, 199]] {
            let mut plays = 0;
            let left = shrink(sequence(2), &mut |lanes| {
                plays += 1;
                Some(needed.iter().all(|slot| slots(lanes).contains(slot)))
            });
            assert_eq!(slots(&left), needed);
            assert!(plays < 300, "{plays} plays");
        }
    }

    #[test]
    fn without_time_what_was_reached_is_returned() {
        let mut plays = 0;
        let left = shrink(sequence(1), &mut |lanes| {
            plays += 1;
            (plays < 4).then(|| slots(lanes).contains(&70))
        });
        assert!(slots(&left).contains(&70) && slots(&left).len() < 100);
    }
}
