use std::fs;
use std::path::Path;

use insta::assert_snapshot;

use super::raw;
use super::*;

/// A raw file as the library writes it: header words that are set, then records.
fn raw_file(folder: &Path, pid: u64, header: &[(u64, u64)], records: &[[u64; 5]]) {
    let mut bytes = vec![0; framesim_models::index(raw::HEADER_BYTES)];
    let always = [
        (raw::MAGIC_WORD, raw::MAGIC),
        (raw::VERSION_WORD, raw::VERSION),
        (raw::PID_WORD, pid),
        (raw::STARTED_WORD, pid),
        (raw::TAKEN_WORD, records.len() as u64),
    ];
    for (word, value) in always.iter().chain(header) {
        let at = framesim_models::index(word * 8);
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let command = framesim_models::index(raw::COMMAND_AT);
    bytes[command..command + 9].copy_from_slice(b"prog\0a b\0");
    bytes.extend(records.iter().flatten().flat_map(|word| word.to_le_bytes()));
    fs::write(folder.join(format!("{pid}-0.raw")), bytes).expect("a folder for tests");
}

fn call(kind: u64, thread: u32, time_ns: u64, address: u64, size: u64, more: u64) -> [u64; 5] {
    [raw::first_word(kind, thread), time_ns, address, size, more]
}

fn converted(folder: &Path, index: usize) -> (String, Converted) {
    let folder = Folder::open(folder).expect("raw files");
    let lineage = folder.lineage(index).expect("parents are there");
    let (bytes, converted) = convert(&lineage, Vec::new()).expect("sound records");
    (String::from_utf8(bytes).expect("text"), converted)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for tests")
}

#[test]
fn a_realloc_gives_its_old_place_up_when_it_begins() {
    let folder = folder();
    let records = [
        call(raw::MALLOC, 0, 10, 0xa, 100, 0),
        call(raw::REALLOC, 0, 20, 0xa, 200, 0),
        call(raw::MALLOC, 1, 30, 0xa, 16, 0),
        call(raw::REALLOCATED, 0, 40, 0xb, 200, 0xa),
        call(raw::FREE, 1, 50, 0xa, 0, 0),
    ];
    raw_file(folder.path(), 7, &[], &records);
    let (trace, _) = converted(folder.path(), 0);
    assert_snapshot!(trace, @"
    # heap trace v1
    # recorded by framesim 0.1.0 from: prog 'a b'
    t 0
    m 0 1 100
    t 1
    m 20 2 16
    t 0
    r 10 3 1 200
    t 1
    f 10 2
    # ops 4 threads 2 unknown_frees 0 live_at_end 1 inferred_frees 0 refused 0 unfinished 0 lost 0
    ");
}

#[test]
fn ends_of_threads_are_in_their_place() {
    let folder = folder();
    let records = [
        call(raw::MALLOC, 0, 10, 0xa, 100, 0),
        call(raw::MALLOC, 1, 20, 0xb, 16, 0),
        call(raw::FREE, 1, 30, 0xa, 0, 0),
        call(raw::THREAD_END, 1, 35, 0, 0, 0),
        call(raw::FREE, 0, 40, 0xb, 0, 0),
    ];
    raw_file(folder.path(), 7, &[], &records);
    let (trace, _) = converted(folder.path(), 0);
    assert_snapshot!(trace, @"
    # heap trace v1
    # recorded by framesim 0.1.0 from: prog 'a b'
    t 0
    m 0 1 100
    t 1
    m 10 2 16
    f 10 1
    x 5
    t 0
    f 5 2
    # ops 4 threads 2 unknown_frees 0 live_at_end 0 inferred_frees 0 refused 0 unfinished 0 lost 0
    ");
}

#[test]
fn refused_calls_change_nothing_and_a_realloc_to_nothing_frees() {
    let folder = folder();
    let records = [
        call(raw::MALLOC, 0, 1, 0, 1 << 60, 0),
        call(raw::CALLOC, 0, 2, 0xa, 8, 3),
        call(raw::REALLOC, 0, 3, 0xa, 1 << 60, 0),
        call(raw::REALLOCATED, 0, 4, 0, 1 << 60, 0xa),
        call(raw::ALIGNED, 0, 5, 0xb0, 10, 64),
        call(raw::REALLOC, 0, 6, 0xa, 0, 0),
        call(raw::REALLOCATED, 0, 7, 0, 0, 0xa),
        [0; 5],
    ];
    raw_file(
        folder.path(),
        7,
        &[(raw::LOST_WORD, 5), (raw::STOP_WORD, raw::STOP_GROW), (raw::STOP_ERROR_WORD, 28)],
        &records,
    );
    let (trace, converted) = converted(folder.path(), 0);
    assert_snapshot!(trace, @"
    # heap trace v1
    # recorded by framesim 0.1.0 from: prog 'a b'
    t 0
    c 1 1 3 8
    a 3 2 64 10
    f 2 1
    # ops 3 threads 1 unknown_frees 0 live_at_end 1 inferred_frees 0 refused 2 unfinished 1 lost 5
    ");
    assert_eq!((converted.totals.refused, converted.unfinished, converted.lost), (2, 1, 5));
    let file = RawFile::open(&folder.path().join("7-0.raw")).expect("a raw file");
    assert_snapshot!(file.stop.expect("it stopped"), @"its file could not grow: No space left on device");
}

#[test]
fn a_forked_process_starts_with_its_parents_blocks() {
    let folder = folder();
    let of_parent =
        [call(raw::MALLOC, 0, 10, 0xa, 1, 0), call(raw::MALLOC, 0, 20, 0xb, 2, 0), call(raw::FREE, 0, 90, 0xa, 0, 0)];
    raw_file(folder.path(), 7, &[], &of_parent);
    let forked = [(raw::PARENT_WORD, 7), (raw::PARENT_RECORDS_WORD, 2)];
    raw_file(folder.path(), 8, &forked, &[call(raw::FREE, 0, 60, 0xb, 0, 0), call(raw::FREE, 0, 61, 0xa, 0, 0)]);
    let (trace, _) = converted(folder.path(), 1);
    assert_snapshot!(trace, @"
    # heap trace v1
    # recorded by framesim 0.1.0 from: prog 'a b'
    t 0
    m 0 1 1
    m 10 2 2
    f 40 2
    f 1 1
    # ops 4 threads 1 unknown_frees 0 live_at_end 0 inferred_frees 0 refused 0 unfinished 0 lost 0
    ");
    fs::remove_file(folder.path().join("7-0.raw")).expect("it is there");
    let alone = Folder::open(folder.path()).expect("raw files");
    let error = alone.lineage(0).expect_err("the parent is gone").to_string();
    assert!(error.ends_with("8-0.raw: was forked from process 7, whose recording is not beside it"), "{error}");
}

#[test]
fn damage_is_named() {
    let folder = folder();
    raw_file(folder.path(), 7, &[], &[call(raw::MALLOC, 0, 1, 0xa, 1, 0), call(77, 0, 1, 0xa, 1, 0)]);
    let files = Folder::open(folder.path()).expect("raw files");
    let error = convert(&files.lineage(0).expect("alone"), Vec::new()).expect_err("no such call").to_string();
    assert!(error.ends_with("7-0.raw: record 1: there is no call of kind 77"), "{error}");
    raw_file(folder.path(), 7, &[(raw::VERSION_WORD, 9)], &[]);
    let error = Folder::open(folder.path()).expect_err("another version").to_string();
    assert!(error.ends_with("7-0.raw: raw recording of version 9; version 1 is known"), "{error}");
    fs::write(folder.path().join("7-0.raw"), [0; 100]).expect("a folder for tests");
    assert!(Folder::open(folder.path()).expect("cut off in its header").files().is_empty());
}

/// Wherever a file ends, what is in it up to there can be read.
#[test]
fn a_file_that_is_cut_off_has_its_whole_records() {
    let folder = folder();
    let records: Vec<[u64; 5]> = (0..50).map(|n| call(raw::MALLOC, 0, n, 0x1000 + n, n, 0)).collect();
    raw_file(folder.path(), 7, &[], &records);
    let path = folder.path().join("7-0.raw");
    let whole = fs::read(&path).expect("just written");
    for bytes in (framesim_models::index(raw::HEADER_BYTES)..=whole.len()).step_by(13) {
        fs::write(&path, &whole[..bytes]).expect("a folder for tests");
        let (_, converted) = converted(folder.path(), 0);
        let records = (bytes as u64 - raw::HEADER_BYTES) / raw::RECORD_BYTES;
        assert_eq!(converted.totals.calls, records);
    }
}

#[test]
fn chunks_follow_each_other_without_gaps() {
    let (mut next, mut number) = (0, 0);
    while next < raw::RECORDS_MOST {
        let chunk = raw::chunk_of(next);
        assert_eq!((chunk.number, chunk.first), (number, next));
        assert_eq!(raw::chunk_of(next + chunk.records - 1), chunk);
        // Mappings start and end on pages of up to 64 KiB.
        assert_eq!(chunk.records * raw::RECORD_BYTES % (64 << 10), 0);
        next += chunk.records;
        number += 1;
    }
    assert_eq!(number, raw::CHUNKS_MOST);
}
