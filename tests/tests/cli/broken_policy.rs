//! A bug in a model ends in exit code 3 and says how to see it again; nothing else is printed.

use insta::assert_snapshot;

use crate::command::broken_policy;

#[test]
fn check_finds_it_after_the_event_that_broke_the_map() {
    let ran = broken_policy(&["run", "sixteen_frames", "--policy", "forgetful", "--check"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""));
    assert_snapshot!(ran.stderr, @"
    error: an invariant broke, which is a bug of framesim: 6..15 follows on frame 4: a frame is free and taken, or neither
      seed 1, found after event 3
      to see it again: framesim run sixteen_frames --policy=forgetful --check
    ");
}

#[test]
fn without_check_it_is_found_where_a_frame_goes_back_twice() {
    for words in [&["run", "web", "--policy", "forgetful"][..], &["run", "web", "--policy", "forgetful", "--json"]] {
        let ran = broken_policy(words);
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""));
        assert!(ran.stderr.contains("frame 0 is given back while it is not used"), "{}", ran.stderr);
        assert!(ran.stderr.ends_with("framesim run web --policy=forgetful --check\n"), "{}", ran.stderr);
    }
}
