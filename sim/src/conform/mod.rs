//! Holds models against recorded cases, for `framesim conform` and for tests alike.
//!
//! One file a kind of case. Each reads one case in its documented format, plays it through the models by name, and
//! gives one [`Verdict`] for each model it played: exact, or the first operation that differs. Nothing here prints or
//! opens a file.
//!
//! **Invariant.** A case that cannot be read is a [`BadCase`], never a verdict: "0 of 0 exact" cannot come about.

pub mod frames;
pub mod heap;
pub mod malloc;

use std::fmt;

/// What holding one model against one case found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The case, as it calls itself: `f017`.
    pub case: String,
    /// The model that was played: `best_fit`.
    pub model: String,
    /// Operations that were compared.
    pub operations: u64,
    /// The first operation that differs; `None` when the model is exact.
    pub differs: Option<Difference>,
}

/// The first place where a model and a recording part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Counted from 1, as a person counts the script's lines.
    pub operation: u64,
    /// The operation as the case writes it: `a 5 4`.
    pub request: String,
    /// What differs: `at`, `free`, `map`.
    pub field: &'static str,
    /// What the recording says.
    pub expected: String,
    /// What the model did.
    pub found: String,
}

impl Verdict {
    /// Whether every operation was equal.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.differs.is_none()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.differs {
            None => write!(f, "{} {}: exact, {} operations", self.case, self.model, self.operations),
            Some(differs) => write!(f, "{} {}: {differs}", self.case, self.model),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { operation, request, field, expected, found } = self;
        write!(f, "operation {operation} ({request}): {field} is {found}, expected {expected}")
    }
}

/// A case that is not in the documented format, or that names a model nobody has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCase(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(differs: Option<Difference>) -> String {
        Verdict { case: "f017".to_owned(), model: "best_fit".to_owned(), operations: 6, differs }.to_string()
    }

    #[test]
    fn a_verdict_is_one_line_with_the_first_operation_that_differs() {
        assert_eq!(verdict(None), "f017 best_fit: exact, 6 operations");
        let differs = Difference {
            operation: 5,
            request: "a 5 4".to_owned(),
            field: "at",
            expected: "refused".to_owned(),
            found: "0".to_owned(),
        };
        assert_eq!(verdict(Some(differs)), "f017 best_fit: operation 5 (a 5 4): at is 0, expected refused");
    }
}
