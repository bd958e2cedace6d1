//! A look at some keys, to tell what reading all of them would take. Every command is bounded.

use crate::model::{Key, Kind};

use super::observe::{Description, describe};
use super::page::pack_page;
use super::resp::{Frame, Frames, unexpected};
use super::wire::{Wire, WireError};
use super::{PAGE_BYTES, PAGE_ELEMENTS, PieceCursor};

/// Bytes after which no more values are looked at.
const SAMPLE_BYTES: u64 = 16 << 20;

/// Some keys of a database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sample {
    /// Their names.
    pub names: Vec<Key>,
    /// How many of them were read.
    pub read: u64,
    /// About how many bytes the server sends for those that were read, at their whole length.
    pub bytes: u64,
}

/// Looks at so many keys, the first that SCAN gives: their order is that of a hash, so they are as good as any.
pub(crate) async fn sample(
    wire: &mut Wire,
    keys: usize,
    depth: usize,
) -> Result<Sample, WireError> {
    let mut sample = Sample {
        names: names(wire, keys).await?,
        ..Sample::default()
    };
    for batch in sample.names.chunks((depth / 2).max(1)) {
        if sample.bytes > SAMPLE_BYTES {
            break;
        }
        let before = wire.received();
        let rest = weigh(wire, batch).await?;
        sample.bytes += wire.received() - before + rest;
        sample.read += batch.len() as u64;
    }
    Ok(sample)
}

async fn names(wire: &mut Wire, most: usize) -> Result<Vec<Key>, WireError> {
    let (mut names, mut cursor) = (Vec::new(), b"0".to_vec());
    let count = most.to_string();
    loop {
        let reply = wire
            .ask(&[b"SCAN", &cursor, b"COUNT", count.as_bytes()])
            .await?;
        let mut frames = Frames::new(&reply);
        match frames.next()? {
            Frame::Array(2) => {}
            Frame::Error(words) => {
                let words = String::from_utf8_lossy(words);
                return Err(WireError::Refused(format!("SCAN: {words}")));
            }
            other => return Err(unexpected("a page of names", &other).into()),
        }
        cursor = frames.bytes()?.to_vec();
        for _ in 0..frames.array()? {
            names.push(Key::copied(frames.bytes()?));
        }
        if cursor == b"0" || names.len() >= most {
            names.truncate(most);
            return Ok(names);
        }
    }
}

/// Reads the first pages of some keys. Answers the bytes that their further pages would take.
async fn weigh(wire: &mut Wire, keys: &[Key]) -> Result<u64, WireError> {
    let described: Vec<_> = describe(wire, keys)
        .await?
        .into_iter()
        .filter_map(|one| match one {
            // A DUMP is not bounded: modules' values are not weighed.
            Description::Present(found) if found.kind != Kind::Module => Some(found),
            Description::Present(_) | Description::Absent | Description::Unreadable(_) => None,
        })
        .collect();
    for found in &described {
        let key = found.key.as_bytes();
        wire.push_with(|out| pack_page(out, found.kind, key, &PieceCursor::Start));
        if let Some(command) = length_command(found.kind) {
            wire.push(&[command, key]);
        }
    }
    wire.flush().await?;
    let mut rest = 0;
    for found in &described {
        let page = wire.reply().await?.len() as u64;
        let Some(_) = length_command(found.kind) else {
            continue;
        };
        if let Frame::Int(length) = Frames::new(wire.reply().await?).next()? {
            let pages = u64::try_from(length).unwrap_or(0) / page_length(found.kind);
            rest += page.saturating_mul(pages);
        }
    }
    Ok(rest)
}

/// The command that tells how long a value is; nothing for streams, whose first page is taken for all.
fn length_command(kind: Kind) -> Option<&'static [u8]> {
    match kind {
        Kind::String => Some(b"STRLEN"),
        Kind::List => Some(b"LLEN"),
        Kind::Hash => Some(b"HLEN"),
        Kind::Set => Some(b"SCARD"),
        Kind::SortedSet => Some(b"ZCARD"),
        Kind::Stream | Kind::Module => None,
    }
}

fn page_length(kind: Kind) -> u64 {
    match kind {
        Kind::String => PAGE_BYTES as u64,
        Kind::List | Kind::Hash | Kind::Set | Kind::SortedSet | Kind::Stream | Kind::Module => {
            PAGE_ELEMENTS as u64
        }
    }
}
