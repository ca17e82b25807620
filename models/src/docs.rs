//! What models say about themselves: the module docs, as data.
//!
//! Every heap's file starts with the same headings; under "Models" stands what is modelled, under "Rules" by which rules, under
//! "Left out" what a result may not be used for. What a model has in another form than the original follows the word
//! `Simplified:` there.

/// Module docs of `src/heap`, by module.
const HEAPS: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/heap_docs.rs"));

/// What a heap says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapDoc {
    /// What is modelled, and its source.
    pub models: String,
    /// How many rules it follows.
    pub rules: usize,
    /// What the model has in another form than the original; empty where there is nothing.
    pub simplified: String,
    /// What it does not have.
    pub absent: String,
}

/// The doc of the heap of that name; `None` of one of another crate.
#[must_use]
pub fn of_heap(name: &str) -> Option<HeapDoc> {
    let (_, text) = HEAPS.iter().find(|(module, _)| *module == name)?;
    let left_out = paragraphs(section(text, "Left out"));
    let (absent, simplified) = left_out.split_once("Simplified:").unwrap_or((&left_out, ""));
    Some(HeapDoc {
        models: paragraphs(section(text, "Models")),
        rules: section(text, "Rules").lines().filter(|line| is_rule(line)).count(),
        simplified: simplified.trim().to_owned(),
        absent: absent.trim().to_owned(),
    })
}

/// The lines under a heading, up to the next one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let Some((_, rest)) = text.split_once(&format!("# {heading}\n")) else { return "" };
    rest.split_once("\n# ").map_or(rest, |(section, _)| section)
}

/// The text as one line, its links without their targets.
fn paragraphs(text: &str) -> String {
    let mut plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    while let Some(middle) = plain.find("](")
        && let Some(end) = plain[middle..].find(')')
    {
        let start = plain[..middle].rfind('[').unwrap_or(middle);
        plain = format!("{}{}{}", &plain[..start], &plain[start..middle][1..], &plain[middle + end + 1..]);
    }
    plain
}

fn is_rule(line: &str) -> bool {
    line.split_once(". ")
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::HeapChoice;

    #[test]
    fn every_heap_says_what_it_models_by_how_many_rules_and_what_it_leaves_out() {
        for name in HeapChoice::NAMES {
            let doc = of_heap(name).unwrap_or_else(|| panic!("{name} has no module of its name"));
            assert!(doc.models.len() > 40 && doc.rules > 0, "{name}: {doc:?}");
            assert!(!doc.absent.is_empty() || !doc.simplified.is_empty(), "{name} says nothing under `Left out`");
        }
        assert_eq!(of_heap("nobodys"), None);
    }

    #[test]
    fn links_lose_their_targets() {
        assert_eq!(paragraphs("Those of [`tagged`](super::tagged)\nand [x](y)."), "Those of `tagged` and x.");
    }
}
