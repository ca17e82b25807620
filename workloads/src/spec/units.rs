//! Quantities as a workload writes them, checked where they are read: an error has its place and says what is allowed.

use std::fmt;
use std::marker::PhantomData;

use framesim_models::Nanos;
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A size in bytes: a number, or a text such as `"64KiB"` or `"1.5MiB"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A span of simulated time in nanoseconds: a number, or a text such as `"5ms"` or `"2.5us"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// The same as the models count it.
    #[must_use]
    pub const fn nanos(self) -> Nanos {
        Nanos(self.0)
    }
}

/// A whole number that a law draws: ranks, calls, processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Count(pub u64);

/// A number above 0: a shape, a rate. Neither infinite nor NaN.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Positive(f64);

impl Positive {
    /// `value`, when it is finite and above 0.
    #[must_use]
    pub fn new(value: f64) -> Option<Positive> {
        (value.is_finite() && value > 0.0).then_some(Positive(value))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A weight: 0 or more, finite. Weights are relative to their sum, which is above 0.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Weight(f64);

impl Weight {
    /// `value`, when it is finite and not negative.
    #[must_use]
    pub fn new(value: f64) -> Option<Weight> {
        (value.is_finite() && value >= 0.0).then_some(Weight(value))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A part of a whole, from 0 to 1, kept as parts of a billion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// Parts of a billion that make the whole.
    pub const WHOLE: u32 = 1_000_000_000;

    /// The share of `amount`, rounded up: a part of something is never nothing unless the share is 0.
    #[must_use]
    pub fn of(self, amount: u64) -> u64 {
        let parts = (u128::from(amount) * u128::from(self.0)).div_ceil(u128::from(Share::WHOLE));
        u64::try_from(parts).expect("a share of an amount is at most the amount")
    }
}

/// A unit a text may end in, with how many of the smallest one it is.
pub(crate) type Units = &'static [(&'static str, u64)];

pub(crate) const SIZE_UNITS: Units =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("PiB", 1 << 50)];
pub(crate) const TIME_UNITS: Units = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// `"1.5MiB"` as a whole number of the smallest unit. The error says what is wrong with the text.
pub(crate) fn parse_quantity(text: &str, units: Units) -> Result<u64, String> {
    let number_end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let factor = unit_factor(unit.trim_start(), units)?;
    let number = number.replace('_', "");
    let (whole, decimals) = number.split_once('.').unwrap_or((&number, ""));
    let bad = || format!("`{text}` does not start with a number");
    if whole.is_empty() || (number.contains('.') && decimals.is_empty()) {
        return Err(bad());
    }
    let too_large = || format!("`{text}` is more than {}", group(u64::MAX));
    if decimals.contains('.') {
        return Err(bad());
    }
    let not_whole = || format!("`{text}` is not a whole number of {}", units[0].0);
    // More decimals than that, the last one not 0, are no whole number of any unit.
    let decimals = decimals.trim_end_matches('0');
    let scale = u32::try_from(decimals.len()).ok().and_then(|n| 10_u128.checked_pow(n)).ok_or_else(not_whole)?;
    let digits: u128 = format!("{whole}{decimals}").parse().map_err(|_| too_large())?;
    let total = digits.checked_mul(u128::from(factor)).ok_or_else(too_large)?;
    if total % scale != 0 {
        return Err(not_whole());
    }
    u64::try_from(total / scale).map_err(|_| too_large())
}

fn unit_factor(unit: &str, units: Units) -> Result<u64, String> {
    if let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) {
        return Ok(*factor);
    }
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    let known = format!("one of {}", names.join(", "));
    if unit.is_empty() {
        return Err(format!("the unit is missing, {known}"));
    }
    let near = units.iter().map(|(name, _)| *name).find(|name| name.replace('i', "").eq_ignore_ascii_case(unit));
    let near = near.or_else(|| units.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(unit)));
    match near {
        Some(name) => Err(format!("`{unit}` is no unit; did you mean `{name}`?")),
        None => Err(format!("`{unit}` is no unit, {known}")),
    }
}

/// A number with commas between groups of three digits, for people.
pub(crate) fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A quantity that is written as a number or as a text with a unit.
trait Quantity: Sized {
    const EXPECTED: &'static str;
    /// None where a text is not allowed.
    const UNITS: Option<Units>;
    fn from_number(number: u64) -> Self;
}

impl Quantity for Bytes {
    const EXPECTED: &'static str = "a size such as 4096 or \"64KiB\"";
    const UNITS: Option<Units> = Some(SIZE_UNITS);
    fn from_number(number: u64) -> Bytes {
        Bytes(number)
    }
}

impl Quantity for Time {
    const EXPECTED: &'static str = "a time such as \"5ms\", or a number of nanoseconds";
    const UNITS: Option<Units> = Some(TIME_UNITS);
    fn from_number(number: u64) -> Time {
        Time(number)
    }
}

impl Quantity for Count {
    const EXPECTED: &'static str = "a whole number of 0 or more";
    const UNITS: Option<Units> = None;
    fn from_number(number: u64) -> Count {
        Count(number)
    }
}

struct QuantityVisitor<T>(PhantomData<T>);

impl<T: Quantity> Visitor<'_> for QuantityVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Ok(T::from_number(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let number = u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
        Ok(T::from_number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let Some(units) = T::UNITS else {
            return Err(E::invalid_type(Unexpected::Str(text), &self));
        };
        let number = parse_quantity(text, units).map_err(E::custom)?;
        Ok(T::from_number(number))
    }
}

macro_rules! deserialize_quantity {
    ($($quantity:ident),*) => {$(
        impl<'de> Deserialize<'de> for $quantity {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$quantity, D::Error> {
                if deserializer.is_human_readable() {
                    deserializer.deserialize_any(QuantityVisitor(PhantomData))
                } else {
                    u64::deserialize(deserializer).map($quantity)
                }
            }
        }
    )*};
}
deserialize_quantity!(Bytes, Time, Count);

/// Reads a `u64` or `u32` and says what is allowed when it is none.
///
/// # Errors
/// Whatever is not a whole number in the type's range.
pub(crate) fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64> + Deserialize<'de> + Whole>(
    deserializer: D,
) -> Result<T, D::Error> {
    if !deserializer.is_human_readable() {
        return T::deserialize(deserializer);
    }
    let number = deserializer.deserialize_any(WholeVisitor::<T>(PhantomData))?;
    T::try_from(number).map_err(|_| {
        D::Error::custom(format!(
            "{} is too large; a whole number from 0 to {} is expected",
            group(number),
            group(T::MOST)
        ))
    })
}

/// The same for a number that may be absent.
///
/// # Errors
/// As [`whole`].
pub(crate) fn whole_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Given(Option<Count>);
    Ok(Given::deserialize(deserializer)?.0.map(|count| count.0))
}

/// A type of whole numbers that a workload can set.
pub(crate) trait Whole {
    const MOST: u64;
}

impl Whole for u64 {
    const MOST: u64 = u64::MAX;
}

impl Whole for u32 {
    const MOST: u64 = u32::MAX as u64;
}

struct WholeVisitor<T>(PhantomData<T>);

impl<T: Whole> Visitor<'_> for WholeVisitor<T> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 0 to {}", group(T::MOST))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

/// A finite number of a type that allows only some.
struct NumberVisitor<T> {
    expected: &'static str,
    make: fn(f64) -> Option<T>,
}

impl<T> Visitor<'_> for NumberVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        (self.make)(number).ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        exact(number).and_then(self.make).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let value = u64::try_from(number).ok().and_then(exact).and_then(self.make);
        value.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

/// A whole number as a float, when the float is that number.
#[expect(clippy::cast_precision_loss, reason = "numbers that would lose precision are refused")]
fn exact(number: u64) -> Option<f64> {
    (number <= 1 << 53).then_some(number as f64)
}

macro_rules! deserialize_number {
    ($number:ident, $expected:literal) => {
        impl<'de> Deserialize<'de> for $number {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$number, D::Error> {
                let visitor = NumberVisitor { expected: $expected, make: $number::new };
                if deserializer.is_human_readable() {
                    deserializer.deserialize_any(visitor)
                } else {
                    deserializer.deserialize_f64(visitor)
                }
            }
        }
    };
}
deserialize_number!(Positive, "a number above 0");
deserialize_number!(Weight, "a weight of 0 or more");

/// A text gets the fraction that is read back as the same share.
impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(share_to(*self))
        } else {
            serializer.serialize_u32(self.0)
        }
    }
}

#[expect(clippy::float_arithmetic, reason = "a division of two exact numbers gives the same on every platform")]
fn share_to(share: Share) -> f64 {
    f64::from(share.0) / f64::from(Share::WHOLE)
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Share, D::Error> {
        if !deserializer.is_human_readable() {
            return u32::deserialize(deserializer).map(Share);
        }
        deserializer.deserialize_any(NumberVisitor { expected: "a share from 0 to 1", make: share_from })
    }
}

#[expect(
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a product of a number in 0..=1 with 10^9, rounded, fits 32 bits on every platform alike"
)]
fn share_from(number: f64) -> Option<Share> {
    (0.0..=1.0).contains(&number).then(|| Share((number * f64::from(Share::WHOLE) + 0.5) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Result<u64, String> {
        parse_quantity(text, SIZE_UNITS)
    }

    #[test]
    fn sizes_and_times_are_exact() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1.5MiB"), Ok(1_572_864));
        assert_eq!(size("1_000 B"), Ok(1_000));
        assert_eq!(parse_quantity("2.5us", TIME_UNITS), Ok(2_500));
        assert_eq!(parse_quantity("0.1s", TIME_UNITS), Ok(100_000_000));
        assert_eq!(size("15PiB"), Ok(15 << 50));
    }

    #[test]
    fn a_text_that_is_no_quantity_says_why() {
        let error = |text: &str| size(text).unwrap_err();
        insta::assert_snapshot!(error("64KB"), @"`KB` is no unit; did you mean `KiB`?");
        insta::assert_snapshot!(error("64kib"), @"`kib` is no unit; did you mean `KiB`?");
        insta::assert_snapshot!(error("64"), @"the unit is missing, one of B, KiB, MiB, GiB, TiB, PiB");
        insta::assert_snapshot!(error("MiB"), @"`MiB` does not start with a number");
        insta::assert_snapshot!(error("-1MiB"), @"`-1MiB` is no unit, one of B, KiB, MiB, GiB, TiB, PiB");
        insta::assert_snapshot!(error("1.2.3MiB"), @"`1.2.3MiB` does not start with a number");
        insta::assert_snapshot!(error("0.3B"), @"`0.3B` is not a whole number of B");
        insta::assert_snapshot!(error("99999999PiB"), @"`99999999PiB` is more than 18,446,744,073,709,551,615");
        insta::assert_snapshot!(error("999999999999999999999999999999999999999999PiB"), @"`999999999999999999999999999999999999999999PiB` is more than 18,446,744,073,709,551,615");
        assert!(error(&format!("0.{}1B", "0".repeat(60))).ends_with("is not a whole number of B"));
        assert_eq!(size(&format!("{}1.5{}KiB", "0".repeat(60), "0".repeat(60))), Ok(1536));
    }

    #[test]
    fn a_share_is_read_back_as_it_was() {
        for parts in [0, 1, 3, 250_000_000, 333_333_333, 999_999_999, Share::WHOLE] {
            let text = ron::to_string(&Share(parts)).expect("a number");
            assert_eq!(ron::from_str(&text), Ok(Share(parts)), "{text}");
            let text = serde_json::to_string(&Share(parts)).expect("a number");
            assert_eq!(serde_json::from_str::<Share>(&text).expect("a share"), Share(parts), "{text}");
            let bytes = postcard::to_stdvec(&Share(parts)).expect("a number");
            assert_eq!(postcard::from_bytes(&bytes), Ok(Share(parts)));
        }
        assert_eq!(ron::to_string(&Share(250_000_000)).expect("a number"), "0.25");
    }
}
