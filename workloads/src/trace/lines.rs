//! Numbers of a text, line by line, straight from a buffer.

use std::io::{self, ErrorKind, Read};

/// Longer lines are refused.
pub(super) const LINE_BYTES_MOST: usize = 64 << 10;
const BUFFER_BYTES: usize = 512 << 10;
/// Numbers of a line at most.
pub(super) const NUMBERS_MOST: usize = 4;
/// Digits of a number that is read at once.
const PLAIN_DIGITS: usize = 15;
/// Bytes of the longest plain line: a letter, numbers with a space before each, a line feed; and as many as a look at the
/// digits of one more would need.
const PLAIN_BYTES: usize = 1 + NUMBERS_MOST * (1 + PLAIN_DIGITS) + 1 + 16;

/// Reads lines without copying them: while one is parsed, all of it is in the buffer.
pub(super) struct Lines {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// The next byte to parse, and the end of what was read.
    at: usize,
    end: usize,
    /// The end of the last line that is all there.
    whole: usize,
    is_at_end: bool,
    /// Lines begun.
    line: u64,
}

/// Why a line could not be begun.
#[derive(Debug)]
pub(super) enum LineError {
    Read(io::Error),
    /// It has more than [`LINE_BYTES_MOST`].
    TooLong,
}

/// What is in the place of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberError {
    /// Nothing: the line ends.
    Missing,
    /// Something that is no digit.
    NotANumber,
    /// More than 2^64 - 1.
    TooLarge,
}

impl Lines {
    pub(super) fn of(source: Box<dyn Read + Send>) -> Lines {
        Lines { source, buffer: vec![0; BUFFER_BYTES], at: 0, end: 0, whole: 0, is_at_end: false, line: 0 }
    }

    /// The number of the line that was begun last, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Begins the next line; false at the end of the text.
    #[inline]
    pub(super) fn begin(&mut self) -> Result<bool, LineError> {
        if self.at == self.whole && !self.refill()? {
            return Ok(false);
        }
        self.line += 1;
        Ok(true)
    }

    /// The next line as a letter and as many numbers as such a line has, when it is plain: one space before each number, none
    /// of more than 15 digits, nothing else. Any other line, and one near the end of what was read, stays for the other methods.
    #[inline]
    pub(super) fn plain(&mut self, numbers_of: impl FnOnce(u8) -> usize) -> Option<(u8, [u64; NUMBERS_MOST])> {
        let window = self.buffer.get(self.at..)?.first_chunk::<PLAIN_BYTES>()?;
        let letter = window[0];
        let mut numbers = [0; NUMBERS_MOST];
        let mut at = 1;
        for number in &mut numbers[..numbers_of(letter)] {
            if window[at] != b' ' {
                return None;
            }
            (*number, at) = plain_number(window, at + 1)?;
        }
        // What lies past the last whole line may be left from before.
        if at == 1 || window[at] != b'\n' || self.at + at >= self.whole {
            return None;
        }
        self.at += at + 1;
        self.line += 1;
        Some((letter, numbers))
    }

    /// Reads on; false when nothing is left.
    #[cold]
    fn refill(&mut self) -> Result<bool, LineError> {
        self.buffer.copy_within(self.at..self.end, 0);
        self.end -= self.at;
        self.at = 0;
        while self.end < self.buffer.len() && !self.is_at_end {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.is_at_end = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(LineError::Read(error)),
            }
        }
        self.whole = self.whole_lines();
        if self.whole == 0 && self.end > 0 {
            self.line += 1;
            return Err(LineError::TooLong);
        }
        Ok(self.end > 0)
    }

    /// The end of the last line of the buffer that is all there, before one that is too long.
    fn whole_lines(&self) -> usize {
        let mut from = 0;
        loop {
            let left = &self.buffer[from..self.end];
            if self.is_at_end && left.len() <= LINE_BYTES_MOST {
                return self.end;
            }
            let window = &left[..left.len().min(LINE_BYTES_MOST + 1)];
            match window.iter().rposition(|byte| *byte == b'\n') {
                Some(newline) => from += newline + 1,
                None => return from,
            }
        }
    }

    /// The next byte of the line, or a line feed at its end.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        if self.at < self.end { self.buffer[self.at] } else { b'\n' }
    }

    /// Takes the byte [`peek`](Self::peek) showed; not past the end of the text.
    #[inline]
    pub(super) fn bump(&mut self) {
        self.at += usize::from(self.at < self.end);
    }

    /// A number behind blanks.
    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, NumberError> {
        while self.peek() == b' ' || self.peek() == b'\t' {
            self.at += 1;
        }
        let digits = &self.buffer[self.at..self.end];
        let mut value: u64 = 0;
        let mut count = 0;
        for &byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            // 19 digits always fit.
            if count < 19 {
                value = value * 10 + u64::from(digit);
            } else {
                let next = value.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit)));
                value = next.ok_or(NumberError::TooLarge)?;
            }
            count += 1;
        }
        self.at += count;
        if count == 0 || !self.is_at_gap() {
            return Err(if count == 0 && self.is_at_line_end() {
                NumberError::Missing
            } else {
                NumberError::NotANumber
            });
        }
        Ok(value)
    }

    /// Whether a word may end here.
    #[inline]
    fn is_at_gap(&self) -> bool {
        matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t')
    }

    fn is_at_line_end(&self) -> bool {
        matches!(self.peek(), b'\n' | b'\r')
    }

    /// Ends the line; false when something is left on it.
    #[inline]
    pub(super) fn end_line(&mut self) -> bool {
        while matches!(self.peek(), b' ' | b'\t' | b'\r') {
            self.at += 1;
        }
        let is_end = self.peek() == b'\n';
        if is_end {
            self.bump();
        }
        is_end
    }

    /// Whether the line goes on with `text`.
    pub(super) fn starts_with(&self, text: &[u8]) -> bool {
        self.buffer[self.at..self.end].starts_with(text)
    }

    /// All of the current line; it is skipped.
    pub(super) fn whole_line(&mut self) -> &[u8] {
        let before = self.buffer[..self.at].iter().rev().take_while(|byte| **byte != b'\n').count();
        self.at -= before;
        self.rest()
    }

    /// Skips what is left of the line and returns it.
    pub(super) fn rest(&mut self) -> &[u8] {
        let start = self.at;
        let left = &self.buffer[start..self.end];
        let length = left.iter().position(|byte| *byte == b'\n').unwrap_or(left.len());
        self.at = (start + length + 1).min(self.end);
        self.buffer[start..start + length].trim_ascii_end()
    }
}

/// A number of 1 to 15 digits at `at`, and where it ends.
#[inline]
fn plain_number(window: &[u8; PLAIN_BYTES], at: usize) -> Option<(u64, usize)> {
    let (high, digits) = up_to_8_digits(window, at)?;
    match digits {
        0 => None,
        1..8 => Some((high, at + digits)),
        _ => {
            let (low, more) = up_to_8_digits(window, at + 8)?;
            let scale = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000].get(more)?;
            Some((high * scale + low, at + 8 + more))
        }
    }
}

/// The number that the digits among the next 8 bytes are, and how many they are: all at once, without a branch for each.
#[inline]
fn up_to_8_digits(window: &[u8; PLAIN_BYTES], at: usize) -> Option<(u64, usize)> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let bytes = u64::from_le_bytes(*window.get(at..)?.first_chunk()?);
    // A digit becomes its value, every other byte more than 9. Adding 0x76 to a byte above 9 sets its high bit.
    let values = bytes ^ (ONES * 0x30);
    let others = (values.wrapping_add(ONES * 0x76) | values) & (ONES * 0x80);
    let digits = framesim_models::index(u64::from(others.trailing_zeros() / 8));
    if digits == 0 {
        return Some((0, 0));
    }
    // The first digit is the lowest byte: zeros come before it. Then pairs, fours, and the eight are joined.
    let aligned = values << (64 - 8 * digits);
    let pairs = (aligned.wrapping_mul(10) + (aligned >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff, digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_every_length_are_a_number_and_nothing_else_is() {
        let window = |text: &str| {
            let mut window = [0; PLAIN_BYTES];
            window[..text.len()].copy_from_slice(text.as_bytes());
            window
        };
        for (text, number) in
            [("7 ", 7), ("42\n", 42), ("00120 5", 120), ("99999999 ", 99_999_999), ("1234567890\n", 1_234_567_890)]
        {
            let digits = text.trim_end_matches([' ', '\n', '5']).trim_end().len();
            assert_eq!(plain_number(&window(text), 0), Some((number, digits)), "{text:?}");
        }
        assert_eq!(plain_number(&window("987654321098765 "), 0), Some((987_654_321_098_765, 15)));
        assert_eq!(plain_number(&window("9876543210987654 "), 0), None, "16 digits");
        for text in ["", " 1", "x1", "-1", "\u{7f}", "/", ":", "\u{ff}"] {
            assert_eq!(plain_number(&window(text), 0), None, "{text:?}");
        }
    }

    #[test]
    fn every_byte_that_is_no_digit_ends_a_number() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut window = [b'1'; PLAIN_BYTES];
                window[place] = byte;
                let digits = up_to_8_digits(&window, 0).expect("the window is long enough").1;
                assert_eq!(digits, if byte.is_ascii_digit() { 8 } else { place }, "byte {byte} at {place}");
            }
        }
    }
}
