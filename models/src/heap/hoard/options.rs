//! What a workload can set, and what follows from it.

use serde::{Deserialize, Serialize};

use super::superblock::First;
use crate::registry::BadOptions;

/// What a workload can set: a preset, and what is to differ from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HoardOptions {
    /// Which Hoard.
    pub preset: Preset,
    /// S, a power of two from 4 KiB to 512 KiB.
    pub superblock_bytes: Option<u64>,
    /// f, in eighths: 1 to 7.
    pub emptiness_eighths: Option<u64>,
    /// K.
    pub slack_superblocks: Option<u64>,
    /// P; without it twice the processors, or 128 in v3.
    pub heaps: Option<u32>,
    /// Bytes of freed blocks that each thread keeps for itself; 0 for none.
    pub thread_buffer_bytes: Option<u64>,
    /// Freed large objects are kept for later.
    pub large_cache: Option<bool>,
    /// Empty superblocks of the global heap beyond this many are unmapped; without it none is.
    pub keep_empty: Option<u64>,
}

/// The Hoard of the paper or of the later implementation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// ASPLOS 2000: S = 8 KiB, f = 1/4, K = 0.
    #[default]
    Paper,
    /// Version 3: S = 256 KiB, f = 1/8, K = 2, thread buffers.
    V3,
}

/// A preset with what differs from it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Rules {
    pub preset: Preset,
    pub superblock_bytes: u64,
    pub emptiness_eighths: u64,
    pub slack_bytes: u64,
    /// None until the processors are known.
    pub heaps: Option<u32>,
    pub buffer_bytes: u64,
    pub keep_empty: Option<u64>,
    pub first: First,
}

/// Blocks to this length go to a thread's buffer.
pub(super) const BUFFERED_BYTES_MAX: u64 = 1024;
const HEAPS_V3: u32 = 128;
const HEAPS_FOR_EACH_CPU: u32 = 2;
/// More heaps than any machine has processors.
const HEAPS_MAX: u32 = 65_536;

impl HoardOptions {
    pub(super) fn rules(&self) -> Result<Rules, BadOptions> {
        let is_paper = self.preset == Preset::Paper;
        let pick = |given: Option<u64>, paper, v3| given.unwrap_or(if is_paper { paper } else { v3 });
        let superblock_bytes = pick(self.superblock_bytes, 8 << 10, 256 << 10);
        let bad = |option, found: u64, allowed: &str| {
            Err(BadOptions { option, found: found.to_string(), allowed: allowed.to_owned() })
        };
        if !superblock_bytes.is_power_of_two() || !(4 << 10..=512 << 10).contains(&superblock_bytes) {
            return bad("superblock_bytes", superblock_bytes, "a power of two from 4 KiB to 512 KiB");
        }
        let emptiness_eighths = pick(self.emptiness_eighths, 2, 1);
        if !(1..=7).contains(&emptiness_eighths) {
            return bad(
                "emptiness_eighths",
                emptiness_eighths,
                "1 to 7 eighths of a superblock are empty before it moves",
            );
        }
        let slack_superblocks = pick(self.slack_superblocks, 0, 2);
        if slack_superblocks > u64::from(u32::MAX) {
            return bad("slack_superblocks", slack_superblocks, "a heap keeps at most 2^32 superblocks of slack");
        }
        if let Some(heaps) = self.heaps.filter(|&heaps| !(1..=HEAPS_MAX).contains(&heaps)) {
            return bad("heaps", heaps.into(), "there are 1 to 65536 heaps for processors");
        }
        Ok(Rules {
            preset: self.preset,
            superblock_bytes,
            emptiness_eighths,
            slack_bytes: slack_superblocks * superblock_bytes,
            heaps: self.heaps.or((!is_paper).then_some(HEAPS_V3)),
            buffer_bytes: pick(self.thread_buffer_bytes, 0, 16 << 20),
            keep_empty: self.keep_empty,
            first: if is_paper { First::Freed } else { First::NeverUsed },
        })
    }
}

impl Rules {
    /// Heaps for processors, of a machine with so many.
    pub fn processors(&mut self, cpus: u32) -> u32 {
        *self.heaps.get_or_insert_with(|| cpus.clamp(1, HEAPS_MAX / HEAPS_FOR_EACH_CPU) * HEAPS_FOR_EACH_CPU)
    }

    /// Longer objects are large.
    pub fn block_bytes_max(&self) -> u64 {
        match self.preset {
            Preset::Paper => self.superblock_bytes / 2,
            Preset::V3 => self.superblock_bytes / 8,
        }
    }

    /// Whether a heap has a current superblock for each class.
    pub fn has_current(&self) -> bool {
        self.preset == Preset::V3
    }

    /// Whether a heap that uses and holds so much is to give some of it to the global heap.
    pub fn is_too_empty(&self, used: u64, held: u64) -> bool {
        used + self.slack_bytes < held && 8 * used < (8 - self.emptiness_eighths) * held
    }
}
