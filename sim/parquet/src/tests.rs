use std::fs::File;
use std::io::Seek;

use insta::assert_snapshot;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field as Read;

use super::*;

fn column(name: &str, kind: Kind) -> Column {
    Column { name: name.to_owned(), kind }
}

fn columns() -> Vec<Column> {
    vec![
        column("policy", Kind::Text),
        column("seed", Kind::Count),
        column("jobs", Kind::Whole),
        column("value", Kind::Real),
    ]
}

/// So many rows that differ from each other in every way that they can.
fn table(rows: u32) -> Vec<u8> {
    let mut table = Table::new(Vec::new(), &columns()).expect("memory takes all writes");
    for row in 0..rows {
        let policy = ["first_fit", "best_fit", "größer, \"fit\"", ""][row as usize % 4].to_owned();
        let policy = if row % 50 == 7 { format!("{policy}{row}") } else { policy };
        let value = (row % 3 != 2).then(|| f64::from(row) / 7.0);
        let whole = -i64::from(row % 11);
        let fields =
            [Field::Text(&policy), Field::Count(u64::MAX - u64::from(row)), Field::Whole(whole), Field::Real(value)];
        table.row(fields).expect("memory takes all writes");
    }
    table.finish().expect("memory takes all writes")
}

fn reader(bytes: &[u8]) -> SerializedFileReader<File> {
    let mut file = tempfile::tempfile().expect("a file for tests");
    file.write_all(bytes).and_then(|()| file.rewind()).expect("a file for tests");
    SerializedFileReader::new(file).expect("a file that can be read")
}

/// The rows as a reader that is not ours has them.
fn read(bytes: &[u8]) -> Vec<String> {
    let reader = reader(bytes);
    let shown = |field: &Read| match field {
        Read::Str(text) => format!("{text:?}"),
        Read::Double(value) => format!("{value:?}"),
        Read::ULong(count) => count.to_string(),
        Read::Long(number) => number.to_string(),
        Read::Null => "none".to_owned(),
        other => panic!("{other:?} is of no kind of ours"),
    };
    let rows = reader.get_row_iter(None).expect("a file that can be read");
    rows.map(|row| {
        let row = row.expect("a row that can be read");
        let fields: Vec<String> =
            row.get_column_iter().map(|(name, field)| format!("{name}={}", shown(field))).collect();
        fields.join(" ")
    })
    .collect()
}

#[test]
fn what_is_written_is_read() {
    assert_snapshot!(read(&table(4)).join("\n"), @r#"
    policy="first_fit" seed=18446744073709551615 jobs=0 value=0.0
    policy="best_fit" seed=18446744073709551614 jobs=-1 value=0.14285714285714285
    policy="größer, \"fit\"" seed=18446744073709551613 jobs=-2 value=none
    policy="" seed=18446744073709551612 jobs=-3 value=0.42857142857142855
    "#);
    assert_eq!(read(&table(0)).len(), 0);
}

#[test]
fn rows_of_several_groups_are_all_there_and_in_order() {
    let rows = u32::try_from(GROUP_ROWS).expect("small") + 3;
    let bytes = table(rows);
    let groups: Vec<i64> = reader(&bytes).metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [1 << 17, 3]);
    let read = read(&bytes);
    assert_eq!(read.len(), rows as usize);
    for (row, read) in read.iter().enumerate() {
        assert!(read.contains(&format!(" seed={} ", u64::MAX - row as u64)), "row {row}: {read}");
    }
    assert_eq!(read[57], r#"policy="best_fit57" seed=18446744073709551558 jobs=-2 value=8.142857142857142"#);
}

/// A change of these is a change of every file that was ever written.
#[test]
fn bytes_are_frozen() {
    assert_snapshot!(blake3::hash(&table(1_000)), @"a019aefe07b9cd4cac9e139f056893099f6b0a7d672145ebf51fc8e431d74491");
}

#[test]
fn the_writers_version_is_not_in_the_file() {
    let bytes = table(10);
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(WRITER) && !holds("parquet-rs") && !holds("60.1"));
}

/// A disk that is full after some bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_the_disks_own_error() {
    for room in [0, 3, 60, 200] {
        let written = Table::new(Full(room), &columns()).and_then(|mut table| {
            table.row([Field::Text("first_fit"), Field::Count(1), Field::Whole(2), Field::Real(None)])?;
            table.finish()
        });
        assert_eq!(written.err().map(|error| error.kind()), Some(io::ErrorKind::StorageFull), "room for {room} bytes");
    }
}

#[test]
#[should_panic(expected = "a row has as many fields as the table has columns")]
fn a_row_that_is_too_short_is_a_bug() {
    let _ = Table::new(Vec::new(), &columns()).expect("memory takes all writes").row([Field::Text("first_fit")]);
}

#[test]
#[should_panic(expected = "Count(1) is not of its column's kind")]
fn a_field_of_another_kind_is_a_bug() {
    let _ = Table::new(Vec::new(), &columns()).expect("memory takes all writes").row([Field::Count(1)]);
}
