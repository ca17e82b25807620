//! Recorded data: packed or plain, in the repository or beside it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The text of a file, unpacked if its name ends in `.zst`.
///
/// # Panics
/// When it cannot be read: the data belong to the test.
#[must_use]
pub fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_none_or(|extension| extension != "zst") {
        return String::from_utf8(bytes).expect("text");
    }
    let mut unpacked = String::new();
    let mut frame = ruzstd::decoding::StreamingDecoder::new(&bytes[..]).expect("a zstd frame");
    frame.read_to_string(&mut unpacked).expect("a whole frame of text");
    unpacked
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
