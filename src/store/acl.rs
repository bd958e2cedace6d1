//! Which commands reknit sends, as an ACL rule, and how each is tried without writing.
//!
//! One table: what is not in it, reknit may not send. A test runs `diff` and `repair` as the user of the printed rule.
//! AUTH needs no permission; CLIENT SETNAME and NO-TOUCH are courtesies that may be refused.

use super::{Facts, Product};

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

/// Since when a server knows a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    /// 7.0, the oldest that reknit works with.
    Oldest,
    /// Redis 7.2, Valkey 7.2: reading that does not look like use.
    NoTouch,
    /// Redis 7.4, Valkey 9: hash fields that expire.
    FieldExpiry,
}

/// A command as an ACL rule names it, and how it is tried: nothing where it is not sent yet.
struct Permission(Access, Since, &'static str, &'static [&'static str]);

/// Stands for a key that does not exist.
const KEY: &str = "\0";

use Access::{Count, Read, Write};
use Since::{FieldExpiry, NoTouch, Oldest};

#[rustfmt::skip] // a table
const PERMISSIONS: &[Permission] = &[
    Permission(Read, Oldest, "ping", &[]),
    Permission(Read, Oldest, "hello", &[]),
    Permission(Read, Oldest, "client|setname", &[]),
    Permission(Read, Oldest, "client|id", &[]),
    Permission(Read, NoTouch, "client|no-touch", &[]),
    Permission(Read, Oldest, "info", &["INFO", "server"]),
    Permission(Read, Oldest, "time", &["TIME"]),
    Permission(Read, Oldest, "command|info", &[]),
    Permission(Read, Oldest, "select", &[]),
    Permission(Read, Oldest, "scan", &["SCAN", "0", "COUNT", "1"]),
    Permission(Read, Oldest, "type", &["TYPE", KEY]),
    Permission(Read, Oldest, "pexpiretime", &["PEXPIRETIME", KEY]),
    Permission(Read, Oldest, "get", &["GET", KEY]),
    Permission(Read, Oldest, "strlen", &["STRLEN", KEY]),
    Permission(Read, Oldest, "getrange", &["GETRANGE", KEY, "0", "0"]),
    Permission(Read, Oldest, "hgetall", &[]),
    Permission(Read, Oldest, "hmget", &["HMGET", KEY, "x"]),
    Permission(Read, Oldest, "hscan", &["HSCAN", KEY, "0"]),
    Permission(Read, Oldest, "hlen", &["HLEN", KEY]),
    Permission(Read, FieldExpiry, "hpexpiretime", &["HPEXPIRETIME", KEY, "FIELDS", "1", "x"]),
    Permission(Read, Oldest, "lrange", &["LRANGE", KEY, "0", "0"]),
    Permission(Read, Oldest, "llen", &["LLEN", KEY]),
    Permission(Read, Oldest, "smembers", &[]),
    Permission(Read, Oldest, "smismember", &["SMISMEMBER", KEY, "x"]),
    Permission(Read, Oldest, "sscan", &["SSCAN", KEY, "0"]),
    Permission(Read, Oldest, "scard", &["SCARD", KEY]),
    Permission(Read, Oldest, "zrange", &[]),
    Permission(Read, Oldest, "zmscore", &["ZMSCORE", KEY, "x"]),
    Permission(Read, Oldest, "zscan", &["ZSCAN", KEY, "0"]),
    Permission(Read, Oldest, "zcard", &["ZCARD", KEY]),
    Permission(Read, Oldest, "xrange", &["XRANGE", KEY, "-", "+", "COUNT", "1"]),
    Permission(Read, Oldest, "xinfo|stream", &["XINFO", "STREAM", KEY, "FULL", "COUNT", "1"]),
    Permission(Read, Oldest, "xpending", &[]),
    Permission(Read, Oldest, "dump", &["DUMP", KEY]),
    // These are tried by the rehearsal itself.
    Permission(Write, Oldest, "watch", &[]),
    Permission(Write, Oldest, "unwatch", &[]),
    Permission(Write, Oldest, "multi", &[]),
    Permission(Write, Oldest, "exec", &[]),
    Permission(Write, Oldest, "discard", &[]),
    Permission(Write, Oldest, "set", &["SET", KEY, "x"]),
    Permission(Write, Oldest, "setrange", &[]),
    Permission(Write, Oldest, "append", &["APPEND", KEY, "x"]),
    Permission(Write, Oldest, "incrby", &["INCRBY", KEY, "1"]),
    Permission(Write, Oldest, "incrbyfloat", &[]),
    Permission(Write, Oldest, "hset", &["HSET", KEY, "x", "x"]),
    Permission(Write, Oldest, "hdel", &["HDEL", KEY, "x"]),
    Permission(Write, Oldest, "hincrby", &["HINCRBY", KEY, "x", "1"]),
    Permission(Write, Oldest, "hincrbyfloat", &[]),
    Permission(Write, FieldExpiry, "hpexpireat", &["HPEXPIREAT", KEY, "1", "FIELDS", "1", "x"]),
    Permission(Write, FieldExpiry, "hpersist", &["HPERSIST", KEY, "FIELDS", "1", "x"]),
    Permission(Write, Oldest, "sadd", &["SADD", KEY, "x"]),
    Permission(Write, Oldest, "srem", &["SREM", KEY, "x"]),
    Permission(Write, Oldest, "zadd", &["ZADD", KEY, "1", "x"]),
    Permission(Write, Oldest, "zrem", &["ZREM", KEY, "x"]),
    Permission(Write, Oldest, "zincrby", &["ZINCRBY", KEY, "1", "x"]),
    Permission(Write, Oldest, "lpush", &["LPUSH", KEY, "x"]),
    Permission(Write, Oldest, "rpush", &["RPUSH", KEY, "x"]),
    Permission(Write, Oldest, "ltrim", &[]),
    Permission(Write, Oldest, "xadd", &["XADD", KEY, "1-1", "x", "x"]),
    Permission(Write, Oldest, "xdel", &["XDEL", KEY, "1-1"]),
    Permission(Write, Oldest, "xsetid", &["XSETID", KEY, "1-1"]),
    Permission(Write, Oldest, "xgroup|create", &["XGROUP", "CREATE", KEY, "x", "0", "MKSTREAM"]),
    Permission(Write, Oldest, "xgroup|setid", &[]),
    Permission(Write, Oldest, "xgroup|createconsumer", &[]),
    Permission(Write, Oldest, "xclaim", &[]),
    Permission(Write, Oldest, "pexpireat", &["PEXPIREAT", KEY, "1"]),
    Permission(Write, Oldest, "persist", &["PERSIST", KEY]),
    Permission(Write, Oldest, "unlink", &["UNLINK", KEY]),
    Permission(Write, Oldest, "rename", &["RENAME", KEY, KEY]),
    Permission(Write, Oldest, "restore", &["RESTORE", KEY, "0", "x", "REPLACE"]),
    Permission(Write, Oldest, "role", &[]),
    Permission(Write, Oldest, "wait", &[]),
    Permission(Count, Oldest, "eval", &["EVAL", "return 0", "1", KEY]),
];

/// The smallest ACL rule with which reknit works on a server, as ACL SETUSER takes it behind user and password.
///
/// It names some commands that versions to come need. A server refuses a rule with a command that it does not know,
/// so those of later versions stand only where the server has them.
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
    let since = |since| match since {
        Oldest => true,
        NoTouch => facts.is_at_least(&[(Product::Redis, 7, 2), (Product::Valkey, 7, 2)]),
        FieldExpiry => facts.is_at_least(&[(Product::Redis, 7, 4), (Product::Valkey, 9, 0)]),
    };
    PERMISSIONS.iter().filter(move |one| since(one.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::facts::tests::healthy;

    fn rule(product: Product, version: &str, access: Access) -> String {
        let facts = Facts {
            product,
            version: version.into(),
            ..healthy()
        };
        acl_rule(&facts, access)
    }

    #[test]
    fn later_commands_stand_only_where_the_server_has_them() {
        let table = [
            (Product::Redis, "7.0.15", false, false),
            (Product::Redis, "7.2.0", true, false),
            (Product::Redis, "7.4.1", true, true),
            (Product::Redis, "8.2.0", true, true),
            (Product::Valkey, "8.0.1", true, false),
            (Product::Valkey, "9.1.0", true, true),
            (Product::Other, "7.4.0", false, false),
        ];
        for (product, version, no_touch, field_expiry) in table {
            let rule = rule(product, version, Write);
            assert_eq!(rule.contains("+client|no-touch"), no_touch, "{version}");
            assert_eq!(rule.contains("+hpexpireat"), field_expiry, "{version}");
        }
    }

    #[test]
    fn diff_needs_no_writing_and_repair_all_of_diff() {
        let (read, write) = (
            rule(Product::Redis, "7.0.15", Read),
            rule(Product::Redis, "7.0.15", Write),
        );
        assert!(read.starts_with("%R~* -@all +ping") && !read.contains("+set"));
        for word in read.split(' ').skip(1) {
            assert!(write.split(' ').any(|other| other == word), "{word}");
        }
    }

    #[test]
    fn scripts_are_needed_for_counters_alone() {
        let of = |access| rule(Product::Redis, "7.0.15", access);
        assert!(!of(Write).contains("+eval"));
        assert_eq!(of(Count), format!("{} +eval", of(Write)));
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
