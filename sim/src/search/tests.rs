use std::convert::Infallible;

use super::*;

fn worst(seeds: u64, places: &[u64], tries: u64, badness: impl Fn(&Case) -> Option<i128>) -> (Option<Found>, u64) {
    let judge = |case: &Case| Ok::<_, Infallible>(badness(case));
    let (found, tried) = search(seeds, places, tries, judge).expect("nothing fails");
    assert!(found.windows(2).all(|two| two[0].badness < two[1].badness && two[0].tried < two[1].tried));
    (found.last().cloned(), tried)
}

#[test]
fn seeds_come_first_and_of_two_alike_the_first_stays() {
    let (found, tried) = worst(10, &[], 100, |case| Some(i128::from(case.seed % 4)));
    assert_eq!(found, Some(Found { case: Case { seed: 3, places: vec![] }, badness: 3, tried: 3 }));
    assert_eq!(tried, 10);
}

#[test]
fn a_peak_of_two_fields_is_found_by_steps_that_get_shorter() {
    let hill = |case: &Case| {
        let off = |place: Option<u64>, peak: u64| place.map_or(10_000, |place| place.abs_diff(peak));
        Some(-i128::from(off(case.places[0], 777) + off(case.places[1], 41)))
    };
    let (found, tried) = worst(1, &[1000, 50], 1000, hill);
    let found = found.expect("something is the worst");
    assert_eq!(found.case.places, [Some(777), Some(41)]);
    assert!(tried < 120, "{tried} cases were tried");
}

#[test]
fn what_cannot_be_run_is_passed_over_and_tries_are_kept_to() {
    let (found, tried) = worst(1000, &[], 7, |case| (case.seed % 2 == 0).then_some(i128::from(case.seed)));
    assert_eq!((found.map(|found| found.case.seed), tried), (Some(6), 7));
    assert_eq!(worst(3, &[5], 100, |_| None), (None, 3));
}

#[test]
fn measures_have_their_own_names() {
    for measure in Measure::ALL {
        assert_eq!(Measure::ALL.iter().filter(|other| other.name() == measure.name()).count(), 1);
    }
}
