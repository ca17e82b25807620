//! Tables as Apache Parquet files, written row by row.
//!
//! # Models
//! The file format of parquet-format 2.12 (Apache), by the Apache `parquet` crate and its column writers alone. The crate has no
//! features on here: no Arrow, no compression, no asynchronous runtime. What it brings along is `ahash`, `bytes`, `chrono`, `half`,
//! `hashbrown`, `num-bigint`, `twox-hash` and their few dependencies; none of them is known to any other crate of framesim.
//!
//! It stands apart because a dependency can switch on features below the result path (`half` has `num-traits/libm`): a program is
//! built with it or without, and its digests are the same. `.ci/determinism` runs both.
//!
//! # Rules
//! 1. The same columns and rows give the same bytes, whenever and wherever they are written: the writer's name in the file is fixed
//!    ([`WRITER`]), there is no time in it, a row group ends after [`GROUP_ROWS`] rows.
//! 2. The forms that every reader has: version 1 of the format and of its data pages, no compression. Texts and counts are in dictionaries
//!    (a column of few values costs a few bits a row), numbers are plain. No statistics, no indexes.
//! 3. A column's kind is fixed at the start ([`Kind`]).
//!
//! # Invariants
//! No more than one row group is in memory.
//!
//! # Cost
//! A row costs the same wherever it stands. Of texts a row group keeps a copy unless the same one was among the last few.
//!
//! # Left out
//! Nested columns, and null but in columns of [`Kind::Real`].

mod buffer;

use std::io::{self, Write};
use std::sync::Arc;

use buffer::Buffer;
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, Type, TypePtr};

/// The writer's name in every file, in the form that readers take apart. It does not follow any version: rule 1.
pub const WRITER: &str = "framesim version 1 (build 1)";

/// Rows of a row group.
pub const GROUP_ROWS: usize = 1 << 17;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// A whole number from 0 on, of 64 bits.
    Count,
    /// A whole number of 64 bits with a sign.
    Whole,
    /// A double, or nothing.
    Real,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name; no two are the same.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

/// A field of a row, of its column's kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// Of a column of [`Kind::Text`].
    Text(&'a str),
    /// Of [`Kind::Count`].
    Count(u64),
    /// Of [`Kind::Whole`].
    Whole(i64),
    /// Of [`Kind::Real`].
    Real(Option<f64>),
}

/// A table on its way into a file.
///
/// ```
/// use framesim_parquet::{Column, Field, Kind, Table};
/// let columns = [Column { name: "policy".to_owned(), kind: Kind::Text }, Column { name: "value".to_owned(), kind: Kind::Real }];
/// let mut table = Table::new(Vec::new(), &columns)?;
/// table.row([Field::Text("first_fit"), Field::Real(Some(0.25))])?;
/// let bytes = table.finish()?;
/// assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Table<W: Write + Send> {
    to: SerializedFileWriter<Lent<W>>,
    columns: Vec<Buffer>,
    /// Rows of the current row group.
    rows: usize,
}

impl<W: Write + Send> Table<W> {
    /// With these columns and no rows.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn new(to: W, columns: &[Column]) -> io::Result<Table<W>> {
        let (to, properties) = (Lent(Some(to)), Arc::new(properties(columns)));
        let to = SerializedFileWriter::new(to, schema(columns), properties).map_err(of_file)?;
        Ok(Table { to, columns: columns.iter().map(|column| Buffer::new(column.kind)).collect(), rows: 0 })
    }

    /// Adds a row: a field for each column, in order.
    ///
    /// # Errors
    /// Those of the file.
    ///
    /// # Panics
    /// When there are not as many fields as columns, or one is not of its column's kind.
    pub fn row<'f>(&mut self, fields: impl IntoIterator<Item = Field<'f>>) -> io::Result<()> {
        let mut columns = self.columns.iter_mut();
        for field in fields {
            columns.next().expect("a row has no more fields than the table has columns").add(field);
        }
        assert!(columns.next().is_none(), "a row has as many fields as the table has columns");
        self.rows += 1;
        if self.rows == GROUP_ROWS { self.end_group() } else { Ok(()) }
    }

    fn end_group(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        let mut group = self.to.next_row_group().map_err(of_file)?;
        for column in &mut self.columns {
            let mut to = group.next_column().map_err(of_file)?.expect("a writer for each column");
            column.write(&mut to).map_err(of_file)?;
            to.close().map_err(of_file)?;
        }
        group.close().map(|_| ()).map_err(of_file)
    }

    /// Writes what is left, and the file's end.
    ///
    /// # Errors
    /// Those of the file.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_group()?;
        self.to.finish().map_err(of_file)?;
        Ok(self.to.inner_mut().0.take().expect("it is taken back once"))
    }
}

/// A file that can be taken back: the way that the crate has for it makes a plain text of the file's error.
struct Lent<W>(Option<W>);

impl<W: Write> Lent<W> {
    fn file(&mut self) -> &mut W {
        self.0.as_mut().expect("nothing is written after the end")
    }
}

impl<W: Write> Write for Lent<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), Write::flush)
    }
}

fn schema(columns: &[Column]) -> TypePtr {
    let fields = columns.iter().map(|Column { name, kind }| {
        let (physical, logical, repetition) = match kind {
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED),
            Kind::Count => (Physical::INT64, Some(LogicalType::integer(64, false)), Repetition::REQUIRED),
            Kind::Whole => (Physical::INT64, None, Repetition::REQUIRED),
            Kind::Real => (Physical::DOUBLE, None, Repetition::OPTIONAL),
        };
        let field = Type::primitive_type_builder(name, physical).with_logical_type(logical).with_repetition(repetition);
        Arc::new(field.build().expect("each kind has a physical type that it goes with"))
    });
    let whole = Type::group_type_builder("schema").with_fields(fields.collect()).build();
    Arc::new(whole.expect("a group of any fields is sound"))
}

fn properties(columns: &[Column]) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(WRITER.to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::UNCOMPRESSED)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_bloom_filter_enabled(false)
        // Row groups end where `Table` ends them.
        .set_max_row_group_row_count(None)
        .set_max_row_group_bytes(None);
    for column in columns.iter().filter(|column| column.kind == Kind::Real) {
        // Values that are nearly all different gain nothing by a dictionary.
        let path = ColumnPath::new(vec![column.name.clone()]);
        properties = properties.set_column_dictionary_enabled(path, false);
    }
    properties.build()
}

/// The file's own error where it is one.
fn of_file(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(cause) => *cause,
            Err(cause) => io::Error::other(cause),
        },
        other => io::Error::other(other),
    }
}

#[cfg(test)]
#[expect(clippy::float_arithmetic, reason = "values to write")]
mod tests;
