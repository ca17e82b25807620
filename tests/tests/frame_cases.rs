//! Six frame policies against sixty recorded scripts: each placement, refusal, map and measure.

use std::fs;
use std::path::Path;

use framesim::conform::frames;
use framesim_models::frames::PolicyRegistry;

#[test]
fn every_recorded_script_is_exact_for_every_policy() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/frames");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert_eq!(files.len(), 60);
    let policies = PolicyRegistry::default();
    let (mut operations, mut played, mut differ) = (0, 0, Vec::new());
    for file in files {
        let verdicts = frames::hold(&fs::read_to_string(&file).unwrap(), &policies);
        for verdict in verdicts.unwrap_or_else(|error| panic!("{}: {error}", file.display())) {
            operations += verdict.operations;
            played += 1;
            if !verdict.is_exact() {
                differ.push(verdict.to_string());
            }
        }
    }
    assert!(differ.is_empty(), "{} of {played} differ:\n{}", differ.len(), differ.join("\n"));
    assert_eq!((played, operations), (360, 23_094));
}
