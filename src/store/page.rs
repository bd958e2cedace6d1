//! Bounded reads of one value: which command reads the next page, and what its answer holds.
//!
//! The first page of a small value is the whole value, and costs no more than an unbounded command would.

use crate::model::{Expiry, Key, Kind, Score, StreamId};

use super::capabilities::Capabilities;
use super::expiries::pack_when;
use super::resp::{Frame, Frames, Malformed, pack, unexpected};
use super::{PAGE_BYTES, PAGE_ELEMENTS, PieceCursor};

/// One element of a page, borrowed from the read buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Item<'a> {
    /// A piece of a string, or a module's payload.
    Bytes(&'a [u8]),
    /// A list element.
    Element(&'a [u8]),
    /// A hash field, its value and its own end, as far as that was asked.
    Field(&'a [u8], &'a [u8], Expiry),
    /// A set member.
    Member(&'a [u8]),
    /// A sorted-set member and its score.
    Scored(&'a [u8], Score),
    /// A stream entry.
    Entry(StreamId, Pairs<'a>),
}

/// Names and values of a stream entry, in turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pairs<'a> {
    frames: Frames<'a>,
    left: usize,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        self.frames.bytes().ok()
    }
}

/// Why a page has no items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PageError {
    /// The key is of another kind by now.
    WrongType,
    /// The server refused, with its words.
    Refused(String),
    /// The answer is not what the command answers.
    Malformed(Malformed),
}

impl From<Malformed> for PageError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// What follows a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: the value is read.
    Done,
    /// Another page.
    More(PieceCursor),
    /// An empty answer, which an absent key and an empty string both give: ask with [`pack_get`].
    EmptyOrAbsent,
}

/// Packs the command that reads the page at a cursor.
pub(crate) fn pack_page(out: &mut Vec<u8>, kind: Kind, key: &[u8], cursor: &PieceCursor) {
    let count = PAGE_ELEMENTS.to_string();
    match kind {
        Kind::String => {
            let from = offset(cursor);
            let to = from + PAGE_BYTES as u64 - 1;
            pack(
                out,
                &[
                    b"GETRANGE",
                    key,
                    from.to_string().as_bytes(),
                    to.to_string().as_bytes(),
                ],
            );
        }
        Kind::List => {
            let from = offset(cursor);
            let to = from + PAGE_ELEMENTS as u64 - 1;
            pack(
                out,
                &[
                    b"LRANGE",
                    key,
                    from.to_string().as_bytes(),
                    to.to_string().as_bytes(),
                ],
            );
        }
        Kind::Hash => pack_scan(out, b"HSCAN", key, cursor, &count),
        Kind::Set => pack_scan(out, b"SSCAN", key, cursor, &count),
        Kind::SortedSet => pack_scan(out, b"ZSCAN", key, cursor, &count),
        Kind::Stream => {
            let from = match cursor {
                PieceCursor::Id(id) => id.to_string(),
                PieceCursor::Start
                | PieceCursor::Offset(_)
                | PieceCursor::Scan(_)
                | PieceCursor::End => "-".into(),
            };
            pack(
                out,
                &[
                    b"XRANGE",
                    key,
                    from.as_bytes(),
                    b"+",
                    b"COUNT",
                    count.as_bytes(),
                ],
            );
        }
        Kind::Module => pack(out, &[b"DUMP", key]),
    }
}

/// The commands that read first pages, packed but for the key: a scan packs one for every key.
pub(crate) struct FirstPages([(Vec<u8>, Vec<u8>); Kind::ALL.len()]);

impl FirstPages {
    /// Packs the command of every kind.
    pub(crate) fn new() -> Self {
        Self(Kind::ALL.map(|kind| {
            // What stands around an empty key is the same around any other.
            let mut head = Vec::new();
            pack_page(&mut head, kind, b"", &PieceCursor::Start);
            let empty: &[u8] = b"$0\r\n\r\n";
            let at = head.windows(empty.len()).position(|part| part == empty);
            let tail = head.split_off(at.expect("every command names its key"));
            (head, tail[empty.len()..].to_vec())
        }))
    }

    /// Packs what [`pack_page`] does at the start; the key is a packed argument.
    pub(crate) fn pack(&self, out: &mut Vec<u8>, kind: Kind, key: &[u8]) {
        let (head, tail) = &self.0[kind as usize];
        out.extend_from_slice(head);
        out.extend_from_slice(key);
        out.extend_from_slice(tail);
    }
}

/// Packs the commands that describe a key, which is a packed argument: its type, and when it ends.
pub(crate) fn pack_description(out: &mut Vec<u8>, key: &[u8], can: Capabilities) {
    out.extend_from_slice(b"*2\r\n$4\r\nTYPE\r\n");
    out.extend_from_slice(key);
    pack_when(out, key, can);
}

/// Packs the command that tells an empty string from an absent key.
pub(crate) fn pack_get(out: &mut Vec<u8>, key: &[u8]) {
    pack(out, &[b"GET", key]);
}

fn offset(cursor: &PieceCursor) -> u64 {
    match cursor {
        PieceCursor::Offset(offset) => *offset,
        PieceCursor::Start | PieceCursor::Scan(_) | PieceCursor::Id(_) | PieceCursor::End => 0,
    }
}

fn pack_scan(out: &mut Vec<u8>, command: &[u8], key: &[u8], cursor: &PieceCursor, count: &str) {
    let cursor = match cursor {
        PieceCursor::Scan(cursor) => *cursor,
        PieceCursor::Start | PieceCursor::Offset(_) | PieceCursor::Id(_) | PieceCursor::End => 0,
    };
    pack(
        out,
        &[
            command,
            key,
            cursor.to_string().as_bytes(),
            b"COUNT",
            count.as_bytes(),
        ],
    );
}

/// Reads the answer to [`pack_page`], item by item.
///
/// # Errors
/// When the key changed its type, the server refused, or the answer is malformed.
pub(crate) fn read_page<'a>(
    kind: Kind,
    cursor: &PieceCursor,
    reply: &'a [u8],
    mut visit: impl FnMut(Item<'a>),
) -> Result<Next, PageError> {
    let mut frames = Frames::new(reply);
    let first = frames.next()?;
    if let Frame::Error(words) = first {
        return Err(refusal(words));
    }
    match (kind, first) {
        (Kind::String, Frame::Bulk(bytes)) => Ok(string_page(cursor, bytes, visit)),
        (Kind::Module, Frame::Bulk(bytes)) => {
            visit(Item::Bytes(bytes));
            Ok(Next::Done)
        }
        (Kind::String | Kind::Module, Frame::Nil) => Ok(Next::Done),
        (Kind::List, Frame::Array(length)) => {
            for _ in 0..length {
                visit(Item::Element(frames.bytes()?));
            }
            Ok(more_if_full(length, || {
                PieceCursor::Offset(offset(cursor) + length as u64)
            }))
        }
        (Kind::Hash | Kind::Set | Kind::SortedSet, Frame::Array(2)) => {
            scan_page(kind, frames, visit)
        }
        (Kind::Stream, Frame::Array(length)) => stream_page(length, frames, visit),
        (_, other) => Err(unexpected("a page of a value", &other).into()),
    }
}

/// Reads the answer to [`pack_get`]: the string, or nothing if the key is absent.
///
/// # Errors
/// As for [`read_page`].
pub(crate) fn read_get(reply: &[u8]) -> Result<Option<&[u8]>, PageError> {
    match Frames::new(reply).next()? {
        Frame::Bulk(bytes) => Ok(Some(bytes)),
        Frame::Nil => Ok(None),
        Frame::Error(words) => Err(refusal(words)),
        other => Err(unexpected("a string", &other).into()),
    }
}

fn string_page<'a>(cursor: &PieceCursor, bytes: &'a [u8], mut visit: impl FnMut(Item<'a>)) -> Next {
    if bytes.is_empty() && *cursor == PieceCursor::Start {
        return Next::EmptyOrAbsent;
    }
    visit(Item::Bytes(bytes));
    if bytes.len() < PAGE_BYTES {
        return Next::Done;
    }
    Next::More(PieceCursor::Offset(offset(cursor) + bytes.len() as u64))
}

fn more_if_full(length: usize, cursor: impl FnOnce() -> PieceCursor) -> Next {
    if length < PAGE_ELEMENTS {
        Next::Done
    } else {
        Next::More(cursor())
    }
}

fn scan_page<'a>(
    kind: Kind,
    mut frames: Frames<'a>,
    mut visit: impl FnMut(Item<'a>),
) -> Result<Next, PageError> {
    let cursor = number(frames.bytes()?)?;
    let length = frames.array()?;
    let mut left = length;
    while left > 0 {
        let name = frames.bytes()?;
        match kind {
            Kind::Hash => visit(Item::Field(name, frames.bytes()?, Expiry::Never)),
            Kind::SortedSet => visit(Item::Scored(name, score(frames.bytes()?)?)),
            Kind::String | Kind::List | Kind::Set | Kind::Stream | Kind::Module => {
                visit(Item::Member(name))
            }
        }
        left = left.saturating_sub(if kind == Kind::Set { 1 } else { 2 });
    }
    Ok(if cursor == 0 {
        Next::Done
    } else {
        Next::More(PieceCursor::Scan(cursor))
    })
}

fn stream_page<'a>(
    length: usize,
    mut frames: Frames<'a>,
    mut visit: impl FnMut(Item<'a>),
) -> Result<Next, PageError> {
    let mut last = StreamId::MIN;
    for _ in 0..length {
        frames.array()?;
        last = stream_id(frames.bytes()?)?;
        // A nil body stands for an entry that was removed while it was read.
        match frames.next()? {
            Frame::Array(parts) => {
                visit(Item::Entry(
                    last,
                    Pairs {
                        frames,
                        left: parts,
                    },
                ));
                for _ in 0..parts {
                    frames.bytes()?;
                }
            }
            Frame::Nil => {}
            other => return Err(unexpected("the fields of a stream entry", &other).into()),
        }
    }
    match last.next() {
        Some(next) => Ok(more_if_full(length, || PieceCursor::Id(next))),
        None => Ok(Next::Done),
    }
}

pub(crate) fn refusal(words: &[u8]) -> PageError {
    if words.starts_with(b"WRONGTYPE") {
        return PageError::WrongType;
    }
    PageError::Refused(String::from_utf8_lossy(words).into_owned())
}

fn number(text: &[u8]) -> Result<u64, Malformed> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Malformed("a cursor that is no number".into()))
}

/// A score as the server printed it.
///
/// # Errors
/// When it is none.
pub(crate) fn score(text: &[u8]) -> Result<Score, Malformed> {
    Score::parse(text).ok_or_else(|| Malformed("a score that is no number".into()))
}

/// A stream ID as the server printed it.
///
/// # Errors
/// When it is none.
pub(crate) fn stream_id(text: &[u8]) -> Result<StreamId, Malformed> {
    StreamId::parse(text).ok_or_else(|| Malformed("a stream ID that is none".into()))
}

/// A key with its type and end.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    /// The key.
    pub(crate) key: Key,
    /// Its kind.
    pub(crate) kind: Kind,
    /// What TYPE answered; it tells modules' types apart.
    pub(crate) type_name: bytes::Bytes,
    /// When it ends.
    pub(crate) expiry: Expiry,
}
