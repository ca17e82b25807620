//! Heap traces as they are written: from calls with addresses to calls with numbers.
//!
//! **Invariant.** What is written can be read: a block that is freed or resized is live, numbers rise, gaps are not negative. A
//! call of the source that would break this is counted, not written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::HEADER;
use super::slots::ID_MOST;

/// Writes a heap trace, version 1.
pub struct TraceWriter<W: Write> {
    out: W,
    /// Live blocks by their address in the source.
    live: BTreeMap<u64, Block>,
    now_ns: u64,
    /// Time of the last line written.
    written_ns: u64,
    thread: u32,
    written_thread: Option<u32>,
    threads: BTreeSet<u32>,
    started_ns: Option<u64>,
    live_bytes: u64,
    last_id: u64,
    totals: Totals,
}

/// A live block, or one that a `realloc` has in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    id: u64,
    bytes: u64,
}

/// What was written, and what could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls written.
    pub calls: u64,
    /// Threads that made them.
    pub threads: u64,
    /// Nanoseconds from the first to the last.
    pub span_ns: u64,
    /// The most bytes that were live at once, as they were asked for.
    pub peak_bytes: u64,
    /// Blocks that are live at the end.
    pub live_at_end: u64,
    /// Calls that were refused, with no effect.
    pub refused: u64,
    /// Frees and resizings of blocks that no record made.
    pub unknown: u64,
    /// Frees that are missing: their place was given out again. They are written just before that.
    pub inferred: u64,
}

/// Why a trace cannot be written on.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// More blocks than a trace can number.
    #[error("more than 4,294,967,295 blocks: a trace cannot number them")]
    TooManyBlocks,
}

impl<W: Write> TraceWriter<W> {
    /// Starts a trace, with these lines of comment.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new<'a>(mut out: W, comments: impl IntoIterator<Item = &'a str>) -> io::Result<TraceWriter<W>> {
        out.write_all(HEADER)?;
        out.write_all(b"\n")?;
        for comment in comments {
            let line = comment.replace(|letter: char| letter.is_control(), " ");
            // A line of a trace has at most 64 KiB.
            let line: String = line.chars().take(4000).collect();
            writeln!(out, "# {line}")?;
        }
        Ok(TraceWriter {
            out,
            live: BTreeMap::new(),
            now_ns: 0,
            written_ns: 0,
            thread: 0,
            written_thread: None,
            threads: BTreeSet::new(),
            started_ns: None,
            live_bytes: 0,
            last_id: 0,
            totals: Totals::default(),
        })
    }

    /// When the next call happens, on any clock, and who makes it. A time before the last call's counts as that one's.
    pub fn at(&mut self, time_ns: u64, thread: u32) {
        let started = *self.started_ns.get_or_insert(time_ns);
        self.now_ns = self.now_ns.max(time_ns.saturating_sub(started));
        self.thread = thread;
    }

    /// `malloc(bytes)` gave the block at `address`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn malloc(&mut self, address: u64, bytes: u64) -> Result<(), WriteError> {
        let id = self.born(address, bytes)?;
        let gap = self.gap();
        Ok(writeln!(self.out, "m {gap} {id} {bytes}")?)
    }

    /// `calloc(count, bytes)` gave the block at `address`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn calloc(&mut self, address: u64, count: u64, bytes: u64) -> Result<(), WriteError> {
        let id = self.born(address, count.saturating_mul(bytes))?;
        let gap = self.gap();
        Ok(writeln!(self.out, "c {gap} {id} {count} {bytes}")?)
    }

    /// `memalign(align, bytes)` or its kin gave the block at `address`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn aligned(&mut self, address: u64, align: u64, bytes: u64) -> Result<(), WriteError> {
        let id = self.born(address, bytes)?;
        let gap = self.gap();
        Ok(writeln!(self.out, "a {gap} {id} {align} {bytes}")?)
    }

    /// `free` of the block at `address`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn free(&mut self, address: u64) -> Result<(), WriteError> {
        match self.take(address) {
            Some(block) => self.freed(block),
            None => {
                self.totals.unknown += 1;
                Ok(())
            }
        }
    }

    /// Takes the block at `address` in hand, for a `realloc` that has begun: its place can be given out from now on.
    pub fn take(&mut self, address: u64) -> Option<Block> {
        self.live.remove(&address)
    }

    /// The `realloc` that has it in hand was refused: the block is where it was.
    pub fn put_back(&mut self, address: u64, block: Option<Block>) {
        if let Some(block) = block {
            self.live.insert(address, block);
        }
    }

    /// What was in hand is no more.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn freed(&mut self, block: Block) -> Result<(), WriteError> {
        self.begin_record()?;
        self.live_bytes = self.live_bytes.saturating_sub(block.bytes);
        let gap = self.gap();
        Ok(writeln!(self.out, "f {gap} {}", block.id)?)
    }

    /// `realloc(old, bytes)` gave the block at `address`; a block that nobody knew is new with it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn moved(&mut self, old: Option<Block>, address: u64, bytes: u64) -> Result<(), WriteError> {
        let Some(old) = old else {
            self.totals.unknown += 1;
            return self.malloc(address, bytes);
        };
        self.live_bytes = self.live_bytes.saturating_sub(old.bytes);
        let id = self.born(address, bytes)?;
        let gap = self.gap();
        Ok(writeln!(self.out, "r {gap} {id} {} {bytes}", old.id)?)
    }

    /// The thread ends. One that made no call is passed over.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn thread_ends(&mut self) -> Result<(), WriteError> {
        if !self.threads.contains(&self.thread) {
            return Ok(());
        }
        self.begin_line()?;
        let gap = self.gap();
        Ok(writeln!(self.out, "x {gap}")?)
    }

    /// A call that had no effect.
    pub fn refused(&mut self) {
        self.totals.refused += 1;
    }

    /// Calls written so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            threads: self.threads.len() as u64,
            span_ns: self.written_ns,
            live_at_end: self.live.len() as u64,
            ..self.totals
        }
    }

    /// Ends the trace with a line of totals; `more` is added to it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self, more: &str) -> io::Result<(W, Totals)> {
        let totals = self.totals();
        writeln!(
            self.out,
            "# ops {} threads {} unknown_frees {} live_at_end {} inferred_frees {} refused {}{more}",
            totals.calls, totals.threads, totals.unknown, totals.live_at_end, totals.inferred, totals.refused,
        )?;
        Ok((self.out, totals))
    }

    /// A new block, in a place that must be free: a block that is known to be there was freed without a record of it.
    fn born(&mut self, address: u64, bytes: u64) -> Result<u64, WriteError> {
        if let Some(lost) = self.take(address) {
            self.totals.inferred += 1;
            self.freed(lost)?;
        }
        if self.last_id == ID_MOST {
            return Err(WriteError::TooManyBlocks);
        }
        self.begin_record()?;
        self.last_id += 1;
        self.live.insert(address, Block { id: self.last_id, bytes });
        self.live_bytes = self.live_bytes.saturating_add(bytes);
        self.totals.peak_bytes = self.totals.peak_bytes.max(self.live_bytes);
        Ok(self.last_id)
    }

    fn begin_record(&mut self) -> io::Result<()> {
        self.totals.calls += 1;
        self.begin_line()
    }

    fn begin_line(&mut self) -> io::Result<()> {
        if self.written_thread != Some(self.thread) {
            writeln!(self.out, "t {}", self.thread)?;
            self.written_thread = Some(self.thread);
            self.threads.insert(self.thread);
        }
        Ok(())
    }

    /// Time since the last record.
    fn gap(&mut self) -> u64 {
        let gap = self.now_ns - self.written_ns;
        self.written_ns = self.now_ns;
        gap
    }
}

/// Bytes of text in one zstd frame.
const FRAME_BYTES: usize = 4 << 20;

/// Packs what is written with zstd, in frames of 4 MiB: what was written before an error can be read.
pub struct Packed<W: Write> {
    out: W,
    text: Vec<u8>,
}

impl<W: Write> Packed<W> {
    /// Packs into `out`.
    pub fn new(out: W) -> Packed<W> {
        Packed { out, text: Vec::with_capacity(FRAME_BYTES) }
    }

    /// Packs what is left.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.pack()?;
        Ok(self.out)
    }

    fn pack(&mut self) -> io::Result<()> {
        if !self.text.is_empty() {
            self.out.write_all(&compress_to_vec(self.text.as_slice(), CompressionLevel::Fastest))?;
            self.text.clear();
        }
        Ok(())
    }
}

impl<W: Write> Write for Packed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(FRAME_BYTES - self.text.len());
        self.text.extend_from_slice(&bytes[..count]);
        if self.text.len() == FRAME_BYTES {
            self.pack()?;
        }
        Ok(count)
    }

    /// A frame ends only where it is full.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::trace::{Call, TraceReader};

    fn written(make: impl FnOnce(&mut TraceWriter<Vec<u8>>) -> Result<(), WriteError>) -> (String, Totals) {
        let mut writer = TraceWriter::new(Vec::new(), ["a test"]).expect("memory can be written");
        make(&mut writer).expect("memory can be written");
        let (bytes, totals) = writer.finish("").expect("memory can be written");
        let text = String::from_utf8(bytes.clone()).expect("text");
        let mut reader = TraceReader::from_source("written", io::Cursor::new(bytes)).expect("a header");
        let mut calls = 0;
        while let Some(record) = reader.next_record().expect("what is written can be read") {
            calls += u64::from(record.call != Call::ThreadEnd);
        }
        assert_eq!((calls, reader.live_blocks()), (totals.calls, totals.live_at_end));
        (text, totals)
    }

    #[test]
    fn addresses_become_numbers() {
        let (text, totals) = written(|trace| {
            trace.at(1_000, 0);
            trace.malloc(0x10, 100)?;
            trace.at(1_020, 1);
            trace.calloc(0x20, 3, 8)?;
            trace.at(1_050, 0);
            let old = trace.take(0x10);
            trace.moved(old, 0x30, 200)?;
            trace.aligned(0x40, 64, 10)?;
            trace.free(0x20)
        });
        assert_snapshot!(text, @"
        # heap trace v1
        # a test
        t 0
        m 0 1 100
        t 1
        c 20 2 3 8
        t 0
        r 30 3 1 200
        a 0 4 64 10
        f 0 2
        # ops 5 threads 2 unknown_frees 0 live_at_end 2 inferred_frees 0 refused 0
        ");
        assert_eq!((totals.peak_bytes, totals.span_ns), (234, 50));
    }

    #[test]
    fn what_was_lost_is_counted_and_the_rest_can_be_read() {
        let (text, totals) = written(|trace| {
            trace.free(0x50)?;
            trace.malloc(0x10, 1)?;
            trace.malloc(0x10, 2)?;
            let nobody = trace.take(0x60);
            trace.moved(nobody, 0x70, 3)
        });
        assert_snapshot!(text, @"
        # heap trace v1
        # a test
        t 0
        m 0 1 1
        f 0 1
        m 0 2 2
        m 0 3 3
        # ops 4 threads 1 unknown_frees 2 live_at_end 2 inferred_frees 1 refused 0
        ");
        assert_eq!((totals.unknown, totals.inferred), (2, 1));
    }

    #[test]
    fn ends_of_threads_are_no_calls() {
        let (text, totals) = written(|trace| {
            trace.at(0, 1);
            trace.malloc(1, 1)?;
            trace.at(10, 0);
            trace.malloc(2, 1)?;
            trace.at(15, 1);
            trace.thread_ends()?;
            trace.at(16, 2);
            trace.thread_ends()
        });
        assert_snapshot!(text, @"
        # heap trace v1
        # a test
        t 1
        m 0 1 1
        t 0
        m 10 2 1
        t 1
        x 5
        # ops 2 threads 2 unknown_frees 0 live_at_end 2 inferred_frees 0 refused 0
        ");
        assert_eq!((totals.calls, totals.threads, totals.span_ns), (2, 2, 15));
    }

    #[test]
    fn a_clock_that_goes_back_stands_still() {
        let (text, _) = written(|trace| {
            trace.at(100, 0);
            trace.malloc(1, 1)?;
            trace.at(90, 0);
            trace.malloc(2, 1)?;
            trace.at(107, 0);
            trace.malloc(3, 1)
        });
        assert!(text.contains("m 0 1 1\nm 0 2 1\nm 7 3 1\n"), "{text}");
    }

    #[test]
    fn a_comment_stays_on_its_line() {
        let writer = TraceWriter::new(Vec::new(), ["one\nm 0 1 1"]).expect("memory can be written");
        let (bytes, _) = writer.finish("").expect("memory can be written");
        assert!(bytes.starts_with(b"# heap trace v1\n# one m 0 1 1\n# ops 0"));
    }

    #[test]
    fn packed_text_comes_back_whole() {
        let text: Vec<u8> = (0..900_000_u32).flat_map(|n| format!("m 0 {n} 16\n").into_bytes()).collect();
        let mut packed = Packed::new(Vec::new());
        packed.write_all(&text).expect("memory can be written");
        let bytes = packed.finish().expect("memory can be written");
        assert!(bytes.len() < text.len() / 2, "{} of {}", bytes.len(), text.len());
        let mut back = Vec::new();
        let mut reader = crate::trace::unpack::unpacked(io::Cursor::new(bytes)).expect("zstd");
        io::Read::read_to_end(&mut reader, &mut back).expect("undamaged");
        assert!(back == text);
    }
}
