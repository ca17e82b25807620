//! `run`: what a person sees, what a program reads, and that nobody who looks on changes anything.

use std::fs;

use insta::assert_snapshot;

use crate::command::{framesim, refused, shown};

#[test]
fn a_script_is_shown_step_by_step_and_a_refusal_is_explained() {
    assert_snapshot!(shown(&["run", "workloads/textbook/sixteen_frames.ron"]), @r"
    sixteen_frames: external fragmentation in sixteen frames
    16 frames of 4 KiB, first_fit, seed 1

    step  request    placed   0   4   8   12    free  longest
       1  take A, 2  0..1     AA..............    14       14
       2  take B, 4  2..5     AABBBB..........    10       10
       3  take C, 4  6..9     AABBBBCCCC......     6        6
       4  take D, 4  10..13   AABBBBCCCCDDDD..     2        2
       5  give A     0..1     ..BBBBCCCCDDDD..     4        2
       6  take E, 4  refused  ..BBBBCCCCDDDD..     4        2

    Step 6 was refused although 4 frames are free: the longest free run has 2.
    This is external fragmentation: 50 % of the free memory lies outside the
    longest run.
    Refused of the same requests: none with buddy; 1 with best_fit, worst_fit,
    next_fit, next_hole, random_fit; 5 with free_stack.
    `framesim run workloads/textbook/sixteen_frames.ron --why 6` shows what the
    policy saw.

    state  9db59d0694245057   the frame map at the end
    digest 786d69a6d671dfe0   6 requests, 1 refused (fragmentation)
    ");
}

#[test]
fn the_other_order_of_the_same_requests_is_served() {
    assert_snapshot!(shown(&["run", "sixteen_frames_other_order"]), @r"
    sixteen_frames_other_order: the same requests in another order: no fragmentation
    16 frames of 4 KiB, first_fit, seed 1

    step  request    placed  0   4   8   12    free  longest
       1  take B, 4  0..3    BBBB............    12       12
       2  take C, 4  4..7    BBBBCCCC........     8        8
       3  take D, 4  8..11   BBBBCCCCDDDD....     4        4
       4  take A, 2  12..13  BBBBCCCCDDDDAA..     2        2
       5  give A     12..13  BBBBCCCCDDDD....     4        4
       6  take E, 4  12..15  BBBBCCCCDDDDEEEE     0        0

    state  9db59d0694245057   the frame map at the end
    digest 1a2bb38198c3f295   6 requests, 0 refused
    ");
}

#[test]
fn buddy_shows_what_it_grants_beyond_the_request() {
    assert_snapshot!(shown(&["run", "internal_fragmentation"]), @r"
    internal_fragmentation: internal fragmentation: a buddy grants more than was
    asked
    64 frames of 4 KiB, buddy, seed 1

    step  request     placed   0   8   16  24  32  40  48  56    free  longest
       1  take A, 3   0..3     Aa..............................    60       32
       2  take B, 5   8..15    Aa..BBbb........................    52       32
       3  take C, 9   16..31   Aa..BBbbCCCCcccc................    36       32
       4  take D, 5   32..39   Aa..BBbbCCCCccccDDdd............    28       16
       5  give B      8..15    Aa......CCCCccccDDdd............    36       16
       6  take E, 17  refused  Aa......CCCCccccDDdd............    36       16
       7  take F, 8   8..15    Aa..FFFFCCCCccccDDdd............    28       16
    one letter = 2 frames, most frequent owner; lower case: mixed
    lower case: granted, but not asked for

    Step 6 was refused although 36 frames are free: the longest free run has 16.
    This is external fragmentation: 56 % of the free memory lies outside the
    longest run.
    Refused of the same requests: none with first_fit, best_fit, worst_fit,
    next_fit, next_hole, random_fit; 6 with free_stack.
    `framesim run internal_fragmentation --why 6` shows what the policy saw.

    state  b01a64eacef55edc   the frame map at the end
    digest 8d95f6b36cc76271   7 requests, 1 refused (fragmentation)
    ");
}

#[test]
fn a_refusal_that_is_no_fragmentation_says_so() {
    let said = shown(&["run", "sixteen_frames", "--set", "machine.memory=32KiB"]);
    assert!(said.contains("Steps 3, 4 were refused: only 2 frames are free, fewer than asked for. Memory"), "{said}");
    assert!(said.contains("refused (2 shortage, 1 fragmentation)"), "{said}");
}

#[test]
fn why_says_what_the_policy_saw_and_what_others_would_do() {
    assert_snapshot!(shown(&["run", "best_fit_loses", "--why", "7"]), @r"
    step 7: take E, 11, best_fit
      runs (frames)  0..12(13)
      rule           the shortest run that fits; on a tie the lowest
      chosen         0..10; 2 frames of 0..12 stay free
      before         .............BDDDDDDDDDD..
      after          EEEEEEEEEEE..BDDDDDDDDDD..
      others         first_fit would have chosen 0..10 as well; worst_fit would have
                     chosen 0..10 as well
    ");
    assert_snapshot!(refused(2, &["run", "best_fit_loses", "--why", "1000"]), @"error: --why: the run has 9 steps");
}

#[test]
fn a_large_run_is_summed_up_and_drawn() {
    assert_snapshot!(shown(&["run", "workloads/web.ron", "--until", "200ms", "--map"]), @r"
    web: a web server, 200 requests a second
    65,536 frames of 4 KiB (256 MiB), buddy, glibc, seed 42
    0.200 s simulated, 145,861 events, stopped by its time

    frames                        peak         end   who did the work
      code                         384         384     malloc and free       145,782
      data                         832         704     system calls              322
      stack                        208         176     page faults            11,731
      heap                       1,395       1,169     pages zeroed           15,749
      mmap                       1,095           0     frames moved           30,377
      kernel stack                  52          44     mallocs that needed the
      page table                   109          88     kernel: 1 in 342
      slab                          52          44     brk                       208
                                 least         end     mmap                       59
      free                      61,409      62,927     munmap                     55
      largest free run           1,024       1,024
                                  most         end
      free runs (holes)            139          42
      processes                     13          11

    bytes                         peak         end
      live (asked for)         6.2 MiB     1.4 MiB
      usable                   6.3 MiB     1.4 MiB
      held by heaps           10.7 MiB     5.6 MiB
      mapped                  34.3 MiB    25.5 MiB
      resident                15.3 MiB     9.5 MiB

    heaps when most was held        live   internal   external      held   resident
      web (glibc)                6.2 MiB    594 KiB    3.9 MiB  10.7 MiB    9.7 MiB

    fragmentation               external   internal   unusable for order 9
      at the end                  0.0000     0.0054                 0.0150

    order              0     1     2     3     4     5     6     7     8     9    10
    free blocks        1     1     7    34     8     5     0     1     1     1    60
    unusable           0     0     0     0  .004  .006  .009  .009  .011  .015  .023
    frag. index       -1    -1    -1    -1    -1    -1    -1    -1    -1    -1    -1

    frame map at the end, one letter = 64 frames, most frequent owner
         0 cCCCCChhhhhdhhdhhhhdhhhhdddddhdhdhhhhhdhhhhhhdhhhh..............
     4,096 ................................................................
           (14 more lines alike, all free)
    C code  D data  S stack  H heap  K kernel stack  T page table  O slab  . free
    lower case: mixed

    state  3f8f06a94413809c   the frame map at the end
    digest 847927aa95e6cb08   0 refused
    ");
}

#[test]
fn a_full_map_folds_lines_alike() {
    let said = shown(&["run", "web", "--until", "20ms", "--map=full"]);
    let map: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("frame map")).collect();
    assert!(map[0].contains("one letter a frame"), "{said}");
    assert!(map.iter().any(|line| line.contains("more lines alike, all free)")), "{said}");
    assert!(map.len() < 80, "{said}");
}

#[test]
fn a_terabyte_is_one_screen() {
    let said = shown(&["run", "terabyte", "--until", "1ms", "--map"]);
    assert!(said.lines().count() < 60, "{said}");
    assert!(said.contains("268,435,456 frames of 4 KiB (1 TiB)"), "{said}");
}

#[test]
fn heaps_of_a_script_are_said_when_asked_for() {
    let said = shown(&["run", "workloads/textbook/heap_blocks.ron", "--heaps"]);
    assert!(said.contains("held to live: on average") && said.contains("by size asked for"), "{said}");
    let plain = shown(&["run", "workloads/textbook/heap_blocks.ron"]);
    assert!(!plain.contains("held to live"), "{plain}");
}

#[test]
fn json_has_its_keys_at_the_top_and_the_same_digest() {
    #[derive(serde::Deserialize)]
    struct Top {
        workload: String,
        seed: u64,
        events: u64,
        digest: String,
        summary: serde_json::Map<String, serde_json::Value>,
        failures: serde_json::Map<String, serde_json::Value>,
    }
    let said = framesim(&["run", "sixteen_frames", "--json"]).stdout;
    let top: Top = serde_json::from_str(&said).expect("one JSON document");
    assert_eq!((top.workload.as_str(), top.seed), ("sixteen_frames", 1));
    assert!(top.events >= 6);
    assert_eq!(top.failures["fragmentation"], 1);
    assert_eq!(top.failures["total"], 1);
    assert_eq!(top.summary["frames"], 16);
    assert!(shown(&["run", "sixteen_frames"]).contains(&top.digest));
}

#[test]
fn events_are_a_json_line_each_with_the_frames_that_moved() {
    #[derive(serde::Deserialize)]
    struct Line {
        event: u64,
        time: u64,
        process: String,
        call: String,
        size: Option<u64>,
        address: Option<u64>,
        outcome: String,
        frames: Vec<serde_json::Map<String, serde_json::Value>>,
    }
    let folder = tempfile::tempdir().expect("a folder for tests");
    let path = folder.path().join("events.jsonl");
    let path = path.to_str().expect("UTF-8");
    shown(&["run", "heap_blocks", "--events", path]);
    let text = fs::read_to_string(path).expect("the run wrote it");
    let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    assert!(lines.iter().zip(1..).all(|(line, number)| line.event == number));
    assert!(lines.windows(2).all(|two| two[0].time <= two[1].time));
    let first = lines.iter().find(|line| line.call == "malloc").expect("a script of mallocs");
    assert_eq!((first.process.as_str(), first.size, first.outcome.as_str()), ("P/0", Some(100), "served"));
    assert!(first.address.is_some());
    assert_eq!((&first.frames[0]["region"], &first.frames[0]["change"]), (&"heap".into(), &"taken".into()));
}

#[test]
fn nobody_who_looks_on_changes_the_digest() {
    let folder = tempfile::tempdir().expect("a folder for tests");
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let digest = |more: &[&str]| {
        let said = shown(&[&["run", "leak", "--until", "5ms"], more].concat());
        said.lines().last().expect("a last line").to_owned()
    };
    let alone = digest(&[]);
    assert!(alone.starts_with("digest "), "{alone}");
    for more in [&["--map"][..], &["--check"], &["--steps"], &["--events", &file("e")], &["--digest-log", &file("d")]] {
        let told = digest(more);
        assert_eq!(told.split_whitespace().nth(1), alone.split_whitespace().nth(1), "{more:?}");
    }
    assert_ne!(digest(&["--seed", "99"]), alone);
    assert_ne!(digest(&["--policy", "first_fit", "--heap", "bump"]), alone);
}

#[test]
fn what_the_command_line_changes_is_checked_like_the_file() {
    assert_snapshot!(refused(2, &["run", "web", "--policy", "fist_fit"]), @"error: --policy fist_fit: unknown policy `fist_fit`; did you mean `first_fit`? (`framesim list policies` names all)");
    assert_snapshot!(refused(2, &["run", "web", "--heap", "glibs"]), @"error: --heap glibs: unknown heap `glibs`; did you mean `glibc`? (`framesim list heaps` names all)");
    assert_snapshot!(refused(2, &["run", "web", "--set", "machine.memroy=1MiB"]), @r"
    error: unknown field `memroy` of a machine at machine
     --> --set machine.memroy=1MiB:1:1
      |
    1 | machine.memroy=1MiB
      | ^^^^^^^^^^^^^^ not a field
      |
      = help: did you mean `memory`?
    1 error in workloads/web.ron
    ");
    assert_snapshot!(refused(2, &["run", "web", "--set", "machine"]), @r"
    error: invalid value 'machine' for '--set <PATH=VALUE>': write it as path=value, such as machine.memory=512MiB

    For more information, try '--help'.
    ");
    assert_eq!(framesim(&["run", "web", "--until", "soon"]).code, 2);
    assert_eq!(framesim(&["run", "web", "--seed", "-3"]).code, 2);
    assert_eq!(framesim(&["run", "no/such.ron"]).code, 5);
    let options = refused(2, &["run", "web", "--policy", "buddy(max_order: 99)"]);
    assert!(options.contains("max_order"), "{options}");
}

#[test]
fn a_run_over_its_limits_ends_with_6() {
    let ran = framesim(&["run", "web", "--set", "limits.events=100"]);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
}

#[test]
fn every_workload_of_the_library_fits_a_screen() {
    let listed = shown(&["list", "workloads"]);
    let listed = listed.lines().take_while(|line| !line.is_empty());
    for name in listed.filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()) {
        let said = shown(&["run", name, "--until", "20ms"]);
        assert!(said.lines().count() <= 60, "{name}:\n{said}");
        assert!(said.lines().last().is_some_and(|line| line.starts_with("digest ")), "{name}:\n{said}");
    }
}
