//! Stamps as they are read: those of a key by name, those of its elements by ZSCAN, page by page.
//!
//! A key's removed elements stay listed for ever, so its sets may be longer than itself: beyond
//! [`MOST_LISTED`] only the elements that are asked for are read, by name.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{Counts, Key, Score, Stamp, StampSet, Stamped, Stamps};

use super::resp::{Frame, Frames, pack_arg, pack_start, unexpected};
use super::server_info::refusal;
use super::wire::{Wire, WireError};
use super::{Capability, PAGE_ELEMENTS};

/// A set of more stamps is not read whole.
const MOST_LISTED: usize = 4 * super::WHOLE_ELEMENTS;

/// Whose stamps are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampQuery {
    /// The key.
    pub key: Key,
    /// Elements of it, for where its sets are too long to be read whole.
    pub elements: Vec<Bytes>,
    /// Whether only the stamps of these elements are wanted.
    pub only: bool,
}

/// The stamps of a key, or why they cannot be relied on: one of the sets is none.
pub type StampReading = Result<Stamps, String>;

/// Reads stamps, one answer per query.
pub(crate) async fn read_stamps(
    wire: &mut Wire,
    queries: &[StampQuery],
) -> Result<Vec<StampReading>, WireError> {
    let command = score_command(wire);
    for query in queries {
        for set in StampSet::ALL {
            wire.push(&[command, set.of_keys().as_bytes(), query.key.as_bytes()]);
            wire.push(&[b"ZCARD", set.of_elements(&query.key).as_bytes()]);
        }
        wire.push(&[b"HGETALL", Counts::of_key(&query.key).as_bytes()]);
    }
    wire.flush().await?;
    let mut heads = Vec::with_capacity(queries.len());
    for query in queries {
        let mut head = [(Ok(None), Ok(0)), (Ok(None), Ok(0))];
        for (place, set) in head.iter_mut().zip(StampSet::ALL) {
            place.0 = score(wire.reply().await?).map_err(|words| misused(&set.of_keys(), &words));
            let of_elements = set.of_elements(&query.key);
            place.1 = length(wire.reply().await?).map_err(|words| misused(&of_elements, &words));
        }
        heads.push((head, counts(wire.reply().await?, &query.key)?));
    }
    let mut all = Vec::with_capacity(queries.len());
    for (query, ([added, removed], counts)) in queries.iter().zip(heads) {
        let of_key = match (added.0, removed.0) {
            (Ok(added), Ok(removed)) => Ok(Stamped { added, removed }),
            (Err(words), _) | (_, Err(words)) => Err(words),
        };
        all.push(match (of_key, added.1, removed.1, counts) {
            (Ok(key), Ok(added), Ok(removed), Ok(counts)) => {
                let elements = read_elements(wire, query, [added, removed]).await?;
                elements.map(|elements| Stamps {
                    key,
                    elements,
                    counts,
                })
            }
            (Err(words), ..) | (_, Err(words), ..) | (_, _, Err(words), _) | (.., Err(words)) => {
                Err(words)
            }
        });
    }
    Ok(all)
}

async fn read_elements(
    wire: &mut Wire,
    query: &StampQuery,
    lengths: [usize; 2],
) -> Result<Result<BTreeMap<Bytes, Stamped>, String>, WireError> {
    let mut elements: BTreeMap<Bytes, Stamped> = BTreeMap::new();
    for (set, length) in StampSet::ALL.into_iter().zip(lengths) {
        let name = set.of_elements(&query.key);
        let read = match length {
            0 => continue,
            _ if length <= MOST_LISTED && !query.only => list(wire, &name).await?,
            _ => named(wire, &name, &query.elements).await?,
        };
        match read {
            Err(words) => return Ok(Err(misused(&name, &words))),
            Ok(found) => {
                for (element, stamp) in found {
                    elements.entry(element).or_default().put(set, Some(stamp));
                }
            }
        }
    }
    Ok(Ok(elements))
}

/// Members of a set of stamps, or the server's words.
type Listed = Result<Vec<(Bytes, Stamp)>, String>;

/// All members of a set, page by page.
async fn list(wire: &mut Wire, name: &Key) -> Result<Listed, WireError> {
    let (mut found, mut cursor) = (Vec::new(), 0);
    loop {
        match page(wire, name, cursor).await? {
            Err(words) => return Ok(Err(words)),
            Ok((members, next)) => {
                found.extend(members);
                cursor = next;
            }
        }
        if cursor == 0 {
            return Ok(Ok(found));
        }
    }
}

/// A page of a set of stamps, with the cursor of the next one, 0 behind the last; or the server's words.
pub(crate) type StampPage = Result<(Vec<(Bytes, Stamp)>, u64), String>;

/// One page of a set of stamps; a member may come twice.
pub(crate) async fn page(wire: &mut Wire, name: &Key, cursor: u64) -> Result<StampPage, WireError> {
    let (cursor, count) = (cursor.to_string(), PAGE_ELEMENTS.to_string());
    let words: [&[u8]; 5] = [
        b"ZSCAN",
        name.as_bytes(),
        cursor.as_bytes(),
        b"COUNT",
        count.as_bytes(),
    ];
    let reply = wire.ask(&words).await?;
    let mut frames = Frames::new(&reply);
    match frames.next()? {
        Frame::Error(words) => return Ok(Err(String::from_utf8_lossy(words).into_owned())),
        Frame::Array(2) => {}
        other => return Err(unexpected("a page of stamps", &other).into()),
    }
    let next = std::str::from_utf8(frames.bytes()?).ok();
    let next = next.and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut members = Vec::new();
    for _ in 0..frames.array()? / 2 {
        let member = Bytes::copy_from_slice(frames.bytes()?);
        let stamp = Score::parse(frames.bytes()?).map(Stamp);
        members.extend(stamp.map(|stamp| (member, stamp)));
    }
    Ok(Ok((members, next)))
}

/// The set with the removals of keys, or of a key's elements.
pub(crate) fn removals_of(key: Option<&Key>) -> Key {
    let set = StampSet::Removed;
    key.map_or_else(|| set.of_keys(), |key| set.of_elements(key))
}

/// How many names a page of a scan looks at.
const NAMES: &[u8] = b"1000";

/// What stands beside keys, in keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Removals of elements.
    Removals,
    /// Counts.
    Counts,
}

impl Beside {
    fn pattern(self) -> &'static [u8] {
        match self {
            Self::Removals => b"._rem-set_*",
            Self::Counts => b"._counts_*",
        }
    }

    /// The key beside which a key of this name stands.
    pub(crate) fn owner(self, name: &[u8]) -> Option<Key> {
        match self {
            Self::Removals => StampSet::Removed.owner(name),
            Self::Counts => Counts::owner(name),
        }
    }
}

/// One page of the keys that have this beside them.
pub(crate) async fn keys_page(
    wire: &mut Wire,
    what: Beside,
    cursor: u64,
) -> Result<(Vec<Key>, u64), WireError> {
    let cursor = cursor.to_string();
    let words: [&[u8]; 6] = [
        b"SCAN",
        cursor.as_bytes(),
        b"MATCH",
        what.pattern(),
        b"COUNT",
        NAMES,
    ];
    let reply = wire.ask(&words).await?;
    let mut frames = Frames::new(&reply);
    match frames.next()? {
        Frame::Error(words) => return Err(refusal("SCAN", words)),
        Frame::Array(2) => {}
        other => return Err(unexpected("a page of names", &other).into()),
    }
    let next = std::str::from_utf8(frames.bytes()?).ok();
    let next = next.and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut keys = Vec::new();
    for _ in 0..frames.array()? {
        keys.extend(what.owner(frames.bytes()?));
    }
    Ok((keys, next))
}

async fn named(wire: &mut Wire, name: &Key, members: &[Bytes]) -> Result<Listed, WireError> {
    let command = score_command(wire);
    // A server that takes one name at a time answers each by itself.
    let at_once = match wire.can.has(Capability::Scores) {
        true => PAGE_ELEMENTS,
        false => 1,
    };
    let mut found = Vec::new();
    for page in members.chunks(PAGE_ELEMENTS) {
        for chunk in page.chunks(at_once) {
            wire.push_with(|out| {
                pack_start(out, 2 + chunk.len());
                pack_arg(out, command);
                pack_arg(out, name.as_bytes());
                chunk.iter().for_each(|member| pack_arg(out, member));
            });
        }
        wire.flush().await?;
        let mut refused = None;
        for chunk in page.chunks(at_once) {
            match scores(wire.reply().await?)? {
                Err(words) => refused = Some(words),
                Ok(scores) => {
                    let pairs = chunk.iter().cloned().zip(scores);
                    found.extend(pairs.filter_map(|(member, stamp)| Some((member, stamp?))));
                }
            }
        }
        if let Some(words) = refused {
            return Ok(Err(words));
        }
    }
    Ok(Ok(found))
}

fn score_command(wire: &Wire) -> &'static [u8] {
    match wire.can.has(Capability::Scores) {
        true => b"ZMSCORE",
        false => b"ZSCORE",
    }
}

/// An answer of ZMSCORE, or of ZSCORE, or the server's words.
pub(crate) fn scores(reply: &[u8]) -> Result<Result<Vec<Option<Stamp>>, String>, WireError> {
    let mut frames = Frames::new(reply);
    let length = match frames.next()? {
        Frame::Error(words) => return Ok(Err(String::from_utf8_lossy(words).into_owned())),
        Frame::Array(length) => length,
        Frame::Bulk(text) => return Ok(Ok(vec![Score::parse(text).map(Stamp)])),
        Frame::Nil => return Ok(Ok(vec![None])),
        other => return Err(unexpected("stamps", &other).into()),
    };
    let mut scores = Vec::with_capacity(length);
    for _ in 0..length {
        scores.push(match frames.next()? {
            Frame::Bulk(text) => Score::parse(text).map(Stamp),
            Frame::Nil => None,
            other => return Err(unexpected("a stamp", &other).into()),
        });
    }
    Ok(Ok(scores))
}

fn score(reply: &[u8]) -> Result<Option<Stamp>, String> {
    match scores(reply) {
        Ok(scores) => Ok(scores?.into_iter().next().flatten()),
        Err(_) => Err("an answer that cannot be read".into()),
    }
}

fn length(reply: &[u8]) -> Result<usize, String> {
    match Frames::new(reply).next() {
        Ok(Frame::Int(length)) => Ok(usize::try_from(length).unwrap_or(0)),
        Ok(Frame::Error(words)) => Err(String::from_utf8_lossy(words).into_owned()),
        Ok(_) | Err(_) => Err("an answer that cannot be read".into()),
    }
}

/// The counts of a key, or why they are none.
fn counts(reply: &[u8], key: &Key) -> Result<Result<Option<Counts>, String>, WireError> {
    let name = Counts::of_key(key);
    let mut frames = Frames::new(reply);
    let length = match frames.next()? {
        Frame::Error(words) => {
            let words = String::from_utf8_lossy(words);
            return Ok(Err(uncounted(&name, &words)));
        }
        Frame::Array(length) => length,
        other => return Err(unexpected("counts", &other).into()),
    };
    let mut fields = BTreeMap::new();
    for _ in 0..length / 2 {
        let field = Bytes::copy_from_slice(frames.bytes()?);
        fields.insert(field, Bytes::copy_from_slice(frames.bytes()?));
    }
    Ok(Counts::parse(&fields).map_err(|words| uncounted(&name, &words)))
}

/// What to say of counts that are none.
pub(crate) fn uncounted(name: &Key, words: &str) -> String {
    format!("{name} holds no counts ({words}), remove it or put back what it held")
}

/// What to say of a set of stamps that is none.
pub(crate) fn misused(set: &Key, words: &str) -> String {
    format!("{set} holds no stamps ({words}), remove it or put back what it held")
}
