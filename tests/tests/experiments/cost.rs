//! What a sweep costs beside its simulations: processor time, memory, and the time that a merge takes.
//!
//! Bounds of the tests that always run are for unoptimised builds on busy machines: they catch work that grows faster than it should. The
//! bars themselves are in the ignored tests, for a release build on an idle machine:
//! `cargo test --release -p framesim-tests --test experiments cost -- --ignored --nocapture --test-threads 1`.

#![expect(
    clippy::float_arithmetic,
    clippy::disallowed_types,
    reason = "what this machine takes, for a person and for a bound"
)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use framesim::Registries;
use framesim::cli::sweep::prepare;
use framesim::experiment::{Journal, Key, Next, Prepared, Purpose, Record, Shard};
use framesim::simulation::{Setting, Simulation};

use super::folder::{EXPERIMENT, Folder};

/// Points, seeds: twice as many cells as their product.
fn experiment(points: u64, seeds: u64) -> String {
    let memory = format!("range(from: \"256KiB\", to: \"{}KiB\", step: \"4KiB\")", 256 + 4 * (points - 1));
    let text = EXPERIMENT
        .replace("list([\"256KiB\", \"1MiB\"])", &memory)
        .replace(", values(\"memory\", \"256KiB\", \"1MiB\")", "")
        .replace("count(3)", &format!("count({seeds})"));
    assert_ne!(text, EXPERIMENT);
    text
}

/// Three requests: a cell of some ten microseconds.
const TINY: &str = r#"(
    about: "tiny",
    machine: (memory: "64KiB", frames: first_fit, kernel: free_of_charge),
    processes: [(name: "P", does: script([take("A", 2), take("B", 4), give("A")]))],
)
"#;

fn tiny(seeds: u64) -> Folder {
    let folder = Folder::with(&format!(
        "(about: \"tiny\", workload: \"tiny.ron\", policies: [first_fit, best_fit], replicas: count({seeds}))"
    ));
    folder.write("tiny.ron", TINY);
    folder
}

fn prepared(folder: &Folder, registries: &Registries) -> Prepared {
    prepare(registries, &folder.path("mine.ron"), Purpose::Run).expect("a sound experiment")
}

/// Processor time of this thread.
fn own_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds"))
}

/// Processor time of a command, by the shell that waits for it.
fn time_of(folder: &Folder, words: &str) -> Duration {
    let framesim = env!("CARGO_BIN_EXE_framesim_under_test");
    let script = format!("{framesim} {words} >out.txt 2>&1 || exit 1; times");
    let mut shell = Command::new("bash");
    shell.env("LC_ALL", "C").args(["-c", &script]).current_dir(folder.path("."));
    let output = shell.output().expect("bash can be started");
    assert!(output.status.success(), "`framesim {words}`: {}", folder.read("out.txt"));
    let text = String::from_utf8(output.stdout).expect("text");
    // `0m1.234s 0m0.056s`: user and system, of the shell and then of its children.
    let of_children = text.lines().nth(1).expect("two lines");
    let seconds = |part: &str| {
        let (minutes, seconds) =
            part.strip_suffix('s').and_then(|part| part.split_once('m')).expect("minutes, seconds");
        60.0 * minutes.parse::<f64>().expect("a number") + seconds.parse::<f64>().expect("a number")
    };
    Duration::from_secs_f64(of_children.split(' ').map(seconds).sum())
}

/// Most memory that a command had at once, in KiB, as seen from time to time.
fn memory_of(folder: &Folder, words: &str) -> u64 {
    let mut child = folder.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a program");
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().expect("a child of this test").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        most = most.max(peak.trim().trim_end_matches(" kB").parse().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().expect("a child of this test").success(), "`framesim {words}`");
    most
}

fn keys(prepared: &Prepared) -> impl Iterator<Item = Key> {
    let mut plan = prepared.plan(Shard::WHOLE);
    std::iter::from_fn(move || match plan.next_cell() {
        Next::Cell(key) => {
            plan.done(key, None);
            Some(key)
        }
        Next::Wait | Next::Done => None,
    })
}

/// Processor time of the simulations of an experiment and of nothing else.
fn simulations(folder: &Folder) -> Duration {
    let registries = Registries::default();
    let prepared = prepared(folder, &registries);
    let (mut spent, mut point) = (Duration::ZERO, None);
    let mut workloads = Vec::new();
    for key in keys(&prepared) {
        if point != Some(key.point) {
            point = Some(key.point);
            let at = |policy| prepared.workload(Key { policy, ..key }, &registries).expect("a sound workload");
            workloads = (0..prepared.models().0).map(at).collect();
        }
        let mut workload = workloads[key.policy as usize].clone();
        workload.seed = prepared.seed_of(key);
        let start = own_time();
        let setting = Setting { workload, replica: 0, folder: prepared.folder().to_owned() };
        let mut simulation = Simulation::new(setting, &registries).expect("a sound machine");
        simulation.run().expect("within its limits");
        std::hint::black_box((simulation.summary(), simulation.digest(), simulation.state_digest()));
        spent += own_time() - start;
    }
    spent
}

/// What a cell costs beside its simulation, in microseconds: by the fastest of so many rounds, in turns, as what else a machine does
/// only ever adds.
fn cost_of_a_cell(folder: &Folder, cells: u32, rounds: u32) -> f64 {
    let (mut alone, mut swept) = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        alone = alone.min(simulations(folder));
        let _ = std::fs::remove_dir_all(folder.path("out"));
        swept = swept.min(time_of(folder, "sweep mine.ron --out out --jobs 1 --quiet"));
    }
    let cost = (swept.as_secs_f64() - alone.as_secs_f64()) * 1e6 / f64::from(cells);
    said(&format!("{cells} cells: {swept:.2?} for the sweep, {alone:.2?} for its simulations, {cost:.1} us a cell"));
    cost
}

/// For who runs these tests to read.
fn said(text: &str) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    writeln!(std::io::stderr(), "{text} (load {load})").expect("somebody reads");
}

/// A folder with the journal of a sweep that never ran: one real record for each policy, under the keys of all cells.
fn journal(folder: &Folder, shards: u64) -> Vec<String> {
    let registries = Registries::default();
    let prepared = prepared(folder, &registries);
    let key = Key { point: 0, replica: 0, policy: 0, heap: 0 };
    let run = |policy| {
        let key = Key { policy, ..key };
        let workload = prepared.workload(key, &registries).expect("a sound workload");
        Record { key, ran: prepared.run(key, &workload, &registries) }
    };
    let records: Vec<Record> = (0..prepared.models().0).map(run).collect();
    let names = (1..=shards).map(|shard| format!("part/{shard}"));
    let names: Vec<String> = names.collect();
    let mut journals: Vec<Journal> = names
        .iter()
        .zip(1..)
        .map(|(name, number)| {
            let path = folder.path(name);
            std::fs::create_dir_all(&path).expect("a folder of this test");
            for (file, text) in ["experiment.ron", "workload.ron"].iter().zip(&prepared.texts) {
                std::fs::write(path.join(file), text).expect("a file of this test");
            }
            let head = prepared.head(Shard { number, of: shards }).expect("no traces");
            Journal::open(&path, &head, false).expect("a folder of this test").0
        })
        .collect();
    let plan = prepared.plan(Shard::WHOLE);
    for key in keys(&prepared) {
        let mut record = records[key.policy as usize].clone();
        record.key = key;
        if let Ok(ran) = &mut record.ran {
            ran.time_ns += key.replica * 7;
            let first = ran.values.first_mut().and_then(Option::as_mut).expect("a first metric");
            first.0 += i128::from(key.replica * 1_000 + key.point % 1_000);
        }
        let shard = plan.shard_of(key, shards) - 1;
        journals[usize::try_from(shard).expect("small")].append(&record).expect("a disk with room");
    }
    names
}

fn merge(folder: &Folder, cells: u32) -> Duration {
    let parts = journal(folder, 4).join(" ");
    let start = Instant::now();
    let spent = time_of(folder, &format!("merge {parts} --out joined --quiet"));
    let wall = start.elapsed();
    let rows = folder.read("joined/runs.csv").lines().count();
    assert_eq!(rows, cells as usize + 1);
    said(&format!("merge of {cells} cells: {spent:.2?} of processor time, {wall:.2?} in all"));
    spent
}

#[test]
fn what_a_cell_costs_does_not_depend_on_how_many_there_are() {
    let folder = Folder::with(&experiment(5, 40));
    assert!(cost_of_a_cell(&folder, 400, 1) < 2_000.0, "microseconds a cell");
    let spent = merge(&Folder::with(&experiment(20, 250)), 10_000);
    assert!(spent < Duration::from_secs(15), "{spent:?}");
}

#[test]
#[ignore = "for a release build on an idle machine"]
fn ten_thousand_small_cells_cost_at_most_fifty_microseconds_each() {
    let cost = cost_of_a_cell(&Folder::with(&experiment(50, 100)), 10_000, 5);
    assert!(cost <= 50.0, "{cost:.1} microseconds a cell");
}

#[test]
#[ignore = "for a release build on an idle machine"]
fn a_million_cells_are_merged_in_ten_seconds() {
    let folder =
        Folder::with(&experiment(5_000, 100).replace("    compare: [policies(\"first_fit\", \"best_fit\")],\n", ""));
    let spent = merge(&folder, 1_000_000);
    assert!(spent < Duration::from_secs(10), "{spent:?}");
}

#[test]
#[ignore = "for a release build on an idle machine"]
fn memory_does_not_grow_with_the_number_of_cells() {
    let peak = |seeds| {
        let peak = memory_of(&tiny(seeds), "sweep mine.ron --out out --quiet");
        said(&format!("{} cells: at most {peak} KiB", 2 * seeds));
        peak
    };
    // A row group of Parquet is full after 26,214 cells of five metrics.
    let (few, many) = (peak(20_000), peak(100_000));
    assert!(many <= few + few / 10 + 1_024, "{few} KiB, then {many} KiB");
}

#[test]
#[ignore = "for a release build on an idle machine of two processors"]
fn two_jobs_are_nearly_twice_as_fast_as_one() {
    let folder = Folder::with(&experiment(50, 100));
    let once = |jobs: u32| {
        let _ = std::fs::remove_dir_all(folder.path("out"));
        let start = Instant::now();
        folder.shown(&format!("sweep mine.ron --out out --jobs {jobs} --quiet"));
        start.elapsed().as_secs_f64()
    };
    let (mut one, mut two) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..5 {
        (one, two) = (one.min(once(1)), two.min(once(2)));
    }
    let ratio = one / two;
    said(&format!("10,000 cells: {one:.2} s by one job, {two:.2} s by two, {ratio:.2} times as fast"));
    assert!(ratio >= 1.9, "{ratio:.2} times as fast");
}
