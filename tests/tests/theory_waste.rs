//! What a buddy system wastes inside its blocks, against the exact expectation.

#![expect(clippy::float_arithmetic, reason = "expectations of a law are real numbers; nothing here is a result")]
#![expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]

use std::collections::VecDeque;

use framesim_models::Coins;
use framesim_models::frames::FrameRequest;
use framesim_tests::theory::Machine;
use serde::Deserialize;

/// Sizes drawn from each law.
const DRAWS: u32 = 20_000;

#[derive(Deserialize)]
struct Table {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    system: String,
    sizes: String,
    mean_asked: f64,
    mean_granted: f64,
    waste_of_granted: f64,
    sd_waste_frames: f64,
}

fn rows_of_the_binary_system() -> Vec<Row> {
    let table: Table = serde_json::from_str(include_str!("../data/theory/internal_frag.json")).unwrap();
    let rows: Vec<Row> = table.rows.into_iter().filter(|row| row.system == "binary").collect();
    assert_eq!(rows.len(), 28);
    rows
}

/// Frames a buddy system grants for `asked`.
fn granted(machine: &mut Machine, asked: u64) -> u64 {
    let run = machine.memory.allocate(&FrameRequest::frames(asked)).expect("memory is never full");
    machine.memory.free(run).expect("a live run can be given back");
    run.frames
}

#[test]
fn uniform_sizes_waste_exactly_what_the_law_says() {
    let mut machine = Machine::new("buddy", 1 << 14);
    let mut laws = 0;
    for row in rows_of_the_binary_system() {
        let Some(most) = row.sizes.strip_prefix("uniform 1..") else { continue };
        let most: u64 = most.parse().unwrap();
        let granted: u64 = (1..=most).map(|asked| granted(&mut machine, asked)).sum();
        let asked = most * (most + 1) / 2;
        let waste = 1.0 - asked as f64 / granted as f64;
        assert!((granted as f64 / most as f64 - row.mean_granted).abs() < 1e-9, "{}", row.sizes);
        assert!((waste - row.waste_of_granted).abs() < 1e-9, "{}: {waste}", row.sizes);
        laws += 1;
    }
    assert_eq!(laws, 18);
}

/// A law of sizes, by its name in the table.
fn law(sizes: &str) -> Box<dyn Fn(&mut Coins) -> u64> {
    if let Some(most) = sizes.strip_prefix("uniform 1..") {
        let most: u64 = most.parse().unwrap();
        return Box::new(move |coins| 1 + coins.below(most));
    }
    let mean: f64 = sizes.strip_prefix("ceil of exponential, mean ").unwrap().parse().unwrap();
    Box::new(move |coins| {
        let uniform = (coins.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let drawn = (-libm::log(1.0 - uniform) * mean).ceil();
        format!("{drawn:.0}").parse::<u64>().unwrap().max(1)
    })
}

#[test]
fn the_mean_waste_of_twenty_thousand_requests_is_within_four_standard_errors() {
    let mut coins = Coins::from_key([11; 32]);
    for row in rows_of_the_binary_system() {
        let mut machine = Machine::new("buddy", 1 << 20);
        let draw = law(&row.sizes);
        let (mut asked_sum, mut granted_sum, mut live) = (0_u64, 0_u64, VecDeque::new());
        for _ in 0..DRAWS {
            let asked = draw(&mut coins);
            let id = machine.take(asked).expect("memory is never full");
            asked_sum += asked;
            granted_sum += machine.live[&id].frames;
            live.push_back(id);
            if live.len() > 50 {
                machine.give(live.pop_front().unwrap());
            }
        }
        let waste = (granted_sum - asked_sum) as f64 / f64::from(DRAWS);
        let error = (waste - (row.mean_granted - row.mean_asked)).abs();
        let bar = 4.0 * row.sd_waste_frames / f64::from(DRAWS).sqrt();
        assert!(error <= bar, "{}: mean waste {waste} frames, {error} off, at most {bar} allowed", row.sizes);
    }
}
