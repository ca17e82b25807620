//! How a command ends.
//!
//! **Invariant.** Every path out of [`main`](super::main) is one of these codes; 101 (a panic) and 134 (an abort) are not. Only
//! `framesim record` may end with any other: that of the program it recorded.

use std::fmt;
use std::io;
use std::path::Path;

/// Why a command did not end well; each kind has its exit code.
#[derive(Debug)]
pub enum Failure {
    /// Bad input or usage: 2. The text is complete, place and way out included.
    Input(String),
    /// Usage that clap has already complained about: 2.
    Usage,
    /// An invariant broke, which is a bug of framesim: 3.
    Broken(Breakage),
    /// A digest or a recorded case differs: 4. What differs has been printed already.
    Mismatch,
    /// A file, folder or disk: 5.
    Io(String),
    /// Over a resource limit, said before anything runs: 6.
    Limit(String),
    /// Of several inputs, each by itself; the first decides the code.
    Several(Vec<Failure>),
    /// The reader of the output went away: 0, quietly.
    Closed,
    /// All went well, and the program that was recorded ended with this code.
    Program(u8),
}

/// A broken invariant, with all that is needed to see it again.
#[derive(Debug)]
pub struct Breakage {
    /// The invariant, with the values that show it.
    pub what: String,
    /// The run's seed.
    pub seed: u64,
    /// The event after which it was found; `None` before the first.
    pub event: Option<u64>,
    /// The command that shows it again.
    pub again: String,
}

impl Failure {
    /// The process's exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Failure::Closed => 0,
            Failure::Program(code) => *code,
            Failure::Input(_) | Failure::Usage => 2,
            Failure::Broken(_) => 3,
            Failure::Mismatch => 4,
            Failure::Io(_) => 5,
            Failure::Limit(_) => 6,
            Failure::Several(failures) => failures.first().map_or(0, Failure::code),
        }
    }

    /// A failure to read or write `path`.
    #[must_use]
    pub fn at(path: &Path, doing: &str, error: &io::Error) -> Failure {
        Failure::Io(format!("{}: cannot be {doing}: {}", path.display(), cause(error)))
    }
}

/// What `stdout` said.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Io(format!("standard output: cannot be written: {}", cause(&error))),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Input(text) | Failure::Io(text) | Failure::Limit(text) => f.write_str(text),
            Failure::Broken(breakage) => breakage.fmt(f),
            Failure::Several(failures) => failures.iter().try_for_each(|failure| writeln!(f, "{failure}")),
            Failure::Usage | Failure::Mismatch | Failure::Closed | Failure::Program(_) => Ok(()),
        }
    }
}

impl fmt::Display for Breakage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "an invariant broke, which is a bug of framesim: {}", self.what)?;
        match self.event {
            Some(event) => writeln!(f, "  seed {}, found after event {event}", self.seed)?,
            None => writeln!(f, "  seed {}, found before the first event", self.seed)?,
        }
        write!(f, "  to see it again: {}", self.again)
    }
}

/// The system's words without Rust's " (os error 28)".
fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is_one() {
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).code(), 0);
        let full = Failure::from(io::Error::from_raw_os_error(28));
        assert_eq!(full.code(), 5);
        assert_eq!(full.to_string(), "standard output: cannot be written: no space left on device");
    }

    #[test]
    fn a_broken_invariant_says_how_to_see_it_again() {
        let breakage = Breakage {
            what: "free run 3..4 touches the one below it".to_owned(),
            seed: 7,
            event: Some(812),
            again: "framesim run web.ron --seed 7 --check".to_owned(),
        };
        insta::assert_snapshot!(Failure::Broken(breakage), @r"
        an invariant broke, which is a bug of framesim: free run 3..4 touches the one below it
          seed 7, found after event 812
          to see it again: framesim run web.ron --seed 7 --check
        ");
    }
}
