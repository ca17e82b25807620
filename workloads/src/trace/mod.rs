//! Recorded heap calls: read in constant memory, checked record by record.
//!
//! Two formats are told apart by their first line:
//! - a heap trace, version 1: `# heap trace v1`, then one call a line (`m DT ID SIZE`, `c DT ID COUNT SIZE`, `r DT ID OLD SIZE`,
//!   `a DT ID ALIGN SIZE`, `f DT ID`, `x DT`; `t THREAD` says whose the calls after it are), plain, zstd or gzip. IDs rise; none is used twice.
//! - the `.rep` files of the malloc lab: four lines of numbers (heap size, ids, calls, weight), then `a ID SIZE`, `r ID SIZE`,
//!   `f ID`. An id may be used again once it is free.
//!
//! **Invariant.** A record that is returned is one a program could have made: what it frees or resizes is live. What is
//! not ends the trace with an error that says where; nothing is skipped.
//!
//! # Rules where a trace could mean two things
//! 1. Size 0 is a call like any other. So is a size beyond all memory: the heap refuses it.
//! 2. `r DT ID 0 SIZE` makes a block, as `realloc(NULL, SIZE)` does; `f -1` in a `.rep` is `free(NULL)`, which does nothing.
//! 3. Lines may end in CR LF, the last one in nothing; empty lines and comments are no records.
//! 4. A line has at most 64 KiB.
//! 5. `x` is the end of the thread that the calls around it are of. One that calls again has begun anew. A trace without such lines
//!    says nothing about ends, and none is made up.

mod ahead;
mod gzip;
pub mod import;
mod lines;
mod slots;
mod unpack;
pub mod write;
mod zstd;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use framesim_models::ThreadId;

use crate::requests::Slot;
use crate::spec::{THREADS_MOST, grouped};
use lines::{LINE_BYTES_MOST, LineError, Lines, NUMBERS_MOST, NumberError};
use slots::{ID_MOST, Slots};

pub use ahead::ReadAhead;
pub use unpack::{Packing, UnpackError, open_text};

/// The first line of a heap trace.
const HEADER: &[u8] = b"# heap trace v1";

/// One call of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds since the call before.
    pub gap_ns: u64,
    /// Who called.
    pub thread: ThreadId,
    /// The recording's own number of the block.
    pub id: u64,
    /// The call.
    pub call: Call,
}

/// What was called. Slots are dense: one that was freed is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `malloc(bytes)`.
    Malloc {
        /// Where the block goes.
        slot: Slot,
        /// Bytes.
        bytes: u64,
    },
    /// `calloc(count, bytes)`.
    Calloc {
        /// Where the block goes.
        slot: Slot,
        /// Elements.
        count: u64,
        /// Bytes of each.
        bytes: u64,
    },
    /// `memalign(align, bytes)` and its kin.
    Aligned {
        /// Where the block goes.
        slot: Slot,
        /// The alignment asked for.
        align: u64,
        /// Bytes.
        bytes: u64,
    },
    /// `realloc(block, bytes)`; the slot is empty for `realloc(NULL, bytes)`, else the block stays in it.
    Realloc {
        /// The slot.
        slot: Slot,
        /// Bytes.
        bytes: u64,
    },
    /// `free(block)`.
    Free {
        /// Where it was.
        slot: Slot,
    },
    /// The thread ends: no call, and of no block (the record's id is 0).
    ThreadEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Native,
    Rep { ids: u64, calls: u64 },
}

/// Reads a recording record by record.
pub struct TraceReader {
    lines: Lines,
    /// To read again for an error's cause; `None` for what cannot be read twice.
    file: Option<PathBuf>,
    name: String,
    format: Format,
    slots: Slots,
    thread: ThreadId,
    records: u64,
    /// The highest id so far.
    last_id: u64,
    /// Sum of all gaps.
    time_ns: u64,
}

impl fmt::Debug for TraceReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at record {}", self.name, self.records)
    }
}

impl TraceReader {
    /// Opens a trace and reads its header.
    ///
    /// # Errors
    /// When it cannot be opened or is no trace.
    pub fn open(path: &Path) -> Result<TraceReader, TraceError> {
        let name = path.display().to_string();
        let bytes = unpack::open_bytes(path).map_err(|error| TraceError::at_start(&name, Cause::Read(error)))?;
        let mut reader = TraceReader::of(&name, bytes)?;
        reader.file = Some(path.to_owned());
        Ok(reader)
    }

    /// A trace from any source of bytes, plain, zstd or gzip; `name` is for errors.
    ///
    /// # Errors
    /// When it is no trace.
    pub fn from_source(name: &str, source: impl Read + Send + 'static) -> Result<TraceReader, TraceError> {
        let bytes = unpack::unpacked(source).map_err(|error| TraceError::at_start(name, Cause::Read(error)))?;
        TraceReader::of(name, bytes)
    }

    fn of(name: &str, bytes: Box<dyn Read + Send>) -> Result<TraceReader, TraceError> {
        let mut reader = TraceReader {
            lines: Lines::of(bytes),
            file: None,
            name: name.to_owned(),
            format: Format::Native,
            slots: Slots::default(),
            thread: ThreadId(0),
            records: 0,
            last_id: 0,
            time_ns: 0,
        };
        match reader.header() {
            Ok(format) => reader.format = format,
            Err(cause) => return Err(reader.error(cause)),
        }
        Ok(reader)
    }

    /// Records read so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Blocks that are live now.
    #[must_use]
    pub fn live_blocks(&self) -> u64 {
        self.slots.live()
    }

    /// The next call; `None` at the end.
    ///
    /// # Errors
    /// What is wrong with it, and where. The trace ends there: every later call returns an error or `None`.
    #[inline]
    pub fn next_record(&mut self) -> Result<Option<Record>, TraceError> {
        let result = match self.format {
            Format::Native => self.native(),
            Format::Rep { ids, calls } => self.rep(ids, calls),
        };
        result.map_err(|cause| self.error(cause))
    }

    fn header(&mut self) -> Result<Format, Cause> {
        if !self.lines.begin()? {
            return Err(Cause::Empty);
        }
        if self.lines.peek().is_ascii_digit() {
            return self.rep_header();
        }
        let line = self.lines.rest();
        if line == HEADER {
            return Ok(Format::Native);
        }
        let line = excerpt(line);
        Err(if line.starts_with("# heap trace") { Cause::Version(line) } else { Cause::NoTrace(line) })
    }

    fn rep_header(&mut self) -> Result<Format, Cause> {
        let mut numbers = [0; 4];
        for (index, number) in numbers.iter_mut().enumerate() {
            if index > 0 && !self.lines.begin()? {
                return Err(Cause::RepHeader);
            }
            *number = self.lines.number().map_err(|_| Cause::RepHeader)?;
            if !self.lines.end_line() {
                return Err(Cause::RepHeader);
            }
        }
        let [_heap_bytes, ids, calls, _weight] = numbers;
        Ok(Format::Rep { ids, calls })
    }

    /// The next line that is a record: its letter is taken. Every other one is done.
    #[inline]
    fn next_letter(&mut self) -> Result<Option<u8>, Cause> {
        loop {
            if !self.lines.begin()? {
                return Ok(None);
            }
            let letter = self.lines.peek();
            match letter {
                b'#' => {
                    self.lines.rest();
                }
                b't' if self.format == Format::Native => {
                    self.lines.bump();
                    let thread = self.number("THREAD")?;
                    let number = u32::try_from(thread).ok().filter(|&number| number < THREADS_MOST);
                    self.thread = ThreadId(number.ok_or(Cause::Thread(thread))?);
                    self.end_line()?;
                }
                b'\n' | b'\r' => {
                    if !self.lines.end_line() {
                        return Err(self.unknown_line());
                    }
                }
                _ => {
                    self.lines.bump();
                    self.records += 1;
                    return Ok(Some(letter));
                }
            }
        }
    }

    #[inline]
    fn native(&mut self) -> Result<Option<Record>, Cause> {
        let (letter, [gap_ns, id, third, fourth]) = match self.lines.plain(|letter| fields_of(letter).len()) {
            Some(line) => {
                self.records += 1;
                line
            }
            None => match self.step_by_step()? {
                Some(line) => line,
                None => return Ok(None),
            },
        };
        self.time_ns = self.time_ns.checked_add(gap_ns).ok_or(Cause::Time)?;
        let call = match letter {
            b'm' => Call::Malloc { slot: self.new_block(id)?, bytes: third },
            b'f' => Call::Free { slot: self.freed_block(id)? },
            b'c' => Call::Calloc { slot: self.new_block(id)?, count: third, bytes: fourth },
            b'r' => Call::Realloc { slot: self.moved_block(id, third)?, bytes: fourth },
            b'x' => Call::ThreadEnd,
            _ => Call::Aligned { slot: self.new_block(id)?, align: third, bytes: fourth },
        };
        Ok(Some(Record { gap_ns, thread: self.thread, id, call }))
    }

    /// The next record of a heap trace that is not written as most are, or the last of what was read; `None` at the end.
    #[inline(never)]
    fn step_by_step(&mut self) -> Result<Option<(u8, [u64; NUMBERS_MOST])>, Cause> {
        let Some(letter) = self.next_letter()? else {
            return Ok(None);
        };
        let fields = fields_of(letter);
        if fields.is_empty() || !matches!(self.lines.peek(), b' ' | b'\t') {
            return Err(self.unknown_line());
        }
        let mut numbers = [0; NUMBERS_MOST];
        for (number, field) in numbers.iter_mut().zip(fields) {
            *number = self.number(field)?;
        }
        self.end_line()?;
        Ok(Some((letter, numbers)))
    }

    fn rep(&mut self, ids: u64, calls: u64) -> Result<Option<Record>, Cause> {
        let letter = loop {
            match self.next_letter()? {
                None if self.records == calls => return Ok(None),
                None => return Err(Cause::Calls { said: calls, found: self.records }),
                Some(b'f') if self.lines.starts_with(b" -1") => {
                    self.lines.rest();
                }
                Some(letter) => break letter,
            }
        };
        if !matches!(letter, b'a' | b'r' | b'f') || !matches!(self.lines.peek(), b' ' | b'\t') {
            return Err(self.unknown_line());
        }
        let id = self.number("ID")?;
        if id >= ids {
            return Err(Cause::IdBeyond { id, ids });
        }
        let call = match letter {
            b'a' => {
                let bytes = self.number("SIZE")?;
                let slot = self.slots.insert(self.within(id)?).ok_or(Cause::StillLive { id })?;
                Call::Malloc { slot, bytes }
            }
            b'r' => {
                let bytes = self.number("SIZE")?;
                Call::Realloc { slot: self.slots.find(id).ok_or(Cause::NotLive { what: "realloc", id })?, bytes }
            }
            _ => Call::Free { slot: self.freed_block(id)? },
        };
        self.end_line()?;
        Ok(Some(Record { gap_ns: 0, thread: ThreadId(0), id, call }))
    }

    fn within(&self, id: u64) -> Result<u64, Cause> {
        if id > ID_MOST { Err(Cause::IdTooHigh { id }) } else { Ok(id) }
    }

    #[inline]
    fn risen(&mut self, id: u64) -> Result<(), Cause> {
        if id <= self.last_id {
            return Err(if id == 0 { Cause::IdZero } else { Cause::NotRising { id, last: self.last_id } });
        }
        self.last_id = self.within(id)?;
        Ok(())
    }

    #[inline]
    fn new_block(&mut self, id: u64) -> Result<Slot, Cause> {
        self.risen(id)?;
        Ok(self.slots.insert(id).expect("an id above all others is not live"))
    }

    #[inline]
    fn freed_block(&mut self, id: u64) -> Result<Slot, Cause> {
        self.slots.remove(id, false).ok_or(Cause::NotLive { what: "free", id })
    }

    fn moved_block(&mut self, id: u64, old: u64) -> Result<Slot, Cause> {
        if old == 0 {
            return self.new_block(id);
        }
        self.risen(id)?;
        let slot = self.slots.remove(old, true).ok_or(Cause::NotLive { what: "realloc", id: old })?;
        self.slots.insert_at(id, slot).expect("an id above all others is not live");
        Ok(slot)
    }

    #[inline]
    fn number(&mut self, field: &'static str) -> Result<u64, Cause> {
        self.lines.number().map_err(|error| Cause::Number { field, error, rest: excerpt(self.lines.rest()) })
    }

    #[inline]
    fn end_line(&mut self) -> Result<(), Cause> {
        if self.lines.end_line() { Ok(()) } else { Err(Cause::More(excerpt(self.lines.rest()))) }
    }

    #[cold]
    fn unknown_line(&mut self) -> Cause {
        Cause::Letter(excerpt(self.lines.whole_line()))
    }

    #[cold]
    fn error(&mut self, cause: Cause) -> TraceError {
        let history = match cause {
            Cause::NotLive { id, .. } | Cause::NotRising { id, .. } | Cause::StillLive { id } => self.history(id),
            _ => History::default(),
        };
        let (name, record, line) = (self.name.clone(), self.records, self.lines.line());
        TraceError(Box::new(Facts { name, record, line, cause, history }))
    }

    /// What happened to a block before: the trace is read again up to here. Only for an error, which ends the reading.
    fn history(&self, id: u64) -> History {
        let Some(mut again) = self.file.as_deref().and_then(|file| TraceReader::open(file).ok()) else {
            return History::default();
        };
        let mut history = History { is_known: true, ..History::default() };
        while again.records + 1 < self.records {
            let before = again.slots.find(id).is_some();
            let Ok(Some(record)) = again.next_record() else { break };
            match (before, again.slots.find(id).is_some()) {
                (true, false) => history.ended = Some(record_kind(&record, again.records)),
                (false, true) => history.made = Some(again.records),
                _ => {}
            }
        }
        history
    }
}

/// What the numbers of a heap trace's line are, by its letter; nothing for what is no record.
const fn fields_of(letter: u8) -> &'static [&'static str] {
    match letter {
        b'm' => &["DT", "ID", "SIZE"],
        b'c' => &["DT", "ID", "COUNT", "SIZE"],
        b'r' => &["DT", "ID", "OLD", "SIZE"],
        b'a' => &["DT", "ID", "ALIGN", "SIZE"],
        b'f' => &["DT", "ID"],
        b'x' => &["DT"],
        _ => &[],
    }
}

/// The record and whether it was a `free`; else it was a realloc.
fn record_kind(record: &Record, number: u64) -> (u64, bool) {
    (number, matches!(record.call, Call::Free { .. }))
}

/// What happened to a block before an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct History {
    /// The trace could be read again.
    is_known: bool,
    /// The record that made it last.
    made: Option<u64>,
    /// The record that ended it last, and whether that was a free.
    ended: Option<(u64, bool)>,
}

/// Text of a line, cut where it is long.
fn excerpt(line: &[u8]) -> String {
    const SHOWN: usize = 40;
    let text = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).into_owned();
    let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if line.len() > SHOWN { format!("{text}..") } else { text }
}

/// Why a trace cannot be read on.
#[derive(Debug)]
pub struct TraceError(Box<Facts>);

#[derive(Debug)]
struct Facts {
    name: String,
    record: u64,
    line: u64,
    cause: Cause,
    history: History,
}

/// What sort of error: it decides about the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceErrorKind {
    /// The trace is not one, or is damaged: exit code 2.
    Input,
    /// It cannot be opened or read: exit code 5.
    Io,
    /// It is more than a trace can be: exit code 6.
    Limit,
}

#[derive(Debug)]
enum Cause {
    Read(io::Error),
    LineTooLong,
    Empty,
    NoTrace(String),
    Version(String),
    RepHeader,
    Letter(String),
    Number { field: &'static str, error: NumberError, rest: String },
    More(String),
    Thread(u64),
    Time,
    IdZero,
    IdTooHigh { id: u64 },
    IdBeyond { id: u64, ids: u64 },
    NotRising { id: u64, last: u64 },
    StillLive { id: u64 },
    NotLive { what: &'static str, id: u64 },
    Calls { said: u64, found: u64 },
}

impl From<LineError> for Cause {
    fn from(error: LineError) -> Cause {
        match error {
            LineError::Read(error) => Cause::Read(error),
            LineError::TooLong => Cause::LineTooLong,
        }
    }
}

impl TraceError {
    fn at_start(name: &str, cause: Cause) -> TraceError {
        let name = name.to_owned();
        TraceError(Box::new(Facts { name, record: 0, line: 0, cause, history: History::default() }))
    }

    /// What sort of error it is.
    #[must_use]
    pub fn kind(&self) -> TraceErrorKind {
        match &self.0.cause {
            Cause::Read(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<UnpackError>()) {
                Some(UnpackError::TooLarge(..)) => TraceErrorKind::Limit,
                Some(_) => TraceErrorKind::Input,
                None => TraceErrorKind::Io,
            },
            Cause::IdTooHigh { .. } => TraceErrorKind::Limit,
            _ => TraceErrorKind::Input,
        }
    }

    /// The record it is in, from 1; 0 before the first.
    #[must_use]
    pub fn record(&self) -> u64 {
        self.0.record
    }

    /// Its line in the text, from 1; 0 before the first.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.0.line
    }

    /// Where in the trace, for people.
    fn place(&self) -> String {
        match (&self.0.cause, self.0.record, self.0.line) {
            (Cause::Read(_), record, _) if record > 0 => format!("after record {}: ", grouped(record)),
            (_, _, 0) | (Cause::Read(_) | Cause::Empty, ..) => String::new(),
            (_, 0, line) => format!("line {}: ", grouped(line)),
            (_, record, line) => format!("record {} (line {}): ", grouped(record), grouped(line)),
        }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.0.name, self.place(), self.0.cause)?;
        match (self.0.history, &self.0.cause) {
            (History { ended: Some((record, true)), .. }, Cause::NotLive { .. }) => {
                write!(f, "\n  it was freed by record {}", grouped(record))
            }
            (History { ended: Some((record, false)), .. }, Cause::NotLive { .. }) => {
                write!(f, "\n  it was moved by record {}, a realloc", grouped(record))
            }
            (History { is_known: true, made: None, .. }, Cause::NotLive { .. }) => write!(f, "\n  no record made it"),
            (History { made: Some(record), .. }, Cause::NotRising { .. } | Cause::StillLive { .. }) => {
                write!(f, "\n  it was made by record {}", grouped(record))
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for TraceError {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Read(error) => write!(f, "{error}"),
            Cause::LineTooLong => write!(f, "the line has more than {} bytes", grouped(LINE_BYTES_MOST as u64)),
            Cause::Empty => f.write_str("the trace is empty"),
            Cause::NoTrace(line) => {
                write!(f, "`{line}` starts no trace; a heap trace starts with `# heap trace v1`, a .rep with a number")
            }
            Cause::Version(line) => write!(f, "`{line}` is a version that is not known; version 1 is"),
            Cause::RepHeader => {
                f.write_str("a .rep starts with four lines of one number: heap size, ids, calls, weight")
            }
            Cause::Letter(line) => write!(f, "`{line}` is no record"),
            Cause::Number { field, error, rest } => match error {
                NumberError::Missing => write!(f, "{field} is missing"),
                NumberError::NotANumber => write!(f, "{field} is no whole number, at `{rest}`"),
                NumberError::TooLarge => write!(f, "{field} is more than {}", grouped(u64::MAX)),
            },
            Cause::More(rest) => write!(f, "`{rest}` is more than the record needs"),
            Cause::Thread(thread) => {
                write!(f, "thread {} is more than {}", grouped(*thread), grouped((THREADS_MOST - 1).into()))
            }
            Cause::Time => write!(f, "the times add up to more than {} ns", grouped(u64::MAX)),
            Cause::IdZero => f.write_str("a block is numbered 0; the first one is 1"),
            Cause::IdTooHigh { id } => write!(f, "block {} is numbered above {}", grouped(*id), grouped(ID_MOST)),
            Cause::IdBeyond { id, ids } => {
                write!(f, "block {}, but the header says {} ids", grouped(*id), grouped(*ids))
            }
            Cause::NotRising { id, last } => {
                write!(
                    f,
                    "block {} after block {}: the numbers rise, and none is used twice",
                    grouped(*id),
                    grouped(*last)
                )
            }
            Cause::StillLive { id } => write!(f, "block {} is live already", grouped(*id)),
            Cause::NotLive { what, id } => write!(f, "{what} of block {}, which is not live", grouped(*id)),
            Cause::Calls { said, found } => {
                write!(f, "the trace ends after call {}, but its header says {}", grouped(*found), grouped(*said))
            }
        }
    }
}
