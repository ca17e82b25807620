//! What the axes of an experiment come to: points, and what each sets.

use super::{Comparison, Experiment};
use crate::load::Setting;

/// The axes with their values, the policies and the heaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Settings of all cells.
    pub set: Vec<Setting>,
    /// The first differs slowest.
    pub axes: Vec<Axis>,
    /// Policies; never empty: one without settings stands for the workload's own.
    pub policies: Vec<Value>,
    /// Heaps; never empty.
    pub heaps: Vec<Value>,
}

/// An axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Its column.
    pub name: String,
    /// Its values; never empty.
    pub values: Vec<Value>,
}

/// One value of an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// As in the results; the value's identity.
    pub label: String,
    /// What it sets. For a heap: one setting without a path.
    pub settings: Vec<Setting>,
}

/// One place on the grid: an index into the values of each axis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point(pub Vec<usize>);

impl Grid {
    /// Points of the grid, policies and heaps aside; `u64::MAX` when there are more.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.axes.iter().fold(1, |points, axis| points.saturating_mul(axis.values.len() as u64))
    }

    /// The point with that number, the last axis changing fastest.
    ///
    /// # Panics
    /// When there are not as many.
    #[must_use]
    pub fn point(&self, number: u64) -> Point {
        assert!(number < self.points(), "point {number} of {}", self.points());
        let mut rest = number;
        let mut places = vec![0; self.axes.len()];
        for (place, axis) in places.iter_mut().zip(&self.axes).rev() {
            let values = axis.values.len() as u64;
            *place = framesim_models::index(rest % values);
            rest /= values;
        }
        Point(places)
    }

    /// What a point is called on each axis.
    #[must_use]
    pub fn labels<'g>(&'g self, point: &'g Point) -> Vec<&'g str> {
        self.values(point).map(|value| value.label.as_str()).collect()
    }

    /// What a point sets, in the order of the axes.
    #[must_use]
    pub fn settings(&self, point: &Point) -> Vec<Setting> {
        self.set.iter().chain(self.values(point).flat_map(|value| &value.settings)).cloned().collect()
    }

    fn values<'g>(&'g self, point: &'g Point) -> impl Iterator<Item = &'g Value> {
        self.axes.iter().zip(&point.0).map(|(axis, &place)| &axis.values[place])
    }

    /// What is compared, each side as the axis it is on and two labels: `("policy", "first_fit", "best_fit")`.
    #[must_use]
    pub fn comparisons(&self, experiment: &Experiment) -> Vec<(String, String, String)> {
        let mut list = Vec::new();
        let mut add = |on: &str, one: &str, other: &str| {
            let entry = (on.to_owned(), label_of(one), label_of(other));
            let turned = (entry.0.clone(), entry.2.clone(), entry.1.clone());
            if !list.contains(&entry) && !list.contains(&turned) {
                list.push(entry);
            }
        };
        for comparison in &experiment.compare {
            match comparison {
                Comparison::Policies(one, other) => add("policy", one, other),
                Comparison::Heaps(one, other) => add("heap", one, other),
                Comparison::Values(axis, one, other) => add(axis, one, other),
                Comparison::AllPolicies => pairs(&self.policies, |one, other| add("policy", one, other)),
                Comparison::AllHeaps => pairs(&self.heaps, |one, other| add("heap", one, other)),
            }
        }
        list
    }
}

fn pairs(values: &[Value], mut each: impl FnMut(&str, &str)) {
    for (place, one) in values.iter().enumerate() {
        for other in &values[place + 1..] {
            each(&one.label, &other.label);
        }
    }
}

/// A piece of RON without blanks and comments, and without the quotes of a plain text: one spelling for one value.
pub(super) fn label_of(raw: &str) -> String {
    let mut label = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(letter) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else if letter == '"' {
            let end = string_end(rest);
            label.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            if !letter.is_whitespace() {
                // A comma before the closing bracket says nothing.
                if matches!(letter, ')' | ']' | '}') && label.ends_with(',') {
                    label.pop();
                }
                label.push(letter);
            }
            rest = &rest[letter.len_utf8()..];
        }
    }
    let label = label.strip_suffix("()").map(str::to_owned).unwrap_or(label);
    let inner = label.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.filter(|inner| !inner.contains(['"', '\\'])).map(str::to_owned).unwrap_or(label)
}

/// Just behind the closing quote of the string that `text` starts with.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}
