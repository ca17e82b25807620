//! Good traces, hostile ones, and what they cost.

use std::path::PathBuf;

use insta::assert_snapshot;

use super::{Call, TraceError, TraceErrorKind, TraceReader};

const NATIVE: &str = "# heap trace v1\n# ops 3 threads 1 unknown_frees 0 live_at_end 1\n";

fn read(text: impl Into<Vec<u8>>) -> Result<TraceReader, TraceError> {
    TraceReader::from_source("t.trace", std::io::Cursor::new(text.into()))
}

/// All records in short, or the error.
fn show(text: impl Into<Vec<u8>>) -> String {
    let mut reader = match read(text) {
        Ok(reader) => reader,
        Err(error) => return error.to_string(),
    };
    let mut lines = Vec::new();
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                let call = match record.call {
                    Call::Malloc { slot, bytes } => format!("malloc {} {bytes}", slot.0),
                    Call::Calloc { slot, count, bytes } => format!("calloc {} {count} {bytes}", slot.0),
                    Call::Aligned { slot, align, bytes } => format!("aligned {} {align} {bytes}", slot.0),
                    Call::Realloc { slot, bytes } => format!("realloc {} {bytes}", slot.0),
                    Call::Free { slot } => format!("free {}", slot.0),
                    Call::ThreadEnd => "thread ends".to_owned(),
                };
                lines.push(format!("+{} t{} #{} {call}", record.gap_ns, record.thread.0, record.id));
            }
            Ok(None) => break,
            Err(error) => {
                lines.push(error.to_string());
                break;
            }
        }
    }
    lines.join("\n")
}

/// The error of a trace, which is a file so that its past can be told.
fn error(records: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("t.trace");
    std::fs::write(&file, format!("{NATIVE}{records}")).expect("the folder can be written");
    let mut reader = TraceReader::open(&file).expect("the header is right");
    loop {
        match reader.next_record() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("nothing is wrong with it"),
            Err(error) => {
                assert_eq!(error.kind(), TraceErrorKind::Input);
                return error.to_string().replace(&file.display().to_string(), "t.trace");
            }
        }
    }
}

#[test]
fn every_record_is_read_and_slots_are_dense() {
    assert_snapshot!(show(format!("{NATIVE}t 3\nm 10 1 472\nc 20 2 4 16\nf 5 1\n# a remark\nr 7 3 2 200\n\na 1 4 64 100\nt 0\nr 2 5 0 8\nf 0 3")), @"
    +10 t3 #1 malloc 0 472
    +20 t3 #2 calloc 1 4 16
    +5 t3 #1 free 0
    +7 t3 #3 realloc 1 200
    +1 t3 #4 aligned 0 64 100
    +2 t0 #5 realloc 2 8
    +0 t0 #3 free 1
    ");
}

#[test]
fn ends_of_threads_are_records_without_a_block() {
    assert_snapshot!(show(format!("{NATIVE}t 3\nm 10 1 472\nx 7\nx  2\nm 0 2 8\nx")), @"
    +10 t3 #1 malloc 0 472
    +7 t3 #0 thread ends
    +2 t3 #0 thread ends
    +0 t3 #2 malloc 1 8
    t.trace: record 5 (line 8): `x` is no record
    ");
}

#[test]
fn size_0_and_sizes_beyond_all_memory_are_calls_like_any_other() {
    assert_snapshot!(show(format!("{NATIVE}m 0 1 0\nm 0 2 18446744073709551615\nc 0 3 18446744073709551615 18446744073709551615\n")), @"
    +0 t0 #1 malloc 0 0
    +0 t0 #2 malloc 1 18446744073709551615
    +0 t0 #3 calloc 2 18446744073709551615 18446744073709551615
    ");
}

#[test]
fn line_ends_of_other_systems_are_no_part_of_a_number() {
    assert_snapshot!(show("# heap trace v1\r\nm 0 1 8\r\n\r\nf 0 1\r\n"), @"
    +0 t0 #1 malloc 0 8
    +0 t0 #1 free 0
    ");
}

#[test]
fn a_lab_trace_is_told_by_its_first_line() {
    assert_snapshot!(show("20000\n3\n6\n1\na 0 512\na 1 128\nr 0 640\nf 1\nf -1\na 1 5\n"), @"
    +0 t0 #0 malloc 0 512
    +0 t0 #1 malloc 1 128
    +0 t0 #0 realloc 0 640
    +0 t0 #1 free 1
    +0 t0 #1 malloc 1 5
    ");
    assert_snapshot!(show("20000\n3\n4\n1\na 0 512\na 1 128\nr 0 640\nf 1\n"), @"
    +0 t0 #0 malloc 0 512
    +0 t0 #1 malloc 1 128
    +0 t0 #0 realloc 0 640
    +0 t0 #1 free 1
    ");
}

#[test]
fn what_no_program_can_have_called_is_an_error_with_its_past() {
    assert_snapshot!(error("m 0 1 8\nm 0 2 8\nf 0 1\nm 0 3 1\nf 0 1\n"), @"
    t.trace: record 5 (line 7): free of block 1, which is not live
      it was freed by record 3
    ");
    assert_snapshot!(error("m 0 1 8\nr 0 2 1 20\nf 0 1\n"), @"
    t.trace: record 3 (line 5): free of block 1, which is not live
      it was moved by record 2, a realloc
    ");
    assert_snapshot!(error("m 0 1 8\nf 0 7\n"), @"
    t.trace: record 2 (line 4): free of block 7, which is not live
      no record made it
    ");
    assert_snapshot!(error("m 0 1 8\nr 0 2 9 1\n"), @"
    t.trace: record 2 (line 4): realloc of block 9, which is not live
      no record made it
    ");
    assert_snapshot!(error("m 0 1 8\nf 0 1\nr 0 2 1 1\n"), @"
    t.trace: record 3 (line 5): realloc of block 1, which is not live
      it was freed by record 2
    ");
    assert_snapshot!(error("m 0 1 8\nm 0 2 8\nm 0 1 9\n"), @"
    t.trace: record 3 (line 5): block 1 after block 2: the numbers rise, and none is used twice
      it was made by record 1
    ");
    assert_snapshot!(error("m 0 0 8\n"), @"t.trace: record 1 (line 3): a block is numbered 0; the first one is 1");
    assert_snapshot!(show("9\n3\n2\n1\na 0 5\na 0 6\n"), @"
    +0 t0 #0 malloc 0 5
    t.trace: record 2 (line 6): block 0 is live already
    ");
    assert_snapshot!(show("9\n3\n2\n1\na 0 5\nf 1\n"), @"
    +0 t0 #0 malloc 0 5
    t.trace: record 2 (line 6): free of block 1, which is not live
    ");
    assert_snapshot!(show("9\n3\n2\n1\na 3 5\n"), @"t.trace: record 1 (line 5): block 3, but the header says 3 ids");
}

#[test]
fn what_is_no_record_is_shown() {
    assert_snapshot!(error("m 0 1 8\ny 0 1\n"), @"t.trace: record 2 (line 4): `y 0 1` is no record");
    assert_snapshot!(error("m 0 1\n"), @"t.trace: record 1 (line 3): SIZE is missing");
    assert_snapshot!(error("m 0 1 8 9\n"), @"t.trace: record 1 (line 3): `9` is more than the record needs");
    assert_snapshot!(error("m 0 1 -8\n"), @"t.trace: record 1 (line 3): SIZE is no whole number, at `-8`");
    assert_snapshot!(error("m 0 1 0x10\n"), @"t.trace: record 1 (line 3): SIZE is no whole number, at `x10`");
    assert_snapshot!(error("m 0 1 18446744073709551616\n"), @"t.trace: record 1 (line 3): SIZE is more than 18,446,744,073,709,551,615");
    assert_snapshot!(error("m 18446744073709551615 1 8\nf 1 1\n"), @"t.trace: record 2 (line 4): the times add up to more than 18,446,744,073,709,551,615 ns");
    assert_snapshot!(error("t 4096\n"), @"t.trace: line 3: thread 4,096 is more than 4,095");
    assert_snapshot!(error("t 4294967296\n"), @"t.trace: line 3: thread 4,294,967,296 is more than 4,095");
    assert_snapshot!(error("malloc 0 1 8\n"), @"t.trace: record 1 (line 3): `malloc 0 1 8` is no record");
    assert_snapshot!(error("m 0 1 \u{1b}[31m\u{7}\n"), @"t.trace: record 1 (line 3): SIZE is no whole number, at `�[31m�`");
    assert_snapshot!(error(&format!("m 0 1 {}\n", "x".repeat(500))), @"t.trace: record 1 (line 3): SIZE is no whole number, at `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..`");
}

#[test]
fn what_is_no_trace_is_told() {
    assert_snapshot!(show(""), @"t.trace: the trace is empty");
    assert_snapshot!(show("# heap trace v2\nm 0 1 8\n"), @"t.trace: line 1: `# heap trace v2` is a version that is not known; version 1 is");
    assert_snapshot!(show("hello\n"), @"t.trace: line 1: `hello` starts no trace; a heap trace starts with `# heap trace v1`, a .rep with a number");
    assert_snapshot!(show("12\nx\n"), @"t.trace: line 2: a .rep starts with four lines of one number: heap size, ids, calls, weight");
    assert_snapshot!(show("12\n13\n"), @"t.trace: line 2: a .rep starts with four lines of one number: heap size, ids, calls, weight");
    assert_snapshot!(show("9\n3\n5\n1\na 0 5\n"), @"
    +0 t0 #0 malloc 0 5
    t.trace: record 1 (line 5): the trace ends after call 1, but its header says 5
    ");
    assert_eq!(show(NATIVE), "");
    assert_eq!(show("# heap trace v1"), "");
    assert_eq!(show("0\n0\n0\n0\n"), "");
    let missing = TraceReader::open(std::path::Path::new("no/such.trace")).unwrap_err();
    assert_eq!(missing.kind(), TraceErrorKind::Io);
    let folder = TraceReader::open(std::path::Path::new(".")).unwrap_err();
    assert_eq!(folder.kind(), TraceErrorKind::Io);
    assert_snapshot!(folder, @".: is a directory");
}

#[test]
fn a_line_without_an_end_is_refused_before_it_fills_memory() {
    let long = |bytes: usize| format!("{NATIVE}m 0 1 8\n#{}\nf 0 1\n", "x".repeat(bytes - 1));
    assert_snapshot!(show(long(64 << 10)), @"
    +0 t0 #1 malloc 0 8
    +0 t0 #1 free 0
    ");
    assert_snapshot!(show(long((64 << 10) + 1)), @"
    +0 t0 #1 malloc 0 8
    t.trace: record 1 (line 4): the line has more than 65,536 bytes
    ");
    assert_snapshot!(show(long(3 << 20)), @"
    +0 t0 #1 malloc 0 8
    t.trace: record 1 (line 4): the line has more than 65,536 bytes
    ");
    assert_snapshot!(show("x".repeat(1 << 20)), @"t.trace: line 1: the line has more than 65,536 bytes");
    let source = std::io::Read::chain(std::io::Cursor::new(NATIVE), std::io::repeat(b'#'));
    let mut endless = TraceReader::from_source("endless", source).expect("its start is right");
    assert_snapshot!(endless.next_record().unwrap_err(), @"endless: line 3: the line has more than 65,536 bytes");
}

#[test]
fn records_are_the_same_wherever_the_buffer_ends() {
    let mut text = NATIVE.to_owned();
    for id in 1..60_000_u64 {
        text.push_str(&format!("m {} {id} {}\n", id % 97, id * 31));
        if id % 3 == 0 {
            text.push_str(&format!("f 1 {}\n", id - 1));
        }
    }
    let mut reader = read(text).expect("it is a trace");
    let (mut bytes_total, mut frees) = (0, 0);
    while let Some(record) = reader.next_record().expect("every record is right") {
        match record.call {
            Call::Malloc { bytes, .. } => bytes_total += bytes,
            _ => frees += 1,
        }
    }
    assert_eq!((bytes_total, frees), ((1..60_000_u64).map(|id| id * 31).sum(), 19_999));
    assert_eq!(reader.live_blocks(), 40_000);
}

/// Traces of real programs that lie beside the repository where it is worked on.
fn recorded(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces/heap");
    let file = folder.join(format!("{name}.trace.zst"));
    file.is_file().then_some(file)
}

#[test]
fn a_recorded_program_is_read_to_its_end() {
    let Some(file) = recorded("python-mix") else {
        assert!(std::env::args().count() > 0, "not here: the recorded traces are not beside the repository");
        return;
    };
    let mut reader = TraceReader::open(&file).expect("the recorded trace opens");
    while reader.next_record().expect("every record is right").is_some() {}
    assert_eq!((reader.records(), reader.live_blocks()), (1_402_105, 563));
}
