//! `framesim import`: recordings of other tools as heap traces.

use std::io::Write;

use framesim_workloads::trace::import::{self, ImportFault, Imported};

use super::args::{Import, Tool};
use super::exit::Failure;
use super::trace_file::TraceFile;
use crate::report::text::{Bytes, Count, counted};

/// Turns a file into a heap trace.
pub fn import(given: &Import, screen: &mut impl Write) -> Result<(), Failure> {
    let mut text = import::open(&given.file).map_err(|error| Failure::at(&given.file, "read", &error))?;
    let tool = given.from.map(|tool| match tool {
        Tool::Heaptrack => import::Tool::Heaptrack,
        Tool::Mtrace => import::Tool::Mtrace,
    });
    let name = given.file.display().to_string();
    let out = TraceFile::create(&given.out)?;
    let (out, imported) = import::import(&name, &mut *text, tool, out).map_err(|error| match error.fault() {
        ImportFault::Input => Failure::Input(error.to_string()),
        ImportFault::Limit => Failure::Limit(error.to_string()),
        ImportFault::Read | ImportFault::Write => Failure::Io(error.to_string()),
    })?;
    out.finish(&given.out)?;
    Ok(screen.write_all(text_of(given, &imported).as_bytes())?)
}

fn text_of(given: &Import, imported: &Imported) -> String {
    let totals = imported.totals;
    let mut text = format!(
        "{}: imported from {}\n  {}, peak {}, {} live at the end\n",
        given.out.display(),
        imported.tool,
        counted(totals.calls, "call", "calls"),
        Bytes(totals.peak_bytes),
        counted(totals.live_at_end, "block", "blocks"),
    );
    let mut say = |count: u64, what: &str| {
        if count > 0 {
            text.push_str(&format!("  {} {what}\n", Count(count)));
        }
    };
    say(totals.refused, "refused, left out");
    say(totals.unknown, "of blocks that the recording did not see made");
    say(totals.inferred, "frees that the recording missed, put in");
    say(imported.is_cut.into(), "last line, cut off, left out");
    text
}
