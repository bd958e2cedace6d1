//! Hash fields that end by themselves: a page of a hash, and when each of its fields ends.
//!
//! ```text
//! HSCAN key        name value  name value ...
//! HPEXPIRETIME key FIELDS n name name ...     -1    1 700 000 000 123 ...
//! ```
//!
//! Two commands and no transaction: a field that is set in between may show its old value with its new end. The next
//! look finds it moved, and a write is watched.

use bytes::Bytes;

use crate::model::{Expiry, Kind};

use super::Capability::FieldExpiry;
use super::PieceCursor;
use super::page::{Item, Next, PageError, pack_page, read_page, refusal};
use super::resp::{Frame, Frames, pack_arg, pack_start, unexpected};
use super::wire::{Wire, WireError};

/// Whether the fields of this value are asked when they end.
pub(crate) fn may_end(wire: &Wire, kind: Kind) -> bool {
    kind == Kind::Hash && wire.can.has(FieldExpiry)
}

/// The names of the fields on a page, and what follows it.
///
/// # Errors
/// As [`read_page`].
pub(crate) fn names_of(page: &[u8]) -> Result<(Vec<&[u8]>, Next), PageError> {
    let mut names = Vec::new();
    let next = read_page(Kind::Hash, &PieceCursor::Start, page, |item| {
        if let Item::Field(name, _, _) = item {
            names.push(name);
        }
    })?;
    Ok((names, next))
}

/// Packs the command that asks when fields end.
pub(crate) fn pack_ends<'a>(
    out: &mut Vec<u8>,
    key: &[u8],
    names: impl ExactSizeIterator<Item = &'a [u8]>,
) {
    let count = names.len().to_string();
    pack_start(out, 4 + names.len());
    pack_arg(out, b"HPEXPIRETIME");
    pack_arg(out, key);
    pack_arg(out, b"FIELDS");
    pack_arg(out, count.as_bytes());
    names.for_each(|name| pack_arg(out, name));
}

/// Reads the answer to [`pack_ends`]: for each field when it ends, nothing where it is gone.
///
/// # Errors
/// When the key changed its type, the server refused, or the answer is malformed.
pub(crate) fn read_ends(reply: &[u8], fields: usize) -> Result<Vec<Option<Expiry>>, PageError> {
    let mut frames = Frames::new(reply);
    let length = match frames.next()? {
        Frame::Array(length) => length,
        Frame::Nil => 0,
        Frame::Error(words) => return Err(refusal(words)),
        other => return Err(unexpected("the ends of fields", &other).into()),
    };
    let mut ends = Vec::with_capacity(fields);
    for _ in 0..length {
        ends.push(match frames.next()? {
            Frame::Int(-1) => Some(Expiry::Never),
            Frame::Int(at @ 0..) => Some(Expiry::from_millis(at)),
            Frame::Int(_) | Frame::Nil => None,
            other => return Err(unexpected("the end of a field", &other).into()),
        });
    }
    // A key that is gone has no fields.
    ends.resize(fields, None);
    Ok(ends)
}

/// Visits the fields of a page, each with its end; those that are gone by now are left out.
///
/// # Errors
/// As [`read_page`] and [`read_ends`].
pub(crate) fn read_fields<'a>(
    page: &'a [u8],
    ends: &[u8],
    mut visit: impl FnMut(Item<'a>),
) -> Result<Next, PageError> {
    let (names, _) = names_of(page)?;
    let mut ends = read_ends(ends, names.len())?.into_iter();
    read_page(Kind::Hash, &PieceCursor::Start, page, |item| {
        if let (Item::Field(name, value, _), Some(Some(end))) = (item, ends.next()) {
            visit(Item::Field(name, value, end));
        }
    })
}

/// Reads the page of a hash at a cursor, with the ends of its fields.
pub(crate) async fn read_fields_page(
    wire: &mut Wire,
    key: &[u8],
    cursor: &PieceCursor,
    visit: impl FnMut(Item<'_>),
) -> Result<Result<Next, PageError>, WireError> {
    wire.push_with(|out| pack_page(out, Kind::Hash, key, cursor));
    wire.flush().await?;
    let page = wire.reply().await?.to_vec();
    let names = match names_of(&page) {
        Ok((names, next)) if names.is_empty() => return Ok(Ok(next)),
        Ok((names, _)) => names,
        Err(error) => return Ok(Err(error)),
    };
    wire.push_with(|out| pack_ends(out, key, names.into_iter()));
    wire.flush().await?;
    Ok(read_fields(&page, wire.reply().await?, visit))
}

/// When the named fields end; nothing where the server refuses.
pub(crate) async fn ask_ends(
    wire: &mut Wire,
    key: &[u8],
    names: &[Bytes],
) -> Result<Option<Vec<Option<Expiry>>>, WireError> {
    if names.is_empty() {
        return Ok(Some(Vec::new()));
    }
    wire.push_with(|out| pack_ends(out, key, names.iter().map(|name| &name[..])));
    wire.flush().await?;
    match read_ends(wire.reply().await?, names.len()) {
        Ok(ends) => Ok(Some(ends)),
        Err(PageError::WrongType | PageError::Refused(_)) => Ok(None),
        Err(PageError::Malformed(malformed)) => Err(malformed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;

    const PAGE: &[u8] = b"*2\r\n$1\r\n0\r\n*6\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\nc\r\n$1\r\n3\r\n";

    fn fields(ends: &[u8]) -> Vec<(Vec<u8>, Expiry)> {
        let mut found = Vec::new();
        let next = read_fields(PAGE, ends, |item| {
            if let Item::Field(name, _, end) = item {
                found.push((name.to_vec(), end));
            }
        });
        assert_eq!(next, Ok(Next::Done));
        found
    }

    #[test]
    fn each_field_has_its_own_end_and_one_that_is_gone_is_left_out() {
        let found = fields(b"*3\r\n:-1\r\n:-2\r\n:1700000000123\r\n");
        let ends = Expiry::At(Millis(1_700_000_000_123));
        let expected = vec![(b"a".to_vec(), Expiry::Never), (b"c".to_vec(), ends)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_key_that_is_gone_has_no_fields() {
        for gone in [&b"*0\r\n"[..], b"*-1\r\n", b"*3\r\n:-2\r\n:-2\r\n:-2\r\n"] {
            assert_eq!(fields(gone), Vec::new());
        }
    }

    #[test]
    fn a_refusal_is_no_page() {
        let read = read_fields(PAGE, b"-NOPERM no\r\n", |_| {});
        assert_eq!(read, Err(PageError::Refused("NOPERM no".into())));
    }
}
