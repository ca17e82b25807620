//! The lists of free chunks of one arena: the unsorted list, small and large bins.
//!
//! Lists are circular and linked both ways. The real one links chunks through their own memory; here each free chunk has an
//! entry in one array, which keeps what searches look at close together. A list's head is an entry like any other, so no
//! end of a list is a special case. The "new end" of a list is the next of its head; the "old end" is the one before its
//! head.

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::chunk::{Chunk, LARGE_UNITS, Units};
use crate::index;

/// The bin of chunks that were freed or cut off and not sorted yet.
pub(super) const UNSORTED: u32 = 1;
/// The last large bin: 512 KiB and more.
pub(super) const LAST_BIN: u32 = 126;

/// The bin for chunks of this length (`bin_index`). Longer chunks never have a lower bin.
pub(super) const fn bin_of(units: Units) -> u32 {
    if units < LARGE_UNITS {
        return units;
    }
    // The bins get wider in steps; the first step that reaches far enough is taken.
    if units >> 2 <= 48 {
        48 + (units >> 2)
    } else if units >> 5 <= 20 {
        91 + (units >> 5)
    } else if units >> 8 <= 10 {
        110 + (units >> 8)
    } else if units >> 11 <= 4 {
        119 + (units >> 11)
    } else if units >> 14 <= 2 {
        124 + (units >> 14)
    } else {
        LAST_BIN
    }
}

/// Bins that may hold chunks. A bit is set when a chunk goes in, and cleared when the bin is found empty.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct BinMap(u128);

impl BinMap {
    const fn set(&mut self, bin: u32) {
        self.0 |= 1 << bin;
    }

    const fn clear(&mut self, bin: u32) {
        self.0 &= !(1 << bin);
    }

    /// The lowest bin from `bin` on that may hold chunks.
    const fn first_from(self, bin: u32) -> Option<u32> {
        let left = self.0 >> bin << bin;
        if bin > LAST_BIN || left == 0 { None } else { Some(left.trailing_zeros()) }
    }
}

/// The number of an entry; that of a list's head is the number of its bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link(pub u32);

impl Link {
    /// No entry: there is no bin of that number.
    const NONE: Link = Link(0);
}

/// The head of a bin's list.
const fn head_of(bin: u32) -> Link {
    Link(bin)
}

/// A free chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Free {
    pub chunk: Chunk,
    pub units: Units,
}

/// A free chunk in a list.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Entry {
    /// None in heads, and in entries that are not used.
    chunk: Chunk,
    units: Units,
    /// Towards the old end.
    next: Link,
    /// Towards the new end.
    previous: Link,
    /// On the skip list of a large bin: the next shorter length; of the shortest, the longest. None off that list.
    shorter: Link,
    /// The next longer length; of the longest, the shortest.
    longer: Link,
}

impl Entry {
    // Field by field: an entry that was just linked is read again soon, and the host waits where it reads more at once than
    // it wrote.
    #[inline(always)]
    const fn free(&self) -> Free {
        Free { chunk: self.chunk, units: self.units }
    }
}

/// The unsorted list and all bins of one arena.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Lists {
    /// The heads first.
    entries: Vec<Entry>,
    /// The first entry that is in no list; each links to the next.
    unused: Link,
    filled: BinMap,
}

impl Lists {
    /// Empty lists.
    pub fn new() -> Lists {
        // On its own skip list: so no head ever counts as a chunk that is on none.
        let head = |bin| {
            let head = head_of(bin);
            Entry { next: head, previous: head, shorter: head, longer: head, ..Entry::default() }
        };
        Lists { entries: (0..=LAST_BIN).map(head).collect(), unused: Link::NONE, filled: BinMap::default() }
    }

    /// The chunk of an entry.
    pub fn free(&self, link: Link) -> Free {
        self.get(link).free()
    }

    /// Whether a chunk is in a list; if so, `link` is its own word. Otherwise that may be any.
    pub fn holds(&self, chunk: Chunk, link: Link) -> bool {
        self.entries.get(index(link.0.into())).is_some_and(|entry| entry.chunk == chunk)
    }

    fn get(&self, link: Link) -> &Entry {
        &self.entries[index(link.0.into())]
    }

    fn at(&mut self, link: Link) -> &mut Entry {
        &mut self.entries[index(link.0.into())]
    }

    /// The newest chunk of a bin.
    pub fn newest(&self, bin: u32) -> Option<Link> {
        let link = self.get(head_of(bin)).next;
        (link != head_of(bin)).then_some(link)
    }

    /// The oldest chunk of a bin; of a large bin, the shortest.
    pub fn oldest(&self, bin: u32) -> Option<Link> {
        let link = self.get(head_of(bin)).previous;
        (link != head_of(bin)).then_some(link)
    }

    /// All chunks of a bin, the newest first, each with its link.
    pub fn iter(&self, bin: u32) -> impl Iterator<Item = (Link, Free)> {
        let next = move |&link: &Link| Some(self.get(link).next).filter(|&next| next != head_of(bin));
        std::iter::successors(self.newest(bin), next).map(|link| (link, self.free(link)))
    }

    /// Whether the entries on both sides of one link to it.
    pub fn links_back(&self, link: Link) -> bool {
        let entry = self.get(link);
        self.get(entry.previous).next == link && self.get(entry.next).previous == link
    }

    /// Makes an entry at the new end of the unsorted list.
    pub fn push_unsorted(&mut self, chunk: Chunk, units: Units) -> Link {
        let link = self.take_unused();
        let head = head_of(UNSORTED);
        let next = self.get(head).next;
        *self.at(link) = Entry { chunk, units, next, previous: head, shorter: Link::NONE, longer: Link::NONE };
        self.at(next).previous = link;
        self.at(head).next = link;
        link
    }

    fn take_unused(&mut self) -> Link {
        let link = self.unused;
        if link != Link::NONE {
            self.unused = self.get(link).next;
            return link;
        }
        let link = Link(u32::try_from(self.entries.len()).expect("fewer free chunks than places"));
        self.entries.push(Entry::default());
        link
    }

    /// Takes a chunk out of whatever list it is in, and drops its entry (`unlink_chunk`).
    pub fn remove(&mut self, link: Link) -> Free {
        if self.get(link).shorter != Link::NONE {
            self.skip_unlink(link);
        }
        self.unlink(link);
        let unused = self.unused;
        let entry = self.at(link);
        let free = entry.free();
        (entry.chunk, entry.next) = (Chunk::NONE, unused);
        self.unused = link;
        free
    }

    /// Takes a chunk that is on no skip list out of its list; its entry stays, to be put into another one.
    fn unlink(&mut self, link: Link) {
        let &Entry { next, previous, .. } = self.get(link);
        self.at(next).previous = previous;
        self.at(previous).next = next;
    }

    fn link_between(&mut self, before: Link, link: Link, after: Link) {
        let entry = self.at(link);
        (entry.next, entry.previous) = (after, before);
        self.at(after).previous = link;
        self.at(before).next = link;
    }

    fn set_longer_shorter(&mut self, link: Link, longer: Link, shorter: Link) {
        let entry = self.at(link);
        (entry.longer, entry.shorter) = (longer, shorter);
    }

    /// Puts a chunk on the skip list, on the longer side of `at`.
    fn skip_link_before(&mut self, at: Link, link: Link) {
        let longer = self.get(at).longer;
        self.set_longer_shorter(link, longer, at);
        self.at(at).longer = link;
        self.at(longer).shorter = link;
    }

    /// Takes a chunk off the skip list; the next chunk of its length, if there is one, takes its place.
    #[inline(never)]
    fn skip_unlink(&mut self, link: Link) {
        let &Entry { next, shorter, longer, .. } = self.get(link);
        let has_heir = self.get(next).shorter == Link::NONE;
        match (has_heir, shorter == link) {
            (true, true) => self.set_longer_shorter(next, next, next),
            (true, false) => {
                self.set_longer_shorter(next, longer, shorter);
                self.at(shorter).longer = next;
                self.at(longer).shorter = next;
            }
            (false, _) => {
                self.at(shorter).longer = longer;
                self.at(longer).shorter = shorter;
            }
        }
    }
}

impl Call<'_> {
    /// Sorts an unsorted chunk into its small or large bin.
    pub(super) fn sort(&mut self, link: Link, units: Units) {
        let bin = bin_of(units);
        let lists = &mut self.arena.lists;
        lists.unlink(link);
        lists.filled.set(bin);
        let head = head_of(bin);
        if units < LARGE_UNITS {
            lists.link_between(head, link, lists.get(head).next);
        } else {
            self.push_large(head, link, units);
        }
    }

    /// A large bin falls by length. The first chunk of each length is on a second list, which skips the others.
    fn push_large(&mut self, head: Link, link: Link, units: Units) {
        let lists = &mut self.arena.lists;
        let &Entry { next: longest, previous: shortest, .. } = lists.get(head);
        if longest == head {
            lists.set_longer_shorter(link, link, link);
            lists.link_between(head, link, head);
        } else if units < lists.get(shortest).units {
            lists.skip_link_before(longest, link);
            lists.link_between(shortest, link, head);
        } else {
            let mut at = longest;
            while units < lists.get(at).units {
                at = lists.get(at).shorter;
                *self.searched += 1;
            }
            if units == lists.get(at).units {
                // Second of its length: so the skip list stays as it is.
                at = lists.get(at).next;
            } else {
                lists.skip_link_before(at, link);
            }
            lists.link_between(lists.get(at).previous, link, at);
        }
    }

    /// The chunk of a large bin to use for `units`: the shortest length that is enough, and of several of that length the
    /// second, so that the skip list stays as it is.
    pub(super) fn best_in_large(&mut self, bin: u32, units: Units) -> Option<Link> {
        let lists = &self.arena.lists;
        let longest = lists.get(lists.newest(bin)?);
        if longest.units < units {
            return None;
        }
        let mut at = longest.longer;
        while lists.get(at).units < units {
            at = lists.get(at).longer;
            *self.searched += 1;
        }
        let best = lists.get(at);
        let has_second = best.next != head_of(bin) && lists.get(best.next).units == best.units;
        Some(if has_second { best.next } else { at })
    }

    /// The oldest chunk of the lowest bin from `bin` on that holds any.
    pub(super) fn oldest_from(&mut self, mut bin: u32) -> Option<Link> {
        let lists = &mut self.arena.lists;
        loop {
            bin = lists.filled.first_from(bin)?;
            *self.searched += 1;
            match lists.oldest(bin) {
                Some(link) => return Some(link),
                None => lists.filled.clear(bin),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_rise_with_length_and_meet_at_the_steps() {
        let bin = |bytes: u32| bin_of(bytes / 16);
        assert_eq!([bin(32), bin(1008), bin(1024), bin(1072), bin(1088)], [2, 63, 64, 64, 65]);
        // Bin 120 is reached by the third and by the fourth step.
        assert_eq!([bin(40_944), bin(40_960), bin(65_520), bin(65_536)], [119, 120, 120, 121]);
        assert_eq!([bin(524_272), bin(524_288), bin(1 << 31)], [125, 126, 126]);
        assert!((2..1 << 17).all(|units| bin_of(units) <= bin_of(units + 1)));
    }

    #[test]
    fn the_bin_map_finds_the_lowest_bit_from_a_bin_on() {
        let mut map = BinMap::default();
        map.set(3);
        map.set(126);
        assert_eq!([map.first_from(2), map.first_from(3), map.first_from(4)], [Some(3), Some(3), Some(126)]);
        map.clear(126);
        assert_eq!([map.first_from(4), map.first_from(127)], [None, None]);
    }
}
