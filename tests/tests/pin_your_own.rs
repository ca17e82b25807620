//! How to pin a workload of your own from Rust: run it, and snapshot what you care about.
//!
//! In a crate of your own, with `framesim` and `insta` as dependencies, this is the whole test.

use framesim::simulation::Simulation;
use framesim::{Registries, open};
use insta::assert_snapshot;

fn ran(file: &str) -> Simulation {
    let mut simulation = open(file, &Registries::default()).expect("the workload is sound");
    simulation.run().expect("the workload runs to its end");
    simulation
}

#[test]
fn the_digest_pins_every_event() {
    let simulation = ran("../workloads/textbook/best_fit_loses.ron");
    assert_snapshot!(simulation.digest(), @"5101e72c2f7895b5");
}

#[test]
fn a_few_numbers_say_more_than_a_digest_when_they_change() {
    let summary = ran("../workloads/textbook/two_levels.ron").summary();
    assert_snapshot!(
        format!("{} mallocs, {} of them needed the kernel", summary.calls.mallocs, summary.calls.mallocs_by_kernel),
        @"751 mallocs, 1 of them needed the kernel"
    );
}

#[test]
fn a_workload_that_is_wrong_says_where() {
    let error = open("../workloads/none.ron", &Registries::default()).err().expect("there is no such file");
    assert!(error.to_string().starts_with("../workloads/none.ron: "), "{error}");
}
