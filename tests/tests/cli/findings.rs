//! `framesim shrink`, `search`, `diff`, and checkpoints.

use insta::assert_snapshot;

use super::command::{framesim, refused, shown};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for tests")
}

#[test]
fn a_shrunk_workload_is_a_workload_that_shows_it() {
    let folder = folder();
    let (big, small) = (folder.path().join("big.ron"), folder.path().join("small.ron"));
    let text = std::fs::read_to_string("../workloads/textbook/best_fit_loses.ron").expect("it is in the library");
    let noise = "repeat(1000, [take(\"x\", 1), give(\"x\")]), take(\"D\", 10)";
    std::fs::write(&big, text.replace("take(\"D\", 10)", noise)).expect("a folder for tests");
    let (big, small) = (big.display().to_string(), small.display().to_string());
    let words = ["shrink", &big, "--refuses", "best_fit", "--serves", "first_fit", "--out", &small];
    let ran = framesim(&words);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.contains("6 operations of 2,008"), "{}", ran.stdout);
    let left = std::fs::read_to_string(&small).expect("it was written");
    assert_snapshot!(left.split_once('\n').expect("lines").1, @r#"
    // Knuth's two holes, scaled down: 13 frames, then 12, and requests for 10, 11 and 3.
    // Best fit puts the 10 into the hole of 12, the 11 into the hole of 13, and has 2 + 2 left.
    // First fit serves all three: try --policy first_fit.
    (
        about: "best fit fails where first fit succeeds (Knuth's two holes)",
        machine: (
            memory: "104KiB",                // 26 frames
            frames: best_fit,
            kernel: free_of_charge,
        ),
        processes: [
            (name: "P", does: script([
                take("A", 13), take("B", 1), give("A"), take("D", 10), take("E", 11),
                take("F", 3),
            ])),
        ],
    )
    "#);
    assert!(shown(&["run", &small]).contains("1 refused (fragmentation)"));
    assert!(shown(&["run", &small, "--policy", "first_fit"]).contains("0 refused"));
    let nothing = refused(2, &["shrink", &big, "--refuses", "first_fit", "--out", &small]);
    assert!(nothing.contains("to begin with, it does not hold that first_fit refuses a request"), "{nothing}");
    assert!(refused(2, &["shrink", &big, "--out", &small]).contains("what is to be kept?"));
}

#[test]
fn a_trace_shrinks_to_a_workload() {
    let folder = folder();
    let small = folder.path().join("small.ron").display().to_string();
    // `ls` does not fit into 48 frames: what is left of it does not either.
    let words =
        ["shrink", "workloads/traces/ls.trace.zst", "--memory", "192KiB", "--refuses", "glibc", "--out", &small];
    let ran = framesim(&words);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    let summary = framesim(&["run", &small, "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert!(json["summary"]["failures"]["total"].as_u64().is_some_and(|total| total > 0), "{summary}");
    let left = std::fs::read_to_string(&small).expect("it was written");
    assert!(left.matches("malloc(").count() < 40, "{left}");
}

#[test]
fn what_a_search_finds_is_a_workload_that_reproduces_it() {
    let folder = folder();
    let out = folder.path().join("worst.ron").display().to_string();
    let words = [
        "search",
        "waiting_room",
        "--worst",
        "fragmentation",
        "--under",
        "best_fit",
        "--seeds",
        "3",
        "--vary",
        "processes.0.does=script([malloc(\"a\", \"8KiB\")]),script([take(\"a\", 3)])",
        "--tries",
        "9",
        "--out",
        &out,
    ];
    // A list of values is split at commas: what is cut apart is no workload, and said before anything runs.
    let said = refused(2, &words);
    assert!(said.contains("error"), "{said}");
    let words =
        ["search", "waiting_room", "--worst", "fragmentation", "--under", "best_fit", "--seeds", "4", "--out", &out];
    let ran = framesim(&words);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let last = ran.stdout.lines().rfind(|line| line.contains("  0.")).expect("something was found");
    let value: Vec<&str> = last.split_whitespace().collect();
    let json: serde_json::Value = serde_json::from_str(&shown(&["run", &out, "--json"])).expect("JSON");
    let worst = &json["summary"]["worst"]["levels"];
    let (longest, together) = (worst["longest_run"].as_u64(), worst["longest_together"].as_u64());
    let (longest, together) = (longest.expect("a number"), together.expect("a number"));
    let thousandths = (together - longest) * 1000 / together;
    assert_eq!(value[2], format!("{}.{:03}", thousandths / 1000, thousandths % 1000), "{}", ran.stdout);
    let text = std::fs::read_to_string(&out).expect("it was written");
    assert!(text.contains("frames: best_fit") && text.contains(&format!("seed: {}", value[1])), "{text}");
}

#[test]
fn two_runs_are_shown_around_the_event_that_parts_them() {
    let ran = framesim(&["diff", "best_fit_loses", "--b-policy", "first_fit"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (4, ""));
    assert_snapshot!(ran.stdout, @"
    A  framesim run best_fit_loses
    B  framesim run best_fit_loses --policy=first_fit
    The same frame maps through 6 events; event 7 parts them:

    A  P/0: take, at 100.5 us: frames 14..23
    B  P/0: take, at 100.5 us: frames 0..9

    before it, both: one letter a frame
         0 .............N............
    N taken  . free

    A after it: one letter a frame
         0 .............NNNNNNNNNNN..
    N taken  . free

    B after it: one letter a frame
         0 NNNNNNNNNN...N............
    N taken  . free
    ");
    let same = framesim(&["diff", "best_fit_loses", "--b-seed", "9"]);
    assert_eq!(same.code, 0);
    assert!(same.stdout.ends_with("After every event both have the same frame map.\n"), "{}", same.stdout);
}

#[test]
fn two_digest_logs_are_told_apart_and_run_again() {
    let folder = folder();
    let logs: Vec<String> = ["best_fit", "first_fit"]
        .map(|policy| {
            let log = folder.path().join(format!("{policy}.digests")).display().to_string();
            shown(&["run", "best_fit_loses", "--policy", policy, "--digest-log", &log, "--digest-every", "3"]);
            log
        })
        .to_vec();
    let ran = framesim(&["diff", &logs[0], &logs[1]]);
    assert_eq!((ran.code, ran.stderr.as_str()), (4, ""));
    assert!(ran.stdout.contains("A  framesim run best_fit_loses --policy=best_fit"), "{}", ran.stdout);
    let event = |start: &str| {
        let at = ran.stdout.find(start).expect("it is said") + start.len();
        ran.stdout[at..].chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    assert_eq!(event("The logs part at event "), event("; event "), "{}", ran.stdout);
}

#[test]
fn a_run_goes_on_from_a_checkpoint_to_the_same_end() {
    let folder = folder();
    let name = folder.path().join("ls").display().to_string();
    let whole = shown(&["run", "ls", "--checkpoint-every", "1000", "--checkpoint-name", &name]);
    let checkpoint = format!("{name}.4000.checkpoint");
    assert_eq!(shown(&["run", "ls", "--resume-from", &checkpoint]), whole);
    let other = refused(2, &["run", "ls", "--seed", "5", "--resume-from", &checkpoint]);
    assert!(other.contains("of another workload, or of this one with other options"), "{other}");
    let mut bytes = std::fs::read(&checkpoint).expect("it was written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&checkpoint, &bytes).expect("it can be");
    assert!(refused(2, &["run", "ls", "--resume-from", &checkpoint]).contains("the checkpoint is damaged"));
    std::fs::write(&checkpoint, &bytes[..40]).expect("it can be");
    assert!(refused(2, &["run", "ls", "--resume-from", &checkpoint]).contains("the checkpoint is cut off"));
    assert!(refused(2, &["run", "ls", "--resume-from", "README.md"]).contains("not a checkpoint"));
}
