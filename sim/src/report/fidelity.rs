//! How far each heap model can be trusted, as a page of Markdown: what it keeps, what it simplifies, what it has not, and what it
//! measures on recorded calls.

use std::fmt::Write as _;

use framesim_models::docs;

use super::text::{Count, wrapped};
use crate::conform::heap::HeapVerdict;

/// Columns of the page's text.
const COLUMNS: usize = 120;

/// What was measured of one heap.
pub struct Fidelity {
    /// Its name.
    pub name: &'static str,
    /// What it says in one line.
    pub summary: &'static str,
    /// How it compares with recordings of the original.
    pub verdicts: Vec<Measured>,
}

/// One recording.
pub struct Measured {
    /// Whether each thread made its own calls.
    pub has_threads: bool,
    /// The comparison.
    pub verdict: HeapVerdict,
}

/// What a heap held of one trace.
pub struct Held {
    /// Most bytes held.
    pub held_peak: u64,
    /// Most bytes with frames.
    pub resident_peak: u64,
}

/// All heaps on one trace.
pub struct OnTrace {
    /// The trace.
    pub trace: String,
    /// Calls of it.
    pub calls: u64,
    /// Most bytes that were live.
    pub live_peak: u64,
    /// Each heap, in their order.
    pub heaps: Vec<Held>,
}

/// The page.
#[must_use]
pub fn page(heaps: &[Fidelity], traces: &[OnTrace], command: &str) -> String {
    let mut text = String::from("# How far each heap can be trusted\n\n");
    let intro = format!(
        "Made by `{command}`: what a model keeps, simplifies and leaves out is said in its own file; the figures are measured. \
         Places and usable sizes are those of every block of the recording; a row of the series has live bytes, break and \
         mapped bytes; resident bytes are compared beside a constant that the first rows show."
    );
    writeln!(text, "{}\n", wrapped(&intro, COLUMNS)).expect("a string grows");
    for heap in heaps {
        text.push_str(&section(heap));
    }
    text.push_str(&on_traces(heaps, traces));
    text
}

fn section(heap: &Fidelity) -> String {
    let mut text = format!("## {}\n\n{}.\n\n", heap.name, heap.summary);
    if let Some(doc) = docs::of_heap(heap.name) {
        let nothing = |said: &str| if said.is_empty() { "nothing that is known.".to_owned() } else { said.to_owned() };
        for (what, said) in [
            ("kept", format!("{} {} rules, in the model's file.", doc.models, doc.rules)),
            ("simplified", nothing(&doc.simplified)),
            ("absent", nothing(&doc.absent)),
        ] {
            let item = wrapped(&format!("- **{what}**: {said}"), COLUMNS).replace('\n', "\n  ");
            writeln!(text, "{item}").expect("a string grows");
        }
        text.push('\n');
    }
    if heap.verdicts.is_empty() {
        return text
            + "No recording: what it models has no binary to be held against; its rules are held against a naive oracle.\n\n";
    }
    text.push_str("| recording | blocks | places equal | usable sizes equal | rows equal | resident equal | largest difference |\n");
    text.push_str("|---|--:|--:|--:|--:|--:|--:|\n");
    for measured in &heap.verdicts {
        text.push_str(&row(measured));
    }
    text + "\n"
}

fn row(measured: &Measured) -> String {
    let HeapVerdict { case, blocks, places_equal, usable_equal, series, .. } = &measured.verdict;
    let threads = if measured.has_threads { ", threads" } else { "" };
    let share =
        |part: u64, all: u64| if part == all { "all".to_owned() } else { format!("{} of {}", Count(part), Count(all)) };
    let series = series.as_ref().map_or_else(
        || "- | - | -".to_owned(),
        |series| {
            let equal = share(series.rows_equal, series.rows);
            let resident = share(series.resident_equal, series.rows);
            format!("{equal} | {resident} | {} B", Count(series.resident_difference))
        },
    );
    let (places, usable) = (share(*places_equal, *blocks), share(*usable_equal, *blocks));
    format!("| {case}{threads} | {} | {places} | {usable} | {series} |\n", Count(*blocks))
}

fn on_traces(heaps: &[Fidelity], traces: &[OnTrace]) -> String {
    let mut text = String::from("## All heaps on the same calls\n\n");
    let intro = "Most KiB held (address space), and most KiB resident, of each trace replayed with its threads on 4 GiB of memory.";
    writeln!(text, "{}\n", wrapped(intro, COLUMNS)).expect("a string grows");
    for (what, measure) in
        [("held", (|held| held.held_peak) as fn(&Held) -> u64), ("resident", |held| held.resident_peak)]
    {
        let names: Vec<&str> = heaps.iter().map(|heap| heap.name).collect();
        writeln!(text, "| most {what}, KiB | calls | live | {} |", names.join(" | ")).expect("a string grows");
        writeln!(text, "|---|--:|--:{}|", "|--:".repeat(heaps.len())).expect("a string grows");
        for trace in traces {
            let cells: Vec<String> = trace.heaps.iter().map(|held| kib(measure(held))).collect();
            let (calls, live) = (Count(trace.calls), kib(trace.live_peak));
            writeln!(text, "| {} | {calls} | {live} | {} |", trace.trace, cells.join(" | ")).expect("a string grows");
        }
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}

/// KiB, rounded up.
fn kib(bytes: u64) -> String {
    Count(bytes.div_ceil(1024)).to_string()
}
