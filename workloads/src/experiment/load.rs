//! From the text of an experiment file to a checked [`Experiment`], or to everything that is wrong with it.
//!
//! What its values mean is the workload's business: whoever joins the two reports a value that does not fit by
//! [`Loaded::error_at`], at its place in this file.

use super::grid::{Axis as GridAxis, Value, label_of};
use super::{Axis, Comparison, Experiment, Grid, Raw, Replicas, Values, WarmUp, values};
use crate::load::nearest::nearest;
use crate::load::problem::{Path, Problem};
use crate::load::splice::Spliced;
use crate::load::{Diagnostics, Kind, Known, Setting, parse, unreadable};
use crate::spec::grouped;

/// Columns that the results have in any case.
const COLUMNS: [&str; 8] = ["cell", "policy", "heap", "seed", "metric", "value", "unit", "time_ns"];

/// An experiment that has passed all checks, with its text for errors that come later.
pub struct Loaded {
    /// What it says.
    pub experiment: Experiment,
    /// What its axes come to.
    pub grid: Grid,
    spliced: Spliced,
}

/// Reads the experiment `text`, called `name`. `metrics` are those that can be measured; of them `over_time` those that have a series.
///
/// # Errors
/// Everything that is wrong with it: one error when it cannot be parsed, else all that the checks find.
pub fn load(
    name: &str,
    text: &str,
    metrics: &[&str],
    over_time: &[&str],
    known: Known<'_>,
) -> Result<Loaded, Diagnostics> {
    let spliced = Spliced::of(name, text);
    let fail = |spliced: Spliced, list| Err(Diagnostics { sources: spliced.sources, list });
    if let Some(wrong) = unreadable(text) {
        return fail(spliced, vec![wrong]);
    }
    let experiment: Experiment = match parse(&spliced, known) {
        Ok(experiment) => experiment,
        Err(refused) => return fail(spliced, vec![*refused.diagnostic]),
    };
    let mut check = Check { metrics, over_time, problems: Vec::new() };
    let grid = check.grid(&experiment);
    check.rest(&experiment, &grid);
    if check.problems.is_empty() {
        check.budget(&experiment, &grid);
    }
    let list: Vec<_> = check.problems.into_iter().map(|problem| problem.at(&spliced)).collect();
    if list.is_empty() { Ok(Loaded { experiment, grid, spliced }) } else { fail(spliced, list) }
}

impl Loaded {
    /// An error that was found later, at a path such as `axes.0.values.1`; where the path is not in the text, it points to the nearest
    /// value around it.
    #[must_use]
    pub fn error_at(&self, path: &str, message: &str, label: &str, help: Option<&str>) -> Diagnostics {
        self.problem(Kind::Input, path, message, label, help)
    }

    /// The same for what is right but would cost too much.
    #[must_use]
    pub fn limit_at(&self, path: &str, message: &str, label: &str, help: Option<&str>) -> Diagnostics {
        self.problem(Kind::Limit, path, message, label, help)
    }

    fn problem(&self, kind: Kind, path: &str, message: &str, label: &str, help: Option<&str>) -> Diagnostics {
        let mut problem = Problem::new(Path::parse(path), message.to_owned());
        problem.label = label.to_owned();
        problem.help = help.map(str::to_owned);
        problem.kind = kind;
        problem.names_path = false;
        Diagnostics { sources: self.spliced.sources.clone(), list: vec![problem.at(&self.spliced)] }
    }
}

struct Check<'m> {
    metrics: &'m [&'m str],
    over_time: &'m [&'m str],
    problems: Vec<Problem>,
}

fn at(path: &str) -> Path {
    Path::parse(path)
}

impl Check<'_> {
    fn wrong(&mut self, path: Path, message: impl Into<String>, label: impl Into<String>) -> &mut Problem {
        let mut problem = Problem::new(path, message.into()).label(label);
        problem.names_path = false;
        self.problems.push(problem);
        self.problems.last_mut().expect("just put there")
    }

    fn grid(&mut self, experiment: &Experiment) -> Grid {
        let axes =
            experiment.axes.iter().enumerate().map(|(number, axis)| self.axis(number, axis, experiment)).collect();
        let grid = Grid {
            set: experiment.set.iter().map(|(path, raw)| setting(path, raw)).collect(),
            axes,
            policies: choices(&experiment.policies, "machine.frames"),
            heaps: choices(&experiment.heaps, ""),
        };
        self.alike("policies", &grid.policies);
        self.alike("heaps", &grid.heaps);
        grid
    }

    fn axis(&mut self, number: usize, axis: &Axis, experiment: &Experiment) -> GridAxis {
        let here = at("axes").element(number);
        let earlier = experiment.axes[..number].iter().any(|earlier| earlier.name == axis.name);
        if axis.name.is_empty() || earlier || COLUMNS.contains(&axis.name.as_str()) {
            let label = if earlier { "another axis has this name" } else { "the results have a column of this name" };
            let label = if axis.name.is_empty() { "a name is needed" } else { label };
            self.wrong(here.field("name"), format!("axis name `{}` cannot be used", axis.name), label);
        }
        let is_cases = matches!(axis.values, Values::Cases(_));
        if axis.path.is_empty() != is_cases {
            let (message, label) = if is_cases {
                (format!("axis `{}` has a path and cases", axis.name), "cases name their own paths")
            } else {
                (format!("axis `{}` has no path", axis.name), "a `path` is needed, such as \"machine.memory\"")
            };
            self.wrong(if is_cases { here.field("path") } else { here.clone() }, message, label);
        }
        let values = self.values(&here.field("values"), axis);
        self.alike_at(&here.field("values"), &values);
        GridAxis { name: axis.name.clone(), values }
    }

    fn values(&mut self, here: &Path, axis: &Axis) -> Vec<Value> {
        let one = |text: &str| Value {
            label: label_of(text),
            settings: vec![Setting { path: axis.path.clone(), value: text.trim().to_owned() }],
        };
        let ranged = match &axis.values {
            Values::List(list) => Ok(list.iter().map(|raw| raw.get_ron().to_owned()).collect()),
            Values::Range { from, to, step } => values::range(from.get_ron(), to.get_ron(), step.get_ron()),
            Values::LogRange { from, to, points, multiple_of } => {
                let multiple_of = multiple_of.as_ref().map(|raw| raw.get_ron());
                values::log_range(from.get_ron(), to.get_ron(), *points, multiple_of)
            }
            Values::Cases(cases) => {
                let settings = |set: &std::collections::BTreeMap<String, Raw>| {
                    set.iter().map(|(path, raw)| setting(path, raw)).collect()
                };
                let cases = cases.iter().map(|case| Value { label: case.name.clone(), settings: settings(&case.set) });
                let cases: Vec<Value> = cases.collect();
                self.not_empty(here, &axis.name, cases.len());
                return cases;
            }
        };
        match ranged {
            Ok(texts) => {
                self.not_empty(here, &axis.name, texts.len());
                texts.iter().map(|text| one(text)).collect()
            }
            Err((what, wrong)) => {
                self.wrong(here.field(what), format!("`{what}` of axis `{}` {wrong}", axis.name), "");
                Vec::new()
            }
        }
    }

    fn not_empty(&mut self, here: &Path, axis: &str, values: usize) {
        if values == 0 {
            self.wrong(here.clone(), format!("axis `{axis}` has no values"), "at least one is needed");
        }
    }

    fn alike(&mut self, list: &str, values: &[Value]) {
        self.alike_at(&at(list), values);
    }

    fn alike_at(&mut self, list: &Path, values: &[Value]) {
        let mut seen = std::collections::BTreeSet::new();
        for (place, value) in values.iter().enumerate() {
            if !seen.insert(value.label.as_str()) {
                self.wrong(list.element(place), format!("`{}` is there twice", value.label), "the second one");
            }
        }
    }

    fn rest(&mut self, experiment: &Experiment, grid: &Grid) {
        for (number, metric) in experiment.metrics.iter().enumerate() {
            self.metric(at("metrics").element(number), metric, false);
            if experiment.metrics[..number].contains(metric) {
                self.wrong(at("metrics").element(number), format!("`{metric}` is there twice"), "the second one");
            }
        }
        if experiment.confidence.get() >= 1.0 {
            let found = experiment.confidence.get();
            self.wrong(
                at("confidence"),
                format!("a confidence of {found}"),
                "above 0 and below 1 is allowed, such as 0.95",
            );
        }
        self.replicas(experiment);
        self.comparisons(experiment, grid);
        if let Some(series) = &experiment.series {
            for (number, metric) in series.metrics.iter().enumerate() {
                self.metric(at("series.metrics").element(number), metric, true);
            }
            if series.every.0 == 0 {
                self.wrong(at("series.every"), "a series of every 0 ns has no end", "at least 1 ns is allowed");
            }
        }
        if experiment.warm_up == WarmUp::Until(crate::spec::Time(0)) {
            self.wrong(at("warm_up"), "a warm-up until 0 ns is none", "write `none`");
        }
    }

    fn metric(&mut self, path: Path, metric: &str, over_time: bool) {
        let known = if over_time { self.over_time } else { self.metrics };
        if known.contains(&metric) {
            return;
        }
        let help = match nearest(metric, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? `framesim list metrics` names all"),
            None => "`framesim list metrics` names all".to_owned(),
        };
        let (message, label) = if over_time && self.metrics.contains(&metric) {
            (format!("metric `{metric}` has no series"), "not a mean over time")
        } else {
            (format!("unknown metric `{metric}`"), "not a metric")
        };
        self.wrong(path, message, label).help = Some(help);
    }

    fn replicas(&mut self, experiment: &Experiment) {
        let here = at("replicas");
        let (least, most) = experiment.replicas.bounds();
        match &experiment.replicas {
            Replicas::Count(0) => {
                self.wrong(here, "no replica at all", "at least 1 is needed");
            }
            Replicas::Count(_) => {}
            Replicas::Until { metric, step, .. } => {
                self.metric(here.field("metric"), metric, false);
                if least < 2 {
                    self.wrong(
                        here.field("least"),
                        format!("an interval of {least} replicas"),
                        "at least 2 are needed",
                    );
                }
                if most < least {
                    let message = format!("`most` is {}, `least` is {}", grouped(most), grouped(least));
                    self.wrong(here.field("most"), message, "at least as many as `least`");
                }
                if *step == 0 {
                    self.wrong(here.field("step"), "a step of 0 replicas has no end", "at least 1 is needed");
                }
                if !experiment.metrics.is_empty() && !experiment.metrics.contains(metric) {
                    let message = format!("`{metric}` decides when to stop and is not measured");
                    self.wrong(here.field("metric"), message, "not among `metrics`");
                }
            }
        }
    }

    fn comparisons(&mut self, experiment: &Experiment, grid: &Grid) {
        for (number, comparison) in experiment.compare.iter().enumerate() {
            let here = at("compare").element(number);
            match comparison {
                Comparison::Policies(one, other) => self.sides(&here, 0, "policy", &grid.policies, [one, other]),
                Comparison::Heaps(one, other) => self.sides(&here, 0, "heap", &grid.heaps, [one, other]),
                Comparison::Values(axis, one, other) => match grid.axes.iter().find(|known| known.name == *axis) {
                    Some(known) => {
                        self.sides(&here, 1, &format!("value of axis `{axis}`"), &known.values, [one, other]);
                    }
                    None => {
                        let names = grid.axes.iter().map(|axis| axis.name.as_str());
                        let help = nearest(axis, names).map(|near| format!("did you mean `{near}`?"));
                        self.wrong(here.element(0), format!("no axis is called `{axis}`"), "not an axis").help = help;
                    }
                },
                Comparison::AllPolicies | Comparison::AllHeaps => {}
            }
        }
    }

    fn sides(&mut self, here: &Path, first: usize, what: &str, known: &[Value], sides: [&String; 2]) {
        for (place, side) in sides.into_iter().enumerate() {
            if known.iter().any(|value| value.label == label_of(side)) {
                continue;
            }
            let names: Vec<&str> = known.iter().map(|value| value.label.as_str()).collect();
            let help = match nearest(side, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("this experiment has {}", names.join(", ")),
            };
            let message = format!("the experiment has no {what} `{side}`");
            self.wrong(here.element(first + place), message, "nothing to compare with").help = Some(help);
        }
        if label_of(sides[0]) == label_of(sides[1]) {
            self.wrong(here.clone(), format!("`{}` is compared with itself", sides[0]), "");
        }
    }

    fn budget(&mut self, experiment: &Experiment, grid: &Grid) {
        let most = cells_most(experiment, grid);
        if most > u128::from(experiment.limits.cells) {
            let shown = u64::try_from(most).map_or_else(|_| format!("more than {}", grouped(u64::MAX)), grouped);
            let problem = self.wrong(
                at("axes"),
                format!("the experiment has {shown} cells"),
                format!("the limit is {}", grouped(experiment.limits.cells)),
            );
            problem.kind = Kind::Limit;
            problem.help = Some("`limits: (cells: ..)` raises it".to_owned());
        }
        let last_seed = experiment.seed.unwrap_or(0).checked_add(experiment.replicas.bounds().1);
        if last_seed.is_none() {
            self.wrong(at("seed"), "the last replica's seed is beyond 64 bits", "a smaller seed is needed");
        }
    }
}

/// Cells of an experiment at most.
fn cells_most(experiment: &Experiment, grid: &Grid) -> u128 {
    let models = (grid.policies.len() * grid.heaps.len()) as u128;
    u128::from(grid.points()) * models * u128::from(experiment.replicas.bounds().1)
}

fn setting(path: &str, raw: &Raw) -> Setting {
    Setting { path: path.to_owned(), value: raw.get_ron().trim().to_owned() }
}

/// Policies or heaps; without any, one that sets nothing and has no name.
fn choices(list: &[Raw], path: &str) -> Vec<Value> {
    if list.is_empty() {
        return vec![Value { label: String::new(), settings: Vec::new() }];
    }
    list.iter().map(|raw| Value { label: label_of(raw.get_ron()), settings: vec![setting(path, raw)] }).collect()
}
