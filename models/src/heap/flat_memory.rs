//! A process's memory without a kernel below it: addresses only, no frames.
//!
//! [`FlatMemory`] answers the system calls of one process by plain rules, for the tests and benchmarks of a heap by itself and for
//! reference cases that know nothing of a kernel. It notes what a heap must never do (write where nothing is mapped).
//!
//! # Rules
//! 1. The break moves anywhere above its start, up to the lowest mapping.
//! 2. A mapping goes to the highest gap below the top that holds it, whatever its hint.
//! 3. `mremap` grows a mapping in place where the addresses above it are free, else moves it.
//! 4. `brk`, `mmap` and `mremap` refuse what would take more than the limit.
//!
//! # Left out
//! Rights, advice but for `DontNeed`, and the places where Linux puts a mapping.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Access, Advice, MapRequest, OutOfMemory, SystemMemory};
use crate::Address;

const PAGE_BYTES: u64 = 4096;
const TOP: u64 = 0x7fff_f000_0000;

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlatMemory {
    break_start: u64,
    break_end: u64,
    /// Mapped ranges outside the break: start to end, whole pages.
    mappings: BTreeMap<u64, u64>,
    mapped_bytes: u64,
    resident: BTreeSet<u64>,
    touched_last: u64,
    limit_bytes: u64,
    system_calls: u64,
    stray_writes: u64,
}

impl FlatMemory {
    /// Memory whose break starts at `break_start`, without a limit.
    #[must_use]
    pub fn at(break_start: Address) -> FlatMemory {
        FlatMemory {
            break_start: break_start.0,
            break_end: break_start.0,
            mappings: BTreeMap::new(),
            mapped_bytes: 0,
            resident: BTreeSet::new(),
            touched_last: u64::MAX,
            limit_bytes: u64::MAX,
            system_calls: 0,
            stray_writes: 0,
        }
    }

    /// Sets how many bytes may be held at once. What is held stays.
    pub fn set_limit(&mut self, bytes: u64) {
        self.limit_bytes = bytes;
    }

    /// Bytes held: from the start of the break to its end, and mapped.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.break_end - self.break_start + self.mapped_bytes
    }

    /// System calls made so far.
    #[must_use]
    pub fn system_calls(&self) -> u64 {
        self.system_calls
    }

    /// Writes to addresses that were not held: bugs of the heap.
    #[must_use]
    pub fn stray_writes(&self) -> u64 {
        self.stray_writes
    }

    /// Whether all of `bytes` bytes at `at` are held.
    #[must_use]
    pub fn holds(&self, at: u64, bytes: u64) -> bool {
        let Some(end) = at.checked_add(bytes) else { return false };
        let mut reached = at;
        while reached < end {
            let in_break = self.break_start <= reached && reached < self.break_end;
            let mapping = self.mappings.range(..=reached).next_back().filter(|&(_, &mapped_end)| reached < mapped_end);
            reached = match mapping {
                _ if in_break => self.break_end,
                Some((_, &mapped_end)) => mapped_end,
                None => return false,
            };
        }
        true
    }

    fn within_limit(&self, more_bytes: u64) -> Result<(), OutOfMemory> {
        let held = self.held_bytes().checked_add(more_bytes).ok_or(OutOfMemory)?;
        if held <= self.limit_bytes { Ok(()) } else { Err(OutOfMemory) }
    }

    /// The highest gap of that length: below the top, above the break.
    fn highest_gap(&self, bytes: u64) -> Result<u64, OutOfMemory> {
        let mut end = TOP;
        for (&start, &mapped_end) in self.mappings.iter().rev() {
            if end - mapped_end >= bytes {
                return Ok(end - bytes);
            }
            end = start;
        }
        let at = end.checked_sub(bytes).ok_or(OutOfMemory)?;
        if at >= whole_pages(self.break_end)? { Ok(at) } else { Err(OutOfMemory) }
    }

    fn map(&mut self, at: u64, bytes: u64) {
        self.mappings.insert(at, at + bytes);
        self.mapped_bytes += bytes;
    }

    fn unmap(&mut self, at: u64, end: u64) {
        let from = self.mappings.range(..at).next_back().filter(|&(_, &mapped_end)| mapped_end > at);
        let first = from.map_or(at, |(&start, _)| start);
        let hit: Vec<(u64, u64)> = self.mappings.range(first..end).map(|(&start, &end)| (start, end)).collect();
        for (start, mapped_end) in hit {
            self.mappings.remove(&start);
            self.mapped_bytes -= mapped_end - start;
            if start < at {
                self.map(start, at - start);
            }
            if mapped_end > end {
                self.map(end, mapped_end - end);
            }
        }
        self.forget_pages(at, end);
    }

    fn forget_pages(&mut self, at: u64, end: u64) {
        let pages: Vec<u64> = self.resident.range(at.div_ceil(PAGE_BYTES)..end / PAGE_BYTES).copied().collect();
        for page in pages {
            self.resident.remove(&page);
        }
        self.touched_last = u64::MAX;
    }
}

fn whole_pages(bytes: u64) -> Result<u64, OutOfMemory> {
    bytes.checked_next_multiple_of(PAGE_BYTES).ok_or(OutOfMemory)
}

impl SystemMemory for FlatMemory {
    fn page_bytes(&self) -> u64 {
        PAGE_BYTES
    }

    fn cpus(&self) -> u32 {
        2
    }

    fn program_break(&self) -> Address {
        Address(self.break_end)
    }

    fn brk(&mut self, end: Address) -> Result<(), OutOfMemory> {
        self.system_calls += 1;
        let lowest_mapping = self.mappings.first_key_value().map_or(TOP, |(&start, _)| start);
        if end.0 < self.break_start || end.0 > lowest_mapping {
            return Err(OutOfMemory);
        }
        self.within_limit(end.0.saturating_sub(self.break_end))?;
        if end.0 < self.break_end {
            self.forget_pages(end.0, self.break_end.next_multiple_of(PAGE_BYTES));
        }
        self.break_end = end.0;
        Ok(())
    }

    fn mmap(&mut self, request: &MapRequest) -> Result<Address, OutOfMemory> {
        self.system_calls += 1;
        let bytes = whole_pages(request.bytes)?;
        if bytes == 0 {
            return Err(OutOfMemory);
        }
        self.within_limit(bytes)?;
        let at = self.highest_gap(bytes)?;
        self.map(at, bytes);
        Ok(Address(at))
    }

    fn munmap(&mut self, at: Address, bytes: u64) {
        self.system_calls += 1;
        let end = at.0.saturating_add(bytes).checked_next_multiple_of(PAGE_BYTES).unwrap_or(TOP);
        self.unmap(at.0, end);
    }

    fn mremap(&mut self, at: Address, old_bytes: u64, new_bytes: u64) -> Result<Address, OutOfMemory> {
        self.system_calls += 1;
        let (old_bytes, new_bytes) = (whole_pages(old_bytes)?, whole_pages(new_bytes)?);
        let old_end = at.0.checked_add(old_bytes).ok_or(OutOfMemory)?;
        let new_end = at.0.checked_add(new_bytes).ok_or(OutOfMemory)?;
        if new_bytes == 0 || !self.holds(at.0, old_bytes) {
            return Err(OutOfMemory);
        }
        if new_end <= old_end {
            self.unmap(new_end, old_end);
            return Ok(at);
        }
        self.within_limit(new_bytes - old_bytes)?;
        let next = self.mappings.range(old_end..).next().map_or(TOP, |(&start, _)| start);
        if new_end <= next {
            self.map(old_end, new_end - old_end);
            return Ok(at);
        }
        let moved = self.highest_gap(new_bytes)?;
        let pages = self.resident_pages(at, old_bytes);
        self.unmap(at.0, old_end);
        self.map(moved, new_bytes);
        // Which of its pages were resident is not followed: as many from its start.
        self.touch(Address(moved), pages * PAGE_BYTES);
        Ok(Address(moved))
    }

    fn mprotect(&mut self, _at: Address, _bytes: u64, _access: Access) -> Result<(), OutOfMemory> {
        self.system_calls += 1;
        Ok(())
    }

    fn madvise(&mut self, at: Address, bytes: u64, advice: Advice) {
        self.system_calls += 1;
        if advice == Advice::DontNeed {
            self.forget_pages(at.0, at.0.saturating_add(bytes));
        }
    }

    fn touch(&mut self, at: Address, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let last = at.0.saturating_add(bytes - 1) / PAGE_BYTES;
        if at.0 / PAGE_BYTES == last && last == self.touched_last {
            return;
        }
        if !self.holds(at.0, bytes) {
            self.stray_writes += 1;
            return;
        }
        self.resident.extend(at.0 / PAGE_BYTES..=last);
        self.touched_last = last;
    }

    fn resident_pages(&self, at: Address, bytes: u64) -> u64 {
        if bytes == 0 {
            return 0;
        }
        let last = at.0.saturating_add(bytes - 1) / PAGE_BYTES;
        self.resident.range(at.0 / PAGE_BYTES..=last).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn mappings_go_down_from_the_top_and_fill_the_highest_gap() {
        let mut memory = FlatMemory::at(Address(0x1000));
        let first = memory.mmap(&MapRequest::anywhere(MIB)).unwrap();
        let second = memory.mmap(&MapRequest::anywhere(MIB)).unwrap();
        assert_eq!((first.0, second.0), (TOP - MIB, TOP - 2 * MIB));
        memory.munmap(first, MIB);
        assert_eq!(memory.mmap(&MapRequest::anywhere(5000)), Ok(Address(TOP - 8192)));
        assert_eq!(memory.held_bytes(), MIB + 8192);
    }

    #[test]
    fn unmapping_the_middle_leaves_both_ends() {
        let mut memory = FlatMemory::at(Address(0x1000));
        let at = memory.mmap(&MapRequest::anywhere(MIB)).unwrap();
        memory.touch(at, MIB);
        memory.munmap(Address(at.0 + 4096), 8192);
        assert!(memory.holds(at.0, 4096) && memory.holds(at.0 + 12288, MIB - 12288));
        assert!(!memory.holds(at.0, 4097));
        assert_eq!(memory.resident_pages(at, MIB), 254);
    }

    #[test]
    fn refuses_what_is_over_the_limit_and_changes_nothing() {
        let mut memory = FlatMemory::at(Address(0x1000));
        memory.set_limit(3 * 4096);
        assert_eq!(memory.brk(Address(0x3000)), Ok(()));
        assert_eq!(memory.brk(Address(0x5000)), Err(OutOfMemory));
        assert_eq!(memory.mmap(&MapRequest::anywhere(8192)), Err(OutOfMemory));
        assert_eq!(memory.held_bytes(), 8192);
    }

    #[test]
    fn notices_a_write_where_nothing_is_held() {
        let mut memory = FlatMemory::at(Address(0x1000));
        memory.brk(Address(0x2000)).unwrap();
        memory.touch(Address(0x1ff0), 16);
        assert_eq!(memory.stray_writes(), 0);
        memory.touch(Address(0x1ff0), 17);
        assert_eq!(memory.stray_writes(), 1);
    }
}
