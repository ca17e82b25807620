//! `framesim fidelity`: what each heap model keeps, and how it measures on recorded calls, as a page.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use framesim_models::Coins;
use framesim_models::heap::{HeapChoice, HeapSetting};

use super::args::{Fidelity as Given, Overrides};
use super::conform::unpacked;
use super::exit::{Breakage, Failure};
use super::guard;
use super::run::{run_failure, start};
use super::subject::Subject;
use crate::Registries;
use crate::compare::{in_parallel, side};
use crate::conform::heap::{self, HeapCase, HeapVerdict, ReplaySetting};
use crate::report::fidelity::{Fidelity, Held, Measured, OnTrace, page};

/// Prints the page.
pub fn fidelity(registries: &Registries, given: &Given, screen: &mut impl Write) -> Result<(), Failure> {
    let traces = traces_in(&given.folder.join("traces"))?;
    let made = guard::catching(|| measured(registries, &given.folder, &traces));
    let (heaps, traces) = made.map_err(|what| {
        let again = format!("framesim fidelity {}", given.folder.display());
        Failure::Broken(Breakage { what, seed: 1, event: None, again })
    })??;
    let command = format!("framesim fidelity {}", given.folder.display());
    Ok(screen.write_all(page(&heaps, &traces, &command).as_bytes())?)
}

/// Files `NAME.trace` or `NAME.trace.zst`, with their names, in order.
fn traces_in(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| Failure::at(folder, "read", &error))?;
    let mut traces = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Failure::at(folder, "read", &error))?.path();
        let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if let Some((name, "trace" | "trace.zst")) = file.split_once('.') {
            traces.push((name.to_owned(), path));
        }
    }
    traces.sort();
    if traces.is_empty() {
        return Err(Failure::Input(format!("{}: no file is called NAME.trace or NAME.trace.zst", folder.display())));
    }
    Ok(traces)
}

type Page = (Vec<Fidelity>, Vec<OnTrace>);

/// All comparisons with recordings, and all replays.
fn measured(registries: &Registries, folder: &Path, traces: &[(String, PathBuf)]) -> Result<Page, Failure> {
    let names: Vec<&'static str> = registries.heaps.iter().map(|model| model.name).collect();
    let jobs = available_parallelism().map_or(1, usize::from);
    let cells = names.len() * traces.len();
    let held = in_parallel(cells, jobs, |cell| {
        let (name, (case, trace)) = (names[cell % names.len()], &traces[cell / names.len()]);
        let verdicts = verdicts(registries, folder, name, case, trace)?;
        Ok((verdicts, replayed(registries, name, trace)?))
    });
    let held: Vec<(Vec<Measured>, crate::compare::Side)> = held.into_iter().collect::<Result<_, Failure>>()?;
    let mut heaps: Vec<Fidelity> = registries
        .heaps
        .iter()
        .map(|model| Fidelity { name: model.name, summary: model.summary, verdicts: Vec::new() })
        .collect();
    let mut rows: Vec<OnTrace> = Vec::new();
    for (cell, (verdicts, side)) in held.into_iter().enumerate() {
        let heap = cell % names.len();
        if heap == 0 {
            let trace = traces[cell / names.len()].0.clone();
            rows.push(OnTrace { trace, calls: side.calls, live_peak: side.live_peak, heaps: Vec::new() });
        }
        heaps[heap].verdicts.extend(verdicts);
        let row = rows.last_mut().expect("the first heap of a trace makes its row");
        row.heaps.push(Held { held_peak: side.held_peak, resident_peak: side.resident_peak });
    }
    for heap in &mut heaps {
        heap.verdicts.sort_by_key(|measured| measured.has_threads);
    }
    Ok((heaps, rows))
}

/// The heap against the recordings of a trace that there are: one thread, and threads.
fn verdicts(
    registries: &Registries,
    folder: &Path,
    name: &str,
    case: &str,
    trace: &Path,
) -> Result<Vec<Measured>, Failure> {
    let mut verdicts = Vec::new();
    for (place, has_threads) in [("reference", false), ("threads", true)] {
        let recorded = |ending: &str| folder.join(place).join(format!("{case}.{name}.{ending}"));
        let Some(places) = packed_or_plain(&recorded("addr")) else { continue };
        let optional = |path: PathBuf| packed_or_plain(&path).map(|path| unpacked(&path)).transpose();
        let (series, maps) = (optional(recorded("csv"))?, optional(recorded("maps"))?);
        let setting = match has_threads {
            false => ReplaySetting::one_thread_with(name),
            true => ReplaySetting::threads_with(name),
        };
        let (calls, places) = (unpacked(trace)?, unpacked(&places)?);
        let case =
            HeapCase { name: case, trace: &calls, places: &places, series: series.as_deref(), maps: maps.as_deref() };
        verdicts.push(Measured { has_threads, verdict: held(registries, &case, name, &setting, trace)? });
    }
    Ok(verdicts)
}

fn held(
    registries: &Registries,
    case: &HeapCase<'_>,
    name: &str,
    setting: &ReplaySetting,
    trace: &Path,
) -> Result<HeapVerdict, Failure> {
    let coins = Coins::from_key([0; 32]);
    let built = registries.heaps.build(name, &HeapChoice::named(name), HeapSetting { coins });
    let mut built = built.expect("a name of the registry").expect("its default options");
    let verdict = heap::hold(case, name, built.as_mut(), setting);
    verdict.map_err(|bad| Failure::Input(format!("{}: {bad}", trace.display())))
}

fn packed_or_plain(path: &Path) -> Option<PathBuf> {
    let packed = PathBuf::from(format!("{}.zst", path.display()));
    [packed, path.to_owned()].into_iter().find(|path| path.exists())
}

/// The heap on the whole machine.
fn replayed(registries: &Registries, name: &str, trace: &Path) -> Result<crate::compare::Side, Failure> {
    let subject = Subject::open(trace, "4GiB", false)?;
    let overrides = Overrides { heap: Some(name.to_owned()), ..Overrides::default() };
    let loaded = subject.source.load(registries, &overrides)?;
    side(start(registries, &subject.source, &loaded)?, Some(name.to_owned())).map_err(run_failure)
}
