//! How blocks leave superblocks and come back, and how superblocks go from heap to heap (rules 3 to 6 and 8).

use super::heaps::{Account, GLOBAL};
use super::options::BUFFERED_BYTES_MAX;
use super::superblock::{BUFFERED, HEADER_BYTES, LIVE, NO_CLASS, NONE, Superblock};
use super::{Buffer, Hoard};
use crate::heap::aligned_map::map_aligned;
use crate::heap::{MapRequest, OutOfMemory, SystemMemory};
use crate::{Address, ThreadId, index};

impl Hoard {
    /// A block of a class for a thread: from its buffer, else from its heap.
    pub(super) fn take_block(
        &mut self,
        thread: ThreadId,
        class: u8,
        os: &mut dyn SystemMemory,
    ) -> Result<(u32, u16), OutOfMemory> {
        let bytes = self.classes.bytes(class);
        if let Some((id, block)) = self.take_buffered(thread, class, bytes) {
            self.heaps.superblock(id).links[usize::from(block)] = LIVE;
            self.count_live(bytes);
            return Ok((id, block));
        }
        let heap = 1 + thread.0 % self.processors(os);
        self.heaps.make_room_for(heap);
        self.heaps.lock(heap, thread);
        let id = self.superblock_for(heap, class, thread, os)?;
        let is_current = *self.heaps.current(heap, class) == id;
        if !is_current {
            self.heaps.unlink(id);
        }
        let (block, _) = self.heaps.superblock(id).take(self.rules.first);
        if self.rules.has_current() && !is_current {
            self.make_current(heap, class, id);
        } else if !is_current {
            self.heaps.link(id);
        }
        let account = self.heaps.account(heap, class);
        account.used += bytes;
        account.is_settled = false;
        self.count_live(bytes);
        Ok((id, block))
    }

    fn count_live(&mut self, bytes: u64) {
        self.counts.blocks += 1;
        self.counts.live_bytes += bytes;
    }

    /// The superblock of a class that serves next becomes current; the one before goes to its group.
    fn make_current(&mut self, heap: u32, class: u8, id: u32) {
        let before = std::mem::replace(self.heaps.current(heap, class), id);
        if before != NONE {
            self.heaps.link(before);
        }
    }

    /// A superblock of a heap with room for a block of a class: its own, one from the global heap, a new one (rule 3).
    fn superblock_for(
        &mut self,
        heap: u32,
        class: u8,
        thread: ThreadId,
        os: &mut dyn SystemMemory,
    ) -> Result<u32, OutOfMemory> {
        let current = *self.heaps.current(heap, class);
        if current != NONE {
            let Superblock { used, blocks, .. } = *self.heaps.superblock(current);
            if used < blocks {
                return Ok(current);
            }
        }
        if let Some(id) = self.heaps.fullest(heap, class) {
            return Ok(id);
        }
        self.heaps.lock(GLOBAL, thread);
        if let Some(id) = self.heaps.fullest(GLOBAL, class) {
            self.heaps.unlink(id);
            self.counts.from_global += 1;
            self.admit(heap, id);
            return Ok(id);
        }
        let id = match self.heaps.empty.pop() {
            Some(id) => {
                self.counts.from_global += 1;
                id
            }
            None => self.map_superblock(os)?,
        };
        let bytes = self.classes.bytes(class);
        self.heaps.superblock(id).lay_out(class, bytes, self.rules.superblock_bytes);
        let held = self.heaps.superblock(id).held_bytes();
        self.counts.carved += held;
        self.heaps.superblock(id).heap = GLOBAL;
        self.heaps.account(GLOBAL, class).held += held;
        self.admit(heap, id);
        Ok(id)
    }

    /// A superblock that is in no group becomes a member of a heap.
    fn admit(&mut self, heap: u32, id: u32) {
        self.heaps.hand_to(heap, id);
        self.heaps.link(id);
    }

    pub(super) fn map_superblock(&mut self, os: &mut dyn SystemMemory) -> Result<u32, OutOfMemory> {
        let bytes = self.rules.superblock_bytes;
        let count = u32::try_from(self.heaps.superblocks.len()).map_err(|_| OutOfMemory)?;
        let start = map_aligned(&MapRequest::anywhere(bytes), bytes, os)?;
        os.touch(Address(start), HEADER_BYTES);
        let id = self.spare.pop().unwrap_or(count);
        if id == count {
            self.heaps.superblocks.push(Superblock::new(start));
        } else {
            *self.heaps.superblock(id) = Superblock::new(start);
        }
        self.by_start.insert(start, id.into());
        self.counts.superblocks += 1;
        Ok(id)
    }

    /// A block goes back to its superblock, and superblocks to the global heap where the heap is too empty (rules 4 and 5).
    pub(super) fn give_block(&mut self, thread: ThreadId, id: u32, block: u16, os: &mut dyn SystemMemory) {
        let Superblock { heap, class, block_bytes, .. } = *self.heaps.superblock(id);
        self.heaps.lock(heap, thread);
        let is_current = *self.heaps.current(heap, class) == id;
        if !is_current {
            self.heaps.unlink(id);
        }
        self.heaps.superblock(id).give(block);
        let account = self.heaps.account(heap, class);
        account.used -= block_bytes;
        account.is_settled = true;
        if heap == GLOBAL {
            return self.settle_global(id, os);
        }
        if !is_current {
            self.heaps.link(id);
        }
        loop {
            let Account { used, held, .. } = *self.heaps.account(heap, class);
            if !self.rules.is_too_empty(used, held) {
                return;
            }
            self.heaps.lock(GLOBAL, thread);
            let emptiest = self.emptiest_for_global(heap, class);
            self.move_to_global(heap, emptiest, os);
        }
    }

    /// A superblock of the global heap that is in no group: an empty one has no class any more.
    fn settle_global(&mut self, id: u32, os: &mut dyn SystemMemory) {
        let superblock = self.heaps.superblock(id);
        if superblock.used > 0 {
            return self.heaps.link(id);
        }
        let (held, class) = (superblock.held_bytes(), superblock.class);
        superblock.class = NO_CLASS;
        superblock.links.clear();
        self.heaps.account(GLOBAL, class).held -= held;
        self.counts.carved -= held;
        self.heaps.empty.push(id);
        if self.rules.keep_empty.is_some_and(|keep| self.heaps.empty.len() as u64 > keep) {
            self.unmap_empty(os);
        }
    }

    fn unmap_empty(&mut self, os: &mut dyn SystemMemory) {
        let id = self.heaps.empty.pop().expect("one was put there");
        let start = self.heaps.superblock(id).start;
        self.by_start.remove(start);
        os.munmap(Address(start), self.rules.superblock_bytes);
        self.counts.superblocks -= 1;
        self.spare.push(id);
    }

    /// The superblock that a heap which is too empty gives away: at least f of it is empty.
    fn emptiest_for_global(&self, heap: u32, class: u8) -> u32 {
        let is_empty_enough = |&id: &u32| {
            let superblock = &self.heaps.superblocks[index(id.into())];
            8 * superblock.used_bytes() <= (8 - self.rules.emptiness_eighths) * superblock.held_bytes()
        };
        let of_class = |class: u8| self.heaps.emptiest(heap, class).filter(is_empty_enough);
        let others = || (0..self.classes.len()).filter_map(|other| of_class(u8::try_from(other).ok()?));
        let emptiness = |&id: &u32| {
            let superblock = &self.heaps.superblocks[index(id.into())];
            (1024 * superblock.used_bytes()).checked_div(superblock.held_bytes())
        };
        let found = of_class(class).or_else(|| others().min_by_key(emptiness));
        found.expect("a heap that is too empty has a superblock that is empty enough")
    }

    fn move_to_global(&mut self, heap: u32, id: u32, os: &mut dyn SystemMemory) {
        let class = self.heaps.superblock(id).class;
        let current = self.heaps.current(heap, class);
        if *current == id {
            *current = NONE;
        } else {
            self.heaps.unlink(id);
        }
        self.heaps.hand_to(GLOBAL, id);
        self.counts.to_global += 1;
        self.settle_global(id, os);
    }

    fn take_buffered(&mut self, thread: ThreadId, class: u8, bytes: u64) -> Option<(u32, u16)> {
        let buffer = self.buffers.get_mut(index(thread.0.into()))?;
        let found = buffer.blocks.get_mut(usize::from(class))?.pop()?;
        buffer.bytes -= bytes;
        self.counts.buffered_bytes -= bytes;
        Some(found)
    }

    /// Whether the thread keeps a freed block for itself.
    pub(super) fn buffer(&mut self, thread: ThreadId, id: u32, block: u16, class: u8, bytes: u64) -> bool {
        if bytes > BUFFERED_BYTES_MAX || self.rules.buffer_bytes < bytes {
            return false;
        }
        if self.buffers.len() <= index(thread.0.into()) {
            self.buffers.resize_with(index(thread.0.into()) + 1, Buffer::default);
        }
        let buffer = &mut self.buffers[index(thread.0.into())];
        if buffer.bytes + bytes > self.rules.buffer_bytes {
            return false;
        }
        if buffer.blocks.len() <= usize::from(class) {
            buffer.blocks.resize_with(usize::from(class) + 1, Vec::new);
        }
        buffer.blocks[usize::from(class)].push((id, block));
        buffer.bytes += bytes;
        self.counts.buffered_bytes += bytes;
        self.heaps.superblock(id).links[usize::from(block)] = BUFFERED;
        true
    }
}
