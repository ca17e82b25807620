//! One against another under the same seeds: what differs is the policy, because nothing else does.

use super::student::incomplete_beta;
use super::{Bootstrap, Interval, Moments, count};

/// The differences `one - other` of pairs that saw the same requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Paired {
    /// Mean and spread of the differences.
    pub moments: Moments,
    /// How confident the intervals are: 0.95.
    pub confidence: f64,
    /// Student's interval of the mean difference.
    pub student: Option<Interval>,
    /// The same by the bootstrap.
    pub bootstrap: Option<Interval>,
    /// How many seeds agree.
    pub signs: SignTest,
    /// The mean difference in units of its own spread, with the correction of Hedges (1981) for few pairs; none where nothing
    /// spreads.
    pub effect: Option<f64>,
}

impl Paired {
    /// Of pairs: `one[i]` and `other[i]` are of the same seed. None of fewer than two pairs.
    ///
    /// ```
    /// use framesim::statistics::Paired;
    /// let paired = Paired::of(&[3.0, 4.0, 6.0], &[1.0, 2.0, 3.0], 0.95, 1).unwrap();
    /// assert_eq!((paired.signs.above, paired.signs.below), (3, 0));
    /// ```
    ///
    /// # Panics
    /// When there are not as many of one as of the other, or `confidence` is not between 0 and 1.
    #[must_use]
    pub fn of(one: &[f64], other: &[f64], confidence: f64, seed: u64) -> Option<Paired> {
        Paired::of_each(&[(one, other)], confidence, &mut Bootstrap::new(seed)).swap_remove(0)
    }

    /// The same of each of several measures, with a bootstrap that serves them all.
    ///
    /// # Panics
    /// As [`Paired::of`].
    #[must_use]
    pub fn of_each<Values: AsRef<[f64]>>(
        measures: &[(Values, Values)],
        confidence: f64,
        bootstrap: &mut Bootstrap,
    ) -> Vec<Option<Paired>> {
        let differences = |(one, other): &(Values, Values)| -> Vec<f64> {
            let (one, other) = (one.as_ref(), other.as_ref());
            assert_eq!(one.len(), other.len(), "pairs have two sides");
            one.iter().zip(other).map(|(one, other)| one - other).collect()
        };
        let differences: Vec<Vec<f64>> = measures.iter().map(differences).collect();
        let intervals = bootstrap.intervals(&differences, confidence);
        let paired = |(differences, bootstrap): (&Vec<f64>, Option<Interval>)| {
            let moments = Moments::of(differences);
            Some(Paired {
                moments,
                confidence,
                student: Some(moments.interval(confidence)?),
                bootstrap,
                signs: signs(differences),
                effect: effect(&moments),
            })
        };
        differences.iter().zip(intervals).map(paired).collect()
    }

    /// Whether the interval leaves no doubt about the sign of the difference.
    #[must_use]
    pub fn is_resolved(&self) -> bool {
        self.student.is_some_and(|interval| !interval.holds(0.0))
    }
}

/// How many differences are above and below 0; ties count for neither.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignTest {
    /// Differences above 0.
    pub above: usize,
    /// Differences below 0.
    pub below: usize,
    /// Differences of 0.
    pub ties: usize,
    /// The chance that a fair coin splits as unevenly, to either side; 1 when all are ties.
    pub chance: f64,
}

/// The sign test of `differences`.
#[must_use]
pub fn signs(differences: &[f64]) -> SignTest {
    let above = differences.iter().filter(|difference| **difference > 0.0).count();
    let below = differences.iter().filter(|difference| **difference < 0.0).count();
    let (few, all) = (above.min(below), above + below);
    let tail = if all == 0 { 1.0 } else { incomplete_beta(count(all - few), count(few) + 1.0, 0.5) };
    SignTest { above, below, ties: differences.len() - all, chance: (2.0 * tail).min(1.0) }
}

fn effect(moments: &Moments) -> Option<f64> {
    let deviation = moments.deviation().filter(|deviation| *deviation > 0.0)?;
    let correction = 1.0 - 3.0 / (4.0 * (count(moments.values()) - 1.0) - 1.0);
    Some(moments.mean() / deviation * correction)
}

/// Whether two measures, of which less is better, rank two policies in opposite order: each measure is given as the pair (one policy,
/// the other). Then which is better is a matter of the measure, and a report says so.
#[must_use]
pub fn opposite_order(measure: (f64, f64), another: (f64, f64)) -> bool {
    (measure.0 - measure.1) * (another.0 - another.1) < 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Student's (1908) ten patients: hours of sleep gained by two drugs.
    const DEXTRO: [f64; 10] = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
    const LAEVO: [f64; 10] = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];

    #[test]
    fn students_sleep_data_have_the_published_t_and_interval() {
        let paired = Paired::of(&DEXTRO, &LAEVO, 0.95, 1).expect("ten pairs");
        let error = paired.moments.standard_error().expect("ten pairs");
        // t = -4.0621, p = 0.002833, interval -2.4598858 to -0.7001142 (R's `t.test(extra ~ group, paired)` on its data set `sleep`).
        assert_eq!(format!("{:.4}", paired.moments.mean() / error), "-4.0621");
        let interval = paired.student.expect("ten pairs");
        assert_eq!(format!("{:.7} {:.7}", interval.low, interval.high), "-2.4598858 -0.7001142");
        assert_eq!(format!("{:.6}", crate::statistics::two_sided_tail(4.062_127_7, 9.0)), "0.002833");
        assert!(paired.is_resolved());
        // Nine of nine that are no tie: 2 / 2^9.
        let SignTest { above, below, ties, chance } = paired.signs;
        assert_eq!((above, below, ties), (0, 9, 1));
        assert!((chance - 2.0 / 512.0).abs() < 1e-15);
        // -1.58 / 1.2299 (1 - 3 / 35).
        assert_eq!(format!("{:.4}", paired.effect.expect("they spread")), "-1.1745");
    }

    #[test]
    fn a_coin_that_falls_evenly_says_nothing() {
        assert_eq!(signs(&[1.0, -1.0, 2.0, -3.0]).chance, 1.0);
        assert_eq!(signs(&[0.0, 0.0]), SignTest { above: 0, below: 0, ties: 2, chance: 1.0 });
        // 2 (1 + 10) / 1024.
        let nine_of_ten: Vec<f64> = (0..10).map(|place| if place == 3 { -1.0 } else { 1.0 }).collect();
        assert!((signs(&nine_of_ten).chance - 22.0 / 1024.0).abs() < 1e-15);
    }

    #[test]
    fn equal_sides_have_no_effect_and_are_not_resolved() {
        let same = Paired::of(&[1.0, 2.0], &[1.0, 2.0], 0.95, 1).expect("two pairs");
        assert_eq!((same.effect, same.is_resolved()), (None, false));
        assert_eq!(Paired::of(&[1.0], &[2.0], 0.95, 1), None);
    }

    #[test]
    fn measures_that_disagree_are_seen_and_a_tie_is_no_disagreement() {
        assert!(opposite_order((0.3, 0.2), (0.01, 0.02)));
        assert!(!opposite_order((0.3, 0.2), (0.02, 0.01)));
        assert!(!opposite_order((0.3, 0.3), (0.02, 0.01)));
    }
}
