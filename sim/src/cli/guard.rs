//! The border at which a panic, which is always a bug of ours, becomes an exit code and a report.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

/// Runs `work`; a panic in it comes back as its message and place, and nothing is printed.
///
/// # Errors
/// What the panic said.
pub fn catching<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static SAID: Mutex<Option<String>> = Mutex::new(None);
    let before = panic::take_hook();
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |at| format!(" ({}:{})", at.file(), at.line()));
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("a panic without a message");
        if let Ok(mut said) = SAID.lock() {
            *said = Some(format!("{text}{place}"));
        }
    }));
    // Whatever `work` left half done is thrown away: the command ends.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(before);
    let said = || SAID.lock().ok().and_then(|mut said| said.take()).unwrap_or_default();
    done.map_err(|_| said())
}

/// The same within one of several threads: what the panic says comes back, its place goes to nobody, and the hook of
/// [`quietly`] keeps it from the screen.
///
/// # Errors
/// What the panic said.
pub fn catching_here<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        text.unwrap_or("a panic without a message").to_owned()
    })
}

/// Runs `work` with nothing printed by panics that it catches.
pub fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let before = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(before);
    match done {
        Ok(done) => done,
        Err(payload) => panic::resume_unwind(payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_comes_back_as_text_with_its_place() {
        assert_eq!(catching(|| 7), Ok(7));
        let said = catching(|| panic!("free run 3..4 is empty")).expect_err("it panics");
        assert!(said.starts_with("free run 3..4 is empty (") && said.contains("guard.rs:"), "{said}");
    }
}
