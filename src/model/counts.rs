//! Counts: what each replica's clients added to a counter and took from it, as the functions of `store` keep it beside
//! the key.
//!
//! ```text
//! ._counts_<key>      since ─▶ when it began      base ─▶ from what      +NAME, -NAME ─▶ sums that NAME's clients counted
//! ```
//!
//! A hash, whose sums only rise. A counter begins with the last write or removal of the whole key that its replica knew:
//! `since` is empty where there was none, and `base` is missing where there was no key.
//!
//! Deliberately absent: what follows from several, which is `crdt`'s business.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Key, Score, Stamp};

const PREFIX: &[u8] = b"._counts_";
const BASE: &[u8] = b"base";

/// What was counted at a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// When the counter began; nothing where nobody knows.
    pub since: Option<Stamp>,
    /// What it began from; nothing where there was no key.
    pub base: Option<i64>,
    /// By sign and name of the replica, what was counted there: never negative.
    pub parts: BTreeMap<Bytes, i64>,
}

impl Counts {
    /// The field that says when the counter began.
    pub const SINCE: &[u8] = b"since";

    /// The key that holds the counts of another.
    pub fn of_key(key: &Key) -> Key {
        Key::new([PREFIX, key.as_bytes()].concat())
    }

    /// The key whose counts a hash of this name holds.
    pub fn owner(name: &[u8]) -> Option<Key> {
        name.strip_prefix(PREFIX).map(Key::copied)
    }

    /// Reads the fields of the hash; nothing where it is empty.
    ///
    /// # Errors
    /// The field that is none of these.
    pub fn parse(fields: &BTreeMap<Bytes, Bytes>) -> Result<Option<Self>, String> {
        if fields.is_empty() {
            return Ok(None);
        }
        let mut counts = Self::default();
        for (name, value) in fields {
            let number = || std::str::from_utf8(value).ok()?.parse::<i64>().ok();
            let is_read = match name.as_ref() {
                Self::SINCE => {
                    counts.since = Score::parse(value).map(Stamp);
                    counts.since.is_some() || value.is_empty()
                }
                BASE => {
                    counts.base = number();
                    counts.base.is_some()
                }
                [b'+' | b'-', ..] => {
                    let part = number().filter(|part| *part >= 0);
                    part.map(|part| counts.parts.insert(name.clone(), part));
                    part.is_some()
                }
                _ => false,
            };
            if !is_read {
                return Err(format!("field {}", super::escape(name)));
            }
        }
        Ok(Some(counts))
    }

    /// The fields of the hash, in order.
    pub fn fields(&self) -> Vec<(Bytes, Bytes)> {
        let since = self.since.map_or_else(String::new, |at| at.0.to_text());
        let base = self.base.map(|base| (BASE, base.to_string()));
        let head = [Some((Self::SINCE, since)), base].into_iter().flatten();
        let head = head.map(|(name, text)| (Bytes::from_static(name), Bytes::from(text)));
        let parts = self.parts.iter();
        head.chain(parts.map(|(name, part)| (name.clone(), part.to_string().into())))
            .collect()
    }

    /// What the counter stands at; nothing where no integer holds that.
    pub fn total(&self) -> Option<i64> {
        let base = i128::from(self.base.unwrap_or(0));
        let parts = self
            .parts
            .iter()
            .map(|(name, part)| sign(name) * i128::from(*part));
        i64::try_from(base + parts.sum::<i128>()).ok()
    }

    /// The parts that are greater here, as they are here.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> BTreeMap<Bytes, i64> {
        let parts = self.parts.iter();
        let is_greater = |(name, part): &(&Bytes, &i64)| other.parts.get(*name) < Some(*part);
        parts
            .filter(is_greater)
            .map(|(name, part)| (name.clone(), *part))
            .collect()
    }
}

fn sign(name: &[u8]) -> i128 {
    if name.starts_with(b"-") { -1 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(fields: &[(&'static str, &'static str)]) -> BTreeMap<Bytes, Bytes> {
        let fields = fields.iter();
        fields
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn counts_are_read_as_they_are_written_and_nothing_else_is_taken_for_them() {
        let fields = [
            ("since", "1795461905850.0005"),
            ("base", "-3"),
            ("+us", "9"),
            ("-eu", "2"),
        ];
        let counts = Counts::parse(&hash(&fields)).unwrap().unwrap();
        assert_eq!(counts.total(), Some(4));
        let written: BTreeMap<Bytes, Bytes> = counts.fields().into_iter().collect();
        assert_eq!(Counts::parse(&written).unwrap().unwrap(), counts);
        assert_eq!(Counts::parse(&hash(&[])), Ok(None));
        let begun = Counts::parse(&hash(&[("since", "")])).unwrap().unwrap();
        assert_eq!(begun, Counts::default());
        for odd in [
            ("since", "x"),
            ("base", ""),
            ("+us", "-1"),
            ("us", "1"),
            ("+us", "1.5"),
        ] {
            assert!(Counts::parse(&hash(&[odd])).is_err(), "{odd:?}");
        }
        let most = Counts {
            base: Some(i64::MAX),
            parts: [("+us".into(), 1)].into(),
            ..Counts::default()
        };
        assert_eq!(most.total(), None);
    }
}
