use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::frames::FrameNumber;

fn buddy(frames: u64, max_order: u32) -> Buddy {
    Buddy::new(frames, max_order)
}

/// A memory whose free blocks are drawn (`.`), made by giving back those of single frames.
fn drawn(map: &str) -> Buddy {
    let frames = map.len() as u64;
    let mut memory = buddy(frames, 40);
    let taken: Vec<FrameRun> = (0..frames).map(|_| take(&mut memory, 1)).collect();
    for run in taken {
        if map.as_bytes()[index(run.start.0)] == b'.' {
            memory.free(run).expect("a live frame");
        }
    }
    checked(&memory);
    memory
}

fn take(memory: &mut Buddy, frames: u64) -> FrameRun {
    memory.allocate(&FrameRequest::frames(frames)).expect("a free block")
}

fn checked(memory: &Buddy) {
    memory.check().expect("the structure is sound");
}

fn draw(memory: &impl FrameAllocator) -> String {
    let mut map = vec![b'#'; index(memory.total_frames())];
    memory.for_each_free(&mut |run| map[index(run.start.0)..index(run.end().0)].fill(b'.'));
    String::from_utf8(map).expect("only # and .")
}

/// Free blocks as first..last frame.
fn blocks(memory: &Buddy) -> String {
    let mut text = Vec::new();
    memory.for_each_free(&mut |run| text.push(run.to_string()));
    text.join(" ")
}

#[test]
fn a_request_halves_the_lowest_block_until_it_fits() {
    let mut memory = buddy(16, 10);
    assert_eq!(take(&mut memory, 2), FrameRun::new(0, 2));
    assert_snapshot!(draw(&memory), @"##..............");
    assert_snapshot!(blocks(&memory), @"2..3 4..7 8..15");
    assert_eq!(take(&mut memory, 3), FrameRun::new(4, 4));
    assert_snapshot!(draw(&memory), @"##..####........");
}

#[test]
fn the_smallest_order_that_will_do_is_taken_before_a_lower_address() {
    let mut memory = drawn("....#.#.##..####");
    assert_snapshot!(blocks(&memory), @"0..3 5 7 10..11");
    assert_eq!(take(&mut memory, 1).start, FrameNumber(5));
    assert_eq!(take(&mut memory, 2).start, FrameNumber(10));
    assert_snapshot!(draw(&memory), @"....###.########");
}

#[test]
fn a_freed_block_merges_with_its_buddy_as_often_as_it_can() {
    let mut memory = buddy(8, 10);
    let runs: Vec<FrameRun> = (0..8).map(|_| take(&mut memory, 1)).collect();
    for (freed, left) in [(1, "1"), (3, "1 3"), (2, "1 2..3"), (0, "0..3"), (4, "0..3 4")] {
        memory.free(runs[freed]).expect("a live frame");
        assert_eq!(blocks(&memory), left);
        checked(&memory);
    }
}

#[test]
fn neighbours_that_are_not_buddies_stay_apart_but_are_one_hole() {
    let memory = drawn("#..#");
    assert_snapshot!(blocks(&memory), @"1 2");
    assert_eq!((memory.holes(), memory.largest_request()), (1, 1));
}

#[test]
fn what_is_free_would_serve_a_whole_block_if_it_lay_together() {
    let memory = drawn("#.##..#.##.##.#.");
    // Seven frames are free: together they would hold a block of four, apart they hold one of two.
    assert_eq!((memory.free_frames(), memory.largest_together(), memory.largest_request()), (7, 4, 2));
    assert_eq!(buddy(100, 4).largest_together(), 16, "no block is larger than the top order");
}

#[test]
fn refuses_two_frames_when_the_free_two_are_no_buddies() {
    let mut memory = drawn("#..#");
    let error = memory.allocate(&FrameRequest::frames(2)).unwrap_err();
    assert_eq!(error, AllocError::Fragmentation { asked: 2, free: 2, longest: 1, holes: 1 });
    assert_snapshot!(error, @"no run of 2 frames: 2 are free, the longest free run has 1");
    assert_snapshot!(draw(&memory), @"#..#");
}

#[test]
fn refuses_more_than_is_free_as_a_shortage() {
    let mut memory = drawn("#..#");
    let error = memory.allocate(&FrameRequest::frames(3)).unwrap_err();
    assert_eq!(error, AllocError::Shortage { asked: 3, free: 2, longest: 1, holes: 1 });
}

#[test]
fn refuses_more_than_the_top_order_whatever_is_free() {
    let mut memory = buddy(64, 3);
    let error = memory.allocate(&FrameRequest::frames(9)).unwrap_err();
    assert_snapshot!(error, @"9 frames asked at once; this policy hands out at most 8");
    assert_eq!(
        memory.allocate(&FrameRequest::frames(u64::MAX)),
        Err(AllocError::TooLarge { asked: u64::MAX, limit: 8 })
    );
    assert_eq!(memory.allocate(&FrameRequest::frames(0)), Err(AllocError::Empty));
    assert_eq!(memory.allocate(&FrameRequest::frames(1).aligned(0)), Err(AllocError::Empty));
    assert_eq!(take(&mut memory, 8), FrameRun::new(0, 8));
}

#[test]
fn blocks_of_the_top_order_do_not_merge() {
    let mut memory = buddy(16, 2);
    let low = take(&mut memory, 4);
    memory.free(low).expect("a live block");
    assert_snapshot!(blocks(&memory), @"0..3 4..7 8..11 12..15");
    assert_eq!(memory.holes(), 1);
    checked(&memory);
}

#[test]
fn memory_that_is_no_power_of_two_is_cut_from_the_low_end() {
    let mut memory = buddy(27, 40);
    assert_snapshot!(blocks(&memory), @"0..15 16..23 24..25 26");
    assert_eq!(take(&mut memory, 1).start, FrameNumber(26));
    assert_snapshot!(blocks(&buddy(1, 10)), @"0");
    assert_snapshot!(blocks(&buddy(200, 40)), @"0..127 128..191 192..199");
    assert_snapshot!(blocks(&buddy(11, 2)), @"0..3 4..7 8..9 10");
}

#[test]
fn an_alignment_above_the_size_is_found_inside_larger_and_smaller_blocks() {
    let mut memory = drawn("#.#.#...########");
    assert_snapshot!(blocks(&memory), @"1 3 5 6..7");
    let run = memory.allocate(&FrameRequest::frames(1).aligned(3)).expect("frame 3 is free");
    assert_eq!(run, FrameRun::new(3, 1));
    let run = memory.allocate(&FrameRequest::frames(1).aligned(7)).expect("the upper half of 6..7");
    assert_eq!(run, FrameRun::new(7, 1));
    assert_snapshot!(blocks(&memory), @"1 5 6");
    checked(&memory);
    let error = memory.allocate(&FrameRequest::frames(1).aligned(4)).unwrap_err();
    assert_eq!(error, AllocError::Fragmentation { asked: 1, free: 3, longest: 1, holes: 2 });
}

#[test]
fn a_limit_is_kept() {
    let mut memory = drawn("##......########");
    assert_snapshot!(blocks(&memory), @"2..3 4..7");
    let below = |frames, below| FrameRequest { below: Some(FrameNumber(below)), ..FrameRequest::frames(frames) };
    assert_eq!(
        memory.allocate(&below(2, 3)).unwrap_err().to_string(),
        "no run of 2 frames: 6 are free, the longest free run has 4"
    );
    assert_eq!(memory.allocate(&below(2, 4)), Ok(FrameRun::new(2, 2)));
    assert_eq!(memory.allocate(&below(2, 6)), Ok(FrameRun::new(4, 2)));
    checked(&memory);
}

#[test]
fn a_free_of_anything_but_a_live_block_is_an_error_and_moves_nothing() {
    let mut memory = buddy(288, 40);
    let small = take(&mut memory, 3);
    let large = take(&mut memory, 100);
    assert_eq!((small, large), (FrameRun::new(256, 4), FrameRun::new(0, 128)));
    let before = draw(&memory);
    let not_live = [(260, 4), (287, 1), (288, 1), (u64::MAX, 1), (0, 0), (128, 128), (u64::MAX, u64::MAX)];
    for (start, frames) in not_live {
        let given = FrameRun::new(start, frames);
        assert_eq!(memory.free(given), Err(FreeError::NotLive(given)), "{given}");
    }
    let not_whole =
        [(256, 3, small), (256, 8, small), (257, 1, small), (258, 2, small), (0, 64, large), (0, 256, large)];
    let more = [(256, 1, small), (256, 2, small), (127, 1, large), (64, 64, large), (0, u64::MAX, large)];
    for (start, frames, live) in not_whole.into_iter().chain(more) {
        let given = FrameRun::new(start, frames);
        assert_eq!(memory.free(given), Err(FreeError::NotWhole { given, live }), "{given}");
    }
    assert_eq!(draw(&memory), before);
    checked(&memory);
    assert_eq!((memory.free(small), memory.free(large)), (Ok(()), Ok(())));
    assert_snapshot!(blocks(&memory), @"0..255 256..287");
}

#[test]
fn explains_the_blocks_it_saw_and_the_one_it_took() {
    let memory = drawn("....#.#.##..####");
    let why = memory.explain(&FrameRequest::frames(1));
    assert_eq!(why.candidates_total, 4);
    assert_snapshot!(why.candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), @"5 7 10..11 0..3");
    assert_snapshot!(why.rule, @"the smallest free block that will do, the lowest of that size: an exact fit");
    assert_eq!(why.chosen, Ok(FrameRun::new(5, 1)));
    let why = memory.explain(&FrameRequest::frames(5));
    assert_eq!((why.candidates_total, why.chosen.is_err()), (0, true));
}

#[test]
fn counts_its_blocks_by_order_up_to_any_top() {
    let memory = drawn("....#.#.##..####");
    for top in 0..6 {
        assert_eq!(memory.free_blocks(top), FreeBlocks::of(&memory, top), "top order {top}");
    }
}

#[test]
fn a_top_order_above_forty_cannot_be_built() {
    let setting = FrameSetting { frames: 16, coins: crate::Coins::from_key([0; 32]) };
    let error = Buddy::build(setting, &BuddyOptions { max_order: 41 }).unwrap_err();
    assert_snapshot!(error, @"`max_order` is 41; the top order must be 0 to 40");
}

#[test]
fn a_terabyte_starts_as_it_ends() {
    let mut memory = buddy(1 << 28, 10);
    assert_eq!((memory.holes(), memory.largest_request()), (1, 1024));
    let run = take(&mut memory, 5);
    assert_eq!(memory.free_frames(), (1 << 28) - 8);
    memory.free(run).expect("a live block");
    assert_eq!(memory.free_blocks(10).of_order(10), 1 << 18);
}

#[test]
fn costs_less_than_three_tenths_of_a_byte_a_frame() {
    for (frames, max_order) in [(1 << 20, 10), (1 << 20, 0), (1 << 20, 40), (1 << 26, 10)] {
        let per_thousand_frames = buddy(frames, max_order).bytes() * 1_000 / frames;
        assert!((250..270).contains(&per_thousand_frames), "{per_thousand_frames} bytes for 1000 frames");
    }
}

/// The same rules on two plain lists, searched from end to end.
struct Oracle {
    frames: u64,
    max_order: u32,
    free: Vec<(u32, u64)>,
    live: Vec<(u32, u64)>,
}

impl Oracle {
    fn new(frames: u64, max_order: u32) -> Oracle {
        let mut free = Vec::new();
        let mut at = 0;
        while at < frames {
            let mut order = max_order;
            while at % (1 << order) != 0 || at + (1 << order) > frames {
                order -= 1;
            }
            free.push((order, at));
            at += 1 << order;
        }
        Oracle { frames, max_order, free, live: Vec::new() }
    }

    fn allocate(&mut self, request: &FrameRequest) -> Option<FrameRun> {
        let order = (0..=self.max_order).find(|order| 1 << order >= request.frames)?;
        let size = 1 << order;
        self.free.sort_unstable();
        let limit = request.below.map_or(self.frames, |below| below.0);
        let fits = |at: u64| at.is_multiple_of(request.align) && at + size <= limit;
        let (block, at) = self.free.iter().find_map(|&(of, start)| {
            let inside = (start..start + (1 << of)).step_by(index(size));
            (of >= order).then(|| inside.into_iter().find(|at| fits(*at)))?.map(|at| ((of, start), at))
        })?;
        self.free.retain(|other| *other != block);
        let (mut of, mut start) = block;
        while of > order {
            of -= 1;
            let upper = start + (1 << of);
            if at < upper {
                self.free.push((of, upper));
            } else {
                self.free.push((of, start));
                start = upper;
            }
        }
        self.live.push((order, at));
        Some(FrameRun::new(at, size))
    }

    fn free(&mut self, run: FrameRun) -> bool {
        let block = (run.frames.ilog2(), run.start.0);
        let Some(place) = self.live.iter().position(|live| *live == block && run.frames == 1 << block.0) else {
            return false;
        };
        self.live.remove(place);
        let (mut order, mut start) = block;
        while order < self.max_order {
            let buddy = (order, start ^ (1 << order));
            let Some(place) = self.free.iter().position(|free| *free == buddy) else { break };
            self.free.remove(place);
            start = start.min(buddy.1);
            order += 1;
        }
        self.free.push((order, start));
        true
    }

    fn free_runs(&self) -> Vec<FrameRun> {
        let mut runs: Vec<FrameRun> =
            self.free.iter().map(|&(order, start)| FrameRun::new(start, 1 << order)).collect();
        runs.sort_unstable();
        runs
    }
}

#[derive(Clone, Debug)]
enum Op {
    Take {
        frames: u64,
        align: u64,
        below: Option<u64>,
    },
    Give(usize),
    /// The low half of a live run.
    GiveHalf(usize),
    /// A run that may be anything.
    GiveBack {
        start: u64,
        frames: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let frames = prop_oneof![4 => 1..5_u64, 2 => 1..70_u64, 1 => 60..600_u64];
    let align = prop_oneof![6 => Just(1_u64), 1 => 1..40_u64, 1 => (0..9_u32).prop_map(|order| 1 << order)];
    let below = prop_oneof![6 => Just(None), 1 => (0..1_500_u64).prop_map(Some)];
    prop_oneof![
        5 => (frames, align, below).prop_map(|(frames, align, below)| Op::Take { frames, align, below }),
        4 => (0..1_000_usize).prop_map(Op::Give),
        1 => (0..1_000_usize).prop_map(Op::GiveHalf),
        1 => (0..1_500_u64, 1..200_u64).prop_map(|(start, frames)| Op::GiveBack { start, frames }),
    ]
}

fn run_beside_the_oracle(frames: u64, max_order: u32, ops: Vec<Op>) {
    let (mut memory, mut oracle) = (buddy(frames, max_order), Oracle::new(frames, max_order));
    for op in ops {
        match op {
            Op::Take { frames, align, below } => {
                let below = below.map(FrameNumber);
                let request = FrameRequest { below, ..FrameRequest::frames(frames).aligned(align) };
                let told = memory.explain(&request).chosen;
                let given = memory.allocate(&request);
                assert_eq!(told, given);
                assert_eq!(given.ok(), oracle.allocate(&request), "{request:?}");
            }
            Op::Give(which) if !oracle.live.is_empty() => {
                let (order, start) = oracle.live[which % oracle.live.len()];
                let run = FrameRun::new(start, 1 << order);
                assert_eq!((memory.free(run), oracle.free(run)), (Ok(()), true));
            }
            Op::GiveHalf(which) if !oracle.live.is_empty() => {
                let (order, start) = oracle.live[which % oracle.live.len()];
                let half = FrameRun::new(start, (1 << order) / 2);
                assert!(memory.free(half).is_err(), "{half}");
            }
            Op::Give(_) | Op::GiveHalf(_) => {}
            Op::GiveBack { start, frames } => {
                let run = FrameRun::new(start, frames);
                assert_eq!(memory.free(run).is_ok(), oracle.free(run), "{run}");
            }
        }
        checked(&memory);
        let mut free = Vec::new();
        memory.for_each_free(&mut |run| free.push(run));
        assert_eq!(free, oracle.free_runs());
        assert_eq!(memory.largest_request(), free.iter().map(|run| run.frames).max().unwrap_or(0));
    }
    let read_back: Buddy =
        postcard::from_bytes(&postcard::to_stdvec(&memory).expect("plain data")).expect("as written");
    checked(&read_back);
    assert_eq!(blocks(&read_back), blocks(&memory));
    for (order, start) in oracle.live {
        memory.free(FrameRun::new(start, 1 << order)).expect("a live block");
    }
    checked(&memory);
    assert_eq!(blocks(&memory), blocks(&buddy(frames, max_order)), "all given back is the first state");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_plain_lists_after_every_operation(
        frames in prop_oneof![1..40_u64, 1..1_400_u64, Just(1_024_u64)],
        max_order in prop_oneof![0..13_u32, Just(40_u32)],
        ops in prop::collection::vec(op(), 1..200),
    ) {
        run_beside_the_oracle(frames, max_order, ops);
    }
}
