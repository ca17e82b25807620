//! Where a command writes: the screen, and files that are whole or not there.
//!
//! **Invariant.** Under its final name a file is complete: it is written under a temporary name in the same folder,
//! flushed, synced, and renamed. No write's result is dropped.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anstream::{AutoStream, ColorChoice};
use tempfile::NamedTempFile;

use super::exit::Failure;

/// Standard output: buffered, locked, and without escape codes where they are not wanted.
pub struct Screen {
    to: BufWriter<Box<dyn Write>>,
}

impl Screen {
    /// Standard output, coloured as `colour` says.
    #[must_use]
    pub fn stdout(colour: ColorChoice) -> Screen {
        Screen { to: BufWriter::new(Box::new(AutoStream::new(io::stdout(), colour).lock())) }
    }

    /// Writes what is still in the buffer.
    ///
    /// # Errors
    /// [`Failure::Closed`] when nobody reads any more, [`Failure::Io`] when the disk is full.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.to.flush().map_err(Failure::from)
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A file on its way: a temporary name until [`FileWriter::finish`].
pub struct FileWriter {
    path: PathBuf,
    to: Kind,
}

enum Kind {
    /// A plain file, renamed at the end.
    Renamed(BufWriter<NamedTempFile>),
    /// A pipe or device that is there already: renaming over `/dev/stdout` would destroy it.
    InPlace(BufWriter<File>),
}

impl FileWriter {
    /// Starts the file that will be called `path`. What is there under that name stays until [`FileWriter::finish`].
    ///
    /// # Errors
    /// [`Failure::Io`] when the folder is not there or nothing can be made in it.
    pub fn create(path: &Path) -> Result<FileWriter, Failure> {
        let to = open(path).map_err(|error| Failure::at(path, "written", &error))?;
        Ok(FileWriter { path: path.to_owned(), to })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`Failure::Io`]; the old file, if any, is as it was.
    pub fn finish(self) -> Result<(), Failure> {
        let FileWriter { path, to } = self;
        let settled = match to {
            Kind::Renamed(writer) => rename(writer, &path),
            Kind::InPlace(mut writer) => writer.flush(),
        };
        settled.map_err(|error| Failure::at(&path, "written", &error))
    }

    /// A failed write as a failure that names the file.
    #[must_use]
    pub fn failure(&self, error: &io::Error) -> Failure {
        Failure::at(&self.path, "written", error)
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            Kind::Renamed(writer) => writer.write(bytes),
            Kind::InPlace(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            Kind::Renamed(writer) => writer.flush(),
            Kind::InPlace(writer) => writer.flush(),
        }
    }
}

fn open(path: &Path) -> io::Result<Kind> {
    match path.metadata() {
        Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(there) if !there.is_file() => Ok(Kind::InPlace(BufWriter::new(File::options().write(true).open(path)?))),
        _ => Ok(Kind::Renamed(BufWriter::new(temporary_in(folder_of(path))?))),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".framesim-");
    // A temporary file is its owner's alone unless told otherwise; the user's umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).map_err(without_path)
}

fn rename(writer: BufWriter<NamedTempFile>, path: &Path) -> io::Result<()> {
    let temporary = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    // The name itself reaches the disk with its folder.
    #[cfg(unix)]
    File::open(folder_of(path))?.sync_all()?;
    Ok(())
}

/// tempfile adds the random name it tried, which helps nobody.
fn without_path(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(std::error::Error::source);
    let code = inner.and_then(|inner| inner.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error);
    code.map_or(error, io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_old_content_until_it_is_finished() {
        let folder = tempfile::tempdir().expect("a folder for tests");
        let path = folder.path().join("run.json");
        std::fs::write(&path, "old").expect("a file for tests");
        let mut file = FileWriter::create(&path).expect("the folder can be written");
        file.write_all(b"new").expect("the disk is not full");
        assert_eq!(std::fs::read_to_string(&path).expect("is there"), "old");
        file.finish().expect("can be renamed");
        assert_eq!(std::fs::read_to_string(&path).expect("is there"), "new");
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder for tests");
        drop(FileWriter::create(&folder.path().join("run.json")).expect("the folder can be written"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("is there").count(), 0);
    }

    #[test]
    fn a_missing_folder_is_named_in_words() {
        let error = FileWriter::create(Path::new("no/such/run.json")).err().expect("no such folder");
        assert_eq!(error.to_string(), "no/such/run.json: cannot be written: no such file or directory");
        assert_eq!(error.code(), 5);
    }
}
