//! Kernel objects of one size, in slabs of a few frames.
//!
//! An object goes into the first slab that has room; a slab whose last object goes is given back at once. The full model
//! of Linux's slabs (per-cpu slabs, partial lists per node) is not here.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::page_table::{long, short};
use crate::frames::{FrameNumber, FrameRun};

/// Largest slab in frames (Linux: `slub_max_order` 3), but for objects that do not fit it.
const FRAMES_MAX: u64 = 8;
/// One word of marks per slab.
const OBJECTS_MAX: u64 = 64;

/// Slabs for objects of one size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Slabs {
    object_bytes: u64,
    page_bytes: u64,
    slabs: Vec<Slab>,
    /// Places in `slabs` that hold no slab.
    unused: Vec<u32>,
    /// Slabs with room.
    partial: BTreeSet<u32>,
    objects: u64,
}

/// A slab; nothing in it and no frames when `used` is 0.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Slab {
    first: u32,
    frames: u32,
    used: u64,
}

/// An object: slab times 64 and place in it, plus 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ObjectId(NonZeroU32);

impl ObjectId {
    fn new(slab: u32, place: u32) -> ObjectId {
        let above = slab.checked_mul(64).and_then(|first| first.checked_add(place + 1)).and_then(NonZeroU32::new);
        ObjectId(above.expect("there are fewer than 2^26 slabs"))
    }

    fn parts(self) -> (u32, u32) {
        ((self.0.get() - 1) / 64, (self.0.get() - 1) % 64)
    }
}

impl Slabs {
    pub(super) fn new(object_bytes: u64, page_bytes: u64) -> Slabs {
        Slabs { object_bytes, page_bytes, slabs: Vec::new(), unused: Vec::new(), partial: BTreeSet::new(), objects: 0 }
    }

    /// Objects that live.
    pub(super) fn objects(&self) -> u64 {
        self.objects
    }

    /// Frames of a new slab: the preferred number, then the least that holds one object.
    pub(super) fn frames_wanted(&self) -> [u64; 2] {
        let least = self.object_bytes.div_ceil(self.page_bytes).next_power_of_two();
        // At most an eighth of a slab is lost, if a slab of at most 8 frames can do that; else as little as possible.
        let sizes = || (0..).map(|order| least << order).take_while(|&frames| frames <= FRAMES_MAX.max(least));
        let loss = |frames: u64| (frames * self.page_bytes) % self.object_bytes;
        let good = sizes().find(|&frames| loss(frames) * 8 <= frames * self.page_bytes);
        let best = good.or_else(|| sizes().min_by_key(|&frames| loss(frames) * (FRAMES_MAX.max(least) / frames)));
        [best.unwrap_or(least), least]
    }

    /// Whether some slab has room for an object.
    pub(super) fn has_room(&self) -> bool {
        !self.partial.is_empty()
    }

    fn capacity(&self, slab: Slab) -> u64 {
        (u64::from(slab.frames) * self.page_bytes / self.object_bytes).min(OBJECTS_MAX)
    }

    /// A place in a slab that has room.
    pub(super) fn take(&mut self) -> Option<ObjectId> {
        let at = *self.partial.first()?;
        let slab = &mut self.slabs[at as usize];
        let bit = (!slab.used).trailing_zeros();
        slab.used |= 1 << bit;
        let slab = *slab;
        if u64::from(slab.used.count_ones()) == self.capacity(slab) {
            self.partial.remove(&at);
        }
        self.objects += 1;
        Some(ObjectId::new(at, bit))
    }

    /// Makes room: a new slab in `run`.
    pub(super) fn add(&mut self, run: FrameRun) {
        let frames = u32::try_from(run.frames).expect("a slab is small");
        let slab = Slab { first: short(run.start), frames, used: 0 };
        let at = self.unused.pop().unwrap_or_else(|| {
            self.slabs.push(slab);
            u32::try_from(self.slabs.len() - 1).expect("there are fewer than 2^32 slabs")
        });
        self.slabs[at as usize] = slab;
        self.partial.insert(at);
    }

    /// Frees an object; returns the first frame of its slab when that was the last one in it.
    pub(super) fn give(&mut self, object: ObjectId) -> Option<FrameNumber> {
        let (at, bit) = object.parts();
        let slab = &mut self.slabs[at as usize];
        assert!(slab.used >> bit & 1 == 1, "kernel object {bit} of slab {at} is freed twice");
        slab.used &= !(1 << bit);
        self.objects -= 1;
        if slab.used != 0 {
            self.partial.insert(at);
            return None;
        }
        self.partial.remove(&at);
        self.unused.push(at);
        Some(long(slab.first))
    }

    /// Frames of the slabs that hold objects.
    pub(super) fn iter(&self) -> impl Iterator<Item = FrameRun> {
        let filled = self.slabs.iter().filter(|slab| slab.used != 0);
        filled.map(|slab| FrameRun { start: long(slab.first), frames: u64::from(slab.frames) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_is_as_large_as_its_loss_asks_for() {
        let wanted = |bytes| Slabs::new(bytes, 4096).frames_wanted();
        assert_eq!(wanted(1024), [1, 1], "four to a frame, nothing lost");
        assert_eq!(wanted(1500), [2, 1], "two to a frame lose a quarter, five to two frames a twelfth");
        assert_eq!(wanted(11_712), [4, 4], "one to four frames or two to eight: the same loss, so the smaller slab");
        assert_eq!(wanted(40_000), [16, 16], "larger than eight frames");
    }

    #[test]
    fn a_slab_goes_when_its_last_object_goes() {
        let mut slabs = Slabs::new(2048, 4096);
        assert_eq!(slabs.take(), None);
        slabs.add(FrameRun::new(7, 1));
        let one = slabs.take().expect("room for two");
        let two = slabs.take().expect("room for two");
        assert_eq!(slabs.take(), None, "full");
        assert_eq!(slabs.give(one), None);
        assert_eq!(slabs.take(), Some(one), "the lowest place again");
        assert_eq!((slabs.give(two), slabs.give(one)), (None, Some(FrameNumber(7))));
        assert_eq!((slabs.objects(), slabs.iter().count()), (0, 0));
    }
}
