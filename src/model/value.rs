//! Values of every Redis type, in canonical form.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use super::Expiry;

/// The type of a value, as `TYPE` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A string; also HyperLogLogs, bitmaps and counters.
    String,
    /// A list.
    List,
    /// A hash.
    Hash,
    /// A set.
    Set,
    /// A sorted set; also geo indexes.
    SortedSet,
    /// A stream.
    Stream,
    /// A type that a module brought, read and written as an opaque value.
    Module,
}

impl Kind {
    /// All kinds, in the order in which they are reported.
    pub const ALL: [Self; 7] = [
        Self::String,
        Self::List,
        Self::Hash,
        Self::Set,
        Self::SortedSet,
        Self::Stream,
        Self::Module,
    ];

    /// The name that `TYPE` answers and `--type` takes; `module` for all modules' types.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::SortedSet => "zset",
            Self::Stream => "stream",
            Self::Module => "module",
        }
    }

    /// The kind behind an answer of `TYPE`; nothing for `none`. A name that Redis does not have is a module's.
    pub fn from_type_reply(reply: &[u8]) -> Option<Self> {
        match reply {
            b"none" => None,
            b"string" => Some(Self::String),
            b"list" => Some(Self::List),
            b"hash" => Some(Self::Hash),
            b"set" => Some(Self::Set),
            b"zset" => Some(Self::SortedSet),
            b"stream" => Some(Self::Stream),
            _ => Some(Self::Module),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("`{text}` is not a type, the types are {names}")
            })
    }
}

/// A sorted-set score. Never NaN; -0 is 0.
#[derive(Debug, Clone, Copy)]
pub struct Score(f64);

impl Score {
    /// A score; nothing for NaN, which Redis refuses as well.
    pub fn new(number: f64) -> Option<Self> {
        (!number.is_nan()).then_some(Self(if number == 0.0 { 0.0 } else { number }))
    }

    /// Reads a score as any Redis version prints it: decimal, exponent, `inf`, `-inf`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        match short_decimal(text) {
            Some(number) => Self::new(number),
            None => Self::new(std::str::from_utf8(text).ok()?.parse().ok()?),
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The number as text that every server reads back to the same double.
    pub fn to_text(self) -> String {
        if self.0.is_infinite() {
            if self.0 > 0.0 {
                "inf".into()
            } else {
                "-inf".into()
            }
        } else {
            format!("{:?}", self.0)
        }
    }
}

/// Digits that a double holds exactly.
const EXACT_DIGITS: usize = 15;

/// A number of few digits, as nearly all scores are: digits and a power of ten that are both exact, so that the one
/// division rounds as it should (Clinger's fast path). Nothing for any other text.
fn short_decimal(text: &[u8]) -> Option<f64> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if rest.len() > EXACT_DIGITS || !rest.first()?.is_ascii_digit() {
        return None;
    }
    let (mut digits, mut scale, mut fraction) = (0_u64, 1_u64, false);
    for &byte in rest {
        match byte {
            b'0'..=b'9' => {
                digits = digits * 10 + u64::from(byte - b'0');
                scale *= if fraction { 10 } else { 1 };
            }
            b'.' if !fraction => fraction = true,
            _ => return None,
        }
    }
    let number = digits as f64 / scale as f64;
    Some(if negative { -number } else { number })
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A stream entry's ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId {
    /// Milliseconds part.
    pub ms: u64,
    /// Sequence part.
    pub seq: u64,
}

impl StreamId {
    /// The ID below all others, `0-0`.
    pub const MIN: Self = Self { ms: 0, seq: 0 };

    /// The ID that follows this one; nothing behind the last.
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => self.ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    /// Reads `ms-seq`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (ms, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self {
            ms: ms.parse().ok()?,
            seq: seq.parse().ok()?,
        })
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// A hash field's value and, on servers that know it, its own expiry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field {
    /// The value.
    pub value: Bytes,
    /// When the field ends.
    pub expiry: Expiry,
}

impl Field {
    /// A field that never ends.
    pub fn lasting(value: impl Into<Bytes>) -> Self {
        Self {
            value: value.into(),
            expiry: Expiry::Never,
        }
    }
}

/// A stream: entries, the last ID ever given, and the consumer groups by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stream {
    /// Entries by ID; field and value pairs in the order they were added.
    pub entries: BTreeMap<StreamId, Vec<(Bytes, Bytes)>>,
    /// The greatest ID the stream has ever given, also when that entry was removed since.
    pub last_id: StreamId,
    /// Consumer groups with their last delivered ID. The ID is local to a replica: it is neither digested nor
    /// merged, and only serves as a starting point where the group is missing.
    pub groups: BTreeMap<Bytes, StreamId>,
}

/// A module's value, which reknit does not look into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opaque {
    /// The type's name, as `TYPE` answers it.
    pub type_name: Bytes,
    /// What `DUMP` answered, with its footer.
    pub payload: Bytes,
}

impl Opaque {
    /// Bytes of version and checksum at the end of every DUMP payload.
    pub const FOOTER: usize = 10;

    /// The payload without its footer: what is compared.
    pub fn body(&self) -> &[u8] {
        &self.payload[..self.payload.len().saturating_sub(Self::FOOTER)]
    }
}

/// A value of any type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// A string.
    String(Bytes),
    /// A list, head first.
    List(Vec<Bytes>),
    /// A hash.
    Hash(BTreeMap<Bytes, Field>),
    /// A set.
    Set(BTreeSet<Bytes>),
    /// A sorted set.
    SortedSet(BTreeMap<Bytes, Score>),
    /// A stream.
    Stream(Stream),
    /// A module's value.
    Module(Opaque),
}

impl std::hash::Hash for Score {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl Value {
    /// The value's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::String(_) => Kind::String,
            Self::List(_) => Kind::List,
            Self::Hash(_) => Kind::Hash,
            Self::Set(_) => Kind::Set,
            Self::SortedSet(_) => Kind::SortedSet,
            Self::Stream(_) => Kind::Stream,
            Self::Module(_) => Kind::Module,
        }
    }

    /// How long it is as reports say it: elements of a collection, bytes of a string.
    pub fn length(&self) -> u64 {
        let length = match self {
            Self::String(bytes) => bytes.len(),
            Self::Module(opaque) => opaque.payload.len(),
            Self::List(_) | Self::Hash(_) | Self::Set(_) | Self::SortedSet(_) | Self::Stream(_) => {
                self.element_count()
            }
        };
        length as u64
    }

    /// How many elements a collection holds; 1 for strings and modules' values.
    pub fn element_count(&self) -> usize {
        match self {
            Self::String(_) | Self::Module(_) => 1,
            Self::List(elements) => elements.len(),
            Self::Hash(fields) => fields.len(),
            Self::Set(members) => members.len(),
            Self::SortedSet(members) => members.len(),
            Self::Stream(stream) => stream.entries.len(),
        }
    }

    /// The names of a hash's, set's or sorted set's elements; no other value has any.
    pub fn element_names(&self) -> BTreeSet<Bytes> {
        match self {
            Self::Hash(fields) => fields.keys().cloned().collect(),
            Self::Set(members) => members.clone(),
            Self::SortedSet(members) => members.keys().cloned().collect(),
            Self::String(_) | Self::List(_) | Self::Stream(_) | Self::Module(_) => BTreeSet::new(),
        }
    }

    /// Whether Redis would not keep this value: an empty collection reads as absent. An empty string and an empty
    /// stream are values.
    pub fn is_void(&self) -> bool {
        match self {
            Self::String(_) | Self::Stream(_) | Self::Module(_) => false,
            Self::List(_) | Self::Hash(_) | Self::Set(_) | Self::SortedSet(_) => {
                self.element_count() == 0
            }
        }
    }

    /// Payload bytes, without overheads: what the value costs to move.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::String(bytes) => bytes.len(),
            Self::Module(opaque) => opaque.payload.len(),
            Self::List(elements) => elements.iter().map(Bytes::len).sum(),
            Self::Hash(fields) => fields
                .iter()
                .map(|(name, field)| name.len() + field.value.len())
                .sum(),
            Self::Set(members) => members.iter().map(Bytes::len).sum(),
            Self::SortedSet(members) => members.keys().map(|member| member.len() + 8).sum(),
            Self::Stream(stream) => stream
                .entries
                .values()
                .map(|fields| {
                    16 + fields
                        .iter()
                        .map(|(name, value)| name.len() + value.len())
                        .sum::<usize>()
                })
                .sum(),
        }
    }
}

/// What one replica holds under a key: the value and its expiry. Absent is `Option::None` of this.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The value.
    pub value: Value,
    /// When the key ends.
    pub expiry: Expiry,
}

impl State {
    /// A state that never ends.
    pub fn lasting(value: Value) -> Self {
        Self {
            value,
            expiry: Expiry::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_parse_as_printed_by_any_version_and_minus_zero_is_zero() {
        assert_eq!(Score::parse(b"-0"), Score::parse(b"0"));
        assert_eq!(Score::parse(b"1e3"), Score::new(1000.0));
        assert_eq!(
            Score::parse(b"-inf").map(Score::to_text).as_deref(),
            Some("-inf")
        );
        assert_eq!(Score::parse(b"nan"), None);
        for number in [0.1, 1e300, 5e-324, 17_179_869_184.0, -3.0] {
            let score = Score::new(number).unwrap();
            assert_eq!(Score::parse(score.to_text().as_bytes()), Some(score));
        }
    }

    #[test]
    fn a_short_score_is_the_double_that_is_nearest_to_its_text() {
        let texts = [
            "0",
            "7",
            "-1",
            "0.1",
            "0.3",
            "-0.7",
            "123456.75",
            "5.",
            "999999999999999",
            "99999999999.999",
            "-9999999999999.9",
            "0.00000000000001",
            "1234567890.12345",
        ];
        for text in texts {
            let nearest: f64 = text.parse().unwrap();
            let parsed = Score::parse(text.as_bytes()).map(Score::get);
            assert_eq!(parsed, Some(nearest), "{text}");
        }
        for text in ["", "-", ".", "1.2.3", "1,5", "0x1", " 1"] {
            assert_eq!(Score::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn stream_ids_are_read_and_followed() {
        let id = StreamId::parse(b"5-18446744073709551615").unwrap();
        assert_eq!(id.next(), Some(StreamId { ms: 6, seq: 0 }));
        assert_eq!(id.to_string(), "5-18446744073709551615");
        assert_eq!(StreamId::parse(b"5"), None);
    }
}
