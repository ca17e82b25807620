//! Checkpoints as files: `framesim run --checkpoint-every` and `--resume-from`.
//!
//! A line of head, a digest of what follows, and the state of the run. The digest finds damage before anything is made of it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::exit::Failure;
use super::output::FileWriter;
use super::run::trace_failure;
use crate::Registries;
use crate::digest::Digest;
use crate::simulation::{RestoreError, Simulation};

const HEAD: &[u8] = b"framesim checkpoint 1\n";
/// A digest in hexadecimal, and a line feed.
const DIGEST_BYTES: usize = 33;
const USAGE: &str = "framesim checkpoint file";

/// Writes a checkpoint every so many events.
pub struct Checkpoints {
    /// Events between two.
    pub every: u64,
    /// `NAME` of `NAME.EVENT.checkpoint`.
    pub name: PathBuf,
}

impl Checkpoints {
    /// Writes one when it is time for it.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub fn see(&self, simulation: &Simulation) -> Result<(), Failure> {
        if !simulation.events().is_multiple_of(self.every) {
            return Ok(());
        }
        let mut path = self.name.clone().into_os_string();
        path.push(format!(".{}.checkpoint", simulation.events()));
        write(Path::new(&path), &simulation.save())
    }
}

fn write(path: &Path, state: &[u8]) -> Result<(), Failure> {
    let mut file = FileWriter::create(path)?;
    let digest = format!("{:#}\n", Digest::of(USAGE, state));
    for part in [HEAD, digest.as_bytes(), state] {
        file.write_all(part).map_err(|error| file.failure(&error))?;
    }
    file.finish()
}

/// The run that a checkpoint is of.
///
/// # Errors
/// When it cannot be read, is damaged, or of another version.
pub fn read(path: &Path, registries: &Registries) -> Result<Simulation, Failure> {
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    opened.map_err(|error| Failure::at(path, "read", &error))?;
    let bad = |why: &str| Failure::Input(format!("{}: {why}", path.display()));
    let rest = bytes.strip_prefix(HEAD).ok_or_else(|| bad("not a checkpoint of `framesim run --checkpoint-every`"))?;
    let (digest, state) = rest.split_at_checked(DIGEST_BYTES).ok_or_else(|| bad("the checkpoint is cut off"))?;
    if digest != format!("{:#}\n", Digest::of(USAGE, state)).as_bytes() {
        return Err(bad("the checkpoint is damaged: it is not what its digest says"));
    }
    Simulation::restore(state, registries).map_err(|error| match error {
        RestoreError::Trace(error) => trace_failure(&error),
        error => bad(&error.to_string()),
    })
}
