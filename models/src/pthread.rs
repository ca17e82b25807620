//! Stacks of threads, as the C library makes, keeps and drops them.
//!
//! # Models
//! glibc 2.36, nptl/allocatestack.c and nptl/nptl-stack.c: `allocate_stack`, `get_cached_stack`, `__nptl_free_stacks`,
//! `advise_stack_range`. Lengths, rights and what is written were read off recordings of two programs on Linux 6.18.
//!
//! # Rules
//! 1. A new stack is one mapping without rights (`MAP_STACK`): what the limit says (`ulimit -s`, 8 MiB) and a guard page,
//!    which is the lowest. All but the guard is made writable.
//! 2. The thread writes to its two highest pages: its descriptor and thread-local data, its first frames.
//! 3. When it ends, `madvise` gives back all but these two pages and the 16 KiB below them (`PTHREAD_STACK_MIN`), and the
//!    stack is kept for the next thread: the one kept last is used first.
//! 4. When more than 40 MiB are kept, the stacks kept longest are unmapped until it is no more: of 8 MiB, four stay.
//!
//! # Invariants
//! A stack is in use or kept, never both; kept stacks have at most 40 MiB together.
//!
//! # Cost
//! O(1) beside the system calls, and the few stacks kept.
//!
//! # Left out
//! Stacks of other sizes, or at addresses a program chooses; the table of thread-local blocks (`dtv`, 272 bytes that the
//! starting thread takes from the heap); deeper use of a stack.

use serde::{Deserialize, Serialize};

use crate::Address;
use crate::heap::{Access, Advice, OutOfMemory, SystemMemory};
use crate::kernel::ProcessMemory;

/// Bytes of stacks that are kept at most (`stack_cache_maxsize`).
const KEPT_BYTES_MOST: u64 = 40 << 20;
/// Bytes below a thread's stack pointer that stay as they are (`PTHREAD_STACK_MIN`).
const STAYING_BYTES: u64 = 16 << 10;
/// Pages that a thread writes to.
const WRITTEN_PAGES: u64 = 2;

/// The stacks of one process's threads, but for the main one's. See the [module page](self) for the rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacks {
    /// Bytes of a stack without its guard.
    bytes: u64,
    /// Of no thread now, the one kept longest first.
    kept: Vec<Address>,
}

impl Stacks {
    /// None yet; each will have `bytes`, rounded up to pages.
    #[must_use]
    pub const fn new(bytes: u64) -> Stacks {
        Stacks { bytes, kept: Vec::new() }
    }

    /// Stacks that are kept for later threads.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// A stack for a new thread, its highest pages written: its lowest address.
    ///
    /// # Errors
    /// [`OutOfMemory`]; all is as it was.
    pub fn take(&mut self, memory: &mut ProcessMemory<'_>) -> Result<Address, OutOfMemory> {
        let stack = match self.kept.pop() {
            Some(stack) => stack,
            None => self.map(memory)?,
        };
        let written = (WRITTEN_PAGES * memory.page_bytes()).min(self.usable_bytes(memory));
        memory.touch(Address(stack.0 + self.mapped_bytes(memory) - written), written);
        Ok(stack)
    }

    fn map(&self, memory: &mut ProcessMemory<'_>) -> Result<Address, OutOfMemory> {
        let stack = memory.mmap_stack(self.mapped_bytes(memory))?;
        let above_guard = Address(stack.0 + memory.page_bytes());
        if let Err(refused) = memory.mprotect(above_guard, self.usable_bytes(memory), Access::ReadWrite) {
            memory.munmap(stack, self.mapped_bytes(memory));
            return Err(refused);
        }
        Ok(stack)
    }

    /// The stack of a thread that has ended.
    pub fn give(&mut self, stack: Address, memory: &mut ProcessMemory<'_>) {
        let staying = WRITTEN_PAGES * memory.page_bytes() + STAYING_BYTES.next_multiple_of(memory.page_bytes());
        if let Some(unused) = self.mapped_bytes(memory).checked_sub(staying).filter(|&bytes| bytes > 0) {
            memory.madvise(stack, unused, Advice::DontNeed);
        }
        self.kept.push(stack);
        while self.kept.len() as u64 * self.mapped_bytes(memory) > KEPT_BYTES_MOST {
            let oldest = self.kept.remove(0);
            memory.munmap(oldest, self.mapped_bytes(memory));
        }
    }

    /// Undoes [`Stacks::take`], for a thread that could not be started after all.
    pub fn undo(&mut self, stack: Address, memory: &mut ProcessMemory<'_>) {
        memory.munmap(stack, self.mapped_bytes(memory));
    }

    fn usable_bytes(&self, memory: &ProcessMemory<'_>) -> u64 {
        self.bytes.max(1).next_multiple_of(memory.page_bytes())
    }

    fn mapped_bytes(&self, memory: &ProcessMemory<'_>) -> u64 {
        self.usable_bytes(memory) + memory.page_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{FrameSetting, PolicyRegistry};
    use crate::kernel::{Charges, Image, Kernel, KernelSettings, Region};
    use crate::{Coins, Pid};

    const PAGE: u64 = 4096;

    fn process() -> (Kernel, Pid) {
        let policies = PolicyRegistry::default();
        let setting = FrameSetting { frames: 8192, coins: Coins::from_key([0; 32]) };
        let choice = crate::frames::PolicyChoice::named("first_fit");
        let policy = policies.build("first_fit", &choice, setting).expect("a known policy").expect("no options");
        let settings = KernelSettings { charges: Charges::FREE_OF_CHARGE, ..KernelSettings::default() };
        let mut kernel = Kernel::new("first_fit", policy, settings).expect("sound settings");
        let pid = kernel.spawn(&Image::default()).expect("room for nothing");
        (kernel, pid)
    }

    fn stack_pages(kernel: &Kernel) -> u64 {
        kernel.frame_map().taken_for(Region::Stack)
    }

    #[test]
    fn a_stack_is_eight_mebibytes_and_a_guard_of_which_two_pages_are_written() {
        let (mut kernel, pid) = process();
        let mut stacks = Stacks::new(8 << 20);
        let first = stacks.take(&mut kernel.memory(pid)).expect("room");
        let second = stacks.take(&mut kernel.memory(pid)).expect("room");
        // As recorded: 0x801000 below whatever is mapped there already.
        assert_eq!((first.0 - second.0, stack_pages(&kernel)), (0x80_1000, 4));
        assert_eq!(kernel.pages_of(pid).mapped, 2 * 0x801);
        kernel.check().expect("a sound kernel");
    }

    #[test]
    fn the_stack_kept_last_is_used_first_and_a_fifth_one_lets_the_oldest_go() {
        let (mut kernel, pid) = process();
        let mut stacks = Stacks::new(8 << 20);
        let taken: Vec<Address> = (0..5).map(|_| stacks.take(&mut kernel.memory(pid)).expect("room")).collect();
        taken.iter().take(4).for_each(|&stack| stacks.give(stack, &mut kernel.memory(pid)));
        assert_eq!((stacks.kept(), stack_pages(&kernel)), (4, 10), "written pages stay");
        stacks.give(taken[4], &mut kernel.memory(pid));
        assert_eq!((stacks.kept(), stack_pages(&kernel)), (4, 8));
        assert_eq!(stacks.take(&mut kernel.memory(pid)), Ok(taken[4]));
        assert_eq!(kernel.pages_of(pid).mapped, 4 * 0x801);
        kernel.check().expect("a sound kernel");
    }

    #[test]
    fn what_a_thread_used_below_its_last_pages_goes_back_with_its_end() {
        let (mut kernel, pid) = process();
        let mut stacks = Stacks::new(1 << 20);
        let stack = stacks.take(&mut kernel.memory(pid)).expect("room");
        kernel.memory(pid).touch(Address(stack.0 + PAGE), 1 << 20);
        assert_eq!(stack_pages(&kernel), 256);
        stacks.give(stack, &mut kernel.memory(pid));
        assert_eq!(stack_pages(&kernel), 2 + 4);
    }

    #[test]
    fn a_stack_larger_than_memory_is_refused_and_leaves_nothing_mapped() {
        let (mut kernel, pid) = process();
        let mut stacks = Stacks::new(8193 * PAGE);
        assert_eq!(stacks.take(&mut kernel.memory(pid)), Err(OutOfMemory));
        assert_eq!(kernel.pages_of(pid).mapped, 0);
    }
}
