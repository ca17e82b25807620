//! `list` and `explain`: what can be chosen, and what it does.

use framesim::Registries;
use insta::assert_snapshot;

use crate::command::{refused, shown};

#[test]
fn every_policy_and_heap_is_listed_and_can_be_explained() {
    let models = Registries::default();
    let policies = models.frames.iter().map(|model| ("policies", model.name));
    let heaps = models.heaps.iter().map(|model| ("heaps", model.name));
    for (kind, name) in policies.chain(heaps) {
        assert!(shown(&["list", kind]).lines().any(|line| line.split(' ').next() == Some(name)), "{name}");
        let explained = shown(&["explain", name]);
        assert!(explained.starts_with(&format!("{name}, a ")), "{explained}");
        assert!(explained.contains("An example"), "{name} has no example that runs:\n{explained}");
    }
}

#[test]
fn the_example_of_best_fit_shows_rule_and_choice() {
    let explained = shown(&["explain", "best_fit"]);
    let example = explained.split_once("An example").expect("there is one").1;
    assert_snapshot!(example, @r"
     in 24 frames:

    step  request    placed  0   4   8   12  16  20    free  longest
       1  take A, 4  0..3    AAAA....................    20       20
       2  take B, 2  4..5    AAAABB..................    18       18
       3  take C, 7  6..12   AAAABBCCCCCCC...........    11       11
       4  take D, 2  13..14  AAAABBCCCCCCCDD.........     9        9
       5  take E, 3  15..17  AAAABBCCCCCCCDDEEE......     6        6
       6  take F, 2  18..19  AAAABBCCCCCCCDDEEEFF....     4        4
       7  give A     0..3    ....BBCCCCCCCDDEEEFF....     8        4
       8  give C     6..12   ....BB.......DDEEEFF....    15        7
       9  give E     15..17  ....BB.......DD...FF....    18        7
      10  take G, 3  15..17  ....BB.......DDGGGFF....    15        7

    step 10, take G, 3:
      runs (frames)  15..17(3), 0..3(4), 20..23(4), 6..12(7)
      rule           the shortest run that fits; on a tie the lowest
      chosen         15..17, an exact fit: no remainder
      before         ....BB.......DD...FF....
      after          ....BB.......DDGGGFF....
    ");
}

#[test]
fn buddy_shows_what_it_grants_beyond_what_was_asked() {
    let explained = shown(&["explain", "buddy"]);
    assert!(explained.contains("GGGg"), "{explained}");
    assert!(explained.contains("lower case: granted, but not asked for"), "{explained}");
}

#[test]
fn an_unknown_name_finds_the_nearest() {
    assert_snapshot!(refused(2, &["explain", "fist_fit"]), @"error: no policy, heap, law or field is called `fist_fit`; did you mean `first_fit`? (`framesim list policies`, `heaps`, `laws` and `fields` name all)");
    assert_snapshot!(refused(2, &["explain", "xyzzy"]), @"error: no policy, heap, law or field is called `xyzzy` (`framesim list policies`, `heaps`, `laws` and `fields` name all)");
    assert_snapshot!(refused(2, &["list", "polices"]), @"
    error: invalid value 'polices' for '<WHAT>'
      [possible values: policies, heaps, laws, fields, workloads, experiments, metrics]

      tip: a similar value exists: 'policies'

    For more information, try '--help'.
    ");
    let misspelled = refused(2, &["explian", "buddy"]);
    assert!(misspelled.contains("similar subcommand") && misspelled.contains("'explain'"), "{misspelled}");
}

#[test]
fn every_law_part_and_field_of_a_file_is_listed_and_can_be_explained() {
    let fields = shown(&["list", "fields"]);
    let (listed, _) = fields.split_once("\n\n").expect("a hint stands below");
    let names: Vec<_> = listed.split([' ', ',', '\n']).filter(|name| !name.is_empty()).collect();
    assert!(names.len() > 60, "{names:?}");
    let laws = shown(&["list", "laws"]);
    let laws = laws.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with(' '));
    for name in names.into_iter().chain(laws.filter_map(|line| line.split(' ').next())) {
        let explained = shown(&["explain", name]);
        assert!(explained.starts_with(&format!("{name}, a ")), "{explained}");
        assert!(explained.lines().all(|line| line.chars().count() <= 80), "{explained}");
    }
}

#[test]
fn a_field_is_explained_in_each_part_that_has_it() {
    assert_snapshot!(shown(&["explain", "until"]), @"
    until, a field of workload

      When the run ends at the latest; without it, when all processes have ended.
      without it: none

    until, a field of mix

      A thread ends when the gaps it drew add up to this.
      without it: no end
    ");
}
