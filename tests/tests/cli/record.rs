//! `framesim record` on programs of this machine. A test that cannot run here says SKIPPED and why.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use framesim_workloads::trace::{Call, Record, TraceReader, open_text};
use tempfile::TempDir;

use super::command::{command, refused, shown};

/// A folder for traces; its name cannot stand in LD_PRELOAD.
fn folder() -> TempDir {
    tempfile::Builder::new().prefix("record here: ").tempdir().expect("a folder for tests")
}

/// Whether a test cannot run here, which it says.
#[expect(clippy::print_stderr, reason = "a test that says nothing seems to have run")]
fn is_skipped(test: &str, programs: &[&str]) -> bool {
    let found = |program: &&&str| Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let missing = programs.iter().find(|program| !found(program).is_ok_and(|found| found.status.success()));
    let why = match (framesim::record::WHY_NOT, missing) {
        ("", None) => return false,
        ("", Some(program)) => format!("there is no {program} here"),
        (why, _) => format!("nothing can be recorded here: {why}"),
    };
    eprintln!("SKIPPED {test}: {why}");
    true
}

/// Records a program into `out` and returns what it wrote and how it ended.
fn record(options: &[&str], out: &Path, program: &[&str]) -> Output {
    let out = out.display().to_string();
    let words = [&["record", "--out", &out], options, &["--"], program].concat();
    command(&words).output().expect("framesim can be started")
}

fn heap_calls() -> &'static str {
    env!("CARGO_BIN_EXE_heap_calls")
}

/// All records of a trace; the reader sees to it that what is freed or resized is live.
fn records(trace: &Path) -> Vec<Record> {
    let mut reader = TraceReader::open(trace).expect("the trace opens");
    let mut records = Vec::new();
    while let Some(record) = reader.next_record().expect("every record is sound") {
        records.push(record);
    }
    records
}

/// A number of the trace's last line, which has its totals.
fn total(trace: &Path, name: &str) -> u64 {
    let mut text = String::new();
    open_text(trace).and_then(|mut file| file.read_to_string(&mut text)).expect("the trace opens");
    let mut words = text.lines().last().expect("it has lines").split(' ').skip_while(|word| *word != name);
    words.nth(1).and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in the last line"))
}

fn threads(records: &[Record]) -> usize {
    let mut threads: Vec<u32> = records.iter().map(|record| record.thread.0).collect();
    threads.sort_unstable();
    threads.dedup();
    threads.len()
}

/// The threads that end, ascending.
fn ends(records: &[Record]) -> Vec<u32> {
    let ends = records.iter().filter(|record| record.call == Call::ThreadEnd);
    let mut threads: Vec<u32> = ends.map(|record| record.thread.0).collect();
    threads.sort_unstable();
    threads
}

/// A program does the same under the recorder, and what it did can be replayed.
fn records_and_replays(test: &str, program: &[&str], options: &[&str]) -> Option<(TempDir, Vec<PathBuf>)> {
    if is_skipped(test, &program[..1]) {
        return None;
    }
    let folder = folder();
    let out = folder.path().join("program.trace.zst");
    let recorded = record(options, &out, program);
    let alone = Command::new(program[0]).args(&program[1..]).stdin(Stdio::null()).output().expect("it is there");
    let said = String::from_utf8_lossy(&recorded.stderr);
    assert_eq!(recorded.status.code(), alone.status.code(), "{program:?}: {said}");
    assert!(recorded.stdout == alone.stdout, "{program:?} wrote something else");
    let mut traces: Vec<PathBuf> =
        std::fs::read_dir(folder.path()).expect("there").map(|entry| entry.expect("there").path()).collect();
    traces.sort();
    for trace in &traces {
        let calls = records(trace).iter().filter(|record| record.call != Call::ThreadEnd).count() as u64;
        assert_eq!((total(trace, "ops"), total(trace, "unknown_frees"), total(trace, "inferred_frees")), (calls, 0, 0));
        let json = shown(&["replay", &trace.display().to_string(), "--heap", "glibc", "--json"]);
        assert!(json.contains("\"digest\""), "{program:?}");
    }
    Some((folder, traces))
}

#[test]
fn ls_is_recorded_and_replayed() {
    let Some((_folder, traces)) = records_and_replays("ls", &["ls", "-la", "/usr/bin"], &[]) else { return };
    assert_eq!(traces.len(), 1);
    assert!(records(&traces[0]).len() > 100);
}

#[test]
fn sort_with_threads_is_recorded_and_replayed() {
    let folder = folder();
    let file = folder.path().join("lines");
    let lines: String = (0..400_000_u64).map(|n| format!("{}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    std::fs::write(&file, lines).expect("a folder for tests");
    let program = ["sort", "--parallel=4", "-S", "64M", &file.display().to_string()];
    let Some((_folder, traces)) = records_and_replays("sort", &program, &[]) else { return };
    let threads = threads(&records(&traces[0]));
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
        assert!(threads > 1, "sort made {threads} threads");
    }
}

#[test]
fn a_shell_that_forks_is_recorded_with_its_children() {
    let script = "ls / | grep usr; (echo a; ls /dev/null); x=$(echo b); echo $x; exit 3";
    let Some((_folder, traces)) = records_and_replays("sh", &["sh", "-c", script], &["--children"]) else { return };
    // The shell, its two subshells, and what they started.
    assert!(traces.len() >= 4, "{traces:?}");
}

#[test]
fn grep_is_recorded_and_replayed() {
    let program = ["grep", "-rc", "fn ", concat!(env!("CARGO_MANIFEST_DIR"), "/src")];
    let Some((_folder, traces)) = records_and_replays("grep", &program, &[]) else { return };
    assert!(records(&traces[0]).len() > 50);
}

#[test]
fn tar_with_a_compressor_is_recorded_and_replayed() {
    if is_skipped("tar", &["gzip"]) {
        return;
    }
    let script = concat!("tar -cf - -C ", env!("CARGO_MANIFEST_DIR"), " src | gzip | tar -tzf -");
    let Some((_folder, traces)) = records_and_replays("tar", &["sh", "-c", script], &["--children"]) else { return };
    assert!(traces.len() >= 4, "{traces:?}");
}

#[test]
fn python_with_threads_and_forks_is_recorded_and_replayed() {
    let script = "import threading, os
def work():
    kept = [bytes(n % 5000) for n in range(4000)]
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
if os.fork() == 0:
    kept = [bytes(n) for n in range(1000)]
    os._exit(0)
os.wait()
os.posix_spawn('/bin/true', ['true'], os.environ) and os.wait()";
    let Some((_folder, traces)) = records_and_replays("python3", &["python3", "-c", script], &["--children"]) else {
        return;
    };
    assert!(traces.len() >= 2, "{traces:?}");
    // What was started may be a wrapper: then the main trace is of its last image.
    let main = traces.iter().find(|trace| trace.ends_with("program.trace.zst")).expect("the main trace");
    assert!(threads(&records(main)) >= 4);
    assert_eq!(ends(&records(main)), [1, 2, 3]);
}

#[test]
fn sizes_are_what_the_program_asked_for() {
    if is_skipped("sizes", &[]) {
        return;
    }
    let folder = folder();
    let out = folder.path().join("known.trace");
    assert_eq!(record(&[], &out, &[heap_calls(), "known"]).status.code(), Some(0));
    let records = records(&out);
    let mut known = Vec::new();
    let mut ids = Vec::new();
    for record in &records {
        let what = match record.call {
            Call::Malloc { bytes, .. } if bytes >= 770_000 => format!("malloc {bytes}"),
            Call::Calloc { count, bytes, .. } if count * bytes >= 770_000 => format!("calloc {}", count * bytes),
            Call::Aligned { align, bytes, .. } if align == 256 => format!("aligned {align} {bytes}"),
            Call::Realloc { bytes, .. } if bytes >= 770_000 => format!("realloc {bytes}"),
            Call::Free { .. } if ids.contains(&record.id) => "free".to_owned(),
            Call::ThreadEnd => "end".to_owned(),
            _ => continue,
        };
        ids.push(record.id);
        known.push(format!("{what} by {}", record.thread.0));
    }
    let expected = [
        "malloc 770001 by 0",
        "realloc 770002 by 0",
        "realloc 880003 by 0",
        "calloc 770003 by 0",
        "aligned 256 77056 by 0",
        "free by 0",
        "malloc 770005 by 1",
        "free by 1",
        "end by 1",
        "free by 0",
        "free by 0",
    ];
    assert_eq!(known, expected);
}

#[test]
fn blocks_that_go_round_between_threads_keep_their_order() {
    if is_skipped("threads", &[]) {
        return;
    }
    let folder = folder();
    let out = folder.path().join("threads.trace.zst");
    for _ in 0..3 {
        let mut words = command(&["record", "--out", &out.display().to_string(), "--", heap_calls(), "threads"]);
        // One arena and no caches: what one thread frees the next call of another gets.
        words.env("MALLOC_ARENA_MAX", "1").env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");
        assert!(words.status().expect("framesim can be started").success());
        let records = records(&out);
        assert!(records.len() > 100_000 && threads(&records) >= 7, "{} records", records.len());
        // A free that is written after its place was given out again would be one of these.
        let wrong = ["unknown_frees", "inferred_frees", "unfinished", "lost"].map(|name| total(&out, name));
        assert_eq!(wrong, [0; 4]);
    }
}

#[test]
fn a_program_that_crashes_leaves_what_it_did() {
    if is_skipped("crash", &[]) {
        return;
    }
    let folder = folder();
    let out = folder.path().join("crash.trace.zst");
    let ran = record(&[], &out, &[heap_calls(), "crash"]);
    assert_eq!(ran.status.code(), Some(128 + 6));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("the program was ended by signal 6"));
    assert!(records(&out).len() >= 2_000);
}

/// Starts `heap_calls wait` under the recorder and waits until it waits; returns the recorder and the program's number.
fn waiting(out: &Path) -> (std::process::Child, String) {
    let out = out.display().to_string();
    let mut words = command(&["record", "--out", &out, "--", heap_calls(), "wait"]);
    let mut recorder = words
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("framesim can be started");
    let mut line = String::new();
    BufReader::new(recorder.stdout.take().expect("a pipe")).read_line(&mut line).expect("it writes a line");
    (recorder, line.trim().to_owned())
}

fn kill_9(process: &str) {
    let killed = Command::new("sh").args(["-c", &format!("kill -9 {process}")]).status().expect("a shell");
    assert!(killed.success());
}

#[test]
fn kill_9_of_the_program_loses_nothing() {
    if is_skipped("kill -9", &["kill"]) {
        return;
    }
    let folder = folder();
    let out = folder.path().join("killed.trace.zst");
    let (recorder, program) = waiting(&out);
    kill_9(&program);
    let ended = recorder.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(128 + 9));
    let records = records(&out);
    assert!(records.len() > 100_000);
    let last_large = records.iter().rev().find(|record| matches!(record.call, Call::Malloc { bytes: 770_001, .. }));
    assert!(last_large.is_some(), "the last block before the kill is there");
    assert!(!folder.path().join("killed.trace.zst.raw").exists());
}

#[test]
fn kill_9_of_the_recorder_leaves_files_that_can_be_recovered() {
    if is_skipped("kill -9", &["kill"]) {
        return;
    }
    let folder = folder();
    let out = folder.path().join("killed.trace.zst");
    let raw = folder.path().join("killed.trace.zst.raw");
    let (mut recorder, program) = waiting(&out);
    kill_9(&recorder.id().to_string());
    kill_9(&program);
    recorder.wait().expect("it ends");
    assert!(raw.is_dir() && !out.exists());
    let again = refused(2, &["record", "--out", &out.display().to_string(), "--", "ls"]);
    assert!(again.contains("an earlier recording that was not finished"), "{again}");
    let recovered = command(&["record", "--recover", &raw.display().to_string()]).output().expect("it starts");
    assert_eq!(recovered.status.code(), Some(0), "{}", String::from_utf8_lossy(&recovered.stderr));
    assert!(records(&out).len() > 100_000);
    // What was recovered by hand stays.
    assert!(raw.is_dir());
}

#[test]
fn a_file_that_cannot_grow_stops_the_recording_and_not_the_program() {
    if is_skipped("ulimit", &[]) {
        return;
    }
    let folder = folder();
    let out = folder.path().join("short.trace.zst");
    // 512 bytes each: the header and the first 8,192 records, no more.
    let words = ["record", "--out", &out.display().to_string(), "--", heap_calls(), "many"];
    let framesim = command(&words);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 1100 && exec \"$@\"", "sh"]).arg(framesim.get_program()).args(framesim.get_args());
    let ran = shell.output().expect("a shell");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{said}");
    assert!(
        said.contains("the recording stopped before the program: its file could not grow: File too large"),
        "{said}"
    );
    assert!(total(&out, "lost") > 100_000 && records(&out).len() > 8_000, "{said}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    if is_skipped("no program", &[]) {
        return;
    }
    assert_eq!(refused(2, &["record", "--", "no-such-program"]), "error: no-such-program: no such program\n");
    let said = refused(2, &["record"]);
    assert!(said.contains("PROGRAM"), "{said}");
    let nothing = folder();
    let said = refused(2, &["record", "--recover", &nothing.path().display().to_string()]);
    assert!(said.contains("no raw recording is in it"), "{said}");
}

/// The preload library declares what it uses of the C library itself: held against the headers of this machine and, where a cross
/// compiler is (Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross), of the other one that it is for.
#[test]
fn what_is_declared_of_the_c_library_is_what_its_headers_say() {
    const DECLARED: &str = include_str!("../../../sim/record/src/c.rs");
    let named = |name: &str| match name {
        "SC_PAGESIZE" => "_SC_PAGESIZE".to_owned(),
        "PROT_READ_WRITE" => "(PROT_READ | PROT_WRITE)".to_owned(),
        name => name.to_owned(),
    };
    let mut text = String::from(
        "#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <pthread.h>
int same[] = {
",
    );
    let mut count = 0;
    for line in DECLARED.lines().filter_map(|line| line.strip_prefix("pub(crate) const ")) {
        let (name, rest) = line.split_once(':').expect("a name and a type");
        let value = rest.split_once("= ").expect("a value").1.trim_end_matches(';').replace('_', "");
        // A pointer of all ones is no constant for the compiler.
        if value.contains("MAX") {
            continue;
        }
        let value = value.strip_prefix("0o").map_or(value.clone(), |octal| format!("0{octal}"));
        // An array of a negative length where they differ.
        text += &format!("sizeof(char[{} == {value} ? 1 : -1]),\n", named(name));
        count += 1;
    }
    assert!(count >= 19, "{count} constants");
    for fact in [
        "sizeof(struct timespec) == 16 && offsetof(struct timespec, tv_nsec) == 8",
        "sizeof(struct rlimit) == 16 && offsetof(struct rlimit, rlim_max) == 8",
        "sizeof(off_t) == 8 && sizeof(size_t) == 8 && sizeof(long) == 8 && sizeof(pid_t) == 4 && sizeof(mode_t) == 4",
        "sizeof(pthread_key_t) == 4 && (pthread_key_t)-1 > 0 && PTHREAD_DESTRUCTOR_ITERATIONS == 4",
    ] {
        text += &format!("sizeof(char[{fact} ? 1 : -1]),\n");
    }
    text += "};\n";
    let folder = folder();
    let file = folder.path().join("same.c");
    std::fs::write(&file, text).expect("a folder for tests");
    for compiler in ["cc", "aarch64-linux-gnu-gcc"] {
        if is_skipped("headers of the C library", &[compiler]) {
            continue;
        }
        let checked =
            Command::new(compiler).args(["-Wno-all", "-fsyntax-only"]).arg(&file).output().expect("a compiler");
        assert!(checked.status.success(), "{compiler}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

/// Files of the tools themselves: `heaptrack ls`, `heaptrack --raw ls` (1.4.0), and a program that calls `mtrace` (glibc 2.36).
#[test]
fn recordings_of_other_tools_are_imported_and_replayed() {
    let folder = folder();
    let out = folder.path().join("imported.trace.zst").display().to_string();
    for (file, calls) in
        [("heaptrack-ls.zst", 299), ("heaptrack-ls.gz", 299), ("heaptrack-ls.raw.zst", 299), ("mtrace.txt", 11)]
    {
        let said = shown(&["import", &format!("tests/data/import/{file}"), "--out", &out]);
        assert!(said.contains(&format!("  {calls} calls, peak ")), "{file}: {said}");
        assert_eq!(records(Path::new(&out)).len(), calls, "{file}");
        assert!(shown(&["replay", &out, "--json"]).contains("\"digest\""), "{file}");
    }
}

#[test]
fn a_file_of_no_tool_is_refused_with_its_line() {
    let said = refused(2, &["import", "tests/Cargo.toml", "--out", "/dev/null"]);
    assert!(said.starts_with("error: tests/Cargo.toml:1: `[package]` starts no file of"), "{said}");
    let said = refused(2, &["import", "tests/data/import/mtrace.txt", "--from", "heaptrack", "--out", "/dev/null"]);
    assert!(said.starts_with("error: tests/data/import/mtrace.txt:1: "), "{said}");
}
