//! A request on its way through heap and kernel, up to where memory fails it.

use framesim_models::frames::{FrameRequest, FrameRun};
use framesim_models::heap::{Advice, HeapAllocator, HeapTotals, MapRequest, OutOfMemory, ReallocError, SystemMemory};
use framesim_models::kernel::{self, Kernel, Region};
use framesim_models::{Address, Nanos, Pid, ThreadId};
use framesim_workloads::requests::{Request, Slot};

use super::Simulation;
use super::happened::{Call, Refusal};
use super::heaps::{BlockChange, Bound, Called, Footprint, Live, Moments};
use super::process::{Attempt, Held, Memory, ProcessId, Stage};

/// What came of trying a call.
pub(super) enum Tried {
    /// A block or a mapping is, or was, at this address.
    At(Address),
    /// Frames were taken or given back.
    Frames(FrameRun),
    /// It was served, and nothing was placed.
    Served,
    /// Its slot was empty: there was nothing to do.
    Nothing,
    /// No memory: why, and how far it had come.
    Lacks(Refusal, Stage),
}

/// What a call of a process works on.
struct Caller<'a> {
    kernel: &'a mut Kernel,
    memory: &'a mut Memory,
    pid: Pid,
    thread: ThreadId,
    now: Nanos,
    /// What the call did to a block.
    change: Option<BlockChange>,
    /// A block that was got and has a life: when it ends, where it is, its bytes.
    begun: Option<(Nanos, Address, u64)>,
}

impl Simulation {
    /// Tries a call that heap and kernel answer.
    #[inline]
    pub(super) fn try_call(&mut self, process: ProcessId, attempt: &Attempt) -> Tried {
        self.make_heap(process, &attempt.call);
        let mut caller = self.caller(process, attempt.thread);
        let tried = caller.go_on(attempt);
        let (change, begun) = (caller.change, caller.begun);
        if let Some(begun) = begun {
            self.begin_life(process, &attempt.call, begun);
        }
        self.note_holdings(process, change);
        tried
    }

    /// A block's life begins: whoever is to free it wakes at its end.
    #[inline]
    fn begin_life(&mut self, process: ProcessId, call: &Call, (ends, at, bytes): (Nanos, Address, u64)) {
        let owner = &mut self.processes[process.index()];
        match *call {
            Call::Request(Request::Malloc { freed_by, .. }) if freed_by != owner.thread => {
                self.hand_block_to(process, freed_by, (ends, at, bytes));
            }
            _ => owner.memory.get_or_insert_default().begin_life(ends, at, bytes),
        }
    }

    /// Gives back the block of an attempt that is refused after the block was got.
    pub(super) fn undo(&mut self, process: ProcessId, attempt: &Attempt) {
        let Stage::Writing { block } = attempt.stage else { return };
        let mut caller = self.caller(process, attempt.thread);
        caller.kernel.forget_unmet(caller.pid, caller.thread);
        if matches!(
            attempt.call,
            Call::Request(Request::Malloc { .. } | Request::Calloc { .. } | Request::AlignedAlloc { .. })
        ) {
            caller.undo(block);
            caller.change = Some(BlockChange::Freed { asked: attempt.call.bytes().unwrap_or(0) });
        }
        let change = caller.change;
        self.note_holdings(process, change);
    }

    #[inline]
    fn caller(&mut self, process: ProcessId, thread: ThreadId) -> Caller<'_> {
        let main = self.processes[process.index()].main;
        let record = &mut self.processes[main.index()];
        let memory = record.memory.get_or_insert_default();
        let pid = record.name.pid.expect("a process that has started has a pid");
        let kernel = &mut self.machine.kernel;
        Caller { kernel, memory, pid, thread, now: self.now, change: None, begun: None }
    }

    /// Brings the totals up to date with what the process holds now.
    #[inline]
    pub(super) fn note_holdings(&mut self, process: ProcessId, change: Option<BlockChange>) {
        let main = self.processes[process.index()].main;
        let record = &mut self.processes[main.index()];
        let (Some(memory), Some(pid)) = (record.memory.as_deref_mut(), record.name.pid) else { return };
        let group = &mut self.groups[record.name.group as usize];
        // Number by number: what is put together in memory and compared as a whole costs more than all else here.
        let totals = memory.heap.as_ref().map_or(HeapTotals::default(), |heap| heap.totals());
        let before = memory.holdings.live;
        let live = Live {
            blocks: change.map_or(0, BlockChange::blocks),
            asked: memory.live_bytes.wrapping_sub(before.asked),
            usable: totals.usable.wrapping_sub(before.usable),
        };
        memory.holdings.live.change(live.blocks, live.asked, live.usable);
        self.tally.live_changed(live);
        let before = memory.holdings.footprint;
        let (mut mapped, mut resident, mut lazy) = (before.mapped_pages, before.resident_pages, before.lazy_pages);
        if let Some(space) = self.machine.kernel.address_space(pid) {
            let image = group.image.pages();
            (mapped, resident, lazy) =
                (space.mapped_pages() - image, space.resident_pages() - image, space.lazy_pages());
        }
        let is_same = before.heap_bytes == totals.held
            && before.mapped_pages == mapped
            && before.resident_pages == resident
            && before.lazy_pages == lazy;
        let now =
            Footprint { heap_bytes: totals.held, mapped_pages: mapped, resident_pages: resident, lazy_pages: lazy };
        if !is_same {
            memory.holdings.footprint = now;
            self.tally.footprint_changed(&before, &now);
        }
        let moments = group.heaps.called(Called {
            time: self.now,
            live,
            footprint: (!is_same).then_some((&before, &now)),
            block: memory.classes.as_deref_mut().zip(change),
            resized: &memory.resized,
        });
        let Some(heap) = memory.heap.as_deref() else { return };
        debug_assert_eq!(memory.holdings.check(heap), Ok(()), "live + internal + external = held");
        let is_told = !std::mem::replace(&mut memory.is_untold, true);
        let are_too_many = is_told && group.heaps.note_untold(main);
        if moments.are_any() || are_too_many {
            self.keep_moments(main, moments);
        }
    }

    /// Keeps the moments that a call of a process has made.
    fn keep_moments(&mut self, main: ProcessId, moments: Moments) {
        let name = self.processes[main.index()].name;
        self.ask_untold(name.group);
        let memory = self.processes[main.index()].memory.as_deref().expect("it has called its heap");
        self.groups[name.group as usize].heaps.keep(moments, &memory.holdings, name.ordinal);
    }

    /// Asks heaps of a group that were called since they were asked last what of their memory is bound.
    pub(super) fn ask_untold(&mut self, group: u32) {
        let heaps = &mut self.groups[group as usize].heaps;
        let untold = heaps.take_untold();
        for &process in &untold {
            // The process may have ended; who has its place now is in the list of its own group, if in any.
            let record = &mut self.processes[process.index()];
            let Some(memory) = record.memory.as_deref_mut().filter(|memory| memory.is_untold) else { continue };
            let Some(heap) = memory.heap.as_deref().filter(|_| record.name.group == group) else { continue };
            let bound = Bound::of(&heap.stats());
            heaps.tell(&memory.holdings.bound, &bound);
            (memory.holdings.bound, memory.is_untold) = (bound, false);
        }
        heaps.untold_was(untold);
    }
}

impl Caller<'_> {
    #[inline]
    fn go_on(&mut self, attempt: &Attempt) -> Tried {
        match attempt.stage {
            Stage::Begun => self.begin(&attempt.call),
            Stage::Writing { block } => {
                if let Err(no_memory) = self.kernel.settle(self.pid, self.thread) {
                    return Tried::Lacks(Refusal::of(&no_memory), attempt.stage);
                }
                self.written(&attempt.call, block)
            }
        }
    }

    #[inline]
    fn begin(&mut self, call: &Call) -> Tried {
        match *call {
            Call::LifeOver { address, bytes } => self.free(address, bytes),
            Call::Request(Request::Malloc { slot, bytes, touch, life, .. }) => {
                let block = self.allocate(bytes, touch, |heap, thread, os| heap.malloc(thread, bytes, os));
                self.keep_if_written(block, |caller, block| caller.keep_malloced(slot, life, block, bytes))
            }
            Call::Request(Request::Calloc { slot, count, bytes, touch }) => {
                let all = count.saturating_mul(bytes);
                let block = self.allocate(all, touch, |heap, thread, os| heap.calloc(thread, count, bytes, os));
                self.keep_if_written(block, |caller, block| caller.keep_in(slot, block, all))
            }
            Call::Request(Request::AlignedAlloc { slot, align, bytes, touch }) => {
                let block =
                    self.allocate(bytes, touch, |heap, thread, os| heap.aligned_alloc(thread, align, bytes, os));
                self.keep_if_written(block, |caller, block| caller.keep_in(slot, block, bytes))
            }
            Call::Request(Request::Realloc { slot, bytes, touch }) => self.realloc(call, slot, bytes, touch),
            Call::Request(Request::Free { slot }) => self.free_slot(slot),
            Call::Request(Request::Touch { slot }) => self.touch_slot(call, slot),
            Call::Request(Request::Take { slot, frames }) => self.take(slot, frames),
            Call::Request(Request::Give { slot }) => self.give(slot),
            Call::Request(Request::Mmap { slot, bytes }) => self.map(slot, bytes),
            Call::Request(Request::Munmap { slot }) => self.unmap(slot),
            Call::Request(Request::DontNeed { slot }) => self.dont_need(slot),
            _ => Tried::Served,
        }
    }

    /// The heap, its thread and its system.
    #[inline]
    fn on_heap<T>(&mut self, call: impl FnOnce(&mut dyn HeapAllocator, ThreadId, &mut dyn SystemMemory) -> T) -> T {
        let heap = self.memory.heap.as_deref_mut().expect("a process that calls its heap has one");
        let mut os = self.kernel.memory(self.pid).by(self.thread);
        if self.memory.keeps_time {
            heap.tick(self.now, &mut os);
        }
        call(heap, self.thread, &mut os)
    }

    /// Gets a block and writes to it; what came of it where there is none.
    #[inline]
    fn allocate(
        &mut self,
        bytes: u64,
        touch: u64,
        malloc: impl FnOnce(&mut dyn HeapAllocator, ThreadId, &mut dyn SystemMemory) -> Result<Address, OutOfMemory>,
    ) -> Result<Address, Tried> {
        let got = self.on_heap(|heap, thread, os| {
            let got = malloc(heap, thread, os);
            if let Ok(block) = got
                && touch > 0
            {
                os.touch(block, touch);
            }
            got
        });
        let Ok(block) = got else { return Err(self.lacks(Region::Heap)) };
        self.change = Some(BlockChange::Got { asked: bytes });
        Ok(block)
    }

    /// Keeps a new block, unless frames were missing when it was written.
    #[inline]
    fn keep_if_written(&mut self, block: Result<Address, Tried>, keep: impl FnOnce(&mut Self, Address)) -> Tried {
        match block.and_then(|block| self.written_block(block)) {
            Ok(block) => {
                keep(self, block);
                Tried::At(block)
            }
            Err(lacks) => lacks,
        }
    }

    /// Writes the first `touch` bytes of a block that was got just now.
    fn write_new(&mut self, call: &Call, block: Address, touch: u64) -> Tried {
        if touch > 0 {
            self.kernel.memory(self.pid).by(self.thread).touch(block, touch);
        }
        self.written(call, block)
    }

    /// The block when what was written to it has its frames, or what it lacks.
    #[inline]
    fn written_block(&mut self, block: Address) -> Result<Address, Tried> {
        match self.kernel.take_unmet(self.pid, self.thread) {
            None => Ok(block),
            Some(unmet) => Err(Tried::Lacks(Refusal::of(&unmet), Stage::Writing { block })),
        }
    }

    /// The block is there and was written, unless frames were missing.
    fn written(&mut self, call: &Call, block: Address) -> Tried {
        self.keep_if_written(Ok(block), |caller, block| caller.keep(call, block))
    }

    /// Puts a finished block where the request says.
    fn keep(&mut self, call: &Call, at: Address) {
        let Call::Request(request) = *call else { return };
        match request {
            Request::Malloc { slot, bytes, life, .. } => self.keep_malloced(slot, life, at, bytes),
            Request::Calloc { slot, count, bytes, .. } => self.keep_in(slot, at, count.saturating_mul(bytes)),
            Request::AlignedAlloc { slot, bytes, .. } => self.keep_in(slot, at, bytes),
            _ => {}
        }
    }

    #[inline]
    fn keep_malloced(&mut self, slot: Option<Slot>, life: Option<Nanos>, at: Address, bytes: u64) {
        self.memory.live_bytes += bytes;
        if let Some(slot) = slot {
            self.memory.hold(slot, Held::Block { at, bytes });
        }
        if let Some(life) = life {
            self.begun = Some((Nanos(self.now.0.saturating_add(life.0)), at, bytes));
        }
    }

    #[inline]
    fn keep_in(&mut self, slot: Slot, at: Address, bytes: u64) {
        self.memory.live_bytes += bytes;
        self.memory.hold(slot, Held::Block { at, bytes });
    }

    /// A realloc holds its new block at once: the old one is gone, whether the new one can be written or not.
    fn realloc(&mut self, call: &Call, slot: Slot, bytes: u64, touch: u64) -> Tried {
        let (moved, old_bytes, change) = match self.memory.held(slot) {
            Held::Block { at, bytes: from } => {
                let usable = self.on_heap(|heap, _, _| heap.usable_size(at));
                let usable = usable.expect("a block in a slot is live");
                self.memory.resized = Live { blocks: 1, asked: from, usable };
                let moved = self.on_heap(|heap, thread, os| heap.realloc(thread, at, bytes, os));
                (moved, from, BlockChange::Resized { asked: bytes })
            }
            _ => {
                let got = self.on_heap(|heap, thread, os| Ok(Some(heap.malloc(thread, bytes, os)?)));
                (got, 0, BlockChange::Got { asked: bytes })
            }
        };
        let block = match moved {
            Ok(block) => block,
            Err(ReallocError::OutOfMemory(_)) => return self.lacks(Region::Heap),
            Err(ReallocError::NotLive(error)) => panic!("a block in a slot is live: {error}"),
        };
        self.memory.live_bytes -= old_bytes;
        let Some(at) = block else {
            self.memory.hold(slot, Held::Empty);
            self.change = Some(BlockChange::Freed { asked: old_bytes });
            return Tried::Served;
        };
        self.change = Some(change);
        self.memory.live_bytes += bytes;
        self.memory.hold(slot, Held::Block { at, bytes });
        self.write_new(call, at, touch)
    }

    #[inline]
    fn free_slot(&mut self, slot: Slot) -> Tried {
        let Held::Block { at, bytes } = self.memory.held(slot) else {
            return Tried::Nothing;
        };
        self.memory.hold(slot, Held::Empty);
        self.free(at, bytes)
    }

    #[inline(always)]
    fn free(&mut self, at: Address, bytes: u64) -> Tried {
        let freed = self.on_heap(|heap, thread, os| heap.free(thread, at, os));
        freed.expect("a block in a slot is live");
        self.change = Some(BlockChange::Freed { asked: bytes });
        self.memory.live_bytes -= bytes;
        // What a free writes into a list lies in pages that it or a malloc before it wrote to.
        self.kernel.forget_unmet(self.pid, self.thread);
        Tried::At(at)
    }

    /// Gives a new block back that could not be written.
    fn undo(&mut self, block: Address) {
        self.on_heap(|heap, thread, os| heap.free(thread, block, os)).expect("a block got just now is live");
        self.kernel.forget_unmet(self.pid, self.thread);
    }

    fn touch_slot(&mut self, call: &Call, slot: Slot) -> Tried {
        match self.memory.held(slot) {
            Held::Block { at, bytes } | Held::Mapping { at, bytes } => self.write_new(call, at, bytes),
            _ => Tried::Nothing,
        }
    }

    fn take(&mut self, slot: Slot, frames: u64) -> Tried {
        match self.kernel.take(self.pid, &FrameRequest::frames(frames)) {
            Ok(run) => {
                self.memory.hold(slot, Held::Frames(run));
                Tried::Frames(run)
            }
            Err(no_memory) => Tried::Lacks(Refusal::of(&no_memory), Stage::Begun),
        }
    }

    fn give(&mut self, slot: Slot) -> Tried {
        let Held::Frames(run) = self.memory.held(slot) else {
            return Tried::Nothing;
        };
        self.memory.hold(slot, Held::Empty);
        self.kernel.give(self.pid, run).expect("a run in a slot is taken");
        Tried::Frames(run)
    }

    fn map(&mut self, slot: Slot, bytes: u64) -> Tried {
        match self.kernel.memory(self.pid).mmap(&MapRequest::anywhere(bytes)) {
            Ok(at) => {
                self.memory.hold(slot, Held::Mapping { at, bytes });
                Tried::At(at)
            }
            Err(OutOfMemory) => self.lacks(Region::Mmap),
        }
    }

    fn unmap(&mut self, slot: Slot) -> Tried {
        let Held::Mapping { at, bytes } = self.memory.held(slot) else {
            return Tried::Nothing;
        };
        self.memory.hold(slot, Held::Empty);
        self.kernel.memory(self.pid).munmap(at, bytes);
        Tried::At(at)
    }

    fn dont_need(&mut self, slot: Slot) -> Tried {
        let Held::Mapping { at, bytes } = self.memory.held(slot) else {
            return Tried::Nothing;
        };
        self.kernel.memory(self.pid).madvise(at, bytes, Advice::DontNeed);
        Tried::At(at)
    }

    /// The heap got nothing: the kernel remembers why, unless it was never asked.
    fn lacks(&mut self, region: Region) -> Tried {
        Tried::Lacks(refusal_of(self.kernel, region), Stage::Begun)
    }
}

/// Why the last system call was refused.
pub(super) fn refusal_of(kernel: &mut Kernel, region: Region) -> Refusal {
    match kernel.take_refusal() {
        Some(kernel::Refusal::NoMemory(no_memory)) => Refusal::of(&no_memory),
        _ => Refusal::without_frames(kernel.allocator(), region),
    }
}
