//! What replicas hold, as a story shows it: one line for each state of a key that differs.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use reknit::model::{Expiry, Field, Key, Millis, Registers, State, Stream, Value, escape};

/// All keys of all replicas but reknit's own, in order; replicas that hold the same share a line.
pub(crate) fn show(held: &[(&str, BTreeMap<Key, State>)], beginning: Millis) -> Vec<String> {
    let keys: BTreeSet<&Key> = held.iter().flat_map(|(_, states)| states.keys()).collect();
    let keys = keys.into_iter().filter(|key| !key.is_own());
    keys.flat_map(|key| show_key(key, held, beginning))
        .collect()
}

fn show_key(key: &Key, held: &[(&str, BTreeMap<Key, State>)], beginning: Millis) -> Vec<String> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, states) in held {
        let text = state(states.get(key), beginning);
        match groups.iter_mut().find(|(other, _)| *other == text) {
            Some((_, names)) => names.push(name),
            None => groups.push((text, vec![name])),
        }
    }
    let who = |names: &[&str]| {
        if names.len() == held.len() {
            "all".into()
        } else {
            names.join(" ")
        }
    };
    let line = |(text, names): &(String, Vec<&str>)| {
        format!("{} {}: {text}", quoted(key.as_bytes()), who(names))
    };
    groups.iter().map(line).collect()
}

fn state(state: Option<&State>, beginning: Millis) -> String {
    match state {
        None => "absent".into(),
        Some(state) => value(&state.value, beginning) + &until(state.expiry, beginning),
    }
}

fn until(expiry: Expiry, beginning: Millis) -> String {
    match expiry {
        Expiry::Never => String::new(),
        Expiry::At(at) => format!(" until @{}", at.0 - beginning.0),
    }
}

fn value(value: &Value, beginning: Millis) -> String {
    match value {
        Value::String(bytes) => string(bytes),
        Value::List(elements) => format!("list [{}]", joined(elements.iter().map(|e| quoted(e)))),
        Value::Hash(fields) => {
            let field = |(name, Field { value, expiry }): (&Bytes, &Field)| {
                format!(
                    "{}: {}{}",
                    quoted(name),
                    quoted(value),
                    until(*expiry, beginning)
                )
            };
            format!("hash {{{}}}", joined(fields.iter().map(field)))
        }
        Value::Set(members) => format!("set {{{}}}", joined(members.iter().map(|m| quoted(m)))),
        Value::SortedSet(members) => {
            let scored = members
                .iter()
                .map(|(name, score)| format!("{}: {}", quoted(name), score.to_text()));
            format!("zset {{{}}}", joined(scored))
        }
        Value::Stream(entries) => stream(entries),
        Value::Module(opaque) => format!("module {}", quoted(opaque.body())),
    }
}

/// The positions of groups are local to a replica and not shown.
fn stream(stream: &Stream) -> String {
    let pair = |(name, value): &(Bytes, Bytes)| format!("{}: {}", quoted(name), quoted(value));
    let entries = stream.entries.iter();
    let entries = entries.map(|(id, pairs)| format!("{id} {{{}}}", joined(pairs.iter().map(pair))));
    let groups = joined(stream.groups.keys().map(|name| quoted(name)));
    let groups = if groups.is_empty() {
        groups
    } else {
        format!(" groups {groups}")
    };
    format!(
        "stream [{}] last {}{groups}",
        joined(entries),
        stream.last_id
    )
}

fn string(bytes: &[u8]) -> String {
    match Registers::parse(bytes) {
        None => format!("string {}", quoted(bytes)),
        Some(registers) => {
            let set = registers
                .as_slice()
                .iter()
                .filter(|register| **register > 0);
            format!("hyperloglog of {} registers", set.count())
        }
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", escape(bytes))
}
