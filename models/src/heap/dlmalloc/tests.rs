use insta::assert_snapshot;

use super::*;
use crate::heap::drawing::Drawn;

/// One character for 16 bytes, `H` for the first 16 of a chunk. (A block ends 8 bytes into the next chunk.)
fn dlmalloc() -> Drawn<Dlmalloc> {
    Drawn::new(&DlmallocOptions::default(), 16)
}

/// A heap of mappings alone, which grows by 64 KiB.
fn mappings() -> Drawn<Dlmalloc> {
    Drawn::new(&DlmallocOptions { use_break: false, mmap_threshold_bytes: None, ..DlmallocOptions::default() }, 16)
}

#[test]
fn a_chunk_has_eight_bytes_more_than_its_block_rounded_up_to_sixteen() {
    let mut sizes = Vec::new();
    for bytes in [0, 22, 24, 25, 40, 41, 1000] {
        let mut drawn = dlmalloc();
        drawn.malloc('a', bytes);
        sizes.push(format!("{bytes}: {}", drawn.heap.usable_size(drawn.at('a')).unwrap()));
    }
    assert_snapshot!(sizes.join(", "), @"0: 24, 22: 24, 24: 24, 25: 40, 40: 40, 41: 56, 1000: 1000");
}

#[test]
fn a_chunk_of_exactly_the_size_is_taken_the_newest_first() {
    let mut drawn = dlmalloc();
    for name in ['a', 'b', 'c'] {
        drawn.malloc(name, 40);
        drawn.malloc('x', 24);
    }
    drawn.free("acb");
    let before = drawn.draw();
    drawn.malloc_all("de", 40);
    assert_snapshot!(format!("{before}\n{}", drawn.draw()), @r"
    ...Hx...Hx...Hx... and 3776 free
    ...HxHddHxHeeHx... and 3776 free
    ");
}

#[test]
fn the_rest_of_a_small_split_is_the_victim_that_serves_the_next_request() {
    let mut drawn = dlmalloc();
    drawn.malloc('a', 200);
    drawn.malloc('x', 24);
    drawn.free("a");
    drawn.malloc_all("bc", 24);
    assert_snapshot!(format!("{} victim {}", drawn.draw(), drawn.heap.dv_bytes()), @"HbHc.........Hx... and 3776 free victim 144");
}

#[test]
fn of_equal_large_chunks_the_oldest_is_taken() {
    let mut drawn = dlmalloc();
    for name in ['a', 'b', 'c'] {
        drawn.malloc(name, 300);
        drawn.malloc('x', 24);
    }
    let (a, b) = (drawn.offset('a'), drawn.offset('b'));
    drawn.free("bca");
    drawn.malloc_all("de", 300);
    assert_eq!((drawn.offset('d'), drawn.offset('e') > a), (b, true), "b was freed first, then c");
}

#[test]
fn the_victim_serves_a_large_request_that_no_tree_chunk_serves_better() {
    let mut drawn = dlmalloc();
    for (name, bytes) in [('a', 1000), ('b', 600), ('c', 24)] {
        drawn.malloc(name, bytes);
        drawn.malloc('x', 24);
    }
    drawn.free("b");
    drawn.malloc('v', 24);
    let victim = drawn.heap.dv_bytes();
    drawn.free("a");
    let at = drawn.heap.tiling.start(drawn.heap.dv.unwrap()) + BLOCK_OFFSET;
    drawn.malloc('m', victim - WORD_BYTES);
    assert_eq!(drawn.at('m').0, at, "the victim of {victim} bytes fits exactly, the tree chunk has 1008");
}

#[test]
fn a_freed_chunk_joins_both_neighbours_and_the_top_takes_what_touches_it() {
    let mut drawn = dlmalloc();
    drawn.malloc_all("abcx", 40);
    drawn.free("ac");
    let apart = drawn.free_pieces();
    drawn.free("b");
    let joined = drawn.free_pieces();
    drawn.free("x");
    assert_snapshot!(format!("{apart}\n{joined}\n{}", drawn.free_pieces()), @r"
    104+48 8+48 200+3824
    8+144 200+3824
    8+4016
    ");
}

#[test]
fn an_aligned_block_leaves_lead_and_tail_free() {
    let mut drawn = dlmalloc();
    drawn.malloc('a', 24);
    drawn.aligned('m', 128, 40);
    assert_snapshot!(drawn.draw(), @"Ha.....Hmm... and 3856 free");
}

#[test]
fn realloc_shrinks_and_grows_where_it_is_and_moves_when_it_must() {
    let mut drawn = dlmalloc();
    drawn.malloc('a', 200);
    drawn.malloc('x', 24);
    drawn.realloc('a', 40);
    let shrunk = drawn.draw();
    drawn.realloc('a', 104);
    let grown = drawn.draw();
    drawn.realloc('a', 300);
    assert_snapshot!(format!("{shrunk}\n{grown}\n{}", drawn.draw()), @r"
    Haa..........Hx... and 3776 free
    Haaaaaa......Hx... and 3776 free
    .............HxHaaaaaaaaaaaaaaaaaaa... and 3456 free
    ");
}

#[test]
fn the_first_block_raises_the_break_and_large_ones_are_mapped_from_then_on() {
    let mut drawn = dlmalloc();
    drawn.malloc('a', 300_000);
    let first = (drawn.offset('a'), drawn.memory.held_bytes());
    drawn.malloc('b', 300_000);
    let chunk = 300_000_u64.next_multiple_of(16) + 16;
    assert_eq!(first, (16, (chunk + 96).next_multiple_of(4096)), "there was no top yet");
    assert_eq!(drawn.memory.held_bytes() - first.1, (chunk + 63).next_multiple_of(4096));
    drawn.free("b");
    assert_eq!(drawn.memory.held_bytes(), first.1);
}

#[test]
fn a_top_over_two_mebibytes_is_trimmed_to_one_page() {
    let mut drawn = dlmalloc();
    drawn.malloc('a', 24);
    let names: String = ('B'..='K').collect();
    drawn.malloc_all(&names, 250_000);
    let grown = drawn.memory.held_bytes();
    drawn.free(&names.chars().rev().skip(2).collect::<String>());
    assert_eq!(drawn.memory.held_bytes(), grown, "two live blocks lie above the free ones");
    drawn.free("JK");
    assert_eq!((drawn.memory.held_bytes(), drawn.heap.top_bytes()), (4096, 4096 - 32 - 80));
}

#[test]
fn mappings_below_each_other_are_one_segment() {
    let mut drawn = mappings();
    drawn.malloc_all("abc", 60_000);
    assert_eq!(drawn.heap.segments.len(), 1);
    assert_eq!(drawn.memory.held_bytes(), 3 * 64 * 1024);
    assert!(drawn.at('c').0 < drawn.at('b').0 && drawn.at('b').0 < drawn.at('a').0);
}

#[test]
fn a_segment_apart_retires_the_old_top_and_is_unmapped_when_nothing_in_it_is_live() {
    let mut drawn = mappings();
    drawn.malloc('a', 1000);
    // Somebody else's page, right below: the next segment is not a neighbour.
    drawn.memory.mmap(&crate::heap::MapRequest::anywhere(4096)).unwrap();
    drawn.malloc('b', 70_000);
    assert_eq!(drawn.heap.segments.len(), 2);
    let old_top = 64 * 1024 - 1008 - 80;
    assert_eq!(drawn.heap.trees.keys().collect::<Vec<_>>(), [&old_top]);
    drawn.heap.release_checks = 1;
    drawn.free("a");
    assert_eq!((drawn.heap.segments.len(), drawn.heap.trees.len()), (1, 0));
}

#[test]
fn options_that_fit_nothing_are_refused() {
    let refuse = |options: DlmallocOptions| options.validate().unwrap_err();
    let odd = DlmallocOptions { granularity_bytes: Some(5000), ..DlmallocOptions::default() };
    assert_snapshot!(refuse(odd), @"`granularity_bytes` is 5000; memory is taken in a power of two, at least 4096");
    assert_snapshot!(refuse(DlmallocOptions { release_rate: 0, ..DlmallocOptions::default() }), @"`release_rate` is 0; segments are looked at after at least 1 free");
}
