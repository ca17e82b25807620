//! The parts of a workload file as a person looks them up: `workloads/README.md`, table by table.
//!
//! The page is the only source: what it says of a field is what `framesim explain` says.

/// The page.
pub const PAGE: &str = include_str!("../README.md");

/// A part of a workload file: a heading of the page, with its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// As in RON: `machine`, `mix`.
    pub name: &'static str,
    /// What it is, a paragraph.
    pub about: String,
    /// Of the rows' columns: `field`, `without it`, `says`.
    pub headings: Row,
    /// A field or a form each.
    pub rows: Vec<Row>,
}

/// A line of a part's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The field or form.
    pub name: &'static str,
    /// Of a field what holds without it; of a form an example.
    pub given: &'static str,
    /// What it says, a sentence.
    pub says: &'static str,
}

/// All parts, in the order of the page.
#[must_use]
pub fn parts() -> Vec<Part> {
    PAGE.split("\n## ").skip(1).map(part).collect()
}

fn part(section: &'static str) -> Part {
    let (name, text) = section.split_once('\n').expect("a heading has lines after it");
    let mut rows = text.lines().filter_map(row);
    let headings = rows.next().expect("each part has a table");
    let prose = text.lines().filter(|line| !line.starts_with('|')).collect::<Vec<_>>().join(" ");
    Part { name, about: prose.trim().to_owned(), headings, rows: rows.collect() }
}

/// A row of a table; none for prose and for the rule below the headings.
fn row(line: &'static str) -> Option<Row> {
    let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.splitn(3, " | ");
    let mut cell = || cells.next().expect("three cells a row");
    Some(Row { name: cell().trim_matches('`'), given: cell(), says: cell() })
}

#[cfg(test)]
mod tests {
    use framesim_models::frames::PolicyRegistry;
    use framesim_models::heap::HeapRegistry;
    use ron::extensions::Extensions;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::load::{Known, load};
    use crate::spec::{Arrive, Costs, Group, Limits, Machine, Mix, Phase, Program, Recorded, Step, Workload};

    fn options() -> ron::Options {
        let extensions = Extensions::IMPLICIT_SOME | Extensions::UNWRAP_NEWTYPES | Extensions::UNWRAP_VARIANT_NEWTYPES;
        ron::Options::default().with_default_extension(extensions)
    }

    fn names_of_page(part: &str) -> Vec<&'static str> {
        let parts = parts();
        let part = parts.iter().find(|known| known.name == part).expect("a part of the page");
        part.rows.iter().map(|row| row.name).collect()
    }

    /// The names that the parser itself expects of a `T`, where it found one that is none.
    fn names_of_schema<T: DeserializeOwned>(text: &str) -> Vec<&'static str> {
        let Err(error) = options().from_str::<T>(text) else { panic!("`{text}` is none") };
        match error.code {
            ron::Error::NoSuchStructField { expected, .. } | ron::Error::NoSuchEnumVariant { expected, .. } => {
                expected.to_vec()
            }
            other => panic!("`{text}`: {other}"),
        }
    }

    #[test]
    fn every_field_and_form_of_the_schema_is_on_the_page_in_its_order() {
        let field = "(no_such_name: 1)";
        let schema = [
            ("workload", names_of_schema::<Workload>(field)),
            ("machine", names_of_schema::<Machine>(field)),
            ("costs", names_of_schema::<Costs>(field)),
            ("program", names_of_schema::<Program>(field)),
            ("processes", names_of_schema::<Group>(field)),
            ("arrive", names_of_schema::<Arrive>("no_such_name")),
            ("script", names_of_schema::<Step>("no_such_name")),
            ("mix", names_of_schema::<Mix>(field)),
            ("phases", names_of_schema::<Phase>(field)),
            ("trace", names_of_schema::<Recorded>(field)),
            ("limits", names_of_schema::<Limits>(field)),
        ];
        assert_eq!(parts().iter().map(|part| part.name).collect::<Vec<_>>(), schema.each_ref().map(|part| part.0));
        for (part, names) in schema {
            assert_eq!(names_of_page(part), names, "{part}");
        }
    }

    #[test]
    fn every_example_of_a_form_is_one() {
        let example = |part: &str, parses: fn(&str) -> bool| {
            for row in &parts().iter().find(|known| known.name == part).expect("a part").rows {
                assert!(row.given.starts_with(row.name) && parses(row.given), "{part}: {}", row.given);
            }
        };
        example("arrive", |text| options().from_str::<Arrive>(text).is_ok());
        example("script", |text| options().from_str::<Step>(text).is_ok());
    }

    /// What holds without a field, read as RON, is what holds without it.
    #[test]
    fn defaults_on_the_page_are_those_of_the_schema() {
        fn told<T: DeserializeOwned>(part: &str, needed: &str) -> T {
            let parts = parts();
            let rows = parts.iter().find(|known| known.name == part).expect("a part").rows.iter();
            let set =
                rows.filter(|row| !["needed", "none", "no end", "empty", "see there", "charged"].contains(&row.given));
            let fields: Vec<_> = set.map(|row| format!("{}: {}", row.name, row.given)).collect();
            let text = format!("({needed}{})", fields.join(", ").replace("free_list", "free_list()"));
            options().from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
        }
        let bare = |text: &str| options().from_str(text).expect("what is needed is there");
        assert_eq!(told::<Costs>("costs", ""), Costs::default());
        assert_eq!(told::<Program>("program", ""), Program::default());
        assert_eq!(told::<Limits>("limits", ""), Limits::default());
        let machine = "memory: 4096, frames: buddy(), ";
        assert_eq!(told::<Machine>("machine", machine), bare(&format!("({machine})")));
        let mix = "gap: constant(1), size: constant(1), ";
        assert_eq!(told::<Mix>("mix", mix), options().from_str(&format!("({mix})")).expect("a mix"));
        let file = "file: \"a\", ";
        assert_eq!(told::<Recorded>("trace", file), options().from_str(&format!("({file})")).expect("a trace"));
    }

    #[test]
    fn the_example_of_the_page_loads() {
        let (_, after) = PAGE.split_once("```ron\n").expect("the page has an example");
        let (example, _) = after.split_once("```").expect("which ends");
        let (frames, heaps) = (PolicyRegistry::default(), HeapRegistry::default());
        let loaded = load("README.md", example, &[], Known { frames: &frames, heaps: &heaps });
        assert_eq!(loaded.err().map(|problems| problems.to_string()), None);
    }
}
