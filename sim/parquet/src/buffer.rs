//! The fields of one column in the current row group.

use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::Result;
use parquet::file::writer::SerializedColumnWriter;

use crate::{Field, Kind};

/// Texts that are handed over in one go.
const BATCH: usize = 1_024;
/// Texts that a new one is looked for among.
const LATEST: usize = 16;

pub(crate) enum Buffer {
    Text(Texts),
    /// The bits of a number without a sign.
    Count(Vec<i64>),
    Whole(Vec<i64>),
    Real {
        /// Those that are there.
        values: Vec<f64>,
        /// 1 for a value that is there, 0 for none.
        levels: Vec<i16>,
    },
}

/// Texts. One that was there a few texts before is kept once: most rows repeat the row before, or are one of a few.
#[derive(Default)]
pub(crate) struct Texts {
    values: Vec<ByteArray>,
    /// For each row the place of its text in `values`.
    rows: Vec<u32>,
}

impl Buffer {
    pub(crate) fn new(kind: Kind) -> Buffer {
        match kind {
            Kind::Text => Buffer::Text(Texts::default()),
            Kind::Count => Buffer::Count(Vec::new()),
            Kind::Whole => Buffer::Whole(Vec::new()),
            Kind::Real => Buffer::Real { values: Vec::new(), levels: Vec::new() },
        }
    }

    pub(crate) fn add(&mut self, field: Field<'_>) {
        match (self, field) {
            (Buffer::Text(texts), Field::Text(text)) => texts.add(text),
            (Buffer::Count(rows), Field::Count(count)) => rows.push(count.cast_signed()),
            (Buffer::Whole(rows), Field::Whole(number)) => rows.push(number),
            (Buffer::Real { values, levels }, Field::Real(value)) => {
                values.extend(value);
                levels.push(value.is_some().into());
            }
            (_, field) => panic!("{field:?} is not of its column's kind"),
        }
    }

    /// Hands the rows over, and forgets them.
    pub(crate) fn write(&mut self, to: &mut SerializedColumnWriter<'_>) -> Result<()> {
        match self {
            Buffer::Text(texts) => texts.write(to),
            Buffer::Count(rows) | Buffer::Whole(rows) => {
                write::<Int64Type>(to, rows, None)?;
                rows.clear();
                Ok(())
            }
            Buffer::Real { values, levels } => {
                write::<DoubleType>(to, values, Some(levels))?;
                values.clear();
                levels.clear();
                Ok(())
            }
        }
    }
}

impl Texts {
    fn add(&mut self, text: &str) {
        let known =
            self.values.iter().enumerate().rev().take(LATEST).find(|(_, known)| known.data() == text.as_bytes());
        let place = known.map_or(self.values.len(), |(place, _)| place);
        if place == self.values.len() {
            self.values.push(ByteArray::from(text));
        }
        self.rows.push(u32::try_from(place).expect("no more texts than rows of a group"));
    }

    fn write(&mut self, to: &mut SerializedColumnWriter<'_>) -> Result<()> {
        for rows in self.rows.chunks(BATCH) {
            let texts: Vec<ByteArray> = rows.iter().map(|place| self.values[*place as usize].clone()).collect();
            write::<ByteArrayType>(to, &texts, None)?;
        }
        *self = Texts::default();
        Ok(())
    }
}

fn write<T: DataType>(to: &mut SerializedColumnWriter<'_>, values: &[T::T], levels: Option<&[i16]>) -> Result<()> {
    to.typed::<T>().write_batch(values, levels, None).map(|_| ())
}
