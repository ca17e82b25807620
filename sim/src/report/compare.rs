//! Sides of a comparison, for a person: a table of heaps, a table of frame policies, and what they say in words.

use std::fmt::Write as _;

use framesim_models::metrics::Ratio;

use super::text::{Bytes, COLUMNS, Count, counted, wrapped};
use crate::compare::Side;
use crate::compare::requests::Common;
use crate::statistics::{Measure, Moments, Paired, Scale, Sentence};

/// Sides of one heap and one policy, a seed each.
pub struct Sides<'a> {
    /// The heap as it was chosen; `None` where each program has its own.
    pub heap: Option<&'a str>,
    /// The policy as it was chosen; `None` for the workload's.
    pub policy: Option<&'a str>,
    /// The runs, in the order of their seeds.
    pub runs: &'a [Side],
}

impl Sides<'_> {
    /// The mean over seeds, rounded down.
    fn mean(&self, measure: impl Fn(&Side) -> u64) -> u64 {
        let sum: u128 = self.runs.iter().map(|side| u128::from(measure(side))).sum();
        u64::try_from(sum.checked_div(self.runs.len() as u128).unwrap_or(0)).unwrap_or(u64::MAX)
    }

    fn held(&self) -> u64 {
        self.mean(|side| side.mean.held)
    }
}

/// What all sides were asked for.
#[must_use]
pub fn requests_line(common: &Common) -> String {
    let requests = counted(common.requests, "request", "requests");
    let text = if common.is_all {
        format!("the same {requests} for all, digest {}", common.digest)
    } else {
        format!("the same requests for all as far as all got: {requests} compared, digest {}", common.digest)
    };
    wrapped(&text, COLUMNS) + "\n"
}

/// Heaps side by side, under each policy.
#[must_use]
pub fn heaps(all: &[Sides<'_>]) -> String {
    let most = all.iter().map(|sides| sides.mean(|side| side.held_peak.max(side.resident_peak))).max().unwrap_or(0);
    let (unit, name) = match most {
        0..10_485_760 => (1 << 10, "KiB"),
        10_485_760..10_737_418_240 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    let mut text = format!(
        "{:16}{:>18}{:>20}{:>13}{:>8}\n{:16}{:>9}{:>9}{:>11}{:>9}{:>7}{:>6}{:>8}{:>5}\n",
        "",
        format!("held, {name}"),
        format!("resident, {name}"),
        "% of held",
        "system",
        "heap",
        "most",
        "average",
        "most",
        "average",
        "int.",
        "ext.",
        "calls",
        "ref."
    );
    let mut policy = None;
    for sides in all {
        if sides.policy != policy {
            policy = sides.policy;
            writeln!(text, "under {}", policy.unwrap_or("the workload's policy")).expect("a string grows");
        }
        text.push_str(&heap_row(sides, unit));
    }
    text
}

fn heap_row(sides: &Sides<'_>, unit: u64) -> String {
    let bytes = |measure: fn(&Side) -> u64| tenths(sides.mean(measure), unit);
    let share = |measure: fn(&Side) -> u64| {
        let share = Ratio::new(u128::from(sides.mean(measure)) * 100, u128::from(sides.held()));
        share.map_or_else(|| "-".to_owned(), |share| format!("{share:.1}"))
    };
    let name = sides.heap.unwrap_or("as the file says");
    let (long, name) = if name.chars().count() > 15 { (format!("{name}\n"), "") } else { (String::new(), name) };
    format!(
        "{long}{name:16}{:>9}{:>9}{:>11}{:>9}{:>7}{:>6}{:>8}{:>5}\n",
        bytes(|side| side.held_peak),
        bytes(|side| side.mean.held),
        bytes(|side| side.resident_peak),
        bytes(|side| side.mean.resident),
        share(|side| side.mean.internal),
        share(|side| side.mean.external),
        short(sides.mean(|side| side.system_calls)),
        short(sides.mean(|side| side.refused)),
    )
}

/// Bytes in units, with one decimal.
fn tenths(bytes: u64, unit: u64) -> String {
    let ratio = Ratio::new(u128::from(bytes), u128::from(unit)).unwrap_or(Ratio::ZERO);
    format!("{ratio:.1}")
}

/// A count in few characters.
fn short(count: u64) -> String {
    match count {
        0..10_000 => Count(count).to_string(),
        10_000..1_000_000 => format!("{}k", count / 1_000),
        1_000_000..10_000_000_000 => format!("{}M", count / 1_000_000),
        _ => format!("{}G", count / 1_000_000_000),
    }
}

/// Frame policies side by side, under each heap.
#[must_use]
pub fn policies(all: &[Sides<'_>]) -> String {
    let by_heap = all.iter().any(|sides| sides.heap != all[0].heap);
    let mut text = format!(
        "{:26}{:>8}   {:20}{:>6}{:>9}{:>7}\n{:26}{:>8}   {:>8} {:11}{:>6}{:>9}{:>7}\n",
        "",
        "",
        "external, frames",
        "",
        "shortest",
        "most",
        "policy",
        "refused",
        "average",
        "",
        "worst",
        "longest",
        "holes"
    );
    for sides in all {
        let policy = sides.policy.unwrap_or_else(|| sides.runs.first().map_or("", |side| &side.policy));
        let name = match sides.heap {
            Some(heap) if by_heap => format!("{policy}, {heap}"),
            _ => policy.to_owned(),
        };
        let (long, name) =
            if name.chars().count() > 25 { (format!("{name}\n"), "") } else { (String::new(), name.as_str()) };
        let (average, spread) = average(sides);
        writeln!(
            text,
            "{long}{name:26}{:>8}   {average:>8} {spread:11}{:>6}{:>9}{:>7}",
            short(sides.mean(|side| side.refused)),
            thousandths(sides.mean(|side| side.frames.external_worst_ppm)),
            short(sides.mean(|side| side.frames.longest_run_least)),
            short(sides.mean(|side| side.frames.holes_most)),
        )
        .expect("a string grows");
    }
    text
}

fn thousandths(ppm: u64) -> String {
    format!("{:.3}", Ratio::new(u128::from(ppm), 1_000_000).unwrap_or(Ratio::ZERO))
}

/// External fragmentation of frames and, of several seeds, half the width of its interval.
fn average(sides: &Sides<'_>) -> (String, String) {
    let mean = sides.mean(|side| side.frames.external_mean_ppm);
    let moments = Moments::of(&values(sides, |side| side.frames.external_mean_ppm, 1_000_000));
    let spread =
        moments.interval(CONFIDENCE).map_or_else(String::new, |interval| format!("± {:.3}", interval.half_width()));
    (thousandths(mean), spread)
}

/// How confident intervals are.
const CONFIDENCE: f64 = 0.95;
/// Seed of the bootstrap beside Student's interval.
const BOOTSTRAP_SEED: u64 = 1;

/// A measure of each seed, in units of `unit`.
fn values(sides: &Sides<'_>, measure: impl Fn(&Side) -> u64, unit: u64) -> Vec<f64> {
    sides
        .runs
        .iter()
        .map(|side| Ratio::new(u128::from(measure(side)), u128::from(unit)).unwrap_or(Ratio::ZERO))
        .map(to_f64)
        .collect()
}

/// A ratio for statistics, which stand outside the result path: the decimal number nearest to it.
fn to_f64(ratio: Ratio) -> f64 {
    format!("{ratio:.9}").parse().unwrap_or(0.0)
}

/// Who wins by how much: by what is resident, by what is held, by system calls.
#[must_use]
pub fn heaps_in_words(all: &[Sides<'_>]) -> String {
    if all.len() < 2 {
        return String::new();
    }
    let resident = ranked(all, "has least memory resident on average", |side| side.mean.resident);
    let held = ranked(all, "holds least", |side| side.mean.held);
    let name = |sides: Option<&Sides<'_>>| sides.map_or_else(String::new, |sides| side_name(sides, all));
    let calls = |sides: &&Sides<'_>| sides.mean(|side| side.system_calls);
    let (fewest, most) = (all.iter().min_by_key(calls), all.iter().max_by_key(calls));
    let count = |sides: Option<&Sides<'_>>| Count(sides.map_or(0, |sides| calls(&sides)));
    let calls = format!(
        "{} makes the fewest system calls, {}; {} the most, {}.",
        name(fewest),
        count(fewest),
        name(most),
        count(most)
    );
    let mut text = wrapped(&format!("{resident} {held} {calls}"), COLUMNS) + "\n";
    let mut order: Vec<&Sides<'_>> = all.iter().collect();
    order.sort_by_key(|sides| sides.mean(|side| side.mean.resident));
    let measure = Measure { name: "resident memory", scale: Scale::Number("bytes") };
    text.push_str(&paired(order[0], order[1], measure, |side| side.mean.resident, 1, all));
    text
}

/// The one with the least of something, against the next and the last.
fn ranked(all: &[Sides<'_>], what: &str, measure: fn(&Side) -> u64) -> String {
    let mut order: Vec<&Sides<'_>> = all.iter().collect();
    let level = |sides: &Sides<'_>| sides.mean(measure);
    order.sort_by_key(|sides| level(sides));
    let ([best, next, ..], Some(last)) = (&order[..], order.last()) else { return String::new() };
    let name = |sides: &Sides<'_>| side_name(sides, all);
    let less = |other: &Sides<'_>| {
        let saved = u128::from(level(other) - level(best)) * 100;
        format!("{:.1} %", Ratio::new(saved, u128::from(level(other))).unwrap_or(Ratio::ZERO))
    };
    let mut said = format!("{} {what}, {}: ", name(best), Bytes(level(best)));
    if level(best) == level(next) {
        write!(said, "as much as {}", name(next)).expect("a string grows");
    } else {
        write!(said, "{} less than {}", less(next), name(next)).expect("a string grows");
    }
    if level(last) > level(next) {
        write!(said, ", {} less than {}, the last", less(last), name(last)).expect("a string grows");
    }
    said + "."
}

/// Who wins by how much, by external fragmentation of frames.
#[must_use]
pub fn policies_in_words(all: &[Sides<'_>]) -> String {
    let mut order: Vec<&Sides<'_>> = all.iter().collect();
    let external = |sides: &Sides<'_>| sides.mean(|side| side.frames.external_mean_ppm);
    order.sort_by_key(|sides| external(sides));
    let ([best, next, ..], Some(last)) = (&order[..], order.last()) else { return String::new() };
    let name = |sides: &Sides<'_>| side_name(sides, all);
    let points = |sides: &Sides<'_>| {
        format!("{:.1}", Ratio::new(u128::from(external(sides) - external(best)), 10_000).unwrap_or(Ratio::ZERO))
    };
    let mut said = if external(best) == external(next) {
        format!("{} and {} leave the least external fragmentation of frames, the same", name(best), name(next))
    } else {
        format!(
            "{} leaves {} points less external fragmentation of frames than {}",
            name(best),
            points(next),
            name(next)
        )
    };
    if order.len() > 2 && external(last) > external(next) {
        write!(said, ", {} points less than {}", points(last), name(last)).expect("a string grows");
    }
    said.push('.');
    let mut text = wrapped(&said, COLUMNS) + "\n";
    let measure = Measure { name: "external fragmentation", scale: Scale::Share };
    text.push_str(&paired(best, next, measure, |side| side.frames.external_mean_ppm, 1_000_000, all));
    text
}

/// The difference of two sides over the same seeds, where there are several.
fn paired(
    one: &Sides<'_>,
    other: &Sides<'_>,
    measure: Measure<'_>,
    value: fn(&Side) -> u64,
    unit: u64,
    all: &[Sides<'_>],
) -> String {
    let (here, there) = (values(one, value, unit), values(other, value, unit));
    let Some(paired) = Paired::of(&here, &there, CONFIDENCE, BOOTSTRAP_SEED) else { return String::new() };
    let (one, other) = (side_name(one, all), side_name(other, all));
    let sentence = Sentence { one: &one, other: &other, measure, paired: &paired };
    wrapped(&format!("Over seeds: {sentence}."), COLUMNS) + "\n"
}

/// As it is told apart from the others.
fn side_name(sides: &Sides<'_>, all: &[Sides<'_>]) -> String {
    let heaps_differ = all.iter().any(|other| other.heap != sides.heap);
    let policies_differ = all.iter().any(|other| other.policy != sides.policy);
    match (sides.heap, sides.policy) {
        (Some(heap), Some(policy)) if heaps_differ && policies_differ => format!("{heap} under {policy}"),
        (Some(heap), _) if heaps_differ => heap.to_owned(),
        (_, Some(policy)) => policy.to_owned(),
        _ => "the workload's".to_owned(),
    }
}
