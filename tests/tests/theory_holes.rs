//! How many holes there are for how many live blocks: the fifty-percent rule and the identity behind it.

use framesim_models::Coins;
use framesim_models::metrics::Contacts;
use framesim_tests::theory::Machine;

const FRAMES: u64 = 6_000;
const LARGEST: u64 = 64;
/// Mean number of live blocks, and how many lifetimes a run lasts after as many again have passed.
const LIVE: u64 = 100;
const LIFETIMES: u64 = 380;
const LIFETIMES_BEFORE: u64 = 20;

/// Sums over time of a system in which blocks arrive at random and each lives for an exponential time.
#[derive(Default)]
struct Sums {
    holes: u64,
    live: u64,
    ends: u64,
    placed: u64,
    /// Placements that left a remainder.
    with_remainder: u64,
    time: u64,
}

/// In equilibrium the next event is an arrival with chance `LIVE / (LIVE + n)` when n blocks live, and the state lasts
/// `1 / (LIVE + n)` lifetimes in the mean: each state counts by that.
fn live_and_die(policy: &str, seed: u8) -> Sums {
    let mut machine = Machine::new(policy, FRAMES);
    let mut coins = Coins::from_key([seed; 32]);
    let (mut ids, mut sums) = (Vec::new(), Sums::default());
    for event in 0..2 * LIVE * (LIFETIMES_BEFORE + LIFETIMES) {
        let holes_before = machine.memory.holes();
        let live = ids.len() as u64;
        let arrives = coins.below(LIVE + live) < LIVE;
        if arrives {
            let placed = machine.take(1 + coins.below(LARGEST));
            ids.extend(placed);
            let measured = u64::from(placed.is_some() && event >= 2 * LIVE * LIFETIMES_BEFORE);
            sums.placed += measured;
            // An exact fit fills its hole.
            sums.with_remainder += measured * u64::from(machine.memory.holes() >= holes_before);
        } else {
            let gone = usize::try_from(coins.below(live)).unwrap();
            machine.give(ids.swap_remove(gone));
        }
        let contacts = Contacts::of(FRAMES, machine.runs());
        let holes = machine.memory.holes();
        assert_eq!(2 * holes, 2 * contacts.both + contacts.one + contacts.ends, "{policy}, seed {seed}, event {event}");
        if event >= 2 * LIVE * LIFETIMES_BEFORE {
            let time = 1_000_000 / (LIVE + ids.len() as u64);
            sums.holes += time * holes;
            sums.live += time * ids.len() as u64;
            sums.ends += time * contacts.ends;
            sums.time += time;
        }
    }
    sums
}

#[test]
fn half_as_many_holes_as_blocks_times_the_share_of_remainders() {
    for policy in ["first_fit", "best_fit", "worst_fit", "next_fit", "next_hole"] {
        let sums = live_and_die(policy, 5);
        // Mean holes = (p * L + e) / 2, with p the share of placements that leave a remainder.
        let holes_twice = u128::from(2 * sums.holes) * u128::from(sums.placed);
        let law = u128::from(sums.with_remainder) * u128::from(sums.live) + u128::from(sums.ends * sums.placed);
        let off_per_mille = holes_twice.abs_diff(law) * 1_000 / law;
        assert!(off_per_mille < 20, "{policy}: {off_per_mille} thousandths off the law");
        // Live blocks are Poisson with mean 100; the mean over 380 lifetimes has a standard error of 0.7.
        assert!((97..=103).contains(&(sums.live / sums.time)), "{policy}: {} live", sums.live / sums.time);
    }
}

#[test]
fn every_hole_is_counted_once_by_buddy_too() {
    let sums = live_and_die("buddy", 6);
    assert!(sums.holes > 0);
}
