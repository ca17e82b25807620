//! Where an arena's chunks lie: ranges of addresses.
//!
//! Places of one arena are dense: each region's places follow those of the region before, so a place fits 31 bits and
//! is an index of the arena's [memory](super::memory).

use serde::{Deserialize, Serialize};

use super::chunk::{Chunk, UNIT_BYTES, Units};
use crate::Address;

/// Places below this one hold the list heads.
pub(super) const FIRST_PLACE: u32 = 256;
/// Places of one arena: 32 GiB of them.
const PLACES: u64 = 1 << 31;

/// A contiguous range of an arena's memory.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Region {
    /// The place of its first unit.
    pub first: Chunk,
    pub start: u64,
    /// Bytes at its start that hold no chunks.
    pub table_bytes: u64,
    /// Bytes that can be used now.
    pub bytes: u64,
    /// Places in them.
    places: Units,
    /// Bytes that were usable at some time: those of an arena's heap stay writable when it shrinks.
    pub most_bytes: u64,
    /// It ends at the program break, or did when the break last moved.
    pub at_break: bool,
}

impl Region {
    pub const fn end(&self) -> u64 {
        self.start + self.bytes
    }

    /// The place at an address, if there is one in it.
    #[inline(always)]
    fn find(&self, address: u64) -> Option<Chunk> {
        // An address between two places has low bits left; turned into high ones they make it too far away.
        let units = address.wrapping_sub(self.start).rotate_right(UNIT_BYTES.trailing_zeros());
        if units >= u64::from(self.places) {
            return None;
        }
        Units::try_from(units).ok().map(|units| self.first.above(units))
    }

    /// The address of a place in it.
    #[inline(always)]
    pub const fn address(&self, place: Chunk) -> u64 {
        // No place of the region can make it wrap.
        self.start.wrapping_add(place.0.wrapping_sub(self.first.0) as u64 * UNIT_BYTES)
    }

    /// The place at an address in it, or at its end.
    pub fn place(&self, address: u64) -> Chunk {
        self.first.above(places_of(address - self.start))
    }
}

fn places_of(bytes: u64) -> Units {
    Units::try_from(bytes / UNIT_BYTES).expect("a region has at most 2^31 places")
}

/// The regions of one arena, in the order of their places: the last one alone holds top and can grow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Regions {
    /// Most arenas have one only; it is empty before there is any.
    first: Region,
    others: Vec<Region>,
}

impl Regions {
    /// Adds `bytes` at `start` behind all others; `None` when the arena has no places left.
    pub fn add(&mut self, start: u64, bytes: u64, table_bytes: u64, at_break: bool) -> Option<Region> {
        let used = self.last().map_or(FIRST_PLACE, |last| last.place(last.end()).0);
        // The same place within a page of words as within the page of memory.
        let aligned = used.next_multiple_of(FIRST_PLACE);
        let offset = start % (u64::from(FIRST_PLACE) * UNIT_BYTES) / UNIT_BYTES;
        let first = u64::from(aligned) + offset;
        if first + bytes / UNIT_BYTES >= PLACES {
            return None;
        }
        let first = Chunk(u32::try_from(first).expect("below 2^31"));
        let places = places_of(bytes);
        let region = Region { first, start, table_bytes, bytes, places, most_bytes: bytes, at_break };
        match self.first.bytes {
            0 => self.first = region,
            _ => self.others.push(region),
        }
        Some(region)
    }

    pub fn first(&self) -> Option<&Region> {
        (self.first.bytes > 0).then_some(&self.first)
    }

    pub fn last(&self) -> Option<&Region> {
        self.others.last().or_else(|| self.first())
    }

    /// The last region and the one before it.
    pub fn last_two(&self) -> Option<(Region, Region)> {
        match self.others[..] {
            [.., before, last] => Some((before, last)),
            [last] => Some((self.first, last)),
            [] => None,
        }
    }

    /// Drops the last region; the one before it is the last then. The first one stays.
    pub fn drop_last(&mut self) {
        self.others.pop();
    }

    pub fn iter(&self) -> impl Iterator<Item = &Region> {
        self.first().into_iter().chain(&self.others)
    }

    /// Whether the last region can have `bytes` in all.
    pub fn can_hold(&self, bytes: u64) -> bool {
        self.last().is_some_and(|last| u64::from(last.first.0) + bytes / UNIT_BYTES < PLACES)
    }

    /// Gives the last region another length.
    pub fn resize_last(&mut self, bytes: u64) {
        let last = self.others.last_mut().unwrap_or(&mut self.first);
        last.bytes = bytes;
        last.places = places_of(bytes);
        last.most_bytes = last.most_bytes.max(bytes);
    }

    /// The address of a place, where there is one region only.
    #[inline(always)]
    pub fn address_in_only(&self, place: Chunk) -> Option<Address> {
        self.others.is_empty().then(|| Address(self.first.address(place)))
    }

    /// The address of a place.
    pub fn address(&self, place: Chunk) -> Address {
        match self.others.partition_point(|region| region.first <= place) {
            0 => Address(self.first.address(place)),
            above => Address(self.others[above - 1].address(place)),
        }
    }

    /// The place at an address, if it is one of the first region.
    #[inline(always)]
    pub fn place_in_first(&self, address: u64) -> Option<Chunk> {
        self.first.find(address)
    }

    /// The place at an address, if it is one of this arena.
    pub fn place(&self, address: u64) -> Option<Chunk> {
        self.first.find(address).or_else(|| self.others.iter().find_map(|region| region.find(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_a_second_region_follow_those_of_the_first() {
        let mut regions = Regions::default();
        regions.add(0x1000_0000, 0x3000, 0, true);
        regions.add(0x7000_0000, 0x2000, 0, false);
        let places = [0x1000_0000, 0x1000_2ff0, 0x7000_0000].map(|address| regions.place(address).expect("inside"));
        assert_eq!(places, [Chunk(256), Chunk(1023), Chunk(1024)]);
        assert_eq!(places.map(|place| regions.address(place).0), [0x1000_0000, 0x1000_2ff0, 0x7000_0000]);
        assert_eq!(regions.place(0x1000_3000), None);
        assert_eq!(regions.place(0x1000_0008), None);
    }

    #[test]
    fn an_arena_has_at_most_32_gib() {
        let mut regions = Regions::default();
        assert!(regions.add(0x1000_0000, 31 << 30, 0, true).is_some());
        assert!(regions.add(0x90_0000_0000, 2 << 30, 0, false).is_none());
    }
}
