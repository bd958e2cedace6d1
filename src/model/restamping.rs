//! What a write does to the stamps beside a key, and the way back from it.
//!
//! ```text
//! witness ──▶ before ─┐                     now ─▶ is it what was written? ─▶ back: now, but for what was changed
//! Op::Stamp ─▶ wrote ─┘
//! ```

use super::{Counts, Expect, Op, Stamped, Stamps, Write};

/// What a write did to the stamps beside a key: of elements those alone that it changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restamping {
    /// The stamps before it.
    pub before: Stamps,
    /// The stamps after it.
    pub wrote: Stamps,
}

impl Write {
    /// What it does to the stamps beside its key; nothing where it writes none.
    pub fn restamping(&self) -> Option<Box<Restamping>> {
        let Expect::Stamped(witness) = &self.expect else {
            return None;
        };
        let mut before = witness.stamps.clone();
        let mut wrote = before.clone();
        for op in &self.ops {
            match op {
                Op::Stamp(stamps) => wrote.take(stamps),
                Op::Uncount => wrote.counts = None,
                _ => {}
            }
        }
        let after = wrote.clone();
        let is_changed = |name: &[u8]| before.of(name) != after.of(name);
        wrote.elements.retain(|name, _| is_changed(name));
        let changed = &wrote.elements;
        before.elements.retain(|name, _| changed.contains_key(name));
        Some(Box::new(Restamping { before, wrote }))
    }
}

impl Stamps {
    /// Becomes what [`Op::Stamp`] makes of it.
    fn take(&mut self, stamps: &Stamps) {
        self.key = Stamped {
            added: stamps
                .key
                .added
                .map(|at| self.key.added.map_or(at, |now| now.max(at))),
            ..stamps.key
        };
        self.elements.extend(
            stamps
                .elements
                .iter()
                .map(|(name, one)| (name.clone(), *one)),
        );
        self.counts = match (self.counts.take(), &stamps.counts) {
            (now, None) => now,
            (None, Some(counts)) => Some(counts.clone()),
            (Some(mut now), Some(counts)) => {
                now.parts.extend(counts.parts.clone());
                Some(Counts {
                    parts: now.parts,
                    ..counts.clone()
                })
            }
        };
    }
}

impl Restamping {
    /// Whether the stamps are still those that were written.
    pub fn stands(&self, now: &Stamps) -> bool {
        is_as(now.key, self.wrote.key) && self.stands_at_elements(now) && self.is_counted(now)
    }

    /// The same of elements alone: others may have been written since.
    pub fn stands_at_elements(&self, now: &Stamps) -> bool {
        let mut written = self.wrote.elements.iter();
        written.all(|(name, wrote)| is_as(now.of(name), *wrote))
    }

    fn is_counted(&self, now: &Stamps) -> bool {
        match (&now.counts, &self.wrote.counts) {
            (None, None) => true,
            (Some(now), Some(wrote)) => {
                let mut parts = wrote.parts.iter();
                (now.since, now.base) == (wrote.since, wrote.base)
                    && parts.all(|(name, part)| now.parts.get(name) == Some(part))
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// The stamps as they are to be: those before the write, and what it did not change as it is now.
    #[must_use]
    pub fn back(&self, now: &Stamps) -> Stamps {
        let mut back = now.clone();
        if is_as(now.key, self.wrote.key) {
            back.key = self.before.key;
        }
        for name in self.wrote.elements.keys() {
            match self.before.of(name) {
                silent if silent.is_silent() => back.elements.remove(name),
                before => back.elements.insert(name.clone(), before),
            };
        }
        back.counts = self.counts_back(now);
        back
    }

    fn counts_back(&self, now: &Stamps) -> Option<Counts> {
        let (before, wrote) = (self.before.counts.as_ref()?, self.wrote.counts.as_ref());
        let (Some(wrote), Some(mut back)) = (wrote, now.counts.clone()) else {
            return Some(before.clone());
        };
        if (before.since, before.base) != (wrote.since, wrote.base) {
            return Some(before.clone());
        }
        for name in wrote.parts.keys() {
            match before.parts.get(name) {
                None => back.parts.remove(name),
                Some(part) => back.parts.insert(name.clone(), *part),
            };
        }
        Some(back)
    }
}

/// Whether nothing was written since. A removal that every replica listed for long enough is listed no more.
fn is_as(now: Stamped, wrote: Stamped) -> bool {
    now == wrote || wrote.added.is_none() && now.is_silent()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::model::{Stamp, Witness};

    fn stamped(added: i64, removed: i64) -> Stamped {
        let at = |millis: i64| (millis > 0).then(|| Stamp::millis(millis));
        Stamped {
            added: at(added),
            removed: at(removed),
        }
    }

    fn stamps(key: Stamped, elements: &[(&'static str, Stamped)]) -> Stamps {
        let elements = elements.iter();
        Stamps {
            key,
            elements: elements
                .map(|(name, one)| (Bytes::from_static(name.as_bytes()), *one))
                .collect(),
            counts: None,
        }
    }

    fn write(witness: Stamps, ops: Vec<Op>) -> Write {
        Write {
            key: "k".into(),
            expect: Expect::Stamped(Box::new(Witness {
                held: None,
                touched: None,
                stamps: witness,
                only_stamps: false,
                watched: None,
                is_unraised: false,
            })),
            ops,
        }
    }

    #[test]
    fn what_was_not_changed_stays_as_it_is_by_now() {
        let held = stamps(stamped(5, 0), &[("a", stamped(5, 0)), ("b", stamped(4, 0))]);
        let put = stamps(stamped(7, 0), &[("a", stamped(0, 6)), ("b", stamped(4, 0))]);
        let done = write(held, vec![Op::Remove, Op::Stamp(put)])
            .restamping()
            .unwrap();
        assert_eq!(done.before, stamps(stamped(5, 0), &[("a", stamped(5, 0))]));
        assert_eq!(done.wrote, stamps(stamped(7, 0), &[("a", stamped(0, 6))]));
        let now = stamps(stamped(7, 0), &[("a", stamped(0, 6)), ("b", stamped(9, 0))]);
        assert!(done.stands(&now));
        let back = stamps(stamped(5, 0), &[("a", stamped(5, 0)), ("b", stamped(9, 0))]);
        assert_eq!(done.back(&now), back);
        // The removal is forgotten by now: nobody wrote anything since.
        assert!(done.stands(&stamps(stamped(7, 0), &[])));
        // Somebody did.
        assert!(!done.stands(&stamps(stamped(8, 0), &[("a", stamped(0, 6))])));
        assert!(!done.stands(&stamps(stamped(7, 0), &[("a", stamped(8, 0))])));
    }

    #[test]
    fn the_last_write_of_a_key_is_only_raised_unless_it_was_taken_away() {
        let held = stamps(stamped(5, 0), &[]);
        let lower = Op::Stamp(stamps(stamped(3, 0), &[]));
        let none = Op::Stamp(stamps(stamped(0, 0), &[]));
        let wrote = |ops| write(held.clone(), ops).restamping().unwrap().wrote.key;
        assert_eq!(wrote(vec![lower.clone()]), stamped(5, 0));
        assert_eq!(wrote(vec![none, lower]), stamped(3, 0));
    }

    #[test]
    fn parts_that_others_counted_are_taken_back_and_the_rest_goes_on() {
        let counts = |parts: &[(&'static str, i64)]| Stamps {
            counts: Some(Counts {
                since: None,
                base: Some(1),
                parts: parts
                    .iter()
                    .map(|(name, part)| (Bytes::from_static(name.as_bytes()), *part))
                    .collect::<BTreeMap<_, _>>(),
            }),
            ..Stamps::default()
        };
        let put = Op::Stamp(counts(&[("+a", 5), ("-b", 2)]));
        let done = write(counts(&[("+a", 3)]), vec![Op::IncreaseBy(0), put]);
        let done = done.restamping().unwrap();
        let now = counts(&[("+a", 5), ("-b", 2), ("+c", 9)]);
        assert!(done.stands(&now));
        assert_eq!(done.back(&now), counts(&[("+a", 3), ("+c", 9)]));
        assert!(!done.stands(&counts(&[("+a", 6), ("-b", 2)])));
    }
}
