//! Values as the server itself writes them, with their expiry: what cannot be put back by commands.

use bytes::Bytes;

use crate::model::{Expiry, Key};

use super::resp::{Frame, Frames, unexpected};
use super::server_info::refusal;
use super::wire::{Wire, WireError};

/// How many values are asked for at once: answers left unread fill the server's memory.
const AT_ONCE: usize = 8;

/// A value as the server writes it, and when the key ends.
pub(crate) type Dumped = Option<(Bytes, Expiry)>;

/// Dumps keys, one answer per key; value and expiry of a key are of the same moment.
pub(crate) async fn dump(wire: &mut Wire, keys: &[Key]) -> Result<Vec<Dumped>, WireError> {
    let mut dumped = Vec::with_capacity(keys.len());
    for batch in keys.chunks(AT_ONCE) {
        for key in batch {
            wire.push(&[b"MULTI"]);
            wire.push(&[b"DUMP", key.as_bytes()]);
            wire.push(&[b"PEXPIRETIME", key.as_bytes()]);
            wire.push(&[b"EXEC"]);
        }
        wire.flush().await?;
        for _ in batch {
            dumped.push(read(wire).await?);
        }
    }
    Ok(dumped)
}

async fn read(wire: &mut Wire) -> Result<Dumped, WireError> {
    for command in ["MULTI", "DUMP", "PEXPIRETIME"] {
        if let Frame::Error(words) = Frames::new(wire.reply().await?).next()? {
            return Err(refusal(command, words));
        }
    }
    let mut frames = Frames::new(wire.reply().await?);
    match frames.next()? {
        Frame::Array(2) => {}
        Frame::Array(_) => return Err(WireError::Lost("the server is loading its data".into())),
        Frame::Error(words) => return Err(refusal("EXEC", words)),
        other => return Err(unexpected("a dumped value", &other).into()),
    }
    let payload = match frames.next()? {
        Frame::Bulk(payload) => Bytes::copy_from_slice(payload),
        Frame::Nil => return Ok(None),
        Frame::Error(words) => return Err(refusal("DUMP", words)),
        other => return Err(unexpected("a dumped value", &other).into()),
    };
    match frames.next()? {
        Frame::Int(-1) => Ok(Some((payload, Expiry::Never))),
        Frame::Int(at) => Ok(Some((payload, Expiry::from_millis(at)))),
        Frame::Error(words) => Err(refusal("PEXPIRETIME", words)),
        other => Err(unexpected("an expiry", &other).into()),
    }
}
