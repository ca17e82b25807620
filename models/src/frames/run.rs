//! A frame's number, and a run of frames.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A page frame of the machine, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FrameNumber(pub u64);

impl fmt::Display for FrameNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Contiguous frames: `start` and the `frames - 1` after it.
///
/// ```
/// use framesim_models::frames::{FrameNumber, FrameRun};
/// let run = FrameRun::new(2, 4);
/// assert_eq!(run.end(), FrameNumber(6));
/// assert_eq!(run.to_string(), "2..5");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FrameRun {
    /// The first frame.
    pub start: FrameNumber,
    /// How many.
    pub frames: u64,
}

impl FrameRun {
    /// `frames` frames from number `start` on.
    #[must_use]
    pub const fn new(start: u64, frames: u64) -> FrameRun {
        FrameRun { start: FrameNumber(start), frames }
    }

    /// The frames from `start` up to, but without, `end`; empty when they are equal.
    #[must_use]
    pub const fn between(start: FrameNumber, end: FrameNumber) -> FrameRun {
        FrameRun { start, frames: end.0 - start.0 }
    }

    /// The frame after the last.
    #[must_use]
    pub const fn end(self) -> FrameNumber {
        FrameNumber(self.start.0 + self.frames)
    }

    /// Whether there is no frame in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.frames == 0
    }

    /// Whether `frame` is one of them.
    #[must_use]
    pub const fn contains(self, frame: FrameNumber) -> bool {
        self.start.0 <= frame.0 && frame.0 < self.start.0 + self.frames
    }
}

/// First and last frame, `2..5`, as people write it.
impl fmt::Display for FrameRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.frames {
            0 => write!(f, "nothing at {}", self.start),
            1 => write!(f, "{}", self.start),
            frames => write!(f, "{}..{}", self.start, self.start.0 + frames - 1),
        }
    }
}
