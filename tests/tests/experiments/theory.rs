//! What theory and the literature say about queues of jobs, from the experiments that come with framesim.

use framesim::experiment::Table;
use framesim::statistics::{Moments, Paired};

use super::folder::Folder;

fn table(experiment: &str) -> Table {
    let folder = Folder::new();
    folder.shown(&format!("sweep {experiment} --out out"));
    Table::read(folder.read("out/cells.csv").as_bytes()).expect("memory is read").expect("cells of a sweep")
}

fn values<'t>(table: &'t Table, metric: &str, labels: &[&str]) -> &'t [f64] {
    let has = |row: &&framesim::experiment::Row| {
        row.metric == metric && labels.iter().all(|label| row.labels.iter().any(|known| known == label))
    };
    &table.rows.iter().find(has).unwrap_or_else(|| panic!("no {metric} of {labels:?}")).values
}

/// Shore 1975 and Bays 1977: which policy uses memory better, by the law of sizes.
#[test]
fn the_better_policy_depends_on_the_law_of_sizes_as_published() {
    let table = table("placement_1975");
    let used = |sizes: &str, policy: &str| values(&table, "memory_used", &[sizes, policy]);
    let difference = |sizes: &str, one: &str, other: &str| {
        let paired = Paired::of(used(sizes, one), used(sizes, other), 0.95, 1).expect("many seeds");
        assert!(paired.is_resolved(), "{sizes}, {one} against {other}: {paired:?}");
        paired.moments.mean()
    };
    for (sizes, first_is_better) in
        [("exponential 1/64", true), ("hyperexponential 1/64", true), ("uniform 1/32", false), ("normal 1/32", false)]
    {
        let points = 100.0 * difference(sizes, "first_fit", "best_fit");
        assert_eq!(points > 0.0, first_is_better, "{sizes}: {points} points");
        assert!(points.abs() <= 3.0, "{sizes}: {points} points");
    }
    for better in ["first_fit", "best_fit"] {
        assert!(difference("exponential 1/64", "next_fit", better) < 0.0, "next fit is the worst for small requests");
    }
    // An independent simulator of the same setting: means over 6 seeds and their spread.
    for (sizes, policy, mean, spread) in [
        ("exponential 1/64", "first_fit", 0.816, 0.004),
        ("exponential 1/64", "best_fit", 0.806, 0.009),
        ("exponential 1/64", "next_fit", 0.798, 0.007),
        ("uniform 1/32", "first_fit", 0.838, 0.004),
        ("uniform 1/32", "best_fit", 0.843, 0.003),
        ("uniform 1/32", "next_fit", 0.838, 0.003),
        ("normal 1/32", "first_fit", 0.856, 0.003),
        ("normal 1/32", "best_fit", 0.863, 0.003),
        ("normal 1/32", "next_fit", 0.853, 0.003),
    ] {
        let ours = Moments::of(used(sizes, policy));
        let error = ours.standard_error().expect("many seeds");
        let bar = 3.0 * (error * error + spread * spread / 6.0).sqrt();
        assert!((ours.mean() - mean).abs() <= bar, "{sizes}, {policy}: {} is not {mean} +- {bar}", ours.mean());
    }
}

/// M/G/infinity: the number of jobs is Poisson with mean `rate * mean life`, whatever the law of life times.
#[test]
fn jobs_that_never_wait_are_as_many_as_the_theory_says() {
    let table = table("queue_without_limit");
    let (rate, seconds, mean) = (50.0_f64, 2_000.0_f64, 100.0_f64);
    // The second moment of each law of life times, of mean 2 s.
    for (law, second) in [("constant", 4.0), ("exponential", 8.0), ("uniform", 16.0 / 3.0), ("pareto 2.5", 7.2)] {
        let alive = Moments::of(values(&table, "processes", &[law]));
        // A mean over time T has the variance rate * E[S^2] / T; here of six seeds.
        let error = (rate * second / seconds / 6.0).sqrt();
        assert!((alive.mean() - mean).abs() <= 4.0 * error, "{law}: {} alive, error {error}", alive.mean());
        let variance = Moments::of(values(&table, "processes_variance", &[law]));
        let error = variance.standard_error().expect("six seeds");
        assert!((variance.mean() - mean).abs() <= 4.0 * error, "{law}: variance {} +- {error}", variance.mean());
        assert!((80.0..120.0).contains(&variance.mean()), "{law}: variance {}", variance.mean());
    }
}
