//! What each kind of work costs in simulated time.

use framesim_models::Nanos;
use framesim_models::kernel::Work;
use framesim_workloads::spec;

use super::happened::{KINDS, Kind};
use super::process::Stage;

/// The workload's cost table for pages of one size.
#[derive(Clone, Debug)]
pub(super) struct Costs {
    table: spec::Costs,
    /// What a call costs where it does not reach the kernel's memory, by [`Kind`].
    by_kind: [u64; KINDS],
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
        let mut by_kind = [0; KINDS];
        for kind in Kind::ALL {
            by_kind[kind as usize] = base(&table, kind);
        }
        Costs { table, by_kind, zero_page: u64::try_from(zero_page).unwrap_or(u64::MAX) }
    }

    /// The cost of a service that tried such a call.
    #[inline]
    pub(super) fn of(&self, kind: Kind, stage: Stage, spent: &Spent, switched: bool) -> Nanos {
        // What goes on after a wait has paid at its beginning.
        let base = if stage == Stage::Begun { self.by_kind[kind as usize] } else { 0 };
        if spent.is_nothing() && !switched {
            return Nanos(base);
        }
        let switch = if switched { self.table.context_switch.0 } else { 0 };
        let kernel = [
            spent.system_calls.saturating_mul(self.table.system_call.0),
            spent.faults.saturating_mul(self.table.fault.0),
            spent.zeroed.saturating_mul(self.zero_page),
        ];
        Nanos(kernel.iter().fold(switch.saturating_add(base), |sum, cost| sum.saturating_add(*cost)))
    }
}

/// What a call costs where it does not reach the kernel's memory.
fn base(table: &spec::Costs, kind: Kind) -> u64 {
    match kind {
        Kind::Start => table.spawn.0,
        Kind::Exit | Kind::ExitDone | Kind::ExitLifeTime | Kind::ExitRefused => table.exit.0,
        Kind::ThreadStart => table.thread_start.0,
        Kind::ThreadEnd => table.thread_end.0,
        Kind::LifeOver | Kind::Free => table.free.0,
        Kind::Malloc | Kind::Calloc | Kind::AlignedAlloc | Kind::Realloc => table.malloc.0,
        // System calls that the kernel's own counts do not know: they take no part in an address space.
        Kind::Join | Kind::Take | Kind::Give | Kind::Spawn => table.system_call.0,
        Kind::Touch | Kind::Mmap | Kind::Munmap | Kind::DontNeed | Kind::Sleep | Kind::EndThread | Kind::Kill => 0,
    }
}
