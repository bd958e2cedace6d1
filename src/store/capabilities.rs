//! What one server can do and another cannot: found at every connection, by what the server says of each command.
//!
//! ```text
//! COMMAND INFO of all that is used in some way only if it is there ──▶ known by name      (else by version)
//! ```
//!
//! Deliberately absent: the product's name. A fork that has a command is used like any server that has it.

use std::collections::BTreeSet;

use crate::model::{Expiry, State, Value};

use super::resp::{Frame, Frames};
use super::wire::{Wire, WireError};
use super::{Product, server_info};

/// Something that not every server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Says when a key ends.
    ExpireTime,
    /// Lets hash fields end by themselves, and says when.
    FieldExpiry,
    /// Looks for several members of a set at once.
    Members,
    /// Reads several scores of a sorted set at once.
    Scores,
    /// Holds streams.
    Streams,
    /// Tells a stream's last ID and groups in one answer.
    StreamFull,
    /// Writes a value as bytes, and takes them back.
    Payloads,
    /// Runs scripts.
    Scripts,
    /// Reads without that looking like use.
    NoTouch,
}

use Capability::{
    ExpireTime, FieldExpiry, Members, NoTouch, Payloads, Scores, Scripts, StreamFull, Streams,
};

/// A major and a minor version.
type Release = (u32, u32);

/// A capability as reports name it, the commands that it takes, the versions of Redis and Valkey that brought it, and
/// what a server without it comes to.
struct Entry(
    Capability,
    &'static str,
    &'static [&'static str],
    [Release; 2],
    &'static str,
);

#[rustfmt::skip] // a table
const ENTRIES: [Entry; 9] = [
    Entry(ExpireTime, "expire-time", &["pexpiretime"], [(7, 0), (7, 2)], "expiries are read by TIME and PTTL"),
    Entry(FieldExpiry, "field-expiry", &["hpexpiretime", "hpexpireat", "hpersist"], [(7, 4), (9, 0)],
        "hash fields that end elsewhere are refused, key by key"),
    Entry(Members, "members", &["smismember"], [(6, 2), (7, 2)], "members are looked for one by one"),
    Entry(Scores, "scores", &["zmscore"], [(6, 2), (7, 2)], "scores are read one by one"),
    Entry(Streams, "streams", &["xadd", "xdel", "xrange", "xinfo", "xsetid", "xgroup"], [(5, 0), (7, 2)],
        "streams are refused, key by key"),
    // An option of a command, told by a command of its age.
    Entry(StreamFull, "stream-full", &["xautoclaim"], [(6, 2), (7, 2)],
        "a stream's end is read by XINFO STREAM and XINFO GROUPS"),
    Entry(Payloads, "payloads", &["dump", "restore"], [(2, 6), (7, 2)], "values of modules are refused, key by key"),
    Entry(Scripts, "scripts", &["eval"], [(2, 6), (7, 2)], "counters and keys with stamps cannot be written"),
    Entry(NoTouch, "no-touch", &["client|no-touch"], [(7, 2), (7, 2)], "reading looks like use to its eviction"),
];

impl Capability {
    /// All, in this order.
    pub const ALL: [Self; 9] = [
        ExpireTime,
        FieldExpiry,
        Members,
        Scores,
        Streams,
        StreamFull,
        Payloads,
        Scripts,
        NoTouch,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    /// What a server without it comes to.
    pub fn without(self) -> &'static str {
        self.entry().4
    }

    fn commands(self) -> &'static [&'static str] {
        self.entry().2
    }

    /// The table is in the order of the variants; a test holds that.
    fn entry(self) -> &'static Entry {
        &ENTRIES[self as usize]
    }
}

/// How it was found out what a server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// By what it says of its commands.
    ByCommands,
    /// By its version, for it does not say, or not to this user.
    ByVersion,
    /// Not at all: what is missing will be refused when it is asked for.
    ByNothing,
}

impl Told {
    /// The words in reports.
    pub fn words(self) -> &'static str {
        match self {
            Self::ByCommands => "COMMAND INFO",
            Self::ByVersion => "its version",
            Self::ByNothing => "nothing",
        }
    }
}

/// What a server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    lacks: u16,
    /// How that was found out.
    pub told: Told,
}

impl Capabilities {
    /// All there is.
    pub const ALL: Self = Self {
        lacks: 0,
        told: Told::ByCommands,
    };

    /// Whether the server can do this.
    pub fn has(self, one: Capability) -> bool {
        self.lacks & 1 << one as u16 == 0
    }

    /// The same without this.
    #[must_use]
    pub fn without(self, one: Capability) -> Self {
        Self {
            lacks: self.lacks | 1 << one as u16,
            ..self
        }
    }

    /// What both can do.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            lacks: self.lacks | other.lacks,
            told: self.told.max(other.told),
        }
    }

    /// Why a value cannot be held here; nothing where it can, as far as the server's commands tell.
    pub fn refusal(self, value: &Value) -> Option<String> {
        let lacking = |one| (!self.has(one)).then_some(one);
        let one = match value {
            Value::Stream(_) => lacking(Streams),
            Value::Module(_) => lacking(Payloads),
            Value::Hash(fields) => fields
                .values()
                .any(|field| field.expiry != Expiry::Never)
                .then(|| lacking(FieldExpiry))
                .flatten(),
            Value::String(_) | Value::List(_) | Value::Set(_) | Value::SortedSet(_) => None,
        };
        one.map(refusal_of)
    }

    /// Whether a state holds something that this server cannot.
    pub fn refuses(self, state: Option<&State>) -> Option<String> {
        self.refusal(&state?.value)
    }

    fn from_known(known: &BTreeSet<Vec<u8>>, told: Told) -> Self {
        let lacks = |one: &Capability| {
            let mut commands = one.commands().iter();
            !commands.all(|name| known.contains(name.as_bytes()))
        };
        let lacking = Capability::ALL.into_iter().filter(lacks);
        lacking.fold(Self { lacks: 0, told }, Self::without)
    }

    fn of_release(product: Product, release: Release) -> Self {
        let place = usize::from(product == Product::Valkey);
        let lacking = ENTRIES.iter().filter(|entry| release < entry.3[place]);
        let all = Self {
            lacks: 0,
            told: Told::ByVersion,
        };
        lacking.fold(all, |so_far, entry| so_far.without(entry.0))
    }
}

/// Why a server without a capability refuses what needs it.
pub fn refusal_of(one: Capability) -> String {
    match one {
        FieldExpiry => "it cannot hold hash fields that end by themselves, which stay as they are there: it lacks \
                        HPEXPIREAT or a command of its kind"
            .into(),
        Streams => "it cannot hold a stream: it lacks XADD or a command of its kind".into(),
        Payloads => "it cannot hold a module's value: it lacks DUMP or RESTORE".into(),
        ExpireTime | Members | Scores | StreamFull | Scripts | NoTouch => one.without().into(),
    }
}

/// Asks a server what it can do, on a connection that was just made.
///
/// # Errors
/// When the connection is lost.
pub(crate) async fn find(wire: &mut Wire) -> Result<Capabilities, WireError> {
    let names = ENTRIES.iter().flat_map(|entry| entry.2);
    let mut command: Vec<&[u8]> = vec![b"COMMAND", b"INFO"];
    command.extend(names.map(|name| name.as_bytes()));
    let reply = wire.ask(&command).await?;
    match known(&reply) {
        Some(known) => Ok(Capabilities::from_known(&known, Told::ByCommands)),
        None => by_version(wire).await,
    }
}

/// The commands that the server knows, by the names that it gives: some leave out what they do not know, where others
/// answer nil in its place. Nothing where it does not say.
fn known(reply: &[u8]) -> Option<BTreeSet<Vec<u8>>> {
    let mut frames = Frames::new(reply);
    let Frame::Array(length) = frames.next().ok()? else {
        return None;
    };
    let mut known = BTreeSet::new();
    for _ in 0..length {
        let mut inside = frames;
        frames.skip().ok()?;
        if let Frame::Array(1..) = inside.next().ok()?
            && let Frame::Bulk(name) | Frame::Simple(name) = inside.next().ok()?
        {
            known.insert(name.to_ascii_lowercase());
        }
    }
    // A server that knows none of them has not understood the question.
    (!known.is_empty()).then_some(known)
}

async fn by_version(wire: &mut Wire) -> Result<Capabilities, WireError> {
    let unknown = Capabilities {
        lacks: 0,
        told: Told::ByNothing,
    };
    match server_info::release(wire).await {
        Ok(Some((product, release))) => Ok(Capabilities::of_release(product, release)),
        // Whoever asks next is told what is wrong.
        Ok(None) | Err(WireError::Refused(_)) => Ok(unknown),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Field, Millis, Stream};

    #[test]
    fn the_table_is_in_the_order_of_the_variants() {
        for (index, entry) in ENTRIES.iter().enumerate() {
            assert_eq!(entry.0 as usize, index, "{}", entry.1);
            assert_eq!(Capability::ALL[index], entry.0);
        }
    }

    #[test]
    fn commands_are_known_by_the_name_that_the_server_gives() {
        let xadd = "*6\r\n$4\r\nXADD\r\n:-5\r\n*1\r\n+write\r\n:1\r\n:1\r\n:1\r\n";
        for reply in [
            format!("*3\r\n*-1\r\n{xadd}$-1\r\n"),
            format!("*1\r\n{xadd}"),
        ] {
            let known = known(reply.as_bytes()).unwrap();
            assert_eq!(known, BTreeSet::from([b"xadd".to_vec()]), "{reply}");
        }
        for silent in ["-NOPERM no\r\n", "*2\r\n*-1\r\n*-1\r\n", "+OK\r\n"] {
            assert_eq!(known(silent.as_bytes()), None, "{silent}");
        }
    }

    #[test]
    fn a_version_tells_what_came_with_it() {
        let table = [
            (Product::Redis, (5, 0), "streams payloads scripts"),
            (Product::Redis, (6, 0), "streams payloads scripts"),
            (
                Product::Redis,
                (6, 2),
                "members scores streams stream-full payloads scripts",
            ),
            (
                Product::Redis,
                (7, 0),
                "expire-time members scores streams stream-full payloads scripts",
            ),
            (
                Product::Valkey,
                (8, 1),
                "expire-time members scores streams stream-full payloads scripts no-touch",
            ),
        ];
        for (product, release, expected) in table {
            let found = Capabilities::of_release(product, release);
            let has = Capability::ALL.into_iter().filter(|one| found.has(*one));
            let names: Vec<&str> = has.map(Capability::name).collect();
            assert_eq!(names.join(" "), expected, "{product:?} {release:?}");
        }
        let (redis, valkey) = ((Product::Redis, (7, 4)), (Product::Valkey, (9, 0)));
        for (product, release) in [redis, valkey] {
            assert!(Capabilities::of_release(product, release).has(FieldExpiry));
        }
    }

    #[test]
    fn a_value_is_refused_by_who_cannot_hold_it() {
        let field = |expiry| Field {
            value: "v".into(),
            expiry,
        };
        let hash = |expiry| Value::Hash([("f".into(), field(expiry))].into());
        let older = Capabilities::ALL.without(FieldExpiry).without(Streams);
        let refused = |value: &Value| older.refusal(value).is_some();
        assert!(refused(&hash(Expiry::At(Millis(1)))));
        assert!(!refused(&hash(Expiry::Never)));
        assert!(refused(&Value::Stream(Stream::default())));
        assert!(!refused(&Value::String("x".into())));
        assert_eq!(
            Capabilities::ALL.refusal(&hash(Expiry::At(Millis(1)))),
            None
        );
    }
}
