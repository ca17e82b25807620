//! The frame map: who holds which frame, one letter for so many frames.
//!
//! A letter stands for a power of two of frames. It is the sign of the holder of most of them, in upper case when all of
//! them are that holder's and in lower case when they are mixed; `.` is a letter's worth of free frames. A line whose
//! letters are those of the line above is folded into a count.
//!
//! # Cost
//! O(runs) time and O(letters drawn) memory: a run that fills whole lines is not walked letter by letter. 2^28 frames
//! in few runs cost what 16 frames in as many runs cost.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use framesim_models::index;

use super::text::{COLUMNS, Count};

/// Letters a line.
pub const LETTERS: u64 = 64;

/// A kind of holder on the map. Number 0 of a map's holders is always "free".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its upper-case letter.
    pub sign: char,
    /// Its name in the legend.
    pub name: String,
}

impl Holder {
    /// A holder of that sign and name.
    #[must_use]
    pub fn new(sign: char, name: &str) -> Holder {
        Holder { sign, name: name.to_owned() }
    }
}

/// Frames that one letter stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As few as fit into so many lines.
    Lines(u64),
    /// One: every frame has its letter.
    Frame,
}

impl Scale {
    /// Frames a letter, a power of two.
    #[must_use]
    pub fn frames_per_letter(self, total: u64) -> u64 {
        match self {
            Scale::Frame => 1,
            Scale::Lines(lines) => total.div_ceil(lines.max(1) * LETTERS).max(1).next_power_of_two(),
        }
    }
}

/// Draws `runs`, which tile memory from frame 0 on: each is a holder's number in `holders` and a count of frames.
///
/// The result has a heading line, the lines of the map and the legend of the signs that occur.
///
/// # Panics
/// When a run's holder is not in `holders`.
#[must_use]
pub fn draw(holders: &[Holder], runs: impl IntoIterator<Item = (usize, u64)>, total: u64, scale: Scale) -> String {
    let per_letter = scale.frames_per_letter(total);
    let width = Count(total.saturating_sub(1)).to_string().len().max(6);
    let (body, seen) = lines(holders, runs, per_letter, Labels { width, start: 0, is_address: false });
    let letter = match per_letter {
        1 => "one letter a frame".to_owned(),
        frames => format!("one letter = {} frames, most frequent owner", Count(frames)),
    };
    format!("{letter}\n{body}{}", legend(holders, &seen, per_letter))
}

/// The lines of a map alone, and which holders occur.
///
/// # Panics
/// When a run's holder is not in `holders`.
#[must_use]
pub fn lines(
    holders: &[Holder],
    runs: impl IntoIterator<Item = (usize, u64)>,
    per_letter: u64,
    labels: Labels,
) -> (String, Vec<bool>) {
    let mut canvas = Canvas::new(holders, per_letter, labels);
    for (holder, frames) in runs {
        canvas.add(holder, frames);
    }
    canvas.finish()
}

/// What stands before each line: where its first letter lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Columns of it.
    pub width: usize,
    /// The place of the first letter.
    pub start: u64,
    /// An address, in hexadecimal digits, rather than a count.
    pub is_address: bool,
}

impl Labels {
    fn of(self, at: u64) -> String {
        let at = self.start + at;
        if self.is_address { format!("{at:x}") } else { Count(at).to_string() }
    }
}

/// Letters that a memory of `total` frames takes.
#[must_use]
pub fn width(total: u64, per_letter: u64) -> usize {
    index(total.div_ceil(per_letter))
}

/// One line of letters, without colours, for the whole of a small memory.
#[must_use]
pub fn letters(holders: &[Holder], runs: impl IntoIterator<Item = (usize, u64)>, per_letter: u64) -> String {
    let mut text = String::new();
    let mut counts = vec![0; holders.len()];
    let mut filled = 0;
    for (holder, frames) in runs {
        let mut left = frames;
        while left > 0 {
            let taken = left.min(per_letter - filled);
            counts[holder] += taken;
            (filled, left) = (filled + taken, left - taken);
            if filled == per_letter {
                text.push(sign(holders, &counts));
                counts.fill(0);
                filled = 0;
            }
        }
    }
    if filled > 0 {
        text.push(sign(holders, &counts));
    }
    text
}

/// Lines of the map as they grow.
struct Canvas<'a> {
    holders: &'a [Holder],
    per_letter: u64,
    labels: Labels,
    text: String,
    seen: Vec<bool>,
    /// Frames of each holder in the letter being filled, and their sum.
    counts: Vec<u64>,
    filled: u64,
    /// The line being filled, and the frame its first letter starts at.
    line: String,
    line_start: u64,
    /// The line written last, and how many like it were held back since.
    last: String,
    alike: u64,
}

impl<'a> Canvas<'a> {
    fn new(holders: &'a [Holder], per_letter: u64, labels: Labels) -> Canvas<'a> {
        Canvas {
            holders,
            per_letter,
            labels,
            text: String::new(),
            seen: vec![false; holders.len()],
            counts: vec![0; holders.len()],
            filled: 0,
            line: String::new(),
            line_start: 0,
            last: String::new(),
            alike: 0,
        }
    }

    fn add(&mut self, holder: usize, frames: u64) {
        self.seen[holder] |= frames > 0;
        let mut left = frames;
        while left > 0 {
            left -= match (self.filled, self.line.is_empty()) {
                (0, true) if left / self.per_letter / LETTERS > 1 => self.add_lines(holder, left),
                _ => self.fill(holder, left),
            };
        }
    }

    /// Whole lines of one holder at once; returns the frames they took.
    fn add_lines(&mut self, holder: usize, frames: u64) -> u64 {
        let per_line = self.per_letter * LETTERS;
        let lines = frames / per_line;
        for _ in 0..LETTERS {
            self.line.push(self.holders[holder].sign);
        }
        self.end_line();
        // The others are the same line: counted, not drawn.
        self.alike += lines - 1;
        self.line_start += per_line * (lines - 1);
        lines * per_line
    }

    /// Frames into the letter that is being filled; returns how many it took.
    fn fill(&mut self, holder: usize, frames: u64) -> u64 {
        let taken = frames.min(self.per_letter - self.filled);
        self.counts[holder] += taken;
        self.filled += taken;
        if self.filled == self.per_letter {
            self.end_letter();
        }
        taken
    }

    fn end_letter(&mut self) {
        self.line.push(sign(self.holders, &self.counts));
        self.counts.fill(0);
        self.filled = 0;
        if self.line.len() as u64 == LETTERS {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let start = self.line_start;
        self.line_start += self.per_letter * LETTERS;
        if self.line == self.last {
            self.alike += 1;
            self.line.clear();
            return;
        }
        self.unfold();
        self.write_line(start);
        std::mem::swap(&mut self.last, &mut self.line);
        self.line.clear();
    }

    fn write_line(&mut self, start: u64) {
        let width = self.labels.width;
        let label = self.labels.of(start);
        writeln!(self.text, "{label:>width$} {}", coloured(&self.line)).expect("a string grows");
    }

    /// Says how many lines were held back; a single one is drawn, as that is no longer.
    fn unfold(&mut self) {
        let alike = std::mem::take(&mut self.alike);
        let width = self.labels.width;
        let what = match self.last.chars().all(|letter| letter == FREE) {
            true => ", all free",
            false => "",
        };
        let lines = if alike == 1 { "line" } else { "lines" };
        if alike > 0 {
            writeln!(self.text, "{:width$} ({} more {lines} alike{what})", "", Count(alike)).expect("a string grows");
        }
    }

    fn finish(mut self) -> (String, Vec<bool>) {
        if self.filled > 0 {
            self.end_letter();
        }
        if !self.line.is_empty() {
            self.end_line();
        }
        self.unfold();
        (self.text, self.seen)
    }
}

const FREE: char = '.';

/// The letter for a group of frames: the taken holder with most frames, the first on a tie; lower case when others,
/// free frames too, share the letter.
fn sign(holders: &[Holder], counts: &[u64]) -> char {
    let taken = (1..counts.len())
        .filter(|&holder| counts[holder] > 0)
        .max_by_key(|&holder| (counts[holder], usize::MAX - holder));
    let alone = counts.iter().filter(|count| **count > 0).count() == 1;
    match taken {
        None => FREE,
        Some(holder) if alone => holders[holder].sign,
        Some(holder) => holders[holder].sign.to_ascii_lowercase(),
    }
}

/// The signs that occur, with what they stand for.
#[must_use]
pub fn legend(holders: &[Holder], seen: &[bool], per_letter: u64) -> String {
    let seen = holders.iter().zip(seen).skip(1).filter(|(_, seen)| **seen);
    let mut words: Vec<String> = seen.map(|(holder, _)| format!("{} {}", holder.sign, holder.name)).collect();
    words.push(format!("{FREE} {}", holders[0].name));
    if per_letter > 1 {
        words.push("lower case: mixed".to_owned());
    }
    in_columns(&words)
}

/// Words with two blanks between them, in as many lines as they take.
#[must_use]
pub fn in_columns(words: &[String]) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in words {
        let width = word.chars().count();
        if column > 0 {
            let fits = column + 2 + width <= COLUMNS;
            text.push_str(if fits { "  " } else { "\n" });
            column = if fits { column + 2 } else { 0 };
        }
        text.push_str(word);
        column += width;
    }
    text + "\n"
}

/// The letters with a colour for each stretch of the same one, whatever its case. The letters alone tell the same.
#[must_use]
pub fn coloured(letters: &str) -> String {
    let mut text = String::with_capacity(letters.len() * 2);
    let mut rest = letters;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|letter: char| letter != first).unwrap_or(rest.len());
        let (same, other) = rest.split_at(end);
        let style = style_of(first);
        write!(text, "{style}{same}{style:#}").expect("a string grows");
        rest = other;
    }
    text
}

fn style_of(letter: char) -> Style {
    const COLOURS: [AnsiColor; 6] =
        [AnsiColor::Red, AnsiColor::Green, AnsiColor::Yellow, AnsiColor::Blue, AnsiColor::Magenta, AnsiColor::Cyan];
    match letter.to_ascii_uppercase() {
        upper @ 'A'..='Z' => {
            let colour = COLOURS[(upper as usize - 'A' as usize) % COLOURS.len()];
            let style = Style::new().fg_color(Some(colour.into()));
            if letter.is_ascii_lowercase() { style.dimmed() } else { style }
        }
        _ => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holders() -> Vec<Holder> {
        vec![Holder::new('.', "free"), Holder::new('C', "code"), Holder::new('H', "heap")]
    }

    fn plain(runs: &[(usize, u64)], scale: Scale) -> String {
        let total = runs.iter().map(|(_, frames)| frames).sum();
        anstream::adapter::strip_str(&draw(&holders(), runs.iter().copied(), total, scale)).to_string()
    }

    #[test]
    fn sixteen_frames_have_a_letter_each() {
        insta::assert_snapshot!(plain(&[(0, 2), (1, 4), (2, 8), (0, 2)], Scale::Lines(16)), @r"
        one letter a frame
             0 ..CCCCHHHHHHHH..
        C code  H heap  . free
        ");
    }

    #[test]
    fn a_mixed_letter_is_lower_case_and_names_the_most_frequent_holder() {
        // Four frames a letter: all code; code and heap; a tie, to the first; one heap frame among free ones; free.
        let runs = [(1, 5), (2, 3), (1, 2), (2, 2), (2, 1), (0, 7)];
        let shown = plain(&[&runs[..], &[(0, 236)]].concat(), Scale::Lines(1));
        assert_eq!(shown.lines().nth(1), Some(format!("     0 Chch{}", ".".repeat(60)).as_str()));
    }

    #[test]
    fn lines_alike_are_folded_and_their_addresses_kept() {
        let runs = [(1, 64), (0, 64 * 7), (2, 64), (2, 64), (1, 1)];
        insta::assert_snapshot!(plain(&runs, Scale::Frame), @r"
        one letter a frame
             0 CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC
            64 ................................................................
               (6 more lines alike, all free)
           512 HHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHH
               (1 more line alike)
           640 C
        C code  H heap  . free
        ");
    }

    #[test]
    fn runs_drawn_at_once_look_like_runs_drawn_letter_by_letter() {
        let whole = [(1, 100), (0, 1000), (2, 64 * 9), (0, 3), (1, 700)];
        let cut: Vec<(usize, u64)> =
            whole.iter().flat_map(|&(holder, frames)| (0..frames).map(move |_| (holder, 1))).collect();
        for scale in [Scale::Frame, Scale::Lines(4), Scale::Lines(1)] {
            assert_eq!(plain(&whole, scale), plain(&cut, scale));
        }
    }

    #[test]
    fn a_tebibyte_of_memory_is_one_screen_and_no_work() {
        let shown = plain(&[(1, 1), (0, (1 << 28) - 2), (2, 1)], Scale::Lines(16));
        assert_eq!(shown.lines().count(), 6, "{shown}");
        assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
        // One letter a frame: four million lines, of which four are drawn.
        assert!(plain(&[(1, 1), (0, (1 << 28) - 2), (2, 1)], Scale::Frame).lines().count() < 8);
    }
}
