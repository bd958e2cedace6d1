//! Fresh reads of named keys over one connection: their type and end, then bounded pages.

use bytes::Bytes;

use crate::model::{Digester, Expiry, Key, Kind};

use super::expiries::{self, Ends, MOMENTS, When};
use super::fields::{may_end, names_of, pack_ends, read_fields, read_fields_page};
use super::page::{self, Described, Item, Next, PageError, pack_description, pack_get, pack_page};
use super::reading::Reading;
use super::resp::{self, Frame, Frames, pack_arg, unexpected};
use super::stream_end::ask_stream_end;
use super::wire::{Wire, WireError};
use super::{Observed, PieceCursor};

/// How often a key is described again that changed its type between TYPE and the read.
const TYPE_CHANGES: usize = 3;

/// What a server said of a key's type and end.
pub(crate) enum Description {
    Absent,
    Present(Described),
    Unreadable(String),
}

/// Reads keys afresh, one answer per key; `keep` holds on to values that are small.
pub(crate) async fn observe(
    wire: &mut Wire,
    keys: &[Key],
    depth: usize,
    keep: bool,
    digester: &mut Digester,
) -> Result<Vec<Observed>, WireError> {
    let mut observed = Vec::with_capacity(keys.len());
    for batch in keys.chunks((depth / 2).max(1)) {
        let descriptions = describe(wire, batch).await?;
        let firsts = first_pages(wire, &descriptions, keep, digester).await?;
        for ((key, description), first) in batch.iter().zip(descriptions).zip(firsts) {
            observed.push(complete(wire, key, description, first, keep, digester).await?);
        }
    }
    Ok(observed)
}

/// What came of the first page.
enum First {
    /// There was nothing to read.
    None,
    /// The whole value.
    Whole(Box<Observed>),
    /// All fields of a hash, as they came; when they end is still to be asked.
    Fields(Vec<u8>),
    /// More is to be read, or the key changed: read it on its own.
    Alone,
}

/// Asks the type and the end of each key in one go; once more, where a clock ticked in between.
pub(crate) async fn describe(wire: &mut Wire, keys: &[Key]) -> Result<Vec<Description>, WireError> {
    let mut found = ask_descriptions(wire, keys).await?;
    for attempt in 1..=MOMENTS {
        let unclear = |(_, ends): &&(TypeReply, Ends)| matches!(ends, Ends::About(_));
        if attempt == MOMENTS || !found.iter().any(|one| unclear(&one)) {
            break;
        }
        let again: Vec<usize> = (0..keys.len()).filter(|&at| unclear(&&found[at])).collect();
        let asked: Vec<Key> = again.iter().map(|&at| keys[at].clone()).collect();
        let answers = ask_descriptions(wire, &asked).await?;
        for (at, answer) in again.into_iter().zip(answers) {
            found[at] = answer;
        }
    }
    let join = |(key, (kind, ends)): (&Key, (TypeReply, Ends))| {
        join_description(key.clone(), kind, ends.into_reply())
    };
    Ok(keys.iter().zip(found).map(join).collect())
}

async fn ask_descriptions(
    wire: &mut Wire,
    keys: &[Key],
) -> Result<Vec<(TypeReply, Ends)>, WireError> {
    let can = wire.can;
    let mut argument = Vec::new();
    for key in keys {
        argument.clear();
        pack_arg(&mut argument, key.as_bytes());
        wire.push_some_with(1 + expiries::commands(can), |out| {
            pack_description(out, &argument, can);
        });
    }
    wire.flush().await?;
    let mut found = Vec::with_capacity(keys.len());
    for _ in keys {
        let kind = read_type(wire.reply().await?)?;
        let mut when = When::default();
        let ends = loop {
            if let Some(ends) = when.take(wire.reply().await?, can)? {
                break ends;
            }
        };
        found.push((kind, ends));
    }
    Ok(found)
}

/// A TYPE answer: the kind and the type's own name; nothing if the key is absent; the server's words if it refused.
pub(crate) type TypeReply = Result<Option<(Kind, Bytes)>, String>;

/// An answer of PEXPIRETIME, or of PTTL: nothing if the key is absent; the server's words if it refused.
pub(crate) type ExpiryReply = Result<Option<Expiry>, String>;

pub(crate) fn join_description(key: Key, kind: TypeReply, expiry: ExpiryReply) -> Description {
    match (kind, expiry) {
        (Err(words), _) | (_, Err(words)) => Description::Unreadable(words),
        (Ok(None), _) | (_, Ok(None)) => Description::Absent,
        (Ok(Some((kind, type_name))), Ok(Some(expiry))) => Description::Present(Described {
            key,
            kind,
            type_name,
            expiry,
        }),
    }
}

pub(crate) fn read_type(reply: &[u8]) -> Result<TypeReply, WireError> {
    match resp::first(reply)? {
        Frame::Simple(name) | Frame::Bulk(name) => Ok(Ok(
            Kind::from_type_reply(name).map(|kind| (kind, type_name(kind, name)))
        )),
        Frame::Error(words) => refused(words),
        other => Err(unexpected("a type", &other).into()),
    }
}

/// Only modules' types need their name kept.
fn type_name(kind: Kind, name: &[u8]) -> Bytes {
    if kind == Kind::Module {
        Bytes::copy_from_slice(name)
    } else {
        Bytes::new()
    }
}

pub(crate) fn read_expiry(reply: &[u8]) -> Result<ExpiryReply, WireError> {
    match resp::first(reply)? {
        Frame::Int(-2) => Ok(Ok(None)),
        Frame::Int(-1) => Ok(Ok(Some(Expiry::Never))),
        Frame::Int(at) => Ok(Ok(Some(Expiry::from_millis(at)))),
        Frame::Error(words) => refused(words),
        other => Err(unexpected("an expiry", &other).into()),
    }
}

/// A refusal that concerns one key, or, while the server is loading, all of them.
pub(crate) fn refused<T>(words: &[u8]) -> Result<Result<T, String>, WireError> {
    let words = String::from_utf8_lossy(words).into_owned();
    if is_passing(&words) && !is_elsewhere(&words) {
        Err(WireError::Lost(words))
    } else {
        Ok(Err(words))
    }
}

/// Whether a refusal is about the server's state, or about the place of a key, and will pass.
pub(crate) fn is_passing(words: &str) -> bool {
    let state = ["LOADING", "MASTERDOWN", "READONLY", "BUSY "];
    is_elsewhere(words) || state.iter().any(|prefix| words.starts_with(prefix))
}

/// Whether a node of a cluster says that the key is not, or not yet, or not wholly, its own.
pub(crate) fn is_elsewhere(words: &str) -> bool {
    ["MOVED ", "ASK ", "TRYAGAIN", "CLUSTERDOWN"]
        .iter()
        .any(|prefix| words.starts_with(prefix))
}

async fn first_pages(
    wire: &mut Wire,
    descriptions: &[Description],
    keep: bool,
    digester: &mut Digester,
) -> Result<Vec<First>, WireError> {
    for description in descriptions {
        if let Description::Present(described) = description {
            let (kind, key) = (described.kind, described.key.as_bytes());
            wire.push_with(|out| pack_page(out, kind, key, &PieceCursor::Start));
        }
    }
    wire.flush().await?;
    let mut firsts = Vec::with_capacity(descriptions.len());
    for description in descriptions {
        firsts.push(match description {
            Description::Present(described) if may_end(wire, described.kind) => {
                let page = wire.reply().await?.to_vec();
                match names_of(&page) {
                    Ok((names, Next::Done)) if !names.is_empty() => First::Fields(page),
                    Ok(_) | Err(_) => first_page(&page, described, keep, digester)?,
                }
            }
            Description::Present(described) => {
                first_page(wire.reply().await?, described, keep, digester)?
            }
            Description::Absent | Description::Unreadable(_) => First::None,
        });
    }
    read_ends(wire, descriptions, &mut firsts, keep, digester).await?;
    Ok(firsts)
}

/// Asks when the fields of all pages of hashes end, in one go.
async fn read_ends(
    wire: &mut Wire,
    descriptions: &[Description],
    firsts: &mut [First],
    keep: bool,
    digester: &mut Digester,
) -> Result<(), WireError> {
    for (description, first) in descriptions.iter().zip(&*firsts) {
        if let (Description::Present(described), First::Fields(page)) = (description, first) {
            let names = names_of(page).map(|(names, _)| names).unwrap_or_default();
            let key = described.key.as_bytes();
            wire.push_with(|out| pack_ends(out, key, names.into_iter()));
        }
    }
    wire.flush().await?;
    for (description, first) in descriptions.iter().zip(firsts) {
        if let (Description::Present(described), First::Fields(page)) = (description, &*first) {
            let mut reading = Reading::new(described, keep);
            let ends = wire.reply().await?;
            let read = read_fields(page, ends, |item| reading.take(item, true, digester));
            *first = match read {
                Ok(_) => First::Whole(Box::new(reading.finish(digester))),
                Err(error) => first_of(error)?,
            };
        }
    }
    Ok(())
}

fn first_page(
    reply: &[u8],
    described: &Described,
    keep: bool,
    digester: &mut Digester,
) -> Result<First, WireError> {
    let mut reading = Reading::new(described, keep);
    let last = is_last_piece(described.kind, reply);
    let next = page::read_page(described.kind, &PieceCursor::Start, reply, |item| {
        reading.take(item, last, digester);
    });
    match next {
        Ok(Next::Done) if described.kind != Kind::Stream => {
            Ok(First::Whole(Box::new(reading.finish(digester))))
        }
        Ok(_) => Ok(First::Alone),
        Err(error) => first_of(error),
    }
}

fn first_of(error: PageError) -> Result<First, WireError> {
    match error {
        PageError::WrongType => Ok(First::Alone),
        PageError::Refused(words) => match refused(words.as_bytes())? {
            Ok(()) => Ok(First::Alone),
            Err(words) => Ok(First::Whole(Box::new(Observed::Unreadable(words)))),
        },
        PageError::Malformed(malformed) => Err(malformed.into()),
    }
}

/// Whether a first page holds the whole of a string: then it may be a HyperLogLog.
pub(crate) fn is_last_piece(kind: Kind, reply: &[u8]) -> bool {
    kind == Kind::String && reply.len() < super::PAGE_BYTES
}

async fn complete(
    wire: &mut Wire,
    key: &Key,
    description: Description,
    first: First,
    keep: bool,
    digester: &mut Digester,
) -> Result<Observed, WireError> {
    let mut described = match (first, description) {
        (First::Whole(observed), _) => return Ok(*observed),
        (_, Description::Absent) => return Ok(Observed::Absent),
        (_, Description::Unreadable(words)) => return Ok(Observed::Unreadable(words)),
        (First::None | First::Alone | First::Fields(_), Description::Present(described)) => {
            described
        }
    };
    for _ in 0..TYPE_CHANGES {
        match read_value(wire, &described, keep, digester).await? {
            Read::Value(observed) => return Ok(observed),
            Read::Unreadable(words) => return Ok(Observed::Unreadable(words)),
            Read::WrongType => {}
        }
        described = match describe(wire, std::slice::from_ref(key)).await?.pop() {
            Some(Description::Present(described)) => described,
            Some(Description::Unreadable(words)) => return Ok(Observed::Unreadable(words)),
            Some(Description::Absent) | None => return Ok(Observed::Absent),
        };
    }
    Ok(Observed::Unreadable(
        "its type keeps changing while it is read".into(),
    ))
}

/// What came of reading a value to its end.
pub(crate) enum Read {
    Value(Observed),
    WrongType,
    Unreadable(String),
}

/// Reads a value of any size, page by page, each page a command of its own.
pub(crate) async fn read_value(
    wire: &mut Wire,
    described: &Described,
    keep: bool,
    digester: &mut Digester,
) -> Result<Read, WireError> {
    let mut reading = Reading::new(described, keep);
    if let Some(ended) = read_pages(wire, described, &mut reading, digester).await? {
        return Ok(ended);
    }
    if counts_twice(wire, described, &reading).await? {
        reading = Reading::new(described, keep).without_duplicates();
        if let Some(ended) = read_pages(wire, described, &mut reading, digester).await? {
            return Ok(ended);
        }
    }
    Ok(Read::Value(reading.finish(digester)))
}

/// Whether more elements came than the collection has: SCAN repeats some while the server resizes its table.
async fn counts_twice(
    wire: &mut Wire,
    described: &Described,
    reading: &Reading,
) -> Result<bool, WireError> {
    let command: &[u8] = match described.kind {
        Kind::Hash => b"HLEN",
        Kind::Set => b"SCARD",
        Kind::SortedSet => b"ZCARD",
        Kind::String | Kind::List | Kind::Stream | Kind::Module => return Ok(false),
    };
    if reading.length() <= super::PAGE_ELEMENTS as u64 {
        return Ok(false);
    }
    let reply = wire.ask(&[command, described.key.as_bytes()]).await?;
    Ok(match Frames::new(&reply).next()? {
        Frame::Int(length) => u64::try_from(length).unwrap_or(0) != reading.length(),
        _ => false,
    })
}

/// Reads all pages; answers early when the value cannot be read on.
async fn read_pages(
    wire: &mut Wire,
    described: &Described,
    reading: &mut Reading,
    digester: &mut Digester,
) -> Result<Option<Read>, WireError> {
    let (kind, key) = (described.kind, described.key.as_bytes());
    let mut cursor = PieceCursor::Start;
    loop {
        let next = match may_end(wire, kind) {
            true => {
                let take = |item: Item<'_>| reading.take(item, false, digester);
                read_fields_page(wire, key, &cursor, take).await?
            }
            false => {
                wire.push_with(|out| pack_page(out, kind, key, &cursor));
                wire.flush().await?;
                let reply = wire.reply().await?;
                let last = cursor == PieceCursor::Start && is_last_piece(kind, reply);
                page::read_page(kind, &cursor, reply, |item| {
                    reading.take(item, last, digester)
                })
            }
        };
        match next {
            Ok(Next::Done) => break,
            Ok(Next::More(next)) => cursor = next,
            Ok(Next::EmptyOrAbsent) => {
                if let Some(ended) = read_empty(wire, key, reading, digester).await? {
                    return Ok(Some(ended));
                }
                break;
            }
            Err(error) => return ended_by(error).map(Some),
        }
    }
    if kind == Kind::Stream {
        read_stream_end(wire, key, reading).await
    } else {
        Ok(None)
    }
}

/// Tells an empty string from an absent key.
async fn read_empty(
    wire: &mut Wire,
    key: &[u8],
    reading: &mut Reading,
    digester: &mut Digester,
) -> Result<Option<Read>, WireError> {
    wire.push_with(|out| pack_get(out, key));
    wire.flush().await?;
    match page::read_get(wire.reply().await?) {
        Ok(Some(bytes)) => {
            reading.take(Item::Bytes(bytes), true, digester);
            Ok(None)
        }
        Ok(None) => Ok(Some(Read::Value(Observed::Absent))),
        Err(error) => ended_by(error).map(Some),
    }
}

async fn read_stream_end(
    wire: &mut Wire,
    key: &[u8],
    reading: &mut Reading,
) -> Result<Option<Read>, WireError> {
    match ask_stream_end(wire, key).await? {
        Ok(Some((last_id, groups))) => {
            reading.take_stream_end(last_id, groups);
            Ok(None)
        }
        Ok(None) => Ok(Some(Read::Value(Observed::Absent))),
        Err(error) => ended_by(error).map(Some),
    }
}

fn ended_by(error: PageError) -> Result<Read, WireError> {
    match error {
        PageError::WrongType => Ok(Read::WrongType),
        PageError::Refused(words) => Ok(refused::<()>(words.as_bytes())?
            .err()
            .map_or(Read::WrongType, Read::Unreadable)),
        PageError::Malformed(malformed) => Err(malformed.into()),
    }
}
