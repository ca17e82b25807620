use insta::assert_snapshot;

use super::*;
use crate::heap::drawing::Drawn;

/// A heap of `bytes` bytes whose blocks have a header of one byte and sizes of any number of bytes.
fn arena(bytes: u64, policy: Policy, order: Order) -> Drawn<FreeList> {
    let options = FreeListOptions { policy, order, arena_bytes: Some(bytes), ..small() };
    Drawn::new(&options, 1)
}

fn small() -> FreeListOptions {
    FreeListOptions { header_bytes: 1, align_bytes: 1, ..FreeListOptions::default() }
}

/// The heap, then its list.
fn draw(drawn: &Drawn<FreeList>) -> String {
    format!("{}  {}", drawn.draw(), drawn.free_pieces())
}

/// Blocks a, b and d freed among live ones: holes of 4, 3 and 6 bytes, freed in that order, and the end of the arena.
fn holes(policy: Policy, order: Order) -> Drawn<FreeList> {
    let mut drawn = arena(24, policy, order);
    for (name, bytes) in [('a', 3), ('x', 1), ('b', 2), ('y', 1), ('d', 5), ('z', 1)] {
        drawn.malloc(name, bytes);
    }
    drawn.free("abd");
    drawn
}

#[test]
fn each_policy_takes_its_own_piece() {
    let mut seen = Vec::new();
    for policy in [Policy::First, Policy::Best, Policy::Worst, Policy::Next] {
        let mut drawn = holes(policy, Order::Address);
        drawn.malloc('m', 2);
        seen.push(format!("{policy:?}: {}, {} looked at", draw(&drawn), drawn.heap.last_search()));
    }
    assert_snapshot!(seen.join("\n"), @r"
    First: Hmm.Hx...Hy......Hz.....  3+1 6+3 11+6 19+5, 1 looked at
    Best: ....HxHmmHy......Hz.....  0+4 11+6 19+5, 4 looked at
    Worst: ....Hx...HyHmm...Hz.....  0+4 6+3 14+3 19+5, 4 looked at
    Next: ....Hx...Hy......HzHmm..  0+4 6+3 11+6 22+2, 1 looked at
    ");
}

#[test]
fn each_order_keeps_its_own_list() {
    let mut seen = Vec::new();
    for order in [Order::Address, Order::SizeUp, Order::SizeDown, Order::InsertFront, Order::InsertBack] {
        seen.push(format!("{order:?}: {}", draw(&holes(Policy::First, order))));
    }
    assert_snapshot!(seen.join("\n"), @r"
    Address: ....Hx...Hy......Hz.....  0+4 6+3 11+6 19+5
    SizeUp: ....Hx...Hy......Hz.....  6+3 0+4 19+5 11+6
    SizeDown: ....Hx...Hy......Hz.....  11+6 19+5 0+4 6+3
    InsertFront: ....Hx...Hy......Hz.....  11+6 6+3 0+4 19+5
    InsertBack: ....Hx...Hy......Hz.....  19+5 0+4 6+3 11+6
    ");
}

#[test]
fn a_block_freed_between_two_free_pieces_joins_both() {
    let mut drawn = holes(Policy::First, Order::Address);
    drawn.free("x");
    assert_snapshot!(draw(&drawn), @".........Hy......Hz.....  0+9 11+6 19+5");
}

#[test]
fn pieces_that_touch_but_are_apart_in_the_list_stay_apart() {
    let mut drawn = holes(Policy::First, Order::InsertBack);
    drawn.free("y");
    assert_snapshot!(draw(&drawn), @"....Hx...........Hz.....  19+5 0+4 6+3 11+6 9+2");
}

#[test]
fn without_coalescing_scattered_bytes_cannot_serve() {
    let options = FreeListOptions { coalesce: false, arena_bytes: Some(12), ..small() };
    let mut drawn = Drawn::<FreeList>::new(&options, 1);
    drawn.malloc_all("abcd", 2);
    drawn.free("abcd");
    assert!(!drawn.malloc('m', 3));
    assert_snapshot!(draw(&drawn), @"............  0+3 3+3 6+3 9+3");
}

#[test]
fn without_split_a_block_gets_the_whole_piece() {
    let mut drawn = holes(Policy::Best, Order::Address);
    drawn.heap.options.split = false;
    drawn.malloc('m', 4);
    assert_snapshot!(draw(&drawn), @"....Hx...Hy......HzHmmmm  0+4 6+3 11+6");
}

#[test]
fn an_aligned_block_leaves_what_lies_below_and_above_it_free() {
    let mut drawn = arena(24, Policy::First, Order::Address);
    drawn.malloc('a', 3);
    drawn.aligned('m', 8, 2);
    assert_snapshot!(draw(&drawn), @"Haaa...Hmm..............  4+3 10+14");
}

#[test]
fn realloc_gives_the_tail_back_and_moves_only_when_it_must() {
    let mut drawn = arena(24, Policy::First, Order::Address);
    drawn.malloc('a', 6);
    drawn.malloc('b', 2);
    drawn.realloc('a', 3);
    let shrunk = draw(&drawn);
    drawn.realloc('a', 4);
    assert_snapshot!(format!("{shrunk}\n{}", draw(&drawn)), @r"
    Haaa...Hbb..............  4+3 10+14
    .......HbbHaaaa.........  0+7 15+9
    ");
}

#[test]
fn refuses_what_no_piece_can_serve_and_nothing_moves() {
    let mut drawn = holes(Policy::First, Order::Address);
    let before = draw(&drawn);
    assert!(!drawn.malloc('m', 9));
    assert_eq!(draw(&drawn), before);
    assert_eq!(drawn.heap.malloc(ThreadId(0), u64::MAX, &mut drawn.memory), Err(OutOfMemory));
    let inside = Address(drawn.at('x').0 + 1);
    assert_eq!(drawn.heap.free(ThreadId(0), inside, &mut drawn.memory), Err(HeapFreeError(inside)));
    assert_eq!(draw(&drawn), before);
}

#[test]
fn a_malloc_that_the_heap_can_serve_makes_no_system_call() {
    let mut drawn = Drawn::<FreeList>::new(&FreeListOptions::default(), 16);
    for _ in 0..2048 {
        assert!(drawn.malloc('m', 16));
    }
    assert_eq!(drawn.memory.system_calls(), 1, "2048 blocks of 32 bytes are 64 KiB");
    assert!(drawn.malloc('m', 16));
    assert_eq!(drawn.memory.system_calls(), 2);
}

#[test]
fn trims_the_top_only_from_the_threshold_on() {
    let options = FreeListOptions { trim_bytes: Some(128 * 1024), ..FreeListOptions::default() };
    let mut drawn = Drawn::<FreeList>::new(&options, 16);
    drawn.malloc('a', 100);
    drawn.malloc('b', 100_000);
    drawn.malloc('c', 50_000);
    let grown = drawn.heap.stats().held;
    drawn.free("c");
    assert_eq!(drawn.heap.stats().held, grown, "67,808 bytes are free at the top");
    drawn.free("b");
    assert_eq!(drawn.heap.stats().held, 4096);
    assert_eq!(drawn.memory.held_bytes(), 4096);
}

#[test]
fn a_next_fit_search_goes_on_from_the_last_piece_and_once_around() {
    let mut drawn = holes(Policy::Next, Order::Address);
    let mut places = Vec::new();
    for name in ['p', 'q', 'r', 's'] {
        assert!(drawn.malloc(name, 2));
        places.push(format!("{} after {}", drawn.offset(name), drawn.heap.last_search()));
    }
    assert_snapshot!(places.join(", "), @"20 after 1, 1 after 2, 7 after 2, 12 after 1");
}

#[test]
fn options_that_fit_nothing_are_refused() {
    let refuse = |options: FreeListOptions| {
        let setting = HeapSetting { coins: crate::Coins::from_key([0; 32]) };
        FreeList::build(setting, &options).unwrap_err()
    };
    assert_snapshot!(refuse(FreeListOptions { align_bytes: 0, ..Default::default() }), @"`align_bytes` is 0; sizes are multiples of at least 1 byte");
    assert_snapshot!(refuse(FreeListOptions { arena_bytes: Some(0), ..Default::default() }), @"`arena_bytes` is 0; an arena has at least 1 byte");
    let both = FreeListOptions { arena_bytes: Some(64), trim_bytes: Some(64), ..Default::default() };
    assert_snapshot!(refuse(both), @"`trim_bytes` is 64; a heap of fixed size is not trimmed");
}
