//! Placement, joining and page tables, each rule of the module page by an example.

use super::*;
use crate::heap::{Access, SystemMemory};

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

fn space() -> AddressSpace {
    AddressSpace::new(SpaceSettings::linux(PAGE))
}

/// Nothing below `mmap_base` can grow past it.
fn space_below_a_wall() -> AddressSpace {
    let mut space = space();
    let wall = MapOptions { flags: AreaFlags::READ, ..MapOptions::anonymous(PAGE) };
    space.map(&wall.at(MapAt::Fixed(space.settings().mmap_base))).expect("a fixed place is always there");
    space
}

fn map(space: &mut AddressSpace, bytes: u64) -> Address {
    let pages = space.map(&MapOptions::anonymous(bytes)).expect("there is room");
    space.check().expect("every call leaves a good space");
    space.address_of(pages.start)
}

fn map_at(space: &mut AddressSpace, at: u64, bytes: u64) {
    let options = MapOptions::anonymous(bytes).at(MapAt::Fixed(Address(at)));
    space.map(&options).expect("a fixed place is always there");
}

/// One line per area: start, end, rights.
fn draw(space: &AddressSpace) -> String {
    let letter = |area: &Area, flag, letter| if area.flags.has(flag) { letter } else { '-' };
    let mut text = String::new();
    for area in space.areas() {
        let rights: String = [(AreaFlags::READ, 'r'), (AreaFlags::WRITE, 'w'), (AreaFlags::EXECUTE, 'x')]
            .map(|(flag, name)| letter(area, flag, name))
            .iter()
            .collect();
        let (start, end) = (space.address_of(area.pages.start), space.address_of(area.pages.end));
        text.push_str(&format!("{start} {end} {rights}\n"));
    }
    text
}

#[test]
fn a_mapping_goes_to_the_upper_end_of_the_highest_gap() {
    let mut space = space();
    assert_eq!(map(&mut space, 3 * PAGE), Address(0x7fff_f7ff_c000));
    assert_eq!(map(&mut space, PAGE), Address(0x7fff_f7ff_b000));
    space.unmap(Address(0x7fff_f7ff_d000), PAGE).expect("whole pages");
    assert_eq!(map(&mut space, 2 * PAGE), Address(0x7fff_f7ff_9000), "the hole of one page is too short");
    assert_eq!(map(&mut space, PAGE), Address(0x7fff_f7ff_d000), "but holds one");
}

#[test]
fn two_mebibytes_are_placed_on_a_multiple_of_two_mebibytes() {
    let mut space = space();
    assert_eq!(map(&mut space, 2 * MIB), Address(0x7fff_f7c0_0000));
    assert_eq!(map(&mut space, 2 * MIB), Address(0x7fff_f7a0_0000), "an aligned start goes up by 2 MiB");
    assert_eq!(map(&mut space, 2 * MIB + PAGE), Address(0x7fff_f77f_f000), "no multiple of 2 MiB: below");
    assert_eq!(map(&mut space, MIB), Address(0x7fff_f7ef_f000), "and the room above stays usable");
}

#[test]
fn a_long_file_agrees_with_its_address_modulo_two_mebibytes() {
    let mut space = space();
    let file = MapOptions { backing: Backing::File(1), offset: 3, ..MapOptions::anonymous(4 * MIB) };
    let pages = space.map(&file).expect("there is room");
    assert_eq!(pages.start % TABLE_ENTRIES, 3);
    let short = MapOptions { backing: Backing::File(2), offset: 3, ..MapOptions::anonymous(MIB) };
    let below = space.map(&short).expect("there is room");
    // Pages 3..259 of the file hold no whole aligned 2 MiB, so the highest gap decides: the one above the first file.
    assert_eq!(space.address_of(below.end), Address(0x7fff_f7ff_f000));
}

#[test]
fn shared_memory_is_not_placed_on_two_mebibytes() {
    let mut space = space();
    let shared = MapOptions { backing: Backing::SharedMemory(1), ..MapOptions::anonymous(2 * MIB) };
    let pages = space.map(&shared).expect("there is room");
    assert_eq!(space.address_of(pages.end), space.settings().mmap_base);
}

#[test]
fn a_range_that_shrinks_may_reach_across_a_hole() {
    let mut space = space();
    let at = map(&mut space, 8 * PAGE);
    space.unmap(Address(at.0 + 4 * PAGE), 2 * PAGE).expect("whole pages");
    assert_eq!(space.mremap(at, 8 * PAGE, PAGE), Ok(at));
    assert_eq!(space.mapped_pages(), 1);
}

#[test]
fn marks_cut_an_area_and_join_it_again() {
    let mut space = space();
    let at = map(&mut space, 4 * PAGE);
    let middle = Address(at.0 + PAGE);
    space.mark(middle, PAGE, AreaFlags::NO_FORK, AreaFlags::NONE).expect("mapped");
    assert_eq!(space.areas().count(), 3);
    space.mark(middle, PAGE, AreaFlags::NONE, AreaFlags::NO_FORK).expect("mapped");
    assert_eq!(space.areas().count(), 1);
    let past = space.mark(middle, 8 * PAGE, AreaFlags::RANDOM, AreaFlags::NONE).expect_err("there is a hole");
    insta::assert_snapshot!(past, @"0x7ffff7fff000 is not mapped");
    assert_eq!(space.areas().count(), 2, "what is mapped is marked all the same");
}

#[test]
fn a_hint_is_taken_where_it_is_free() {
    let mut space = space();
    let hint = MapOptions::anonymous(PAGE).at(MapAt::Hint(Address(0x10_0000_0123)));
    assert_eq!(space.map(&hint).map(|pages| pages.start), Ok(0x0100_0000), "rounded down to its page");
    assert_eq!(space.map(&hint).map(|pages| pages.start), Ok(0x7_ffff_7ffe), "taken: anywhere");
}

#[test]
fn a_gap_below_a_stack_is_256_pages_shorter() {
    let mut space = space();
    let stack = MapOptions {
        flags: AreaFlags::READ.with(AreaFlags::WRITE).with(AreaFlags::GROWS_DOWN),
        ..MapOptions::anonymous(PAGE)
    };
    space.map(&stack).expect("there is room");
    assert_eq!(map(&mut space, PAGE), Address(0x7fff_f7ff_e000 - 256 * PAGE - PAGE));
}

#[test]
fn the_heap_starts_apart_and_then_grows_as_one_area() {
    let mut space = space();
    let start = space.program_break();
    map_at(&mut space, start.0 - PAGE, PAGE);
    space.move_brk(Address(start.0 + PAGE)).expect("there is room");
    space.move_brk(Address(start.0 + 2 * PAGE + 1)).expect("there is room");
    insta::assert_snapshot!(draw(&space), @"
    0x555555553000 0x555555554000 rw-
    0x555555554000 0x555555557000 rw-
    ");
    space.move_brk(start).expect("a break can always fall");
    insta::assert_snapshot!(draw(&space), @"0x555555553000 0x555555554000 rw-");
}

#[test]
fn one_page_stays_free_above_the_break() {
    let mut space = space();
    let start = space.program_break();
    map_at(&mut space, start.0 + 4 * PAGE, PAGE);
    let refused = space.move_brk(Address(start.0 + 4 * PAGE)).expect_err("it would touch the mapping");
    insta::assert_snapshot!(refused, @"no room for 4 pages in the address space");
    space.move_brk(Address(start.0 + 3 * PAGE)).expect("one page is left");
}

#[test]
fn rights_cut_an_area_and_join_it_again() {
    let mut space = space();
    let at = map(&mut space, 4 * PAGE);
    space.protect(Address(at.0 + PAGE), PAGE, Access::Read).expect("mapped");
    insta::assert_snapshot!(draw(&space), @"
    0x7ffff7ffb000 0x7ffff7ffc000 rw-
    0x7ffff7ffc000 0x7ffff7ffd000 r--
    0x7ffff7ffd000 0x7ffff7fff000 rw-
    ");
    space.protect(Address(at.0 + PAGE), PAGE, Access::ReadWrite).expect("mapped");
    insta::assert_snapshot!(draw(&space), @"0x7ffff7ffb000 0x7ffff7fff000 rw-");
}

#[test]
fn areas_written_apart_do_not_join() {
    let mut space = space();
    let upper = map(&mut space, PAGE);
    let lower = map(&mut space, 2 * PAGE);
    space.unmap(lower, 2 * PAGE).expect("whole pages");
    map_at(&mut space, upper.0 - 2 * PAGE, PAGE);
    for at in [upper.0, upper.0 - 2 * PAGE] {
        space.write(Address(at), 1).expect("mapped");
    }
    map_at(&mut space, upper.0 - PAGE, PAGE);
    insta::assert_snapshot!(draw(&space), @"
    0x7ffff7ffc000 0x7ffff7ffe000 rw-
    0x7ffff7ffe000 0x7ffff7fff000 rw-
    ");
}

#[test]
fn a_mapping_grows_where_it_is_or_moves() {
    let mut space = space_below_a_wall();
    let upper = map(&mut space, PAGE);
    let lower = map(&mut space, PAGE);
    space.write(lower, 1).expect("mapped");
    assert_eq!(space.mremap(upper, PAGE, 2 * PAGE), Ok(Address(lower.0 - 2 * PAGE)), "the wall is above it");
    assert_eq!(space.mremap(lower, PAGE, 2 * PAGE), Ok(lower), "the room above is free now");
    assert_eq!(space.mremap(lower, 2 * PAGE, PAGE), Ok(lower), "shrinks in place");
    assert_eq!(SystemMemory::resident_pages(&space, lower, PAGE), 1);
    space.check().expect("a good space");
}

#[test]
fn a_move_takes_the_content_along() {
    let mut space = space_below_a_wall();
    let upper = map(&mut space, 3 * PAGE);
    space.write(Address(upper.0 + PAGE), PAGE).expect("mapped");
    let moved = space.mremap(upper, 3 * PAGE, 1024 * PAGE).expect("there is room");
    assert_eq!(moved, Address(0x7fff_f7a0_0000), "4 MiB lie on 2 MiB");
    assert_eq!(space.resident_pages(), 1);
    assert!(space.is_present(space.page_of(moved) + 1));
    space.check().expect("a good space");
}

#[test]
fn a_page_table_is_freed_when_nobody_else_can_need_it() {
    let mut space = space();
    let low = map(&mut space, 2 * MIB);
    space.write(low, 1).expect("mapped");
    let high = map(&mut space, PAGE);
    space.write(high, 1).expect("mapped");
    assert_eq!(space.tables(), 2 + 1 + 1, "two lowest tables, one of each level above");
    space.unmap(low, 2 * MIB).expect("whole pages");
    assert_eq!(space.tables(), 1 + 1 + 1);
    space.unmap(high, PAGE).expect("whole pages");
    assert_eq!(space.tables(), 0);
}

#[test]
fn dont_need_frees_only_a_table_it_covers() {
    let mut space = space();
    let at = map(&mut space, 2 * MIB);
    space.write(at, 2 * MIB).expect("mapped");
    space.madvise(at, MIB, Advice::DontNeed);
    assert_eq!((space.resident_pages(), space.tables()), (256, 3));
    space.madvise(at, 2 * MIB, Advice::DontNeed);
    assert_eq!((space.resident_pages(), space.tables()), (0, 2));
    assert_eq!(space.mapped_pages(), 512);
}

#[test]
fn lazily_freed_pages_are_resident_until_somebody_needs_them() {
    let mut space = space();
    let at = map(&mut space, 4 * PAGE);
    space.write(at, 4 * PAGE).expect("mapped");
    space.madvise(at, 3 * PAGE, Advice::Free);
    assert_eq!((space.mapped_pages(), space.resident_pages(), space.lazy_pages()), (4, 4, 3));
    space.write(at, 1).expect("mapped");
    assert_eq!((space.resident_pages(), space.lazy_pages()), (4, 2), "a written page is wanted again");
}

#[test]
fn a_stack_grows_down_to_the_write() {
    let mut space = space();
    let flags = AreaFlags::READ.with(AreaFlags::WRITE).with(AreaFlags::GROWS_DOWN);
    let top = space.settings().mmap_base;
    let stack = MapOptions { flags, ..MapOptions::anonymous(PAGE) };
    space.map(&stack).expect("there is room");
    space.write(Address(top.0 - 10 * PAGE), 1).expect("a stack grows");
    assert_eq!((space.mapped_pages(), space.resident_pages()), (10, 1));
    let far = Address(top.0 - (8 << 20) - PAGE);
    insta::assert_snapshot!(space.write(far, 1).expect_err("past the limit"), @"write to 0x7ffff77fe000, where nothing writable is mapped");
}

#[test]
fn a_moved_area_joins_a_new_neighbour_only_if_it_was_never_written() {
    for (is_written, areas) in [(false, 1), (true, 2)] {
        let mut space = space_below_a_wall();
        let at = map(&mut space, PAGE);
        if is_written {
            space.write(at, 1).expect("mapped");
        }
        let moved = space.mremap(at, PAGE, 2 * PAGE).expect("there is room below");
        assert_eq!(moved, Address(at.0 - 2 * PAGE));
        assert_eq!(map(&mut space, PAGE), at, "where it was is free again");
        assert_eq!(space.areas().count(), areas + 1, "and the wall");
    }
}

#[test]
fn hundreds_of_areas_are_placed_like_few() {
    let mut space = space();
    let kinds = [AreaFlags::READ, AreaFlags::READ.with(AreaFlags::WRITE), AreaFlags::READ.with(AreaFlags::EXECUTE)];
    let mut starts = Vec::new();
    for at in 0..600_usize {
        let flags = kinds[at % 3];
        let pages = space.map(&MapOptions { flags, ..MapOptions::anonymous(2 * PAGE) }).expect("there is room");
        starts.push(space.address_of(pages.start));
    }
    assert_eq!(space.areas().count(), 600);
    // Holes of two pages, but one of six in the middle: only that one holds five.
    for &at in starts.iter().step_by(5) {
        space.unmap(at, 2 * PAGE).expect("whole pages");
    }
    for &at in &starts[301..303] {
        space.unmap(at, 2 * PAGE).expect("whole pages");
    }
    space.check().expect("a good space");
    assert_eq!(
        map(&mut space, 5 * PAGE),
        Address(starts[302].0 + PAGE),
        "the upper end of the only hole that holds it"
    );
    assert_eq!(map(&mut space, 2 * PAGE), starts[0], "the highest of the small ones");
}
