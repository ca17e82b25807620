//! Levels added up over pieces of time of equal length.

use framesim_models::{Nanos, index};

use super::measure::Fixed;
use crate::statistics::count;

/// Pieces that a run is cut into for a rule: finer than any rule needs, few enough to keep.
const PIECES: usize = 4_000;

/// Sums of several levels over pieces of time. Those without a given length double it when there are too many.
pub(super) struct Bins {
    length: Nanos,
    is_elastic: bool,
    levels: usize,
    /// Of each piece, each level times nanoseconds.
    sums: Vec<u128>,
}

impl Bins {
    /// Pieces of this length, however many.
    pub(super) fn of(length: Nanos, levels: usize) -> Bins {
        Bins { length, is_elastic: false, levels, sums: Vec::new() }
    }

    /// Some thousand pieces of a run that ends at `until`, where that is known.
    pub(super) fn fine(until: Option<Nanos>, levels: usize) -> Bins {
        let length = until.map_or(1_000, |until| (until.0 / PIECES as u64).max(1));
        Bins { length: Nanos(length), is_elastic: true, levels, sums: Vec::new() }
    }

    /// Levels that held from `from` to `to`.
    pub(super) fn add(&mut self, from: Nanos, to: Nanos, level: impl Fn(usize) -> u64) {
        if self.levels == 0 {
            return;
        }
        while self.is_elastic && to.0 / self.length.0 >= 2 * PIECES as u64 {
            self.double();
        }
        let mut at = from.0;
        while at < to.0 {
            let piece = at / self.length.0;
            let end = to.0.min((piece + 1).saturating_mul(self.length.0));
            let first = index(piece) * self.levels;
            if self.sums.len() < first + self.levels {
                self.sums.resize(first + self.levels, 0);
            }
            for place in 0..self.levels {
                self.sums[first + place] += u128::from(level(place)) * u128::from(end - at);
            }
            at = end;
        }
    }

    fn double(&mut self) {
        let pieces = self.sums.len() / self.levels;
        for piece in 0..pieces.div_ceil(2) {
            for place in 0..self.levels {
                let at = |piece: usize| piece * self.levels + place;
                let second = self.sums.get(at(2 * piece + 1)).copied().unwrap_or(0);
                self.sums[at(piece)] = self.sums[at(2 * piece)] + second;
            }
        }
        self.sums.truncate(pieces.div_ceil(2) * self.levels);
        self.length.0 *= 2;
    }

    /// Pieces that are over: the last one may not be.
    fn whole_pieces(&self) -> usize {
        (self.sums.len() / self.levels.max(1)).saturating_sub(1)
    }

    /// The mean of a level in each whole piece.
    #[expect(
        clippy::float_arithmetic,
        clippy::cast_precision_loss,
        reason = "for a rule of statistics, which decides where a mean begins and not what it is"
    )]
    pub(super) fn means(&self, place: usize) -> Vec<f64> {
        let length = count(index(self.length.0));
        (0..self.whole_pieces()).map(|piece| self.sums[piece * self.levels + place] as f64 / length).collect()
    }

    /// A level's sum over the whole pieces from `piece` on, and how long they are.
    pub(super) fn total_from(&self, piece: usize, place: usize) -> (u128, u128) {
        let pieces = self.whole_pieces();
        let sum = (piece..pieces).map(|piece| self.sums[piece * self.levels + place]).sum();
        (sum, u128::from(self.length.0) * (pieces.saturating_sub(piece)) as u128)
    }

    /// The first whole piece that starts at `time` or later.
    pub(super) fn piece_from(&self, time: Nanos) -> usize {
        index(time.0.div_ceil(self.length.0))
    }

    /// Equal batches of the whole pieces from `piece` on: a level's sum over each, and how long a batch is. What does not fill the last one
    /// is left out at the front. None when there are fewer pieces than batches.
    pub(super) fn batches_from(&self, piece: usize, place: usize, batches: usize) -> Option<(Vec<u128>, u128)> {
        let pieces = self.whole_pieces();
        let length = (pieces.checked_sub(piece)? / batches).checked_sub(1)? + 1;
        let sum_of = |first: usize| (first..first + length).map(|piece| self.sums[piece * self.levels + place]).sum();
        let starts = (pieces - length * batches..pieces).step_by(length);
        Some((starts.map(sum_of).collect(), u128::from(self.length.0) * length as u128))
    }

    /// A row for each piece up to `end`: `mean` of each level, its sum and how long it lasted.
    pub(super) fn rows(
        &self,
        end: Nanos,
        mean: impl Fn(usize, u128, u128) -> Option<Fixed>,
    ) -> Vec<Vec<Option<Fixed>>> {
        let pieces = self.sums.chunks_exact(self.levels.max(1)).enumerate();
        let row = |(piece, sums): (usize, &[u128])| {
            let start = self.length.0 * piece as u64;
            let lasted = u128::from(self.length.0.min(end.0.saturating_sub(start)));
            sums.iter().enumerate().map(|(place, &sum)| mean(place, sum, lasted)).collect()
        };
        pieces.map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(bins: &Bins) -> Vec<u128> {
        (0..bins.sums.len()).map(|piece| bins.sums[piece]).collect()
    }

    #[test]
    fn a_level_counts_in_each_piece_for_as_long_as_it_held_there() {
        let mut bins = Bins::of(Nanos(10), 1);
        bins.add(Nanos(0), Nanos(25), |_| 2);
        bins.add(Nanos(25), Nanos(30), |_| 8);
        assert_eq!(sums(&bins), [20, 20, 50]);
        assert_eq!((bins.means(0), bins.total_from(1, 0)), (vec![2.0, 2.0], (20, 10)));
    }

    #[test]
    fn batches_are_equal_and_leave_out_what_is_left_at_the_front() {
        let mut bins = Bins::of(Nanos(10), 1);
        for piece in 0..8 {
            bins.add(Nanos(10 * piece), Nanos(10 * piece + 10), |_| piece);
        }
        // Seven whole pieces, as the eighth may go on: 0 1 2 3 4 5 6.
        assert_eq!(bins.batches_from(0, 0, 3), Some((vec![10 + 20, 30 + 40, 50 + 60], 20)));
        assert_eq!(bins.batches_from(bins.piece_from(Nanos(31)), 0, 3), Some((vec![40, 50, 60], 10)));
        assert_eq!((bins.batches_from(5, 0, 3), bins.batches_from(9, 0, 3)), (None, None));
    }

    #[test]
    fn pieces_double_before_there_are_too_many_and_lose_nothing() {
        let mut bins = Bins::fine(None, 1);
        for step in 0..100_000_u64 {
            bins.add(Nanos(step * 700), Nanos((step + 1) * 700), |_| step % 5);
        }
        assert!(bins.sums.len() <= 2 * PIECES && bins.sums.len() >= PIECES, "{}", bins.sums.len());
        assert_eq!(bins.sums.iter().sum::<u128>(), 100_000 * 700 * 2);
    }
}
