//! What a server says of itself: INFO, TIME, and the keys that reknit left there.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::model::{DbIndex, Key, Millis, OWN_PREFIX};

use super::facts::release_of;
use super::observe::is_passing;
use super::resp::{Frame, Frames, unexpected};
use super::wire::{Wire, WireError};
use super::{Facts, Health, Product, Role};

/// So many keys may come into a slot between its count and its listing.
const SLOT_MARGIN: i64 = 1000;

/// The identity of the server process.
pub(crate) async fn run_id(wire: &mut Wire) -> Result<String, WireError> {
    Ok(info(wire, Some("server"))
        .await?
        .remove("run_id")
        .unwrap_or_default())
}

/// Whose server it is and of which version; nothing where it does not say.
pub(crate) async fn release(wire: &mut Wire) -> Result<Option<(Product, (u32, u32))>, WireError> {
    let (product, version) = product(&info(wire, Some("server")).await?);
    Ok(release_of(&version).map(|release| (product, release)))
}

/// Whether the server takes writes of its own.
pub(crate) async fn is_master(wire: &mut Wire) -> Result<bool, WireError> {
    Ok(role(&info(wire, Some("replication")).await?) == Role::Master)
}

/// A server that follows another.
pub(crate) struct Follower {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// How far it says that it is.
    pub(crate) offset: u64,
}

/// How far a master is, and those that follow it.
pub(crate) async fn followers(wire: &mut Wire) -> Result<(u64, Vec<Follower>), WireError> {
    let info = info(wire, Some("replication")).await?;
    let offset = info.get("master_repl_offset");
    let offset = offset.and_then(|text| text.parse().ok()).unwrap_or(0);
    let listed = info.iter().filter(|(name, _)| {
        let number = name.strip_prefix("slave");
        number.is_some_and(|number| number.parse::<u16>().is_ok())
    });
    let followers = listed.filter_map(|(_, text)| follower(text)).collect();
    Ok((offset, followers))
}

/// `ip=127.0.0.1,port=6380,state=online,offset=14,lag=0`; nothing where it is not in step.
fn follower(text: &str) -> Option<Follower> {
    let parts = text.split(',').filter_map(|part| part.split_once('='));
    let parts: HashMap<&str, &str> = parts.collect();
    (*parts.get("state")? == "online").then_some(())?;
    Some(Follower {
        host: (*parts.get("ip")?).to_owned(),
        port: parts.get("port")?.parse().ok()?,
        offset: parts.get("offset")?.parse().ok()?,
    })
}

/// The server's clock.
pub(crate) async fn now(wire: &mut Wire) -> Result<Millis, WireError> {
    let reply = wire.ask(&[b"TIME"]).await?;
    let mut frames = Frames::new(&reply);
    match frames.next()? {
        Frame::Array(2) => {}
        Frame::Error(words) => return Err(refusal("TIME", words)),
        other => return Err(unexpected("a time", &other).into()),
    }
    time(&mut frames)
}

/// The two numbers of an answer of TIME.
pub(crate) fn time(frames: &mut Frames<'_>) -> Result<Millis, WireError> {
    let mut part = || -> Result<i64, WireError> {
        let text = std::str::from_utf8(frames.bytes()?).unwrap_or_default();
        text.parse()
            .map_err(|_| WireError::Lost(format!("a time of `{text}`")))
    };
    Ok(Millis(part()? * 1000 + part()? / 1000))
}

/// All that INFO tells and reknit uses.
pub(crate) async fn facts(wire: &mut Wire, default_db: DbIndex) -> Result<Facts, WireError> {
    let info = info(wire, None).await?;
    let text = |name: &str| info.get(name).cloned().unwrap_or_default();
    let number = |name: &str| {
        info.get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    };
    let yes = |name: &str| info.get(name).is_some_and(|value| value == "1");
    let role = role(&info);
    let (product, version) = product(&info);
    Ok(Facts {
        run_id: text("run_id"),
        default_db,
        product,
        version,
        capabilities: wire.can,
        read_only: matches!(role, Role::ReplicaOf(_)) && text("slave_read_only") != "0",
        role,
        clustered: yes("cluster_enabled"),
        loading: yes("loading"),
        used_memory: number("used_memory"),
        max_memory: number("maxmemory"),
        max_memory_policy: text("maxmemory_policy"),
        evicted_keys: number("evicted_keys"),
        saving: yes("rdb_bgsave_in_progress") || yes("aof_rewrite_in_progress"),
        replication_id: text("master_replid"),
        uptime: Duration::from_secs(number("uptime_in_seconds")),
        keys: keys_per_database(&info),
    })
}

/// How the server is, as far as INFO and TIME tell. It is asked for every section by itself, for older servers know no
/// list of them.
pub(crate) async fn health(wire: &mut Wire, latency: Duration) -> Result<Health, WireError> {
    let mut all = HashMap::new();
    for section in ["persistence", "memory", "replication"] {
        all.extend(info(wire, Some(section)).await?);
    }
    let number = |name: &str| all.get(name).and_then(|value| value.parse().ok());
    let is = |name: &str, word: &str| all.get(name).is_some_and(|value| value == word);
    let differs = |name: &str, word: &str| all.get(name).is_some_and(|value| value != word);
    Ok(Health {
        latency,
        time: now(wire).await?,
        role: role(&all),
        link_down: is("master_link_status", "down"),
        handing_over: differs("master_failover_state", "no-failover"),
        loading: is("loading", "1"),
        saving: is("rdb_bgsave_in_progress", "1") || is("aof_rewrite_in_progress", "1"),
        copied_on_write: number("current_cow_size").unwrap_or(0),
        used_memory: number("used_memory").unwrap_or(0),
        max_memory: number("maxmemory").unwrap_or(0),
        evicts: differs("maxmemory_policy", "noeviction"),
    })
}

fn role(info: &HashMap<String, String>) -> Role {
    let text = |name: &str| info.get(name).cloned().unwrap_or_default();
    match text("role").as_str() {
        "master" => Role::Master,
        "slave" => Role::ReplicaOf(format!("{}:{}", text("master_host"), text("master_port"))),
        other => Role::Other(other.into()),
    }
}

/// Others than Redis give the version that they are compatible with as `redis_version`.
fn product(info: &HashMap<String, String>) -> (Product, String) {
    let version = |name: &str| info.get(name).cloned();
    let redis = version("redis_version").unwrap_or_default();
    match version("valkey_version") {
        Some(valkey) => (Product::Valkey, valkey),
        None if info.contains_key("dragonfly_version") => (Product::Other, redis),
        None => (Product::Redis, redis),
    }
}

/// Lines such as `db0:keys=5,expires=1,avg_ttl=0`.
fn keys_per_database(info: &HashMap<String, String>) -> BTreeMap<DbIndex, u64> {
    let mut keys = BTreeMap::new();
    for (name, value) in info {
        let db = name
            .strip_prefix("db")
            .and_then(|number| number.parse().ok());
        let count = value
            .strip_prefix("keys=")
            .and_then(|rest| rest.split(',').next()?.parse().ok());
        if let (Some(db), Some(count)) = (db, count) {
            keys.insert(DbIndex(db), count);
        }
    }
    keys
}

/// How many hashes of the selected database have fields that end; nothing where the server does not count them.
pub(crate) async fn hashes_with_ending_fields(wire: &mut Wire) -> Result<Option<u64>, WireError> {
    let db = format!("db{}", wire.db);
    let info = info(wire, Some("keyspace")).await?;
    Ok(info.get(&db).and_then(|line| counted_in(line)))
}

/// A line such as `keys=5,expires=1,avg_ttl=0,subexpiry=2`.
fn counted_in(line: &str) -> Option<u64> {
    let mut numbers = line.split(',').filter_map(|part| part.split_once('='));
    let (_, number) = numbers.find(|(name, _)| ENDING_FIELDS.contains(name))?;
    number.parse().ok()
}

/// As Redis calls it, and as Valkey does.
const ENDING_FIELDS: [&str; 2] = ["subexpiry", "keys_with_volatile_items"];

async fn info(
    wire: &mut Wire,
    section: Option<&str>,
) -> Result<HashMap<String, String>, WireError> {
    let reply = match section {
        Some(section) => wire.ask(&[b"INFO", section.as_bytes()]).await?,
        None => wire.ask(&[b"INFO"]).await?,
    };
    let text = match Frames::new(&reply).next()? {
        Frame::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        Frame::Error(words) => return Err(refusal("INFO", words)),
        other => return Err(unexpected("information", &other).into()),
    };
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect())
}

/// Sends a command whose answer says nothing.
pub(crate) async fn order(wire: &mut Wire, words: &[&[u8]]) -> Result<(), WireError> {
    let reply = wire.ask(words).await?;
    match Frames::new(&reply).next()? {
        Frame::Error(refused) => Err(refusal(&String::from_utf8_lossy(words[0]), refused)),
        _ => Ok(()),
    }
}

/// What a node of a cluster knows of all nodes, a line for each.
pub(crate) async fn cluster_nodes(wire: &mut Wire) -> Result<String, WireError> {
    let reply = wire.ask(&[b"CLUSTER", b"NODES"]).await?;
    match Frames::new(&reply).next()? {
        Frame::Bulk(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        Frame::Error(words) => Err(refusal("CLUSTER", words)),
        other => Err(unexpected("the nodes of a cluster", &other).into()),
    }
}

/// The names of all keys that a node of a cluster holds in a slot, at one moment.
pub(crate) async fn names_in_slot(wire: &mut Wire, slot: u16) -> Result<Vec<Key>, WireError> {
    let slot = slot.to_string();
    let reply = wire
        .ask(&[b"CLUSTER", b"COUNTKEYSINSLOT", slot.as_bytes()])
        .await?;
    let count = match Frames::new(&reply).next()? {
        Frame::Int(count) => count + SLOT_MARGIN,
        Frame::Error(words) => return Err(refusal("CLUSTER", words)),
        other => return Err(unexpected("a number of keys", &other).into()),
    };
    let count = count.to_string();
    let (slot, count) = (slot.as_bytes(), count.as_bytes());
    let reply = wire
        .ask(&[b"CLUSTER", b"GETKEYSINSLOT", slot, count])
        .await?;
    let mut frames = Frames::new(&reply);
    match frames.next()? {
        Frame::Array(length) => {
            let mut keys = Vec::with_capacity(length);
            for _ in 0..length {
                keys.push(Key::copied(frames.bytes()?));
            }
            Ok(keys)
        }
        Frame::Error(words) => Err(refusal("CLUSTER", words)),
        other => Err(unexpected("the names in a slot", &other).into()),
    }
}

/// The names of all keys below reknit's prefix.
pub(crate) async fn own_keys(wire: &mut Wire) -> Result<Vec<Key>, WireError> {
    let pattern = [OWN_PREFIX, b"*"].concat();
    let (mut keys, mut cursor) = (Vec::new(), b"0".to_vec());
    loop {
        let reply = wire
            .ask(&[b"SCAN", &cursor, b"MATCH", &pattern, b"COUNT", b"1000"])
            .await?;
        let mut frames = Frames::new(&reply);
        match frames.next()? {
            Frame::Array(2) => {}
            Frame::Error(words) => return Err(refusal("SCAN", words)),
            other => return Err(unexpected("a page of names", &other).into()),
        }
        cursor = frames.bytes()?.to_vec();
        for _ in 0..frames.array()? {
            keys.push(Key::copied(frames.bytes()?));
        }
        if cursor == b"0" {
            keys.sort();
            keys.dedup();
            return Ok(keys);
        }
    }
}

/// Sends an UNLINK: how many keys were there.
pub(crate) async fn count_removed(wire: &mut Wire, command: &[&[u8]]) -> Result<u64, WireError> {
    let reply = wire.ask(command).await?;
    match Frames::new(&reply).next()? {
        Frame::Int(removed) => Ok(u64::try_from(removed).unwrap_or(0)),
        Frame::Error(words) => Err(refusal("UNLINK", words)),
        other => Err(unexpected("a number of keys", &other).into()),
    }
}

/// What a refused command comes to.
pub(crate) fn refusal(command: &str, words: &[u8]) -> WireError {
    let words = String::from_utf8_lossy(words).into_owned();
    if is_passing(&words) {
        WireError::Lost(words)
    } else {
        WireError::Refused(format!("{command}: {words}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_with_ending_fields_are_counted_where_the_server_counts_them() {
        let table = [
            ("keys=5,expires=1,avg_ttl=0,subexpiry=2", Some(2)),
            (
                "keys=5,expires=1,avg_ttl=0,keys_with_volatile_items=0",
                Some(0),
            ),
            ("keys=5,expires=1,avg_ttl=0", None),
        ];
        for (line, expected) in table {
            assert_eq!(counted_in(line), expected, "{line}");
        }
    }
}
