//! The agreement and what proves it: records per key, lags per key and replica, sequences, markers and voids.
//!
//! ```text
//! sequences   1 ──────── 5 ──────── 9 ──────── 12          rise for ever, one per step of a run
//! marker      what a replica shows: the last step it took part in
//! agreement   proved at the sequence whose markers were acknowledged after its state was read
//! void        (5, 9]: a base proved there is not to be used, the replica lost what came after 5
//! ```

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::{Memory, Millis, Seen, Version};

/// Tells one state directory from all others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(pub [u8; 16]);

/// A replica's identity in a state directory; names are only shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub [u8; 8]);

/// Tells the process that may write through a lane from one that is dead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerToken(pub [u8; 8]);

/// The number of a run, rising within a state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RunNumber(pub u64);

/// The number of a step, rising within a state directory, never used again. Zero is before the first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

/// What is agreed on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// Rises with each change, never used again.
    pub version: Version,
    /// What was agreed; nothing if the key was removed: a tombstone.
    pub memory: Option<Memory>,
    /// Elements that were removed, with the version of their removal, while that is remembered.
    pub removed: BTreeMap<Bytes, Version>,
    /// The step whose markers proved it, at every replica that has no [`Lag`].
    pub proved: Sequence,
    /// When the version came about, for retention.
    pub since: Millis,
}

/// What is known of a replica that is not, or not provably, at a key's latest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// Its state when it last took part.
    pub base: LagBase,
    /// The versions it has seen.
    pub seen: Seen,
    /// The step whose marker proved the base.
    pub proved: Sequence,
    /// The last step in which the key's agreement moved while the replica lagged: by it, what was in force at an
    /// earlier step is found again.
    pub since: Sequence,
    /// Whether the key was missing there because the replica evicts: its absence is no removal.
    pub evicted: bool,
}

/// The base of a replica that lags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LagBase {
    /// What is agreed: it has everything, and only the proof is another.
    Agreed,
    /// This; nothing if the key was absent.
    Held(Option<Memory>),
    /// Nothing is known: a newcomer that did not take part since.
    Unknown,
}

/// A marker's value: what a replica shows of the last step that it took part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Whose it is.
    pub state: StateId,
    /// Who may write through the lane.
    pub owner: OwnerToken,
    /// The run that wrote it.
    pub run: RunNumber,
    /// The step.
    pub sequence: Sequence,
    /// Which writes of the step's batch were in its transaction, by place; keys that were superseded are not.
    pub written: u64,
}

/// What was acknowledged by the markers of one replica and database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// The first step.
    pub first: Sequence,
    /// The last one whose marker was acknowledged.
    pub acknowledged: Sequence,
}

/// Intervals of steps that one replica and database forgot: `(after, to]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Voids(pub Vec<(Sequence, Sequence)>);

impl Voids {
    /// Whether a base proved at this step may not be used; answers the step that the replica still remembers.
    pub fn covering(&self, proved: Sequence) -> Option<Sequence> {
        let covers = |(after, to): &&(Sequence, Sequence)| *after < proved && proved <= *to;
        self.0.iter().filter(covers).map(|(after, _)| *after).min()
    }

    /// Adds an interval.
    pub fn add(&mut self, after: Sequence, to: Sequence) {
        if after < to {
            self.0
                .retain(|(from, until)| !(after <= *from && *until <= to));
            self.0.push((after, to));
        }
    }
}

macro_rules! hexadecimal {
    ($name:ident, $length:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl $name {
            /// Reads what `Display` shows.
            pub fn parse(text: &str) -> Option<Self> {
                if text.len() != 2 * $length || !text.is_ascii() {
                    return None;
                }
                let mut bytes = [0; $length];
                for (index, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
                }
                Some(Self(bytes))
            }
        }
    };
}

hexadecimal!(StateId, 16);
hexadecimal!(ReplicaId, 8);
hexadecimal!(OwnerToken, 8);

impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Marker {
    /// The version of the format below.
    pub const FORMAT: u8 = 1;

    /// The marker as it stands in a replica, readable for operators:
    /// `1 STATE OWNER RUN SEQUENCE WRITTEN`, the last in hexadecimal.
    pub fn encode(&self) -> String {
        format!(
            "{} {} {} {} {} {:x}",
            Self::FORMAT,
            self.state,
            self.owner,
            self.run,
            self.sequence.0,
            self.written
        )
    }

    /// Whether the write at this place of a step is known to have happened. Only the last step's places are told: an
    /// earlier step's outcome was on disk before the next one was taken.
    pub fn proves(&self, step: Sequence, place: u8) -> bool {
        match self.sequence.cmp(&step) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => self.written >> place & 1 == 1,
            std::cmp::Ordering::Greater => true,
        }
    }

    /// Reads a marker; nothing for what is none, or of another format.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut words = text.split(' ');
        if words.next()?.parse() != Ok(Self::FORMAT) {
            return None;
        }
        let marker = Self {
            state: StateId::parse(words.next()?)?,
            owner: OwnerToken::parse(words.next()?)?,
            run: RunNumber(words.next()?.parse().ok()?),
            sequence: Sequence(words.next()?.parse().ok()?),
            written: u64::from_str_radix(words.next()?, 16).ok()?,
        };
        words.next().is_none().then_some(marker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: Marker = Marker {
        state: StateId([0xab; 16]),
        owner: OwnerToken([1; 8]),
        run: RunNumber(7),
        sequence: Sequence(42),
        written: 0b101,
    };

    #[test]
    fn the_format_of_a_marker_is_frozen() {
        let text = "1 abababababababababababababababab 0101010101010101 7 42 5";
        assert_eq!(MARKER.encode(), text);
        assert_eq!(Marker::decode(text.as_bytes()), Some(MARKER));
    }

    #[test]
    fn a_marker_proves_its_own_step_by_place_and_every_earlier_one() {
        let proves = |step, place| MARKER.proves(Sequence(step), place);
        assert!(proves(42, 0) && !proves(42, 1) && proves(42, 2));
        assert!(proves(41, 1) && !proves(43, 0));
    }

    #[test]
    fn what_is_no_marker_is_not_read_as_one() {
        for bad in [
            "",
            "1",
            "2 ab 01 7 42 5",
            "1 ab 01 7 42 5",
            "x y z",
            "1 abababababababababababababababab 0101010101010101 7 42 5 6",
        ] {
            assert_eq!(Marker::decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_base_proved_in_a_void_falls_back_to_what_is_still_remembered() {
        let mut voids = Voids::default();
        voids.add(Sequence(5), Sequence(9));
        assert_eq!(voids.covering(Sequence(5)), None);
        assert_eq!(voids.covering(Sequence(6)), Some(Sequence(5)));
        assert_eq!(voids.covering(Sequence(10)), None);
        voids.add(Sequence(0), Sequence(12));
        assert_eq!(voids, Voids(vec![(Sequence(0), Sequence(12))]));
        voids.add(Sequence(3), Sequence(3));
        assert_eq!(voids.0.len(), 1);
    }
}
