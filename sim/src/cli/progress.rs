//! How far a long run is, on standard error; nothing where that is no terminal.

use std::io::Write as _;
use std::time::Duration;
#[expect(clippy::disallowed_types, reason = "shown to a person only; no result sees it")]
use std::time::Instant;

use framesim_models::Nanos;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::text::{Count, Seconds};

/// Events between two looks at the clock.
pub const STRIDE: u64 = 1 << 16;

/// A line that comes after half a second and goes at the end.
#[expect(clippy::disallowed_types, reason = "shown to a person only; no result sees it")]
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    /// Simulated time at which the run ends at the latest, where it is known.
    until: Option<Nanos>,
}

const PATIENCE: Duration = Duration::from_millis(500);

impl Progress {
    /// Of a run until `until`; silent when `quiet`, or when standard error is no terminal.
    #[must_use]
    #[expect(clippy::disallowed_types, reason = "shown to a person only; no result sees it")]
    pub fn new(quiet: bool, until: Option<Nanos>) -> Progress {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is sound");
        Progress { bar: ProgressBar::with_draw_target(None, target).with_style(style), started: Instant::now(), until }
    }

    /// Says how far it is: cheap, but not for every event.
    pub fn at(&self, now: Nanos, events: u64) {
        let passed = self.started.elapsed();
        if passed > PATIENCE && !self.bar.is_hidden() {
            self.bar.set_message(line(now, events, passed, self.until));
            self.bar.tick();
        }
    }
}

impl Progress {
    /// With `-v`, says how fast the run was; what it says is no result.
    pub fn say_speed(&self, verbose: bool, events: u64) {
        if verbose {
            let passed = self.started.elapsed();
            let rate = rate(events, passed);
            // Nobody needs it: when it cannot be written, it is not.
            let _ = writeln!(
                std::io::stderr(),
                "{} events in {}, {} a second",
                Count(events),
                Seconds(Nanos(u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX))),
                Count(rate)
            );
        }
    }
}

fn rate(events: u64, passed: Duration) -> u64 {
    u64::try_from(u128::from(events) * 1_000_000 / passed.as_micros().max(1)).unwrap_or(u64::MAX)
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `3.412 s simulated, 4,100,000 events, 8,200,000 a second, 2 s left`.
fn line(now: Nanos, events: u64, passed: Duration, until: Option<Nanos>) -> String {
    let millis = passed.as_millis().max(1);
    let rate = rate(events, passed);
    let left = until.filter(|_| now.0 > 0).map(|until| {
        let to_go = u128::from(until.0.saturating_sub(now.0));
        // As if the rest took as long for each simulated second as what has passed.
        millis.saturating_mul(to_go) / u128::from(now.0) / 1000
    });
    let left = left.map_or_else(String::new, |seconds| format!(", {seconds} s left"));
    format!("{} simulated, {} events, {} a second{left}", Seconds(now), Count(events), Count(rate))
}

/// A line that is not about simulated time.
pub struct Ticker {
    progress: Progress,
}

impl Ticker {
    /// Silent when `quiet`, or when standard error is no terminal.
    #[must_use]
    pub fn new(quiet: bool) -> Ticker {
        Ticker { progress: Progress::new(quiet, None) }
    }

    /// Says something, after half a second.
    pub fn say(&self, text: impl FnOnce() -> String) {
        if self.progress.started.elapsed() > PATIENCE && !self.progress.bar.is_hidden() {
            self.progress.bar.set_message(text());
            self.progress.bar.tick();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_simulated_time_rate_and_what_is_left() {
        let shown = line(Nanos(2_500_000_000), 3_000_000, Duration::from_secs(2), Some(Nanos(10_000_000_000)));
        assert_eq!(shown, "2.500 s simulated, 3,000,000 events, 1,500,000 a second, 6 s left");
        let endless = line(Nanos(0), 0, Duration::ZERO, None);
        assert_eq!(endless, "0 s simulated, 0 events, 0 a second");
    }
}
