//! The texts of a case: calls, places of blocks, rows of the series.

use std::io::Cursor;

use framesim_workloads::trace::{Call, Record, TraceError, TraceReader};

use super::super::BadCase;

/// All calls of a trace.
pub(super) fn calls(name: &str, trace: &str) -> Result<Vec<Record>, BadCase> {
    let bad = |error: TraceError| BadCase(error.to_string());
    let mut reader = TraceReader::from_source(name, Cursor::new(trace.as_bytes().to_vec())).map_err(bad)?;
    let mut calls = Vec::new();
    while let Some(record) = reader.next_record().map_err(bad)? {
        calls.push(record);
    }
    if calls.is_empty() {
        return Err(BadCase("the trace has no calls".to_owned()));
    }
    Ok(calls)
}

/// Bytes that a call asks for; `None` for a free.
pub(super) const fn bytes_asked(call: Call) -> Option<u64> {
    match call {
        Call::Malloc { bytes, .. } | Call::Realloc { bytes, .. } | Call::Aligned { bytes, .. } => Some(bytes),
        Call::Calloc { count, bytes, .. } => Some(count.saturating_mul(bytes)),
        Call::Free { .. } | Call::ThreadEnd => None,
    }
}

/// A call as a trace writes it, without its time.
pub(super) fn written(record: &Record) -> String {
    let id = record.id;
    match record.call {
        Call::Malloc { bytes, .. } => format!("m {id} {bytes}"),
        Call::Calloc { count, bytes, .. } => format!("c {id} {count} {bytes}"),
        Call::Realloc { bytes, .. } => format!("r {id} {bytes}"),
        Call::Aligned { align, bytes, .. } => format!("a {id} {align} {bytes}"),
        Call::Free { .. } => format!("f {id}"),
        Call::ThreadEnd => "x".to_owned(),
    }
}

/// Where a recording says a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// From the first break, or as an address.
    At(u64),
    /// From the first block that is marked so.
    FromFirst(i64),
}

impl Place {
    /// The page of an address.
    pub(super) const fn page(self) -> Place {
        match self {
            Place::At(at) => Place::At(at & !0xfff),
            from_first => from_first,
        }
    }
}

/// A line of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    pub id: u64,
    pub place: Place,
    pub usable: u64,
}

/// The places of blocks, in the order of the calls that returned them.
pub(super) fn recorded(addresses: &str) -> impl Iterator<Item = Result<Recorded, BadCase>> {
    addresses.lines().zip(1_u64..).map(|(text, line)| {
        recorded_line(text).ok_or_else(|| BadCase(format!("line {line} of the places is not one: {text}")))
    })
}

fn recorded_line(text: &str) -> Option<Recorded> {
    let mut words = text.split_ascii_whitespace();
    let id = words.next()?.parse().ok()?;
    let place = words.next()?;
    let place = match place.strip_prefix('M') {
        Some(from_first) => Place::FromFirst(i64::from_str_radix(from_first, 16).ok()?),
        None => Place::At(u64::from_str_radix(place, 16).ok()?),
    };
    Some(Recorded { id, place, usable: words.next()?.parse().ok()? })
}

/// A row of a series, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Calls made so far.
    pub calls: u64,
    pub live: u64,
    pub brk: u64,
    /// Less what was mapped before the first call; the break may have been lowered below that.
    pub mapped: i64,
    pub resident: i64,
}

/// The rows of a series.
pub(super) fn rows(series: &str) -> Result<Vec<Row>, BadCase> {
    let mut lines = series.lines();
    if lines.next() != Some("op,live,brk,mapped,resident") {
        return Err(BadCase("a series starts with the line op,live,brk,mapped,resident".to_owned()));
    }
    lines.map(|text| row(text).ok_or_else(|| BadCase(format!("not a row of a series: {text}")))).collect()
}

fn row(text: &str) -> Option<Row> {
    let mut cells = text.split(',');
    let mut cell = || cells.next()?.parse::<i64>().ok();
    let (calls, live, brk, mapped, resident) = (cell()?, cell()?, cell()?, cell()?, cell()?);
    let count = |cell: i64| u64::try_from(cell).ok();
    Some(Row { calls: count(calls)?, live: count(live)?, brk: count(brk)?, mapped, resident })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_without_calls_is_no_case() {
        assert_eq!(calls("none", "# heap trace v1\n").unwrap_err().to_string(), "the trace has no calls");
    }

    #[test]
    fn a_call_is_shown_as_the_trace_has_it() {
        let records = calls("two", "# heap trace v1\nt 1\nm 0 1 472\nr 5 2 1 900\nf 7 2\n").expect("a trace");
        assert_eq!(records.iter().map(written).collect::<Vec<_>>(), ["m 1 472", "r 2 900", "f 2"]);
    }

    #[test]
    fn places_are_offsets_or_signed_from_the_first_mapped_block() {
        let read: Vec<_> = recorded("1 2a0 472\n2 M-1000 139248\n").map(|line| line.map(|line| line.place)).collect();
        assert_eq!(read, [Ok(Place::At(0x2a0)), Ok(Place::FromFirst(-0x1000))]);
        assert!(recorded("1 xyz 4").next().is_some_and(|line| line.is_err()));
    }

    #[test]
    fn a_series_has_its_heading() {
        assert!(rows("1,2,3,4,5").is_err());
        let row = Row { calls: 1, live: 2, brk: 3, mapped: -4, resident: 5 };
        assert_eq!(rows("op,live,brk,mapped,resident\n1,2,3,-4,5\n"), Ok(vec![row]));
    }
}
