//! A policy of a user's own crate is one among the others, in every command.

use insta::assert_snapshot;

use crate::command::own_policy;

#[test]
fn it_is_listed_explained_checked_and_run() {
    let listed = own_policy(&["list", "policies"]).stdout;
    assert!(listed.lines().any(|line| line.starts_with("last_fit ") && line.contains("high end")), "{listed}");
    let explained = own_policy(&["explain", "last_fit"]).stdout;
    assert!(explained.contains("An example") && explained.contains("the highest run"), "{explained}");
    let ran = own_policy(&["run", "sixteen_frames", "--policy", "last_fit", "--check"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_snapshot!(ran.stdout, @r"
    sixteen_frames: external fragmentation in sixteen frames
    16 frames of 4 KiB, last_fit, seed 1

    step  request    placed   0   4   8   12    free  longest
       1  take A, 2  14..15   ..............AA    14       14
       2  take B, 4  10..13   ..........BBBBAA    10       10
       3  take C, 4  6..9     ......CCCCBBBBAA     6        6
       4  take D, 4  2..5     ..DDDDCCCCBBBBAA     2        2
       5  give A     14..15   ..DDDDCCCCBBBB..     4        2
       6  take E, 4  refused  ..DDDDCCCCBBBB..     4        2

    Step 6 was refused although 4 frames are free: the longest free run has 2.
    This is external fragmentation: 50 % of the free memory lies outside the
    longest run.
    Refused of the same requests: none with buddy; 1 with first_fit, best_fit,
    worst_fit, next_fit, next_hole, random_fit; 5 with free_stack.
    `framesim run sixteen_frames --why 6` shows what the policy saw.

    state  9db59d0694245057   the frame map at the end
    digest af4fc491f72d0f06   6 requests, 1 refused (fragmentation)
    ");
    let web = own_policy(&["run", "web", "--policy", "last_fit", "--until", "20ms", "--set", "machine.memory=16MiB"]);
    assert_eq!((web.code, web.stderr.as_str()), (0, ""));
}

#[test]
fn its_name_helps_with_typos_and_its_logs_verify() {
    let typo = own_policy(&["run", "sixteen_frames", "--policy", "lastfit"]);
    assert!(typo.code == 2 && typo.stderr.contains("did you mean `last_fit`?"), "{}", typo.stderr);
    let folder = tempfile::tempdir().expect("a folder for tests");
    let log = folder.path().join("own.digests");
    let log = log.to_str().expect("UTF-8");
    assert_eq!(own_policy(&["run", "sixteen_frames", "--policy", "last_fit", "--digest-log", log]).code, 0);
    assert_eq!(own_policy(&["verify", log]).code, 0);
}
