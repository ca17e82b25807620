//! Workloads from files, or from the library that comes with framesim, with what the command line changes in them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use framesim_models::heap::HeapChoice;
use framesim_workloads::library;
use framesim_workloads::load::{self, Diagnostics, FILE_BYTES_MOST, Kind, Known, Loaded, Setting};
use framesim_workloads::spec::{Program, Workload};
use ron::extensions::Extensions;

use super::args::Overrides;
use super::exit::Failure;
use crate::Registries;
use crate::report::text::nearest;

/// The text of a workload and where it is from.
pub struct Source {
    /// As errors name it: the path as given.
    pub path: String,
    /// Its name for reports: `sixteen_frames`.
    pub name: String,
    /// Where the files are that it names: traces.
    pub folder: PathBuf,
    text: String,
}

impl Source {
    /// Reads `file`; a name without such a file is looked up in the library.
    ///
    /// # Errors
    /// [`Failure::Io`] when it cannot be read, [`Failure::Input`] when it is not text.
    pub fn open(file: &Path) -> Result<Source, Failure> {
        let given = file.display().to_string();
        if !file.exists()
            && let Some(shipped) = library::find(&given)
        {
            let folder = Path::new(shipped.path).parent().unwrap_or(Path::new("")).to_owned();
            let (path, name) = (shipped.path.to_owned(), shipped.name().to_owned());
            return Ok(Source { path, name, folder, text: shipped.text.to_owned() });
        }
        let text = read(file).map_err(|failure| with_hint(failure, file, &given))?;
        let name = file.file_stem().map_or_else(|| given.clone(), |stem| stem.to_string_lossy().into_owned());
        Ok(Source { path: given, name, folder: file.parent().unwrap_or(Path::new("")).to_owned(), text })
    }

    /// Reads the experiment `file`; a name without such a file is looked up among those that come with framesim.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open_experiment(file: &Path) -> Result<Source, Failure> {
        let given = file.display().to_string();
        match library::find_experiment(&given) {
            Some(shipped) if !file.exists() => {
                let folder = Path::new(shipped.path).parent().unwrap_or(Path::new("")).to_owned();
                let (path, name) = (shipped.path.to_owned(), shipped.name().to_owned());
                Ok(Source { path, name, folder, text: shipped.text.to_owned() })
            }
            _ => Source::open(file),
        }
    }

    /// What the file says.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A workload that stands in no file, about `file`.
    #[must_use]
    pub fn of_text(file: &Path, text: String) -> Source {
        let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        Source { path: "options of replay".to_owned(), name, folder, text }
    }

    /// What `overrides` change in the text: all but the seed and the heap.
    ///
    /// # Errors
    /// [`Failure::Input`] when no policy is called so.
    pub fn settings(&self, registries: &Registries, overrides: &Overrides) -> Result<Vec<Setting>, Failure> {
        let mut settings: Vec<Setting> =
            overrides.set.iter().map(|set| Setting { path: set.path.clone(), value: set.value.clone() }).collect();
        if let Some(policy) = &overrides.policy {
            settings.push(Setting { path: "machine.frames".to_owned(), value: policy_in_ron(registries, policy)? });
        }
        if let Some(until) = &overrides.until {
            settings.push(Setting { path: "until".to_owned(), value: until.clone() });
        }
        Ok(settings)
    }

    /// Checks the workload with the changes that `overrides` ask for.
    ///
    /// # Errors
    /// All that is wrong with it, in lines for a person.
    pub fn load(&self, registries: &Registries, overrides: &Overrides) -> Result<Loaded, Failure> {
        let settings = self.settings(registries, overrides)?;
        let known = Known { frames: &registries.frames, heaps: &registries.heaps };
        let mut loaded = load::load(&self.path, &self.text, &settings, known).map_err(|wrong| reported(&wrong))?;
        if let Some(seed) = overrides.seed {
            loaded.workload.seed = seed;
        }
        if let Some(heap) = &overrides.heap {
            set_heap(&mut loaded.workload, &heap_choice(registries, heap)?);
        }
        Ok(loaded)
    }
}

/// What is wrong with an input, as a failure of its kind.
#[must_use]
pub fn reported(wrong: &Diagnostics) -> Failure {
    // Where colours are not wanted the stream takes them out again.
    let text = wrong.render(true).trim_end().to_owned();
    match wrong.kind() {
        Kind::Input => Failure::Input(text),
        Kind::Unreadable => Failure::Io(text),
        Kind::Limit => Failure::Limit(text),
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let io = |error| Failure::at(file, "read", &error);
    let mut bytes = Vec::new();
    // One byte more than is allowed is enough to see that it is too much.
    File::open(file).and_then(|file| file.take(FILE_BYTES_MOST as u64 + 1).read_to_end(&mut bytes)).map_err(io)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].split(|byte| *byte == b'\n').count();
        Failure::Input(format!("{}:{line}: byte {at} is not UTF-8; a workload is a text file", file.display()))
    })
}

/// A name that is no file may be meant for one of the library.
fn with_hint(failure: Failure, file: &Path, given: &str) -> Failure {
    let names = library::LIBRARY.iter().map(library::Shipped::name);
    match (failure, nearest(given, names)) {
        (Failure::Io(text), Some(near)) if !file.exists() => {
            Failure::Io(format!("{text}; did you mean `{near}`? (`framesim list workloads` names all)"))
        }
        (failure, _) => failure,
    }
}

/// A model's name as the RON of a workload has it; options stay as they are.
///
/// # Errors
/// [`Failure::Input`] when no policy is called so.
pub fn policy_in_ron(registries: &Registries, given: &str) -> Result<String, Failure> {
    let names: Vec<&str> = registries.frames.iter().map(|model| model.name).collect();
    let built_in = framesim_models::frames::PolicyChoice::NAMES;
    in_ron(given, &names, built_in, "policy", "policies")
}

/// The choice that `--heap` names, with its options.
///
/// # Errors
/// [`Failure::Input`] when no heap is called so, or it has no such option.
pub fn heap_choice(registries: &Registries, given: &str) -> Result<HeapChoice, Failure> {
    let names: Vec<&str> = registries.heaps.iter().map(|model| model.name).collect();
    let text = in_ron(given, &names, HeapChoice::NAMES, "heap", "heaps")?;
    parsed(&text, "heap", given)
}

/// The choice that `--policy` names, with its options.
///
/// # Errors
/// [`Failure::Input`] when no policy is called so, or it has no such option.
pub fn policy_choice(registries: &Registries, given: &str) -> Result<framesim_models::frames::PolicyChoice, Failure> {
    parsed(&policy_in_ron(registries, given)?, "policy", given)
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str, option: &str, given: &str) -> Result<T, Failure> {
    let extensions = Extensions::IMPLICIT_SOME | Extensions::UNWRAP_NEWTYPES | Extensions::UNWRAP_VARIANT_NEWTYPES;
    let options = ron::Options::default().with_default_extension(extensions);
    // A name alone is read as one with no option set.
    let text = if text.contains('(') { text.to_owned() } else { format!("{text}()") };
    options.from_str(&text).map_err(|error| Failure::Input(format!("--{option} {given}: {}", error.code)))
}

fn in_ron(given: &str, known: &[&str], built_in: &[&str], kind: &str, list: &str) -> Result<String, Failure> {
    let given = given.trim();
    let name = given.split('(').next().unwrap_or(given).trim();
    match (built_in.contains(&name) || name == "custom", known.contains(&name), name == given) {
        (true, ..) => Ok(given.to_owned()),
        // A model of the user's own program: its options are a map, which only the file can say.
        (false, true, true) => Ok(format!("custom(name: \"{name}\")")),
        (false, true, false) => Err(Failure::Input(format!(
            "--{kind} {given}: write options as `custom(name: \"{name}\", options: {{..}})`"
        ))),
        (false, false, _) => {
            let hint = nearest(name, known.iter().copied())
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            Err(Failure::Input(format!(
                "--{kind} {given}: unknown {kind} `{name}`{hint} (`framesim list {list}` names all)"
            )))
        }
    }
}

/// Gives every program that heap. Groups without a program run one of no size, which has a heap too.
pub fn set_heap(workload: &mut Workload, heap: &HeapChoice) {
    const NO_PROGRAM: &str = "(no program)";
    for program in workload.programs.values_mut() {
        program.heap = heap.clone();
    }
    for group in &mut workload.processes {
        if group.program.is_none() {
            group.program = Some(NO_PROGRAM.to_owned());
            let program = || Program { heap: heap.clone(), ..Program::default() };
            workload.programs.entry(NO_PROGRAM.to_owned()).or_insert_with(program);
        }
    }
}
