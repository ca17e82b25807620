//! The whole kernel as plain data.

use serde::{Deserialize, Serialize};

use super::frames::Frames;
use super::{FrameMap, Kernel, Tables};
use crate::Violation;
use crate::frames::PolicyRegistry;

/// A kernel that can be written and read back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KernelState {
    pub(super) policy: String,
    allocator: Vec<u8>,
    map: FrameMap,
    counts: [u64; 3],
    tables: Tables,
}

/// Why a written kernel cannot be made one again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// No policy of that name is registered, or the bytes are not its state.
    #[error("the state is not one of the frame policy `{0}`")]
    Policy(String),
    /// The parts do not fit together.
    #[error("the state contradicts itself: {0}")]
    Contradiction(#[from] Violation),
}

impl Kernel {
    /// The state as plain data. The log of frame changes is not part of it.
    #[must_use]
    pub fn save(&self) -> KernelState {
        KernelState {
            policy: self.frames.policy.clone(),
            allocator: self.frames.allocator().save(),
            map: self.frames.map().clone(),
            counts: [self.frames.taken, self.frames.given, self.frames.zeroed],
            tables: self.tables.clone(),
        }
    }
}

impl KernelState {
    /// The kernel again.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn restore(self, policies: &PolicyRegistry) -> Result<Kernel, RestoreError> {
        let Some(allocator) = policies.restore(&self.policy, &self.allocator) else {
            return Err(RestoreError::Policy(self.policy));
        };
        let is_logged = self.tables.settings.log_changes;
        let frames = Frames::restored(self.policy, allocator, self.map, is_logged, self.counts);
        let kernel = Kernel { frames, tables: self.tables, asked: Vec::new() };
        kernel.check()?;
        Ok(kernel)
    }
}
