//! A comparison in one plain sentence.

use std::fmt;

use super::{Paired, percent};

/// How numbers of a measure are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// A share of a whole, 0 to 1: differences are points (hundredths).
    Share,
    /// A number with its unit: `bytes`, `ns`; empty for a plain count.
    Number(&'static str),
}

/// A measure as sentences name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure<'a> {
    /// `external fragmentation`.
    pub name: &'a str,
    /// How its numbers are written.
    pub scale: Scale,
}

/// What a comparison says, for a person.
///
/// > first_fit has 2.1 points less external fragmentation than next_fit (95 % interval 1.2 to 3.0, 40 seeds, 38 of 40 agree)
#[derive(Clone, Copy, Debug)]
pub struct Sentence<'a> {
    /// The first policy.
    pub one: &'a str,
    /// The one it is compared with.
    pub other: &'a str,
    /// Of what.
    pub measure: Measure<'a>,
    /// `one - other`.
    pub paired: &'a Paired,
}

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sentence { one, other, measure, paired } = self;
        let mean = paired.moments.mean();
        let (low, high) = paired.student.map_or((mean, mean), |interval| (interval.low, interval.high));
        let percent = percent(paired.confidence);
        let (signs, seeds) = (paired.signs, paired.moments.values());
        let (name, unit) = (measure.name, measure.unit());
        if signs.above + signs.below == 0 {
            return write!(f, "{one} and {other} have the same {name} under each of {seeds} seeds");
        }
        // All numbers of a sentence have as many digits as the largest of them is worth.
        let shown = |value: f64| measure.shown(value, low.abs().max(high.abs()));
        if !paired.is_resolved() {
            let (low, high) = (shown(low), shown(high));
            return write!(
                f,
                "no difference in {name} between {one} and {other} is resolved \
                 ({one} - {other}: {percent} % interval {low} to {high}{unit}, {seeds} seeds)",
            );
        }
        // Amounts have no sign: the word has it.
        let (word, low, high, agree) =
            if mean < 0.0 { ("less", -high, -low, signs.below) } else { ("more", low, high, signs.above) };
        let (amount, low, high) = (shown(mean.abs()), shown(low), shown(high));
        write!(
            f,
            "{one} has {amount}{unit} {word} {name} than {other} \
             ({percent} % interval {low} to {high}, {seeds} seeds, {agree} of {seeds} agree)",
        )
    }
}

impl Measure<'_> {
    fn unit(&self) -> String {
        match self.scale {
            Scale::Share => " points".to_owned(),
            Scale::Number("") => String::new(),
            Scale::Number(unit) => format!(" {unit}"),
        }
    }

    /// `value` with as many digits as numbers of the size of `largest` are worth.
    fn shown(&self, value: f64, largest: f64) -> String {
        let unit = if self.scale == Scale::Share { 100.0 } else { 1.0 };
        let digits = match largest * unit {
            size if size >= 1_000.0 => 0,
            size if size >= 0.95 => 1,
            size if size >= 0.01 => 3,
            _ => 6,
        };
        with_commas(&format!("{:.digits$}", value * unit))
    }
}

/// A decimal number with commas between groups of three digits before its point.
#[must_use]
pub fn with_commas(number: &str) -> String {
    let whole = number.find('.').unwrap_or(number.len());
    let sign = usize::from(number.starts_with('-'));
    let mut text = String::with_capacity(number.len() + whole / 3);
    for (place, letter) in number.char_indices() {
        if place > sign && place < whole && (whole - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const FRAGMENTATION: Measure<'_> = Measure { name: "external fragmentation", scale: Scale::Share };

    fn said(one: &[f64], other: &[f64], measure: Measure<'_>) -> String {
        let paired = Paired::of(one, other, 0.95, 1).expect("enough pairs");
        Sentence { one: "first_fit", other: "next_fit", measure, paired: &paired }.to_string()
    }

    #[test]
    fn a_resolved_difference_is_less_or_more() {
        assert_snapshot!(said(&[0.30, 0.31, 0.29], &[0.34, 0.33, 0.32], FRAGMENTATION), @"first_fit has 3.0 points less external fragmentation than next_fit (95 % interval 0.5 to 5.5, 3 seeds, 3 of 3 agree)");
        assert_snapshot!(said(&[0.34, 0.33, 0.32], &[0.30, 0.31, 0.29], FRAGMENTATION), @"first_fit has 3.0 points more external fragmentation than next_fit (95 % interval 0.5 to 5.5, 3 seeds, 3 of 3 agree)");
        let waits = Measure { name: "waiting", scale: Scale::Number("ns") };
        assert_snapshot!(said(&[5e6, 5.1e6], &[1e6, 1.2e6], waits), @"first_fit has 3,950,000 ns more waiting than next_fit (95 % interval 3,314,690 to 4,585,310, 2 seeds, 2 of 2 agree)");
    }

    #[test]
    fn large_numbers_have_commas() {
        assert_eq!(with_commas("-1234567.5"), "-1,234,567.5");
        assert_eq!((with_commas("123"), with_commas("-123.25")), ("123".to_owned(), "-123.25".to_owned()));
    }

    #[test]
    fn what_is_not_resolved_is_not_called_a_difference() {
        assert_snapshot!(said(&[0.30, 0.36, 0.29], &[0.34, 0.33, 0.32], FRAGMENTATION), @"no difference in external fragmentation between first_fit and next_fit is resolved (first_fit - next_fit: 95 % interval -10.7 to 8.1 points, 3 seeds)");
        assert_snapshot!(said(&[0.3, 0.3], &[0.3, 0.3], FRAGMENTATION), @"first_fit and next_fit have the same external fragmentation under each of 2 seeds");
    }
}
