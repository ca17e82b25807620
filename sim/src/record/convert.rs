//! From raw records to a heap trace.
//!
//! # Rules
//! 1. A process that was forked starts with its parent's blocks: its trace is the parent's up to the fork, then its own.
//! 2. A `realloc` is written where it returned. From where it was called on, the block's old place can be another's.
//! 3. A `realloc` to 0 bytes that gave nothing is a free. Calls that were refused are counted, not written.
//! 4. The end of a thread is written; what its threads' data do to the heap when they go, after that, as calls of a new thread of that number.
//! 5. A record that was begun and not finished is the last thing its thread did: it is counted, not written.

use std::collections::BTreeMap;
use std::io::Write;

use framesim_workloads::trace::write::{Block, Totals, TraceWriter, WriteError};

use super::raw;
use super::raw_file::{RawError, RawFile, RawRecord};

/// What came of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// What was written.
    pub totals: Totals,
    /// Records that were begun and not finished.
    pub unfinished: u64,
    /// Calls that the raw file could not take.
    pub lost: u64,
}

/// Writes the heap trace of a process from the raw files of its [lineage](super::Folder::lineage).
///
/// # Errors
/// When a file is damaged or cannot be read, or the trace cannot be written.
pub fn convert<W: Write>(lineage: &[(&RawFile, u64)], out: W) -> Result<(W, Converted), RawError> {
    let program = lineage.last().map_or_else(String::new, |(file, _)| file.command_line());
    let comment = format!("recorded by framesim {} from: {program}", env!("CARGO_PKG_VERSION"));
    let mut converter = Converter {
        trace: TraceWriter::new(out, [comment.as_str()]).map_err(WriteError::from)?,
        in_hand: BTreeMap::new(),
        unfinished: 0,
    };
    let mut lost = 0;
    for (file, count) in lineage {
        converter.file(file, *count)?;
        lost += if *count == file.records { file.lost } else { 0 };
    }
    let unfinished = converter.unfinished;
    let more = format!(" unfinished {unfinished} lost {lost}");
    let (out, totals) = converter.trace.finish(&more).map_err(WriteError::from)?;
    Ok((out, Converted { totals, unfinished, lost }))
}

struct Converter<W: Write> {
    trace: TraceWriter<W>,
    /// By thread, the block that its `realloc` took: where it was, and what is known of it.
    in_hand: BTreeMap<u64, (u64, Option<Block>)>,
    unfinished: u64,
}

impl<W: Write> Converter<W> {
    fn file(&mut self, file: &RawFile, count: u64) -> Result<(), RawError> {
        let mut records = file.read(count)?;
        while let Some(record) = records.next()? {
            if !self.record(record)? {
                let (path, record, kind) = (file.path.clone(), records.number(), record.kind);
                return Err(RawError::Damaged { path, record, kind });
            }
        }
        // Only the thread that forks lives on in the child; the blocks that others had in hand stay where they were.
        for (_, (address, block)) in std::mem::take(&mut self.in_hand) {
            self.trace.put_back(address, block);
        }
        Ok(())
    }

    /// False when there is no such call.
    fn record(&mut self, record: RawRecord) -> Result<bool, WriteError> {
        let RawRecord { kind, thread, time_ns, address, size, more } = record;
        if kind == 0 {
            self.unfinished += 1;
            return Ok(true);
        }
        self.trace.at(time_ns, u32::try_from(thread).unwrap_or(u32::MAX));
        match (kind, address) {
            (raw::MALLOC | raw::CALLOC | raw::ALIGNED, 0) => self.trace.refused(),
            (raw::MALLOC, at) => self.trace.malloc(at, size)?,
            (raw::CALLOC, at) => self.trace.calloc(at, more, size)?,
            (raw::ALIGNED, at) => self.trace.aligned(at, more, size)?,
            (raw::FREE, at) => self.trace.free(at)?,
            (raw::THREAD_END, _) => self.trace.thread_ends()?,
            (raw::REALLOC, at) => {
                let block = self.trace.take(at);
                self.in_hand.insert(thread, (at, block));
            }
            (raw::REALLOCATED, at) => {
                // The record of its beginning was lost when it is not in hand.
                let (old, block) = self.in_hand.remove(&thread).unwrap_or_else(|| (more, self.trace.take(more)));
                self.reallocated(old, block, at, size)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn reallocated(&mut self, old: u64, block: Option<Block>, at: u64, size: u64) -> Result<(), WriteError> {
        match (at, size, block) {
            (0, 0, Some(block)) => self.trace.freed(block),
            // Nobody knew the block: this counts it.
            (0, 0, None) => self.trace.free(old),
            (0, ..) => {
                self.trace.put_back(old, block);
                self.trace.refused();
                Ok(())
            }
            (at, size, block) => self.trace.moved(block, at, size),
        }
    }
}
