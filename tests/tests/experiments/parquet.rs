//! Parquet files of a sweep: the rows of its CSV files, in types that readers know.

use std::fs::File;

use insta::assert_snapshot;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::printer::print_schema;

use super::folder::{EXPERIMENT, Folder};

/// Axes of each kind, a metric without a value in most cells, and series.
fn experiment() -> String {
    let axes = r#"axes: [
        (name: "memory", path: "machine.memory", values: list(["256KiB", "1MiB"])),
        (name: "calls", path: "processes.p.does.calls", values: range(from: 20, to: 40, step: 20)),
        (name: "rate", path: "processes.p.arrive.per_second", values: list([200.0, 400.5])),
    ], series: (every: "50ms", metrics: ["processes", "holes"]),"#;
    let experiment = EXPERIMENT
        .replace("axes: [(name: \"memory\", path: \"machine.memory\", values: list([\"256KiB\", \"1MiB\"]))],", axes)
        .replace("\"refused\"", "\"refused\", \"first_refusal\", \"live_bytes\"");
    assert_ne!(experiment, EXPERIMENT);
    experiment
}

fn reader(folder: &Folder, name: &str) -> SerializedFileReader<File> {
    let file = File::open(folder.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    SerializedFileReader::new(file).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn schema(folder: &Folder, name: &str) -> String {
    let mut text = Vec::new();
    print_schema(&mut text, reader(folder, name).metadata().file_metadata().schema());
    String::from_utf8(text).expect("names are text")
}

/// The rows by the crate's own reader, each field as the CSV file has it but for numbers with a point.
fn rows(folder: &Folder, name: &str) -> Vec<Vec<Field>> {
    let reader = reader(folder, name);
    let rows = reader.get_row_iter(None).expect("rows");
    rows.map(|row| row.expect("a row").into_columns().into_iter().map(|(_, field)| field).collect()).collect()
}

fn is_same(parquet: &Field, csv: &str) -> bool {
    match parquet {
        Field::Str(text) => text == csv,
        Field::ULong(number) => number.to_string() == csv,
        Field::Long(number) => number.to_string() == csv,
        Field::Double(number) => csv.parse() == Ok(*number),
        Field::Null => csv.is_empty(),
        _ => false,
    }
}

#[test]
fn parquet_files_have_the_rows_of_the_csv_files() {
    let folder = Folder::with(&experiment());
    folder.shown("sweep mine.ron --out out");
    for (name, nulls) in [("cells", true), ("series", false)] {
        let parquet = rows(&folder, &format!("out/{name}.parquet"));
        let csv = folder.read(&format!("out/{name}.csv"));
        let csv: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
        assert_eq!(parquet.len(), csv.len());
        for (row, line) in parquet.iter().zip(&csv) {
            let same = row.len() == line.len() && row.iter().zip(line).all(|(field, text)| is_same(field, text));
            assert!(same, "{row:?} is not {line:?}");
        }
        assert_eq!(parquet.iter().flatten().any(|field| matches!(field, Field::Null)), nulls, "{name}");
    }
}

#[test]
fn an_axis_of_numbers_is_a_column_of_numbers() {
    let folder = Folder::with(&experiment());
    folder.shown("sweep mine.ron --out out");
    assert_snapshot!(schema(&folder, "out/cells.parquet"), @"
    message schema {
      REQUIRED BYTE_ARRAY cell (STRING);
      REQUIRED BYTE_ARRAY memory (STRING);
      REQUIRED INT64 calls;
      OPTIONAL DOUBLE rate;
      REQUIRED BYTE_ARRAY policy (STRING);
      REQUIRED BYTE_ARRAY heap (STRING);
      REQUIRED INT64 seed (INTEGER(64,false));
      REQUIRED BYTE_ARRAY metric (STRING);
      OPTIONAL DOUBLE value;
      REQUIRED BYTE_ARRAY unit (STRING);
    }
    ");
    assert!(schema(&folder, "out/series.parquet").contains("INT64 time_ns (INTEGER(64,false))"));
    assert!(folder.read("out/sweep.json").contains("\"name\": \"calls\",\n      \"kind\": \"whole\""));
}

#[test]
fn jobs_and_shards_give_the_same_parquet_files() {
    let folder = Folder::with(&experiment());
    let read = |name: &str| std::fs::read(folder.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    folder.shown("sweep mine.ron --out whole --jobs 1");
    folder.shown("sweep mine.ron --out parallel --jobs 2");
    for shard in [1, 2, 3] {
        folder.shown(&format!("sweep mine.ron --out part/{shard} --shard {shard}/3"));
    }
    folder.shown("merge part/1 part/2 part/3 --out joined");
    for file in ["cells.parquet", "series.parquet"] {
        let whole = read(&format!("whole/{file}"));
        assert_eq!(read(&format!("parallel/{file}")), whole);
        assert_eq!(read(&format!("joined/{file}")), whole);
    }
}

#[test]
fn a_parquet_file_has_its_name_when_it_is_whole_and_not_before() {
    let folder = Folder::new();
    // The journal fits below the limit, the results do not.
    let framesim = env!("CARGO_BIN_EXE_framesim_under_test");
    folder.shown("sweep mine.ron --out out");
    std::fs::remove_file(folder.path("out/cells.csv")).expect("a file of this test");
    std::fs::remove_file(folder.path("out/cells.parquet")).expect("a file of this test");
    let script = format!("trap '' XFSZ; ulimit -f 3; exec {framesim} sweep mine.ron --out out --resume");
    let mut shell = std::process::Command::new("bash");
    let output = shell.args(["-c", &script]).current_dir(folder.path(".")).output().expect("bash can be started");
    assert_eq!(super::folder::ran("sweep", output).code, 5);
    assert!(!folder.path("out/cells.parquet").exists() && !folder.path("out/cells.csv").exists());
}
