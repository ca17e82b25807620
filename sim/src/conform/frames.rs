//! Frame-allocation cases: frame policies against recorded placements.
//!
//! A case is one JSON object: `name`, `frames` (the memory), `ops` and `expected`. An operation is `a ID FRAMES`, which
//! asks for one run, or `f ID`, which gives it back; freeing an id that is not live changes nothing. `expected` holds, for
//! each policy, one entry an operation:
//!
//! - `at`: the first frame of the run placed or freed; `null` when refused, or when a free had no effect;
//! - `free`, `largest`, `holes`: free frames, the longest run of them, maximal free runs;
//! - `largest_block`, `waste` (a policy that rounds up): the largest free block; granted minus asked over all live runs;
//! - `map`: `OWNER*FRAMES` from frame 0 up, `.` for free frames, with a space between: `1*2 .*14`.
//!
//! Instead of a `map` an operation a case may have `map_fnv1a64`, the 64-bit FNV-1a of the map's text every 100 operations
//! and at the end, and `final_map`. For the whole script there are `failed`, the requests refused, and `ext_final`, the
//! external fragmentation at the end. The names of the policies are those of [`POLICIES`], or a registered policy's own.

use std::collections::BTreeMap;
use std::fmt::Write;

use framesim_models::Coins;
use framesim_models::frames::buddy::BuddyOptions;
use framesim_models::frames::{FrameAllocator, FrameRequest, FrameRun, FrameSetting, PolicyChoice, PolicyRegistry};
use framesim_models::metrics::{Ratio, external_fragmentation, longest_free_run};
use serde::{Deserialize, Deserializer};

use super::{BadCase, Difference, Verdict};

/// The names cases use, and the policies they mean.
pub const POLICIES: [(&str, &str); 6] = [
    ("first", "first_fit"),
    ("best", "best_fit"),
    ("worst", "worst_fit"),
    ("next_hole", "next_hole"),
    ("next_addr", "next_fit"),
    ("buddy", "buddy"),
];

/// The largest memory of a case: 1 TiB in pages of 4 KiB.
const FRAMES_MAX: u64 = 1 << 28;

/// Maps are fingerprinted each time that many operations are done.
const MAP_EVERY: u64 = 100;

/// Plays one case, the text of its file, through each policy it has expectations for.
///
/// # Errors
/// [`BadCase`] when the text is not a case as the [module page](self) describes it, or names a policy nobody has.
pub fn hold(text: &str, policies: &PolicyRegistry) -> Result<Vec<Verdict>, BadCase> {
    let case: Case = serde_json::from_str(text).map_err(|error| BadCase(format!("no frames case: {error}")))?;
    let script = case.script()?;
    let known = POLICIES.iter().map(|(name, _)| *name);
    let others = case.expected.keys().map(String::as_str).filter(|name| POLICIES.iter().all(|known| known.0 != *name));
    let verdicts: Vec<Verdict> = known
        .chain(others)
        .filter_map(|name| case.expected.get(name).map(|expected| (name, expected)))
        .map(|(name, expected)| case.play(name, expected, &script, policies))
        .collect::<Result<_, BadCase>>()?;
    if verdicts.is_empty() {
        return Err(BadCase(format!("case {}: nothing is expected of any policy", case.name)));
    }
    Ok(verdicts)
}

#[derive(Deserialize)]
struct Case {
    name: String,
    frames: u64,
    ops: Vec<String>,
    expected: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    at: Vec<Option<u64>>,
    free: Vec<u64>,
    largest: Vec<u64>,
    holes: Vec<u64>,
    largest_block: Option<Vec<u64>>,
    waste: Option<Vec<u64>>,
    map: Option<Vec<String>>,
    map_fnv1a64: Option<Fingerprints>,
    final_map: Option<String>,
    failed: u64,
    ext_final: f64,
}

/// Fingerprints of maps, in the order they were taken.
struct Fingerprints {
    values: Vec<u64>,
    /// After which operations, where the case says so.
    after: Option<Vec<u64>>,
}

/// A list of fingerprints; with the operation before each (`[100, "0123.."]`, or as an object's keys), or with `null` for each
/// operation without one. A fingerprint is a number or a text of hexadecimal digits.
impl<'de> Deserialize<'de> for Fingerprints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprints, D::Error> {
        use serde_json::Value;
        let written = Value::deserialize(deserializer)?;
        let place = |number: usize| Value::from(number as u64 + 1);
        let entries: Vec<(Option<Value>, Value)> = match written {
            Value::Array(list) if list.iter().any(Value::is_null) => {
                let all = list.into_iter().enumerate().filter(|(_, value)| !value.is_null());
                all.map(|(number, value)| (Some(place(number)), value)).collect()
            }
            Value::Array(list) => list.into_iter().map(operation_and_value).collect(),
            Value::Object(map) => map.into_iter().map(|(key, value)| (Some(Value::String(key)), value)).collect(),
            other => vec![(None, other)],
        };
        let mut read = Vec::with_capacity(entries.len());
        for (after, value) in entries {
            let bad = || serde::de::Error::custom(format!("`{value}` is no number or hexadecimal text of 64 bits"));
            read.push((after.and_then(|after| number(&after, 10)), number(&value, 16).ok_or_else(bad)?));
        }
        read.sort_by_key(|(after, _)| *after);
        let after = read.iter().map(|(after, _)| *after).collect();
        Ok(Fingerprints { values: read.into_iter().map(|(_, value)| value).collect(), after })
    }
}

fn operation_and_value(entry: serde_json::Value) -> (Option<serde_json::Value>, serde_json::Value) {
    match entry.as_array().map(Vec::as_slice) {
        Some([after, value]) => (Some(after.clone()), value.clone()),
        _ => (None, entry),
    }
}

fn number(written: &serde_json::Value, radix: u32) -> Option<u64> {
    match written {
        serde_json::Value::Number(number) => number.as_u64(),
        serde_json::Value::String(digits) => {
            u64::from_str_radix(digits.strip_prefix("0x").unwrap_or(digits), radix).ok()
        }
        _ => None,
    }
}

/// One line of a script.
enum Op<'a> {
    Take { id: &'a str, frames: u64 },
    Give { id: &'a str },
}

impl Case {
    fn script<'s>(&'s self) -> Result<Vec<Op<'s>>, BadCase> {
        if self.ops.is_empty() {
            return Err(BadCase(format!("case {} has no operations", self.name)));
        }
        if !(1..=FRAMES_MAX).contains(&self.frames) {
            let (name, frames) = (&self.name, self.frames);
            return Err(BadCase(format!("case {name} has {frames} frames; a memory has 1 to {FRAMES_MAX}")));
        }
        let read = |(op, number): (&'s String, u64)| -> Result<Op<'s>, BadCase> {
            let bad = || format!("case {}, operation {number}: `{op}` is neither `a ID FRAMES` nor `f ID`", self.name);
            Op::read(op).ok_or_else(|| BadCase(bad()))
        };
        self.ops.iter().zip(1..).map(read).collect()
    }

    fn play(
        &self,
        name: &str,
        expected: &Expected,
        script: &[Op<'_>],
        policies: &PolicyRegistry,
    ) -> Result<Verdict, BadCase> {
        expected.check_lengths(script.len()).map_err(|says| BadCase(format!("case {}, {name}: {says}", self.name)))?;
        let mut player = self.player(name, policies)?;
        let differs = player
            .play(script, expected)
            .map_err(|says| BadCase(format!("case {}, {name}: {says}", self.name)))?
            .map(|(at, part)| Difference {
                operation: at,
                request: usize::try_from(at - 1).ok().and_then(|at| self.ops.get(at)).cloned().unwrap_or_default(),
                field: part.field,
                expected: part.expected,
                found: part.found,
            });
        Ok(Verdict {
            case: self.name.clone(),
            model: policy_name(name).to_owned(),
            operations: script.len() as u64,
            differs,
        })
    }

    fn player(&self, name: &str, policies: &PolicyRegistry) -> Result<Player<'_>, BadCase> {
        let policy = policy_name(name);
        let choice = match policy {
            // The cases know no top order: blocks as large as memory.
            "buddy" => PolicyChoice::Buddy(BuddyOptions { max_order: 40 }),
            policy => PolicyChoice::named(policy),
        };
        // A policy that flips coins would answer the same every time, whatever the coins.
        let setting = FrameSetting { frames: self.frames, coins: Coins::from_key([0; 32]) };
        let Some(built) = policies.build(policy, &choice, setting) else {
            return Err(BadCase(format!("case {}: no policy is called `{name}`", self.name)));
        };
        let memory = built.map_err(|error| BadCase(format!("case {}, {name}: {error}", self.name)))?;
        Ok(Player { memory, live: BTreeMap::new(), owners: BTreeMap::new(), waste: 0, failed: 0 })
    }
}

fn policy_name(name: &str) -> &str {
    POLICIES.iter().find(|(known, _)| *known == name).map_or(name, |(_, policy)| *policy)
}

impl Op<'_> {
    fn read(line: &str) -> Option<Op<'_>> {
        let mut words = line.split(' ');
        let op = match (words.next()?, words.next()?) {
            (_, "" | ".") => return None,
            ("a", id) => Op::Take { id, frames: words.next()?.parse().ok()? },
            ("f", id) => Op::Give { id },
            _ => return None,
        };
        words.next().is_none().then_some(op)
    }
}

impl Expected {
    fn check_lengths(&self, ops: usize) -> Result<(), String> {
        let lengths = [
            ("at", Some(self.at.len())),
            ("free", Some(self.free.len())),
            ("largest", Some(self.largest.len())),
            ("holes", Some(self.holes.len())),
            ("largest_block", self.largest_block.as_ref().map(Vec::len)),
            ("waste", self.waste.as_ref().map(Vec::len)),
            ("map", self.map.as_ref().map(Vec::len)),
        ];
        for (field, entries) in lengths.into_iter().filter_map(|(field, entries)| Some((field, entries?))) {
            if entries != ops {
                return Err(format!("`{field}` has {entries} entries for {ops} operations"));
            }
        }
        if self.map.is_none() && self.final_map.is_none() {
            return Err("there is neither `map` nor `final_map`".to_owned());
        }
        if let Some(fingerprints) = &self.map_fnv1a64
            && fingerprints.schedules(ops as u64).is_empty()
        {
            let entries = fingerprints.values.len();
            return Err(format!(
                "`map_fnv1a64` has {entries} entries that are not one every {MAP_EVERY} of {ops} operations and one at the end"
            ));
        }
        if !(0.0..=1.0).contains(&self.ext_final) {
            return Err(format!("`ext_final` is {}; a share is 0 to 1", self.ext_final));
        }
        Ok(())
    }
}

impl Fingerprints {
    /// After which operations, counted from 1, they can have been taken: readings of "every 100 operations and at the end".
    /// The hundreds may be those that end or those that begin, and the end may be told once more where both fall together.
    /// Operations that are named may be counted from 1 or from 0.
    fn schedules(&self, ops: u64) -> Vec<Vec<u64>> {
        let named =
            |first: u64| self.after.as_ref().map(|after| after.iter().map(|op| op.saturating_add(1 - first)).collect());
        let hundreds =
            |first: u64| -> Vec<u64> { (0..).map(|n| first + n * MAP_EVERY).take_while(|op| *op <= ops).collect() };
        let with_end = |times: &[u64]| [times, &[ops][..]].concat();
        let once = |times: &[u64]| if times.last() == Some(&ops) { times.to_vec() } else { with_end(times) };
        let (ending, beginning) = (hundreds(MAP_EVERY), hundreds(1));
        let mut all: Vec<Vec<u64>> = match (named(1), named(0)) {
            (Some(from_one), Some(from_zero)) => vec![from_one, from_zero],
            _ => vec![once(&ending), with_end(&ending), once(&beginning), with_end(&beginning)],
        };
        all.retain(|times| times.len() == self.values.len() && times.iter().all(|op| (1..=ops).contains(op)));
        all.dedup();
        all
    }
}

/// One answer that is not the recorded one.
struct Part {
    field: &'static str,
    expected: String,
    found: String,
}

struct Player<'a> {
    memory: Box<dyn FrameAllocator>,
    /// Runs by id, with the frames asked for.
    live: BTreeMap<&'a str, (FrameRun, u64)>,
    /// The same by first frame.
    owners: BTreeMap<u64, (&'a str, u64)>,
    waste: u64,
    failed: u64,
}

/// The operation, and what differs there.
type Differs = Option<(u64, Part)>;

impl<'a> Player<'a> {
    fn play(&mut self, script: &[Op<'a>], expected: &Expected) -> Result<Differs, String> {
        let ops = script.len() as u64;
        let schedules = expected.map_fnv1a64.as_ref().map_or_else(Vec::new, |fingerprints| fingerprints.schedules(ops));
        let mut taken: BTreeMap<u64, u64> = schedules.iter().flatten().map(|op| (*op, 0)).collect();
        for (place, (number, op)) in (1..).zip(script).enumerate() {
            let at = self.apply(op, number)?;
            if let Err(part) = self.compare(at, place, expected) {
                return Ok(Some((number, part)));
            }
            if let Some(fingerprint) = taken.get_mut(&number) {
                *fingerprint = fnv1a64(self.map().as_bytes());
            }
        }
        let fingerprints = expected.map_fnv1a64.as_ref().map_or(&[][..], |fingerprints| &fingerprints.values);
        let fitting = schedules.iter().map(|times| same_fingerprints(times, fingerprints, &taken));
        // Of several readings, one that fits is enough; when none does, the first says what differs.
        let by_map =
            fitting.reduce(|first, next| if first.is_some() && next.is_none() { next } else { first }).flatten();
        Ok(by_map.or_else(|| self.compare_end(expected).err().map(|part| (ops, part))))
    }

    /// The first frame of what moved.
    fn apply(&mut self, op: &Op<'a>, number: u64) -> Result<Option<u64>, String> {
        match *op {
            Op::Take { id, .. } if self.live.contains_key(id) => {
                Err(format!("operation {number} takes `{id}`, which is live already"))
            }
            Op::Take { id, frames } => {
                let Ok(run) = self.memory.allocate(&FrameRequest::frames(frames)) else {
                    self.failed += 1;
                    return Ok(None);
                };
                self.live.insert(id, (run, frames));
                self.owners.insert(run.start.0, (id, run.frames));
                self.waste += run.frames.saturating_sub(frames);
                Ok(Some(run.start.0))
            }
            Op::Give { id } => {
                let Some((run, asked)) = self.live.remove(id) else { return Ok(None) };
                self.owners.remove(&run.start.0);
                self.waste -= run.frames.saturating_sub(asked);
                Ok(self.memory.free(run).is_ok().then_some(run.start.0))
            }
        }
    }

    fn compare(&self, at: Option<u64>, place: usize, expected: &Expected) -> Result<(), Part> {
        let memory = self.memory.as_ref();
        equal("at", &placed(expected.at[place]), &placed(at))?;
        equal("free", &expected.free[place], &memory.free_frames())?;
        equal("largest", &expected.largest[place], &longest_free_run(memory))?;
        equal("holes", &expected.holes[place], &memory.holes())?;
        if let Some(largest_block) = &expected.largest_block {
            equal("largest_block", &largest_block[place], &memory.largest_request())?;
        }
        if let Some(waste) = &expected.waste {
            equal("waste", &waste[place], &self.waste)?;
        }
        match &expected.map {
            Some(map) => equal("map", &map[place], &self.map()),
            None => Ok(()),
        }
    }

    fn compare_end(&self, expected: &Expected) -> Result<(), Part> {
        if let Some(map) = &expected.final_map {
            equal("final_map", map, &self.map())?;
        }
        equal("failed", &expected.failed, &self.failed)?;
        let share = external_fragmentation(longest_free_run(self.memory.as_ref()), self.memory.free_frames());
        if is_rounded_to_nine_digits(share, expected.ext_final) {
            return Ok(());
        }
        equal("ext_final", &format!("{:.9}", expected.ext_final), &format!("{share:.9}"))
    }

    /// The frame map, run by run.
    fn map(&self) -> String {
        let mut text = String::new();
        let mut run = |owner: &str, frames: u64| {
            let space = if text.is_empty() { "" } else { " " };
            write!(text, "{space}{owner}*{frames}").expect("a string takes all text");
        };
        let mut end_of_last = 0;
        for (&start, &(owner, frames)) in &self.owners {
            if start > end_of_last {
                run(".", start - end_of_last);
            }
            run(owner, frames);
            end_of_last = start + frames;
        }
        if self.memory.total_frames() > end_of_last {
            run(".", self.memory.total_frames() - end_of_last);
        }
        text
    }
}

fn same_fingerprints(times: &[u64], expected: &[u64], taken: &BTreeMap<u64, u64>) -> Differs {
    times.iter().zip(expected).find_map(|(op, expected)| {
        let part = equal("map_fnv1a64", &format!("{expected:016x}"), &format!("{:016x}", taken[op])).err()?;
        Some((*op, part))
    })
}

fn equal<T: PartialEq + ToString + ?Sized>(field: &'static str, expected: &T, found: &T) -> Result<(), Part> {
    if expected == found {
        return Ok(());
    }
    Err(Part { field, expected: expected.to_string(), found: found.to_string() })
}

fn placed(at: Option<u64>) -> String {
    at.map_or_else(|| "null".to_owned(), |at| at.to_string())
}

/// Whether `written` is `share` to nine digits, a tie rounded either way.
fn is_rounded_to_nine_digits(share: Ratio, written: f64) -> bool {
    let digits = format!("{written:.9}").replace('.', "");
    let billionths: u128 = digits.parse().unwrap_or(u128::MAX);
    let scaled = billionths.saturating_mul(share.denominator());
    scaled.abs_diff(share.numerator() * 1_000_000_000).saturating_mul(2) <= share.denominator()
}

/// Fowler, Noll and Vo's hash of 64 bits, variant 1a.
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIXTEEN: &str = r#"{"name":"s","family":"x","frames":16,"ops":["a 1 2","a 2 4","f 1","f 1","a 3 11"],
        "expected":{"first":{"at":[0,2,0,null,null],"free":[14,10,12,12,12],"largest":[14,10,10,10,10],
        "holes":[1,1,2,2,2],"map":["1*2 .*14","1*2 2*4 .*10",".*2 2*4 .*10",".*2 2*4 .*10",".*2 2*4 .*10"],
        "failed":1,"ext_final":0.166666667}}}"#;

    fn verdicts(case: &str) -> String {
        match hold(case, &PolicyRegistry::default()) {
            Ok(verdicts) => verdicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            Err(error) => format!("bad case: {error}"),
        }
    }

    fn changed(from: &str, to: &str) -> String {
        assert!(SIXTEEN.contains(from), "{from}");
        verdicts(&SIXTEEN.replacen(from, to, 1))
    }

    #[test]
    fn a_case_that_is_equal_is_exact() {
        assert_eq!(verdicts(SIXTEEN), "s first_fit: exact, 5 operations");
    }

    #[test]
    fn names_the_first_operation_that_differs_and_in_what() {
        for (from, to, says) in [
            ("[0,2,0,null", "[0,3,0,null", "operation 2 (a 2 4): at is 2, expected 3"),
            ("null,null]", "null,6]", "operation 5 (a 3 11): at is null, expected 6"),
            ("[14,10,12", "[14,10,13", "operation 3 (f 1): free is 12, expected 13"),
            ("[14,10,10", "[14,10,12", "operation 3 (f 1): largest is 10, expected 12"),
            ("[1,1,2", "[1,1,1", "operation 3 (f 1): holes is 2, expected 1"),
            ("1*2 2*4 .*10", "1*2 3*4 .*10", "operation 2 (a 2 4): map is 1*2 2*4 .*10, expected 1*2 3*4 .*10"),
            ("\"failed\":1", "\"failed\":0", "operation 5 (a 3 11): failed is 1, expected 0"),
            ("166666667", "166666668", "operation 5 (a 3 11): ext_final is 0.166666667, expected 0.166666668"),
        ] {
            assert_eq!(changed(from, to), format!("s first_fit: {says}"));
        }
    }

    #[test]
    fn what_is_no_case_is_said_and_never_a_verdict() {
        for (from, to, says) in [
            ("a 1 2", "a 1", "case s, operation 1: `a 1` is neither `a ID FRAMES` nor `f ID`"),
            ("a 1 2", "a 1 -2", "case s, operation 1: `a 1 -2` is neither `a ID FRAMES` nor `f ID`"),
            ("a 2 4", "f 1 4", "case s, operation 2: `f 1 4` is neither `a ID FRAMES` nor `f ID`"),
            ("a 2 4", "a 1 4", "case s, first: operation 2 takes `1`, which is live already"),
            ("\"first\"", "\"fist\"", "case s: no policy is called `fist`"),
            ("[0,2,0", "[0,2", "case s, first: `at` has 4 entries for 5 operations"),
            ("\"map\"", "\"maps\"", "case s, first: there is neither `map` nor `final_map`"),
            (":16,", ":0,", "case s has 0 frames; a memory has 1 to 268435456"),
            ("0.166", "1.166", "case s, first: `ext_final` is 1.166666667; a share is 0 to 1"),
        ] {
            assert_eq!(changed(from, to), format!("bad case: {says}"));
        }
        for (from, to, says) in [
            (":16,", ":-16,", "invalid value: integer `-16`"),
            ("\"free\"", "\"freed\"", "missing field `free`"),
            ("}}}", "}}", "EOF while parsing"),
        ] {
            assert!(changed(from, to).contains(says), "{}", changed(from, to));
        }
        let none = r#"{"name":"s","frames":16,"ops":["a 1 2"],"expected":{}}"#;
        assert_eq!(verdicts(none), "bad case: case s: nothing is expected of any policy");
    }

    /// The same script in the form without a map for each operation: `count` takes of one frame, with these fingerprints.
    fn large(count: u64, fingerprints: &[String]) -> String {
        let list = |entry: &dyn Fn(u64) -> String| (1..=count).map(entry).collect::<Vec<_>>().join(",");
        format!(
            r#"{{"name":"l","frames":{count},"ops":[{}],"expected":{{"first":{{"at":[{}],"free":[{}],"largest":[{}],
            "holes":[{}],"map_fnv1a64":[{}],"final_map":"{}","failed":0,"ext_final":0.0}}}}}}"#,
            list(&|n| format!("\"a {n} 1\"")),
            list(&|n| (n - 1).to_string()),
            list(&|n| (count - n).to_string()),
            list(&|n| (count - n).to_string()),
            list(&|n| u64::from(n < count).to_string()),
            fingerprints.join(","),
            map_after(count, count),
        )
    }

    fn map_after(taken: u64, frames: u64) -> String {
        let mut runs: Vec<String> = (1..=taken).map(|id| format!("{id}*1")).collect();
        if taken < frames {
            runs.push(format!(".*{}", frames - taken));
        }
        runs.join(" ")
    }

    /// Fingerprints after these operations of `large`, as numbers for odd places and as text for even ones.
    fn after(times: &[u64], frames: u64) -> Vec<String> {
        let hash = |taken: u64| fnv1a64(map_after(taken, frames).as_bytes());
        let write = |(place, taken): (usize, &u64)| match place % 2 {
            0 => format!("\"{:016x}\"", hash(*taken)),
            _ => hash(*taken).to_string(),
        };
        times.iter().enumerate().map(write).collect()
    }

    #[test]
    fn maps_may_be_given_as_fingerprints_every_hundred_operations_and_at_the_end() {
        for (count, times) in [
            (250, &[100, 200, 250][..]),
            (200, &[100, 200]),
            (200, &[100, 200, 200]),
            (250, &[1, 101, 201, 250]),
            (200, &[1, 101, 200]),
            (201, &[1, 101, 201]),
            (40, &[40]),
        ] {
            let case = large(count, &after(times, count));
            assert_eq!(verdicts(&case), format!("l first_fit: exact, {count} operations"), "{times:?}");
        }
    }

    #[test]
    fn fingerprints_may_name_their_operations() {
        let hashes = after(&[100, 200, 250], 250);
        let plain = format!("[{}]", hashes.join(","));
        let with = |written: &str| verdicts(&large(250, &hashes).replace(&plain, written));
        let pairs = |ops: [u64; 3]| {
            format!("[[{},{}],[{},{}],[{},{}]]", ops[0], hashes[0], ops[1], hashes[1], ops[2], hashes[2])
        };
        let exact = "l first_fit: exact, 250 operations";
        assert_eq!(with(&pairs([100, 200, 250])), exact);
        assert_eq!(with(&pairs([99, 199, 249])), exact);
        assert!(with(&pairs([98, 198, 248])).starts_with("l first_fit: operation 98 (a 98 1): map_fnv1a64 is"));
        assert_eq!(with(&format!("{{\"250\":{},\"100\":{},\"200\":{}}}", hashes[2], hashes[0], hashes[1])), exact);
        let mut nulls = vec!["null".to_owned(); 250];
        for (hash, op) in hashes.iter().zip([100, 200, 250]) {
            nulls[op - 1].clone_from(hash);
        }
        assert_eq!(with(&format!("[{}]", nulls.join(","))), exact);
    }

    #[test]
    fn a_wrong_fingerprint_or_final_map_is_a_difference_and_a_wrong_number_of_them_a_bad_case() {
        let mut fingerprints = after(&[100, 200, 250], 250);
        fingerprints[1] = "\"0123456789abcdef\"".to_owned();
        let found = fnv1a64(map_after(200, 250).as_bytes());
        assert_eq!(
            verdicts(&large(250, &fingerprints)),
            format!("l first_fit: operation 200 (a 200 1): map_fnv1a64 is {found:016x}, expected 0123456789abcdef")
        );
        let case = large(40, &after(&[40], 40)).replace("40*1\"", "41*1\"");
        assert!(
            verdicts(&case).starts_with("l first_fit: operation 40 (a 40 1): final_map is 1*1"),
            "{}",
            verdicts(&case)
        );
        let case = large(40, &after(&[40, 40, 40], 40));
        assert!(
            verdicts(&case).starts_with("bad case: case l, first: `map_fnv1a64` has 3 entries"),
            "{}",
            verdicts(&case)
        );
        let case = large(40, &["\"xyz\"".to_owned()]);
        assert!(verdicts(&case).contains("is no number or hexadecimal text of 64 bits"), "{}", verdicts(&case));
    }

    #[test]
    fn fnv_1a_has_its_published_values() {
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_tie_in_the_ninth_digit_may_be_rounded_either_way() {
        let share = Ratio::new(1, 1024).expect("a denominator above 0");
        assert!(is_rounded_to_nine_digits(share, 0.000_976_562) && is_rounded_to_nine_digits(share, 0.000_976_563));
        assert!(!is_rounded_to_nine_digits(share, 0.000_976_561) && !is_rounded_to_nine_digits(share, 0.000_976_564));
    }
}
