//! Counters, increased by a script that looks at them in the moment of the write.
//!
//! A counter that clients increase all the time never gets through WATCH, and need not: what they add is kept. So the
//! transaction carries one small script that increases all of its counters, and sets the marker anew, in whose mask
//! only counters stand that were increased.

use crate::model::{Expect, Expiry, Marker, Op, Write};

use super::WriteOutcome;
use super::resp::{Frame, Frames, pack_arg, pack_start, unexpected};
use super::wire::WireError;
use super::{Seal, error};

/// Increases counters; its head says how.
const SCRIPT: &str = include_str!("counters.lua");

/// What is done to one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counting {
    /// By how much it is increased.
    pub(crate) delta: i64,
    /// When it must end.
    pub(crate) expiry: Expiry,
    /// When it is to end then; nothing leaves that alone.
    pub(crate) later: Option<Expiry>,
}

impl Counting {
    /// What a write does to a counter; nothing if it is no write to a counter.
    pub(crate) fn of(write: &Write) -> Option<Self> {
        let Expect::Counter { expiry } = write.expect else {
            return None;
        };
        let (delta, later) = match write.ops[..] {
            [Op::IncreaseBy(delta)] => (delta, None),
            [Op::IncreaseBy(delta), Op::Expire(later)] => (delta, Some(later)),
            _ => panic!("{}: a counter is increased and perhaps expired", write.key),
        };
        Some(Self {
            delta,
            expiry,
            later,
        })
    }
}

/// Packs the script's call for these members, all of them counters. The marker's own mask is that of the others.
pub(crate) fn pack_counters(
    out: &mut Vec<u8>,
    writes: &[Write],
    members: &[usize],
    sealed: Option<(&Seal, Marker)>,
) {
    let keys = members.len() + usize::from(sealed.is_some());
    pack_start(out, 5 + keys + 4 * members.len());
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
    for &index in members {
        let Some(counting) = Counting::of(&writes[index]) else {
            continue;
        };
        pack_arg(out, counting.delta.to_string().as_bytes());
        pack_arg(out, expiry_text(counting.expiry).as_bytes());
        let later = counting.later.map(expiry_text).unwrap_or_default();
        pack_arg(out, later.as_bytes());
        pack_arg(out, index.to_string().as_bytes());
    }
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
