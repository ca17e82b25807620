//! The layout of a raw recording, for the library that writes it and the command that reads it.
//!
//! A header of [`HEADER_BYTES`], then records of [`RECORD_WORDS`] words, all words 64 bits, little-endian. The header's
//! words are named below; from [`COMMAND_AT`] on it has the command line, words ended by a zero byte. A record whose first word is
//! 0 was begun and never finished: its process was killed in between.
//!
//! **Invariant.** A record's first word is written last.

/// First word of the file.
pub const MAGIC: u64 = u64::from_le_bytes(*b"framesim");
/// Second word: the version of this layout.
pub const VERSION: u64 = 1;

/// Bytes before the first record; whole pages for every size of page.
pub const HEADER_BYTES: u64 = 64 << 10;
/// Words of the header in use.
pub const HEADER_WORDS: u64 = 16;
/// Where the command line starts.
pub const COMMAND_AT: u64 = 4096;
/// Bytes of the command line at most.
pub const COMMAND_BYTES: u64 = 4096;

/// Header: [`MAGIC`].
pub const MAGIC_WORD: u64 = 0;
/// Header: [`VERSION`].
pub const VERSION_WORD: u64 = 1;
/// Header: the process.
pub const PID_WORD: u64 = 2;
/// Header: which of the images that this process ran, from 0.
pub const IMAGE_WORD: u64 = 3;
/// Header: the process it was forked from; 0 for an image started by exec.
pub const PARENT_WORD: u64 = 4;
/// Header: the image of that process.
pub const PARENT_IMAGE_WORD: u64 = 5;
/// Header: records of the parent's file that came before the fork.
pub const PARENT_RECORDS_WORD: u64 = 6;
/// Header: nanoseconds on the machine's monotonic clock when the file was begun.
pub const STARTED_WORD: u64 = 7;
/// Header: places taken for records so far.
pub const TAKEN_WORD: u64 = 8;
/// Header: calls that could not be written.
pub const LOST_WORD: u64 = 9;
/// Header: why nothing more was written, one of the `STOP_` numbers; 0 while all is well.
pub const STOP_WORD: u64 = 10;
/// Header: the system's number of the error that stopped it.
pub const STOP_ERROR_WORD: u64 = 11;

/// Stopped: the file cannot be opened again (the program changed its root, its user, or is in a sandbox).
pub const STOP_OPEN: u64 = 1;
/// Stopped: the file cannot grow (disk full, a limit on the size of files).
pub const STOP_GROW: u64 = 2;
/// Stopped: it cannot be mapped (a limit on address space).
pub const STOP_MAP: u64 = 3;
/// Stopped: it has as many records as a file can have.
pub const STOP_FULL: u64 = 4;

/// Words of a record: kind and thread, time, address, size, and one more number.
pub const RECORD_WORDS: u64 = 5;
/// Bytes of a record.
pub const RECORD_BYTES: u64 = RECORD_WORDS * 8;
/// Records of a file at most.
pub const RECORDS_MOST: u64 = 1 << 30;

/// `malloc(size)` gave `address`; 0 when it was refused.
pub const MALLOC: u64 = 1;
/// `calloc(more, size)` gave `address`; 0 when it was refused.
pub const CALLOC: u64 = 2;
/// `memalign(more, size)` or its kin gave `address`; 0 when it was refused.
pub const ALIGNED: u64 = 3;
/// `free(address)`, about to happen.
pub const FREE: u64 = 4;
/// `realloc(address, size)`, about to happen.
pub const REALLOC: u64 = 5;
/// The thread's last `REALLOC`, of block `more`, gave `address`; 0 when it was refused or freed the block.
pub const REALLOCATED: u64 = 6;

/// The thread ended.
pub const THREAD_END: u64 = 7;

/// The first word of a record.
#[must_use]
pub const fn first_word(kind: u64, thread: u32) -> u64 {
    kind | (thread as u64) << 8
}

/// Kind and thread of a first word.
#[must_use]
pub fn kind_and_thread(word: u64) -> (u64, u64) {
    (word & 0xff, word >> 8)
}

/// Records below this number are in chunks that double; those above in chunks of as many.
const DOUBLED_UP_TO: u64 = 1 << 20;
const FIRST_CHUNK: u64 = 1 << 13;
const DOUBLINGS: u64 = (DOUBLED_UP_TO / FIRST_CHUNK).trailing_zeros() as u64;
/// Chunks of a file at most.
pub const CHUNKS_MOST: u64 = DOUBLINGS + RECORDS_MOST / DOUBLED_UP_TO;

/// A part of the file that is mapped at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number, from 0.
    pub number: u64,
    /// Its first record.
    pub first: u64,
    /// Its records.
    pub records: u64,
}

/// The chunk that has this record. All chunks start and end on whole pages of 64 KiB.
#[must_use]
pub fn chunk_of(record: u64) -> Chunk {
    if record < FIRST_CHUNK {
        Chunk { number: 0, first: 0, records: FIRST_CHUNK }
    } else if record < DOUBLED_UP_TO {
        let doubling = u64::from(63 - (record / FIRST_CHUNK).leading_zeros());
        let first = FIRST_CHUNK << doubling;
        Chunk { number: doubling + 1, first, records: first }
    } else {
        let first = record / DOUBLED_UP_TO * DOUBLED_UP_TO;
        Chunk { number: DOUBLINGS + record / DOUBLED_UP_TO, first, records: DOUBLED_UP_TO }
    }
}
