//! Random system calls against a naive oracle: the pages each process has, in a map, and their frames.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Address, Advice, Charges, Commit, FrameNumber, Image, KernelSettings, Layout, PAGE, Pid, kernel, logged};
use crate::heap::{Access, MapRequest, SystemMemory};
use crate::kernel::Kernel;

/// A call; small numbers choose among what is there.
#[derive(Clone, Copy, Debug)]
enum Call {
    Spawn,
    Exit(usize),
    Brk(usize, u64),
    Map(usize, u64),
    Unmap(usize, usize, u64, u64),
    Remap(usize, usize, u64),
    Touch(usize, usize, u64, u64),
    DontNeed(usize, usize, u64, u64),
    Free(usize, usize, u64, u64),
    ReadOnly(usize, usize),
    Writable(usize, usize),
}

fn call() -> impl Strategy<Value = Call> {
    let (who, which) = (0_usize..4, 0_usize..6);
    let (who2, which2) = (who.clone(), which.clone());
    let part = (who.clone(), which.clone(), 0_u64..8, 1_u64..8);
    prop_oneof![
        1 => Just(Call::Spawn),
        1 => who.clone().prop_map(Call::Exit),
        2 => (who.clone(), 0_u64..12).prop_map(|(who, pages)| Call::Brk(who, pages)),
        3 => (who.clone(), prop_oneof![5 => 1_u64..12, 1 => Just(512)]).prop_map(|(who, pages)| Call::Map(who, pages)),
        2 => part.clone().prop_map(|(who, which, from, pages)| Call::Unmap(who, which, from, pages)),
        2 => (who, which, prop_oneof![5 => 1_u64..16, 1 => Just(1024)]).prop_map(|(a, b, c)| Call::Remap(a, b, c)),
        6 => part.clone().prop_map(|(who, which, from, pages)| Call::Touch(who, which, from, pages)),
        1 => part.clone().prop_map(|(who, which, from, pages)| Call::DontNeed(who, which, from, pages)),
        1 => part.prop_map(|(who, which, from, pages)| Call::Free(who, which, from, pages)),
        1 => (who2.clone(), which2.clone()).prop_map(|(who, which)| Call::ReadOnly(who, which)),
        1 => (who2, which2).prop_map(|(who, which)| Call::Writable(who, which)),
    ]
}

/// What the oracle knows of one process: its writable pages, and whether each has been written.
struct Process {
    pid: Pid,
    start_brk: u64,
    heap: u64,
    /// Mappings: first page and pages.
    blocks: Vec<(u64, u64)>,
    /// Page to frame, for pages that were written and not dropped.
    written: BTreeMap<u64, FrameNumber>,
    /// Pages that were given up lazily: they may be gone.
    lazy: BTreeMap<u64, FrameNumber>,
    read_only: Vec<u64>,
}

impl Process {
    fn drop_pages(&mut self, from: u64, to: u64) {
        self.written.retain(|&page, _| page < from || page >= to);
        self.lazy.retain(|&page, _| page < from || page >= to);
    }

    fn is_writable(&self, page: u64) -> bool {
        let in_heap = (self.start_brk..self.start_brk + self.heap).contains(&page);
        let in_block = self.blocks.iter().any(|&(start, pages)| (start..start + pages).contains(&page));
        (in_heap || in_block) && !self.read_only.contains(&page)
    }

    fn is_mapped(&self, page: u64) -> bool {
        let in_heap = (self.start_brk..self.start_brk + self.heap).contains(&page);
        in_heap || self.blocks.iter().any(|&(start, pages)| (start..start + pages).contains(&page))
    }
}

struct Pair {
    kernel: Kernel,
    processes: Vec<Process>,
    is_eager: bool,
}

impl Pair {
    fn apply(&mut self, call: Call) {
        match call {
            Call::Spawn => self.spawn(),
            Call::Exit(who) if self.processes.len() > 1 => {
                let process = self.processes.remove(who % self.processes.len());
                self.kernel.exit(process.pid);
            }
            Call::Exit(_) => {}
            _ if self.processes.is_empty() => {}
            Call::Brk(who, pages) => self.brk(who, pages),
            Call::Map(who, pages) => self.map(who, pages),
            Call::Unmap(who, which, from, pages) => self.unmap(who, which, from, pages),
            Call::Remap(who, which, pages) => self.remap(who, which, pages),
            Call::Touch(who, which, from, pages) => self.touch(who, which, from, pages),
            Call::DontNeed(who, which, from, pages) => self.advise(who, which, from, pages, Advice::DontNeed),
            Call::Free(who, which, from, pages) => self.advise(who, which, from, pages, Advice::Free),
            Call::ReadOnly(who, which) => self.protect(who, which, Access::Read),
            Call::Writable(who, which) => self.protect(who, which, Access::ReadWrite),
        }
        self.compare();
    }

    fn spawn(&mut self) {
        let image = Image { program: 7, code_pages: 2, data_pages: 1, stack_pages: 1, share_code: true };
        let Ok(pid) = self.kernel.spawn(&image) else { return };
        let start_brk = self.kernel.memory(pid).program_break().0 / PAGE;
        let (blocks, written, lazy) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        self.processes.push(Process { pid, start_brk, heap: 0, blocks, written, lazy, read_only: Vec::new() });
    }

    fn process(&mut self, who: usize) -> (usize, Pid) {
        let who = who % self.processes.len();
        (who, self.processes[who].pid)
    }

    /// The pages of a mapping, or of the heap.
    fn block(&self, who: usize, which: usize) -> Option<(usize, u64, u64)> {
        let blocks = &self.processes[who].blocks;
        let at = which % blocks.len().max(1);
        blocks.get(at).map(|&(start, pages)| (at, start, pages))
    }

    fn brk(&mut self, who: usize, pages: u64) {
        let (who, pid) = self.process(who);
        let process = &mut self.processes[who];
        let end = Address((process.start_brk + pages) * PAGE);
        if self.kernel.memory(pid).brk(end).is_ok() {
            process.drop_pages(process.start_brk + pages, process.start_brk + process.heap.max(pages));
            process.heap = pages;
        }
    }

    fn map(&mut self, who: usize, pages: u64) {
        let (who, pid) = self.process(who);
        if let Ok(at) = self.kernel.memory(pid).mmap(&MapRequest::anywhere(pages * PAGE)) {
            let start = at.0 / PAGE;
            let process = &mut self.processes[who];
            assert!((start..start + pages).all(|page| !process.is_mapped(page)), "a new mapping lies on an old one");
            process.blocks.push((start, pages));
        }
    }

    fn unmap(&mut self, who: usize, which: usize, from: u64, pages: u64) {
        let (who, pid) = self.process(who);
        let Some((at, start, length)) = self.block(who, which) else { return };
        let from = start + from % length;
        let to = (from + pages).min(start + length);
        self.kernel.memory(pid).munmap(Address(from * PAGE), (to - from) * PAGE);
        let process = &mut self.processes[who];
        process.drop_pages(from, to);
        process.read_only.retain(|page| !(from..to).contains(page));
        process.blocks.swap_remove(at);
        process.blocks.extend([(start, from - start), (to, start + length - to)].iter().filter(|rest| rest.1 > 0));
    }

    fn remap(&mut self, who: usize, which: usize, pages: u64) {
        let (who, pid) = self.process(who);
        let Some((at, start, length)) = self.block(who, which) else { return };
        if self.processes[who].read_only.iter().any(|page| (start..start + length).contains(page)) {
            return;
        }
        let moved = self.kernel.memory(pid).mremap(Address(start * PAGE), length * PAGE, pages * PAGE);
        let Ok(Address(moved)) = moved else { return };
        let moved = moved / PAGE;
        let process = &mut self.processes[who];
        let old = std::mem::take(&mut process.written);
        let old_lazy = std::mem::take(&mut process.lazy);
        let shift = |page: u64| {
            if !(start..start + length).contains(&page) {
                return Some(page);
            }
            Some(moved + (page - start)).filter(|_| page - start < pages)
        };
        process.written = old.into_iter().filter_map(|(page, frame)| Some((shift(page)?, frame))).collect();
        process.lazy = old_lazy.into_iter().filter_map(|(page, frame)| Some((shift(page)?, frame))).collect();
        process.blocks[at] = (moved, pages);
    }

    fn touch(&mut self, who: usize, which: usize, from: u64, pages: u64) {
        let (who, pid) = self.process(who);
        let heap = (self.processes[who].start_brk, self.processes[who].heap);
        let target =
            if which == 0 { Some(heap) } else { self.block(who, which).map(|(_, start, pages)| (start, pages)) };
        let Some((start, length)) = target.filter(|target| target.1 > 0) else { return };
        for page in start + from % length..(start + from % length + pages).min(start + length) {
            if self.processes[who].is_writable(page) {
                self.kernel.memory(pid).touch(Address(page * PAGE + 100), 8);
                if self.kernel.take_unmet(pid, crate::ThreadId(0)).is_some() {
                    self.kernel.forget_unmet(pid, crate::ThreadId(0));
                    return;
                }
                let frame = self.kernel.translate(pid, Address(page * PAGE)).expect("a written page has a frame");
                let process = &mut self.processes[who];
                if let Some(&old) = process.written.get(&page) {
                    assert_eq!(frame, old, "a written page keeps its frame");
                }
                process.lazy.remove(&page);
                process.written.insert(page, frame);
            }
        }
    }

    fn advise(&mut self, who: usize, which: usize, from: u64, pages: u64, advice: Advice) {
        let (who, pid) = self.process(who);
        let Some((_, start, length)) = self.block(who, which) else { return };
        let from = start + from % length;
        let to = (from + pages).min(start + length);
        self.kernel.memory(pid).madvise(Address(from * PAGE), (to - from) * PAGE, advice);
        let process = &mut self.processes[who];
        if advice == Advice::Free {
            let given_up: Vec<_> = process.written.range(from..to).map(|(&page, &frame)| (page, frame)).collect();
            process.written.retain(|&page, _| page < from || page >= to);
            process.lazy.extend(given_up);
        } else {
            process.drop_pages(from, to);
        }
    }

    fn protect(&mut self, who: usize, which: usize, access: Access) {
        let (who, pid) = self.process(who);
        let Some((_, start, length)) = self.block(who, which) else { return };
        if self.kernel.memory(pid).mprotect(Address(start * PAGE), length * PAGE, access).is_ok() {
            let process = &mut self.processes[who];
            process.read_only.retain(|page| !(start..start + length).contains(page));
            if self.is_eager {
                // Pages that had gone have frames again, others than they had.
                process.lazy.retain(|&page, _| page < start || page >= start + length);
            }
            if access == Access::Read {
                process.read_only.extend(start..start + length);
            }
        }
    }

    /// Every page is where the oracle knows it, and no frame is used twice.
    fn compare(&self) {
        self.kernel.check().expect("a good state");
        let mut frames = BTreeMap::new();
        for process in &self.processes {
            let counts = self.kernel.counts_of(process.pid);
            assert_eq!(counts.bad_writes, 0);
            for (&page, &frame) in &process.written {
                let found = self.kernel.translate(process.pid, Address(page * PAGE));
                assert_eq!(found, Some(frame), "page {page:#x} of process {}", process.pid);
                assert_eq!(frames.insert(frame, page), None, "{frame} is used twice");
            }
            for (&page, &frame) in &process.lazy {
                let found = self.kernel.translate(process.pid, Address(page * PAGE));
                assert!(found.is_none() || found == Some(frame), "page {page:#x} was given up");
            }
            let pages = self.kernel.pages_of(process.pid);
            let mapped: u64 = process.blocks.iter().map(|block| block.1).sum();
            assert_eq!(pages.mapped, mapped + process.heap + 4, "and code, data, stack");
            if !self.is_eager {
                let written = process.written.len() as u64;
                assert!((written..=written + process.lazy.len() as u64).contains(&(pages.resident - 4)));
            }
        }
    }
}

fn settings() -> impl Strategy<Value = KernelSettings> {
    let layout = prop_oneof![Just(Layout::Paged), Just(Layout::Contiguous)];
    let commit = prop_oneof![2 => Just(Commit::OnTouch), 1 => Just(Commit::Eager)];
    (layout, commit, any::<bool>()).prop_map(|(layout, commit, is_charged)| {
        let charges =
            if is_charged { Charges { object_bytes: 900, ..Charges::default() } } else { Charges::FREE_OF_CHARGE };
        KernelSettings { layout, commit, charges, ..logged() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_calls_agree_with_a_naive_oracle(
        policy in prop_oneof![Just("first_fit"), Just("buddy"), Just("best_fit")],
        frames in prop_oneof![3 => 40_u64..200, 1 => Just(3000)],
        settings in settings(),
        calls in prop::collection::vec(call(), 1..80),
    ) {
        let is_eager = settings.commit == Commit::Eager;
        let mut pair = Pair { kernel: kernel(policy, frames, settings), processes: Vec::new(), is_eager };
        pair.apply(Call::Spawn);
        for call in calls {
            pair.apply(call);
        }
        for process in std::mem::take(&mut pair.processes) {
            pair.kernel.exit(process.pid);
        }
        pair.kernel.check().expect("a good state");
        prop_assert_eq!(pair.kernel.allocator().free_frames(), frames);
    }
}
