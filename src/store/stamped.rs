//! Keys that are written together with their stamps, by a script that looks at both in the moment of the write.
//!
//! ```text
//! witness ──▶ questions: what the key, its touched elements and their stamps must still be ─┐
//! ops ──────▶ commands: data and stamps ────────────────────────────────────────────────────┴─▶ EVAL, all or nothing
//! ```
//!
//! `._add-set` is one sorted set per node that every write moves, so nothing of this can be watched.
//!
//! Deliberately absent: what the stamps should be.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::model::{
    Counts, Expect, Expiry, Key, Kind, Marker, Score, Stamp, StampSet, Stamped, Stamps, State,
    Value, Witness, Write,
};

use super::commands::{ELEMENTS_PER_COMMAND, pack_op};
use super::resp::{Frame, Frames, pack_arg, pack_start, unexpected};
use super::wire::WireError;
use super::{Seal, WriteOutcome, error, only};

/// Compares and writes; its head says how.
const SCRIPT: &str = concat!(include_str!("ends_at.lua"), include_str!("stamped.lua"));

/// A command whose answer must be as expected, value by value.
struct Question {
    command: Vec<Bytes>,
    must: Vec<Bytes>,
}

/// Packs the script's call for these members, all of them stamped. The marker's mask gets their places.
pub(crate) fn pack_stamped(
    out: &mut Vec<u8>,
    writes: &[Write],
    members: &[usize],
    seal: Option<&Seal>,
) {
    let (mut keys, mut args): (Vec<Key>, Vec<Bytes>) = (Vec::new(), Vec::new());
    for &index in members {
        let write = &writes[index];
        let Expect::Stamped(witness) = &write.expect else {
            panic!("{}: only what is stamped goes by this script", write.key);
        };
        keys.push(write.key.clone());
        keys.extend(StampSet::ALL.map(StampSet::of_keys));
        keys.extend(StampSet::ALL.map(|set| set.of_elements(&write.key)));
        keys.push(Counts::of_key(&write.key));
        args.push(index.to_string().into());
        let questions = questions(&write.key, witness);
        args.push(questions.len().to_string().into());
        for question in questions {
            push_words(&mut args, question.command);
            push_words(&mut args, question.must);
        }
        let commands = commands(write);
        args.push(commands.len().to_string().into());
        commands
            .into_iter()
            .for_each(|command| push_words(&mut args, command));
    }
    keys.extend(seal.map(|seal| seal.lane.clone()));
    pack_start(out, 3 + keys.len() + args.len());
    pack_arg(out, b"EVAL");
    pack_arg(out, SCRIPT.as_bytes());
    pack_arg(out, keys.len().to_string().as_bytes());
    keys.iter().for_each(|key| pack_arg(out, key.as_bytes()));
    args.iter().for_each(|arg| pack_arg(out, arg));
}

fn push_words(args: &mut Vec<Bytes>, words: Vec<Bytes>) {
    args.push(words.len().to_string().into());
    args.extend(words);
}

/// The operations of a write, command by command and word by word.
fn commands(write: &Write) -> Vec<Vec<Bytes>> {
    let (mut packed, mut count) = (Vec::new(), 0);
    for op in &write.ops {
        count += pack_op(&mut packed, write.key.as_bytes(), op);
    }
    let mut frames = Frames::new(&packed);
    let mut command = |_| {
        let length = frames.array().expect("a command is an array");
        let mut word = |_| Bytes::copy_from_slice(frames.bytes().expect("of strings"));
        (0..length).map(&mut word).collect()
    };
    (0..count).map(&mut command).collect()
}

/// All that must still be so.
fn questions(key: &Key, witness: &Witness) -> Vec<Question> {
    let mut all = Vec::new();
    let mut ask = |command: Vec<Bytes>, must: Vec<Bytes>| all.push(Question { command, must });
    if !witness.only_stamps && witness.watched.is_none() {
        ask_data(key, witness, &mut ask);
    }
    let is_raised = witness.may_be_raised();
    for set in StampSet::ALL {
        let of_keys = set.of_keys();
        // What clients add to the key meanwhile raises the time of its last write, and is kept.
        if set == StampSet::Removed || !is_raised {
            let must = vec![stamp(set, witness.stamps.key)];
            ask(words(b"ZMSCORE", &of_keys, &[key.to_bytes()]), must);
        }
        let of_elements = set.of_elements(key);
        let elements: Vec<(&Bytes, &Stamped)> = witness.stamps.elements.iter().collect();
        for chunk in elements.chunks(ELEMENTS_PER_COMMAND) {
            let names: Vec<Bytes> = chunk.iter().map(|(name, _)| (*name).clone()).collect();
            let must = chunk.iter().map(|(_, one)| stamp(set, **one)).collect();
            ask(words(b"ZMSCORE", &of_elements, &names), must);
        }
    }
    if !witness.only_stamps && counts_matter(witness) {
        ask_counts(key, witness, &mut ask);
    }
    all
}

/// Whether what is counted is looked at: not beside collections that are touched.
fn counts_matter(witness: &Witness) -> bool {
    let is_string = |state: &State| state.value.kind() == Kind::String;
    witness.touched.is_none() || witness.held.as_ref().is_some_and(is_string)
}

/// Asks for what a counter began from and for its touched parts, or for all there may be.
fn ask_counts(key: &Key, witness: &Witness, ask: &mut impl FnMut(Vec<Bytes>, Vec<Bytes>)) {
    let name = Counts::of_key(key);
    let fields = witness.stamps.counts.as_ref().map(Counts::fields);
    let fields = fields.unwrap_or_default();
    if witness.touched.is_none() {
        let length = number(fields.len().to_string());
        ask(words(b"HLEN", &name, &[]), vec![length]);
    }
    let touched = witness.touched.iter().flatten();
    let mut must: BTreeMap<Bytes, Bytes> =
        touched.map(|name| (name.clone(), Bytes::new())).collect();
    for (field, value) in fields {
        let is_stamp = field.as_ref() == Counts::SINCE && !value.is_empty();
        let value = if is_stamp {
            number(&value)
        } else {
            exactly(&value)
        };
        must.insert(field, value);
    }
    let (names, must): (Vec<Bytes>, Vec<Bytes>) = must.into_iter().unzip();
    for (names, must) in names
        .chunks(ELEMENTS_PER_COMMAND)
        .zip(must.chunks(ELEMENTS_PER_COMMAND))
    {
        ask(words(b"HMGET", &name, names), must.to_vec());
    }
}

/// Asks for the type and the end of the key, and for what it holds.
fn ask_data(key: &Key, witness: &Witness, ask: &mut impl FnMut(Vec<Bytes>, Vec<Bytes>)) {
    let kind = witness.held.as_ref().map(|state| state.value.kind());
    ask(
        words(b"TYPE", key, &[]),
        vec![exactly(kind.map_or("none", Kind::name))],
    );
    if let Some(state) = &witness.held {
        ask(
            words(b"PEXPIRETIME", key, &[]),
            vec![number(expiry_text(state.expiry))],
        );
        ask_value(key, &state.value, witness.touched.as_ref(), ask);
    }
}

/// Asks for the elements that are looked at and, where these are all there may be, for their number.
fn ask_value(
    key: &Key,
    value: &Value,
    touched: Option<&BTreeSet<Bytes>>,
    ask: &mut impl FnMut(Vec<Bytes>, Vec<Bytes>),
) {
    let (read, count): (&[u8], &[u8]) = match value {
        // A counter is increased, whatever it stands at.
        Value::String(_) if touched.is_some() => return,
        Value::String(bytes) => return ask(words(b"GET", key, &[]), vec![exactly(bytes)]),
        Value::Hash(_) => (b"HMGET", b"HLEN"),
        Value::Set(_) => (b"SMISMEMBER", b"SCARD"),
        Value::SortedSet(_) => (b"ZMSCORE", b"ZCARD"),
        Value::List(_) | Value::Stream(_) | Value::Module(_) => {
            panic!("{key}: only strings, hashes, sets and sorted sets have stamps")
        }
    };
    if touched.is_none() {
        let length = value.element_count().to_string();
        ask(words(count, key, &[]), vec![number(length)]);
    }
    let names = touched.cloned().unwrap_or_else(|| value.element_names());
    let names: Vec<Bytes> = names.into_iter().collect();
    for chunk in names.chunks(ELEMENTS_PER_COMMAND) {
        let must = chunk.iter().map(|name| element(value, name)).collect();
        ask(words(read, key, chunk), must);
    }
}

/// What an element must be.
fn element(value: &Value, name: &Bytes) -> Bytes {
    let held = match value {
        Value::Hash(fields) => fields.get(name).map(|field| exactly(&field.value)),
        Value::Set(members) => return number(u8::from(members.contains(name)).to_string()),
        Value::SortedSet(members) => members.get(name).map(|score| score_text(*score)),
        _ => None,
    };
    held.unwrap_or_default()
}

fn words(command: &'static [u8], key: &Key, rest: &[Bytes]) -> Vec<Bytes> {
    let head = [Bytes::from_static(command), key.to_bytes()];
    head.into_iter().chain(rest.iter().cloned()).collect()
}

fn exactly(bytes: impl AsRef<[u8]>) -> Bytes {
    [b"=", bytes.as_ref()].concat().into()
}

fn number(text: impl AsRef<[u8]>) -> Bytes {
    [b"#", text.as_ref()].concat().into()
}

fn score_text(score: Score) -> Bytes {
    number(score.to_text())
}

fn stamp(set: StampSet, stamped: Stamped) -> Bytes {
    stamped
        .of(set)
        .map_or_else(Bytes::new, |Stamp(score)| score_text(score))
}

/// As PEXPIRETIME answers it.
fn expiry_text(expiry: Expiry) -> String {
    match expiry {
        Expiry::At(at) => at.0.to_string(),
        Expiry::Never => "-1".into(),
    }
}

/// Whether a key and its stamps are what a write was worked out from, as the script asks it.
pub(crate) fn still_so(witness: &Witness, state: Option<&State>, now: &Stamps) -> bool {
    let listed = |name: &Bytes| now.of(name) == witness.stamps.of(name);
    let is_raised = witness.may_be_raised();
    let key = witness.stamps.key;
    (is_raised || now.key.added == key.added)
        && now.key.removed == key.removed
        && witness.stamps.elements.keys().all(listed)
        && counted(witness, now)
        && holds(witness, state)
}

fn counted(witness: &Witness, now: &Stamps) -> bool {
    if witness.only_stamps || !counts_matter(witness) {
        return true;
    }
    match (&witness.touched, &witness.stamps.counts, &now.counts) {
        (Some(touched), Some(was), Some(is)) => {
            let alike = |name: &Bytes| was.parts.get(name) == is.parts.get(name);
            (was.since, was.base) == (is.since, is.base) && touched.iter().all(alike)
        }
        (_, was, is) => was == is,
    }
}

fn holds(witness: &Witness, state: Option<&State>) -> bool {
    if witness.only_stamps || witness.watched.is_some() {
        return true;
    }
    let (held, state) = match (&witness.held, state) {
        (None, None) => return true,
        (Some(held), Some(state)) => (held, state),
        (None, Some(_)) | (Some(_), None) => return false,
    };
    let now = match &witness.touched {
        Some(_) if state.value.kind() == Kind::String => {
            return held.expiry == state.expiry && held.value.kind() == Kind::String;
        }
        None => Some(state.value.clone()),
        Some(touched) => {
            let names: Vec<Bytes> = touched.iter().cloned().collect();
            only(&state.value, &names)
        }
    };
    held.expiry == state.expiry && now.as_ref() == Some(&held.value)
}

/// Reads the script's answer: one outcome per member, and the marker that was set.
pub(crate) fn read_stamped(
    frames: &mut Frames<'_>,
    members: &[usize],
) -> Result<(Vec<WriteOutcome>, Option<Marker>), WireError> {
    let mut peek = *frames;
    frames.skip()?;
    let length = match peek.next()? {
        Frame::Array(length) => length,
        Frame::Error(words) => {
            let words = refusal(&String::from_utf8_lossy(words));
            return Ok((vec![WriteOutcome::Refused(words); members.len()], None));
        }
        other => return Err(unexpected("the answers of stamped keys", &other).into()),
    };
    let mut outcomes = Vec::with_capacity(members.len());
    for _ in members {
        outcomes.push(match peek.next()? {
            Frame::Int(1) => WriteOutcome::Applied,
            Frame::Int(_) => WriteOutcome::Superseded,
            Frame::Bulk(words) => {
                WriteOutcome::Refused(String::from_utf8_lossy(words).into_owned())
            }
            other => return Err(unexpected("the answer of a stamped key", &other).into()),
        });
    }
    let marker = match length > members.len() {
        true => Marker::decode(peek.bytes()?),
        false => None,
    };
    Ok((outcomes, marker))
}

/// What to say where the script itself is refused.
pub(crate) fn refusal(words: &str) -> String {
    let words = error::advise(words);
    format!("{words}; keys with stamps are written by a script, which needs +eval")
}
