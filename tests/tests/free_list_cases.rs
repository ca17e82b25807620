//! `free_list` against one hundred recorded cases: address, entries searched and free list after each operation.

use std::fs;
use std::path::Path;

use framesim::conform::malloc;

#[test]
fn every_recorded_case_is_exact() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ostep-malloc");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    assert_eq!(files.len(), 100);
    files.sort();
    let mut operations = 0;
    let mut differ = Vec::new();
    for file in files {
        let verdict = malloc::hold(&fs::read_to_string(&file).unwrap());
        let verdict = verdict.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        operations += verdict.operations;
        if !verdict.is_exact() {
            differ.push(verdict.to_string());
        }
    }
    assert!(differ.is_empty(), "{} cases differ:\n{}", differ.len(), differ.join("\n"));
    assert_eq!(operations, 2330);
}
