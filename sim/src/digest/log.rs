//! Digest logs: what `framesim run --digest-log` writes and `framesim verify` reads.
//!
//! A log is text. Two lines of head, then a line for every `every` events with the event's number, the sealed digest up to it, and
//! 16 bits of the state after each event since the line before; the last line ends the run:
//!
//! ```text
//! framesim digest log 1, results 1, every 3
//! run web.ron --seed 7
//! 3 0f5c...e1 c4f1a90277d0
//! 6 88a0...09 17bc00e2f1aa
//! end 7 5b17...d4 9a21
//! ```
//!
//! **Invariant.** The first event whose 16 bits differ is the first that differed, or (once in 65,536) the one after it: the
//! state never comes back by chance once two runs have parted.

use std::io::{self, BufRead, Write};

use super::Trajectory;

const MAGIC: &str = "framesim digest log 1";
/// Events between two lines, at most: so that a line is read in one piece.
const EVERY_MAX: u64 = 65_536;
const LINE_MAX: u64 = 512 * 1024;

/// What a log says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// Version of the results of the program that wrote it.
    pub results: u32,
    /// Events between two lines.
    pub every: u64,
    /// How to repeat the run, in one line.
    pub run: String,
}

/// Writes a log as a run goes on.
pub struct LogWriter<W> {
    out: W,
    every: u64,
    checks: String,
    events: u64,
}

impl<W: Write> LogWriter<W> {
    /// Writes the head. `every` is brought into `1..=65536`; line ends in `run` become spaces.
    ///
    /// # Errors
    /// Of the output.
    pub fn new(mut out: W, head: &LogHead) -> io::Result<LogWriter<W>> {
        let every = head.every.clamp(1, EVERY_MAX);
        let run = head.run.replace(['\n', '\r'], " ");
        writeln!(out, "{MAGIC}, results {}, every {every}\nrun {run}", head.results)?;
        Ok(LogWriter { out, every, checks: String::new(), events: 0 })
    }

    /// What the log is written to.
    pub fn get_ref(&self) -> &W {
        &self.out
    }

    /// Notes one event, whose words are the last that `trajectory` took in.
    ///
    /// # Errors
    /// Of the output.
    pub fn event(&mut self, trajectory: &Trajectory) -> io::Result<()> {
        use std::fmt::Write as _;
        self.events += 1;
        write!(self.checks, "{:04x}", trajectory.check()).expect("a string takes any text");
        if self.events.is_multiple_of(self.every) {
            self.line("", trajectory)?;
        }
        Ok(())
    }

    /// Ends the log.
    ///
    /// # Errors
    /// Of the output.
    pub fn end(mut self, trajectory: &Trajectory) -> io::Result<W> {
        self.line("end ", trajectory)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn line(&mut self, lead: &str, trajectory: &Trajectory) -> io::Result<()> {
        writeln!(self.out, "{lead}{} {:#} {}", self.events, trajectory.seal(), self.checks)?;
        self.checks.clear();
        Ok(())
    }
}

/// Reads a log beside a run.
pub struct LogReader<R> {
    input: R,
    head: LogHead,
    line_number: u64,
    line: Line,
    /// Events that were compared.
    events: u64,
}

/// One line after the head.
#[derive(Clone, Debug, Default)]
struct Line {
    last: bool,
    /// Number of its last event.
    events: u64,
    digest: String,
    checks: String,
}

/// How a run differs from a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// This event, counted from 1, is the first that is not as recorded.
    Event(u64),
    /// The log ends after this many events, the run goes on.
    LogEnds(u64),
    /// The run ends after this many events, the log goes on.
    RunEnds(u64),
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file itself.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line that is none.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl<R: BufRead> LogReader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// When it is not one of a digest log.
    pub fn new(input: R) -> Result<LogReader<R>, LogError> {
        let head = LogHead { results: 0, every: 0, run: String::new() };
        let mut reader = LogReader { input, head, line_number: 0, line: Line::default(), events: 0 };
        let first = reader.read_line()?;
        let (results, every) = parse_first(&first).ok_or(reader.error("a digest log starts with its version"))?;
        let second = reader.read_line()?;
        let run = second.strip_prefix("run ").ok_or(reader.error("the line `run ..` is missing"))?.to_owned();
        reader.head = LogHead { results, every, run };
        Ok(reader)
    }

    /// What the log says about itself.
    #[must_use]
    pub fn head(&self) -> &LogHead {
        &self.head
    }

    /// Compares one event, whose words are the last that `trajectory` took in.
    ///
    /// # Errors
    /// When the log cannot be read on.
    pub fn event(&mut self, trajectory: &Trajectory) -> Result<Option<Difference>, LogError> {
        if self.events == self.line.events {
            if self.line.last {
                return Ok(Some(Difference::LogEnds(self.events)));
            }
            self.next_line()?;
            if self.events == self.line.events {
                return Ok(Some(Difference::LogEnds(self.events)));
            }
        }
        self.events += 1;
        let at = 4 * framesim_models::index(self.line.checks.len() as u64 / 4 - (self.line.events - self.events) - 1);
        let same = self.line.checks[at..at + 4] == *format!("{:04x}", trajectory.check());
        let sealed = self.events < self.line.events || self.line.digest == format!("{:#}", trajectory.seal());
        Ok((!same || !sealed).then_some(Difference::Event(self.events)))
    }

    /// Compares the ends: to be asked once the run is over.
    ///
    /// # Errors
    /// When the log cannot be read on.
    pub fn end(mut self) -> Result<Option<Difference>, LogError> {
        if self.events == self.line.events && !self.line.last {
            self.next_line()?;
        }
        Ok((self.events != self.line.events).then_some(Difference::RunEnds(self.events)))
    }

    fn next_line(&mut self) -> Result<(), LogError> {
        let text = self.read_line()?;
        let line = parse_line(&text).ok_or(self.error("an event's number, a digest and checks are expected"))?;
        let fits = line.checks.len() as u64 == 4 * line.events.saturating_sub(self.events);
        if !fits || line.events < self.events {
            return Err(self.error("the number of checks is not the number of events"));
        }
        self.line = line;
        Ok(())
    }

    fn read_line(&mut self) -> Result<String, LogError> {
        use std::io::Read as _;
        self.line_number += 1;
        let mut line = String::new();
        self.input.by_ref().take(LINE_MAX).read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(text) => Ok(text.trim_end_matches('\r').to_owned()),
            None => Err(self.error("the log ends within a line, or before its `end`")),
        }
    }

    fn error(&self, what: &'static str) -> LogError {
        LogError::Line { line: self.line_number, what }
    }
}

fn parse_first(line: &str) -> Option<(u32, u64)> {
    let (results, every) = line.strip_prefix(MAGIC)?.strip_prefix(", results ")?.split_once(", every ")?;
    Some((results.parse().ok()?, every.parse().ok()?))
}

fn parse_line(text: &str) -> Option<Line> {
    let (last, rest) = match text.strip_prefix("end ") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (events, rest) = rest.split_once(' ')?;
    let (digest, checks) = rest.split_once(' ')?;
    let hexadecimal = checks.bytes().all(|byte| byte.is_ascii_hexdigit());
    let line = Line { last, events: events.parse().ok()?, digest: digest.to_owned(), checks: checks.to_owned() };
    hexadecimal.then_some(line)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn head(every: u64) -> LogHead {
        LogHead { results: 1, every, run: "web.ron --seed 7".to_owned() }
    }

    fn written(every: u64, events: &[u128]) -> String {
        let mut log = LogWriter::new(Vec::new(), &head(every)).expect("memory takes any log");
        let mut trajectory = Trajectory::default();
        for &event in events {
            trajectory.absorb(event);
            log.event(&trajectory).expect("memory takes any log");
        }
        String::from_utf8(log.end(&trajectory).expect("memory takes any log")).expect("a log is text")
    }

    fn compared(log: &str, events: &[u128]) -> Result<Option<Difference>, LogError> {
        let mut log = LogReader::new(log.as_bytes())?;
        let mut trajectory = Trajectory::default();
        for &event in events {
            trajectory.absorb(event);
            if let Some(difference) = log.event(&trajectory)? {
                return Ok(Some(difference));
            }
        }
        log.end()
    }

    #[test]
    fn a_log_is_text_for_people() {
        assert_snapshot!(written(2, &[1, 2, 3]), @r#"
        framesim digest log 1, results 1, every 2
        run web.ron --seed 7
        2 26915b70faec6ccf01f38e7e16bb5419 25b7b84f
        end 3 c6d4b3738678cb5e73f84f10b4924f7e dcf8
        "#);
    }

    #[test]
    fn the_same_events_verify_at_every_spacing() {
        let events: Vec<u128> = (0..100).collect();
        for every in [1, 2, 3, 50, 99, 100, 101, 1_000_000] {
            for length in [0, 1, 2, 99, 100] {
                let log = written(every, &events[..length]);
                assert_eq!(compared(&log, &events[..length]).expect("a sound log"), None, "{length} every {every}");
            }
        }
    }

    #[test]
    fn the_first_event_that_differs_is_named() {
        let events: Vec<u128> = (0..100).collect();
        for every in [1, 7, 100, 1000] {
            let log = written(every, &events);
            for at in [0, 1, 42, 99] {
                let mut others = events.clone();
                others[at] += 1000;
                let difference = compared(&log, &others).expect("a sound log");
                assert_eq!(difference, Some(Difference::Event(at as u64 + 1)), "every {every}");
            }
        }
    }

    #[test]
    fn a_run_that_ends_early_or_late_is_told() {
        let events: Vec<u128> = (0..10).collect();
        for every in [1, 5, 4, 1000] {
            let log = written(every, &events[..8]);
            assert_eq!(compared(&log, &events).expect("a sound log"), Some(Difference::LogEnds(8)), "every {every}");
            let difference = compared(&log, &events[..7]).expect("a sound log");
            assert_eq!(difference, Some(Difference::RunEnds(7)), "every {every}");
        }
    }

    #[test]
    fn a_broken_log_says_where() {
        let whole = written(2, &[1, 2, 3, 4, 5]);
        let error = |log: &str| compared(log, &[1, 2, 3, 4, 5]).expect_err("a broken log").to_string();
        assert_snapshot!(error(""), @"line 1: the log ends within a line, or before its `end`");
        assert_snapshot!(error("trace 1\n"), @"line 1: a digest log starts with its version");
        assert_snapshot!(error(&whole.replace("run", "ran")), @"line 2: the line `run ..` is missing");
        assert_snapshot!(error(&whole.replace("end ", "end")), @"line 5: an event's number, a digest and checks are expected");
        assert_snapshot!(error(&whole.replace("\n4 ", "\nfour ")), @"line 4: an event's number, a digest and checks are expected");
        assert_snapshot!(error(&whole.replace("\n4 ", "\n5 ")), @"line 4: the number of checks is not the number of events");
        assert_snapshot!(error(&whole[..whole.len() - 3]), @"line 5: the log ends within a line, or before its `end`");
        assert_snapshot!(error(&whole[..whole.rfind("end").expect("an end")]), @"line 5: the log ends within a line, or before its `end`");
    }
}
