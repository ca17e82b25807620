//! Recordings of other tools as heap traces.
//!
//! - heaptrack 1.4 (file version 3), what `heaptrack` writes and what `heaptrack --raw` writes; module `heaptrack`.
//! - glibc's `mtrace(3)`; module `mtrace`.
//!
//! A mistake in a file is an error with its line. A last line without its line feed is what a program that crashed leaves: it
//! is left out, and [`Imported`] says so.

mod heaptrack;
mod mtrace;

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use super::write::{Totals, TraceWriter, WriteError};
use super::{UnpackError, unpack};

/// Longer lines are refused.
const LINE_BYTES_MOST: u64 = 1 << 20;

/// Tools whose files can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `heaptrack`, or `heaptrack --raw`.
    Heaptrack,
    /// glibc's `mtrace`.
    Mtrace,
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tool::Heaptrack => "heaptrack",
            Tool::Mtrace => "mtrace",
        })
    }
}

/// A file that was turned into a heap trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The tool that wrote it.
    pub tool: Tool,
    /// What was written.
    pub totals: Totals,
    /// Its last line was cut off.
    pub is_cut: bool,
}

/// Why a file cannot be turned into a heap trace.
#[derive(Debug)]
pub struct ImportError {
    name: String,
    line: u64,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Read(io::Error),
    Write(WriteError),
    Bad(String),
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportFault {
    /// The file's.
    Input,
    /// The disk's, while reading.
    Read,
    /// The disk's, while writing.
    Write,
    /// Nobody's: it is more than a trace can hold.
    Limit,
}

impl ImportError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> ImportFault {
        match &self.cause {
            Cause::Read(error) if error.get_ref().is_some_and(|inner| inner.is::<UnpackError>()) => ImportFault::Input,
            Cause::Read(_) => ImportFault::Read,
            Cause::Write(WriteError::Io(_)) => ImportFault::Write,
            Cause::Write(WriteError::TooManyBlocks) => ImportFault::Limit,
            Cause::Bad(_) => ImportFault::Input,
        }
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Read(error) => write!(f, "{}: cannot be read: {error}", self.name),
            Cause::Write(WriteError::Io(error)) => write!(f, "the trace cannot be written: {error}"),
            Cause::Write(error) => write!(f, "{}:{}: {error}", self.name, self.line),
            Cause::Bad(what) => write!(f, "{}:{}: {what}", self.name, self.line),
        }
    }
}

impl std::error::Error for ImportError {}

/// The text of a file, unpacked when it is zstd or gzip; `-` is standard input.
///
/// # Errors
/// When it cannot be opened.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let bytes: Box<dyn Read> =
        if path == Path::new("-") { unpack::unpacked(io::stdin())? } else { unpack::open_bytes(path)? };
    Ok(Box::new(BufReader::with_capacity(256 << 10, bytes)))
}

/// Turns the text of a tool into a heap trace; `tool` is found out from the first line when it is not given.
///
/// # Errors
/// What is wrong, with the line it is in.
pub fn import<W: Write>(
    name: &str,
    text: &mut dyn BufRead,
    tool: Option<Tool>,
    out: W,
) -> Result<(W, Imported), ImportError> {
    let mut lines = Lines { text, line: Vec::new(), number: 0, is_cut: false };
    let imported = read(&mut lines, tool, out);
    imported.map_err(|cause| ImportError { name: name.to_owned(), line: lines.number, cause })
}

fn read<W: Write>(lines: &mut Lines<'_>, tool: Option<Tool>, out: W) -> Result<(W, Imported), Cause> {
    let Some(first) = lines.next()? else {
        return Err(Cause::Bad("the file is empty".to_owned()));
    };
    let tool = match tool {
        Some(tool) => tool,
        None => tool_of(first)?,
    };
    let comment = format!("imported from {tool}");
    let mut writer = TraceWriter::new(out, [comment.as_str()]).map_err(|error| Cause::Write(error.into()))?;
    match tool {
        Tool::Heaptrack => heaptrack::read(lines, &mut writer)?,
        Tool::Mtrace => mtrace::read(lines, &mut writer)?,
    }
    let (out, totals) = writer.finish("").map_err(|error| Cause::Write(error.into()))?;
    Ok((out, Imported { tool, totals, is_cut: lines.is_cut }))
}

fn tool_of(first: &str) -> Result<Tool, Cause> {
    match first.split(' ').next() {
        Some("v") => Ok(Tool::Heaptrack),
        Some("=" | "@") => Ok(Tool::Mtrace),
        _ => Err(Cause::Bad(format!(
            "`{}` starts no file of heaptrack (`v 10400 3`) or mtrace (`= Start`)",
            excerpt(first)
        ))),
    }
}

/// Lines of a text; what is no UTF-8 in them is replaced.
struct Lines<'a> {
    text: &'a mut dyn BufRead,
    line: Vec<u8>,
    number: u64,
    is_cut: bool,
}

impl Lines<'_> {
    /// The next line that is all there, without its end.
    fn next(&mut self) -> Result<Option<&str>, Cause> {
        self.line.clear();
        let count = (&mut *self.text).take(LINE_BYTES_MOST).read_until(b'\n', &mut self.line).map_err(Cause::Read)?;
        if count == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.line.last() != Some(&b'\n') {
            if count as u64 == LINE_BYTES_MOST {
                return Err(Cause::Bad("the line has more than 1 MiB".to_owned()));
            }
            self.is_cut = true;
            // The first line says what the file is, cut or not.
            if self.number > 1 {
                return Ok(None);
            }
        }
        self.current().map(Some)
    }

    /// The line that was read last.
    fn current(&mut self) -> Result<&str, Cause> {
        if std::str::from_utf8(&self.line).is_err() {
            self.line = String::from_utf8_lossy(&self.line).into_owned().into_bytes();
        }
        let text = std::str::from_utf8(&self.line).expect("made so above");
        Ok(text.trim_end_matches(['\n', '\r']))
    }
}

/// The next word of a line as a hexadecimal number, with or without `0x`.
fn hex<'a>(words: &mut impl Iterator<Item = &'a str>, what: &str) -> Result<u64, Cause> {
    let Some(word) = words.next() else {
        return Err(Cause::Bad(format!("{what} is missing")));
    };
    let digits = word.strip_prefix("0x").unwrap_or(word);
    // `from_str_radix` would take a sign.
    let number = (!digits.starts_with('+')).then(|| u64::from_str_radix(digits, 16).ok()).flatten();
    number.ok_or_else(|| Cause::Bad(format!("{what} is no hexadecimal number: `{}`", excerpt(word))))
}

fn excerpt(line: &str) -> String {
    super::excerpt(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::trace::TraceReader;

    fn imported(text: &str) -> Result<(String, Imported), String> {
        let mut bytes = text.as_bytes();
        let (trace, imported) = import("run", &mut bytes, None, Vec::new()).map_err(|error| error.to_string())?;
        let mut reader = TraceReader::from_source("trace", io::Cursor::new(trace.clone())).expect("a trace");
        while reader.next_record().expect("what is written can be read").is_some() {}
        Ok((String::from_utf8(trace).expect("text"), imported))
    }

    fn error(text: &str) -> String {
        imported(text).expect_err("it is malformed")
    }

    const RAW: &str = "v 10400 3\nx 2 ls\nX ls /\nt 7f 0\n+ 64 1 aa0\nc 5\n+ 18 1 bb0\n- aa0\nR 1\n- cc0\n";
    const INTERPRETED: &str = "v 10400 3\nX ls /\ns 2 ls\nt 1 0\na 64 1\na 18 1\n+ 0\n+ 1\nc 5\n+ 0\n- 0\n- 1\n";
    const MTRACE: &str = "= Start\n@ ./a b:[0x11c0] + 0xaa0 0x64\n@ ./m:[0x1] < 0xaa0\n@ ./m:[0x1] > 0xbb0 0xc8\n\
        + 0xcc0 0x5\n@ ./m:[0x2] ! 0xcc0 0x7fffffffffffffff\n@ m:(f+0x2)[0x3] + (nil) 0x7fffffffffffffff\n- 0xcc0\n\
        - 0xdd0\n= End\n";

    #[test]
    fn heaptrack_raw_keeps_addresses() {
        let (trace, said) = imported(RAW).expect("well formed");
        assert_snapshot!(trace, @"
        # heap trace v1
        # imported from heaptrack
        t 0
        m 0 1 100
        m 5000000 2 24
        f 0 1
        # ops 3 threads 1 unknown_frees 1 live_at_end 1 inferred_frees 0 refused 0
        ");
        assert_eq!((said.tool, said.is_cut), (Tool::Heaptrack, false));
    }

    #[test]
    fn heaptrack_interpreted_frees_the_newest_of_its_kind() {
        let (trace, _) = imported(INTERPRETED).expect("well formed");
        assert_snapshot!(trace, @"
        # heap trace v1
        # imported from heaptrack
        t 0
        m 0 1 100
        m 0 2 24
        m 5000000 3 100
        f 0 3
        f 0 2
        # ops 5 threads 1 unknown_frees 0 live_at_end 1 inferred_frees 0 refused 0
        ");
    }

    #[test]
    fn mtrace_with_callers_and_without() {
        let (trace, said) = imported(MTRACE).expect("well formed");
        assert_snapshot!(trace, @"
        # heap trace v1
        # imported from mtrace
        t 0
        m 0 1 100
        r 0 2 1 200
        m 0 3 5
        f 0 3
        # ops 4 threads 1 unknown_frees 1 live_at_end 1 inferred_frees 0 refused 2
        ");
        assert_eq!(said.totals.refused, 2);
    }

    #[test]
    fn a_last_line_that_is_cut_off_is_left_out() {
        let (trace, said) = imported("= Start\n+ 0xaa0 0x64\n+ 0xbb0 0x6").expect("well formed");
        assert!(said.is_cut && trace.contains("m 0 1 100\n# ops 1"), "{trace}");
    }

    #[test]
    fn a_mistake_has_its_line() {
        assert_snapshot!(error(""), @"run:0: the file is empty");
        assert_snapshot!(error("hello\n"), @"run:1: `hello` starts no file of heaptrack (`v 10400 3`) or mtrace (`= Start`)");
        assert_snapshot!(error("v 10400 2\n"), @"run:1: version 2 of heaptrack's files is not known; 3 is (heaptrack 1.4)");
        assert_snapshot!(error("v 10400 3\n+ 64\n"), @"run:2: `+ 64`: no allocation has number 100");
        assert_snapshot!(error("v 10400 3\na 64 1\n+ 0\n- 0\n- 0\n"), @"run:5: `- 0`: all blocks of this kind are free");
        assert_snapshot!(error("v 10400 3\n+ 64 1 zz\n"), @"run:2: the address is no hexadecimal number: `zz`");
        assert_snapshot!(error("v 10400 3\n+ 64 1 a b\n"), @"run:2: `+ 64 1 a b` has more than it needs");
        assert_snapshot!(error("v 10400 3\nq 1\n"), @"run:2: `q 1` is no line of heaptrack");
        assert_snapshot!(error("= Start\n+ 0xaa0\n"), @"run:2: `+ 0xaa0` is no line of mtrace");
        assert_snapshot!(error("= Start\n< 0xaa0\n- 0xbb0\n"), @"run:3: `- 0xbb0`: a `>` follows each `<`");
        assert_snapshot!(error("= Start\n> 0xaa0 0x1\n"), @"run:2: `> 0xaa0 0x1`: no `<` before it");
        assert_snapshot!(error("= Start\n+ -3 0x1\n"), @"run:2: the address is no hexadecimal number: `-3`");
    }
}
