//! False sharing: cache lines in which two threads have a block each.
//!
//! A block belongs to the thread that asked for it. Threads that write to their own blocks in one line take the line away from each other,
//! although they share no data; which lines these are is decided by the allocator.

use std::collections::BTreeMap;

use crate::{Address, ThreadId};

/// Live blocks of threads, and the lines that more than one thread has blocks in.
///
/// ```
/// use framesim_models::metrics::SharedLines;
/// use framesim_models::{Address, ThreadId};
///
/// let mut lines = SharedLines::new(64);
/// lines.insert(ThreadId(0), Address(0x1000), 40);
/// lines.insert(ThreadId(1), Address(0x1030), 40);
/// assert_eq!(lines.shared(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct SharedLines {
    line_bytes: u64,
    blocks: BTreeMap<u64, (ThreadId, u64)>,
    /// Blocks of each thread in a line, of lines where blocks start or end.
    lines: BTreeMap<u64, BTreeMap<ThreadId, u32>>,
    shared: u64,
    shared_max: u64,
}

impl SharedLines {
    /// No blocks; lines of so many bytes, a power of two.
    #[must_use]
    pub fn new(line_bytes: u64) -> SharedLines {
        assert!(line_bytes.is_power_of_two(), "a line of {line_bytes} bytes is no power of two");
        SharedLines { line_bytes, blocks: BTreeMap::new(), lines: BTreeMap::new(), shared: 0, shared_max: 0 }
    }

    /// A thread got a block.
    pub fn insert(&mut self, thread: ThreadId, at: Address, bytes: u64) {
        self.remove(at);
        self.blocks.insert(at.0, (thread, bytes));
        for line in self.ends(at.0, bytes) {
            let threads = self.lines.entry(line).or_default();
            *threads.entry(thread).or_default() += 1;
            // The second thread makes it shared; a block that starts and ends in a line counts once.
            self.shared += u64::from(threads.len() == 2 && threads[&thread] == 1);
        }
        self.shared_max = self.shared_max.max(self.shared);
    }

    /// The block at `at` is gone, whoever freed it.
    pub fn remove(&mut self, at: Address) {
        let Some((thread, bytes)) = self.blocks.remove(&at.0) else { return };
        for line in self.ends(at.0, bytes) {
            let threads = self.lines.get_mut(&line).expect("a live block's lines are known");
            let count = threads.get_mut(&thread).expect("a live block's thread is known in its lines");
            *count -= 1;
            if *count == 0 {
                threads.remove(&thread);
                self.shared -= u64::from(threads.len() == 1);
                if threads.is_empty() {
                    self.lines.remove(&line);
                }
            }
        }
    }

    /// Lines that at least two threads have blocks in, now.
    #[must_use]
    pub fn shared(&self) -> u64 {
        self.shared
    }

    /// The most there were at one time.
    #[must_use]
    pub fn shared_max(&self) -> u64 {
        self.shared_max
    }

    /// The lines where a block starts and ends: those between are its own.
    fn ends(&self, at: u64, bytes: u64) -> impl Iterator<Item = u64> + use<> {
        let (first, last) = (at / self.line_bytes, at.saturating_add(bytes.saturating_sub(1)) / self.line_bytes);
        [first].into_iter().chain((last > first).then_some(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shared_while_two_threads_have_blocks_in_it() {
        let mut lines = SharedLines::new(64);
        lines.insert(ThreadId(0), Address(0), 16);
        lines.insert(ThreadId(0), Address(16), 16);
        assert_eq!(lines.shared(), 0, "one thread");
        lines.insert(ThreadId(1), Address(32), 16);
        lines.insert(ThreadId(2), Address(48), 16);
        assert_eq!(lines.shared(), 1, "a line counts once");
        lines.remove(Address(0));
        lines.remove(Address(32));
        assert_eq!(lines.shared(), 1, "threads 0 and 2");
        lines.remove(Address(16));
        assert_eq!((lines.shared(), lines.shared_max()), (0, 1));
    }

    #[test]
    fn a_long_block_shares_its_ends_only() {
        let mut lines = SharedLines::new(64);
        lines.insert(ThreadId(0), Address(32), 1_000);
        lines.insert(ThreadId(1), Address(0), 32);
        lines.insert(ThreadId(1), Address(1_032), 8);
        assert_eq!(lines.shared(), 2);
        lines.remove(Address(32));
        assert_eq!((lines.shared(), lines.lines.len()), (0, 2));
    }
}
