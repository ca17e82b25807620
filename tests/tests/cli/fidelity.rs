//! `fidelity`: the page on how far each heap can be trusted.

use std::fs;

use crate::command::{framesim, refused, repository};

#[test]
fn the_page_is_what_the_command_prints() {
    let ran = framesim(&["fidelity", "tests/data/heap"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let page = fs::read_to_string(repository().join("models/FIDELITY.md")).expect("the page is there");
    let differs = ran.stdout.lines().zip(page.lines()).find(|(printed, kept)| printed != kept);
    let again = "`framesim fidelity tests/data/heap > models/FIDELITY.md` makes the page anew: see what changed";
    assert_eq!(differs, None, "{again}");
    assert_eq!(ran.stdout.lines().count(), page.lines().count(), "{again}");
}

#[test]
fn a_folder_without_traces_is_said() {
    let folder = tempfile::tempdir().expect("a folder for tests");
    let path = folder.path().to_str().expect("UTF-8");
    let said = refused(5, &["fidelity", path]);
    assert!(said.contains("traces: cannot be read"), "{said}");
    fs::create_dir(folder.path().join("traces")).expect("a folder for tests");
    let said = refused(2, &["fidelity", path]);
    assert!(said.contains("no file is called NAME.trace"), "{said}");
}
