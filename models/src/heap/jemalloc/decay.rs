//! When dirty pages are given back: the clock, epochs, and the curve by which pages fade (`decay.c`, `ticker.c`, `smoothstep.h`).
//!
//! Time is cut into epochs, of which 200 are the decay time. Pages that became dirty in an epoch may stay, all of them at first and
//! none 200 epochs later; in between goes the curve h(x) = 6x^5 - 15x^4 + 10x^3. The clock is looked at only now and then:
//! each thread counts calls down ([`Ticker`]).

use serde::{Deserialize, Serialize};

use super::prng::Prng;

/// Epochs of the decay time (`SMOOTHSTEP_NSTEPS`).
pub(super) const STEPS: usize = 200;
/// The curve is in parts of 2^24.
const FRACTION_BITS: u32 = 24;
/// `CURVE[i]` is h((i + 1) / 200), rounded down.
static CURVE: [u64; STEPS] = curve();

const fn curve() -> [u64; STEPS] {
    let (n, mut curve, mut step) = (STEPS as u64, [0; STEPS], 0);
    while step < STEPS {
        let x = step as u64 + 1;
        let height = 6 * x * x * x * x * x + 10 * n * n * x * x * x - 15 * n * x * x * x * x;
        curve[step] = (height << FRACTION_BITS) / (n * n * n * n * n);
        step += 1;
    }
    curve
}

/// How long free pages of an arena stay dirty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Decay {
    /// In milliseconds; 0: not at all. `None`: for ever.
    time_ms: Option<u64>,
    /// Nanoseconds of an epoch.
    interval: u64,
    /// When the current epoch began.
    epoch: u64,
    /// Not before this the next one begins: its end and a random part of another one.
    deadline: u64,
    jitter: Prng,
    /// Pages that became dirty in each epoch, the last one at the end.
    backlog: Vec<u64>,
    /// Dirty pages at the last advance, or the limit if that was more.
    unpurged: u64,
}

impl Decay {
    /// Starts at `now`; `seed` is the address of the real one's state.
    pub(super) fn new(time_ms: Option<u64>, now: u64, seed: u64) -> Decay {
        let interval = time_ms.map_or(0, |ms| ms.saturating_mul(1_000_000) / STEPS as u64);
        let jitter = Prng(seed);
        let mut decay = Decay { time_ms, interval, epoch: now, deadline: 0, jitter, backlog: Vec::new(), unpurged: 0 };
        decay.set_deadline();
        decay
    }

    /// Whether pages are given back at all.
    pub(super) fn purges(&self) -> bool {
        self.time_ms.is_some()
    }

    /// Whether nothing stays dirty.
    pub(super) fn is_immediate(&self) -> bool {
        self.time_ms == Some(0)
    }

    fn set_deadline(&mut self) {
        if self.interval > 0 {
            let jitter = self.jitter.below(self.interval);
            self.deadline = self.epoch.saturating_add(self.interval).saturating_add(jitter);
        }
    }

    /// Looks at the clock. How many dirty pages may stay, if that is to be seen to now.
    pub(super) fn look(&mut self, now: u64, dirty_pages: u64) -> Option<u64> {
        match self.time_ms? {
            0 => return Some(0),
            _ if now < self.deadline => return None,
            _ => {}
        }
        let epochs = (now - self.epoch) / self.interval;
        self.epoch += epochs * self.interval;
        self.set_deadline();
        self.advance(epochs, dirty_pages);
        let limit = self.limit();
        self.unpurged = limit.max(dirty_pages);
        Some(limit)
    }

    /// Moves the backlog by so many epochs; what became dirty since the last advance is the newest entry.
    fn advance(&mut self, epochs: u64, dirty_pages: u64) {
        self.backlog.resize(STEPS, 0);
        let epochs = usize::try_from(epochs).unwrap_or(STEPS).min(STEPS);
        self.backlog.rotate_left(epochs % STEPS);
        self.backlog[STEPS - epochs..].fill(0);
        self.backlog[STEPS - 1] = dirty_pages.saturating_sub(self.unpurged);
    }

    /// Pages that may stay dirty.
    fn limit(&self) -> u64 {
        self.backlog.iter().zip(&CURVE).map(|(pages, height)| pages * height).sum::<u64>() >> FRACTION_BITS
    }
}

/// Ticks from one look at the clock to the next, about.
const TICKS: i64 = 1_000;
/// Ticks are drawn as `TICKS * GEOMETRIC[six random bits] / 61`: round(61 * ln(64 / (i + 1))).
static GEOMETRIC: [u8; 64] = [
    254, 211, 187, 169, 156, 144, 135, 127, 120, 113, 107, 102, 97, 93, 89, 85, 81, 77, 74, 71, 68, 65, 62, 60, 57, 55,
    53, 50, 48, 46, 44, 42, 40, 39, 37, 35, 33, 32, 30, 29, 27, 26, 24, 23, 21, 20, 19, 18, 16, 15, 14, 13, 12, 10, 9,
    8, 7, 6, 5, 4, 3, 2, 1, 0,
];

/// A thread's countdown to its next look at the clock (`ticker_geom_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticker(i64);

impl Default for Ticker {
    fn default() -> Ticker {
        Ticker(TICKS)
    }
}

impl Ticker {
    /// Counts down. Whether it is time to look at the clock.
    #[inline]
    pub(super) fn count(&mut self, ticks: u32, prng: &mut Prng) -> bool {
        self.0 -= i64::from(ticks);
        if self.0 >= 0 {
            return false;
        }
        let drawn = usize::try_from(prng.bits(6)).expect("six bits");
        self.0 = TICKS * i64::from(GEOMETRIC[drawn]) / 61;
        true
    }

    /// Counts down, but does not look at the clock yet.
    pub(super) fn count_only(&mut self, ticks: u32) {
        self.0 = (self.0 - i64::from(ticks)).max(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: u64 = 50_000_000;

    fn ten_seconds() -> Decay {
        Decay::new(Some(10_000), 0, 1)
    }

    #[test]
    #[allow(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "the formula as it is written")]
    fn the_curve_is_the_smooth_step_in_parts_of_two_to_the_24() {
        for (step, &height) in (1_u32..).zip(&CURVE) {
            let x = f64::from(step) / 200.0;
            let smooth = x * x * x * (x * (x * 6.0 - 15.0) + 10.0) * f64::from(1 << FRACTION_BITS);
            assert!((height as f64 - smooth).abs() <= 1.0, "step {step}: {height}, {smooth}");
        }
        assert_eq!((CURVE[0], CURVE[STEPS / 2 - 1], CURVE[STEPS - 1]), (20, 1 << 23, 1 << 24));
    }

    #[test]
    #[allow(clippy::float_arithmetic, clippy::disallowed_methods, reason = "the formula as it is written")]
    fn ticks_between_looks_are_drawn_by_the_law_of_rare_events() {
        for (nth, &ticks) in (1_u32..).zip(&GEOMETRIC) {
            let exact = 61.0 * (64.0 / f64::from(nth)).ln();
            assert!((f64::from(ticks) - exact).abs() <= 0.5001, "{nth}: {ticks}, {exact}");
        }
    }

    #[test]
    fn the_first_look_is_after_a_thousand_ticks() {
        let (mut ticker, mut prng) = (Ticker::default(), Prng(3));
        assert!((0..1_000).all(|_| !ticker.count(1, &mut prng)));
        assert!(ticker.count(1, &mut prng));
        let drawn = usize::try_from(Prng(3).bits(6)).unwrap();
        assert_eq!(ticker, Ticker(1_000 * i64::from(GEOMETRIC[drawn]) / 61));
    }

    #[test]
    fn nothing_happens_before_the_deadline_which_is_one_to_two_epochs_away() {
        let mut decay = ten_seconds();
        let expected = EPOCH + Prng(1).below(EPOCH);
        assert_eq!((decay.interval, decay.deadline), (EPOCH, expected));
        assert_eq!(decay.look(expected - 1, 500), None);
        assert_eq!(decay.look(expected, 500), Some(500), "what is new may stay");
    }

    #[test]
    fn pages_of_one_epoch_fade_along_the_curve() {
        let mut decay = ten_seconds();
        assert_eq!(decay.look(2 * EPOCH, 1 << 20), Some(1 << 20));
        // One look for each third epoch, the dirty pages being purged down to each limit.
        let mut dirty = 1 << 20;
        for epochs in (3..=210).step_by(3) {
            let limit = decay.look((2 + epochs) * EPOCH + EPOCH - 1, dirty);
            let step = 200_u64.saturating_sub(epochs);
            let height = if step == 0 { 0 } else { CURVE[usize::try_from(step - 1).unwrap()] };
            assert_eq!(limit, Some(height << 20 >> 24), "after {epochs} epochs");
            dirty = limit.unwrap();
        }
    }

    #[test]
    fn what_became_dirty_since_the_last_look_is_the_newest_entry() {
        let mut decay = ten_seconds();
        decay.look(2 * EPOCH, 100);
        decay.look(5 * EPOCH, 300);
        assert_eq!(decay.backlog[STEPS - 4..], [100, 0, 0, 200]);
        decay.look(7 * EPOCH, 250);
        assert_eq!(decay.backlog[STEPS - 6..], [100, 0, 0, 200, 0, 0], "some were used again");
        decay.look(7 * EPOCH + 200 * EPOCH, 400);
        assert_eq!(decay.backlog.iter().filter(|&&pages| pages > 0).count(), 1, "the old ones are over");
    }

    #[test]
    fn a_time_of_nought_keeps_nothing_and_no_time_keeps_all() {
        assert_eq!(Decay::new(Some(0), 0, 1).look(0, 77), Some(0));
        assert_eq!(Decay::new(None, 0, 1).look(u64::MAX, 77), None);
    }
}
