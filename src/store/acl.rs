//! Which commands reknit sends, as an ACL rule, and how each is tried without writing.
//!
//! One table: what is not in it, reknit may not send. A test runs `diff` and `repair` as the user of the printed rule.
//! AUTH needs no permission; CLIENT SETNAME and NO-TOUCH are courtesies that may be refused.

use super::{Capability, Facts};

/// What a user is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// `diff`: reading every type.
    Read,
    /// `repair`: reading, and conditional writes.
    Write,
    /// `repair` where counters are summed: a script increases them.
    Count,
}

/// Which servers a command is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// All.
    All,
    /// Those that can do this.
    With(Capability),
    /// Those that cannot, in its place.
    Without(Capability),
}

/// A command as an ACL rule names it, and how it is tried: nothing where it is not sent yet.
struct Permission(Access, To, &'static str, &'static [&'static str]);

/// Stands for a key that does not exist.
const KEY: &str = "\0";

use Access::{Count, Read, Write};
use Capability::{
    ExpireTime, FieldExpiry, Members, NoTouch, Payloads, Scores, StreamFull, Streams,
};
use To::{All, With, Without};

#[rustfmt::skip] // a table
const PERMISSIONS: &[Permission] = &[
    Permission(Read, All, "ping", &[]),
    Permission(Read, All, "hello", &[]),
    Permission(Read, All, "client|setname", &[]),
    Permission(Read, All, "client|id", &[]),
    Permission(Read, With(NoTouch), "client|no-touch", &[]),
    Permission(Read, All, "info", &["INFO", "server"]),
    Permission(Read, All, "time", &["TIME"]),
    Permission(Read, All, "command|info", &[]),
    Permission(Read, All, "select", &[]),
    Permission(Read, All, "scan", &["SCAN", "0", "COUNT", "1"]),
    Permission(Read, All, "type", &["TYPE", KEY]),
    Permission(Read, With(ExpireTime), "pexpiretime", &["PEXPIRETIME", KEY]),
    Permission(Read, Without(ExpireTime), "pttl", &["PTTL", KEY]),
    Permission(Read, All, "get", &["GET", KEY]),
    Permission(Read, All, "strlen", &["STRLEN", KEY]),
    Permission(Read, All, "getrange", &["GETRANGE", KEY, "0", "0"]),
    Permission(Read, All, "hgetall", &[]),
    Permission(Read, All, "hmget", &["HMGET", KEY, "x"]),
    Permission(Read, All, "hscan", &["HSCAN", KEY, "0"]),
    Permission(Read, All, "hlen", &["HLEN", KEY]),
    Permission(Read, With(FieldExpiry), "hpexpiretime", &["HPEXPIRETIME", KEY, "FIELDS", "1", "x"]),
    Permission(Read, All, "lrange", &["LRANGE", KEY, "0", "0"]),
    Permission(Read, All, "llen", &["LLEN", KEY]),
    Permission(Read, All, "smembers", &[]),
    Permission(Read, With(Members), "smismember", &["SMISMEMBER", KEY, "x"]),
    Permission(Read, Without(Members), "sismember", &["SISMEMBER", KEY, "x"]),
    Permission(Read, All, "sscan", &["SSCAN", KEY, "0"]),
    Permission(Read, All, "scard", &["SCARD", KEY]),
    Permission(Read, All, "zrange", &[]),
    Permission(Read, With(Scores), "zmscore", &["ZMSCORE", KEY, "x"]),
    Permission(Read, Without(Scores), "zscore", &["ZSCORE", KEY, "x"]),
    Permission(Read, All, "zscan", &["ZSCAN", KEY, "0"]),
    Permission(Read, All, "zcard", &["ZCARD", KEY]),
    Permission(Read, With(Streams), "xrange", &["XRANGE", KEY, "-", "+", "COUNT", "1"]),
    Permission(Read, With(Streams), "xinfo|stream", &["XINFO", "STREAM", KEY]),
    Permission(Read, Without(StreamFull), "xinfo|groups", &["XINFO", "GROUPS", KEY]),
    Permission(Read, With(Streams), "xpending", &[]),
    Permission(Read, With(Payloads), "dump", &["DUMP", KEY]),
    // These are tried by the rehearsal itself.
    Permission(Write, All, "watch", &[]),
    Permission(Write, All, "unwatch", &[]),
    Permission(Write, All, "multi", &[]),
    Permission(Write, All, "exec", &[]),
    Permission(Write, All, "discard", &[]),
    Permission(Write, All, "set", &["SET", KEY, "x"]),
    Permission(Write, All, "setrange", &[]),
    Permission(Write, All, "append", &["APPEND", KEY, "x"]),
    Permission(Write, All, "incrby", &["INCRBY", KEY, "1"]),
    Permission(Write, All, "incrbyfloat", &[]),
    Permission(Write, All, "hset", &["HSET", KEY, "x", "x"]),
    Permission(Write, All, "hdel", &["HDEL", KEY, "x"]),
    Permission(Write, All, "hincrby", &["HINCRBY", KEY, "x", "1"]),
    Permission(Write, All, "hincrbyfloat", &[]),
    Permission(Write, With(FieldExpiry), "hpexpireat", &["HPEXPIREAT", KEY, "1", "FIELDS", "1", "x"]),
    Permission(Write, With(FieldExpiry), "hpersist", &["HPERSIST", KEY, "FIELDS", "1", "x"]),
    Permission(Write, All, "sadd", &["SADD", KEY, "x"]),
    Permission(Write, All, "srem", &["SREM", KEY, "x"]),
    Permission(Write, All, "zadd", &["ZADD", KEY, "1", "x"]),
    Permission(Write, All, "zrem", &["ZREM", KEY, "x"]),
    Permission(Write, All, "zincrby", &["ZINCRBY", KEY, "1", "x"]),
    Permission(Write, All, "lpush", &["LPUSH", KEY, "x"]),
    Permission(Write, All, "rpush", &["RPUSH", KEY, "x"]),
    Permission(Write, All, "ltrim", &[]),
    Permission(Write, With(Streams), "xadd", &["XADD", KEY, "1-1", "x", "x"]),
    Permission(Write, With(Streams), "xdel", &["XDEL", KEY, "1-1"]),
    Permission(Write, With(Streams), "xsetid", &["XSETID", KEY, "1-1"]),
    Permission(Write, With(Streams), "xgroup|create", &["XGROUP", "CREATE", KEY, "x", "0", "MKSTREAM"]),
    Permission(Write, With(Streams), "xgroup|setid", &[]),
    Permission(Write, With(Streams), "xgroup|createconsumer", &[]),
    Permission(Write, With(Streams), "xclaim", &[]),
    Permission(Write, All, "pexpireat", &["PEXPIREAT", KEY, "1"]),
    Permission(Write, All, "persist", &["PERSIST", KEY]),
    Permission(Write, All, "unlink", &["UNLINK", KEY]),
    Permission(Write, All, "rename", &["RENAME", KEY, KEY]),
    Permission(Write, With(Payloads), "restore", &["RESTORE", KEY, "0", "x", "REPLACE"]),
    Permission(Write, All, "role", &[]),
    Permission(Write, All, "wait", &[]),
    Permission(Count, All, "eval", &["EVAL", "return 0", "1", KEY]),
];

/// The smallest ACL rule with which reknit works on a server, as ACL SETUSER takes it behind user and password.
///
/// It names some commands that versions to come need. A server refuses a rule with a command that it does not know,
/// so what not every server has stands only where this one has it.
pub fn acl_rule(facts: &Facts, access: Access) -> String {
    let keys = match access {
        Read => "%R~*",
        Write | Count => "~*",
    };
    let names = known(facts).filter(|permission| permission.0 <= access);
    let words = names.map(|Permission(_, _, name, _)| format!(" +{name}"));
    format!("{keys} -@all{}", words.collect::<String>())
}

/// What a user of a cluster needs besides, on every node.
pub const CLUSTER_ACL: &str =
    " +cluster|nodes +cluster|countkeysinslot +cluster|getkeysinslot +asking +readonly";

/// The commands that are tried, each with its name in a rule: those that one access needs and the other does not.
pub(crate) fn trials(facts: &Facts, access: Access) -> Vec<(&'static str, Vec<&'static [u8]>)> {
    let tried = known(facts).filter(|one| one.0 == access && !one.3.is_empty());
    tried
        .map(|Permission(_, _, name, words)| (*name, words.iter().map(|word| arg(word)).collect()))
        .collect()
}

/// A key that nobody has: no run counts up to this name.
const ABSENT: &[u8] = b"reknit:aside:check";

fn arg(word: &'static str) -> &'static [u8] {
    if word == KEY { ABSENT } else { word.as_bytes() }
}

fn known(facts: &Facts) -> impl Iterator<Item = &'static Permission> {
    let can = facts.capabilities;
    let is_sent = move |to| match to {
        All => true,
        With(one) => can.has(one),
        // A stream's groups are asked for only where there are streams.
        Without(StreamFull) => !can.has(StreamFull) && can.has(Streams),
        Without(one) => !can.has(one),
    };
    PERMISSIONS.iter().filter(move |one| is_sent(one.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Capabilities;
    use crate::store::facts::tests::healthy;

    fn rule(lacking: &[Capability], access: Access) -> String {
        let can = lacking.iter().copied();
        let facts = Facts {
            capabilities: can.fold(Capabilities::ALL, Capabilities::without),
            ..healthy()
        };
        acl_rule(&facts, access)
    }

    #[test]
    fn commands_stand_only_where_the_server_has_them_and_others_in_their_place() {
        let table: [(Capability, &[&str], &[&str]); 7] = [
            (ExpireTime, &["pexpiretime"], &["pttl"]),
            (
                FieldExpiry,
                &["hpexpiretime", "hpexpireat", "hpersist"],
                &[],
            ),
            (Members, &["smismember"], &["sismember"]),
            (Scores, &["zmscore"], &["zscore"]),
            (
                Streams,
                &["xadd", "xrange", "xinfo|stream", "xgroup|create"],
                &[],
            ),
            (StreamFull, &[], &["xinfo|groups"]),
            (Payloads, &["dump", "restore"], &[]),
        ];
        for (one, with, instead) in table {
            let (full, poor) = (rule(&[], Write), rule(&[one], Write));
            let names =
                |rule: &str, name: &str| rule.split(' ').any(|word| word == format!("+{name}"));
            for name in with {
                assert!(names(&full, name) && !names(&poor, name), "{name}");
            }
            for name in instead {
                assert!(!names(&full, name) && names(&poor, name), "{name}");
            }
        }
        let neither = rule(&[Streams, StreamFull], Write);
        assert!(!neither.contains("+x"), "{neither}");
    }

    #[test]
    fn diff_needs_no_writing_and_repair_all_of_diff() {
        let (read, write) = (rule(&[], Read), rule(&[], Write));
        assert!(read.starts_with("%R~* -@all +ping") && !read.contains("+set"));
        for word in read.split(' ').skip(1) {
            assert!(write.split(' ').any(|other| other == word), "{word}");
        }
    }

    #[test]
    fn scripts_are_needed_for_counters_alone() {
        assert!(!rule(&[], Write).contains("+eval"));
        assert_eq!(rule(&[], Count), format!("{} +eval", rule(&[], Write)));
    }

    #[test]
    fn every_command_is_tried_on_no_key_but_one_that_nobody_has() {
        for access in [Read, Write, Count] {
            for (name, words) in trials(&healthy(), access) {
                let first = String::from_utf8_lossy(words[0]).to_lowercase();
                assert_eq!(name.split('|').next(), Some(first.as_str()));
                let keyless = ["info", "time", "scan"].contains(&name);
                assert!(keyless || words.contains(&ABSENT), "{name}");
            }
        }
    }
}
