//! Files of rows: as comma-separated values and, where the program is built with the feature `parquet`, as Parquet too.
//!
//! Both have the same rows and columns. Texts of a file are numbers of a Parquet file where all that a column can hold are numbers
//! ([`Kind::of_axis`]); a value is the exact decimal there, and the double that is nearest to it here.

use std::io::{self, Write};
use std::path::Path;

use framesim_workloads::experiment::GridAxis;
use serde::Serialize;

use super::csv::write_field;
use super::measure::Fixed;
use super::parquet::Parquet;
use crate::cli::exit::Failure;
use crate::cli::output::FileWriter;
use crate::digest::{Digest, Sealer};

/// Bytes that are hashed and written in one go.
const BUFFER: usize = 1 << 16;

/// What a column of a Parquet file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number from 0 on.
    Count,
    /// A whole number.
    Whole,
    /// A double, or nothing.
    Real,
}

impl Kind {
    /// Of the labels of an axis: numbers where all of them are.
    #[must_use]
    pub fn of_axis(axis: &GridAxis) -> Kind {
        let all = |is: fn(&str) -> bool| axis.values.iter().all(|value| is(&value.label));
        if all(is_whole) {
            Kind::Whole
        } else if all(is_real) {
            Kind::Real
        } else {
            Kind::Text
        }
    }
}

fn is_whole(label: &str) -> bool {
    label.parse::<i64>().is_ok_and(|number| number.to_string() == label)
}

fn is_real(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_digit() || b".-+eE".contains(&byte))
        && label.parse::<f64>().is_ok_and(f64::is_finite)
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds in a Parquet file.
    pub kind: Kind,
}

impl Column {
    pub(super) fn new(name: impl Into<String>, kind: Kind) -> Column {
        Column { name: name.into(), kind }
    }
}

/// A field of a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    /// A text; in a column of numbers one of them as it is written.
    Text(&'a str),
    Count(u64),
    Value(Option<Fixed>),
}

/// What several rows start with.
pub(super) struct Start<'a> {
    fields: Vec<Field<'a>>,
    csv: Vec<u8>,
}

impl<'a> Start<'a> {
    pub(super) fn new(fields: Vec<Field<'a>>) -> Start<'a> {
        let mut csv = Vec::new();
        for field in &fields {
            write_as_csv(field, &mut csv).expect("memory takes all writes");
            csv.push(b',');
        }
        Start { fields, csv }
    }
}

fn write_as_csv(field: &Field<'_>, to: &mut Vec<u8>) -> io::Result<()> {
    match field {
        Field::Text(text) => write_field(to, text),
        Field::Count(count) => write!(to, "{count}"),
        Field::Value(None) => Ok(()),
        Field::Value(Some(value)) => write!(to, "{value}"),
    }
}

/// A file of rows on its way, and its Parquet twin.
pub(super) struct TableFile {
    csv: Sealed,
    parquet: Option<Parquet>,
}

impl TableFile {
    /// Starts `folder/name.csv`, and `folder/name.parquet` where the program has it.
    pub(super) fn create(folder: &Path, name: &str, columns: &[Column]) -> Result<TableFile, Failure> {
        let mut csv = Sealed::create(&folder.join(format!("{name}.csv")))?;
        let names: Vec<Field<'_>> = columns.iter().map(|column| Field::Text(&column.name)).collect();
        csv.row(&Start::new(Vec::new()), &names)?;
        let parquet = Parquet::create(&folder.join(format!("{name}.parquet")), columns)?;
        Ok(TableFile { csv, parquet })
    }

    pub(super) fn row(&mut self, start: &Start<'_>, rest: &[Field<'_>]) -> Result<(), Failure> {
        self.csv.row(start, rest)?;
        match &mut self.parquet {
            Some(parquet) => parquet.row(start.fields.iter().chain(rest)),
            None => Ok(()),
        }
    }

    /// Writes all that is left; nothing has its final name yet.
    pub(super) fn end(self) -> Result<Ended, Failure> {
        let parquet = self.parquet.map(Parquet::end).transpose()?;
        Ok(Ended { csv: self.csv, parquet })
    }
}

/// Files that are complete but for their names.
pub(super) struct Ended {
    csv: Sealed,
    parquet: Option<Sealed>,
}

impl Ended {
    /// Digests of the file of values and of its twin.
    pub(super) fn digests(&mut self) -> Result<(Digest, Option<Digest>), Failure> {
        Ok((self.csv.digest()?, self.parquet.as_mut().map(Sealed::digest).transpose()?))
    }

    /// Gives the files their names, the file of values last.
    pub(super) fn finish(self) -> Result<(), Failure> {
        self.parquet.map_or(Ok(()), Sealed::finish)?;
        self.csv.finish()
    }
}

/// A file, and the digest of what was written to it.
pub(super) struct Sealed {
    file: FileWriter,
    sealer: Sealer,
    buffer: Vec<u8>,
}

impl Sealed {
    pub(super) fn create(path: &Path) -> Result<Sealed, Failure> {
        let (file, sealer) = (FileWriter::create(path)?, Sealer::new("framesim results v1"));
        Ok(Sealed { file, sealer, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Adds a row of comma-separated values.
    pub(super) fn row(&mut self, start: &Start<'_>, rest: &[Field<'_>]) -> Result<(), Failure> {
        self.buffer.extend_from_slice(&start.csv);
        for (place, field) in rest.iter().enumerate() {
            if place > 0 {
                self.buffer.push(b',');
            }
            write_as_csv(field, &mut self.buffer).expect("memory takes all writes");
        }
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER { self.hand_on().map_err(|error| self.file.failure(&error)) } else { Ok(()) }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        self.sealer.add(&self.buffer);
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Of all that was written.
    pub(super) fn digest(&mut self) -> Result<Digest, Failure> {
        self.hand_on().map_err(|error| self.file.failure(&error))?;
        Ok(self.sealer.seal())
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.hand_on().map_err(|error| self.file.failure(&error))?;
        self.file.finish()
    }
}

impl Write for Sealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.hand_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_on()?;
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use framesim_workloads::experiment::Value;

    use super::*;

    fn kind(labels: &[&str]) -> Kind {
        let value = |label: &&str| Value { label: (*label).to_owned(), settings: Vec::new() };
        Kind::of_axis(&GridAxis { name: "jobs".to_owned(), values: labels.iter().map(value).collect() })
    }

    #[test]
    fn an_axis_is_of_numbers_when_all_its_values_are() {
        assert_eq!([kind(&["1", "-20"]), kind(&["0"])], [Kind::Whole, Kind::Whole]);
        assert_eq!([kind(&["1", "2.5"]), kind(&["1e3", "0.1"])], [Kind::Real, Kind::Real]);
        // Text that reads as a number but is written otherwise is a number with a point at most.
        assert_eq!([kind(&["007"]), kind(&["18446744073709551616"])], [Kind::Real, Kind::Real]);
        for text in ["64MiB", "1_000", "inf", "", "-", "few"] {
            assert_eq!(kind(&["1", text]), Kind::Text, "{text}");
        }
    }
}
