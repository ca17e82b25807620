//! Slab: pages carved into objects of one size each.
//!
//! # Models
//! The slab allocator as a general heap: a cache of slabs for each size class, large requests mapped. Source: Bonwick 1994,
//! "The slab allocator: an object-caching kernel memory allocator" (USENIX Summer 1994).
//!
//! # Rules
//! 1. Size classes are 16, 32, 48, 64 and from there two for each power of two (96, 128, 192, ...) up to 4,096 bytes. A request
//!    takes an object of the smallest class that holds it; an aligned one of the smallest class that is a multiple of
//!    the alignment too.
//! 2. A slab is a mapping of the smallest power of two of pages that holds eight objects. Its last bytes are its descriptor: 32 bytes
//!    and 2 for each object.
//! 3. An object comes from the partly used slab at the front of its class, else from an empty one, else from a new one. A
//!    slab gives the object that was freed last, a new one its lowest first. A full slab that gets an object back goes to the front.
//! 4. A class keeps `empty_slabs_kept` empty slabs; one more is unmapped at once.
//! 5. Larger requests, and alignments beyond a page, are mappings of their own, in whole pages; `free` unmaps them, `realloc` remaps
//!    them. Other objects stay where they are while their class does not change, else `malloc`, copy, `free`.
//!
//! # Invariants
//! Verified by `check`: live objects of a slab are counted right and not on its list of free ones; full slabs are in no list, others in
//! the list they belong to; the pages of the map are those of the slabs.
//!
//! # Cost
//! O(1); 2 bytes an object, about 80 a slab.
//!
//! # Left out
//! Constructors and colouring, which are about time and cache lines and move no page.

use serde::{Deserialize, Serialize};

use super::block_map::BlockMap;
use super::{
    Access, HeapAllocator, HeapFreeError, HeapSetting, HeapStats, MapRequest, OutOfMemory, Piece, PieceKind,
    ReallocError, SystemMemory, show_ascending,
};
use crate::registry::{BadOptions, Model};
use crate::{Address, ThreadId, Violation, ensure, index};

/// Bytes of an object of each class.
const CLASS_BYTES: [u64; 16] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096];
const OBJECTS_MIN: u64 = 8;
const DESCRIPTOR_BYTES: u64 = 32;
const DESCRIPTOR_BYTES_PER_OBJECT: u64 = 2;
/// In `links`: the object is live.
const LIVE: u16 = u16::MAX;
/// In `links`: the last free object.
const END: u16 = u16::MAX - 1;
/// No slab.
const NONE: u32 = u32::MAX;

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slab {
    options: SlabOptions,
    page_bytes: u64,
    classes: Vec<Class>,
    slabs: Vec<OneSlab>,
    /// Records of slabs that were unmapped, to be used again.
    spare: Vec<u32>,
    /// The slab of each page of slabs.
    pages: BlockMap,
    /// Mappings of their own: bytes of each.
    mapped: BlockMap,
    mapped_bytes: u64,
    live_objects: u64,
    live_bytes: u64,
    slab_bytes: u64,
    /// Of `slab_bytes`, those that no object can have.
    lost_bytes: u64,
    /// Bytes of objects in empty slabs.
    empty_bytes: u64,
}

/// What a workload can set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlabOptions {
    /// Empty slabs that each class keeps.
    pub empty_slabs_kept: u64,
}

impl Default for SlabOptions {
    fn default() -> SlabOptions {
        SlabOptions { empty_slabs_kept: 1 }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Class {
    object_bytes: u64,
    /// First slabs of the lists.
    partial: u32,
    empty: u32,
    empty_slabs: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct OneSlab {
    start: u64,
    bytes: u64,
    class: u32,
    live: u16,
    /// The free object to hand out next.
    first_free: u16,
    /// Of each object: the free one after it, `END` or `LIVE`.
    links: Vec<u16>,
    next: u32,
    previous: u32,
}

impl OneSlab {
    fn is_full(&self) -> bool {
        usize::from(self.live) == self.links.len()
    }

    /// Its objects, then what none of them can have.
    fn collect_pieces(&self, pieces: &mut Vec<Piece>) {
        let bytes = CLASS_BYTES[index(self.class.into())];
        let free = if self.live == 0 { PieceKind::Cached } else { PieceKind::FreeInPage };
        let mut at = self.start;
        for &link in &self.links {
            let kind = if link == LIVE { PieceKind::Live { usable: bytes } } else { free };
            pieces.push(Piece { at: Address(at), bytes, kind });
            at += bytes;
        }
        pieces.push(Piece { at: Address(at), bytes: self.start + self.bytes - at, kind: PieceKind::Overhead });
    }
}

impl Model<dyn HeapAllocator> for Slab {
    const NAME: &'static str = "slab";
    const SUMMARY: &'static str = "pages carved into objects of one size; empty ones go back";
    const RULES: &'static str = "\
Each size class has its own slabs: pages carved into objects of one size.
A request takes an object of the smallest class that holds it: the last
freed of a partly used slab, else of an empty slab, else of a new one.
A slab with no live object goes back to the kernel, but for one a class.
Requests over 4 KiB are mappings of their own.

    a..............................D   malloc 100: class 128, 31 objects
    ab.............................D   malloc 120; D is the descriptor
    cb.............................D   free a, malloc 128";
    type Options = SlabOptions;

    fn build(_setting: HeapSetting, options: &SlabOptions) -> Result<Slab, BadOptions> {
        let class = |&object_bytes: &u64| Class { object_bytes, partial: NONE, empty: NONE, empty_slabs: 0 };
        Ok(Slab {
            options: *options,
            page_bytes: 0,
            classes: CLASS_BYTES.iter().map(class).collect(),
            slabs: Vec::new(),
            spare: Vec::new(),
            pages: BlockMap::new(1),
            mapped: BlockMap::new(1),
            mapped_bytes: 0,
            live_objects: 0,
            live_bytes: 0,
            slab_bytes: 0,
            lost_bytes: 0,
            empty_bytes: 0,
        })
    }
}

impl HeapAllocator for Slab {
    fn malloc(&mut self, thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        self.aligned_alloc(thread, 1, bytes, os)
    }

    fn aligned_alloc(
        &mut self,
        _thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        self.begin(os);
        let align = align.checked_next_power_of_two().ok_or(OutOfMemory)?;
        match class_for(bytes, align) {
            Some(class) if align <= self.page_bytes => self.take_object(class, os),
            _ => self.map(align, bytes, os),
        }
    }

    fn realloc(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError> {
        let old_bytes = self.usable_size(at).ok_or(HeapFreeError(at))?;
        let is_mapped = self.mapped.get(at.0).is_some();
        match class_for(bytes, 1) {
            None if is_mapped => return Ok(Some(self.remap(at, old_bytes, bytes, os)?)),
            Some(class) if !is_mapped && CLASS_BYTES[class] == old_bytes => return Ok(Some(at)),
            _ => {}
        }
        let moved = self.malloc(thread, bytes, os)?;
        os.touch(moved, old_bytes.min(bytes));
        self.free(thread, at, os)?;
        Ok(Some(moved))
    }

    fn free(&mut self, _thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        if let Some(bytes) = self.mapped.remove(at.0) {
            self.mapped_bytes -= bytes;
            os.munmap(at, bytes);
            return Ok(());
        }
        let (slab, object) = self.find_object(at).ok_or(HeapFreeError(at))?;
        self.give_object(slab, object, os);
        Ok(())
    }

    fn usable_size(&self, at: Address) -> Option<u64> {
        let object_bytes = || self.find_object(at).map(|(slab, _)| self.object_bytes(slab));
        self.mapped.get(at.0).or_else(object_bytes)
    }

    fn stats(&self) -> HeapStats {
        HeapStats {
            blocks: self.live_objects + self.mapped.len(),
            usable: self.live_bytes + self.mapped_bytes,
            overhead: self.lost_bytes,
            free: self.slab_bytes - self.lost_bytes - self.live_bytes,
            cached: self.empty_bytes,
            in_page: self.slab_bytes - self.lost_bytes - self.live_bytes - self.empty_bytes,
            held: self.slab_bytes + self.mapped_bytes,
        }
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        for slab in self.slabs.iter().filter(|slab| slab.bytes > 0) {
            let bytes = CLASS_BYTES[index(slab.class.into())];
            for (object, _) in (0..).zip(&slab.links).filter(|&(_, &link)| link != LIVE) {
                visit(Address(slab.start + object * bytes), bytes);
            }
        }
    }

    fn for_each_piece(&self, visit: &mut dyn FnMut(Piece)) {
        let mut pieces = Vec::new();
        for slab in self.slabs.iter().filter(|slab| slab.bytes > 0) {
            slab.collect_pieces(&mut pieces);
        }
        let own = |(at, bytes)| Piece { at: Address(at), bytes, kind: PieceKind::Live { usable: bytes } };
        pieces.extend(self.mapped.iter().map(own));
        show_ascending(pieces, visit);
    }

    fn check(&self) -> Result<(), Violation> {
        self.pages.check()?;
        self.mapped.check()?;
        let mut pages = 0;
        for (number, slab) in (0..).zip(&self.slabs).filter(|(_, slab)| slab.bytes > 0) {
            self.check_slab(number, slab)?;
            pages += slab.bytes / self.page_bytes;
        }
        ensure(pages == self.pages.len(), || format!("{pages} pages of slabs, {} in the map", self.pages.len()))?;
        self.classes.iter().try_for_each(|class| self.check_lists(class))
    }
}

impl Slab {
    fn begin(&mut self, os: &dyn SystemMemory) {
        if self.page_bytes == 0 {
            self.page_bytes = os.page_bytes();
            self.pages = BlockMap::new(self.page_bytes);
            self.mapped = BlockMap::new(self.page_bytes);
        }
    }

    fn slab(&self, number: u32) -> &OneSlab {
        &self.slabs[index(number.into())]
    }

    fn slab_mut(&mut self, number: u32) -> &mut OneSlab {
        &mut self.slabs[index(number.into())]
    }

    fn object_bytes(&self, slab: u32) -> u64 {
        CLASS_BYTES[index(self.slab(slab).class.into())]
    }

    /// The slab and the place of the live object at `at`.
    fn find_object(&self, at: Address) -> Option<(u32, u16)> {
        let page = at.0 & !self.page_bytes.checked_sub(1)?;
        let number = u32::try_from(self.pages.get(page)?).expect("the map of pages holds numbers of slabs");
        let slab = self.slab(number);
        let (offset, bytes) = (at.0 - slab.start, self.object_bytes(number));
        let object = u16::try_from(offset / bytes).ok()?;
        let is_live = slab.links.get(usize::from(object)) == Some(&LIVE);
        (is_live && offset.is_multiple_of(bytes)).then_some((number, object))
    }

    /// Rule 3.
    fn take_object(&mut self, class: usize, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        if self.classes[class].partial == NONE {
            if self.classes[class].empty == NONE {
                self.map_slab(class, os)?;
            }
            let slab = self.classes[class].empty;
            self.leave_empty(slab);
            self.link_partial(slab);
        }
        let number = self.classes[class].partial;
        let slab = self.slab_mut(number);
        let object = slab.first_free;
        slab.first_free = std::mem::replace(&mut slab.links[usize::from(object)], LIVE);
        slab.live += 1;
        if slab.is_full() {
            self.unlink_partial(number);
        }
        self.live_objects += 1;
        self.live_bytes += CLASS_BYTES[class];
        Ok(Address(self.slab(number).start + u64::from(object) * CLASS_BYTES[class]))
    }

    fn give_object(&mut self, number: u32, object: u16, os: &mut dyn SystemMemory) {
        self.live_objects -= 1;
        self.live_bytes -= self.object_bytes(number);
        if self.slab(number).is_full() {
            self.link_partial(number);
        }
        let slab = self.slab_mut(number);
        slab.links[usize::from(object)] = slab.first_free;
        slab.first_free = object;
        slab.live -= 1;
        if slab.live > 0 {
            return;
        }
        self.unlink_partial(number);
        self.enter_empty(number);
        let class = index(self.slab(number).class.into());
        if self.classes[class].empty_slabs > self.options.empty_slabs_kept {
            self.leave_empty(number);
            self.unmap_slab(number, os);
        }
    }

    /// Maps a slab and makes it an empty one of its class (rule 2).
    fn map_slab(&mut self, class: usize, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let (bytes, objects) = slab_size(CLASS_BYTES[class], self.page_bytes);
        let start = os.mmap(&MapRequest::anywhere(bytes))?.0;
        let number = self.spare.pop().unwrap_or(u32::try_from(self.slabs.len()).expect("fewer than 2^32 slabs"));
        let slab = OneSlab {
            start,
            bytes,
            class: u32::try_from(class).expect("a few classes"),
            live: 0,
            first_free: 0,
            links: (1..objects).chain([END]).collect(),
            next: NONE,
            previous: NONE,
        };
        match self.slabs.get_mut(index(number.into())) {
            Some(spare) => *spare = slab,
            None => self.slabs.push(slab),
        }
        for page in 0..bytes / self.page_bytes {
            self.pages.insert(start + page * self.page_bytes, number.into());
        }
        self.slab_bytes += bytes;
        let object_bytes = u64::from(objects) * CLASS_BYTES[class];
        self.lost_bytes += bytes - object_bytes;
        let descriptor = descriptor_bytes(objects.into());
        os.touch(Address(start + bytes - descriptor), descriptor);
        self.enter_empty(number);
        Ok(())
    }

    fn unmap_slab(&mut self, number: u32, os: &mut dyn SystemMemory) {
        let object_bytes = self.bytes_of_objects(number);
        let slab = self.slab_mut(number);
        let (start, bytes) = (slab.start, slab.bytes);
        (slab.bytes, slab.links) = (0, Vec::new());
        for page in 0..bytes / self.page_bytes {
            self.pages.remove(start + page * self.page_bytes);
        }
        self.slab_bytes -= bytes;
        self.lost_bytes -= bytes - object_bytes;
        self.spare.push(number);
        os.munmap(Address(start), bytes);
    }

    fn bytes_of_objects(&self, number: u32) -> u64 {
        self.slab(number).links.len() as u64 * self.object_bytes(number)
    }

    fn enter_empty(&mut self, number: u32) {
        self.empty_bytes += self.bytes_of_objects(number);
        let class = index(self.slab(number).class.into());
        self.classes[class].empty_slabs += 1;
        let next = std::mem::replace(&mut self.classes[class].empty, number);
        self.link_before(number, next);
    }

    fn leave_empty(&mut self, number: u32) {
        self.empty_bytes -= self.bytes_of_objects(number);
        let class = index(self.slab(number).class.into());
        self.classes[class].empty_slabs -= 1;
        let next = self.unlink(number);
        if self.classes[class].empty == number {
            self.classes[class].empty = next;
        }
    }

    fn link_partial(&mut self, number: u32) {
        let class = index(self.slab(number).class.into());
        let next = std::mem::replace(&mut self.classes[class].partial, number);
        self.link_before(number, next);
    }

    fn unlink_partial(&mut self, number: u32) {
        let class = index(self.slab(number).class.into());
        let next = self.unlink(number);
        if self.classes[class].partial == number {
            self.classes[class].partial = next;
        }
    }

    /// Puts a slab in front of the first one of a list.
    fn link_before(&mut self, number: u32, next: u32) {
        let slab = self.slab_mut(number);
        (slab.previous, slab.next) = (NONE, next);
        if next != NONE {
            self.slab_mut(next).previous = number;
        }
    }

    /// Takes a slab out of its list; the one after it is returned.
    fn unlink(&mut self, number: u32) -> u32 {
        let OneSlab { previous, next, .. } = *self.slab(number);
        if previous != NONE {
            self.slab_mut(previous).next = next;
        }
        if next != NONE {
            self.slab_mut(next).previous = previous;
        }
        next
    }

    /// A mapping of its own (rule 5). Beyond a page, what aligning skips is unmapped again.
    fn map(&mut self, align: u64, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        let bytes = bytes.max(1).checked_next_multiple_of(self.page_bytes).ok_or(OutOfMemory)?;
        let skip = align.saturating_sub(self.page_bytes);
        let all = bytes.checked_add(skip).ok_or(OutOfMemory)?;
        let request = MapRequest { bytes: all, hint: None, access: Access::ReadWrite, no_reserve: false };
        let start = os.mmap(&request)?.0;
        let at = start.next_multiple_of(align);
        for (from, to) in [(start, at), (at + bytes, start + all)] {
            if from < to {
                os.munmap(Address(from), to - from);
            }
        }
        self.mapped.insert(at, bytes);
        self.mapped_bytes += bytes;
        Ok(Address(at))
    }

    fn remap(
        &mut self,
        at: Address,
        old_bytes: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let bytes = bytes.checked_next_multiple_of(self.page_bytes).ok_or(OutOfMemory)?;
        if bytes == old_bytes {
            return Ok(at);
        }
        let moved = os.mremap(at, old_bytes, bytes)?;
        self.mapped.remove(at.0);
        self.mapped.insert(moved.0, bytes);
        self.mapped_bytes = self.mapped_bytes - old_bytes + bytes;
        Ok(moved)
    }

    fn check_slab(&self, number: u32, slab: &OneSlab) -> Result<(), Violation> {
        let live = slab.links.iter().filter(|&&link| link == LIVE).count();
        ensure(live == usize::from(slab.live), || format!("{live} live objects in a slab, {} counted", slab.live))?;
        let next = |&object: &u16| Some(slab.links[usize::from(object)]).filter(|&next| next != END);
        let free = std::iter::successors(Some(slab.first_free).filter(|&first| first != END), next);
        let free = free.take(slab.links.len() + 1).filter(|&object| slab.links[usize::from(object)] != LIVE).count();
        ensure(free + live == slab.links.len(), || format!("{free} free and {live} live of {}", slab.links.len()))?;
        let mapped = self.pages.get(slab.start + slab.bytes - self.page_bytes);
        ensure(mapped == Some(number.into()), || format!("the last page of slab {number} is of {mapped:?}"))
    }

    fn check_lists(&self, class: &Class) -> Result<(), Violation> {
        let of_class = |slab: &&OneSlab| slab.bytes > 0 && CLASS_BYTES[index(slab.class.into())] == class.object_bytes;
        let (mut partial, mut empty) = (0, 0);
        for slab in self.slabs.iter().filter(of_class).filter(|slab| !slab.is_full()) {
            if slab.live == 0 { empty += 1 } else { partial += 1 }
        }
        let listed = |first: u32| {
            std::iter::successors((first != NONE).then_some(first), |&slab| {
                Some(self.slab(slab).next).filter(|&next| next != NONE)
            })
        };
        let bytes = class.object_bytes;
        let (listed_partial, listed_empty) = (listed(class.partial).count(), listed(class.empty).count());
        ensure(listed_partial == partial, || format!("{listed_partial} partial slabs of {bytes}, not {partial}"))?;
        ensure(listed_empty == empty, || format!("{listed_empty} empty slabs of {bytes}, not {empty}"))?;
        ensure(class.empty_slabs == empty as u64, || format!("{empty} empty slabs of {bytes}, not counted so"))
    }
}

/// The smallest class that holds `bytes` and is a multiple of `align`.
fn class_for(bytes: u64, align: u64) -> Option<usize> {
    CLASS_BYTES.iter().position(|&object_bytes| object_bytes >= bytes && object_bytes.is_multiple_of(align))
}

/// Bytes of a slab, and its objects.
fn slab_size(object_bytes: u64, page_bytes: u64) -> (u64, u16) {
    let least = OBJECTS_MIN * object_bytes + descriptor_bytes(OBJECTS_MIN);
    let bytes = least.div_ceil(page_bytes).next_power_of_two() * page_bytes;
    let objects = (bytes - DESCRIPTOR_BYTES) / (object_bytes + DESCRIPTOR_BYTES_PER_OBJECT);
    // Only a page of more than 1 MiB would have more objects than a link can name.
    (bytes, u16::try_from(objects).map_or(END, |objects| objects.min(END)))
}

fn descriptor_bytes(objects: u64) -> u64 {
    DESCRIPTOR_BYTES + objects * DESCRIPTOR_BYTES_PER_OBJECT
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::heap::drawing::Drawn;

    fn slab() -> Drawn<Slab> {
        Drawn::new(&SlabOptions::default(), 16)
    }

    /// Offsets of blocks from the start of the page that `first` is in.
    fn places(drawn: &Drawn<Slab>, names: &str) -> String {
        let first = drawn.at(names.chars().next().unwrap()).0;
        let place = |name| format!("{name} {}", i128::from(drawn.at(name).0) - i128::from(first & !4095));
        names.chars().map(place).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_slab_hands_out_the_object_freed_last_and_else_the_lowest() {
        let mut drawn = slab();
        drawn.malloc_all("abcd", 100);
        drawn.free("bc");
        drawn.malloc_all("efg", 128);
        assert_snapshot!(places(&drawn, "aefdg"), @"a 0, e 256, f 128, d 384, g 512");
    }

    #[test]
    fn each_class_has_slabs_of_its_own() {
        let mut drawn = slab();
        drawn.malloc('a', 16);
        drawn.malloc('b', 17);
        drawn.malloc('c', 33);
        assert_snapshot!(places(&drawn, "abc"), @"a 0, b -4096, c -8192");
        let usable = |name| drawn.heap.usable_size(drawn.at(name)).unwrap();
        assert_eq!((usable('a'), usable('b'), usable('c')), (16, 32, 48));
    }

    #[test]
    fn slabs_hold_at_least_eight_objects_and_their_descriptor() {
        let mut sizes = Vec::new();
        for bytes in [16, 512, 4096] {
            let (slab, objects) = slab_size(bytes, 4096);
            assert!(u64::from(objects) * bytes + descriptor_bytes(objects.into()) <= slab);
            sizes.push(format!("{objects} of {bytes} in {slab}"));
        }
        assert_snapshot!(sizes.join(", "), @"225 of 16 in 4096, 15 of 512 in 8192, 15 of 4096 in 65536");
    }

    #[test]
    fn keeps_one_empty_slab_of_a_class_and_unmaps_the_next() {
        let mut drawn = slab();
        let names: Vec<char> = ('a'..='z').collect();
        for &name in &names {
            drawn.malloc(name, 512);
        }
        let held = drawn.heap.stats().held;
        for &name in &names {
            drawn.free(&name.to_string());
        }
        assert_snapshot!(format!("{held} held, then {:?}", drawn.heap.stats()), @"16384 held, then HeapStats { blocks: 0, usable: 0, overhead: 512, free: 7680, cached: 7680, in_page: 0, held: 8192 }");
    }

    #[test]
    fn realloc_stays_within_a_class_and_moves_to_another_one_even_to_shrink() {
        let mut drawn = slab();
        drawn.malloc('a', 100);
        let at = drawn.at('a');
        drawn.realloc('a', 128);
        assert_eq!(drawn.at('a'), at);
        drawn.realloc('a', 40);
        assert_eq!(drawn.heap.usable_size(drawn.at('a')), Some(48));
    }

    #[test]
    fn a_slab_writes_its_descriptor_and_a_move_its_copy() {
        let mut drawn = slab();
        drawn.malloc('a', 4096);
        let resident = |drawn: &Drawn<Slab>| drawn.memory.resident_pages(Address(0), 1 << 47);
        assert_eq!(resident(&drawn), 1, "the descriptor, at the end of 16 pages");
        drawn.realloc('a', 8192);
        assert_eq!(resident(&drawn), 2, "the copied page; the empty slab stays");
    }

    #[test]
    fn large_requests_are_mappings_that_go_back_at_once() {
        let mut drawn = slab();
        drawn.malloc('a', 5000);
        assert_eq!(drawn.heap.usable_size(drawn.at('a')), Some(8192));
        drawn.realloc('a', 100_000);
        assert_eq!(drawn.memory.held_bytes(), 102_400);
        drawn.realloc('a', 100);
        assert_eq!(drawn.heap.usable_size(drawn.at('a')), Some(128));
        assert_eq!(drawn.heap.stats().held, 4096);
    }

    #[test]
    fn alignments_beyond_a_page_unmap_what_they_skip() {
        let mut drawn = slab();
        drawn.aligned('a', 1 << 16, 100);
        assert!(drawn.at('a').0.is_multiple_of(1 << 16));
        assert_eq!(drawn.memory.held_bytes(), 4096);
    }

    #[test]
    fn an_address_within_an_object_or_a_free_object_is_no_live_block() {
        let mut drawn = slab();
        drawn.malloc_all("ab", 64);
        let at = drawn.at('a');
        drawn.free("a");
        for wrong in [at, Address(at.0 + 64 + 16), Address(at.0 + 128), Address(0), Address(u64::MAX)] {
            assert_eq!(drawn.heap.free(ThreadId(0), wrong, &mut drawn.memory), Err(HeapFreeError(wrong)));
        }
        drawn.heap.check().unwrap();
    }
}
