//! Counters, increased by a script that looks at them in the moment of the write.
//!
//! A counter that clients increase all the time never gets through WATCH, and need not: what they add is kept. So the
//! transaction carries one small script that increases all of its counters, and sets the marker anew, in whose mask
//! only counters stand that were increased.
//!
//! Hash fields and scores that count go the same way, and with them whatever else is to be written in their key, each
//! element if it is as it was read. Scores that are no integers are not increased, which would round: they are written
//! absolutely, if they are as they were read.

use bytes::Bytes;

use crate::model::{Expect, Expiry, Field, Marker, Op, Score, State, Value, Write};

use super::WriteOutcome;
use super::resp::{Frame, Frames, pack_arg, pack_start, unexpected};
use super::wire::WireError;
use super::{Seal, error};

/// Increases counters; its head says how.
const SCRIPT: &str = concat!(include_str!("ends_at.lua"), include_str!("counters.lua"));

/// One command of the script: what it does, to which element, and what that must be.
struct Step {
    verb: &'static [u8],
    element: Bytes,
    to: Vec<u8>,
    /// Empty where it must be absent, `#` for an integer, else `=` and what it must be.
    must: Vec<u8>,
}

impl Step {
    fn integer(verb: &'static [u8], element: &[u8], delta: i64) -> Self {
        Self {
            verb,
            element: Bytes::copy_from_slice(element),
            to: delta.to_string().into_bytes(),
            must: b"#".to_vec(),
        }
    }

    fn exact(verb: &'static [u8], element: &Bytes, to: Vec<u8>, held: Option<Vec<u8>>) -> Self {
        let must = held.map(|held| [&b"="[..], &held].concat());
        Self {
            verb,
            element: element.clone(),
            to,
            must: must.unwrap_or_default(),
        }
    }
}

/// Packs the script's call for these members, all of them counted. The marker's own mask is that of the others.
pub(crate) fn pack_counters(
    out: &mut Vec<u8>,
    writes: &[Write],
    members: &[usize],
    sealed: Option<(&Seal, Marker)>,
) {
    let keys = members.len() + usize::from(sealed.is_some());
    let steps: Vec<Vec<Step>> = members.iter().map(|&at| steps(&writes[at])).collect();
    let words: usize = steps.iter().map(|steps| 4 + 4 * steps.len()).sum();
    pack_start(out, 5 + keys + words);
    pack_arg(out, b"EVAL");
    pack_arg(out, SCRIPT.as_bytes());
    pack_arg(out, keys.to_string().as_bytes());
    for &index in members {
        pack_arg(out, writes[index].key.as_bytes());
    }
    let (head, mask) = match sealed {
        Some((seal, marker)) => {
            pack_arg(out, seal.lane.as_bytes());
            (head(&marker), marker.written)
        }
        None => (String::new(), 0),
    };
    pack_arg(out, head.as_bytes());
    pack_arg(out, format!("{mask:016x}").as_bytes());
    for (&index, steps) in members.iter().zip(&steps) {
        pack_write(out, &writes[index], index, steps);
    }
}

fn pack_write(out: &mut Vec<u8>, write: &Write, place: usize, steps: &[Step]) {
    let (Expect::Counter { expiry } | Expect::Counters { expiry, .. }) = &write.expect else {
        panic!("{}: only what is counted goes by the script", write.key);
    };
    pack_arg(out, expiry_text(*expiry).as_bytes());
    let later = write.ops.iter().find_map(|op| match op {
        Op::Expire(later) => Some(expiry_text(*later)),
        _ => None,
    });
    pack_arg(out, later.unwrap_or_default().as_bytes());
    pack_arg(out, place.to_string().as_bytes());
    pack_arg(out, steps.len().to_string().as_bytes());
    for step in steps {
        pack_arg(out, step.verb);
        pack_arg(out, &step.element);
        pack_arg(out, &step.to);
        pack_arg(out, &step.must);
    }
}

/// The commands of a write, increases last: what comes before them may be taken again, an increase may not.
fn steps(write: &Write) -> Vec<Step> {
    let is_increase = |op: &&Op| {
        matches!(
            op,
            Op::IncreaseBy(_) | Op::IncreaseFields(_) | Op::IncreaseScores(_)
        )
    };
    let (last, first): (Vec<&Op>, Vec<&Op>) = write.ops.iter().partition(is_increase);
    let all = first.into_iter().chain(last);
    all.flat_map(|op| steps_of(op, &write.expect)).collect()
}

fn steps_of(op: &Op, expect: &Expect) -> Vec<Step> {
    let must = |name: &Bytes| held(expect, name);
    match op {
        Op::IncreaseBy(delta) => vec![Step::integer(b"INCRBY", b"", *delta)],
        Op::IncreaseFields(pairs) => pairs
            .iter()
            .map(|(name, delta)| Step::integer(b"HINCRBY", name, *delta))
            .collect(),
        Op::IncreaseScores(pairs) => pairs
            .iter()
            .map(|(name, delta)| Step::integer(b"ZINCRBY", name, *delta))
            .collect(),
        Op::SetFields(pairs) => pairs
            .iter()
            .map(|(name, value)| Step::exact(b"HSET", name, value.to_vec(), must(name)))
            .collect(),
        Op::RemoveFields(names) => names
            .iter()
            .map(|name| Step::exact(b"HDEL", name, Vec::new(), must(name)))
            .collect(),
        Op::SetScores(pairs) => pairs
            .iter()
            .map(|(name, score)| {
                Step::exact(b"ZADD", name, score.to_text().into_bytes(), must(name))
            })
            .collect(),
        Op::RemoveScored(names) => names
            .iter()
            .map(|name| Step::exact(b"ZREM", name, Vec::new(), must(name)))
            .collect(),
        Op::Expire(_) => Vec::new(),
        _ => panic!("{op:?} is not done by the script"),
    }
}

/// What an element must be, as the script compares it.
fn held(expect: &Expect, name: &Bytes) -> Option<Vec<u8>> {
    match expect {
        Expect::Counters { held, .. } => match held {
            Value::Hash(fields) => Some(fields.get(name)?.value.to_vec()),
            Value::SortedSet(members) => Some(members.get(name)?.to_text().into_bytes()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a key is what a counted write expects, as the script asks it.
pub(crate) fn admits(expect: &Expect, ops: &[Op], state: &State) -> bool {
    match (expect, &state.value) {
        (Expect::Counter { expiry }, Value::String(_)) => state.expiry == *expiry,
        (Expect::Counters { held, expiry }, value) => {
            state.expiry == *expiry
                && value.kind() == held.kind()
                && ops.iter().all(|op| is_ready(op, held, value))
        }
        _ => false,
    }
}

/// Whether every element that an operation touches is as it must be.
fn is_ready(op: &Op, held: &Value, value: &Value) -> bool {
    match (op, held, value) {
        (Op::IncreaseFields(pairs), _, Value::Hash(now)) => pairs
            .iter()
            .all(|(name, _)| now.get(name).is_some_and(|field| is_field(&field.value))),
        (Op::IncreaseScores(pairs), _, Value::SortedSet(now)) => pairs
            .iter()
            .all(|(name, _)| now.get(name).is_some_and(|score| is_score(*score))),
        (Op::SetFields(pairs), Value::Hash(held), Value::Hash(now)) => {
            let value = |field: &Field| field.value.clone();
            pairs
                .iter()
                .all(|(name, _)| held.get(name).map(value) == now.get(name).map(value))
        }
        (Op::RemoveFields(names), Value::Hash(held), Value::Hash(now)) => {
            let value = |field: &Field| field.value.clone();
            names
                .iter()
                .all(|name| held.get(name).map(value) == now.get(name).map(value))
        }
        (Op::SetScores(pairs), Value::SortedSet(held), Value::SortedSet(now)) => pairs
            .iter()
            .all(|(name, _)| held.get(name) == now.get(name)),
        (Op::RemoveScored(names), Value::SortedSet(held), Value::SortedSet(now)) => {
            names.iter().all(|name| held.get(name) == now.get(name))
        }
        (Op::Expire(_), ..) => true,
        _ => false,
    }
}

fn is_field(text: &[u8]) -> bool {
    text.len() <= 17 && integer(text).is_some()
}

fn is_score(score: Score) -> bool {
    score.get().fract() == 0.0 && format!("{:.0}", score.get()).len() <= 15
}

/// The integer, if the text is exactly how Redis prints it.
fn integer(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

/// Reads the script's answer: one outcome per member, and the marker that was set.
pub(crate) fn read_counters(
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
        other => return Err(unexpected("the answers of counters", &other).into()),
    };
    let mut outcomes = Vec::with_capacity(members.len());
    for _ in members {
        outcomes.push(match peek.next()? {
            Frame::Int(1) => WriteOutcome::Applied,
            Frame::Int(_) => WriteOutcome::Superseded,
            Frame::Bulk(words) => {
                WriteOutcome::Refused(String::from_utf8_lossy(words).into_owned())
            }
            other => return Err(unexpected("the answer of a counter", &other).into()),
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
    format!("{words}; counters are increased by a script, which needs +eval")
}

/// The text of a marker before its mask, with the space behind it.
fn head(marker: &Marker) -> String {
    let mut text = marker.encode();
    text.truncate(text.rfind(' ').map_or(0, |space| space + 1));
    text
}

/// As PEXPIRETIME answers it.
fn expiry_text(expiry: Expiry) -> String {
    match expiry {
        Expiry::At(at) => at.0.to_string(),
        Expiry::Never => "-1".into(),
    }
}
