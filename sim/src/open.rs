//! A simulation straight from a workload file: for tests and programs of your own.

use std::path::{Path, PathBuf};

use framesim_workloads::load::{Diagnostics, Known, load};

use crate::Registries;
use crate::simulation::{Setting, SetupError, Simulation};

/// Why a workload file cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read.
    #[error("{}: {cause}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// What is wrong in it, each with its place.
    #[error("{}", .0.render(false))]
    Wrong(Diagnostics),
    /// What does not fit together.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// The simulation that `file` describes, at its start.
///
/// ```
/// use framesim::{Registries, open};
/// let mut simulation = open("../workloads/textbook/sixteen_frames.ron", &Registries::default())?;
/// simulation.run().expect("a script cannot fail to be read");
/// assert_eq!(simulation.summary().failures.fragmentation, 1);
/// # Ok::<(), framesim::OpenError>(())
/// ```
///
/// # Errors
/// [`OpenError`].
pub fn open(file: impl AsRef<Path>, registries: &Registries) -> Result<Simulation, OpenError> {
    let file = file.as_ref();
    let text = std::fs::read_to_string(file).map_err(|cause| OpenError::Read { file: file.to_owned(), cause })?;
    let known = Known { frames: &registries.frames, heaps: &registries.heaps };
    let loaded = load(&file.display().to_string(), &text, &[], known).map_err(OpenError::Wrong)?;
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    Ok(Simulation::new(Setting { workload: loaded.workload, replica: 0, folder }, registries)?)
}
