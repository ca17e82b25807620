//! What a process costs and gets, drawn: c code, d data, s stack, h heap, m mapped, t taken; K kernel stack, T page table,
//! S slab, R reserved; `-` taken but unused, `.` free.

use super::*;
use crate::frames::{FrameSetting, PolicyChoice, PolicyRegistry};
use crate::heap::{Access, Advice, MapRequest, OutOfMemory, SystemMemory};
use crate::{Coins, ThreadId};

mod random_calls;

const PAGE: u64 = 4096;

fn kernel(policy: &str, frames: u64, settings: KernelSettings) -> Kernel {
    let setting = FrameSetting { frames, coins: Coins::from_key([3; 32]) };
    let built = PolicyRegistry::default().build(policy, &PolicyChoice::named(policy), setting);
    let allocator = built.expect("a policy of ours").expect("default options fit");
    Kernel::new(policy, allocator, settings).expect("good settings")
}

/// The textbook's setting: the kernel takes nothing, each region is one run.
fn textbook() -> KernelSettings {
    KernelSettings { charges: Charges::FREE_OF_CHARGE, layout: Layout::Contiguous, ..logged() }
}

fn logged() -> KernelSettings {
    KernelSettings { log_changes: true, ..KernelSettings::default() }
}

fn eager() -> KernelSettings {
    KernelSettings { charges: Charges::FREE_OF_CHARGE, commit: Commit::Eager, ..logged() }
}

fn image(code_pages: u64, data_pages: u64, stack_pages: u64) -> Image {
    Image { program: 1, code_pages, data_pages, stack_pages, share_code: false }
}

fn draw(kernel: &Kernel) -> String {
    kernel.check().expect("a good state");
    let map = kernel.frame_map();
    let letter = |frame| match (map.owner(frame), map.is_spare(frame)) {
        (None, _) => '.',
        (Some(_), true) => '-',
        (Some(owner), false) => ['c', 'd', 's', 'h', 'm', 't', 'K', 'T', 'S', 'R'][owner.region as usize],
    };
    (0..map.frames()).map(|frame| letter(FrameNumber(frame))).collect()
}

/// Maps `pages` pages.
fn map(kernel: &mut Kernel, pid: Pid, pages: u64) -> Address {
    kernel.memory(pid).mmap(&MapRequest::anywhere(pages * PAGE)).expect("there is room")
}

/// Makes the heap `pages` pages long.
fn grow_heap(kernel: &mut Kernel, pid: Pid, pages: u64) -> Address {
    let mut memory = kernel.memory(pid);
    let start = memory.program_break();
    memory.brk(Address(start.0 + pages * PAGE)).expect("there is room");
    start
}

#[test]
fn each_region_of_a_textbook_process_is_one_run() {
    let mut kernel = kernel("first_fit", 16, textbook());
    let one = kernel.spawn(&image(2, 3, 1)).expect("there is room");
    kernel.spawn(&image(2, 1, 1)).expect("there is room");
    assert_eq!(draw(&kernel), "ccdddsccds......");
    kernel.exit(one);
    assert_eq!(draw(&kernel), "......ccds......");
}

#[test]
fn a_rounded_run_is_taken_whole_and_used_in_part() {
    let mut kernel = kernel("buddy", 16, textbook());
    let pid = kernel.spawn(&image(3, 5, 0)).expect("there is room");
    assert_eq!(draw(&kernel), "ccc-....ddddd---");
    assert_eq!(kernel.frame_map().spare(), 4, "internal fragmentation");
    assert_eq!(kernel.resident_frames(pid), 8);
    kernel.exit(pid);
    assert_eq!(draw(&kernel), "................");
}

#[test]
fn a_charged_process_pays_for_objects_kernel_stack_and_page_tables() {
    let mut kernel = kernel("first_fit", 32, logged());
    let pid = kernel.spawn(&image(2, 1, 2)).expect("there is room");
    // A slab, four pages of kernel stack, the top table; tables of three levels and the program; the same for the stack.
    assert_eq!(draw(&kernel), "SSSSKKKKTTTTccdTTTss............");
    assert_eq!(kernel.pages_of(pid).page_tables, 7);
    assert_eq!(kernel.counts_of(pid).zeroed, 7 + 1 + 2, "tables, data and stack; code is read from a file");
    kernel.exit(pid);
    assert_eq!(draw(&kernel), "................................");
}

#[test]
fn a_process_that_does_not_fit_leaves_nothing_behind() {
    let (small, wanted) = (image(2, 1, 2), 20);
    for settings in [logged(), KernelSettings { layout: Layout::Contiguous, ..logged() }] {
        for frames in 1..wanted {
            let mut kernel = kernel("first_fit", frames, settings.clone());
            let refused = kernel.spawn(&Image { share_code: frames % 2 == 0, ..small }).expect_err("too small");
            assert!(matches!(refused.cause, AllocError::Shortage { .. }), "{refused}");
            assert_eq!(draw(&kernel), ".".repeat(crate::index(frames)));
            assert_eq!(kernel.frame_changes(), [], "nothing changed hands");
            assert_eq!(kernel.counts(), Counts::default());
            assert_eq!(kernel.pids().count(), 0);
        }
        kernel("first_fit", wanted, settings).spawn(&small).expect("as many as it wants");
    }
}

#[test]
fn an_image_larger_than_memory_is_refused_at_once() {
    let mut kernel = kernel("first_fit", 16, textbook());
    let refused = kernel.spawn(&image(u64::MAX, 1, 1)).expect_err("no memory is that large");
    insta::assert_snapshot!(refused, @"code: no run of 18446744073709551615 frames: only 16 are free");
}

#[test]
fn a_scattered_memory_refuses_a_run_and_says_so() {
    let mut kernel = kernel("first_fit", 16, textbook());
    let first: Vec<Pid> = (0..4).map(|_| kernel.spawn(&image(2, 2, 0)).expect("there is room")).collect();
    kernel.exit(first[0]);
    kernel.exit(first[2]);
    assert_eq!(draw(&kernel), "....ccdd....ccdd");
    let refused = kernel.spawn(&image(0, 5, 0)).expect_err("no run is that long");
    insta::assert_snapshot!(refused, @"data: no run of 5 frames: 8 are free, the longest free run has 4");
}

#[test]
fn processes_of_one_program_share_its_code_until_the_last_exits() {
    let mut kernel = kernel("first_fit", 16, textbook());
    let shared = Image { share_code: true, ..image(3, 1, 0) };
    let pids: Vec<Pid> = (0..3).map(|_| kernel.spawn(&shared).expect("there is room")).collect();
    assert_eq!(draw(&kernel), "cccddd..........");
    let code = kernel.tables.loaded[0].code.start;
    for &pid in &pids {
        assert_eq!(kernel.translate(pid, Address((code + 1) * PAGE)), Some(FrameNumber(1)));
    }
    kernel.exit(pids[0]);
    kernel.memory(pids[1]);
    kernel.exit(pids[1]);
    assert_eq!(draw(&kernel), "ccc..d..........");
    kernel.exit(pids[2]);
    assert_eq!(draw(&kernel), "................");
}

#[test]
fn every_address_of_a_process_leads_to_the_same_frame_before_and_after_its_first_call() {
    for (layout, share_code) in [(Layout::Paged, false), (Layout::Contiguous, true), (Layout::Paged, true)] {
        let mut kernel = kernel("buddy", 64, KernelSettings { layout, ..logged() });
        let pid = kernel.spawn(&Image { share_code, ..image(3, 2, 4) }).expect("there is room");
        let image = kernel.tables.loaded[0].clone();
        let pages = || [image.code, image.data, image.stack].into_iter().flat_map(|pages| pages.start - 1..=pages.end);
        let look_up = |kernel: &Kernel| -> Vec<_> {
            pages().map(|page| kernel.translate(pid, Address(page * PAGE + 7))).collect()
        };
        let quiet = look_up(&kernel);
        assert_eq!(quiet.iter().flatten().count(), 9 + 2, "code ends where data starts: one page each is seen twice");
        kernel.memory(pid);
        assert_eq!(look_up(&kernel), quiet);
        kernel.check().expect("a good state");
    }
}

#[test]
fn memory_gets_frames_when_it_is_written() {
    let mut kernel = kernel("first_fit", 16, KernelSettings { charges: Charges::FREE_OF_CHARGE, ..logged() });
    let pid = kernel.spawn(&Image::default()).expect("there is room");
    let heap = grow_heap(&mut kernel, pid, 4);
    let mapped = map(&mut kernel, pid, 4);
    assert_eq!(draw(&kernel), "................");
    kernel.memory(pid).touch(Address(heap.0 + PAGE), 2 * PAGE);
    kernel.memory(pid).touch(Address(mapped.0 + 10), 1);
    assert_eq!(draw(&kernel), "hhm.............");
    let pages = ProcessPages { mapped: 8, resident: 3, page_tables: 7, ..ProcessPages::default() };
    assert_eq!(kernel.pages_of(pid), pages);
    let counts = kernel.counts_of(pid);
    assert_eq!((counts.faults, counts.zeroed, counts.system_calls()), (3, 3, 2));
    assert_eq!(kernel.translate(pid, Address(heap.0 + 2 * PAGE + 5)), Some(FrameNumber(1)));
    assert_eq!(kernel.translate(pid, heap), None);
}

#[test]
fn eager_memory_gets_its_frames_at_once_or_not_at_all() {
    let mut kernel = kernel("first_fit", 16, eager());
    let pid = kernel.spawn(&Image::default()).expect("there is room");
    let heap = grow_heap(&mut kernel, pid, 6);
    map(&mut kernel, pid, 4);
    assert_eq!(draw(&kernel), "hhhhhhmmmm......");
    let mut memory = kernel.memory(pid);
    assert_eq!(memory.brk(Address(heap.0 + 13 * PAGE)), Err(OutOfMemory));
    assert_eq!(memory.program_break(), Address(heap.0 + 6 * PAGE));
    let refusal = kernel.take_refusal().expect("it is remembered");
    insta::assert_snapshot!(refusal, @"heap: no run of 1 frame: only 0 are free");
    assert_eq!(draw(&kernel), "hhhhhhmmmm......", "what it had got went back");
    assert_eq!(kernel.counts_of(pid).faults, 0);
}

#[test]
fn an_eager_run_goes_back_when_its_last_page_is_unmapped() {
    let mut kernel = kernel("first_fit", 16, KernelSettings { layout: Layout::Contiguous, ..eager() });
    let pid = kernel.spawn(&Image::default()).expect("there is room");
    let at = map(&mut kernel, pid, 6);
    kernel.memory(pid).munmap(Address(at.0 + PAGE), 4 * PAGE);
    assert_eq!(draw(&kernel), "m----m..........");
    kernel.memory(pid).munmap(at, 6 * PAGE);
    assert_eq!(draw(&kernel), "................");
}

#[test]
fn calls_without_frames_change_nothing() {
    // The same calls on ever smaller memories: each is served in full or not at all.
    let charged = KernelSettings { commit: Commit::Eager, ..logged() };
    for settings in [charged.clone(), KernelSettings { layout: Layout::Contiguous, ..charged }] {
        for frames in 24..60 {
            let mut kernel = kernel("first_fit", frames, settings.clone());
            let Ok(pid) = kernel.spawn(&image(1, 1, 1)) else { continue };
            let mut blocks = Vec::new();
            for pages in [3, 1, 9, 5] {
                let before = (draw(&kernel), kernel.pages_of(pid));
                match kernel.memory(pid).mmap(&MapRequest::anywhere(pages * PAGE)) {
                    Ok(at) => blocks.push((at, pages)),
                    Err(OutOfMemory) => assert_eq!((draw(&kernel), kernel.pages_of(pid)), before),
                }
            }
            for (at, pages) in blocks {
                let before = (draw(&kernel), kernel.pages_of(pid));
                if kernel.memory(pid).mremap(at, pages * PAGE, (pages + 700) * PAGE).is_err() {
                    assert_eq!((draw(&kernel), kernel.pages_of(pid)), before);
                }
            }
            kernel.exit(pid);
            assert_eq!(draw(&kernel), ".".repeat(crate::index(frames)));
        }
    }
}

#[test]
fn a_write_without_a_frame_is_remembered_and_met_later() {
    let mut kernel = kernel("first_fit", 4, KernelSettings { charges: Charges::FREE_OF_CHARGE, ..logged() });
    let (one, two) = (kernel.spawn(&Image::default()), kernel.spawn(&Image::default()));
    let (one, two) = (one.expect("there is room"), two.expect("there is room"));
    let first = map(&mut kernel, one, 3);
    kernel.memory(one).touch(first, 3 * PAGE);
    let second = map(&mut kernel, two, 3);
    kernel.memory(two).touch(second, 3 * PAGE);
    assert_eq!(draw(&kernel), "mmmm");
    let missing = kernel.take_unmet(two, ThreadId(0)).expect("two pages are unmet");
    insta::assert_snapshot!(missing, @"mmap: no run of 1 frame: only 0 are free");
    assert_eq!(kernel.take_unmet(two, ThreadId(0)), None, "told once");
    assert_eq!(kernel.settle(two, ThreadId(0)), Err(missing));
    assert_eq!(kernel.largest_resident(), Some(one));
    kernel.exit(one);
    assert_eq!(kernel.settle(two, ThreadId(0)), Ok(()));
    assert_eq!((draw(&kernel).as_str(), kernel.resident_frames(two)), ("mm.m", 3));
}

#[test]
fn lazily_freed_pages_go_when_memory_is_short() {
    let mut kernel = kernel("first_fit", 8, KernelSettings { charges: Charges::FREE_OF_CHARGE, ..logged() });
    let pid = kernel.spawn(&Image::default()).expect("there is room");
    let at = map(&mut kernel, pid, 8);
    kernel.memory(pid).touch(at, 6 * PAGE);
    kernel.memory(pid).madvise(at, 4 * PAGE, Advice::Free);
    kernel.memory(pid).touch(at, 1);
    let pages = kernel.pages_of(pid);
    assert_eq!((pages.mapped, pages.resident, pages.lazily_freed), (8, 6, 3));
    kernel.memory(pid).touch(Address(at.0 + 6 * PAGE), 2 * PAGE);
    assert_eq!(draw(&kernel), "mmmmmmmm", "while frames are free nothing is reclaimed");
    let heap = grow_heap(&mut kernel, pid, 2);
    kernel.memory(pid).touch(heap, 2 * PAGE);
    assert_eq!(draw(&kernel), "mhh.mmmm", "the three pages that nobody wrote again are gone");
    assert_eq!((kernel.take_unmet(pid, ThreadId(0)), kernel.counts().reclaimed), (None, 3));
}

#[test]
fn what_leaves_the_heap_by_mremap_is_mapped_memory() {
    let mut kernel = kernel("first_fit", 8, KernelSettings { charges: Charges::FREE_OF_CHARGE, ..logged() });
    let pid = kernel.spawn(&Image::default()).expect("there is room");
    let heap = grow_heap(&mut kernel, pid, 3);
    kernel.memory(pid).touch(heap, 3 * PAGE);
    let moved = kernel.memory(pid).mremap(heap, PAGE, 2 * PAGE).expect("there is room");
    assert_eq!(draw(&kernel), "mhh.....");
    assert_eq!(kernel.translate(pid, moved), Some(FrameNumber(0)));
}

#[test]
fn a_whole_table_moves_with_its_frame() {
    let mut kernel = kernel(
        "first_fit",
        2048,
        KernelSettings { charges: Charges { object_bytes: 0, ..Charges::default() }, ..logged() },
    );
    let pid = kernel.spawn(&Image::default()).expect("there is room");
    let at = map(&mut kernel, pid, 1024);
    let wall = MapRequest { hint: Some(Address(at.0 + 1024 * PAGE)), ..MapRequest::anywhere(PAGE) };
    kernel.memory(pid).mmap(&wall).expect("there is room");
    kernel.memory(pid).touch(at, 1024 * PAGE);
    let before = kernel.translate(pid, Address(at.0 + 700 * PAGE));
    let tables = kernel.pages_of(pid).page_tables;
    let moved = kernel.memory(pid).mremap(at, 1024 * PAGE, 1536 * PAGE).expect("there is room");
    assert_ne!(moved, at);
    assert_eq!(kernel.translate(pid, Address(moved.0 + 700 * PAGE)), before);
    assert_eq!(kernel.translate(pid, at), None);
    assert_eq!(kernel.pages_of(pid).page_tables, tables, "two moved, none was made");
    kernel.check().expect("a good state");
    kernel.exit(pid);
    assert_eq!(kernel.allocator().free_frames(), 2048);
}

#[test]
fn rights_taken_later_get_their_frames_when_commit_is_eager() {
    let mut kernel = kernel("first_fit", 8, eager());
    let pid = kernel.spawn(&Image::default()).expect("there is room");
    let reserve = MapRequest { access: Access::None, ..MapRequest::anywhere(64 * PAGE) };
    let at = kernel.memory(pid).mmap(&reserve).expect("nothing is promised");
    assert_eq!(draw(&kernel), "........");
    kernel.memory(pid).mprotect(at, 2 * PAGE, Access::ReadWrite).expect("two frames are free");
    assert_eq!(draw(&kernel), "mm......");
    assert_eq!(kernel.memory(pid).mprotect(at, 9 * PAGE, Access::ReadWrite), Err(OutOfMemory));
    assert_eq!(draw(&kernel), "mm......");
}

#[test]
fn pages_that_go_while_their_neighbours_are_filled_wait_for_their_next_write() {
    let mut kernel = kernel("first_fit", 4, eager());
    let pid = kernel.spawn(&Image::default()).expect("there is room");
    let reserve = MapRequest { access: Access::None, ..MapRequest::anywhere(6 * PAGE) };
    let at = kernel.memory(pid).mmap(&reserve).expect("nothing is promised");
    kernel.memory(pid).mprotect(at, 4 * PAGE, Access::ReadWrite).expect("four frames are free");
    kernel.memory(pid).madvise(at, 4 * PAGE, Advice::Free);
    kernel.memory(pid).mprotect(at, 4 * PAGE, Access::Read).expect("no frame is needed");
    // One page lacks a frame; the four that were given up go for it.
    kernel.memory(pid).mprotect(Address(at.0 + PAGE), 4 * PAGE, Access::ReadWrite).expect("one frame is needed");
    assert_eq!(draw(&kernel), "m...");
    kernel.memory(pid).touch(Address(at.0 + PAGE), 3 * PAGE);
    assert_eq!((draw(&kernel).as_str(), kernel.take_unmet(pid, ThreadId(0))), ("mmm.", None));
}

#[test]
fn frames_taken_by_name_are_given_back_whole_or_at_exit() {
    let mut kernel = kernel("first_fit", 16, textbook());
    let pid = kernel.spawn(&image(1, 0, 0)).expect("there is room");
    let run = kernel.take(pid, &FrameRequest::frames(3)).expect("there is room");
    kernel.take(pid, &FrameRequest::frames(2)).expect("there is room");
    assert_eq!((draw(&kernel).as_str(), kernel.resident_frames(pid)), ("cttttt..........", 6));
    let part = FrameRun::new(run.start.0, 2);
    insta::assert_snapshot!(kernel.give(pid, part).expect_err("a part"), @"process 0 holds no run 1..2 taken by name");
    kernel.give(pid, run).expect("it holds it");
    assert_eq!(draw(&kernel), "c...tt..........");
    assert_eq!(kernel.give(pid, run), Err(NotTaken { pid, run }));
    kernel.exit(pid);
    assert_eq!(draw(&kernel), "................");

    let pid = kernel.spawn(&image(1, 0, 0)).expect("there is room");
    kernel.memory(pid);
    kernel.take(pid, &FrameRequest::frames(2)).expect("there is room");
    kernel.exit(pid);
    assert_eq!(draw(&kernel), "................", "also when it has made a call");
}

#[test]
fn after_all_exits_every_policy_is_as_at_the_start() {
    for policy in PolicyChoice::NAMES {
        let settings = KernelSettings { reserved_frames: 3, ..logged() };
        // Slabs of one frame: a policy may hand out single frames only.
        let charges = Charges { object_bytes: 1000, ..Charges::default() };
        let mut kernel = kernel(policy, 4096, KernelSettings { charges, ..settings });
        let free_runs = |kernel: &Kernel| {
            let mut runs = Vec::new();
            kernel.allocator().for_each_free(&mut |run| runs.push(run));
            runs
        };
        let start = free_runs(&kernel);
        let mut pids = Vec::new();
        for round in 0..40 {
            let pid = kernel.spawn(&image(round % 5, round % 3, 1 + round % 4)).expect("there is room");
            let heap = grow_heap(&mut kernel, pid, 20);
            kernel.memory(pid).touch(heap, (1 + round % 20) * PAGE);
            pids.push(pid);
            if round % 3 == 0 {
                kernel.exit(pids.swap_remove(crate::index(round % pids.len() as u64)));
            }
        }
        kernel.check().expect("a good state");
        pids.into_iter().for_each(|pid| kernel.exit(pid));
        kernel.check().expect("a good state");
        assert_eq!(free_runs(&kernel), start, "{policy}");
        assert_eq!((kernel.page_tables(), kernel.kernel_objects()), (0, 0));
    }
}

#[test]
fn numbers_of_dead_processes_are_used_again() {
    let mut kernel = kernel("first_fit", 16, textbook());
    let pids: Vec<Pid> = (0..3).map(|_| kernel.spawn(&image(1, 0, 0)).expect("there is room")).collect();
    kernel.exit(pids[0]);
    kernel.exit(pids[2]);
    assert_eq!(kernel.spawn(&image(1, 0, 0)), Ok(pids[2]), "the one set free last");
    assert_eq!(kernel.pids().collect::<Vec<_>>(), [pids[1], pids[2]]);
}

#[test]
fn the_log_tells_every_frame_that_changed_hands() {
    let mut kernel = kernel("first_fit", 16, textbook());
    let pid = kernel.spawn(&image(2, 0, 1)).expect("there is room");
    let owner = |region| Owner { pid, region };
    let change =
        |change, start, frames, region| FrameChange { change, run: FrameRun::new(start, frames), owner: owner(region) };
    let taken = [change(HandedOver::Taken, 0, 2, Region::Code), change(HandedOver::Taken, 2, 1, Region::Stack)];
    assert_eq!(kernel.frame_changes(), taken);
    kernel.clear_frame_changes();
    kernel.exit(pid);
    let given = [change(HandedOver::Given, 0, 2, Region::Code), change(HandedOver::Given, 2, 1, Region::Stack)];
    assert_eq!(kernel.frame_changes(), given);
}

#[test]
fn a_kernel_written_and_read_back_goes_on_alike() {
    let mut one = kernel("buddy", 256, logged());
    let pid = one.spawn(&image(2, 1, 1)).expect("there is room");
    let quiet = one.spawn(&image(2, 1, 1)).expect("there is room");
    let at = map(&mut one, pid, 30);
    one.memory(pid).touch(at, 20 * PAGE);
    one.memory(pid).madvise(at, 5 * PAGE, Advice::Free);
    let bytes = postcard::to_stdvec(&one.save()).expect("a kernel can be written");
    let state: KernelState = postcard::from_bytes(&bytes).expect("a kernel can be read");
    let mut two = state.restore(&PolicyRegistry::default()).expect("it is whole");
    for kernel in [&mut one, &mut two] {
        kernel.clear_frame_changes();
        kernel.memory(pid).touch(at, 30 * PAGE);
        kernel.exit(quiet);
    }
    assert_eq!(draw(&one), draw(&two));
    assert_eq!(one.frame_changes(), two.frame_changes());
    assert_eq!((one.counts(), one.pages_of(pid)), (two.counts(), two.pages_of(pid)));
}

#[test]
fn a_state_of_another_policy_is_refused() {
    let mut state = kernel("first_fit", 16, textbook()).save();
    state.policy = "third_fit".to_owned();
    let error = state.restore(&PolicyRegistry::default()).err().expect("nothing has that name");
    insta::assert_snapshot!(error, @"the state is not one of the frame policy `third_fit`");
}

#[test]
fn settings_no_kernel_can_have_are_refused() {
    let setting = || FrameSetting { frames: 16, coins: Coins::from_key([3; 32]) };
    let build = |settings: KernelSettings| {
        let built = PolicyRegistry::default().build("first_fit", &PolicyChoice::named("first_fit"), setting());
        let allocator = built.expect("a policy of ours").expect("default options fit");
        Kernel::new("first_fit", allocator, settings).err().expect("bad settings")
    };
    let odd = KernelSettings { page_bytes: 1000, ..KernelSettings::default() };
    insta::assert_snapshot!(build(odd), @"a page has 1000 bytes; it must be a power of two from 16 bytes to 64 MiB");
    let all = KernelSettings { reserved_frames: 17, ..KernelSettings::default() };
    insta::assert_snapshot!(build(all), @"reserved frames: no run of 17 frames: only 16 are free");
}
