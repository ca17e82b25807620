//! An experiment and its workload, joined and checked: all that cells are run from.

use std::path::{Path, PathBuf};

use framesim_models::Nanos;
use framesim_models::heap::HeapChoice;
use framesim_workloads::experiment::{Experiment, Grid, Loaded, Point, Value};
use framesim_workloads::load::{self, Diagnostic, Diagnostics, Known, Setting};
use framesim_workloads::spec::{Does, Program, Workload};

use super::cell::{Broken, Key, Ran, run};
use super::journal::{Head, Part, part};
use super::measure::{self, Metric, Wanted};
use super::plan::{Plan, Shard};
use crate::Registries;
use crate::cli::input::{Source, heap_choice, policy_in_ron, set_heap};
use crate::digest::Digest;
use crate::simulation::{RESULTS_VERSION, Simulation};

/// Workloads that are checked before anything runs; of a larger grid only so many, spread evenly.
const CHECKED_MOST: u64 = 10_000;

/// Why an experiment cannot be run. What is said is complete, place and way out included.
#[derive(Debug)]
pub enum PrepareError {
    /// In a text of a user's.
    Wrong(Diagnostics),
    /// A trace that cannot be read.
    Trace(String),
}

/// An experiment that can be run.
pub struct Prepared {
    /// What it says.
    pub experiment: Experiment,
    /// Its axes, policies and heaps.
    pub grid: Grid,
    /// What is measured, in order.
    pub metrics: Vec<&'static Metric>,
    /// The first seed.
    pub seed: u64,
    /// Events of all cells together, about.
    pub events: u64,
    /// The experiment and the base workload as RON with every default written out.
    pub texts: [String; 2],
    series: Vec<&'static Metric>,
    heaps: Vec<Option<HeapChoice>>,
    source: Source,
    base: Workload,
    loaded: Loaded,
}

/// Whether it is to be run, or only what came of it to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Every workload is checked.
    Run,
    /// The texts are known to be sound, and traces need not be there.
    Read,
}

impl Prepared {
    /// Joins an experiment with its workload.
    ///
    /// # Errors
    /// [`PrepareError`], in the file that it is the fault of.
    pub fn new(
        loaded: Loaded,
        source: Source,
        registries: &Registries,
        purpose: Purpose,
    ) -> Result<Prepared, PrepareError> {
        let known = Known { frames: &registries.frames, heaps: &registries.heaps };
        let base = load::load(&source.path, source.text(), &[], known).map_err(PrepareError::Wrong)?.workload;
        let (mut grid, experiment) = (loaded.grid.clone(), loaded.experiment.clone());
        let heaps = models(&mut grid, &base, &loaded, registries)?;
        let seed = experiment.seed.unwrap_or(base.seed);
        let names = if experiment.metrics.is_empty() {
            measure::USUAL.map(str::to_owned).to_vec()
        } else {
            experiment.metrics.clone()
        };
        let metrics = names.iter().filter_map(|name| measure::find(name)).collect();
        let series = experiment.series.iter().flat_map(|series| &series.metrics);
        let series = series.filter_map(|name| measure::find(name)).collect();
        let mut written = Experiment { metrics: names, seed: Some(seed), ..experiment.clone() };
        written.workload = "workload.ron".to_owned();
        let texts = [written.to_ron(), load::written(&base)].map(|text| text.expect("what was read can be written"));
        let mut prepared =
            Prepared { experiment, grid, metrics, seed, events: 0, texts, series, heaps, source, base, loaded };
        if purpose == Purpose::Run {
            prepared.check(registries)?;
        }
        Ok(prepared)
    }

    /// Checks the workloads of all points, and adds up what they will cost.
    fn check(&mut self, registries: &Registries) -> Result<(), PrepareError> {
        let (points, models) = (self.grid.points(), self.models());
        let per_point = u64::from(models.0) * u64::from(models.1);
        let stride = (points.saturating_mul(per_point) / CHECKED_MOST).max(1);
        let (mut events, mut checked) = (0_u128, 0_u128);
        for point in (0..points).step_by(framesim_models::index(stride)) {
            for policy in 0..models.0 {
                for heap in 0..models.1 {
                    let key = Key { point, replica: 0, policy, heap };
                    let workload = self.workload(key, registries)?;
                    events += u128::from(load::events_estimated(&workload));
                    checked += 1;
                    if point == 0 {
                        self.try_models(key, &workload, registries)?;
                    }
                }
            }
        }
        let cells = u128::from(points) * u128::from(per_point) * u128::from(self.experiment.replicas.bounds().1);
        let all = events.saturating_mul(cells) / checked.max(1);
        self.events = u64::try_from(all).unwrap_or(u64::MAX);
        if self.events > self.experiment.limits.events {
            let shown = |count| crate::report::text::Count(count);
            return Err(PrepareError::Wrong(self.loaded.limit_at(
                "limits.events",
                &format!("the experiment makes about {} events", shown(self.events)),
                &format!("the limit is {}", shown(self.experiment.limits.events)),
                Some("`limits: (events: ..)` raises it"),
            )));
        }
        Ok(())
    }

    /// Builds the machine once, so that no cell finds an option wrong.
    fn try_models(&self, key: Key, workload: &Workload, registries: &Registries) -> Result<(), PrepareError> {
        let setting =
            crate::simulation::Setting { workload: workload.clone(), replica: 0, folder: self.source.folder.clone() };
        let Err(wrong) = Simulation::new(setting, registries) else { return Ok(()) };
        use crate::simulation::SetupError;
        let path = match &wrong {
            SetupError::Trace(trace) => return Err(PrepareError::Trace(trace.to_string())),
            SetupError::PolicyOptions { .. } if !self.experiment.policies.is_empty() => {
                format!("policies.{}", key.policy)
            }
            SetupError::HeapOptions { .. } if !self.experiment.heaps.is_empty() => format!("heaps.{}", key.heap),
            _ => "workload".to_owned(),
        };
        Err(PrepareError::Wrong(self.loaded.error_at(&path, &wrong.to_string(), "", None)))
    }

    /// Policies and heaps.
    #[must_use]
    pub fn models(&self) -> (u32, u32) {
        let number = |values: &[Value]| u32::try_from(values.len()).expect("a list in a file");
        (number(&self.grid.policies), number(&self.grid.heaps))
    }

    /// Its cells, or those of a shard.
    #[must_use]
    pub fn plan(&self, shard: Shard) -> Plan {
        let experiment = &self.experiment;
        Plan::new(self.grid.points(), self.models(), &experiment.replicas, experiment.confidence.get(), shard)
    }

    /// Which of the metrics decides about more replicas.
    #[must_use]
    pub fn deciding(&self) -> Option<usize> {
        use framesim_workloads::experiment::Replicas;
        let Replicas::Until { metric, .. } = &self.experiment.replicas else { return None };
        self.metrics.iter().position(|known| known.name == metric)
    }

    /// The workload of a cell's point, policy and heap; the seed is not in it yet.
    ///
    /// # Errors
    /// A value that the workload does not take, at its place in the experiment.
    pub fn workload(&self, key: Key, registries: &Registries) -> Result<Workload, PrepareError> {
        let point = self.grid.point(key.point);
        let mut settings = self.grid.settings(&point);
        settings.extend(self.grid.policies[key.policy as usize].settings.iter().cloned());
        let known = Known { frames: &registries.frames, heaps: &registries.heaps };
        let loaded = load::load(&self.source.path, self.source.text(), &settings, known);
        let mut workload = loaded.map_err(|wrong| self.blame(wrong, &point, key))?.workload;
        if let Some(heap) = &self.heaps[key.heap as usize] {
            set_heap(&mut workload, heap);
        }
        Ok(workload)
    }

    /// An error in the workload of a point, at the value of the experiment that makes it.
    fn blame(&self, wrong: Diagnostics, point: &Point, key: Key) -> PrepareError {
        let Some(first) = wrong.list.first() else { return PrepareError::Wrong(wrong) };
        let Diagnostic { message, label, help, place, .. } = first;
        let setting = place.as_ref().and_then(|(source, _)| source.checked_sub(1));
        let path = match setting {
            Some(setting) => self.place_of(setting, point, key),
            None if self.grid.axes.is_empty() && self.grid.set.is_empty() => return PrepareError::Wrong(wrong),
            None => "workload".to_owned(),
        };
        PrepareError::Wrong(match wrong.kind() {
            load::Kind::Limit => self.loaded.limit_at(&path, message, label, help.as_deref()),
            _ => self.loaded.error_at(&path, message, label, help.as_deref()),
        })
    }

    /// Where in the experiment the n-th setting of a point comes from.
    fn place_of(&self, setting: usize, point: &Point, key: Key) -> String {
        let Some(mut left) = setting.checked_sub(self.grid.set.len()) else { return "set".to_owned() };
        for (number, (axis, &place)) in self.grid.axes.iter().zip(&point.0).enumerate() {
            match left.checked_sub(axis.values[place].settings.len()) {
                Some(rest) => left = rest,
                None => return format!("axes.{number}.values.{place}"),
            }
        }
        format!("policies.{}", key.policy)
    }

    /// The seed of a cell.
    #[must_use]
    pub fn seed_of(&self, key: Key) -> u64 {
        self.seed.wrapping_add(key.replica)
    }

    /// Runs a cell, of which this is the workload.
    ///
    /// # Errors
    /// Why it has no result.
    pub fn run(&self, key: Key, workload: &Workload, registries: &Registries) -> Result<Ran, Broken> {
        let workload = Workload { seed: self.seed_of(key), ..workload.clone() };
        let every = self.experiment.series.as_ref().map(|series| Nanos(series.every.0));
        let wanted = Wanted {
            metrics: &self.metrics,
            warm_up: self.experiment.warm_up,
            series: every.map(|every| (self.series.as_slice(), every)),
            batches: self.is_single(),
        };
        run(workload, &self.source.folder, registries, &wanted)
    }

    /// Whether each point is run once: then its intervals are by batches of that run.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.experiment.replicas.bounds().1 == 1
    }

    /// Metrics of the series, and the time between two of its values.
    #[must_use]
    pub fn series(&self) -> Option<(&[&'static Metric], Nanos)> {
        let every = self.experiment.series.as_ref()?.every;
        Some((&self.series, Nanos(every.0)))
    }

    /// What a cell is called: on each axis, its policy, its heap.
    #[must_use]
    pub fn labels(&self, key: Key) -> Vec<String> {
        let point = self.grid.point(key.point);
        let mut labels: Vec<String> = self.grid.labels(&point).into_iter().map(str::to_owned).collect();
        labels.push(self.grid.policies[key.policy as usize].label.clone());
        labels.push(self.grid.heaps[key.heap as usize].label.clone());
        labels
    }

    /// The columns that these labels stand in.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        let axes = self.grid.axes.iter().map(|axis| axis.name.clone());
        axes.chain(["policy", "heap"].map(str::to_owned)).collect()
    }

    /// Who a cell is, whatever other cells the experiment has: a digest of its coordinates by name.
    #[must_use]
    pub fn identity(&self, key: Key) -> Digest {
        let mut coordinates: Vec<(String, String)> = self.columns().into_iter().zip(self.labels(key)).collect();
        coordinates.sort_unstable();
        coordinates.push(("seed".to_owned(), self.seed_of(key).to_string()));
        let text: String = coordinates.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        Digest::of("framesim cell v1", text.as_bytes())
    }

    /// What a journal of it starts with.
    ///
    /// # Errors
    /// A trace that cannot be read.
    pub fn head(&self, shard: Shard) -> Result<Head, PrepareError> {
        let text = |value: Result<String, ron::Error>| value.expect("what was read can be written");
        let it = &self.experiment;
        let mut parts = vec![
            part("the workload", "framesim workload v1", self.texts[1].as_bytes()),
            part(
                "`metrics`",
                "framesim metrics v1",
                self.metrics.iter().map(|metric| metric.name).collect::<Vec<_>>().join(" ").as_bytes(),
            ),
            part("`seed`", "framesim seed v1", &self.seed.to_le_bytes()),
        ];
        let mut field = |name: &str, value: String| {
            parts.push(part(format!("`{name}`"), "framesim experiment v1", value.as_bytes()));
        };
        field("set", text(load::written(&it.set)));
        field("axes", text(load::written(&it.axes)));
        field("policies", text(load::written(&it.policies)));
        field("heaps", text(load::written(&it.heaps)));
        field("replicas", text(load::written(&it.replicas)));
        field("compare", text(load::written(&it.compare)));
        field("warm_up", text(load::written(&it.warm_up)));
        field("series", text(load::written(&it.series)));
        field("confidence", text(load::written(&it.confidence)));
        parts.extend(self.traces()?);
        Ok(Head { program: env!("CARGO_PKG_VERSION").to_owned(), results: RESULTS_VERSION, shard, parts })
    }

    fn traces(&self) -> Result<Vec<Part>, PrepareError> {
        let mut parts = Vec::new();
        for group in &self.base.processes {
            let Does::Trace(recorded) = &group.does else { continue };
            let file = self.source.folder.join(&recorded.file);
            let bytes = std::fs::read(&file);
            let bytes = bytes.map_err(|error| PrepareError::Trace(format!("{}: {error}", file.display())))?;
            parts.push(part(format!("trace {}", recorded.file), "framesim trace v1", &bytes));
        }
        Ok(parts)
    }

    /// Where the files are that the workload names.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.source.folder
    }
}

/// Policies as the RON of workloads has them, heaps as choices; where none is named, the base's own under their names.
fn models(
    grid: &mut Grid,
    base: &Workload,
    loaded: &Loaded,
    registries: &Registries,
) -> Result<Vec<Option<HeapChoice>>, PrepareError> {
    let fail = |path: String, failure: crate::cli::exit::Failure| {
        let text = failure.to_string();
        // The command line's sentence starts with its option.
        let message = text.split_once(": ").map_or(text.as_str(), |(_, message)| message);
        PrepareError::Wrong(loaded.error_at(&path, message, "", None))
    };
    for (number, policy) in grid.policies.iter_mut().enumerate() {
        match policy.settings.first_mut() {
            Some(Setting { value, .. }) => {
                *value = policy_in_ron(registries, value).map_err(|wrong| fail(format!("policies.{number}"), wrong))?;
            }
            None => policy.label = base.machine.frames.name().to_owned(),
        }
    }
    let mut heaps = Vec::new();
    for (number, heap) in grid.heaps.iter_mut().enumerate() {
        heaps.push(match heap.settings.first() {
            Some(Setting { value, .. }) => {
                Some(heap_choice(registries, value).map_err(|wrong| fail(format!("heaps.{number}"), wrong))?)
            }
            None => {
                heap.label = own_heaps(base);
                None
            }
        });
    }
    Ok(heaps)
}

/// Heaps of the programs that groups run, each once.
fn own_heaps(base: &Workload) -> String {
    let mut names: Vec<String> = Vec::new();
    for group in &base.processes {
        let program = group.program.as_ref().and_then(|program| base.programs.get(program));
        let name =
            program.map_or_else(|| Program::default().heap.name().to_owned(), |program| program.heap.name().to_owned());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join("+")
}

/// The file of a workload that an experiment in `folder` names: beside it, else one of the library.
#[must_use]
pub fn workload_file(folder: &Path, name: &str) -> PathBuf {
    let beside = folder.join(name);
    let is_shipped = framesim_workloads::library::find(name).is_some();
    if beside.exists() || !is_shipped { beside } else { PathBuf::from(name) }
}
