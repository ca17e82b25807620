//! `framesim compare`: the same requests under several heaps and frame policies.

use std::io::Write;
use std::num::NonZero;
use std::thread::available_parallelism;

use serde::Serialize;

use super::args::{Compare, Overrides};
use super::exit::{Breakage, Failure};
use super::guard;
use super::input::{heap_choice, policy_choice};
use super::output::FileWriter;
use super::run::{Talk, run_failure, start};
use super::subject::{Subject, names_of};
use super::words::joined;
use crate::Registries;
use crate::compare::requests::{Asked, Common};
use crate::compare::{self, Side};
use crate::report::compare::{Sides, heaps, heaps_in_words, policies, policies_in_words, requests_line};
use crate::report::text::{COLUMNS, wrapped};
use crate::simulation::RESULTS_VERSION;

/// Seeds at most: each is a run of every side.
const SEEDS_MAX: u32 = 10_000;

/// Runs all sides and says how they compare.
pub fn compare(registries: &Registries, given: &Compare, talk: Talk, screen: &mut impl Write) -> Result<(), Failure> {
    let subject = Subject::open(&given.file, &given.memory, given.one_thread)?;
    let plan = Plan::of(registries, given, &subject)?;
    let sides = run_all(registries, given, &subject, &plan)?;
    let common = common(&sides, &plan, given)?;
    if let Some(path) = &given.series {
        write_series(&sides, FileWriter::create(path)?)?;
    }
    let about = subject.source.load(registries, &plan.overrides(0))?.workload.about;
    let report = Report { name: &subject.source.name, about: &about, plan: &plan, sides: &sides, common: &common };
    let text = if given.json { report.json()? } else { report.text(talk) };
    Ok(screen.write_all(text.as_bytes())?)
}

/// Which runs there are: for each policy every heap, for each of these every seed.
struct Plan {
    base: Overrides,
    /// `None` stands for what the workload says.
    policies: Vec<Option<String>>,
    heaps: Vec<Option<String>>,
    first_seed: u64,
    seeds: u64,
}

impl Plan {
    fn of(registries: &Registries, given: &Compare, subject: &Subject) -> Result<Plan, Failure> {
        let all_heaps = || registries.heaps.iter().map(|model| model.name.to_owned()).collect();
        let all_policies = || registries.frames.iter().map(|model| model.name.to_owned()).collect();
        let list = |given: &Option<String>, all: &dyn Fn() -> Vec<String>| match given.as_deref() {
            None => Vec::new(),
            Some(list) if list.trim() == "all" => all(),
            Some(list) => names_of(list),
        };
        let mut heaps: Vec<String> = list(&given.heap, &all_heaps);
        let policies: Vec<String> = list(&given.policy, &all_policies);
        heaps.iter().try_for_each(|heap| heap_choice(registries, heap).map(drop))?;
        policies.iter().try_for_each(|policy| policy_choice(registries, policy).map(drop))?;
        for (option, names) in [("heap", &heaps), ("policy", &policies)] {
            if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
                return Err(Failure::Input(format!("--{option}: `{}` is named twice", twice.1)));
            }
        }
        if heaps.is_empty() && policies.is_empty() {
            heaps = all_heaps();
        }
        let base = Overrides { set: given.set.clone(), until: given.until.clone(), ..Overrides::default() };
        let base = subject.overrides(registries, &base)?;
        let workload_seed = subject.source.load(registries, &base)?.workload.seed;
        let optional = |names: Vec<String>| match names.is_empty() {
            true => vec![None],
            false => names.into_iter().map(Some).collect(),
        };
        Ok(Plan {
            base,
            policies: optional(policies),
            heaps: optional(heaps),
            first_seed: given.seed.unwrap_or(workload_seed),
            seeds: given.seeds.into(),
        })
    }

    fn runs(&self) -> u64 {
        self.policies.len() as u64 * self.heaps.len() as u64 * self.seeds
    }

    /// Policy, heap and seed of a run.
    fn cell(&self, run: u64) -> (Option<&String>, Option<&String>, u64) {
        let (side, seed) = (run / self.seeds, run % self.seeds);
        let heaps = self.heaps.len() as u64;
        let at = |names: &'_ [Option<String>], place: u64| framesim_models::index(place).min(names.len() - 1);
        let policy = self.policies[at(&self.policies, side / heaps)].as_ref();
        let heap = self.heaps[at(&self.heaps, side % heaps)].as_ref();
        (policy, heap, self.first_seed.wrapping_add(seed))
    }

    fn overrides(&self, run: u64) -> Overrides {
        let (policy, heap, seed) = self.cell(run);
        Overrides {
            seed: Some(seed),
            policy: policy.cloned(),
            heap: heap.cloned().or_else(|| self.base.heap.clone()),
            ..self.base.clone()
        }
    }

    /// The command of one side.
    fn again(&self, run: u64, given: &Compare) -> String {
        let (policy, heap, seed) = self.cell(run);
        let file = given.file.display().to_string();
        let mut words = vec!["framesim".to_owned(), "compare".to_owned(), file, format!("--seed={seed}")];
        words.extend(policy.map(|policy| format!("--policy={policy}")));
        words.extend(heap.map(|heap| format!("--heap={heap}")));
        joined(words.iter().map(String::as_str))
    }
}

fn run_all(registries: &Registries, given: &Compare, subject: &Subject, plan: &Plan) -> Result<Vec<Side>, Failure> {
    let jobs = given
        .jobs
        .map_or_else(|| available_parallelism().map_or(1, NonZero::get), |jobs| framesim_models::index(jobs.into()));
    let work = |run: usize| {
        let run = run as u64;
        let loaded = subject.source.load(registries, &plan.overrides(run))?;
        let simulation = start(registries, &subject.source, &loaded)?;
        let heap = plan.cell(run).1.cloned().or_else(|| plan.base.heap.clone());
        compare::side(simulation, heap).map_err(run_failure)
    };
    let count = framesim_models::index(plan.runs());
    let sides = guard::catching(|| compare::in_parallel(count, jobs, work));
    let sides = sides.map_err(|what| broken(what, plan.first_seed, plan.again(0, given)))?;
    sides.into_iter().collect()
}

fn broken(what: String, seed: u64, again: String) -> Failure {
    Failure::Broken(Breakage { what, seed, event: None, again })
}

/// What all sides were asked for: of each seed, the same.
fn common(sides: &[Side], plan: &Plan, given: &Compare) -> Result<Common, Failure> {
    let seeds = framesim_models::index(plan.seeds);
    let mut all = Vec::new();
    for seed in 0..seeds {
        let runs: Vec<&Asked> = sides.iter().skip(seed).step_by(seeds).map(|side| &side.asked).collect();
        let found = Asked::common(&runs).ok_or_else(|| {
            let what = "two sides of a comparison were asked different things".to_owned();
            broken(what, plan.first_seed + seed as u64, plan.again(seed as u64, given))
        })?;
        all.push(found);
    }
    Ok(match all[..] {
        [one] => one,
        _ => Common::of_seeds(&all),
    })
}

/// One row for each side and moment.
fn write_series(sides: &[Side], mut file: FileWriter) -> Result<(), Failure> {
    let mut text = String::from("heap,policy,seed,call,time_ns,live,held,internal,external,resident\n");
    for side in sides {
        let heap = quoted(side.heap.as_deref().unwrap_or(""));
        for row in side.series.rows() {
            let levels = &row.levels;
            let numbers = [
                side.seed,
                row.calls,
                row.time.0,
                levels.live_bytes,
                levels.held_bytes,
                levels.internal_bytes,
                levels.external_bytes,
                levels.resident_bytes,
            ];
            let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
            text.push_str(&format!("{heap},{},{}\n", quoted(&side.policy), numbers.join(",")));
        }
    }
    file.write_all(text.as_bytes()).map_err(|error| file.failure(&error))?;
    file.finish()
}

/// A cell of a CSV file.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

struct Report<'a> {
    name: &'a str,
    about: &'a str,
    plan: &'a Plan,
    sides: &'a [Side],
    common: &'a Common,
}

#[derive(Serialize)]
struct Document<'a> {
    workload: &'a str,
    about: &'a str,
    results_version: u32,
    first_seed: u64,
    seeds: u64,
    /// Requests that all sides made, and their digest.
    requests: u64,
    request_digest: String,
    /// Whether these are all requests of all sides.
    requests_are_all: bool,
    runs: &'a [Side],
}

impl Report<'_> {
    fn json(&self) -> Result<String, Failure> {
        let document = Document {
            workload: self.name,
            about: self.about,
            results_version: RESULTS_VERSION,
            first_seed: self.plan.first_seed,
            seeds: self.plan.seeds,
            requests: self.common.requests,
            request_digest: self.common.digest.to_string(),
            requests_are_all: self.common.is_all,
            runs: self.sides,
        };
        let text = serde_json::to_string_pretty(&document);
        Ok(text.map_err(|error| Failure::Io(error.to_string()))? + "\n")
    }

    fn text(&self, talk: Talk) -> String {
        let about = if self.about.is_empty() { String::new() } else { format!(": {}", self.about) };
        let mut text = wrapped(&format!("{}{about}", self.name), COLUMNS) + "\n";
        let last = self.plan.first_seed.wrapping_add(self.plan.seeds - 1);
        let seeds = match self.plan.seeds {
            1 => format!("seed {last}"),
            _ => format!("seeds {} to {last}; numbers are means over them", self.plan.first_seed),
        };
        text.push_str(&format!("{seeds}\n{}\n", requests_line(self.common)));
        let runs = framesim_models::index(self.plan.seeds);
        let sides: Vec<Sides<'_>> =
            self.sides.chunks(runs).enumerate().map(|(place, runs)| self.side(place, runs)).collect();
        let calls_heaps = self.sides.iter().any(|side| side.calls > 0);
        if self.plan.heaps[0].is_some() && calls_heaps {
            text.push_str(&heaps(&sides));
            text.push_str(&format!("\n{}", heaps_in_words(&sides)));
        }
        if self.plan.policies[0].is_some() {
            let gap = if self.plan.heaps[0].is_some() && calls_heaps { "\n" } else { "" };
            text.push_str(&format!("{gap}{}\n{}", policies(&sides), policies_in_words(&sides)));
        }
        if self.plan.heaps[0].is_some() && !calls_heaps {
            text.push_str("No heap was ever called: all heaps are alike to this workload.\n");
        }
        if !talk.quiet && self.plan.heaps[0].is_some() && calls_heaps {
            let terms =
                "average: after each call of a heap; int. and ext.: internal and external fragmentation; ref.: refused";
            text.push_str(&format!("\n{}\n", wrapped(terms, COLUMNS)));
        }
        text
    }

    fn side<'a>(&'a self, place: usize, runs: &'a [Side]) -> Sides<'a> {
        let (policy, heap, _) = self.plan.cell(place as u64 * self.plan.seeds);
        Sides { heap: heap.map(String::as_str), policy: policy.map(String::as_str), runs }
    }
}

/// The number of seeds that an option gives.
pub fn seeds(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(seeds) if (1..=SEEDS_MAX).contains(&seeds) => Ok(seeds),
        _ => Err(format!("1 to {SEEDS_MAX} seeds can be compared")),
    }
}
