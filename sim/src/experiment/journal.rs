//! The journal of a sweep: what is done, kept as it is done.
//!
//! A journal starts with a line that names its format. Records follow: the payload's length in 4 bytes, a checksum of length and payload
//! in 8, the payload (postcard). The first record is the [`Head`], each other one a cell. A record is written by one call and only ever
//! added; what an interrupted write leaves at the end is not a record, because its checksum is wrong or it is too short.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cell::{Key, Record};
use super::plan::{Shard, WINDOW};
use crate::digest::Digest;

/// The journal's name in the folder of a sweep.
pub const JOURNAL: &str = "journal.framesim";

const MAGIC: &[u8] = b"framesim journal 2\n";
/// Length and checksum.
const FRAME_BYTES: usize = 12;
/// No record is longer; a length beyond is not one.
const RECORD_BYTES_MOST: u32 = 1 << 30;

/// What a journal is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The program's version.
    pub program: String,
    /// Version of its results.
    pub results: u32,
    /// Which part of the experiment.
    pub shard: Shard,
    /// What the results depend on, each with a name and a digest: experiment, workload, traces.
    pub parts: Vec<Part>,
}

/// Something that results depend on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Part {
    /// `the experiment`, `trace web.trace.zst`.
    pub name: String,
    /// Of all that it says.
    pub digest: [u8; 16],
}

impl Head {
    /// What keeps a sweep from going on with the journal of another, in words; empty when nothing does.
    #[must_use]
    pub fn differences(&self, now: &Head) -> Vec<String> {
        let mut list = Vec::new();
        if self.program != now.program {
            list.push(format!("it was started by framesim {}, this is {}", self.program, now.program));
        }
        if self.results != now.results {
            list.push(format!(
                "it has results of version {}, this program makes version {}",
                self.results, now.results
            ));
        }
        if self.shard != now.shard {
            list.push(format!("it is of shard {}, not {}", self.shard, now.shard));
        }
        let digests = |head: &Head| -> BTreeMap<String, [u8; 16]> {
            head.parts.iter().map(|part| (part.name.clone(), part.digest)).collect()
        };
        let (before, after) = (digests(self), digests(now));
        for (name, digest) in &before {
            match after.get(name) {
                None => list.push(format!("{name} is no longer used")),
                Some(other) if other != digest => list.push(format!("{name} has changed")),
                Some(_) => {}
            }
        }
        list.extend(after.keys().filter(|name| !before.contains_key(*name)).map(|name| format!("{name} is new")));
        list
    }
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system.
    #[error("{}: {cause}", file.display())]
    Io {
        /// The journal.
        file: PathBuf,
        /// What it says.
        cause: io::Error,
    },
    /// Another process writes to it.
    #[error("{}: another sweep is writing to it", .0.display())]
    Locked(PathBuf),
    /// Something else of that name.
    #[error("{}: not a journal of framesim, or one of another format", .0.display())]
    Foreign(PathBuf),
    /// There is one already.
    #[error("{}: there is a sweep in this folder; `--resume` goes on with it", .0.display())]
    Exists(PathBuf),
    /// Of another sweep.
    #[error("{}: the sweep cannot go on: {}", file.display(), differences.join("; "))]
    Different {
        /// The journal.
        file: PathBuf,
        /// What differs.
        differences: Vec<String>,
    },
}

fn io_error(file: &Path) -> impl Fn(io::Error) -> JournalError + '_ {
    |cause| JournalError::Io { file: file.to_owned(), cause }
}

/// A journal that is being written; nobody else can while it is open.
pub struct Journal {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens the journal in `folder` to go on with it, or starts it. Returns also where its records end, which are to be read, and how many
    /// bytes behind them were cut off as no record.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(folder: &Path, head: &Head, resume: bool) -> Result<(Journal, Extent), JournalError> {
        let path = folder.join(JOURNAL);
        let io = io_error(&path);
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(&io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked(path.clone())),
            Err(TryLockError::Error(cause)) => return Err(io(cause)),
        }
        let mut journal = Journal { file, path: path.clone(), buffer: Vec::new() };
        let Some(mut reader) = JournalReader::open(&path)? else {
            // Not even its head was written: nothing is in it.
            journal.start(head)?;
            return Ok((journal, Extent { records_end: 0, cut_off: 0 }));
        };
        if !resume {
            return Err(JournalError::Exists(path.clone()));
        }
        let differences = reader.head.differences(head);
        if !differences.is_empty() {
            return Err(JournalError::Different { file: path.clone(), differences });
        }
        while reader.next()?.is_some() {}
        let length = journal.file.metadata().map_err(&io)?.len();
        journal.file.set_len(reader.at).map_err(&io)?;
        journal.file.seek(SeekFrom::Start(reader.at)).map_err(&io)?;
        Ok((journal, Extent { records_end: reader.at, cut_off: length - reader.at }))
    }

    fn start(&mut self, head: &Head) -> Result<(), JournalError> {
        let io = io_error(&self.path);
        self.file.set_len(0).map_err(&io)?;
        self.file.rewind().map_err(&io)?;
        let mut bytes = MAGIC.to_vec();
        frame(head, &mut bytes);
        self.file.write_all(&bytes).and_then(|()| self.file.sync_all()).map_err(&io)
    }

    /// Adds a cell that is done.
    ///
    /// # Errors
    /// When the disk is full, say; what was written before stays.
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        self.buffer.clear();
        frame(record, &mut self.buffer);
        self.file.write_all(&self.buffer).map_err(io_error(&self.path))
    }

    /// Makes sure that all of it is on the disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(io_error(&self.path))
    }
}

/// How far a journal that was there reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where its last whole record ends; 0 when it was started anew.
    pub records_end: u64,
    /// Bytes behind that, which are no longer there.
    pub cut_off: u64,
}

/// Adds length, checksum and payload.
fn frame(value: &impl Serialize, bytes: &mut Vec<u8>) {
    let payload = postcard::to_stdvec(value).expect("plain data has a form in bytes");
    let length = u32::try_from(payload.len()).expect("a record is far below 4 GiB");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(length, &payload));
    bytes.extend_from_slice(&payload);
}

fn checksum(length: u32, payload: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    let mut sum = [0; 8];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

/// Records of a journal, in the order they were written.
pub struct JournalReader {
    from: BufReader<File>,
    path: PathBuf,
    /// What it is of.
    pub head: Head,
    /// Where the last whole record ends.
    at: u64,
    /// Nothing behind this is read.
    end: u64,
    payload: Vec<u8>,
}

impl JournalReader {
    /// The journal at `path`; none where there is not even a whole head.
    ///
    /// # Errors
    /// When it cannot be read or is something else.
    pub fn open(path: &Path) -> Result<Option<JournalReader>, JournalError> {
        let file = File::open(path).map_err(io_error(path))?;
        let mut from = BufReader::with_capacity(1 << 16, file);
        let mut magic = vec![0; MAGIC.len()];
        let read = read_up_to(&mut from, &mut magic).map_err(io_error(path))?;
        if magic[..read] != MAGIC[..read] {
            return Err(JournalError::Foreign(path.to_owned()));
        }
        let mut payload = Vec::new();
        let start = MAGIC.len() as u64;
        let length = read_frame(&mut from, u64::MAX, &mut payload).map_err(io_error(path))?;
        let Some(length) = length.filter(|_| read == MAGIC.len()) else { return Ok(None) };
        let head = postcard::from_bytes(&payload).map_err(|_| JournalError::Foreign(path.to_owned()))?;
        Ok(Some(JournalReader { from, path: path.to_owned(), head, at: start + length, end: u64::MAX, payload }))
    }

    /// Reads nothing behind `end`.
    #[must_use]
    pub fn until(self, end: u64) -> JournalReader {
        JournalReader { end, ..self }
    }

    /// The next record; none at the end, or where what follows is no record.
    ///
    /// # Errors
    /// When the file cannot be read.
    #[expect(clippy::should_implement_trait, reason = "an iterator would hide the errors")]
    pub fn next(&mut self) -> Result<Option<Record>, JournalError> {
        let left = self.end.saturating_sub(self.at);
        let length = read_frame(&mut self.from, left, &mut self.payload).map_err(io_error(&self.path))?;
        let Some(length) = length else { return Ok(None) };
        let Ok(record) = postcard::from_bytes(&self.payload) else { return Ok(None) };
        self.at += length;
        Ok(Some(record))
    }
}

/// The payload of the next frame and the frame's length; none where there is no whole one with its checksum.
fn read_frame(from: &mut impl Read, left: u64, payload: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let mut head = [0; FRAME_BYTES];
    if left < FRAME_BYTES as u64 || read_up_to(from, &mut head)? < FRAME_BYTES {
        return Ok(None);
    }
    let (length, sum) = head.split_at(4);
    let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
    let whole = u64::from(length) + FRAME_BYTES as u64;
    if length > RECORD_BYTES_MOST || whole > left {
        return Ok(None);
    }
    payload.clear();
    // No more is set aside than is there: a wrong length costs nothing.
    from.take(length.into()).read_to_end(payload)?;
    let is_whole = payload.len() as u64 == u64::from(length) && checksum(length, payload) == *sum;
    Ok(is_whole.then_some(whole))
}

fn read_up_to(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match from.read(&mut bytes[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Records of a journal by cell, asked for in the order of cells. Never more than a window of them is kept.
pub struct InOrder {
    from: JournalReader,
    ahead: BTreeMap<Key, Record>,
    at_end: bool,
    /// A cell that nobody asked for.
    passed: Option<Key>,
    /// A cell that is there twice.
    pub doubled: Option<Key>,
}

impl InOrder {
    /// Of a journal.
    #[must_use]
    pub fn of(from: JournalReader) -> InOrder {
        InOrder { from, ahead: BTreeMap::new(), at_end: false, passed: None, doubled: None }
    }

    /// The record of a cell; none when the journal has none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn take(&mut self, key: Key) -> Result<Option<Record>, JournalError> {
        // What was passed over will not be asked for any more.
        while self.ahead.first_key_value().is_some_and(|(first, _)| *first < key) {
            self.passed = self.ahead.pop_first().map(|(first, _)| first);
        }
        loop {
            if let Some(record) = self.ahead.remove(&key) {
                return Ok(Some(record));
            }
            // A cell that is done stands before all that lie a window behind it.
            if self.at_end || self.ahead.len() as u64 >= WINDOW {
                return Ok(None);
            }
            match self.from.next()? {
                None => self.at_end = true,
                Some(record) => {
                    let key = record.key;
                    if self.ahead.insert(key, record).is_some() {
                        self.doubled.get_or_insert(key);
                    }
                }
            }
        }
    }

    /// A cell of the journal that nobody has asked for, when all have been asked for that there are.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn left_over(&mut self) -> Result<Option<Key>, JournalError> {
        match self.passed.or(self.ahead.first_key_value().map(|(key, _)| *key)) {
            Some(key) => Ok(Some(key)),
            None => Ok(self.from.next()?.map(|record| record.key)),
        }
    }
}

/// The digest of a text that results depend on.
pub(super) fn part(name: impl Into<String>, usage: &str, bytes: &[u8]) -> Part {
    Part { name: name.into(), digest: Digest::of(usage, bytes).to_bytes() }
}
