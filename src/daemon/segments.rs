//! The segments of a repair run: in which order they are worked on, what is tried again and what is given up. PURE.
//!
//! ```text
//! waiting ─▶ working ─┬─▶ done
//!    ▲ ◀─ parts ──────├─▶ too large: divided, and the parts worked on at once
//!    │                ├─▶ failed: tried again after a pause, behind all others
//!    └── halves ◀─────┴─▶ failed once more: split; and, where it can be split no further, given up and reported
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{DbIndex, KeyspaceName, Millis, Slot, SlotRange};

/// A part of a run: the keys of one database, or those of them in some slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The database; nothing stands for each replica's default.
    pub db: Option<DbIndex>,
    /// Its keyspaces that are worked on.
    pub keyspaces: Vec<KeyspaceName>,
    /// Its slots; nothing means all.
    pub slots: Option<SlotRange>,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether it is not divided any more, unless it fails.
    pub is_divided: bool,
    /// How often it was halved.
    halvings: u32,
    /// It is not tried before this time.
    not_before: Millis,
}

/// How patient a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often a segment is tried before it is split or given up.
    pub attempts: u32,
    /// The pause before it is tried again; it doubles each time.
    pub backoff: Duration,
    /// The longest pause.
    pub most: Duration,
    /// How often a segment is halved.
    pub halvings: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: Duration::from_secs(5),
            most: Duration::from_secs(120),
            halvings: 2,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// All of it took part.
    Done,
    /// It is large: these are its parts.
    Divided(Vec<SlotRange>),
    /// A part did not.
    Failed {
        /// Why.
        reason: String,
        /// Whether a smaller segment may fare better: something was read before it failed.
        divisible: bool,
    },
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Work on this.
    Work(Segment),
    /// Nothing before this time.
    Wait(Millis),
    /// All is done or given up.
    Nothing,
}

/// How many segments stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Done.
    pub done: u64,
    /// Given up.
    pub failed: u64,
    /// Waiting, or worked on.
    pub open: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// Segments that were halved.
    pub split: u64,
}

/// The segments of a run.
#[derive(Debug)]
pub struct Segments {
    patience: Patience,
    waiting: VecDeque<Segment>,
    working: bool,
    tally: Tally,
    failed: Vec<(Segment, String)>,
}

impl Segment {
    /// A segment of a database.
    pub fn new(
        db: Option<DbIndex>,
        keyspaces: Vec<KeyspaceName>,
        slots: Option<SlotRange>,
    ) -> Self {
        Self {
            db,
            keyspaces,
            slots,
            attempts: 0,
            is_divided: false,
            halvings: 0,
            not_before: Millis(0),
        }
    }

    /// Both halves; nothing for a single slot.
    fn halves(&self) -> Option<[Self; 2]> {
        let (first, last) = self.slots.map_or((0, Slot::COUNT - 1), |slots| {
            (slots.first().number(), slots.last().number())
        });
        let middle = first + (last - first) / 2;
        let half = |first, last| {
            let slots = SlotRange::new(Slot::new(first)?, Slot::new(last)?)?;
            Some(Self {
                slots: Some(slots),
                attempts: 0,
                halvings: self.halvings + 1,
                ..self.clone()
            })
        };
        Some([half(first, middle)?, half(middle + 1, last)?])
    }
}

impl std::fmt::Display for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.db {
            Some(db) => write!(f, "database {db}")?,
            None => write!(f, "the default database")?,
        }
        match self.slots {
            Some(slots) => write!(f, ", slots {slots}"),
            None => Ok(()),
        }
    }
}

impl Segments {
    /// All of them are waiting.
    pub fn new(patience: Patience, segments: impl IntoIterator<Item = Segment>) -> Self {
        Self {
            patience,
            waiting: segments.into_iter().collect(),
            working: false,
            tally: Tally::default(),
            failed: Vec::new(),
        }
    }

    /// Takes the first that may be tried.
    pub fn next(&mut self, now: Millis) -> Next {
        let ready = |segment: &Segment| segment.not_before <= now;
        if let Some(mut segment) = self
            .waiting
            .iter()
            .position(ready)
            .and_then(|at| self.waiting.remove(at))
        {
            segment.attempts += 1;
            self.tally.retried += u64::from(segment.attempts > 1);
            self.working = true;
            return Next::Work(segment);
        }
        let soonest = self.waiting.iter().map(|segment| segment.not_before).min();
        soonest.map_or(Next::Nothing, Next::Wait)
    }

    /// Whether this is the last attempt on a segment as it is.
    pub fn is_last(&self, segment: &Segment) -> bool {
        segment.attempts >= self.patience.attempts
    }

    /// An attempt on a segment that [`Self::next`] gave out has ended. Answers whether it was given up.
    pub fn ended(&mut self, segment: Segment, attempt: Attempt, now: Millis) -> bool {
        self.working = false;
        let (reason, divisible) = match attempt {
            Attempt::Done => {
                self.tally.done += 1;
                return false;
            }
            Attempt::Divided(parts) => {
                self.divide(&segment, &parts);
                return false;
            }
            Attempt::Failed { reason, divisible } => (reason, divisible),
        };
        if !self.is_last(&segment) {
            self.waiting.push_back(self.later(segment, now));
            return false;
        }
        let may_split = divisible && segment.halvings < self.patience.halvings;
        if let Some(halves) = segment.halves().filter(|_| may_split) {
            self.tally.split += 1;
            let halves = halves.map(|half| self.later(half, now));
            self.waiting.extend(halves);
            return false;
        }
        self.tally.failed += 1;
        self.failed.push((segment, reason));
        true
    }

    /// The parts are worked on before all others, in their order.
    fn divide(&mut self, segment: &Segment, parts: &[SlotRange]) {
        for slots in parts.iter().rev() {
            let part = Segment {
                slots: Some(*slots),
                attempts: 0,
                is_divided: true,
                ..segment.clone()
            };
            self.waiting.push_front(part);
        }
    }

    fn later(&self, segment: Segment, now: Millis) -> Segment {
        let doublings = segment.attempts.saturating_sub(1).min(16);
        let pause = self.patience.backoff * 2_u32.pow(doublings);
        Segment {
            not_before: now.plus(pause.min(self.patience.most)),
            ..segment
        }
    }

    /// How they stand.
    pub fn tally(&self) -> Tally {
        Tally {
            open: self.waiting.len() as u64 + u64::from(self.working),
            ..self.tally
        }
    }

    /// Those that were given up, and why.
    pub fn failed(&self) -> &[(Segment, String)] {
        &self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        attempts: 2,
        backoff: Duration::from_secs(1),
        most: Duration::from_secs(3),
        halvings: 1,
    };

    fn segments(databases: u32) -> Segments {
        let segment = |db| Segment::new(Some(DbIndex(db)), vec![], None);
        Segments::new(PATIENCE, (0..databases).map(segment))
    }

    fn take(segments: &mut Segments, now: i64) -> Segment {
        match segments.next(Millis(now)) {
            Next::Work(segment) => segment,
            other => panic!("{other:?}"),
        }
    }

    fn failed(divisible: bool) -> Attempt {
        Attempt::Failed {
            reason: "it was slow".into(),
            divisible,
        }
    }

    #[test]
    fn what_failed_goes_behind_the_others_and_waits() {
        let mut all = segments(2);
        let first = take(&mut all, 0);
        assert!(!all.ended(first, failed(false), Millis(0)));
        let second = take(&mut all, 0);
        assert_eq!(second.db, Some(DbIndex(1)));
        all.ended(second, Attempt::Done, Millis(10));
        assert_eq!(all.next(Millis(10)), Next::Wait(Millis(1000)));
        let again = take(&mut all, 1000);
        assert_eq!((again.db, again.attempts), (Some(DbIndex(0)), 2));
        all.ended(again, Attempt::Done, Millis(1100));
        assert_eq!(all.next(Millis(1100)), Next::Nothing);
        let tally = Tally {
            done: 2,
            retried: 1,
            ..Tally::default()
        };
        assert_eq!(all.tally(), tally);
    }

    #[test]
    fn what_fails_again_is_halved_and_then_reported_while_the_rest_goes_on() {
        let mut all = segments(1);
        for now in [0, 5_000] {
            let whole = take(&mut all, now);
            assert_eq!(whole.slots, None);
            assert!(!all.ended(whole, failed(true), Millis(now)));
        }
        let (mut given_up, mut slots, mut now) = (0, vec![], 10_000);
        while let Next::Work(half) = all.next(Millis(now)) {
            let is_first = half.slots.is_some_and(|slots| slots.first().number() == 0);
            slots.extend(half.slots.map(|slots| slots.to_string()));
            let attempt = if is_first {
                failed(true)
            } else {
                Attempt::Done
            };
            given_up += u32::from(all.ended(half, attempt, Millis(now)));
            now += 5_000;
        }
        assert_eq!(slots, ["0-8191", "8192-16383", "0-8191"]);
        assert_eq!(given_up, 1);
        let shown: Vec<String> = all
            .failed()
            .iter()
            .map(|(one, _)| one.to_string())
            .collect();
        assert_eq!(shown, ["database 0, slots 0-8191"]);
        let tally = Tally {
            done: 1,
            failed: 1,
            open: 0,
            retried: 2,
            split: 1,
        };
        assert_eq!(all.tally(), tally);
    }

    #[test]
    fn what_is_large_is_divided_and_its_parts_come_first() {
        let mut all = segments(2);
        let first = take(&mut all, 0);
        let parts = SlotRange::all().divided(3);
        assert!(!all.ended(first, Attempt::Divided(parts.clone()), Millis(0)));
        assert_eq!(all.tally().open, 4);
        for slots in parts {
            let part = take(&mut all, 0);
            assert_eq!((part.db, part.slots), (Some(DbIndex(0)), Some(slots)));
            assert_eq!((part.attempts, part.is_divided), (1, true));
            all.ended(part, Attempt::Done, Millis(0));
        }
        let second = take(&mut all, 0);
        assert_eq!((second.db, second.is_divided), (Some(DbIndex(1)), false));
        all.ended(second, Attempt::Done, Millis(0));
        let tally = Tally {
            done: 4,
            ..Tally::default()
        };
        assert_eq!(all.tally(), tally);
    }

    #[test]
    fn what_cannot_be_split_is_given_up() {
        let mut all = segments(1);
        for (now, given_up) in [(0, false), (5_000, true)] {
            let whole = take(&mut all, now);
            assert_eq!(all.ended(whole, failed(false), Millis(now)), given_up);
        }
        assert_eq!(all.failed().len(), 1);
    }
}
