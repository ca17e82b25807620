//! A Parquet file of rows, by the crate `framesim-parquet`; nothing in a program that is built without the feature `parquet`.

use std::path::Path;

use super::tables::{Column, Field, Sealed};
use crate::cli::exit::Failure;

/// Whether this program writes Parquet.
pub const PARQUET: bool = cfg!(feature = "parquet");

#[cfg(feature = "parquet")]
pub(super) use with::Parquet;

#[cfg(feature = "parquet")]
mod with {
    use std::io;
    use std::path::PathBuf;

    use framesim_parquet as file;

    use super::{Column, Failure, Field, Path, Sealed};
    use crate::experiment::tables::Kind;

    /// A file on its way.
    pub(in crate::experiment) struct Parquet {
        table: file::Table<Sealed>,
        kinds: Vec<Kind>,
        path: PathBuf,
    }

    impl Parquet {
        pub(in crate::experiment) fn create(path: &Path, columns: &[Column]) -> Result<Option<Parquet>, Failure> {
            let of_file = |column: &Column| file::Column { name: column.name.clone(), kind: kind(column.kind) };
            let of_file: Vec<file::Column> = columns.iter().map(of_file).collect();
            let table = file::Table::new(Sealed::create(path)?, &of_file).map_err(|error| unwritten(path, &error))?;
            let kinds = columns.iter().map(|column| column.kind).collect();
            Ok(Some(Parquet { table, kinds, path: path.to_owned() }))
        }

        pub(in crate::experiment) fn row<'f>(
            &mut self,
            fields: impl Iterator<Item = &'f Field<'f>>,
        ) -> Result<(), Failure> {
            let fields = self.kinds.iter().zip(fields).map(|(kind, row)| field(*kind, *row));
            self.table.row(fields).map_err(|error| unwritten(&self.path, &error))
        }

        pub(in crate::experiment) fn end(self) -> Result<Sealed, Failure> {
            self.table.finish().map_err(|error| unwritten(&self.path, &error))
        }
    }

    fn unwritten(path: &Path, error: &io::Error) -> Failure {
        Failure::at(path, "written", error)
    }

    fn kind(kind: Kind) -> file::Kind {
        match kind {
            Kind::Text => file::Kind::Text,
            Kind::Count => file::Kind::Count,
            Kind::Whole => file::Kind::Whole,
            Kind::Real => file::Kind::Real,
        }
    }

    fn field(kind: Kind, field: Field<'_>) -> file::Field<'_> {
        match (kind, field) {
            (Kind::Text, Field::Text(text)) => file::Field::Text(text),
            (Kind::Count, Field::Count(count)) => file::Field::Count(count),
            (Kind::Whole, Field::Text(text)) => file::Field::Whole(text.parse().expect("a column of whole numbers")),
            (Kind::Real, Field::Text(text)) => file::Field::Real(Some(text.parse().expect("a column of numbers"))),
            (Kind::Real, Field::Value(value)) => file::Field::Real(value.map(|value| value.to_f64())),
            (kind, field) => panic!("{field:?} in a column of {kind:?}"),
        }
    }
}

/// None: the program is built without the feature.
#[cfg(not(feature = "parquet"))]
pub(super) enum Parquet {}

#[cfg(not(feature = "parquet"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
impl Parquet {
    pub(super) fn create(_: &Path, _: &[Column]) -> Result<Option<Parquet>, Failure> {
        Ok(None)
    }

    pub(super) fn row<'f>(&mut self, _: impl Iterator<Item = &'f Field<'f>>) -> Result<(), Failure> {
        match *self {}
    }

    pub(super) fn end(self) -> Result<Sealed, Failure> {
        match self {}
    }
}
