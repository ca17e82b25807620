//! A large run summed up: levels with their peaks, who did the work, fragmentation, refusals.

use std::fmt::Write as _;

use framesim_models::Nanos;
use framesim_models::kernel::Region;
use framesim_models::metrics::Ratio;
use framesim_workloads::spec::Program;

use super::text::{Bytes, COLUMNS, Count, Seconds, counted, wrapped};
use crate::simulation::{Calls, Cause, Failures, Levels, Order, Refusal, RunState, Simulation, Summary, Waits};

/// What ran: the first lines of every report, from which the run can be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// The workload's name: its file's without the ending.
    pub workload: String,
    /// What the workload says it is about.
    pub about: String,
    /// Frames of the machine.
    pub frames: u64,
    /// Bytes of a frame.
    pub page_bytes: u64,
    /// The frame policy.
    pub policy: String,
    /// Heaps of the programs, each once.
    pub heaps: Vec<String>,
    /// The seed.
    pub seed: u64,
}

impl Heading {
    /// Of a run at its end.
    #[must_use]
    pub fn of(name: &str, simulation: &Simulation, summary: &Summary) -> Heading {
        let workload = &simulation.setting().workload;
        let heap_is_used = summary.calls.mallocs > 0;
        let mut heaps: Vec<String> = Vec::new();
        for group in workload.processes.iter().filter(|_| heap_is_used) {
            let program = group.program.as_ref().and_then(|program| workload.programs.get(program));
            let heap = program.map_or_else(|| Program::default().heap, |program| program.heap.clone());
            if !heaps.iter().any(|known| known == heap.name()) {
                heaps.push(heap.name().to_owned());
            }
        }
        Heading {
            workload: name.to_owned(),
            about: workload.about.clone(),
            frames: summary.frames,
            page_bytes: summary.page_bytes,
            policy: workload.machine.frames.name().to_owned(),
            heaps,
            seed: workload.seed,
        }
    }

    /// Two lines: what, and on what machine.
    #[must_use]
    pub fn text(&self) -> String {
        let about = if self.about.is_empty() { String::new() } else { format!(": {}", self.about) };
        let frames = counted(self.frames, "frame", "frames");
        let all = match self.frames.checked_mul(self.page_bytes) {
            Some(bytes) if self.frames > 64 => format!(" ({})", Bytes(bytes)),
            _ => String::new(),
        };
        let models = [std::slice::from_ref(&self.policy), &self.heaps].concat().join(", ");
        let machine = format!("{frames} of {}{all}, {models}, seed {}", Bytes(self.page_bytes), self.seed);
        format!("{}\n{}\n", wrapped(&format!("{}{about}", self.workload), 80), wrapped(&machine, 80))
    }
}

/// The last lines of every report: the digests of the final state and of the whole run, and what was refused.
#[must_use]
pub fn last_lines(simulation: &Simulation, requests: Option<u64>, failures: &Failures) -> String {
    let requests = requests.map_or_else(String::new, |count| counted(count, "request", "requests") + ", ");
    let causes: Vec<String> = causes(failures).map(|(cause, count)| cause_text(cause, count, failures.total)).collect();
    let why = if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) };
    let (state, digest) = (simulation.state_digest(), simulation.digest());
    format!(
        "state  {state}   the frame map at the end\ndigest {digest}   {requests}{} refused{why}\n",
        Count(failures.total)
    )
}

fn cause_text(cause: Cause, count: u64, total: u64) -> String {
    let name = cause.name().replace('_', " ");
    if count == total { name } else { format!("{} {name}", Count(count)) }
}

/// All of the summary but the map and the last line; `heaps` is what is said of the heaps.
#[must_use]
pub fn text(summary: &Summary, heaps: &str) -> String {
    let mut text = String::new();
    let events = counted(summary.events, "event", "events");
    writeln!(text, "{} simulated, {events}{}\n", Seconds(summary.time), ending(summary.state)).expect("a string grows");
    text.push_str(&side_by_side(&frames(summary), &work(summary)));
    text.push('\n');
    text.push_str(&bytes(summary));
    text.push('\n');
    if !heaps.is_empty() {
        text.push_str(heaps);
        text.push('\n');
    }
    text.push_str(&fragmentation(summary));
    if let Some(waited) = waits(&summary.waits) {
        text.push('\n');
        text.push_str(&waited);
    }
    if let Some(refused) = refusals(&summary.failures) {
        text.push('\n');
        text.push_str(&refused);
    }
    text
}

fn ending(state: RunState) -> &'static str {
    match state {
        RunState::Done => "",
        RunState::Going => ", not at its end",
        RunState::TimeOver => ", stopped by its time",
        RunState::Stuck => "; stuck: all that are left wait for memory",
    }
}

/// Levels of frames: what each region has, and what is left.
fn frames(summary: &Summary) -> Vec<String> {
    let (peak, now) = (&summary.peak, &summary.now);
    let mut lines = vec![row("frames", "peak", "end")];
    for region in summary.regions.iter().filter(|region| region.peak > 0) {
        lines.push(row(&format!("  {}", region.region.name()), &number(region.peak), &number(region.now)));
    }
    lines.push(row("", "least", "end"));
    lines.push(row("  free", &number(peak.free_frames), &number(now.free_frames)));
    lines.push(row("  largest free run", &number(peak.longest_run), &number(now.longest_run)));
    lines.push(row("", "most", "end"));
    lines.push(row("  free runs (holes)", &number(peak.holes), &number(now.holes)));
    lines.push(row("  processes", &number(peak.processes), &number(now.processes)));
    if peak.threads > peak.processes {
        lines.push(row("  threads", &number(peak.threads), &number(now.threads)));
    }
    lines
}

/// Who did the work: the higher a line, the less of it should reach the lines below.
fn work(summary: &Summary) -> Vec<String> {
    let Calls { mallocs, mallocs_by_kernel, frees, faults, zeroed_pages, frames_moved, .. } = summary.calls;
    let system_calls: u64 = summary.calls.system_calls.values().sum();
    let mut lines = vec!["who did the work".to_owned()];
    for (name, count) in [
        ("malloc and free", mallocs + frees),
        ("system calls", system_calls),
        ("page faults", faults),
        ("pages zeroed", zeroed_pages),
        ("frames moved", frames_moved),
    ] {
        lines.push(format!("  {name:16}{:>13}", Count(count)));
    }
    if let Some(ratio) = mallocs.checked_div(mallocs_by_kernel) {
        lines.push("  mallocs that needed the".to_owned());
        lines.push(format!("  kernel: 1 in {}", Count(ratio)));
    } else if mallocs > 0 {
        lines.push("  no malloc needed the kernel".to_owned());
    }
    if summary.threads.started > 0 {
        lines.push(format!("  {:16}{:>13}", "threads started", Count(summary.threads.started)));
    }
    let kinds = summary.calls.system_calls.iter().filter(|(_, count)| **count > 0);
    for (name, count) in kinds {
        lines.push(format!("  {name:16}{:>13}", Count(*count)));
    }
    lines
}

/// Live, held, mapped, resident and lazily freed are five numbers: what is not returned is not fragmented.
fn bytes(summary: &Summary) -> String {
    let (peak, now) = (&summary.peak, &summary.now);
    let mut text = row("bytes", "peak", "end") + "\n";
    for (name, level) in BYTES {
        let (most, end) = (level(peak), level(now));
        if most > 0 {
            text.push_str(&row(&format!("  {name}"), &Bytes(most).to_string(), &Bytes(end).to_string()));
            text.push('\n');
        }
    }
    text
}

type Level = fn(&Levels) -> u64;

const BYTES: [(&str, Level); 6] = [
    ("live (asked for)", |levels| levels.live_bytes),
    ("usable", |levels| levels.usable_bytes),
    ("held by heaps", |levels| levels.heap_bytes),
    ("mapped", |levels| levels.mapped_bytes),
    ("resident", |levels| levels.resident_bytes),
    ("lazily freed", |levels| levels.lazy_bytes),
];

/// The order of a huge page of 2 MiB: what fragmentation costs first.
const HUGE: u32 = 9;

fn fragmentation(summary: &Summary) -> String {
    let huge = summary.orders.iter().any(|order| order.order == HUGE);
    let unusable = if huge { "   unusable for order 9" } else { "" };
    let mut text = format!("{:26}{:>10}{:>11}{unusable}\n", "fragmentation", "external", "internal");
    let line = |when: &str, levels: &Levels, orders: &[Order]| {
        let (external, internal) = (levels.external_fragmentation(), levels.internal_fragmentation());
        let index = orders.iter().find(|order| order.order == HUGE).filter(|_| huge);
        let index = index.map_or_else(String::new, |order| format!("{:>23}", permille(order.unusable_free_index)));
        format!("  {when:24}{external:>10.4}{internal:>11.4}{index}\n")
    };
    text.push_str(&line("at the end", &summary.now, &summary.orders));
    if let Some(worst) = &summary.worst {
        let when = format!("worst, at {}", Seconds(worst.time));
        text.push_str(&line(&when, &worst.levels, &worst.orders));
    }
    text.push('\n');
    text.push_str(&orders(&summary.orders));
    text
}

fn permille(value: u64) -> Ratio {
    Ratio::new(u128::from(value), 1000).expect("1000 is not 0")
}

/// Orders that fit on a line.
const ORDERS: usize = 11;

/// Free blocks and Linux's indices, an order a column.
fn orders(orders: &[Order]) -> String {
    let orders = &orders[..orders.len().min(ORDERS)];
    let line = |name: &str, cell: &dyn Fn(&Order) -> String| {
        let cells: String = orders.iter().map(|order| format!("{:>6}", cell(order))).collect();
        format!("{name:14}{cells}\n")
    };
    [
        line("order", &|order| order.order.to_string()),
        line("free blocks", &|order| short(order.free_blocks)),
        line("unusable", &|order| thousandths(i64::try_from(order.unusable_free_index).unwrap_or(i64::MAX))),
        line("frag. index", &|order| thousandths(order.fragmentation_index)),
    ]
    .concat()
}

/// A count in five characters.
fn short(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..10_000_000 => format!("{}k", count / 1_000),
        _ => format!("{}M", count / 1_000_000),
    }
}

/// `625` as `.625`, `-1000` as `-1`, as the kernel's own three digits without the leading 0.
fn thousandths(value: i64) -> String {
    let (sign, size) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    match (size / 1000, size % 1000) {
        (0, 0) => "0".to_owned(),
        (0, part) => format!("{sign}.{part:03}"),
        (whole, 0) => format!("{sign}{whole}"),
        (whole, part) => format!("{sign}{whole}.{part:03}"),
    }
}

/// What was refused and why; `None` when nothing was.
fn refusals(failures: &Failures) -> Option<String> {
    let (when, first) = failures.first?;
    let mut text = format!("refused {}\n", Count(failures.total));
    for (cause, count) in causes(failures) {
        writeln!(text, "  {:>9}  {}", Count(count), cause_sentence(cause)).expect("a string grows");
    }
    let first = format!("The first, at {}: {}", Seconds(when), refusal_sentence(&first));
    text.push_str(&wrapped(&first, 78));
    text.push('\n');
    Some(text)
}

/// Causes that came about, with how often.
fn causes(failures: &Failures) -> impl Iterator<Item = (Cause, u64)> {
    let counts = Cause::ALL.map(|cause| {
        let count = match cause {
            Cause::Shortage => failures.shortage,
            Cause::Fragmentation => failures.fragmentation,
            Cause::TooLarge => failures.too_large,
            Cause::AddressSpace => failures.address_space,
        };
        (cause, count)
    });
    counts.into_iter().filter(|(_, count)| *count > 0)
}

fn cause_sentence(cause: Cause) -> &'static str {
    match cause {
        Cause::Shortage => "shortage: fewer frames were free than asked for",
        Cause::Fragmentation => "fragmentation: enough frames were free, but no run was long enough",
        Cause::TooLarge => "too large for this memory or this policy, whatever is free",
        Cause::AddressSpace => "no address space, or a limit of it",
    }
}

/// One refusal, in one sentence that says whether memory was short or scattered.
#[must_use]
pub fn refusal_sentence(refusal: &Refusal) -> String {
    let Refusal { cause, asked, free, longest, .. } = *refusal;
    let frames = counted(asked, "frame", "frames");
    let what = match refusal.region {
        Region::Taken => String::new(),
        region => format!(" for {}", region.name()),
    };
    match cause {
        Cause::Shortage => format!("{frames}{what}, but {} free: memory was short.", are(free)),
        Cause::Fragmentation => format!(
            "{frames} in a row{what}; {} free, but the longest free run had {}: memory was scattered.",
            are(free),
            Count(longest)
        ),
        Cause::TooLarge => format!("{frames} at once{what}: more than this memory or policy ever hands out."),
        Cause::AddressSpace => format!("address space{what}: none was left, or a limit was reached."),
    }
}

fn are(count: u64) -> String {
    match count {
        0 => "none was".to_owned(),
        1 => "only 1 was".to_owned(),
        _ => format!("{} were", Count(count)),
    }
}

/// Waiting for memory, where anybody did.
#[must_use]
pub fn waits(waits: &Waits) -> Option<String> {
    let Waits { ended, total, longest, waiting, waiting_peak, .. } = *waits;
    if ended + waiting == 0 {
        return None;
    }
    let mean = total.0.checked_div(ended).map_or_else(String::new, |mean| {
        format!(", {} each on average, {} at most", Seconds(Nanos(mean)), Seconds(longest))
    });
    let still = if waiting > 0 { format!("; {} wait still", Count(waiting)) } else { String::new() };
    let (waited, most) = (counted(ended, "request", "requests"), Count(waiting_peak));
    Some(wrapped(&format!("{waited} waited for memory{mean}; at most {most} at once{still}"), COLUMNS) + "\n")
}

fn number(count: u64) -> String {
    Count(count).to_string()
}

fn row(name: &str, first: &str, second: &str) -> String {
    format!("{name:22}{first:>12}{second:>12}")
}

/// Two blocks of lines next to each other.
fn side_by_side(left: &[String], right: &[String]) -> String {
    const GAP: usize = 3;
    let width = left.iter().map(|line| line.chars().count()).max().unwrap_or(0) + GAP;
    let mut text = String::new();
    for line in 0..left.len().max(right.len()) {
        let one = left.get(line).map_or("", String::as_str);
        let two = right.get(line).map_or("", String::as_str);
        text.push_str(format!("{one:width$}{two}").trim_end());
        text.push('\n');
    }
    text
}
