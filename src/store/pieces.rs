//! Single elements and pieces of values of any size, over one connection; and values that are built aside.

use std::time::Duration;

use crate::model::{Digester, EntryRef, Expiry, Key, Kind, Position};

use super::commands::{pack_expiry, pack_piece};
use super::fields::{may_end, read_fields_page};
use super::observe::{Description, describe, is_elsewhere, is_passing};
use super::page::{Item, Next, PageError, pack_page, read_page};
use super::reading::Reading;
use super::resp::{Frame, Frames};
use super::stream_end::ask_stream_end;
use super::wire::{Wire, WireError};
use super::{EntrySink, LargeState, Observed, Piece, PieceCursor, server_info};

/// How long a value that is built aside may stand before it goes by itself, if its builder was killed.
const ASIDE_LIFETIME: Duration = Duration::from_secs(6 * 60 * 60);

pub(super) async fn unlink(wire: &mut Wire, key: &Key) -> Result<(), WireError> {
    wire.ask(&[b"UNLINK", key.as_bytes()]).await.map(|_| ())
}

pub(super) async fn list_elements(
    wire: &mut Wire,
    key: &Key,
    kind: Kind,
    digester: &mut Digester,
    sink: &mut dyn EntrySink,
) -> Result<Option<LargeState>, WireError> {
    let described = match describe(wire, std::slice::from_ref(key)).await?.pop() {
        Some(Description::Present(described)) if described.kind == kind => described,
        // Not absent: another node has it.
        Some(Description::Unreadable(words)) if is_elsewhere(&words) => {
            return Err(WireError::Lost(words));
        }
        Some(_) | None => return Ok(None),
    };
    let mut whole = Reading::new(&described, false);
    let mut cursor = PieceCursor::Start;
    loop {
        let next = read_one_page(wire, kind, key, &cursor, |item| {
            emit_element(kind, &item, digester, sink);
            whole.take(item, false, digester);
        });
        match next.await? {
            Ok(Next::More(next)) => cursor = next,
            Ok(Next::Done | Next::EmptyOrAbsent) => break,
            Err(PageError::Malformed(malformed)) => return Err(malformed.into()),
            Err(PageError::Refused(words)) if is_elsewhere(&words) => {
                return Err(WireError::Lost(words));
            }
            Err(PageError::WrongType | PageError::Refused(_)) => return Ok(None),
        }
    }
    if kind == Kind::Stream {
        match ask_stream_end(wire, key.as_bytes()).await? {
            Ok(Some((last_id, groups))) => whole.take_stream_end(last_id, groups),
            _ => return Ok(None),
        }
    }
    match whole.finish(digester) {
        Observed::Large(large) => Ok(Some(large)),
        Observed::Absent | Observed::Whole(_) | Observed::Unreadable(_) => Ok(None),
    }
}

/// Reads the page of a value at a cursor; of a hash with the ends of its fields, where they can have any.
async fn read_one_page(
    wire: &mut Wire,
    kind: Kind,
    key: &Key,
    cursor: &PieceCursor,
    visit: impl FnMut(Item<'_>),
) -> Result<Result<Next, PageError>, WireError> {
    if may_end(wire, kind) {
        return read_fields_page(wire, key.as_bytes(), cursor, visit).await;
    }
    wire.push_with(|out| pack_page(out, kind, key.as_bytes(), cursor));
    wire.flush().await?;
    Ok(read_page(kind, cursor, wire.reply().await?, visit))
}

pub(super) fn emit_element(
    kind: Kind,
    item: &Item<'_>,
    digester: &mut Digester,
    sink: &mut dyn EntrySink,
) {
    let name: std::borrow::Cow<'_, [u8]> = match item {
        Item::Field(name, ..) | Item::Member(name) | Item::Scored(name, _) => (*name).into(),
        Item::Entry(id, _) => id.to_string().into_bytes().into(),
        Item::Bytes(_) | Item::Element(_) => return,
    };
    let Some(digest) = super::reading::lone_digest(item, digester) else {
        return;
    };
    sink.entry(EntryRef {
        position: Position::of_element(&name),
        key: &name,
        kind,
        digest,
        expiry: Expiry::Never,
    });
}

pub(super) async fn read_piece(
    wire: &mut Wire,
    key: &Key,
    kind: Kind,
    cursor: &PieceCursor,
) -> Result<Option<(Piece, Option<PieceCursor>)>, WireError> {
    if *cursor == PieceCursor::End {
        return Ok(match ask_stream_end(wire, key.as_bytes()).await? {
            Ok(Some((last_id, groups))) => {
                let groups = groups
                    .into_iter()
                    .map(|(name, id)| (name.into(), id))
                    .collect();
                Some((Piece::StreamEnd { last_id, groups }, None))
            }
            _ => None,
        });
    }
    let mut piece = super::reading::empty_piece(kind);
    let next = read_one_page(wire, kind, key, cursor, |item| {
        super::reading::add_to_piece(&mut piece, item);
    });
    match next.await? {
        Ok(Next::More(next)) => Ok(Some((piece, Some(next)))),
        Ok(Next::Done) if kind == Kind::Stream => Ok(Some((piece, Some(PieceCursor::End)))),
        Ok(Next::Done | Next::EmptyOrAbsent) => Ok(Some((piece, None))),
        Err(PageError::WrongType) => Ok(None),
        Err(PageError::Refused(words)) if is_passing(&words) => Err(WireError::Lost(words)),
        Err(PageError::Refused(words)) => Err(WireError::Refused(words)),
        Err(PageError::Malformed(malformed)) => Err(malformed.into()),
    }
}

/// Adds a piece; the server's words if it refuses.
pub(super) async fn build_aside(
    wire: &mut Wire,
    aside: &Key,
    piece: &Piece,
) -> Result<Option<String>, WireError> {
    let deadline = server_info::now(wire).await?.plus(ASIDE_LIFETIME);
    let mut commands = 0;
    wire.push_with(|out| {
        commands = pack_piece(out, aside.as_bytes(), piece);
        commands += pack_expiry(out, aside.as_bytes(), Expiry::At(deadline));
    });
    wire.flush().await?;
    let mut refusal = None;
    for _ in 0..commands {
        if let Frame::Error(words) = Frames::new(wire.reply().await?).next()? {
            refusal.get_or_insert_with(|| String::from_utf8_lossy(words).into_owned());
        }
    }
    Ok(refusal)
}
