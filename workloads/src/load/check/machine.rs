//! The machine: its memory in pages, and names of policies.

use framesim_models::frames::PolicyChoice;

use super::Found;
use crate::load::Known;
use crate::load::explain::names_help;
use crate::load::problem::{Path, Problem};
use crate::spec::{Machine, grouped};

/// Bytes of the smallest page that still tells a frame from a word, and of the largest there is.
const PAGE_BYTES: std::ops::RangeInclusive<u64> = 16..=1 << 30;
const CPUS_MOST: u64 = 4096;

pub(super) fn check(machine: &Machine, known: Known<'_>, found: &mut Found) {
    let at = Path::default().field("machine");
    let page_is_right = PAGE_BYTES.contains(&machine.page.0) && machine.page.0.is_power_of_two();
    found.unless(page_is_right, || {
        Problem::new(at.field("page"), format!("a page of {} bytes", grouped(machine.page.0)))
            .label("a power of two from 16 bytes to 1 GiB is allowed")
    });
    if page_is_right {
        memory(machine, &at, found);
    }
    found.within(&at, "cpus", machine.cpus.into(), 1..=CPUS_MOST);
    found.within(&at, "quantum", machine.quantum.0, 1..=u64::MAX);
    policy(machine, known, &at, found);
}

fn memory(machine: &Machine, at: &Path, found: &mut Found) {
    let (memory, page, reserved) = (machine.memory.0, machine.page.0, machine.reserved.0);
    let is_whole = memory >= page && memory.is_multiple_of(page);
    found.unless(is_whole, || {
        let message = format!("a memory of {} bytes is no whole number of pages", grouped(memory));
        Problem::new(at.field("memory"), message).label(format!("a multiple of {} is allowed", grouped(page)))
    });
    found.unless(reserved < memory || !is_whole, || {
        let message = format!("{} bytes of {} are reserved", grouped(reserved), grouped(memory));
        Problem::new(at.field("reserved"), message).label("less than all memory is allowed")
    });
}

fn policy(machine: &Machine, known: Known<'_>, at: &Path, found: &mut Found) {
    if let PolicyChoice::Custom { name, .. } = &machine.frames {
        found.unless(known.frames.find(name).is_some(), || {
            let names: Vec<&str> = known.frames.iter().map(|entry| entry.name).collect();
            let help = names_help(name, &names, Some("policies"));
            Problem::new(at.field("frames").field("name"), format!("unknown policy `{name}`"))
                .label("not a policy")
                .help(help)
        });
    }
}
