//! Heaps for a person: what they held, what of it was of use, and by which sizes. The terms are those of
//! `simulation::heaps`.

use std::fmt::Write as _;

use framesim_models::metrics::Ratio;

use super::text::{Bytes, COLUMNS, Count, Seconds, counted, wrapped};
use crate::simulation::{HeapLevels, HeapSummary, SizeClass};

/// A line for each group of processes, at the moment at which its heaps held most; nothing where nobody called a heap.
#[must_use]
pub fn lines(heaps: &[HeapSummary]) -> String {
    if heaps.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "{:26}{:>10}{:>11}{:>11}{:>10}{:>11}\n",
        "heaps when most was held", "live", "internal", "external", "held", "resident"
    );
    for heap in heaps {
        let HeapLevels { live_bytes, internal_bytes, external_bytes, held_bytes, resident_bytes, .. } =
            heap.most_held.levels;
        let name = shortened(&format!("  {} ({})", heap.group, heap.heap), 26);
        let [live, internal, external, held, resident] =
            [live_bytes, internal_bytes, external_bytes, held_bytes, resident_bytes]
                .map(|bytes| Bytes(bytes).to_string());
        writeln!(text, "{name:26}{live:>10}{internal:>11}{external:>11}{held:>10}{resident:>11}")
            .expect("a string grows");
    }
    text
}

fn shortened(text: &str, columns: usize) -> String {
    match text.chars().count() {
        0..26 => text.to_owned(),
        _ => text.chars().take(columns - 3).chain("..".chars()).collect(),
    }
}

/// All that is known of the heaps of one group.
#[must_use]
pub fn full(heap: &HeapSummary) -> String {
    let HeapSummary { group, processes, .. } = heap;
    let mut text = format!("heap of {group}: {}, {}\n", heap.heap, counted(*processes, "process", "processes"));
    text.push_str(&levels(heap));
    text.push('\n');
    text.push_str(&sentences(heap));
    text.push('\n');
    text.push_str(&classes(&heap.classes));
    text
}

type Level = fn(&HeapLevels) -> u64;

const LEVELS: [(&str, Level); 12] = [
    ("held", |levels| levels.held_bytes),
    ("  live (asked for)", |levels| levels.live_bytes),
    ("  internal", |levels| levels.internal_bytes),
    ("    rounding", |levels| levels.rounding_bytes),
    ("    header", |levels| levels.overhead_bytes),
    ("    cache", |levels| levels.cached_bytes),
    ("    free in page", |levels| levels.in_page_bytes),
    ("  external", |levels| levels.external_bytes),
    ("usable", |levels| levels.usable_bytes),
    ("mapped", |levels| levels.mapped_bytes),
    ("resident", |levels| levels.resident_bytes),
    ("lazily freed", |levels| levels.lazy_bytes),
];

fn levels(heap: &HeapSummary) -> String {
    let largest = &heap.largest.moment;
    let moments = [&heap.most_live.levels, &heap.most_held.levels, &heap.now, &largest.levels];
    let is_alone = heap.processes == 1;
    let shown = if is_alone { &moments[..3] } else { &moments[..] };
    let row = |name: &str, cells: [String; 4]| {
        let cells: String = cells[..shown.len()].iter().map(|cell| format!("{cell:>13}")).collect();
        format!("{name:22}{cells}\n")
    };
    let who = format!("{}/{} alone", heap.group, heap.largest.ordinal);
    let who = if who.len() > 12 { "the largest".to_owned() } else { who };
    let mut text = row("", ["most live", "most held", "end", &who].map(str::to_owned));
    for (name, level) in LEVELS {
        if moments.iter().any(|levels| level(levels) > 0) {
            text.push_str(&row(&format!("  {name}"), moments.map(|levels| Bytes(level(levels)).to_string())));
        }
    }
    let times = [heap.most_live.time, heap.most_held.time].map(|time| Seconds(time).to_string());
    let [live, held] = times;
    text.push_str(&row("  at", [live, held, String::new(), Seconds(largest.time).to_string()]));
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn sentences(heap: &HeapSummary) -> String {
    let ratio = |ppm: Option<u64>| match ppm.and_then(|ppm| Ratio::new(u128::from(ppm), 1_000_000)) {
        Some(ratio) => format!("{ratio:.3}"),
        None => "none".to_owned(),
    };
    let to_live = &heap.held_to_live;
    let held_to_live = format!(
        "held to live: on average {} by time, {} by call; {} when most was live, {} when most was held, {} most to most",
        ratio(to_live.mean_by_time_ppm),
        ratio(to_live.mean_by_call_ppm),
        ratio(to_live.at_most_live_ppm),
        ratio(to_live.at_most_held_ppm),
        ratio(to_live.of_maxima_ppm),
    );
    let means = &heap.means;
    let average = format!(
        "on average: held {} by time, {} by call; resident {} by time, {} by call",
        Bytes(means.held_by_time),
        Bytes(means.held_by_call),
        Bytes(means.resident_by_time),
        Bytes(means.resident_by_call),
    );
    let calls = format!("system calls: {}", system_calls(heap));
    [held_to_live, average, calls].map(|sentence| indented(&sentence)).concat()
}

/// Kinds that were made, with their counts.
#[must_use]
pub fn system_calls(heap: &HeapSummary) -> String {
    let made = heap.system_calls.iter().filter(|(_, count)| **count > 0);
    let made: Vec<String> = made.map(|(name, count)| format!("{name} {}", Count(*count))).collect();
    if made.is_empty() { "none".to_owned() } else { made.join(", ") }
}

fn indented(sentence: &str) -> String {
    let lines = wrapped(sentence, COLUMNS - 4);
    let mut text = String::new();
    for (number, line) in lines.lines().enumerate() {
        let indent = if number == 0 { "  " } else { "    " };
        writeln!(text, "{indent}{line}").expect("a string grows");
    }
    text
}

/// Two classes a line: the lower half on the left.
fn classes(classes: &[SizeClass]) -> String {
    let heading = format!("{:>9}{:>11}{:>8}{:>9}", "up to", "got", "blocks", "rounding");
    let mut text = format!("  by size asked for; blocks and rounding when most was live\n  {heading}");
    if classes.len() > 1 {
        write!(text, "  {heading}").expect("a string grows");
    }
    text.push('\n');
    let rows = classes.len().div_ceil(2);
    for row in 0..rows {
        let cells = [classes.get(row), classes.get(row + rows)].into_iter().flatten().map(class);
        writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ")).expect("a string grows");
    }
    text
}

fn class(class: &SizeClass) -> String {
    let up_to = class.up_to.map_or_else(|| "more".to_owned(), |bytes| Bytes(bytes).to_string());
    let rounding = Ratio::share(class.usable_bytes.saturating_sub(class.live_bytes), class.usable_bytes);
    format!("{up_to:>9}{:>11}{:>8}{:>9.4}", Count(class.got).to_string(), short(class.blocks), rounding)
}

/// A count in seven characters.
fn short(count: u64) -> String {
    match count {
        0..1_000_000 => Count(count).to_string(),
        1_000_000..1_000_000_000 => format!("{}k", count / 1_000),
        _ => format!("{}M", count / 1_000_000),
    }
}
