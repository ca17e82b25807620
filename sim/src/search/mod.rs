//! The worst case of a policy: over seeds first, then over fields of the workload.
//!
//! # Rules
//! 1. The workload as it is, under the seeds 1, 2, ...; the worst one stays.
//! 2. Then fields, one after the other: a field that the workload's own value has so far gets its lowest, middle and highest
//!    value. Then each field goes up and down by a step, a quarter of its range at first, which is halved when no step of any
//!    field is worse, until it is nothing.
//! 3. Only what is worse than all before is taken; of two alike the first stays. So the same search finds the same.
//!
//! # Left out
//! Seeds and fields are not searched together, and a search by single fields does not see what only two at once do.

mod measure;

#[cfg(test)]
mod tests;

pub use measure::Measure;

/// A case: a seed, and of each field a place in its range, or the workload's own value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The seed.
    pub seed: u64,
    /// Places from 0.
    pub places: Vec<Option<u64>>,
}

/// A case that is worse than all before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The case.
    pub case: Case,
    /// How bad.
    pub badness: i128,
    /// Which of the cases that were tried, from 1.
    pub tried: u64,
}

/// Looks for the worst case: `seeds` of them, then fields with so many places each, `tries` cases in all at most. `judge` says how
/// bad a case is, or that it cannot be run. What is found is in order, the worst last.
///
/// # Errors
/// The first of `judge`, which ends the search.
pub fn search<E>(
    seeds: u64,
    places: &[u64],
    tries: u64,
    judge: impl FnMut(&Case) -> Result<Option<i128>, E>,
) -> Result<(Vec<Found>, u64), E> {
    let mut hunt = Hunt { judge, tries, tried: 0, found: Vec::new() };
    for seed in 1..=seeds {
        hunt.try_case(Case { seed, places: vec![None; places.len()] })?;
    }
    hunt.spread(places)?;
    let mut part = 4;
    while hunt.has_tries() && places.iter().any(|count| count / part > 0) {
        if !hunt.step(places, part)? {
            part *= 2;
        }
    }
    Ok((hunt.found, hunt.tried))
}

struct Hunt<J> {
    judge: J,
    tries: u64,
    tried: u64,
    found: Vec<Found>,
}

impl<J> Hunt<J> {
    fn has_tries(&self) -> bool {
        self.tried < self.tries
    }

    /// Whether the case is worse than all before.
    fn try_case<E>(&mut self, case: Case) -> Result<bool, E>
    where
        J: FnMut(&Case) -> Result<Option<i128>, E>,
    {
        if !self.has_tries() {
            return Ok(false);
        }
        self.tried += 1;
        let Some(badness) = (self.judge)(&case)? else { return Ok(false) };
        let is_worse = self.found.last().is_none_or(|worst| badness > worst.badness);
        if is_worse {
            self.found.push(Found { case, badness, tried: self.tried });
        }
        Ok(is_worse)
    }

    /// The worst case with one field at another place.
    fn try_place<E>(&mut self, field: usize, place: u64) -> Result<bool, E>
    where
        J: FnMut(&Case) -> Result<Option<i128>, E>,
    {
        let Some(worst) = self.found.last() else { return Ok(false) };
        let mut case = worst.case.clone();
        if case.places[field] == Some(place) {
            return Ok(false);
        }
        case.places[field] = Some(place);
        self.try_case(case)
    }

    /// Each field at its ends and in its middle.
    fn spread<E>(&mut self, places: &[u64]) -> Result<(), E>
    where
        J: FnMut(&Case) -> Result<Option<i128>, E>,
    {
        for (field, count) in places.iter().enumerate().filter(|(_, count)| **count > 0) {
            for place in [0, (count - 1) / 2, count - 1] {
                self.try_place(field, place)?;
            }
        }
        Ok(())
    }

    /// Each field a step up and down, as long as that is worse; whether anything was.
    fn step<E>(&mut self, places: &[u64], part: u64) -> Result<bool, E>
    where
        J: FnMut(&Case) -> Result<Option<i128>, E>,
    {
        let mut is_worse = false;
        for (field, count) in places.iter().enumerate() {
            let step = count / part;
            for up in [true, false].into_iter().filter(|_| step > 0) {
                while let Some(place) = self.found.last().and_then(|worst| worst.case.places[field]) {
                    let next =
                        if up { Some(place + step).filter(|next| next < count) } else { place.checked_sub(step) };
                    let Some(next) = next else { break };
                    if !self.try_place(field, next)? {
                        break;
                    }
                    is_worse = true;
                }
            }
        }
        Ok(is_worse)
    }
}
