//! Numbers of a text, line by line, straight from a buffer.

use std::io::{self, ErrorKind, Read};

/// Longer lines are refused.
pub(super) const LINE_BYTES_MOST: usize = 64 << 10;
const BUFFER_BYTES: usize = 512 << 10;

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
