//! Records read before they are asked for, in blocks, on a thread of their own.
//!
//! **Invariant.** The records, and the error that may end them, are those of the [`TraceReader`], in its order: the thread
//! decides when they are read, never what is returned.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::{Record, TraceError, TraceReader};

/// Records handed over at once: so many that waking the other thread costs next to nothing for each.
const BLOCK_RECORDS: usize = 4096;
/// Blocks that may wait.
const BLOCKS_WAITING: usize = 3;
/// Records read at once where there is no thread.
const RECORDS_IN_PLACE: usize = 64;

/// A trace of which the next records may have been read already, each as what its user wants it to be.
pub struct ReadAhead<T> {
    source: Source<T>,
    block: Block<T>,
    /// The next record of the block.
    at: usize,
    /// Records returned.
    taken: u64,
}

/// Some records, and how the trace ends if it ends with them.
struct Block<T> {
    records: Vec<T>,
    end: Option<Result<(), TraceError>>,
}

/// Puts records into an empty list, so many at most; says how the trace ends if it ends with them.
type Fill<T> = Box<dyn FnMut(&mut Vec<T>, usize) -> Option<Result<(), TraceError>> + Send>;

enum Source<T> {
    Thread {
        blocks: Receiver<Block<T>>,
        /// Empty lists on their way back.
        spent: SyncSender<Vec<T>>,
    },
    InPlace(Fill<T>),
    /// The trace has ended.
    Nothing,
}

impl<T> fmt::Debug for ReadAhead<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after record {}", self.taken)
    }
}

impl<T: Send + 'static> ReadAhead<T> {
    /// Reads on a thread of its own, which ends when the trace does or when nobody listens any more; in place when the system
    /// has no thread to give. Each record becomes what `convert` makes of it.
    #[must_use]
    pub fn on_a_thread(reader: TraceReader, convert: impl Fn(&Record) -> T + Send + 'static) -> ReadAhead<T> {
        let (sender, blocks) = sync_channel(BLOCKS_WAITING);
        let (spent, empty) = sync_channel(BLOCKS_WAITING + 2);
        // The reader goes to the thread only once there is one.
        let (to_thread, fill_of_thread) = sync_channel::<Fill<T>>(1);
        let read = move || {
            if let Ok(fill) = fill_of_thread.recv() {
                read_all(fill, &sender, &empty);
            }
        };
        let fill = fill_from(reader, convert);
        if thread::Builder::new().name("trace".to_owned()).spawn(read).is_err() {
            return ReadAhead::from(Source::InPlace(fill));
        }
        to_thread.send(fill).expect("the thread waits for its reader");
        ReadAhead::from(Source::Thread { blocks, spent })
    }

    /// Reads on the caller's thread, when records are asked for.
    #[must_use]
    pub fn in_place(reader: TraceReader, convert: impl Fn(&Record) -> T + Send + 'static) -> ReadAhead<T> {
        ReadAhead::from(Source::InPlace(fill_from(reader, convert)))
    }

    fn from(source: Source<T>) -> ReadAhead<T> {
        ReadAhead { source, block: Block { records: Vec::new(), end: None }, at: 0, taken: 0 }
    }

    /// Records returned so far.
    #[inline]
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The next call; `None` at the end, and ever after.
    ///
    /// # Errors
    /// As [`TraceReader::next_record`]; after an error nothing comes.
    #[inline]
    pub fn next_record(&mut self) -> Result<Option<&T>, TraceError> {
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
                Source::InPlace(fill) => self.block.end = fill(&mut self.block.records, RECORDS_IN_PLACE),
                Source::Nothing => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn fill_from<T>(mut reader: TraceReader, convert: impl Fn(&Record) -> T + Send + 'static) -> Fill<T> {
    Box::new(move |records, most| {
        while records.len() < most {
            match reader.next_record() {
                Ok(Some(record)) => records.push(convert(&record)),
                Ok(None) => return Some(Ok(())),
                Err(error) => return Some(Err(error)),
            }
        }
        None
    })
}

fn read_all<T>(mut fill: Fill<T>, blocks: &SyncSender<Block<T>>, spent: &Receiver<Vec<T>>) {
    loop {
        let mut records = spent.try_recv().unwrap_or_default();
        records.clear();
        records.reserve(BLOCK_RECORDS);
        let end = fill(&mut records, BLOCK_RECORDS);
        let is_end = end.is_some();
        if blocks.send(Block { records, end }).is_err() || is_end {
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
        for calls in [0, 1, 63, 64, 65, 4095, 4096, 4097, 9000] {
            for last in ["", "f 0 1\n", "f 0 999999\n", "m 0 x"] {
                let text = text(calls, last);
                let mut plain = reader(&text);
                let expected = all(|| plain.next_record());
                let (thread, place) = (reader(&text), reader(&text));
                let copy = Record::clone;
                for mut ahead in [ReadAhead::on_a_thread(thread, copy), ReadAhead::in_place(place, copy)] {
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
        for taken in [0, 1, 9000] {
            let (sender, ended) = channel();
            let source = Told(Cursor::new(text.clone().into_bytes()), sender);
            let reader = TraceReader::from_source("t.trace", source).expect("a trace");
            let mut ahead = ReadAhead::on_a_thread(reader, |record| record.id);
            for _ in 0..taken {
                ahead.next_record().expect("a sound trace");
            }
            assert_eq!(ended.try_recv(), Err(TryRecvError::Empty), "after {taken} records it reads on");
            drop(ahead);
            assert_eq!(ended.recv_timeout(Duration::from_secs(20)), Err(RecvTimeoutError::Disconnected));
        }
    }
}
