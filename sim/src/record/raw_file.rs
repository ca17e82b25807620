//! One raw file: its header, and its records in order.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::raw;

/// A raw file, opened for its header.
#[derive(Clone, Debug)]
pub struct RawFile {
    /// Where it is.
    pub path: PathBuf,
    /// The process.
    pub pid: u64,
    /// Which of the images that the process ran.
    pub image: u64,
    /// For a process that was forked: its parent, which of that one's images, and how many of its records came before.
    pub parent: Option<(u64, u64, u64)>,
    /// When it began, on the machine's own clock.
    pub started_ns: u64,
    /// Records that can be in it.
    pub records: u64,
    /// Calls that it could not take.
    pub lost: u64,
    /// Why it takes no more.
    pub stop: Option<Stop>,
    /// The words of its command line.
    pub command: Vec<String>,
}

/// Why a recording ended before its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    why: u64,
    error: i32,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.why {
            raw::STOP_OPEN => "its file could not be opened any more",
            raw::STOP_GROW => "its file could not grow",
            raw::STOP_MAP => "its file could not be mapped",
            raw::STOP_FULL => return f.write_str("its file has as many records as it can have"),
            _ => "its file could not be written",
        };
        let error = io::Error::from_raw_os_error(self.error).to_string();
        write!(f, "{what}: {}", error.split(" (os error").next().unwrap_or_default())
    }
}

/// Why a raw file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// The file itself.
    #[error("{}: cannot be read: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is something else, or was not even begun.
    #[error("{}: no raw recording, or one that was cut off in its header", path.display())]
    NoRecording {
        /// Which.
        path: PathBuf,
    },
    /// Another version of framesim wrote it.
    #[error("{}: raw recording of version {version}; version {} is known", path.display(), raw::VERSION)]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// A record is none.
    #[error("{}: record {record}: there is no call of kind {kind}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which record, from 0.
        record: u64,
        /// What it says it is.
        kind: u64,
    },
    /// The file of a parent is not beside it.
    #[error("{}: was forked from process {pid}, whose recording is not beside it", path.display())]
    NoParent {
        /// Which.
        path: PathBuf,
        /// Its parent.
        pid: u64,
    },
    /// The trace.
    #[error("the trace cannot be written: {0}")]
    Write(#[from] framesim_workloads::trace::write::WriteError),
}

impl RawError {
    pub(super) fn io(path: &Path, error: io::Error) -> RawError {
        RawError::Io { path: path.to_owned(), error }
    }
}

impl RawFile {
    /// Reads the header.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<RawFile, RawError> {
        let io = |error| RawError::io(path, error);
        let file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let mut header = Vec::new();
        file.take(raw::HEADER_BYTES).read_to_end(&mut header).map_err(io)?;
        let word = |index: u64| -> u64 {
            let at = framesim_models::index(index * 8);
            header.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
        };
        if header.len() as u64 != raw::HEADER_BYTES || word(raw::MAGIC_WORD) != raw::MAGIC {
            return Err(RawError::NoRecording { path: path.to_owned() });
        }
        if word(raw::VERSION_WORD) != raw::VERSION {
            return Err(RawError::Version { path: path.to_owned(), version: word(raw::VERSION_WORD) });
        }
        let parent = (word(raw::PARENT_WORD), word(raw::PARENT_IMAGE_WORD), word(raw::PARENT_RECORDS_WORD));
        let stop =
            Stop { why: word(raw::STOP_WORD), error: i32::try_from(word(raw::STOP_ERROR_WORD)).unwrap_or_default() };
        Ok(RawFile {
            path: path.to_owned(),
            pid: word(raw::PID_WORD),
            image: word(raw::IMAGE_WORD),
            parent: (parent.0 != 0).then_some(parent),
            started_ns: word(raw::STARTED_WORD),
            records: word(raw::TAKEN_WORD).min((bytes - raw::HEADER_BYTES) / raw::RECORD_BYTES),
            lost: word(raw::LOST_WORD),
            stop: (stop.why != 0).then_some(stop),
            command: command(&header),
        })
    }

    /// The first `count` records, or all there are.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn read(&self, count: u64) -> Result<Records<'_>, RawError> {
        let io = |error| RawError::io(&self.path, error);
        let mut file = File::open(&self.path).map_err(io)?;
        file.seek(SeekFrom::Start(raw::HEADER_BYTES)).map_err(io)?;
        let text = BufReader::with_capacity(256 << 10, file);
        Ok(Records { of: self, text, at: 0, end: count.min(self.records) })
    }

    /// Its command line, for people.
    #[must_use]
    pub fn command_line(&self) -> String {
        crate::cli::words::joined(self.command.iter().map(String::as_str))
    }
}

fn command(header: &[u8]) -> Vec<String> {
    let from = framesim_models::index(raw::COMMAND_AT);
    let text = &header[from..from + framesim_models::index(raw::COMMAND_BYTES)];
    let used = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if used == 0 {
        return Vec::new();
    }
    text[..used].split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// A record as it is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// What was called, one of the numbers in `raw`; 0 for a record that was begun and not finished.
    pub kind: u64,
    /// Who called.
    pub thread: u64,
    /// When.
    pub time_ns: u64,
    /// Where the block is.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Count, alignment, or old address.
    pub more: u64,
}

const RECORD_WORDS: usize = 5;
const _: () = assert!(RECORD_WORDS as u64 == raw::RECORD_WORDS, "the library writes as many words");

/// Records of a file, in order.
pub struct Records<'a> {
    of: &'a RawFile,
    text: BufReader<File>,
    at: u64,
    end: u64,
}

impl Records<'_> {
    /// The number of the record that was read last, from 0.
    pub fn number(&self) -> u64 {
        self.at.saturating_sub(1)
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next(&mut self) -> Result<Option<RawRecord>, RawError> {
        if self.at == self.end {
            return Ok(None);
        }
        let mut bytes = [0; RECORD_WORDS * 8];
        self.text.read_exact(&mut bytes).map_err(|error| RawError::io(&self.of.path, error))?;
        self.at += 1;
        let mut words = [0; RECORD_WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("chunks of 8"));
        }
        let [first, time_ns, address, size, more] = words;
        let (kind, thread) = raw::kind_and_thread(first);
        Ok(Some(RawRecord { kind, thread, time_ns, address, size, more }))
    }
}
