//! `framesim explain`: the rules of a policy or a heap with a small example that is really run; a law; a part of a workload file
//! or a field of one.

mod file;
mod frames;
mod heap;

use std::io::Write;

pub use file::list as list_fields;
use framesim_workloads::laws::CATALOG;

use super::exit::Failure;
use crate::Registries;
use crate::report::text::nearest;

/// What there is to say of the thing called `name`. A model goes before a law, a law before a part of a file, a part before a field.
pub fn explain(registries: &Registries, name: &str, screen: &mut impl Write) -> Result<(), Failure> {
    if let Some(policy) = registries.frames.find(name) {
        heading("frame policy", name, policy.summary, policy.rules, screen)?;
        return frames::example(registries, name, screen);
    }
    if let Some(heap) = registries.heaps.find(name) {
        heading("heap", name, heap.summary, heap.rules, screen)?;
        return heap::example(registries, name, screen);
    }
    if let Some(law) = CATALOG.iter().find(|law| law.name == name) {
        return heading("law", name, law.summary, &format!("Of sizes, for example: {}", law.example), screen);
    }
    match file::explain(name, screen)? {
        true => Ok(()),
        false => Err(unknown(registries, name)),
    }
}

fn heading(kind: &str, name: &str, summary: &str, rules: &str, screen: &mut impl Write) -> Result<(), Failure> {
    writeln!(screen, "{name}, a {kind}: {summary}\n")?;
    for line in rules.lines() {
        writeln!(screen, "  {line}")?;
    }
    Ok(())
}

fn unknown(registries: &Registries, name: &str) -> Failure {
    let policies = registries.frames.iter().map(|model| model.name);
    let heaps = registries.heaps.iter().map(|model| model.name);
    let laws = CATALOG.iter().map(|law| law.name);
    let hint = match nearest(name, policies.chain(heaps).chain(laws).chain(file::names())) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    };
    Failure::Input(format!(
        "no policy, heap, law or field is called `{name}`{hint} (`framesim list policies`, `heaps`, `laws` and `fields` name all)"
    ))
}
