//! A small run step by step: what was asked, where it went, and all of memory after each step.

use std::fmt::{self, Write as _};

use framesim_models::frames::{AllocError, Explanation, FrameRun};

use super::map::{self, Holder};
use super::text::{COLUMNS, Count, wrapped};

/// One step of a scripted run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Counted from 1, as shown.
    pub number: u64,
    /// What was asked: `take A, 2`.
    pub request: String,
    /// Where it went: `0..1`, `+0x10`, `refused`.
    pub placed: String,
    /// Who holds memory after the step, from frame 0 on: holder and frames.
    pub memory: Vec<(usize, u64)>,
    /// Free frames after the step.
    pub free: u64,
    /// Longest free run after the step.
    pub longest: u64,
}

/// Columns of the table around the map: step, free, longest, and the gaps between six columns.
const AROUND: usize = 4 + 4 + 7 + 5 * 2;
const REQUEST_MAX: usize = 24;

/// The table of `steps` in a memory of `frames` frames; `holders` are those that `Step::memory` names.
#[must_use]
pub fn table(steps: &[Step], holders: &[Holder], frames: u64) -> String {
    let requests = width_of("request", steps.iter().map(|step| &step.request), REQUEST_MAX);
    let places = width_of("placed", steps.iter().map(|step| &step.placed), REQUEST_MAX);
    let room = (COLUMNS - AROUND).saturating_sub(requests + places).max(8) as u64;
    let per_letter = frames.div_ceil(room).next_power_of_two();
    let letters = map::width(frames, per_letter);

    let mut text = format!(
        "step  {:requests$}  {:places$}  {:letters$}  free  longest\n",
        "request",
        "placed",
        ruler(letters, per_letter)
    );
    for step in steps {
        let drawn = map::coloured(&map::letters(holders, step.memory.iter().copied(), per_letter));
        // Colours have no width: the map is padded by its own length, which is the same on every line.
        writeln!(
            text,
            "{:>4}  {}  {}  {drawn}  {:>4}  {:>7}",
            step.number,
            cut(&step.request, requests),
            cut(&step.placed, places),
            Count(step.free),
            Count(step.longest)
        )
        .expect("a string grows");
    }
    if per_letter > 1 {
        writeln!(text, "one letter = {} frames, most frequent owner; lower case: mixed", Count(per_letter))
            .expect("a string grows");
    }
    text
}

fn width_of<'a>(heading: &str, cells: impl Iterator<Item = &'a String>, most: usize) -> usize {
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0).clamp(heading.len(), most)
}

/// `text` in exactly `width` columns.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:width$}");
    }
    let kept: String = text.chars().take(width - 2).collect();
    format!("{kept}..")
}

/// Frame numbers above the letters they belong to, as many as fit with a blank between.
fn ruler(letters: usize, per_letter: u64) -> String {
    let widest = (letters as u64 * per_letter).to_string().len();
    let every = if widest < 4 && letters <= 32 { 4 } else { 8 };
    let mut text = String::new();
    for letter in (0..letters).step_by(every) {
        let number = (letter as u64 * per_letter).to_string();
        if letter + number.len() <= letters {
            write!(text, "{:>1$}{number}", "", letter - text.len()).expect("a string grows");
        }
    }
    text
}

/// Why a policy chose what it chose, in a few lines.
pub struct Why<'a> {
    /// What the policy answers.
    pub explanation: &'a Explanation,
    /// Memory before and after the step, drawn.
    pub before: &'a str,
    /// The same, after.
    pub after: &'a str,
    /// What other policies would have chosen in the same memory: name and answer.
    pub others: &'a [(String, Result<FrameRun, AllocError>)],
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { candidates, candidates_total, rule, chosen } = self.explanation;
        labelled(f, "runs (frames)", &candidates_text(candidates, *candidates_total))?;
        labelled(f, "rule", rule)?;
        labelled(f, "chosen", &chosen_text(chosen, candidates))?;
        labelled(f, "before", self.before)?;
        labelled(f, "after", self.after)?;
        match self.others {
            [] => Ok(()),
            others => labelled(f, "others", &others_text(others, chosen)),
        }
    }
}

const LABEL: usize = 15;

fn labelled(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    let text = if text.contains('\u{1b}') { text.to_owned() } else { wrapped(text, COLUMNS - LABEL - 2) };
    for (place, line) in text.lines().enumerate() {
        let label = if place == 0 { label } else { "" };
        writeln!(f, "  {label:LABEL$}{line}")?;
    }
    Ok(())
}

/// Candidates named one by one; what is left over is counted.
const NAMED: usize = 8;

fn candidates_text(candidates: &[FrameRun], total: u64) -> String {
    // No blank inside, so that lines break between runs.
    let named: Vec<String> = candidates.iter().take(NAMED).map(|run| format!("{run}({})", run.frames)).collect();
    match total.saturating_sub(named.len() as u64) {
        _ if named.is_empty() => "no free run".to_owned(),
        0 => named.join(", "),
        more => format!("{}, and {} more", named.join(", "), Count(more)),
    }
}

fn chosen_text(chosen: &Result<FrameRun, AllocError>, candidates: &[FrameRun]) -> String {
    let run = match chosen {
        Ok(run) => run,
        Err(error) => return format!("refused: {error}"),
    };
    match candidates.iter().find(|hole| hole.contains(run.start)) {
        Some(hole) if hole == run => format!("{run}, an exact fit: no remainder"),
        Some(hole) => format!("{run}; {} of {hole} stay free", frames(hole.frames - run.frames)),
        None => run.to_string(),
    }
}

fn others_text(others: &[(String, Result<FrameRun, AllocError>)], chosen: &Result<FrameRun, AllocError>) -> String {
    let answers: Vec<String> = others
        .iter()
        .map(|(name, answer)| match (answer, chosen) {
            (Ok(run), Ok(same)) if run == same => format!("{name} would have chosen {run} as well"),
            (Ok(run), _) => format!("{name} would have chosen {run}"),
            (Err(_), _) => format!("{name} would have refused it"),
        })
        .collect();
    answers.join("; ")
}

fn frames(count: u64) -> String {
    super::text::counted(count, "frame", "frames")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: u64, request: &str, placed: &str, memory: &[(usize, u64)]) -> Step {
        Step {
            number,
            request: request.to_owned(),
            placed: placed.to_owned(),
            memory: memory.to_vec(),
            free: 4,
            longest: 2,
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn holders() -> Vec<Holder> {
        vec![Holder::new('.', "free"), Holder::new('A', "A"), Holder::new('B', "B")]
    }

    #[test]
    fn a_step_is_a_line_with_memory_under_a_ruler() {
        let steps = [
            step(1, "take A, 2", "0..1", &[(1, 2), (0, 14)]),
            step(2, "take B, 4", "refused", &[(1, 2), (2, 12), (0, 2)]),
        ];
        insta::assert_snapshot!(plain(&table(&steps, &holders(), 16)), @r"
        step  request    placed   0   4   8   12    free  longest
           1  take A, 2  0..1     AA..............     4        2
           2  take B, 4  refused  AABBBBBBBBBBBB..     4        2
        ");
    }

    #[test]
    fn a_larger_memory_shares_letters_and_stays_in_80_columns() {
        let steps = [step(1, "take a_very_long_name_that_goes_on, 2000", "0..1999", &[(1, 2000), (0, 2096)])];
        let shown = plain(&table(&steps, &holders(), 4096));
        assert!(shown.lines().all(|line| line.chars().count() <= COLUMNS), "{shown}");
        assert!(shown.contains("one letter = 256 frames"), "{shown}");
    }

    #[test]
    fn why_names_candidates_rule_choice_and_what_others_would_do() {
        let explanation = Explanation {
            candidates: vec![FrameRun::new(2, 3), FrameRun::new(8, 5)],
            candidates_total: 2,
            rule: "the smallest run that fits; on a tie the lowest".to_owned(),
            chosen: Ok(FrameRun::new(2, 3)),
        };
        let others =
            [("first_fit".to_owned(), Ok(FrameRun::new(2, 3))), ("worst_fit".to_owned(), Ok(FrameRun::new(8, 3)))];
        let why = Why { explanation: &explanation, before: "AA...BBB.....", after: "AAEEEBBB.....", others: &others };
        insta::assert_snapshot!(why, @r"
          runs (frames)  2..4(3), 8..12(5)
          rule           the smallest run that fits; on a tie the lowest
          chosen         2..4, an exact fit: no remainder
          before         AA...BBB.....
          after          AAEEEBBB.....
          others         first_fit would have chosen 2..4 as well; worst_fit would have
                         chosen 8..10
        ");
    }
}
