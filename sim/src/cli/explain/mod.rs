//! `framesim explain`: the rules of a policy or a heap, and a small example that is really run.

mod frames;
mod heap;

use std::io::Write;

use super::exit::Failure;
use crate::Registries;
use crate::report::text::nearest;

/// Rules and example of the model called `name`.
pub fn explain(registries: &Registries, name: &str, screen: &mut impl Write) -> Result<(), Failure> {
    if let Some(policy) = registries.frames.find(name) {
        heading("frame policy", name, policy.summary, policy.rules, screen)?;
        return frames::example(registries, name, screen);
    }
    if let Some(heap) = registries.heaps.find(name) {
        heading("heap", name, heap.summary, heap.rules, screen)?;
        return heap::example(registries, name, screen);
    }
    Err(unknown(registries, name))
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
    let hint = match nearest(name, policies.chain(heaps)) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    };
    Failure::Input(format!(
        "no policy or heap is called `{name}`{hint} (`framesim list policies` and `framesim list heaps` name all)"
    ))
}
