//! Ratios of integers, and how they are written.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A ratio of two counts, kept exact.
///
/// Written as a fixed decimal with the digits the format asks for (4 when it asks for none), rounded to the nearest, a half
/// upwards: `{ratio:.3}`.
///
/// ```
/// use framesim_models::metrics::Ratio;
/// let share = Ratio::new(2, 3).unwrap();
/// assert_eq!(format!("{share} {share:.1} {share:.0}"), "0.6667 0.7 1");
/// assert_eq!(share.permille(), 666);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratio {
    numerator: u128,
    denominator: u128,
}

impl Ratio {
    /// Nothing.
    pub const ZERO: Ratio = Ratio { numerator: 0, denominator: 1 };

    /// `numerator / denominator`; `None` when the denominator is 0.
    ///
    /// Denominators of more than 124 bits lose their lowest bits, and the numerator as many: no count of a run is that large.
    #[must_use]
    pub fn new(numerator: u128, denominator: u128) -> Option<Ratio> {
        let surplus = 4_u32.saturating_sub(denominator.leading_zeros());
        (denominator > 0).then_some(Ratio { numerator: numerator >> surplus, denominator: denominator >> surplus })
    }

    /// `part / whole`, and 0 when there is no whole: the convention of most shares.
    #[must_use]
    pub fn share(part: u64, whole: u64) -> Ratio {
        Ratio::new(u128::from(part), u128::from(whole)).unwrap_or(Ratio::ZERO)
    }

    /// The numerator, as given.
    #[must_use]
    pub fn numerator(self) -> u128 {
        self.numerator
    }

    /// The denominator, as given; never 0.
    #[must_use]
    pub fn denominator(self) -> u128 {
        self.denominator
    }

    /// Thousandths, rounded down; the most a `u64` holds when there are more.
    #[must_use]
    pub fn permille(self) -> u64 {
        self.scaled_down(1_000)
    }

    /// Millionths, rounded down; the most a `u64` holds when there are more.
    #[must_use]
    pub fn ppm(self) -> u64 {
        self.scaled_down(1_000_000)
    }

    fn scaled_down(self, unit: u128) -> u64 {
        let (whole, rest) = self.divided();
        // Two factors of at most 124 and 20 bits may not fit: then the rest's lowest bits do not matter.
        let part = match rest.checked_mul(unit) {
            Some(scaled) => scaled / self.denominator,
            None => rest / (self.denominator / unit),
        };
        let all = whole.saturating_mul(unit).saturating_add(part);
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    fn divided(self) -> (u128, u128) {
        (self.numerator / self.denominator, self.numerator % self.denominator)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut whole, mut rest) = self.divided();
        let mut digits = Vec::with_capacity(f.precision().unwrap_or(4));
        for _ in 0..digits.capacity() {
            rest *= 10;
            digits.push(u8::try_from(rest / self.denominator).expect("a decimal digit"));
            rest %= self.denominator;
        }
        // Cannot overflow: `new` keeps the denominator under 125 bits.
        if rest * 2 >= self.denominator && carry_into(&mut digits) {
            whole = whole.saturating_add(1);
        }
        let mut text = whole.to_string();
        if !digits.is_empty() {
            text.push('.');
            text.extend(digits.iter().map(|digit| char::from(b'0' + digit)));
        }
        match f.width() {
            Some(width) => write!(f, "{text:>width$}"),
            None => f.write_str(&text),
        }
    }
}

/// Adds one in the last place; whether it went past the first.
fn carry_into(digits: &mut [u8]) -> bool {
    for digit in digits.iter_mut().rev() {
        if *digit < 9 {
            *digit += 1;
            return false;
        }
        *digit = 0;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(numerator: u128, denominator: u128) -> Ratio {
        Ratio::new(numerator, denominator).expect("a denominator above 0")
    }

    #[test]
    fn is_written_with_the_digits_asked_for_rounded_to_the_nearest() {
        assert_eq!(format!("{}", ratio(1, 2)), "0.5000");
        assert_eq!(format!("{:.0}", ratio(1, 2)), "1");
        assert_eq!(format!("{:.0}", ratio(49, 100)), "0");
        assert_eq!(format!("{:.2}", ratio(1, 200)), "0.01");
        assert_eq!(format!("{:.2}", ratio(1, 201)), "0.00");
        assert_eq!(format!("{:.9}", ratio(6, 17)), "0.352941176");
        assert_eq!(format!("{:>8.2}", ratio(22, 7)), "    3.14");
    }

    #[test]
    fn a_carry_goes_through_the_point() {
        assert_eq!(format!("{:.3}", ratio(9_999, 10_000)), "1.000");
        assert_eq!(format!("{:.2}", ratio(1_995, 1_000)), "2.00");
    }

    #[test]
    fn the_largest_counts_are_written_without_overflow() {
        assert_eq!(format!("{:.3}", ratio(u128::MAX, u128::MAX)), "1.000");
        assert_eq!(format!("{:.3}", ratio(u128::MAX / 3, u128::MAX)), "0.333");
        assert_eq!(ratio(u128::MAX / 3, u128::MAX).ppm(), 333_333);
        assert_eq!(ratio(u128::MAX, 1).ppm(), u64::MAX);
    }

    #[test]
    fn a_ratio_to_nothing_is_none_and_a_share_of_nothing_is_zero() {
        assert_eq!(Ratio::new(1, 0), None);
        assert_eq!(Ratio::share(0, 0), Ratio::ZERO);
    }
}
