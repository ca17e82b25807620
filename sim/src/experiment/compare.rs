//! Comparisons, pair by pair under the same seed; and tables of means, from the rows of `cells.csv`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use framesim_models::index;

use super::cell::Key;
use super::csv::{rows, write_row};
use super::measure::{Fixed, Metric};
use super::prepare::Prepared;
use crate::cli::exit::Failure;
use crate::cli::output::FileWriter;
use crate::statistics::{Measure, Moments, Paired, Scale, Sentence, opposite_order};

/// Values of a metric by replica; none where the run has none.
type Values = Vec<Option<f64>>;

/// The values of two sides by metric, of those that are there.
type Sides = [Option<Vec<Values>>; 2];

/// Compares cells as they come, in order.
pub(super) struct Comparer<'p> {
    prepared: &'p Prepared,
    /// `("policy", "first_fit", "best_fit")`.
    wanted: Vec<(String, String, String)>,
    to: FileWriter,
    report: String,
    point: Option<u64>,
    /// Of the current point: by policy and heap, then metric.
    at_point: BTreeMap<(u32, u32), Vec<Values>>,
    /// Of points that are compared with other points: by the comparison and all other coordinates, one side's values and the other's.
    across: BTreeMap<(usize, Vec<String>), Sides>,
}

/// Two sides under the same seeds.
struct Pair<'a> {
    on: &'a str,
    one: &'a str,
    other: &'a str,
    /// Labels of the coordinates; what is compared is empty.
    place: Vec<String>,
    values: [&'a [Values]; 2],
}

const NUMBERS: [&str; 17] = [
    "on",
    "one",
    "other",
    "metric",
    "pairs",
    "one_mean",
    "other_mean",
    "difference",
    "low",
    "high",
    "bootstrap_low",
    "bootstrap_high",
    "above",
    "below",
    "ties",
    "sign_chance",
    "effect",
];

impl<'p> Comparer<'p> {
    pub(super) fn new(prepared: &'p Prepared, mut to: FileWriter) -> Result<Comparer<'p>, Failure> {
        let columns = prepared.columns();
        let head = columns.iter().map(String::as_str).chain(NUMBERS);
        write_row(&mut to, head).map_err(|error| to.failure(&error))?;
        let wanted = prepared.grid.comparisons(&prepared.experiment);
        let (at_point, across) = (BTreeMap::new(), BTreeMap::new());
        Ok(Comparer { prepared, wanted, to, report: String::new(), point: None, at_point, across })
    }

    pub(super) fn add(&mut self, key: Key, values: &[Option<Fixed>]) -> Result<(), Failure> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        if self.point != Some(key.point) {
            self.end_point()?;
            self.point = Some(key.point);
        }
        let metrics = self.prepared.metrics.len();
        let of_cell = self.at_point.entry((key.policy, key.heap)).or_insert_with(|| vec![Vec::new(); metrics]);
        for (of_metric, value) in of_cell.iter_mut().zip(values) {
            of_metric.resize(index(key.replica), None);
            of_metric.push(value.map(Fixed::to_f64));
        }
        Ok(())
    }

    fn end_point(&mut self) -> Result<(), Failure> {
        let at_point = std::mem::take(&mut self.at_point);
        let Some(point) = self.point else { return Ok(()) };
        let columns = self.prepared.columns();
        let wanted = self.wanted.clone();
        for (number, (on, one, other)) in wanted.iter().enumerate() {
            let column = columns.iter().position(|name| name == on).expect("comparisons are of a column");
            let mut sides: BTreeMap<Vec<String>, Sides> = BTreeMap::new();
            for ((policy, heap), values) in &at_point {
                let mut place = self.prepared.labels(Key { point, replica: 0, policy: *policy, heap: *heap });
                let label = std::mem::take(&mut place[column]);
                let side = [one, other].iter().position(|side| **side == label);
                let Some(side) = side else { continue };
                if on == "policy" || on == "heap" {
                    sides.entry(place).or_default()[side] = Some(values.clone());
                } else {
                    self.across.entry((number, place)).or_default()[side] = Some(values.clone());
                }
            }
            for (place, sides) in sides {
                self.pair(on, one, other, place, &sides)?;
            }
        }
        self.across_points(&wanted)
    }

    /// Those of which both sides are there.
    fn across_points(&mut self, wanted: &[(String, String, String)]) -> Result<(), Failure> {
        let is_whole = |sides: &Sides| sides.iter().all(Option::is_some);
        let whole: Vec<_> = self.across.iter().filter(|(_, sides)| is_whole(sides)).map(|(at, _)| at.clone()).collect();
        for at in whole {
            let Some(sides) = self.across.remove(&at) else { continue };
            let (on, one, other) = &wanted[at.0];
            self.pair(on, one, other, at.1, &sides)?;
        }
        Ok(())
    }

    fn pair(&mut self, on: &str, one: &str, other: &str, place: Vec<String>, sides: &Sides) -> Result<(), Failure> {
        let [Some(first), Some(second)] = sides else { return Ok(()) };
        let pair = Pair { on, one, other, place, values: [first, second] };
        let mut heading = self.heading(&pair);
        let mut resolved: Vec<(&Metric, Paired)> = Vec::new();
        for (number, &metric) in self.prepared.metrics.iter().enumerate() {
            let (one, other) = in_pairs(&pair.values[0][number], &pair.values[1][number]);
            let confidence = self.prepared.experiment.confidence.get();
            let Some(paired) = Paired::of(&one, &other, confidence, self.prepared.seed) else { continue };
            self.row(&pair, metric, [&one, &other], &paired)?;
            self.report.push_str(&std::mem::take(&mut heading));
            let name = metric.name.replace('_', " ");
            let measure = Measure { name: &name, scale: scale(metric) };
            let sentence = Sentence { one: pair.one, other: pair.other, measure, paired: &paired };
            writeln!(self.report, "{}.", crate::report::text::wrapped(&sentence.to_string(), 79))
                .expect("a string grows");
            if metric.is_fragmentation && paired.is_resolved() {
                resolved.push((metric, paired));
            }
        }
        self.flag(&pair, &resolved);
        Ok(())
    }

    /// Where all this holds: the coordinates that have several values.
    fn heading(&self, pair: &Pair<'_>) -> String {
        let grid = &self.prepared.grid;
        let several = grid.axes.iter().map(|axis| axis.values.len()).chain([grid.policies.len(), grid.heaps.len()]);
        let named = self.prepared.columns().into_iter().zip(&pair.place).zip(several);
        let named = named.filter(|((_, label), several)| !label.is_empty() && *several > 1);
        let named: Vec<String> = named.map(|((name, label), _)| format!("{name} {label}")).collect();
        let gap = if self.report.is_empty() { "" } else { "\n" };
        if named.is_empty() { gap.to_owned() } else { format!("{gap}{}:\n", named.join(", ")) }
    }

    fn flag(&mut self, pair: &Pair<'_>, resolved: &[(&Metric, Paired)]) {
        for (number, (metric, paired)) in resolved.iter().enumerate() {
            for (another, of_another) in &resolved[number + 1..] {
                let (difference, of_other) = (paired.moments.mean(), of_another.moments.mean());
                if opposite_order((difference, 0.0), (of_other, 0.0)) {
                    let text = format!(
                        "NOTE: which of {} and {} fragments less depends on the measure: {} and {} rank them in opposite order.",
                        pair.one, pair.other, metric.name, another.name
                    );
                    writeln!(self.report, "{}", crate::report::text::wrapped(&text, 80)).expect("a string grows");
                }
            }
        }
    }

    fn row(&mut self, pair: &Pair<'_>, metric: &Metric, values: [&[f64]; 2], paired: &Paired) -> Result<(), Failure> {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.9}"));
        let (student, bootstrap, signs) = (paired.student, paired.bootstrap, paired.signs);
        let numbers = [
            paired.moments.values().to_string(),
            number(Some(Moments::of(values[0]).mean())),
            number(Some(Moments::of(values[1]).mean())),
            number(Some(paired.moments.mean())),
            number(student.map(|interval| interval.low)),
            number(student.map(|interval| interval.high)),
            number(bootstrap.map(|interval| interval.low)),
            number(bootstrap.map(|interval| interval.high)),
            signs.above.to_string(),
            signs.below.to_string(),
            signs.ties.to_string(),
            number(Some(signs.chance)),
            number(paired.effect),
        ];
        let place = pair.place.iter().map(String::as_str);
        let fields =
            place.chain([pair.on, pair.one, pair.other, metric.name]).chain(numbers.iter().map(String::as_str));
        write_row(&mut self.to, fields).map_err(|error| self.to.failure(&error))
    }

    pub(super) fn finish(mut self) -> Result<(FileWriter, String), Failure> {
        self.end_point()?;
        Ok((self.to, self.report))
    }
}

/// The values of seeds that both have.
fn in_pairs(one: &Values, other: &Values) -> (Vec<f64>, Vec<f64>) {
    one.iter().zip(other).filter_map(|(one, other)| Some(((*one)?, (*other)?))).unzip()
}

fn scale(metric: &Metric) -> Scale {
    if metric.unit == "share" { Scale::Share } else { Scale::Number(metric.unit) }
}

/// Means by metric and coordinates.
#[derive(Clone, Debug)]
pub struct Table {
    /// Columns of the coordinates: the axes, `policy`, `heap`.
    pub columns: Vec<String>,
    /// A row for each metric and place, in the order of the cells.
    pub rows: Vec<Row>,
}

/// The values of one metric at one place, over seeds.
#[derive(Clone, Debug)]
pub struct Row {
    /// The metric.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Labels of the coordinates.
    pub labels: Vec<String>,
    /// A value for each seed that has one.
    pub values: Vec<f64>,
}

impl Table {
    /// From the text of `cells.csv`; none when it is something else.
    #[must_use]
    pub fn read(text: &str) -> Option<Table> {
        let mut lines = rows(text)?.into_iter();
        let head = lines.next()?;
        let places = head.len().checked_sub(5).filter(|_| head.first().is_some_and(|first| first == "cell"))?;
        if head[places + 1..] != ["seed", "metric", "value", "unit"] {
            return None;
        }
        let mut places_by_name: BTreeMap<(String, Vec<String>), usize> = BTreeMap::new();
        let mut table = Table { columns: head[1..=places].to_vec(), rows: Vec::new() };
        for mut line in lines {
            if line.len() != head.len() {
                return None;
            }
            let (unit, value, metric) = (line.pop()?, line.pop()?, line.pop()?);
            let labels = line[1..=places].to_vec();
            let at = *places_by_name.entry((metric.clone(), labels.clone())).or_insert(table.rows.len());
            if at == table.rows.len() {
                table.rows.push(Row { metric, unit, labels, values: Vec::new() });
            }
            if !value.is_empty() {
                table.rows[at].values.push(value.parse().ok()?);
            }
        }
        Some(table)
    }

    /// The metrics, in order.
    #[must_use]
    pub fn metrics(&self) -> Vec<&str> {
        let mut metrics: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !metrics.contains(&row.metric.as_str()) {
                metrics.push(&row.metric);
            }
        }
        metrics
    }

    /// Columns with more than one label.
    #[must_use]
    pub fn varied(&self) -> Vec<usize> {
        let differs = |column: &usize| self.rows.iter().any(|row| row.labels[*column] != self.rows[0].labels[*column]);
        (0..self.columns.len()).filter(differs).collect()
    }
}
