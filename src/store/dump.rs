//! Values as the server itself writes them, with their expiry: what cannot be put back by commands.

use bytes::Bytes;

use crate::model::{Expiry, Key};

use super::expiries::{self, Ends, MOMENTS, When};
use super::resp::{Frame, Frames, pack_arg, unexpected};
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
        batch.iter().for_each(|key| ask(wire, key));
        wire.flush().await?;
        let mut found = Vec::with_capacity(batch.len());
        for _ in batch {
            found.push(read(wire).await?);
        }
        for (key, mut one) in batch.iter().zip(found) {
            for _ in 0..MOMENTS {
                match one {
                    Some((_, Ends::Exactly(_))) | None => break,
                    Some((_, Ends::About(_))) => {
                        ask(wire, key);
                        wire.flush().await?;
                        one = read(wire).await?;
                    }
                }
            }
            dumped.push(whole(one)?);
        }
    }
    Ok(dumped)
}

fn ask(wire: &mut Wire, key: &Key) {
    let (can, mut argument) = (wire.can, Vec::new());
    pack_arg(&mut argument, key.as_bytes());
    wire.push(&[b"MULTI"]);
    wire.push(&[b"DUMP", key.as_bytes()]);
    wire.push_some_with(expiries::commands(can), |out| {
        expiries::pack_when(out, &argument, can);
    });
    wire.push(&[b"EXEC"]);
}

/// A value and its end, which may have to be asked again.
type Found = Option<(Bytes, Ends)>;

fn whole(found: Found) -> Result<Dumped, WireError> {
    let Some((payload, ends)) = found else {
        return Ok(None);
    };
    match ends.into_reply() {
        Ok(Some(expiry)) => Ok(Some((payload, expiry))),
        Ok(None) => Ok(None),
        Err(words) => Err(refusal("PEXPIRETIME", words.as_bytes())),
    }
}

async fn read(wire: &mut Wire) -> Result<Found, WireError> {
    let when = expiries::commands(wire.can);
    let ends = std::iter::repeat_n("PEXPIRETIME", when);
    for command in ["MULTI", "DUMP"].into_iter().chain(ends) {
        if let Frame::Error(words) = Frames::new(wire.reply().await?).next()? {
            return Err(refusal(command, words));
        }
    }
    let can = wire.can;
    let mut frames = Frames::new(wire.reply().await?);
    match frames.next()? {
        Frame::Array(answers) if answers == 1 + when => {}
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
    let mut so_far = When::default();
    loop {
        if let Some(ends) = so_far.take(frames.take()?, can)? {
            return Ok(Some((payload, ends)));
        }
    }
}
