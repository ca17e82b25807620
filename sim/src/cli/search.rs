//! `framesim search`: the worst case of a policy.

use std::fmt::Write as _;
use std::io::Write;

use framesim_workloads::load::{self, Known, Loaded, Setting};

use super::args::{Overrides, Search};
use super::exit::Failure;
use super::input::{Source, reported};
use super::output::FileWriter;
use super::progress::Ticker;
use super::run::{Talk, trace_failure};
use super::under::under;
use super::words::joined;
use crate::Registries;
use crate::report::text::{Count, counted, wrapped};
use crate::search::{Case, Found, search as search_cases};
use crate::shrink::Under;
use crate::simulation::{RunError, Setting as RunSetting, Simulation};

/// Looks for the worst case and writes it as a workload.
pub fn search(registries: &Registries, given: &Search, talk: Talk, screen: &mut impl Write) -> Result<(), Failure> {
    let source = Source::open(&given.file)?;
    let hunt = Hunt {
        registries,
        given,
        source: &source,
        under: match &given.under {
            Some(names) => under(registries, names)?,
            None => Under::default(),
        },
        against: given.against.as_deref().map(|names| under(registries, names)).transpose()?,
    };
    // A mistake in the file or in a path is said before anything runs, by the file as it is and with every field set.
    for place in [None, Some(0)] {
        hunt.load(&Case { seed: 1, places: vec![place; given.vary.len()] })?;
    }
    let ticker = Ticker::new(talk.quiet);
    let mut tried = 0;
    let places: Vec<u64> = given.vary.iter().map(Axis::places).collect();
    let (found, tried) = search_cases(given.seeds, &places, given.tries, |case| {
        tried += 1;
        ticker.say(|| format!("{} cases tried", Count(tried)));
        hunt.badness(case)
    })?;
    drop(ticker);
    let Some(worst) = found.last() else {
        let tried = counted(tried, "case", "cases");
        return Err(Failure::Limit(format!("{}: none of {tried} could be run to its end", given.file.display())));
    };
    let mut out = FileWriter::create(&given.out)?;
    let text = hunt.text(worst)?;
    out.write_all(text.as_bytes()).map_err(|error| out.failure(&error))?;
    out.finish()?;
    Ok(screen.write_all(hunt.report(&found, tried).as_bytes())?)
}

struct Hunt<'a> {
    registries: &'a Registries,
    given: &'a Search,
    source: &'a Source,
    under: Under,
    against: Option<Under>,
}

impl Hunt<'_> {
    fn settings(&self, case: &Case) -> Vec<Setting> {
        let mut settings = vec![Setting { path: "seed".to_owned(), value: case.seed.to_string() }];
        for (axis, place) in self.given.vary.iter().zip(&case.places) {
            settings.extend(place.map(|place| Setting { path: axis.path.clone(), value: axis.value(place) }));
        }
        settings
    }

    fn load_with(&self, settings: &[Setting]) -> Result<Loaded, Failure> {
        let known = Known { frames: &self.registries.frames, heaps: &self.registries.heaps };
        load::load(&self.source.path, self.source.text(), settings, known).map_err(|wrong| reported(&wrong))
    }

    fn load(&self, case: &Case) -> Result<Loaded, Failure> {
        self.load_with(&self.settings(case))
    }

    /// How bad; `None` where the case is refused or cannot be run to its end.
    fn badness(&self, case: &Case) -> Result<Option<i128>, Failure> {
        let Ok(loaded) = self.load(case) else { return Ok(None) };
        let Some(value) = self.measured(&loaded, &self.under)? else { return Ok(None) };
        let Some(against) = &self.against else { return Ok(Some(value.into())) };
        let other = self.measured(&loaded, against)?;
        Ok(other.map(|other| i128::from(value) - i128::from(other)))
    }

    fn measured(&self, loaded: &Loaded, under: &Under) -> Result<Option<u64>, Failure> {
        let workload = under.of(&loaded.workload);
        let setting = RunSetting { workload, replica: 0, folder: self.source.folder.clone() };
        let Ok(mut simulation) = Simulation::new(setting, self.registries) else { return Ok(None) };
        match simulation.run() {
            Ok(()) => Ok(Some(self.given.worst.of(&simulation.summary()))),
            Err(RunError::Trace(error)) => Err(trace_failure(&error)),
            Err(_) => Ok(None),
        }
    }

    /// The workload of a case as a file of its own: the models that it was found under are in it.
    fn text(&self, found: &Found) -> Result<String, Failure> {
        let mut settings = self.settings(&found.case);
        let overrides = |policy: Option<String>| Overrides { policy, ..Overrides::default() };
        if let Some(names) = &self.given.under {
            let is_heap =
                |name: &str| self.registries.heaps.iter().any(|heap| name.split('(').next() == Some(heap.name));
            for name in names.split('+').map(str::trim) {
                if is_heap(name) {
                    let programs = self.load(&found.case)?.workload.programs;
                    let heap =
                        |program: &String| Setting { path: format!("programs.{program}.heap"), value: name.to_owned() };
                    settings.extend(programs.keys().map(heap));
                } else {
                    settings.extend(self.source.settings(self.registries, &overrides(Some(name.to_owned())))?);
                }
            }
        }
        let loaded = self.load_with(&settings)?;
        let mut text = String::new();
        let what = format!("Found by framesim search in {}: {}.", self.given.file.display(), self.said(found));
        for line in wrapped(&what, 100).lines() {
            writeln!(text, "// {line}").expect("a string grows");
        }
        text.push_str(loaded.text());
        Ok(text)
    }

    fn said(&self, found: &Found) -> String {
        let measure = self.given.worst;
        let under = self.given.under.as_deref().map_or_else(String::new, |names| format!(" with {names}"));
        match (&self.given.against, u64::try_from(found.badness)) {
            (None, Ok(value)) => format!("{} {}{under}", measure.name(), measure.said(value)),
            _ => {
                let than = self.given.against.as_deref().unwrap_or_default();
                format!("{}{under} beyond that with {than}: {}", measure.name(), self.shown(found.badness))
            }
        }
    }

    /// A badness for people; a difference has its sign.
    fn shown(&self, badness: i128) -> String {
        let measure = self.given.worst;
        if self.against.is_none() {
            return u64::try_from(badness).map_or_else(|_| badness.to_string(), |value| measure.said(value));
        }
        let size = u64::try_from(badness.unsigned_abs()).unwrap_or(u64::MAX);
        let sign = if badness < 0 { "-" } else { "" };
        match measure {
            // A difference of times is a time.
            crate::search::Measure::FirstRefusal => format!("{badness} ns"),
            _ => format!("{sign}{}", measure.said(size)),
        }
    }

    fn report(&self, found: &[Found], tried: u64) -> String {
        let mut text =
            format!("{}: {}\n\n  case     seed  {}\n", self.source.name, self.what(), self.given.worst.name());
        for found in found {
            write!(text, "{:>6} {:>8}  {}", Count(found.tried), found.case.seed, self.shown(found.badness))
                .expect("a string grows");
            for setting in self.settings(&found.case).iter().skip(1) {
                write!(text, "  {}={}", setting.path, setting.value).expect("a string grows");
            }
            text.push('\n');
        }
        let out = self.given.out.display().to_string();
        let run = joined(["framesim", "run", &out]);
        writeln!(text, "\n{} tried; the worst is in {out}\nTo see it: {run}", counted(tried, "case", "cases"))
            .expect("a string grows");
        text
    }

    fn what(&self) -> String {
        let under = self.given.under.as_deref().unwrap_or("its own models");
        let against =
            self.given.against.as_deref().map_or_else(String::new, |against| format!(", beyond that of {against}"));
        format!("the worst {} of {under}{against}", self.given.worst.name())
    }
}

/// A field and the values it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    path: String,
    values: Values,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    /// Each whole number of the range, with its unit.
    Range {
        from: u64,
        to: u64,
        unit: String,
    },
    List(Vec<String>),
}

impl Axis {
    fn places(&self) -> u64 {
        match &self.values {
            Values::Range { from, to, .. } => (to - from).saturating_add(1),
            Values::List(list) => list.len() as u64,
        }
    }

    fn value(&self, place: u64) -> String {
        match &self.values {
            Values::Range { from, unit, .. } => format!("{}{unit}", from + place),
            Values::List(list) => list.get(framesim_models::index(place)).cloned().unwrap_or_default(),
        }
    }
}

/// `PATH=FROM..TO` or `PATH=VALUE,VALUE,...`.
pub fn axis(text: &str) -> Result<Axis, String> {
    let usage = || "write it as path=from..to or path=value,value, such as machine.memory=16MiB..64MiB".to_owned();
    let (path, values) = text.split_once('=').ok_or_else(usage)?;
    let (path, values) = (path.trim().to_owned(), values.trim());
    if path.is_empty() || values.is_empty() {
        return Err(usage());
    }
    let values = match values.split_once("..") {
        Some((from, to)) => range(from, to)?,
        None => Values::List(values.split(',').map(|value| value.trim().to_owned()).collect()),
    };
    Ok(Axis { path, values })
}

fn range(from: &str, to: &str) -> Result<Values, String> {
    let parts = |text: &str| {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        number
            .parse::<u64>()
            .map(|number| (number, unit.to_owned()))
            .map_err(|_| format!("`{text}` is no whole number"))
    };
    let ((from, unit), (to, other)) = (parts(from.trim())?, parts(to.trim())?);
    if unit != other && !unit.is_empty() {
        return Err(format!("both ends of a range have the same unit; these have `{unit}` and `{other}`"));
    }
    if from > to {
        return Err(format!("the range ends at {to}, before its start {from}"));
    }
    Ok(Values::Range { from, to, unit: other })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_every_whole_number_with_its_unit() {
        let size = axis("machine.memory=16MiB..64MiB").expect("well formed");
        assert_eq!((size.places(), size.value(0), size.value(48)), (49, "16MiB".to_owned(), "64MiB".to_owned()));
        assert_eq!(axis("a.b=3..9us").expect("well formed").value(1), "4us");
        let list = axis("machine.frames=best_fit, buddy").expect("well formed");
        assert_eq!((list.places(), list.value(1)), (2, "buddy".to_owned()));
        for wrong in ["x", "=1..2", "a=9..2", "a=1us..2ms", "a=1.5..2", "a="] {
            assert!(axis(wrong).is_err(), "{wrong}");
        }
    }
}
