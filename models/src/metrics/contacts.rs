//! Which live runs touch free memory: the counts behind the fifty-percent rule.

use crate::frames::FrameRun;

/// Contacts of live runs and of the two ends of memory with free runs.
///
/// Each free run has two sides, and each side touches a live run or an end of memory, so always
/// `2 * holes = 2 * both + one + ends` (Knuth, TAOCP vol. 1, section 2.5, the fifty-percent rule).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contacts {
    /// Live runs with free memory on both sides (A).
    pub both: u64,
    /// Live runs with free memory on one side (B).
    pub one: u64,
    /// Live runs between others or the ends of memory (C).
    pub none: u64,
    /// Ends of memory that touch a free run (e).
    pub ends: u64,
}

impl Contacts {
    /// The contacts in a memory of `frames` frames whose live runs, ascending, are `live`.
    #[must_use]
    pub fn of(frames: u64, live: impl IntoIterator<Item = FrameRun>) -> Contacts {
        let mut contacts = Contacts::default();
        // The run that waits for its neighbour above: whether memory below it is free, and its end.
        let mut waiting: Option<(bool, u64)> = None;
        for run in live {
            let gap = run.start.0 > waiting.map_or(0, |(_, end)| end);
            match waiting {
                Some((below, _)) => contacts.count(below, gap),
                None => contacts.ends += u64::from(gap),
            }
            waiting = Some((gap, run.end().0));
        }
        let gap = frames > waiting.map_or(0, |(_, end)| end);
        contacts.ends += u64::from(gap);
        match waiting {
            Some((below, _)) => contacts.count(below, gap),
            // Nothing is live: both ends touch the one free run.
            None => contacts.ends += u64::from(gap),
        }
        contacts
    }

    /// Free runs, by the identity.
    #[must_use]
    pub fn holes(&self) -> u64 {
        (2 * self.both + self.one + self.ends) / 2
    }

    fn count(&mut self, below: bool, above: bool) {
        match (below, above) {
            (true, true) => self.both += 1,
            (false, false) => self.none += 1,
            _ => self.one += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters are live runs, `.` is free; both A, one B, none C, ends e.
    fn contacts(map: &str) -> String {
        let mut live: Vec<FrameRun> = Vec::new();
        let mut last = '.';
        for (frame, owner) in (0..).zip(map.chars()) {
            match (owner, live.last_mut()) {
                ('.', _) => {}
                (owner, Some(run)) if owner == last => run.frames += 1,
                _ => live.push(FrameRun::new(frame, 1)),
            }
            last = owner;
        }
        let found = Contacts::of(map.len() as u64, live);
        format!("A {} B {} C {} e {} holes {}", found.both, found.one, found.none, found.ends, found.holes())
    }

    #[test]
    fn each_side_of_a_free_run_touches_a_live_run_or_an_end() {
        assert_eq!(contacts("AA.BB..CDDE."), "A 1 B 3 C 1 e 1 holes 3");
        assert_eq!(contacts("..A.."), "A 1 B 0 C 0 e 2 holes 2");
        assert_eq!(contacts("AABB"), "A 0 B 0 C 2 e 0 holes 0");
        assert_eq!(contacts("...."), "A 0 B 0 C 0 e 2 holes 1");
        assert_eq!(contacts(".A"), "A 0 B 1 C 0 e 1 holes 1");
    }
}
