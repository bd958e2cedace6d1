//! Clients' commands in Redis' own syntax, as operations for a replica in memory.

use bytes::Bytes;
use reknit::model::{Expiry, Key, Millis, Op, Score, State, StreamId, Value};

/// What a command does to a replica in memory.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// An operation on a key.
    Apply(Key, Op),
    /// Every key is removed.
    Flush,
}

/// What a command does, in order.
///
/// # Errors
/// A command that stories do not know, or that Redis would refuse for its words.
pub(crate) fn effects(
    command: &[Bytes],
    now: Millis,
    get: impl Fn(&Key) -> Option<State>,
) -> Result<Vec<Effect>, String> {
    let (name, words) = command.split_first().ok_or("no command")?;
    let name = String::from_utf8_lossy(name).to_ascii_uppercase();
    if name == "FLUSHALL" {
        return Ok(vec![Effect::Flush]);
    }
    if name == "DEL" {
        let remove = |word: &Bytes| Effect::Apply(Key::new(word.clone()), Op::Remove);
        return Ok(words.iter().map(remove).collect());
    }
    if name == "XGROUP" {
        return group(words, get);
    }
    let (key, rest) = words.split_first().ok_or_else(|| wrong(&name))?;
    let key = Key::new(key.clone());
    let ops = operations(&name, rest, now, || get(&key))?;
    Ok(ops
        .into_iter()
        .map(|op| Effect::Apply(key.clone(), op))
        .collect())
}

fn operations(
    name: &str,
    words: &[Bytes],
    now: Millis,
    get: impl Fn() -> Option<State>,
) -> Result<Vec<Op>, String> {
    let all = || words.to_vec();
    Ok(vec![match (name, words) {
        ("SET", [value, options @ ..]) => return set(value, options, now),
        ("SETEX", [seconds, value]) => {
            let until = now.0 + 1000 * integer(seconds)?;
            return Ok(vec![
                Op::Put(Value::String(value.clone())),
                expire_at(until),
            ]);
        }
        ("PEXPIREAT", [at]) => expire_at(integer(at)?),
        ("PEXPIRE", [millis]) => expire_at(now.0 + integer(millis)?),
        ("PERSIST", []) => Op::Expire(Expiry::Never),
        ("INCR", []) => Op::IncreaseBy(1),
        ("INCRBY", [delta]) => Op::IncreaseBy(integer(delta)?),
        ("DECRBY", [delta]) => Op::IncreaseBy(-integer(delta)?),
        ("HSET", [_, _, ..]) => Op::SetFields(pairs(name, words)?),
        ("HDEL", [_, ..]) => Op::RemoveFields(all()),
        ("HPEXPIREAT", [at, _, _, field]) => {
            Op::ExpireField(field.clone(), Expiry::At(Millis(integer(at)?)))
        }
        ("SADD", [_, ..]) => Op::AddMembers(all()),
        ("SREM", [_, ..]) => Op::RemoveMembers(all()),
        ("ZADD", [_, _, ..]) => Op::SetScores(scores(name, words)?),
        ("ZREM", [_, ..]) => Op::RemoveScored(all()),
        ("RPUSH", [_, ..]) => Op::Append(all()),
        // Each is put before the one that was put before it.
        ("LPUSH", [_, ..]) => Op::Prepend(words.iter().rev().cloned().collect()),
        ("LREM", [count, element]) => return lrem(integer(count)?, element, get()),
        ("XADD", [at, _, _, ..]) => Op::AppendEntries(vec![(id(at)?, pairs(name, &words[1..])?)]),
        ("XDEL", [_, ..]) => Op::RemoveEntries(words.iter().map(id).collect::<Result<_, _>>()?),
        ("XSETID", [at]) => Op::RaiseLastId(id(at)?),
        _ => return Err(wrong(name)),
    }])
}

fn set(value: &Bytes, options: &[Bytes], now: Millis) -> Result<Vec<Op>, String> {
    let put = Op::Put(Value::String(value.clone()));
    let [unit, amount] = options else {
        return if options.is_empty() {
            Ok(vec![put])
        } else {
            Err("ERR syntax error".into())
        };
    };
    let amount = integer(amount)?;
    let until = match &unit.to_ascii_uppercase()[..] {
        b"PX" => now.0 + amount,
        b"EX" => now.0 + 1000 * amount,
        b"PXAT" => amount,
        b"EXAT" => 1000 * amount,
        _ => return Err("ERR syntax error".into()),
    };
    Ok(vec![put, expire_at(until)])
}

/// LREM with a count of 0: all of them.
fn lrem(count: i64, element: &Bytes, state: Option<State>) -> Result<Vec<Op>, String> {
    let Some(State { value, expiry }) = state else {
        return Ok(Vec::new());
    };
    let Value::List(mut elements) = value else {
        return Err("WRONGTYPE Operation against a key holding the wrong kind of value".into());
    };
    if count != 0 {
        return Err("stories know LREM with a count of 0 only".into());
    }
    elements.retain(|held| held != element);
    Ok(vec![Op::Put(Value::List(elements)), Op::Expire(expiry)])
}

/// `XGROUP CREATE key group id [MKSTREAM]`.
fn group(words: &[Bytes], get: impl Fn(&Key) -> Option<State>) -> Result<Vec<Effect>, String> {
    let [_, key, name, at, options @ ..] = words else {
        return Err(wrong("XGROUP"));
    };
    let key = Key::new(key.clone());
    let held = get(&key);
    if held.is_none() && options.is_empty() {
        return Err("ERR The XGROUP subcommand requires the key to exist.".into());
    }
    let start = match (&at[..], held.map(|state| state.value)) {
        (b"$", Some(Value::Stream(stream))) => stream.last_id,
        (b"$", _) => StreamId::MIN,
        _ => id(at)?,
    };
    Ok(vec![Effect::Apply(
        key,
        Op::CreateGroup(name.clone(), start),
    )])
}

fn expire_at(millis: i64) -> Op {
    Op::Expire(Expiry::At(Millis(millis)))
}

fn pairs(name: &str, words: &[Bytes]) -> Result<Vec<(Bytes, Bytes)>, String> {
    let pair = |pair: &[Bytes]| match pair {
        [name, value] => Ok((name.clone(), value.clone())),
        _ => Err(wrong(name)),
    };
    words.chunks(2).map(pair).collect()
}

fn scores(name: &str, words: &[Bytes]) -> Result<Vec<(Bytes, Score)>, String> {
    let scored = |(score, member): (Bytes, Bytes)| {
        let score = Score::parse(&score).ok_or("ERR value is not a valid float")?;
        Ok((member, score))
    };
    pairs(name, words)?.into_iter().map(scored).collect()
}

/// An ID with or without its sequence part.
fn id(word: &Bytes) -> Result<StreamId, String> {
    let short = || {
        Some(StreamId {
            ms: std::str::from_utf8(word).ok()?.parse().ok()?,
            seq: 0,
        })
    };
    let invalid = "ERR Invalid stream ID specified as stream command argument";
    StreamId::parse(word)
        .or_else(short)
        .ok_or_else(|| invalid.into())
}

fn integer(word: &Bytes) -> Result<i64, String> {
    let number = std::str::from_utf8(word)
        .ok()
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| "ERR value is not an integer or out of range".into())
}

fn wrong(name: &str) -> String {
    format!("stories do not know {name} with these words")
}
