//! Records read before they are asked for, in blocks, on a thread of their own.
//!
//! **Invariant.** The records, and the error that may end them, are those of the [`TraceReader`], in its order: the thread
//! decides when they are read, never what is returned.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::{Record, TraceError, TraceReader};

/// Records handed over at once: as many as stay in a processor's own cache.
const BLOCK_RECORDS: usize = 1024;
/// Blocks that may wait.
const BLOCKS_WAITING: usize = 4;
/// Records read at once where there is no thread.
const RECORDS_IN_PLACE: usize = 64;

/// A trace of which the next records may have been read already.
pub struct ReadAhead {
    source: Source,
    block: Block,
    /// The next record of the block.
    at: usize,
    /// Records returned.
    taken: u64,
}

/// Some records, and how the trace ends if it ends with them.
#[derive(Default)]
struct Block {
    records: Vec<Record>,
    end: Option<Result<(), TraceError>>,
}

enum Source {
    Thread {
        blocks: Receiver<Block>,
        /// Empty lists on their way back.
        spent: SyncSender<Vec<Record>>,
    },
    InPlace(Box<TraceReader>),
    /// The trace has ended.
    Nothing,
}

impl fmt::Debug for ReadAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after record {}", self.taken)
    }
}

impl ReadAhead {
    /// Reads on a thread of its own, which ends when the trace does or when nobody listens any more. In place when the system
    /// has no thread to give.
    #[must_use]
    pub fn on_a_thread(reader: TraceReader) -> ReadAhead {
        let (sender, blocks) = sync_channel(BLOCKS_WAITING);
        let (spent, empty) = sync_channel(BLOCKS_WAITING + 2);
        // The reader goes to the thread only once there is one.
        let (to_thread, reader_of_thread) = sync_channel::<TraceReader>(1);
        let read = move || {
            if let Ok(reader) = reader_of_thread.recv() {
                read_all(reader, &sender, &empty);
            }
        };
        if thread::Builder::new().name("trace".to_owned()).spawn(read).is_err() {
            return ReadAhead::in_place(reader);
        }
        to_thread.send(reader).expect("the thread waits for its reader");
        ReadAhead::from(Source::Thread { blocks, spent })
    }

    /// Reads on the caller's thread, when records are asked for.
    #[must_use]
    pub fn in_place(reader: TraceReader) -> ReadAhead {
        ReadAhead::from(Source::InPlace(Box::new(reader)))
    }

    fn from(source: Source) -> ReadAhead {
        ReadAhead { source, block: Block::default(), at: 0, taken: 0 }
    }

    /// Records returned so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The next call; `None` at the end, and ever after.
    ///
    /// # Errors
    /// As [`TraceReader::next_record`]; after an error nothing comes.
    #[inline]
    pub fn next_record(&mut self) -> Result<Option<&Record>, TraceError> {
        if self.at == self.block.records.len() && !self.next_block()? {
            return Ok(None);
        }
        self.at += 1;
        self.taken += 1;
        Ok(Some(&self.block.records[self.at - 1]))
    }

    /// Gets more records; false when there are none.
    #[cold]
    fn next_block(&mut self) -> Result<bool, TraceError> {
        self.at = 0;
        self.block.records.clear();
        while self.block.records.is_empty() {
            if let Some(end) = self.block.end.take() {
                self.source = Source::Nothing;
                return end.map(|()| false);
            }
            match &mut self.source {
                Source::Thread { blocks, spent } => {
                    let next = blocks.recv().expect("the thread tells the end of the trace before it ends");
                    let old = std::mem::replace(&mut self.block, next);
                    // When the thread has enough lists, this one is dropped.
                    let _ = spent.try_send(old.records);
                }
                Source::InPlace(reader) => self.block.fill(reader, RECORDS_IN_PLACE),
                Source::Nothing => return Ok(false),
            }
        }
        Ok(true)
    }
}

impl Block {
    /// Reads up to `most` records.
    fn fill(&mut self, reader: &mut TraceReader, most: usize) {
        while self.records.len() < most {
            match reader.next_record() {
                Ok(Some(record)) => self.records.push(record),
                Ok(None) => return self.end = Some(Ok(())),
                Err(error) => return self.end = Some(Err(error)),
            }
        }
    }
}

fn read_all(mut reader: TraceReader, blocks: &SyncSender<Block>, spent: &Receiver<Vec<Record>>) {
    loop {
        let mut block = Block { records: spent.try_recv().unwrap_or_default(), end: None };
        block.records.clear();
        block.records.reserve(BLOCK_RECORDS);
        block.fill(&mut reader, BLOCK_RECORDS);
        let is_end = block.end.is_some();
        if blocks.send(block).is_err() || is_end {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::{self, Cursor, Read};
    use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError, channel};
    use std::time::Duration;

    use super::*;

    fn reader(text: &str) -> TraceReader {
        TraceReader::from_source("t.trace", Cursor::new(text.to_owned().into_bytes())).expect("the header is right")
    }

    fn text(calls: u64, last: &str) -> String {
        let mut text = "# heap trace v1\n".to_owned();
        for id in 1..=calls {
            writeln!(text, "m {} {id} {}", id % 7, id * 3).expect("a string grows");
        }
        text + last
    }

    /// All records and the error at the end, if any.
    fn all(mut next: impl FnMut() -> Result<Option<Record>, TraceError>) -> (Vec<Record>, Option<String>) {
        let mut records = Vec::new();
        loop {
            match next() {
                Ok(Some(record)) => records.push(record),
                Ok(None) => return (records, None),
                Err(error) => return (records, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn what_is_read_ahead_is_what_the_reader_reads() {
        for calls in [0, 1, 63, 64, 65, 1023, 1024, 1025, 5000] {
            for last in ["", "f 0 1\n", "f 0 999999\n", "m 0 x"] {
                let text = text(calls, last);
                let mut plain = reader(&text);
                let expected = all(|| plain.next_record());
                for mut ahead in [ReadAhead::on_a_thread(reader(&text)), ReadAhead::in_place(reader(&text))] {
                    let read = all(|| ahead.next_record().map(Option::<&Record>::copied));
                    assert_eq!(read, expected, "{calls} calls and {last:?}");
                    assert_eq!(ahead.taken(), expected.0.len() as u64);
                    assert!(matches!(ahead.next_record(), Ok(None)), "nothing comes after the end");
                }
            }
        }
    }

    /// A text that tells when nobody reads it any more: its sender goes with it.
    struct Told(Cursor<Vec<u8>>, #[expect(dead_code, reason = "only its end matters")] Sender<()>);

    impl Read for Told {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.0.read(out)
        }
    }

    #[test]
    fn a_thread_that_nobody_listens_to_ends() {
        let text = text(100_000, "");
        for taken in [0, 1, 3000] {
            let (sender, ended) = channel();
            let source = Told(Cursor::new(text.clone().into_bytes()), sender);
            let mut ahead = ReadAhead::on_a_thread(TraceReader::from_source("t.trace", source).expect("a trace"));
            for _ in 0..taken {
                ahead.next_record().expect("a sound trace");
            }
            assert_eq!(ended.try_recv(), Err(TryRecvError::Empty), "after {taken} records it reads on");
            drop(ahead);
            assert_eq!(ended.recv_timeout(Duration::from_secs(20)), Err(RecvTimeoutError::Disconnected));
        }
    }
}
