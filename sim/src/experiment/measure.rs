//! What a cell measures: the catalogue of metrics, and the probe that takes means over time.

use std::fmt;

use framesim_models::Nanos;
use framesim_workloads::experiment::WarmUp;
use framesim_workloads::requests::Request;

use super::asked::Asked;
use super::bins::Bins;
use crate::simulation::{Call, Happened, Levels, Outcome, Probe, RunState, Simulation, Summary};
use crate::statistics::{BATCHES, mser5};

/// A number with nine decimals, exact in integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Fixed(pub i128);

/// Parts of one.
const UNIT: i128 = 1_000_000_000;

impl Fixed {
    /// A whole number.
    #[must_use]
    pub fn whole(value: u64) -> Fixed {
        Fixed(i128::from(value) * UNIT)
    }

    /// `numerator / denominator`, rounded down; none where there is no whole.
    #[must_use]
    pub fn ratio(numerator: u128, denominator: u128) -> Option<Fixed> {
        // No sum of a run is beyond 2^96: 2^40 of something for 2^56 ns.
        let scaled = numerator.checked_mul(UNIT.unsigned_abs())?.checked_div(denominator)?;
        i128::try_from(scaled).ok().map(Fixed)
    }

    /// The nearest float: what reading the decimal gives.
    #[must_use]
    #[expect(
        clippy::float_arithmetic,
        clippy::cast_precision_loss,
        reason = "for statistics: a division of numbers that are exact, the same on every platform"
    )]
    pub fn to_f64(self) -> f64 {
        const EXACT_MOST: u128 = 1 << f64::MANTISSA_DIGITS;
        match self.0.unsigned_abs() {
            ..=EXACT_MOST => self.0 as f64 / UNIT as f64,
            // Rounding it and then the quotient would round twice.
            _ => self.to_string().parse().expect("a decimal number"),
        }
    }
}

/// As short as it is exact: `0.8163`, `12`.
impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0.unsigned_abs() / UNIT.unsigned_abs(), self.0.unsigned_abs() % UNIT.unsigned_abs());
        let sign = if self.0 < 0 { "-" } else { "" };
        let (mut part, mut digits) = (part, 9);
        while digits > 0 && part.is_multiple_of(10) {
            part /= 10;
            digits -= 1;
        }
        match digits {
            0 => write!(f, "{sign}{whole}"),
            _ => write!(f, "{sign}{whole}.{part:0digits$}"),
        }
    }
}

/// One thing that can be measured.
pub struct Metric {
    /// As experiments name it.
    pub name: &'static str,
    /// `share`, `bytes`, `ns`, `frames`; empty for a count.
    pub unit: &'static str,
    /// What it is, with its formula.
    pub about: &'static str,
    /// Whether less of it is less fragmentation.
    pub is_fragmentation: bool,
    kind: Kind,
}

enum Kind {
    /// Mean over simulated time of a level in units of `1 / scale`.
    Mean(Level, u64),
    /// Variance over simulated time of a level.
    Variance(Level),
    /// From what a run came to.
    End(fn(&End<'_>) -> Option<Fixed>),
}

/// A level at one moment.
type Level = fn(&Levels, u64) -> u64;

/// A run at its end.
struct End<'a> {
    summary: &'a Summary,
    residence: Residence,
}

const PPM: u64 = 1_000_000;

fn share_ppm(part: u64, whole: u64) -> u64 {
    match part.checked_mul(PPM) {
        Some(parts) => parts.checked_div(whole).unwrap_or(0),
        // Bytes of a whole machine in millionths do not fit; whole mebibytes do.
        None => share_ppm(part >> 20, whole >> 20),
    }
}

fn external_ppm(levels: &Levels) -> u64 {
    share_ppm(levels.longest_together.saturating_sub(levels.longest_run), levels.longest_together)
}

fn internal_ppm(levels: &Levels) -> u64 {
    share_ppm(levels.usable_bytes.saturating_sub(levels.live_bytes), levels.usable_bytes)
}

const fn count(value: u64) -> Option<Fixed> {
    Some(Fixed(value as i128 * UNIT))
}

fn share(ppm: u64) -> Option<Fixed> {
    Fixed::ratio(u128::from(ppm), u128::from(PPM))
}

macro_rules! metrics {
    ($($name:literal, $unit:literal, $fragmentation:literal, $kind:expr, $about:literal;)*) => {
        /// All of them: means over time first.
        pub const METRICS: &[Metric] = &[$(
            Metric { name: $name, unit: $unit, about: $about, is_fragmentation: $fragmentation, kind: $kind }
        ),*];
    };
}

metrics! {
    "memory_used", "share", false, Kind::Mean(|levels, frames| share_ppm(frames.saturating_sub(levels.free_frames), frames), PPM),
        "frames in use of all frames, mean over time";
    "external_fragmentation", "share", true, Kind::Mean(|levels, _| external_ppm(levels), PPM),
        "1 - largest request that would succeed / largest if all free frames lay together, mean over time; 0 when none is free";
    "internal_fragmentation", "share", true, Kind::Mean(|levels, _| internal_ppm(levels), PPM),
        "1 - asked for / granted over live blocks, mean over time; 0 when none is live";
    "heap_overhead", "share", true, Kind::Mean(|levels, _| share_ppm(levels.heap_bytes.saturating_sub(levels.live_bytes), levels.heap_bytes), PPM),
        "1 - live bytes / bytes that heaps hold, mean over time; 0 when they hold none";
    "free_frames", "frames", false, Kind::Mean(|levels, _| levels.free_frames, 1), "free frames, mean over time";
    "longest_run", "frames", false, Kind::Mean(|levels, _| levels.longest_run, 1), "frames of the longest free run, mean over time";
    "holes", "", false, Kind::Mean(|levels, _| levels.holes, 1), "free runs, mean over time";
    "live_bytes", "bytes", false, Kind::Mean(|levels, _| levels.live_bytes, 1), "bytes asked for and not given back, mean over time";
    "heap_bytes", "bytes", false, Kind::Mean(|levels, _| levels.heap_bytes, 1), "bytes that heaps hold, mean over time";
    "resident_bytes", "bytes", false, Kind::Mean(|levels, _| levels.resident_bytes, 1), "bytes of frames behind address space, mean over time";
    "processes", "", false, Kind::Mean(|levels, _| levels.processes, 1), "processes alive, mean over time";
    "processes_variance", "", false, Kind::Variance(|levels, _| levels.processes), "variance over time of the processes alive";
    "external_fragmentation_end", "share", true, Kind::End(|end| share(external_ppm(&end.summary.now))), "external fragmentation at the end";
    "external_fragmentation_worst", "share", true,
        Kind::End(|end| share(end.summary.worst.as_ref().map_or(0, |worst| external_ppm(&worst.levels)))),
        "external fragmentation at its worst moment";
    "internal_fragmentation_end", "share", true, Kind::End(|end| share(internal_ppm(&end.summary.now))), "internal fragmentation at the end";
    "unusable_for_huge", "share", true,
        Kind::End(|end| {
            let huge = end.summary.orders.iter().find(|order| order.order == 9)?;
            Fixed::ratio(u128::from(huge.unusable_free_index), 1000)
        }),
        "free memory in blocks below order 9 at the end, as Linux counts it; none for memories below 512 frames";
    "heap_over_live", "", true,
        Kind::End(|end| Fixed::ratio(end.summary.peak.heap_bytes.into(), end.summary.peak.live_bytes.into())),
        "most bytes that heaps held / most that were live, at whatever moments (Johnstone and Wilson's fourth measure)";
    "refused", "", false, Kind::End(|end| count(end.summary.failures.total)), "requests refused";
    "refused_fragmentation", "", false, Kind::End(|end| count(end.summary.failures.fragmentation)), "requests refused although enough frames were free";
    "first_refusal", "ns", false,
        Kind::End(|end| end.summary.failures.first.and_then(|(time, _)| count(time.0))),
        "time of the first refusal; none where nothing was refused";
    "waits", "", false, Kind::End(|end| count(end.summary.waits.ended)), "requests that waited for memory and were served";
    "wait_mean", "ns", false,
        Kind::End(|end| Fixed::ratio(end.summary.waits.total.0.into(), end.summary.waits.ended.into())),
        "how long they waited, mean; none where none waited";
    "wait_longest", "ns", false, Kind::End(|end| count(end.summary.waits.longest.0)), "the longest of these waits";
    "residence_mean", "ns", false,
        Kind::End(|end| Fixed::ratio(end.residence.total, end.residence.ended.into())),
        "time from start to end of processes that ended, mean";
    "live_bytes_peak", "bytes", false, Kind::End(|end| count(end.summary.peak.live_bytes)), "most bytes live at once";
    "heap_bytes_peak", "bytes", false, Kind::End(|end| count(end.summary.peak.heap_bytes)), "most bytes that heaps held";
    "resident_bytes_peak", "bytes", false, Kind::End(|end| count(end.summary.peak.resident_bytes)), "most bytes resident";
    "free_frames_least", "frames", false, Kind::End(|end| count(end.summary.peak.free_frames)), "fewest free frames";
    "holes_peak", "", false, Kind::End(|end| count(end.summary.peak.holes)), "most free runs";
    "processes_peak", "", false, Kind::End(|end| count(end.summary.peak.processes)), "most processes alive at once";
    "processes_killed", "", false, Kind::End(|end| count(end.summary.processes.killed)), "processes that the kernel ended for want of memory";
    "time", "ns", false, Kind::End(|end| count(end.summary.time.0)), "simulated time";
    "events", "", false, Kind::End(|end| count(end.summary.events)), "events";
    "mallocs", "", false, Kind::End(|end| count(end.summary.calls.mallocs)), "blocks asked for";
    "mallocs_by_kernel", "", false, Kind::End(|end| count(end.summary.calls.mallocs_by_kernel)), "of them, those that made a system call";
    "system_calls", "", false, Kind::End(|end| count(end.summary.calls.system_calls.values().sum())), "system calls";
    "faults", "", false, Kind::End(|end| count(end.summary.calls.faults)), "page faults";
    "frames_moved", "frames", false, Kind::End(|end| count(end.summary.calls.frames_moved)), "frames handed out and taken back";
    "busy", "ns", false, Kind::End(|end| count(end.summary.processors.busy.0)), "time that processors worked, together";
}

/// The metric of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// What is measured where an experiment does not say.
pub const USUAL: [&str; 5] = ["memory_used", "external_fragmentation", "internal_fragmentation", "refused", "waits"];

/// Names of all metrics.
#[must_use]
pub fn names() -> Vec<&'static str> {
    METRICS.iter().map(|metric| metric.name).collect()
}

/// Names of those that are means over time.
#[must_use]
pub fn names_over_time() -> Vec<&'static str> {
    METRICS.iter().filter(|metric| matches!(metric.kind, Kind::Mean(..))).map(|metric| metric.name).collect()
}

/// How long processes that ended were there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Residence {
    ended: u64,
    total: u128,
}

/// Something that is added up over time.
struct Sum {
    level: Level,
    scale: u64,
    /// Whether squares are added up too.
    squared: bool,
    value: u64,
    total: u128,
    squares: u128,
}

/// Looks on at a run and adds up what is wanted. See [`Probe`]: it changes nothing.
pub struct Observer {
    frames: u64,
    warm_up: Nanos,
    last: Levels,
    since: Nanos,
    sums: Vec<Sum>,
    /// Where each wanted metric is found: its sum, or its function of the end.
    wanted: Vec<(&'static Metric, Option<usize>)>,
    /// For the rule MSER-5 and for batches: the same sums, in small pieces of time.
    pieces: Option<Bins>,
    by_mser5: bool,
    batches: bool,
    /// For series: these sums, in pieces of a given length.
    series: Option<(Bins, Vec<usize>)>,
    /// Process-nanoseconds by the level of processes, and by their starts and ends: Little's law.
    process_time: u128,
    started: std::collections::BTreeMap<(u32, u32), Nanos>,
    residence: Residence,
    pub(super) asked: Asked,
}

/// What is to be observed.
pub struct Wanted<'a> {
    /// Metrics, in the order of their values.
    pub metrics: &'a [&'static Metric],
    /// What of the run is left out of means.
    pub warm_up: WarmUp,
    /// Metrics over time, and the time between two values.
    pub series: Option<(&'a [&'static Metric], Nanos)>,
    /// Whether means over time are taken of batches too.
    pub batches: bool,
}

impl Observer {
    /// Of a simulation at its start.
    #[must_use]
    pub fn new(simulation: &Simulation, wanted: &Wanted<'_>) -> Observer {
        let mut observer = Observer {
            frames: simulation.kernel().allocator().total_frames(),
            warm_up: match wanted.warm_up {
                WarmUp::Until(time) => time.nanos(),
                WarmUp::None | WarmUp::Mser5 => Nanos(0),
            },
            last: *simulation.levels(),
            since: Nanos(0),
            sums: Vec::new(),
            wanted: Vec::new(),
            pieces: None,
            by_mser5: wanted.warm_up == WarmUp::Mser5,
            batches: wanted.batches,
            series: None,
            process_time: 0,
            started: std::collections::BTreeMap::new(),
            residence: Residence::default(),
            asked: Asked::new(&simulation.setting().workload),
        };
        for metric in wanted.metrics {
            let place = observer.sum_of(metric);
            observer.wanted.push((metric, place));
        }
        if let Some((metrics, every)) = wanted.series {
            let places: Vec<usize> = metrics.iter().filter_map(|metric| observer.sum_of(metric)).collect();
            observer.series = Some((Bins::of(every, places.len()), places));
        }
        if observer.by_mser5 || observer.batches {
            let until = simulation.setting().workload.until.map(|until| until.nanos());
            observer.pieces = Some(Bins::fine(until, observer.sums.len()));
        }
        observer
    }

    /// The sum that the metric is taken from, made where there is none yet.
    fn sum_of(&mut self, metric: &Metric) -> Option<usize> {
        let (level, scale, squared) = match metric.kind {
            Kind::Mean(level, scale) => (level, scale, false),
            Kind::Variance(level) => (level, 1, true),
            Kind::End(_) => return None,
        };
        let value = level(&self.last, self.frames);
        self.sums.push(Sum { level, scale, squared, value, total: 0, squares: 0 });
        Some(self.sums.len() - 1)
    }

    /// Adds up what held until `now`.
    fn settle(&mut self, now: Nanos) {
        let from = self.since.max(self.warm_up);
        let lasted = u128::from(now.0.saturating_sub(from.0));
        self.process_time += u128::from(self.last.processes) * u128::from(now.0 - self.since.0);
        for sum in &mut self.sums {
            sum.total += u128::from(sum.value) * lasted;
            if sum.squared {
                sum.squares += u128::from(sum.value) * u128::from(sum.value) * lasted;
            }
        }
        if let Some(pieces) = &mut self.pieces {
            pieces.add(self.since, now, |place| self.sums[place].value);
        }
        if let Some((bins, places)) = &mut self.series {
            bins.add(self.since, now, |place| self.sums[places[place]].value);
        }
        self.since = now;
    }

    fn note_life(&mut self, happened: &Happened) {
        let name = (happened.process.group, happened.process.ordinal);
        match happened.call {
            Call::Start if happened.outcome == Outcome::Served => {
                self.started.insert(name, happened.time);
            }
            Call::Exit(_) | Call::Kill | Call::Request(Request::Exit) => {
                if let Some(start) = self.started.remove(&name) {
                    self.residence.ended += 1;
                    self.residence.total += u128::from(happened.time.0 - start.0);
                }
            }
            _ => {}
        }
    }

    /// What was measured, in the order it was wanted; and the series, one row for each piece of time.
    ///
    /// # Errors
    /// When Little's law does not hold on a run that started and ended empty: time at the level of processes and time between their
    /// starts and ends are the same process-nanoseconds, to the last one.
    pub fn finish(mut self, summary: &Summary) -> Result<Measured, String> {
        self.settle(summary.time);
        if summary.state == RunState::Done && self.process_time != self.residence.total {
            return Err(format!(
                "Little's law: processes were alive for {} process-ns by their number, and for {} by their starts and ends",
                self.process_time, self.residence.total
            ));
        }
        let end = End { summary, residence: self.residence };
        let values = self.wanted.iter().map(|(metric, place)| self.value(metric, *place, &end)).collect();
        let series = self.series.as_ref().map_or_else(Vec::new, |(bins, places)| {
            let mean = |place: usize, sum: u128, lasted: u128| {
                Fixed::ratio(sum, lasted * u128::from(self.sums[places[place]].scale))
            };
            bins.rows(summary.time, mean)
        });
        let batches = self.wanted.iter().filter(|_| self.batches).map(|(metric, place)| self.batches(metric, *place));
        Ok(Measured { values, series, batches: batches.collect(), asked: self.asked.finish(summary) })
    }

    fn value(&self, metric: &Metric, place: Option<usize>, end: &End<'_>) -> Option<Fixed> {
        let lasted = u128::from(end.summary.time.0.saturating_sub(self.warm_up.0));
        match (&metric.kind, place.map(|place| (place, &self.sums[place]))) {
            (Kind::End(value), _) => value(end),
            (Kind::Mean(..), Some((place, sum))) => match self.pieces.as_ref().filter(|_| self.by_mser5) {
                Some(pieces) => steady_mean(pieces, place, sum.scale),
                // A run of no time has the level it has.
                None if lasted == 0 => Fixed::ratio(sum.value.into(), sum.scale.into()),
                None => Fixed::ratio(sum.total, lasted * u128::from(sum.scale)),
            },
            (Kind::Variance(_), Some((_, sum))) => {
                let mean = Fixed::ratio(sum.total, lasted)?.0;
                let square = Fixed::ratio(sum.squares, lasted)?.0;
                Some(Fixed(square - mean * mean / UNIT))
            }
            (_, None) => None,
        }
    }
}

impl Observer {
    /// The means of batches behind the warm-up; none for what is no mean over time, or when the run is too short.
    fn batches(&self, metric: &Metric, place: Option<usize>) -> Option<Vec<Fixed>> {
        let (Kind::Mean(_, scale), pieces, place) = (&metric.kind, self.pieces.as_ref()?, place?) else { return None };
        let start = if self.by_mser5 { mser5(&pieces.means(place))?.dropped } else { pieces.piece_from(self.warm_up) };
        let (sums, lasted) = pieces.batches_from(start, place, BATCHES)?;
        sums.into_iter().map(|sum| Fixed::ratio(sum, lasted * u128::from(*scale))).collect()
    }
}

/// The mean behind the cut of MSER-5, exact; none where the run is too short for the rule.
fn steady_mean(pieces: &Bins, place: usize, scale: u64) -> Option<Fixed> {
    let cut = mser5(&pieces.means(place))?;
    let (sum, lasted) = pieces.total_from(cut.dropped, place);
    Fixed::ratio(sum, lasted * u128::from(scale))
}

/// What a cell came to.
pub struct Measured {
    /// In the order of the metrics.
    pub values: Vec<Option<Fixed>>,
    /// A row for each piece of time, in each the wanted metrics.
    pub series: Vec<Vec<Option<Fixed>>>,
    /// Of each metric the means of its batches; empty unless they are wanted.
    pub batches: Vec<Option<Vec<Fixed>>>,
    /// What the processes asked for.
    pub asked: super::asked::Digests,
}

impl Probe for Observer {
    fn see(&mut self, simulation: &Simulation, happened: &Happened) {
        if *simulation.levels() != self.last {
            self.settle(simulation.now());
            self.last = *simulation.levels();
            for sum in &mut self.sums {
                sum.value = (sum.level)(&self.last, self.frames);
            }
        }
        match happened.call {
            Call::Start | Call::Exit(_) | Call::Kill | Call::Request(Request::Exit) => self.note_life(happened),
            _ => {}
        }
        self.asked.see(happened);
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "what is tested against")]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_are_exact() {
        let shown = |numerator, denominator| Fixed::ratio(numerator, denominator).expect("a whole").to_string();
        assert_eq!([shown(1, 2), shown(12, 1), shown(2, 3)], ["0.5", "12", "0.666666666"]);
        assert_eq!((Fixed(-1_500_000_000).to_string(), Fixed(-1).to_string()), ("-1.5".into(), "-0.000000001".into()));
        assert_eq!((Fixed::ratio(1, 0), Fixed::whole(3).to_f64()), (None, 3.0));
    }

    #[test]
    fn floats_are_those_nearest_to_the_decimal() {
        let (mut random, mut double) = (1_i128, 0);
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let fixed = Fixed(random >> 40);
            let nearest: f64 = fixed.to_string().parse().expect("a decimal number");
            assert_eq!(fixed.to_f64(), nearest, "{fixed}");
            double += u32::from(fixed.0 as f64 / UNIT as f64 != nearest);
        }
        assert!(double > 0, "rounding twice would show");
    }

    #[test]
    fn every_metric_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = names().into_iter().collect();
        assert_eq!(names.len(), METRICS.len());
        assert!(USUAL.iter().all(|name| names.contains(name)));
    }
}
