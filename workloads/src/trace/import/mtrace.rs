//! The files of glibc's `mtrace(3)` (glibc 2.36, malloc/mtrace-impl.c).
//!
//! # Rules
//! 1. `+ ADDRESS SIZE` is an allocation of whatever kind, `- ADDRESS` a free, `< OLD` and in the next line `> ADDRESS SIZE` a
//!    `realloc`, `! OLD SIZE` a `realloc` that was refused; an address `(nil)` is a refusal. Before each may stand `@ CALLER`.
//! 2. `= Start` and `= End` are no calls. There is no time and no thread in the file.

use std::io::Write;

use super::super::write::{Block, TraceWriter};
use super::{Cause, Lines, excerpt, hex};

pub(super) fn read<W: Write>(lines: &mut Lines<'_>, trace: &mut TraceWriter<W>) -> Result<(), Cause> {
    let mut in_hand = None;
    call(lines.current()?, &mut in_hand, trace)?;
    while let Some(line) = lines.next()? {
        call(line, &mut in_hand, trace)?;
    }
    Ok(())
}

/// The block that a `<` took in hand, if it was known.
type InHand = Option<Option<Block>>;

fn call<W: Write>(line: &str, in_hand: &mut InHand, trace: &mut TraceWriter<W>) -> Result<(), Cause> {
    let Some((letter, numbers)) = split(line) else {
        return if line.trim().is_empty() || line.starts_with("= ") {
            Ok(())
        } else {
            Err(Cause::Bad(format!("`{}` is no line of mtrace", excerpt(line))))
        };
    };
    let mut numbers = numbers.iter().copied();
    let address = address(&mut numbers)?;
    let bytes = if matches!(letter, "-" | "<") { 0 } else { hex(&mut numbers, "the size")? };
    if in_hand.is_some() != (letter == ">") {
        let why = if letter == ">" { "no `<` before it" } else { "a `>` follows each `<`" };
        return Err(Cause::Bad(format!("`{}`: {why}", excerpt(line))));
    }
    match (letter, address) {
        ("<", address) => *in_hand = Some(trace.take(address)),
        (">", address) => trace.moved(in_hand.take().flatten(), address, bytes)?,
        ("-", 0) => {}
        ("-", address) => trace.free(address)?,
        ("+", address) if address != 0 => trace.malloc(address, bytes)?,
        _ => trace.refused(),
    }
    Ok(())
}

/// The letter of a call and the words behind it; a caller may have blanks in its name, so it is sought from the end.
fn split(line: &str) -> Option<(&str, Vec<&str>)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = |back: usize| words.len().checked_sub(back).and_then(|index| words.get(index)).copied();
    for (back, letters) in [(3, ["+", ">", "!"].as_slice()), (2, &["-", "<"])] {
        if let Some(letter) = at(back)
            && letters.contains(&letter)
            && (words.len() == back || words.first() == Some(&"@"))
        {
            return Some((letter, words[words.len() + 1 - back..].to_vec()));
        }
    }
    None
}

fn address<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<u64, Cause> {
    let mut words = words.by_ref().map(|word| if word == "(nil)" { "0" } else { word });
    hex(&mut words, "the address")
}
