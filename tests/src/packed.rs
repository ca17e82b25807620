//! Recorded data: packed or plain, in the repository or beside it.

use std::io::Read;
use std::path::{Path, PathBuf};

use framesim_workloads::trace::open_text;

/// The text of a file, unpacked if it is zstd.
///
/// # Panics
/// When it cannot be read: the data belong to the test.
#[must_use]
pub fn text(path: &Path) -> String {
    let mut text = String::new();
    let read = open_text(path).and_then(|mut reader| reader.read_to_string(&mut text));
    read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text
}

/// The folder of data that come with the repository.
#[must_use]
pub fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

/// Longer recordings beside the repository (or beside the folder of its worktrees), where they are.
#[must_use]
pub fn beside() -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    ["../shared", "../../shared"]
        .iter()
        .map(|path| repository.join(path))
        .find(|path| path.join("traces/heap").is_dir())
}
