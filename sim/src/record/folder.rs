//! The raw files of one recording.

use std::fs;
use std::path::{Path, PathBuf};

use super::raw_file::{RawError, RawFile};

/// The raw files that a recording left, in the order in which they were begun.
#[derive(Debug)]
pub struct Folder {
    files: Vec<RawFile>,
    /// Processes that were seen and not recorded.
    seen: u64,
}

impl Folder {
    /// Reads the headers of all files in `folder`. One that was not even begun is passed over.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn open(folder: &Path) -> Result<Folder, RawError> {
        let mut files = Vec::new();
        let mut seen = 0;
        for path in paths(folder)? {
            let extension = path.extension().and_then(|extension| extension.to_str());
            match extension {
                Some("seen") => seen += 1,
                Some("raw") => match RawFile::open(&path) {
                    Ok(file) => files.push(file),
                    Err(RawError::NoRecording { .. }) => {}
                    Err(error) => return Err(error),
                },
                _ => {}
            }
        }
        files.sort_by_key(|file| (file.started_ns, file.pid, file.image));
        Ok(Folder { files, seen })
    }

    /// All of them.
    #[must_use]
    pub fn files(&self) -> &[RawFile] {
        &self.files
    }

    /// Processes that were seen and not recorded.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The file of the program that was started: of the first process the last image, since a wrapper that ends in `exec` is
    /// not what is meant.
    #[must_use]
    pub fn main(&self) -> Option<usize> {
        let first = self.files.first()?.pid;
        self.files.iter().rposition(|file| file.pid == first && file.parent.is_none())
    }

    /// The files that together say what happened in a process, each with how many of its records count: those of the
    /// processes it was forked from, up to the fork, and its own.
    ///
    /// # Errors
    /// When a parent's is not there.
    pub fn lineage(&self, of: usize) -> Result<Vec<(&RawFile, u64)>, RawError> {
        let mut file = &self.files[of];
        let mut lineage = vec![(file, file.records)];
        while let Some((pid, image, records)) = file.parent {
            let is_parent =
                |other: &&RawFile| other.pid == pid && other.image == image && other.started_ns < file.started_ns;
            let parent = self.files.iter().rev().find(is_parent);
            let missing = || RawError::NoParent { path: file.path.clone(), pid };
            file = parent.ok_or_else(missing)?;
            lineage.push((file, records));
        }
        lineage.reverse();
        Ok(lineage)
    }
}

fn paths(folder: &Path) -> Result<Vec<PathBuf>, RawError> {
    let io = |error| RawError::io(folder, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        paths.push(entry.map_err(io)?.path());
    }
    paths.sort();
    Ok(paths)
}
