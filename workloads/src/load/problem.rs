//! A problem at a path: from what was read back to its place in the text.

use super::diagnostic::{Diagnostic, Kind};
use super::splice::{Spliced, element_names, find};
use super::text::PathStep;

/// A path in a workload, as serde sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(pub Vec<PathStep>);

impl Path {
    /// `machine.frames.max_order`: a step of digits is a place in a list.
    pub(crate) fn parse(path: &str) -> Path {
        let step = |step: &str| step.parse().map_or_else(|_| PathStep::Name(step.to_owned()), PathStep::Index);
        Path(path.split('.').filter(|step| !step.is_empty()).map(step).collect())
    }

    /// The path that was tracked while reading; names of variants are no steps.
    pub(crate) fn tracked(path: &serde_path_to_error::Path) -> Path {
        use serde_path_to_error::Segment;
        Path(
            path.iter()
                .filter_map(|segment| match segment {
                    Segment::Seq { index } => Some(PathStep::Index(*index)),
                    Segment::Map { key } => Some(PathStep::Name(key.clone())),
                    Segment::Enum { .. } | Segment::Unknown => None,
                })
                .collect(),
        )
    }

    /// This path and one step more.
    pub(crate) fn field(&self, name: &str) -> Path {
        self.step(PathStep::Name(name.to_owned()))
    }

    /// This path and one step more.
    pub(crate) fn element(&self, index: usize) -> Path {
        self.step(PathStep::Index(index))
    }

    fn step(&self, step: PathStep) -> Path {
        let mut path = self.clone();
        path.0.push(step);
        path
    }

    /// For people: an element that has a name is called by it.
    pub(crate) fn shown(&self, text: &str) -> String {
        let mut shown = String::new();
        for (depth, step) in self.0.iter().enumerate() {
            let name = match step {
                PathStep::Name(name) => Some(name.clone()),
                PathStep::Index(index) => name_of(text, &self.0[..depth], *index),
            };
            match (name, step) {
                (Some(name), _) if shown.is_empty() => shown = name,
                (Some(name), _) => shown.push_str(&format!(".{name}")),
                (None, PathStep::Index(index)) => shown.push_str(&format!("[{index}]")),
                (None, PathStep::Name(_)) => {}
            }
        }
        shown
    }
}

fn name_of(text: &str, list: &[PathStep], index: usize) -> Option<String> {
    element_names(text, list).into_iter().find(|(there, _)| *there == index).map(|(_, name)| name)
}

/// Something wrong with a value that was read.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub path: Path,
    pub message: String,
    pub label: String,
    pub help: Option<String>,
    pub kind: Kind,
    /// The message ends in "at" and the path.
    pub names_path: bool,
}

impl Problem {
    pub(crate) fn new(path: Path, message: String) -> Problem {
        Problem { path, message, label: String::new(), help: None, kind: Kind::Input, names_path: true }
    }

    pub(crate) fn label(self, label: impl Into<String>) -> Problem {
        Problem { label: label.into(), ..self }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Problem {
        Problem { help: Some(help.into()), ..self }
    }

    /// The diagnostic with its place: of the value itself, or of the nearest one around it that the text has.
    pub(crate) fn at(self, spliced: &Spliced) -> Diagnostic {
        let depths = (0..=self.path.0.len()).rev();
        let found = depths.filter_map(|depth| find(&spliced.text, &self.path.0[..depth])).next();
        let path = self.path.shown(&spliced.text);
        let message =
            if self.names_path && !path.is_empty() { format!("{} at {path}", self.message) } else { self.message };
        Diagnostic {
            kind: self.kind,
            message,
            path,
            place: Some(found.map_or((0, 0..0), |found| spliced.origin(found.head))),
            label: self.label,
            help: self.help,
        }
    }
}
