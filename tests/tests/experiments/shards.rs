//! Shards, and what joins them.

use framesim::experiment::{Agreement, Journal, JournalReader, Record};

use super::folder::{EXPERIMENT, Folder};

fn sharded(folder: &Folder, shards: &[u64], of: u64) {
    for shard in shards {
        folder.shown(&format!("sweep mine.ron --out part/{shard} --shard {shard}/{of} --jobs 1"));
    }
}

#[test]
fn shards_join_to_the_bytes_of_one_machine() {
    for stop in ["count(3)", "until(metric: \"external_fragmentation\", width: 0.1, least: 3, most: 12)"] {
        for of in [1, 2, 5, 20] {
            let folder = Folder::with(&EXPERIMENT.replace("count(3)", stop));
            folder.shown("sweep mine.ron --out whole");
            let all: Vec<u64> = (1..=of).collect();
            sharded(&folder, &all, of);
            let parts: Vec<String> = all.iter().rev().map(|shard| format!("part/{shard}")).collect();
            folder.shown(&format!("merge {} --out joined", parts.join(" ")));
            assert_eq!(folder.results("joined"), folder.results("whole"), "{of} shards, {stop}");
        }
    }
}

#[test]
fn what_is_missing_is_named_as_array_jobs_take_it() {
    let folder = Folder::new();
    sharded(&folder, &[1, 2, 4, 5], 5);
    // A shard that was interrupted: its last record is torn. One that has not begun; a temporary file.
    let journal = folder.path("part/4/journal.framesim");
    let bytes = std::fs::read(&journal).expect("a journal");
    std::fs::write(&journal, &bytes[..bytes.len() - 3]).expect("a file of this test");
    std::fs::create_dir_all(folder.path("part/3")).expect("a folder of this test");
    folder.write("part/3/.framesim-x1y2z3", "cell,mem");
    let parts = "part/1 part/2 part/3 part/4 part/5";
    assert_eq!(folder.shown(&format!("merge {parts} --missing -q")), "3,4\n");
    insta::assert_snapshot!(folder.refused(2, &format!("merge {parts} --out joined")), @"
    part/3: nothing was done here
    error: 3 cells are missing, of shards 3,4 (of 5); run them with `--resume` and merge again
    ");
    assert!(!folder.path("joined/cells.csv").exists());
    for shard in [3, 4] {
        folder.shown(&format!("sweep mine.ron --out part/{shard} --shard {shard}/5 --resume"));
    }
    assert_eq!(folder.shown(&format!("merge {parts} --missing")), "\n");
    folder.shown(&format!("merge {parts} --out joined"));
    folder.shown("sweep mine.ron --out whole");
    assert_eq!(folder.results("joined"), folder.results("whole"));
}

#[test]
fn what_does_not_belong_together_is_not_joined() {
    let folder = Folder::new();
    sharded(&folder, &[1, 2], 2);
    folder.shown("sweep mine.ron --out again --shard 2/2");
    insta::assert_snapshot!(folder.refused(2, "merge part/1 part/2 again --out joined"), @"error: shard 2/2 is there twice: in part/2 and in again");
    folder.shown("sweep mine.ron --out third --shard 3/3");
    insta::assert_snapshot!(folder.refused(2, "merge part/1 part/2 third --out joined"), @"error: part/1 and third are of different sweeps: one has 2 shards, the other 3");
    folder.write("mine.ron", &EXPERIMENT.replace("count(3)", "count(4)"));
    folder.shown("sweep mine.ron --out other --shard 2/2");
    insta::assert_snapshot!(folder.refused(2, "merge part/1 other --out joined"), @"error: part/1 and other are of different sweeps: `replicas` has changed");
    insta::assert_snapshot!(folder.refused(2, "merge . --out joined -q"), @"error: none of these folders has a journal of a sweep");
}

#[test]
fn a_cell_that_is_there_twice_is_named() {
    let folder = Folder::new();
    folder.shown("sweep mine.ron --out out --jobs 1");
    let path = folder.path("out/journal.framesim");
    let mut journal = std::fs::read(&path).expect("a journal");
    // The last record once more: its length stands in four bytes, its checksum in eight.
    let starts = record_starts(&journal);
    let last = journal[*starts.last().expect("records")..].to_vec();
    journal.extend_from_slice(&last);
    std::fs::write(&path, &journal).expect("a file of this test");
    insta::assert_snapshot!(folder.refused(2, "merge out --out joined"), @"error: out: cell 2 of point 1 (policy 1, heap 0) is there twice, or not one of its shard");
}

#[test]
fn cells_of_one_seed_that_asked_for_different_things_are_a_bug() {
    let folder = Folder::new();
    folder.shown("sweep mine.ron --out out --jobs 1");
    let mut reader = JournalReader::open(&folder.path("out/journal.framesim")).expect("a file").expect("a journal");
    let mut records: Vec<Record> = std::iter::from_fn(|| reader.next().expect("a file")).collect();
    // One cell gets the requests of another seed, of which as much is known.
    let asked = |record: &Record| record.ran.as_ref().expect("a cell with a result").asked;
    let (last, others) = records.split_last_mut().expect("records");
    let differs = |other: &&mut Record| asked(other).agreement(&asked(last)) == Agreement::Different;
    let other = asked(others.iter_mut().find(differs).expect("seeds differ"));
    last.ran.as_mut().expect("a cell with a result").asked = other;
    std::fs::create_dir(folder.path("wrong")).expect("a folder of this test");
    for file in ["experiment.ron", "workload.ron"] {
        folder.write(&format!("wrong/{file}"), &folder.read(&format!("out/{file}")));
    }
    let (mut journal, _) = Journal::open(&folder.path("wrong"), &reader.head, false).expect("a folder of this test");
    records.iter().for_each(|record| journal.append(record).expect("a disk with room"));
    let said = folder.refused(3, "merge wrong --out joined");
    assert!(said.contains("asked for different things under one seed"), "{said}");
    assert!(!folder.path("joined/cells.csv").exists());
}

fn record_starts(journal: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = journal.iter().position(|byte| *byte == b'\n').expect("the first line") + 1;
    while at < journal.len() {
        starts.push(at);
        let length = u32::from_le_bytes(journal[at..at + 4].try_into().expect("four bytes"));
        at += 12 + length as usize;
    }
    starts
}
