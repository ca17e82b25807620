//! Plain, zstd or gzip text as one stream of bytes, with limits on what it may unpack to.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::gzip::{self, Members};
use super::zstd::{self, Frames};

/// A file that unpacks to more is refused.
const UNPACKED_BYTES_MOST: u64 = 64 << 30;
/// Bytes handed from the unpacking thread at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that may wait.
const CHUNKS_WAITING: usize = 4;

/// How a text is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Packing::Zstd => "zstd",
            Packing::Gzip => "gzip",
        })
    }
}

/// Why a compressed text cannot be read on. Carried in an [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// It ends too early.
    #[error("the {0} data is cut off")]
    CutOff(Packing),
    /// It is not what it seems, or damaged.
    #[error("the {0} data is damaged: {1}")]
    Damaged(Packing, String),
    /// What came out is not what was packed.
    #[error("the {0} checksum is wrong: the data is damaged")]
    Checksum(Packing),
    /// It would unpack to more than a trace can be.
    #[error("the {0} data unpacks to more than {1}")]
    TooLarge(Packing, &'static str),
}

impl From<UnpackError> for io::Error {
    fn from(error: UnpackError) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, error)
    }
}

/// The text of a file, unpacked when it is zstd or gzip (by its first bytes, whatever its name is). Unpacking runs on a
/// thread of its own.
///
/// # Errors
/// When the file cannot be opened. Reading fails with an [`UnpackError`] where the data is damaged.
pub fn open_text(path: &Path) -> io::Result<BufReader<Box<dyn Read + Send>>> {
    Ok(BufReader::with_capacity(CHUNK_BYTES, open_bytes(path)?))
}

pub(super) fn open_bytes(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "is a directory"));
    }
    unpacked(file)
}

/// The text of a source of bytes, as [`open_text`].
pub(super) fn unpacked(mut packed: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut start = [0; 4];
    let mut known = 0;
    while known < start.len() {
        match packed.read(&mut start[known..]) {
            Ok(0) => break,
            Ok(read) => known += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let whole = io::Cursor::new(start).take(known as u64).chain(packed);
    Ok(if known == start.len() && zstd::is_packed(start) {
        Box::new(Background::start(Frames::of(whole)))
    } else if known == start.len() && gzip::is_packed(start) {
        Box::new(Background::start(Members::of(whole)))
    } else {
        Box::new(whole)
    })
}

/// Unpacks one format.
pub(super) trait Unpack {
    /// Puts some text into `out`, which is not empty; 0 at the end.
    fn read_some(&mut self, out: &mut [u8]) -> io::Result<usize>;
}

/// Counts what was unpacked.
pub(super) struct Unpacked {
    packing: Packing,
    pub(super) bytes: u64,
}

impl Unpacked {
    pub(super) fn of(packing: Packing) -> Unpacked {
        Unpacked { packing, bytes: 0 }
    }

    pub(super) fn count(&mut self, bytes: usize) -> Result<(), UnpackError> {
        self.bytes += bytes as u64;
        if self.bytes > UNPACKED_BYTES_MOST { Err(UnpackError::TooLarge(self.packing, "64 GiB")) } else { Ok(()) }
    }
}

/// Reads what a thread unpacks.
struct Background {
    chunks: Receiver<io::Result<Vec<u8>>>,
    /// Empty chunks on their way back.
    spent: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Background {
    fn start(text: impl Unpack + Send + 'static) -> Background {
        let (chunk_sender, chunks) = sync_channel(CHUNKS_WAITING);
        let (spent, spent_receiver) = sync_channel(CHUNKS_WAITING + 2);
        // The thread ends when the text does, or when nobody listens any more.
        thread::spawn(move || unpack_all(text, &chunk_sender, &spent_receiver));
        Background { chunks, spent, chunk: Vec::new(), at: 0 }
    }
}

impl Read for Background {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            // The thread hangs up after the last chunk.
            let Ok(next) = self.chunks.recv() else { return Ok(0) };
            let spent = std::mem::replace(&mut self.chunk, next?);
            let _ = self.spent.try_send(spent);
            self.at = 0;
        }
        let count = out.len().min(self.chunk.len() - self.at);
        out[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn unpack_all(mut text: impl Unpack, chunks: &SyncSender<io::Result<Vec<u8>>>, spent: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk = spent.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let result = fill(&mut text, &mut chunk);
        let is_end = !matches!(result, Ok(count) if count > 0);
        let message = match result {
            Ok(0) => return,
            Ok(count) => {
                chunk.truncate(count);
                Ok(chunk)
            }
            Err(error) => Err(error),
        };
        if chunks.send(message).is_err() || is_end {
            return;
        }
    }
}

/// Fills `out` as far as there is text; 0 at the end.
fn fill(text: &mut impl Unpack, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        let count = text.read_some(&mut out[filled..])?;
        if count == 0 {
            break;
        }
        filled += count;
    }
    Ok(filled)
}

/// What the tests of each packing share.
#[cfg(test)]
pub(super) mod testing {
    use std::io::Cursor;

    use super::*;

    /// The text of packed bytes.
    pub fn read(packed: impl Into<Vec<u8>>) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        unpacked(Cursor::new(packed.into()))?.read_to_end(&mut text)?;
        Ok(text)
    }

    /// What is wrong with damaged ones.
    pub fn error(packed: impl Into<Vec<u8>>) -> UnpackError {
        let error = read(packed).expect_err("it is damaged");
        error.get_ref().and_then(|inner| inner.downcast_ref::<UnpackError>()).expect("an error of unpacking").clone()
    }

    /// Text that does not pack to nearly nothing.
    pub fn text(bytes: usize) -> Vec<u8> {
        let numbers = (0_u64..).map(|n| format!("m {} {n} {}\n", n % 7, n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50));
        numbers.flat_map(String::into_bytes).take(bytes).collect()
    }
}
