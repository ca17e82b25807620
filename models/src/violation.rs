//! A broken invariant: always a bug of ours, never of the input.

/// What `check` found wrong, with the values that show it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

/// `Ok` while `invariant` holds.
///
/// # Errors
/// The violation that `message` describes; it is built only then.
pub fn ensure(invariant: bool, message: impl FnOnce() -> String) -> Result<(), Violation> {
    if invariant { Ok(()) } else { Err(Violation(message())) }
}
