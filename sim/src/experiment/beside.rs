//! Where comparisons are made: by whoever adds the cells, or beside them on a thread of their own. What is written is the same.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::cell::Key;
use super::compare::{Compared, Comparer};
use super::measure::Fixed;
use crate::cli::exit::Failure;

/// Cells that the thread may be behind: so memory does not grow with their number.
const BEHIND_MOST: usize = 1024;

/// Compares cells as they come, in order.
pub(super) enum Comparing<'scope, 'p> {
    /// In between.
    Here(Box<Comparer<'p>>),
    /// On another thread.
    Beside { cells: SyncSender<(Key, Vec<Option<Fixed>>)>, thread: ScopedJoinHandle<'scope, Result<Compared, Failure>> },
}

impl<'scope, 'p: 'scope> Comparing<'scope, 'p> {
    /// Starts the thread.
    pub(super) fn beside(mut comparer: Comparer<'p>, scope: &'scope Scope<'scope, '_>) -> Comparing<'scope, 'p> {
        let (cells, come) = sync_channel::<(Key, Vec<Option<Fixed>>)>(BEHIND_MOST);
        let thread = scope.spawn(move || {
            for (key, values) in come {
                comparer.add(key, &values)?;
            }
            comparer.finish()
        });
        Comparing::Beside { cells, thread }
    }

    pub(super) fn add(&mut self, key: Key, values: &[Option<Fixed>]) -> Result<(), Failure> {
        match self {
            Comparing::Here(comparer) => comparer.add(key, values),
            Comparing::Beside { cells, .. } => {
                // A thread that has stopped says why at the end.
                let _ = cells.send((key, values.to_vec()));
                Ok(())
            }
        }
    }

    pub(super) fn finish(self) -> Result<Compared, Failure> {
        match self {
            Comparing::Here(comparer) => comparer.finish(),
            Comparing::Beside { cells, thread } => {
                drop(cells);
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
        }
    }
}
