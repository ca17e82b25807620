//! Heap traces as files, packed where their name says so.

use std::io::{self, Write};
use std::path::Path;

use framesim_workloads::trace::write::Packed;

use super::exit::Failure;
use super::output::FileWriter;

/// A heap trace on its way to its file.
pub enum TraceFile {
    /// As text.
    Plain(FileWriter),
    /// For a name that ends in `.zst`.
    Packed(Packed<FileWriter>),
}

impl TraceFile {
    /// Starts the file that will be called `path`.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub fn create(path: &Path) -> Result<TraceFile, Failure> {
        let file = FileWriter::create(path)?;
        let is_packed = path.extension().is_some_and(|extension| extension == "zst");
        Ok(if is_packed { TraceFile::Packed(Packed::new(file)) } else { TraceFile::Plain(file) })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub fn finish(self, path: &Path) -> Result<(), Failure> {
        match self {
            TraceFile::Plain(file) => file.finish(),
            TraceFile::Packed(packed) => {
                packed.finish().map_err(|error| Failure::at(path, "written", &error))?.finish()
            }
        }
    }
}

impl Write for TraceFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            TraceFile::Plain(file) => file.write(bytes),
            TraceFile::Packed(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            TraceFile::Plain(file) => file.flush(),
            TraceFile::Packed(file) => file.flush(),
        }
    }
}
