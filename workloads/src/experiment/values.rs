//! Ranges written out: exact decimals and whole quantities, no float where none was written.

use crate::spec::{SIZE_UNITS, TIME_UNITS, Units, parse_quantity};

/// More values on one axis are refused.
pub(super) const VALUES_MOST: usize = 100_000;

/// A number as a range has it: parts of a billion for plain ones, the smallest unit for quantities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    amount: i128,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Billionths, written without a point.
    Whole,
    /// Billionths, written with one.
    Decimal,
    Size,
    Time,
}

const BILLION: i128 = 1_000_000_000;

/// `from`, `from + step`, .. up to `to`.
///
/// # Errors
/// Which of the three is wrong, and how.
pub(super) fn range(from: &str, to: &str, step: &str) -> Result<Vec<String>, (&'static str, String)> {
    let (from, to) = both_ends(from, to)?;
    let step = number(step).map_err(|wrong| ("step", wrong))?;
    let kind = same_kind(from, step).ok_or_else(|| ("step", "is not of the same kind as `from`".to_owned()))?;
    let kind = same_kind(Number { kind, ..from }, to).unwrap_or(kind);
    if step.amount <= 0 {
        return Err(("step", "is not above 0".to_owned()));
    }
    let steps = (to.amount - from.amount) / step.amount;
    let steps = usize::try_from(steps).ok().filter(|steps| *steps < VALUES_MOST).ok_or_else(too_many)?;
    Ok((0..=steps).map(|place| written(from.amount + step.amount * place as i128, kind)).collect())
}

fn too_many() -> (&'static str, String) {
    ("step", format!("makes more than {VALUES_MOST} values"))
}

/// `points` values from `from` to `to` at even ratios.
///
/// # Errors
/// Which part is wrong, and how.
pub(super) fn log_range(
    from: &str,
    to: &str,
    points: u64,
    multiple_of: Option<&str>,
) -> Result<Vec<String>, (&'static str, String)> {
    let (from, to) = both_ends(from, to)?;
    if from.amount <= 0 {
        return Err(("from", "is not above 0: ratios have no 0".to_owned()));
    }
    if points < 2 || points > VALUES_MOST as u64 {
        return Err(("points", format!("is {points}; 2 to {VALUES_MOST} are allowed")));
    }
    let multiple = multiple_of.map(number).transpose().map_err(|wrong| ("multiple_of", wrong))?;
    let default = if from.kind == Kind::Whole { BILLION } else { 1 };
    let multiple = multiple.map_or(default, |number| number.amount);
    if multiple <= 0 {
        return Err(("multiple_of", "is not above 0".to_owned()));
    }
    let last = points - 1;
    let value = |place: u64| match place {
        0 => from.amount,
        place if place == last => to.amount,
        place => rounded(between(from.amount, to.amount, place, last), multiple),
    };
    let kind = same_kind(from, to).unwrap_or(from.kind);
    let mut values: Vec<String> = (0..points).map(|place| written(value(place), kind)).collect();
    values.dedup();
    Ok(values)
}

#[expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "places between the ends, by the pinned libm; a file's numbers are far below 2^53 of their unit"
)]
fn between(from: i128, to: i128, place: u64, last: u64) -> i128 {
    let share = place as f64 / last as f64;
    libm::round(from as f64 * libm::pow(to as f64 / from as f64, share)) as i128
}

fn rounded(amount: i128, multiple: i128) -> i128 {
    (amount + multiple / 2) / multiple * multiple
}

fn both_ends(from: &str, to: &str) -> Result<(Number, Number), (&'static str, String)> {
    let from = number(from).map_err(|wrong| ("from", wrong))?;
    let to = number(to).map_err(|wrong| ("to", wrong))?;
    if same_kind(from, to).is_none() {
        return Err(("to", "is not of the same kind as `from`".to_owned()));
    }
    if to.amount < from.amount {
        return Err(("to", "is below `from`".to_owned()));
    }
    Ok((from, to))
}

/// Plain numbers go together, one with a point makes all have one.
fn same_kind(one: Number, other: Number) -> Option<Kind> {
    match (one.kind, other.kind) {
        (one, other) if one == other => Some(one),
        (Kind::Whole, Kind::Decimal) | (Kind::Decimal, Kind::Whole) => Some(Kind::Decimal),
        _ => None,
    }
}

fn number(text: &str) -> Result<Number, String> {
    let text = text.trim();
    if let Some(quoted) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        let sized =
            |units: Units, kind| parse_quantity(quoted, units).map(|amount| Number { amount: amount.into(), kind });
        return sized(TIME_UNITS, Kind::Time).or_else(|_| sized(SIZE_UNITS, Kind::Size));
    }
    decimal(text).ok_or_else(|| format!("`{text}` is no number that a range can count by"))
}

/// A plain decimal number with up to nine digits behind its point.
fn decimal(text: &str) -> Option<Number> {
    let plain = text.replace('_', "");
    let (whole, part) = plain.split_once('.').unwrap_or((&plain, ""));
    let is_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 20 || part.len() > 9 || !is_digits(whole) || !is_digits(part) {
        return None;
    }
    let amount = format!("{whole}{part:0<9}").parse().ok()?;
    Some(Number { amount, kind: if plain.contains('.') { Kind::Decimal } else { Kind::Whole } })
}

/// A number as a workload has it.
fn written(amount: i128, kind: Kind) -> String {
    match kind {
        Kind::Whole => (amount / BILLION).to_string(),
        Kind::Decimal => {
            let digits = format!("{}.{:09}", amount / BILLION, amount % BILLION);
            let short = digits.trim_end_matches('0');
            if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
        }
        Kind::Size => in_units(amount, SIZE_UNITS),
        Kind::Time => in_units(amount, TIME_UNITS),
    }
}

/// In the largest unit that leaves a whole number.
fn in_units(amount: i128, units: Units) -> String {
    let fits = units.iter().rev().find(|(_, unit)| amount != 0 && amount % i128::from(*unit) == 0);
    let (name, unit) = fits.unwrap_or(&units[0]);
    format!("\"{}{name}\"", amount / i128::from(*unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(values: Result<Vec<String>, (&'static str, String)>) -> String {
        match values {
            Ok(values) => values.join(" "),
            Err((what, wrong)) => format!("{what} {wrong}"),
        }
    }

    #[test]
    fn ranges_are_exact() {
        assert_eq!(shown(range("1", "9", "4")), "1 5 9");
        assert_eq!(shown(range("1", "8", "4")), "1 5");
        assert_eq!(shown(range("0.1", "0.4", "0.1")), "0.1 0.2 0.3 0.4");
        assert_eq!(shown(range("1", "2", "0.5")), "1.0 1.5 2.0");
        assert_eq!(shown(range("\"1MiB\"", "\"2MiB\"", "\"512KiB\"")), "\"1MiB\" \"1536KiB\" \"2MiB\"");
        assert_eq!(shown(range("\"0ns\"", "\"2s\"", "\"500ms\"")), "\"0ns\" \"500ms\" \"1s\" \"1500ms\" \"2s\"");
    }

    #[test]
    fn log_ranges_have_both_ends_and_even_ratios() {
        assert_eq!(
            shown(log_range("\"64MiB\"", "\"1GiB\"", 5, None)),
            "\"64MiB\" \"128MiB\" \"256MiB\" \"512MiB\" \"1GiB\""
        );
        assert_eq!(shown(log_range("1", "1000", 4, None)), "1 10 100 1000");
        assert_eq!(shown(log_range("0.5", "8.0", 3, None)), "0.5 2.0 8.0");
        assert_eq!(shown(log_range("\"64MiB\"", "\"128MiB\"", 3, Some("\"1MiB\""))), "\"64MiB\" \"91MiB\" \"128MiB\"");
        assert_eq!(shown(log_range("1", "4", 9, None)), "1 2 3 4");
    }

    #[test]
    fn what_no_range_can_count_by_says_why() {
        assert_eq!(shown(range("1", "9", "0")), "step is not above 0");
        assert_eq!(shown(range("9", "1", "1")), "to is below `from`");
        assert_eq!(shown(range("1", "\"9ms\"", "1")), "to is not of the same kind as `from`");
        assert_eq!(shown(range("first_fit", "9", "1")), "from `first_fit` is no number that a range can count by");
        assert_eq!(
            shown(range("\"4 furlongs\"", "9", "1")),
            "from `furlongs` is no unit, one of B, KiB, MiB, GiB, TiB, PiB"
        );
        assert_eq!(shown(range("0", "1000000000", "1")), "step makes more than 100000 values");
        assert_eq!(shown(log_range("0", "9", 3, None)), "from is not above 0: ratios have no 0");
        assert_eq!(shown(log_range("1", "9", 1, None)), "points is 1; 2 to 100000 are allowed");
    }
}
