//! Numbers and names as a person reads them.
//!
//! Integers in, text out: no float decides a digit.

use std::fmt;

use framesim_models::Nanos;

/// Columns that every text report keeps to.
pub const COLUMNS: usize = 80;

/// A count with commas: `1,284,551`.
#[derive(Clone, Copy, Debug)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// Bytes in the largest unit that divides them, or with one decimal where none does: `256 MiB`, `1.5 KiB`, `100 B`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match UNITS.iter().find(|(_, bytes)| self.0 >= *bytes) {
            None => format!("{} B", self.0),
            Some((unit, bytes)) => format!("{} {unit}", tenths(self.0, *bytes)),
        };
        f.pad(&text)
    }
}

/// `of` in units of `unit`, to the nearest tenth, a whole number without its `.0`.
fn tenths(of: u64, unit: u64) -> String {
    let tenths = (u128::from(of) * 10 + u128::from(unit) / 2) / u128::from(unit);
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        tenth => format!("{}.{tenth}", tenths / 10),
    }
}

/// Simulated time to the thousandth of a second: `7.412 s`. Shorter than a millisecond in `us` or `ns`.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub Nanos);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.0;
        let text = match nanos {
            0 => "0 s".to_owned(),
            1..1_000 => format!("{nanos} ns"),
            1_000..1_000_000 => format!("{} us", tenths(nanos, 1_000)),
            _ => format!("{}.{:03} s", Count(nanos / 1_000_000_000), nanos / 1_000_000 % 1_000),
        };
        f.pad(&text)
    }
}

/// `one` thing, or several: `1 request`, `6 requests`, `0 requests`.
#[must_use]
pub fn counted(count: u64, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{} {many}", Count(count)),
    }
}

/// The text in lines of at most `columns` characters, broken between words.
#[must_use]
pub fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > 0 {
            let fits = column + 1 + width <= columns;
            lines.push(if fits { ' ' } else { '\n' });
            column = if fits { column + 1 } else { 0 };
        }
        lines.push_str(word);
        column += width;
    }
    lines
}

/// The name among `known` that is most like `name`, if any is like it at all.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // 0.7 of strsim's Jaro-Winkler: `fist_fit` finds `first_fit` (0.97), `constant` does not find `uniform` (0.42).
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|other| (strsim::jaro_winkler(&name, other), other))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(one, a), (two, b)| one.total_cmp(two).then(b.cmp(a)))
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas_and_keep_their_width() {
        assert_eq!(Count(0).to_string(), "0");
        assert_eq!(Count(999).to_string(), "999");
        assert_eq!(Count(1_000).to_string(), "1,000");
        assert_eq!(Count(1_284_551).to_string(), "1,284,551");
        assert_eq!(Count(u64::MAX).to_string(), "18,446,744,073,709,551,615");
        assert_eq!(format!("{:>7}", Count(1_000)), "  1,000");
    }

    #[test]
    fn bytes_take_the_largest_unit_they_fill() {
        let shown =
            [0, 100, 1023, 1024, 1536, 64 << 10, 256 << 20, 1 << 40, (1 << 20) + 1].map(|b| Bytes(b).to_string());
        assert_eq!(shown, ["0 B", "100 B", "1023 B", "1 KiB", "1.5 KiB", "64 KiB", "256 MiB", "1 TiB", "1 MiB"]);
    }

    #[test]
    fn times_have_milliseconds_and_short_ones_their_own_unit() {
        let shown = [0, 999, 1_500, 7_412_999_999, 10_000_000_000].map(|ns| Seconds(Nanos(ns)).to_string());
        assert_eq!(shown, ["0 s", "999 ns", "1.5 us", "7.412 s", "10.000 s"]);
    }

    #[test]
    fn a_typo_finds_its_name_and_nonsense_finds_none() {
        let known = ["first_fit", "best_fit", "buddy"];
        assert_eq!(nearest("fist_fit", known), Some("first_fit"));
        assert_eq!(nearest("Buddy", known), Some("buddy"));
        assert_eq!(nearest("qqq", known), None);
    }

    #[test]
    fn text_breaks_between_words() {
        assert_eq!(wrapped("one two three four", 9), "one two\nthree\nfour");
        assert_eq!(wrapped("unbreakable", 4), "unbreakable");
    }
}
