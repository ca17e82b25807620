//! The texts of a case: calls, places of blocks, rows of the series.

use super::super::BadCase;

/// One call of a heap trace; ids are those of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Malloc { id: u64, bytes: u64 },
    Calloc { id: u64, count: u64, bytes: u64 },
    Realloc { id: u64, old: u64, bytes: u64 },
    Aligned { id: u64, align: u64, bytes: u64 },
    Free { id: u64 },
}

impl Call {
    pub const fn id(self) -> u64 {
        match self {
            Call::Malloc { id, .. }
            | Call::Calloc { id, .. }
            | Call::Realloc { id, .. }
            | Call::Aligned { id, .. }
            | Call::Free { id } => id,
        }
    }

    /// Bytes asked for; `None` for a free.
    pub const fn bytes(self) -> Option<u64> {
        match self {
            Call::Malloc { bytes, .. } | Call::Realloc { bytes, .. } | Call::Aligned { bytes, .. } => Some(bytes),
            Call::Calloc { count, bytes, .. } => Some(count.saturating_mul(bytes)),
            Call::Free { .. } => None,
        }
    }
}

/// A call, its thread, and its line without the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TracedCall {
    pub thread: u32,
    pub call: Call,
    pub line: u64,
}

/// All calls of a trace (version 1, as text).
pub(super) fn calls(trace: &str) -> Result<Vec<TracedCall>, BadCase> {
    let mut calls = Vec::new();
    let mut thread = 0;
    for (text, line) in trace.lines().zip(1..) {
        let bad = || BadCase(format!("line {line} of the trace is not a call: {text}"));
        let mut words = text.split_ascii_whitespace();
        let kind = words.next().unwrap_or("#");
        if kind.starts_with('#') {
            continue;
        }
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or_else(bad);
        if kind == "t" {
            thread = u32::try_from(number()?).map_err(|_| bad())?;
            continue;
        }
        let _time_since = number()?;
        let id = number()?;
        let call = match kind {
            "m" => Call::Malloc { id, bytes: number()? },
            "c" => Call::Calloc { id, count: number()?, bytes: number()? },
            "r" => Call::Realloc { id, old: number()?, bytes: number()? },
            "a" => Call::Aligned { id, align: number()?, bytes: number()? },
            "f" => Call::Free { id },
            _ => return Err(bad()),
        };
        calls.push(TracedCall { thread, call, line });
    }
    if calls.is_empty() {
        return Err(BadCase("the trace has no calls".to_owned()));
    }
    Ok(calls)
}

/// Where a recording says a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// From the first break, or as an address.
    At(u64),
    /// From the first block that is marked so.
    FromFirst(i64),
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
    fn a_trace_is_read_with_its_threads() {
        let trace = "# heap trace v1\nt 0\nm 0 1 472\nt 3\nr 5 2 1 900\nf 7 2\n";
        let calls = calls(trace).expect("a trace");
        let shown: Vec<(u32, Call)> = calls.iter().map(|traced| (traced.thread, traced.call)).collect();
        let realloc = Call::Realloc { id: 2, old: 1, bytes: 900 };
        assert_eq!(shown, [(0, Call::Malloc { id: 1, bytes: 472 }), (3, realloc), (3, Call::Free { id: 2 })]);
    }

    #[test]
    fn a_line_that_is_no_call_is_named() {
        assert_eq!(calls("m 0 1\n").unwrap_err().to_string(), "line 1 of the trace is not a call: m 0 1");
        assert_eq!(calls("# nothing\n").unwrap_err().to_string(), "the trace has no calls");
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
