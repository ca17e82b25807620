//! What each kind of work costs in simulated time.

use framesim_models::Nanos;
use framesim_models::kernel::Work;
use framesim_workloads::requests::Request;
use framesim_workloads::spec;
use serde::{Deserialize, Serialize};

use super::happened::Call;
use super::process::{Attempt, Stage};

/// The workload's cost table for pages of one size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Costs {
    table: spec::Costs,
    /// Zeroing one page of the machine: the table's is for 4 KiB.
    zero_page: u64,
}

/// What a service made the kernel do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) system_calls: u64,
    pub(super) faults: u64,
    pub(super) zeroed: u64,
}

impl Spent {
    #[inline]
    fn is_nothing(&self) -> bool {
        self.system_calls | self.faults | self.zeroed == 0
    }

    #[inline]
    pub(super) fn between(before: &Work, after: &Work) -> Spent {
        Spent {
            system_calls: after.system_calls - before.system_calls,
            faults: after.faults - before.faults,
            zeroed: after.zeroed - before.zeroed,
        }
    }
}

impl Costs {
    pub(super) fn new(table: spec::Costs, page_bytes: u64) -> Costs {
        let zero_page = u128::from(table.zero_page.0) * u128::from(page_bytes) / 4096;
        Costs { table, zero_page: u64::try_from(zero_page).unwrap_or(u64::MAX) }
    }

    /// The cost of a service.
    #[inline]
    pub(super) fn of(&self, attempt: &Attempt, spent: &Spent, switched: bool) -> Nanos {
        if spent.is_nothing() && !switched {
            return Nanos(self.base(attempt));
        }
        let switch = if switched { self.table.context_switch.0 } else { 0 };
        let kernel = [
            spent.system_calls.saturating_mul(self.table.system_call.0),
            spent.faults.saturating_mul(self.table.fault.0),
            spent.zeroed.saturating_mul(self.zero_page),
        ];
        Nanos(kernel.iter().fold(switch.saturating_add(self.base(attempt)), |sum, cost| sum.saturating_add(*cost)))
    }

    /// What the call costs where it does not reach the kernel's memory.
    #[inline]
    fn base(&self, attempt: &Attempt) -> u64 {
        // What goes on after a wait has paid at its beginning.
        if attempt.stage != Stage::Begun {
            return 0;
        }
        match attempt.call {
            Call::Start => self.table.spawn.0,
            Call::Exit(_) | Call::Request(Request::Exit) => self.table.exit.0,
            Call::ThreadStart { .. } => self.table.thread_start.0,
            Call::ThreadEnd => self.table.thread_end.0,
            Call::LifeOver { .. } | Call::Request(Request::Free { .. }) => self.table.free.0,
            Call::Request(
                Request::Malloc { .. }
                | Request::Calloc { .. }
                | Request::AlignedAlloc { .. }
                | Request::Realloc { .. },
            ) => self.table.malloc.0,
            // System calls that the kernel's own counts do not know: they take no part in an address space.
            Call::Join | Call::Request(Request::Take { .. } | Request::Give { .. } | Request::Spawn { .. }) => {
                self.table.system_call.0
            }
            Call::Request(
                Request::Touch { .. }
                | Request::Mmap { .. }
                | Request::Munmap { .. }
                | Request::DontNeed { .. }
                | Request::Sleep
                | Request::EndThread,
            )
            | Call::Kill => 0,
        }
    }
}
