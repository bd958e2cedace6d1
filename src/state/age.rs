//! How old things are, as far as a clock can be believed.
//!
//! A clock that jumps ahead by years would make all that is remembered old at once, and nothing could tell afterwards
//! what was. So two things must hold before something goes by its age: it is older by the clock, and so much time was
//! seen to pass since it was there. Of the time between two prunings, at most [`A_SPAN`] counts.
//!
//! ```text
//! clock    T0 ── T1 ───────── ten years ───────── T2 ── T3
//! passed    0    1 h                            25 h   26 h
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Millis;

use super::error::StateError;
use super::{Result, State};

/// Between two prunings no more than this is taken for time that passed.
const A_SPAN: Duration = Duration::from_secs(24 * 60 * 60);

/// Under which name it stands among the notes.
const NOTE: &str = "time that passed";

/// Marks that are kept; the more, the nearer to its age a thing goes.
const MARKS: usize = 64;

/// The format of the note.
const FORMAT: u64 = 1;

/// The time that was seen to pass in a state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Passed {
    format: u64,
    /// Milliseconds that passed.
    passed: u64,
    /// What the clock last showed.
    last: i64,
    /// What it showed when how much had passed, both rising.
    marks: Vec<(i64, u64)>,
}

impl Passed {
    /// Nothing passed yet.
    fn since(begun: Millis) -> Self {
        Self {
            format: FORMAT,
            passed: 0,
            last: begun.0,
            marks: vec![(begun.0, 0)],
        }
    }

    /// The clock shows another time. Where it jumped back, nothing passed, and what it showed ahead of that was wrong.
    fn show(&mut self, now: Millis) {
        let span = u64::try_from(now.0.saturating_sub(self.last)).unwrap_or(0);
        self.passed = self.passed.saturating_add(span.min(millis(A_SPAN)));
        self.last = now.0;
        self.marks.retain(|(at, _)| *at < now.0);
        self.marks.push((now.0, self.passed));
    }

    /// What is needed of the marks when nothing is asked for that is older than this.
    fn thin(&mut self, longest: Duration) {
        let needed = self
            .marks
            .iter()
            .rposition(|mark| self.is_old(mark, longest));
        self.marks.drain(..needed.unwrap_or(0));
        while self.marks.len() > MARKS {
            let width = |at: &usize| self.marks[at + 1].1 - self.marks[at - 1].1;
            let least = (1..self.marks.len() - 1).min_by_key(width);
            self.marks.remove(least.expect("there are more than two"));
        }
    }

    fn is_old(&self, (_, passed): &(i64, u64), age: Duration) -> bool {
        self.passed.saturating_sub(*passed) >= millis(age)
    }

    /// What was last there before this time is older than `age`.
    pub(super) fn before(&self, age: Duration) -> Millis {
        let by_clock = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let by_clock = self.last.saturating_sub(by_clock);
        let seen = self.marks.iter().rev().find(|mark| self.is_old(mark, age));
        // What stood there when the mark was made is as old as the mark.
        let seen = seen.map_or(i64::MIN, |(at, _)| at.saturating_add(1));
        Millis(by_clock.min(seen))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl State {
    /// Notes what the clock shows, and answers how much time passed; nothing is asked for that is older than `longest`.
    ///
    /// # Errors
    /// When the note cannot be read or written.
    pub(super) fn pass(&self, now: Millis, longest: Duration) -> Result<Passed> {
        let mut passed = match self.note(NOTE)? {
            Some(bytes) => self.parse_passed(&bytes)?,
            None => Passed::since(self.created()),
        };
        passed.show(now);
        passed.thin(longest);
        let bytes = serde_json::to_vec(&passed).expect("numbers are JSON");
        self.put_note_unsynced(NOTE, &bytes)?;
        Ok(passed)
    }

    fn parse_passed(&self, bytes: &[u8]) -> Result<Passed> {
        let path = self.0.store.path();
        let parsed: Passed = serde_json::from_slice(bytes).map_err(|error| {
            StateError::unreadable(path, format!("the time that passed is unreadable: {error}"))
        })?;
        if parsed.format > FORMAT {
            return Err(StateError::Newer {
                path: path.to_owned(),
                found: parsed.format,
                ours: FORMAT,
            });
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60 * 60 * 1000;
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn at(hour: i64) -> Millis {
        Millis(hour * HOUR)
    }

    fn shown(hours: impl IntoIterator<Item = i64>) -> Passed {
        let mut passed = Passed::since(at(0));
        for hour in hours {
            passed.show(at(hour));
            passed.thin(DAY * 7);
        }
        passed
    }

    #[test]
    fn the_note_is_frozen() {
        let text =
            r#"{"format":1,"passed":3600000,"last":3600000,"marks":[[0,0],[3600000,3600000]]}"#;
        assert_eq!(serde_json::to_string(&shown([1])).unwrap(), text);
    }

    #[test]
    fn where_the_clock_is_right_its_word_stands() {
        let passed = shown((1..=240).map(|number| number * 2));
        let before = passed.before(DAY * 7).0;
        let exact = (480 - 7 * 24) * HOUR;
        assert!(before <= exact && before > exact - 8 * HOUR, "{before}");
        assert!(passed.marks.len() <= MARKS + 1, "{}", passed.marks.len());
    }

    #[test]
    fn a_clock_that_jumps_ahead_makes_nothing_old_nor_does_its_way_back() {
        let years = 10 * 365 * 24;
        let mut passed = shown([1, 2, years, years + 1, years + 2]);
        assert!(passed.before(DAY * 7) < at(0));
        for hour in 3..100 {
            passed.show(at(hour));
            assert!(passed.before(DAY * 7) < at(0), "{hour}");
        }
    }

    #[test]
    fn where_the_clock_stays_ahead_things_grow_old_again() {
        let years = 10 * 365 * 24;
        let passed = shown([1].into_iter().chain((0..30).map(|day| years + day * 24)));
        assert!(passed.before(DAY * 7) > at(years));
    }

    #[test]
    fn a_clock_that_jumps_back_makes_nothing_old() {
        let mut passed = shown([1, 200, 400]);
        for hour in [300, 2, i64::MIN / HOUR] {
            passed.show(at(hour));
            assert!(passed.before(DAY * 7) < at(0));
        }
    }
}
