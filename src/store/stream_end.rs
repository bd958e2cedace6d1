//! How a stream ends: its last ID and its groups, asked of servers that tell both at once and of older ones.
//!
//! ```text
//! XINFO STREAM key FULL COUNT 1                  since 6.0
//! XINFO STREAM key        XINFO GROUPS key       since 5.0
//! ```
//!
//! Of two answers, the second may be younger: a group that came or went in between is found by the next look.

use crate::model::StreamId;

use super::Capability::StreamFull;
use super::PAGE_ELEMENTS;
use super::capabilities::Capabilities;
use super::page::{PageError, refusal, stream_id};
use super::resp::{Frame, Frames, Malformed, pack, unexpected};
use super::wire::{Wire, WireError};

/// A stream's last ID, and its groups with the ID each was last delivered.
pub(crate) type StreamEnd = (StreamId, Vec<(Vec<u8>, StreamId)>);

/// How many commands ask for it.
pub(crate) fn commands(can: Capabilities) -> usize {
    if can.has(StreamFull) { 1 } else { 2 }
}

/// Packs the commands that ask for a stream's end.
pub(crate) fn pack_stream_end(out: &mut Vec<u8>, key: &[u8], can: Capabilities) {
    if can.has(StreamFull) {
        return pack(out, &[b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"1"]);
    }
    pack(out, &[b"XINFO", b"STREAM", key]);
    pack(out, &[b"XINFO", b"GROUPS", key]);
}

/// Asks for a stream's end; nothing if the stream is gone.
pub(crate) async fn ask_stream_end(
    wire: &mut Wire,
    key: &[u8],
) -> Result<Result<Option<StreamEnd>, PageError>, WireError> {
    let can = wire.can;
    wire.push_some_with(commands(can), |out| pack_stream_end(out, key, can));
    wire.flush().await?;
    let first = wire.reply().await?.to_vec();
    let second = match can.has(StreamFull) {
        true => None,
        false => Some(wire.reply().await?),
    };
    Ok(read_stream_end(&first, second))
}

/// Reads the answers to [`pack_stream_end`]; nothing if the stream is gone.
///
/// # Errors
/// When the key changed its type, the server refused, or an answer is malformed.
pub(crate) fn read_stream_end(
    first: &[u8],
    second: Option<&[u8]>,
) -> Result<Option<StreamEnd>, PageError> {
    let Some((mut frames, length)) = opened(first)? else {
        return Ok(None);
    };
    let (mut last_id, mut groups) = (None, Vec::new());
    for _ in 0..length / 2 {
        match frames.bytes()? {
            b"last-generated-id" => last_id = Some(stream_id(frames.bytes()?)?),
            // Where the answer is not full, this is their number.
            b"groups" if second.is_none() => {
                let count = frames.array()?;
                groups = read_groups(&mut frames, count)?;
            }
            _ => frames.skip()?,
        }
    }
    if let Some(second) = second {
        let Some((mut frames, count)) = opened(second)? else {
            return Ok(None);
        };
        groups = read_groups(&mut frames, count)?;
    }
    let last_id = last_id.ok_or_else(|| Malformed("a stream without a last ID".into()))?;
    Ok(Some((last_id, groups)))
}

/// An answer that is an array, and its length.
fn opened(reply: &[u8]) -> Result<Option<(Frames<'_>, usize)>, PageError> {
    let mut frames = Frames::new(reply);
    match frames.next()? {
        Frame::Array(length) => Ok(Some((frames, length))),
        Frame::Error(words) if words.starts_with(b"ERR no such key") => Ok(None),
        Frame::Error(words) => Err(refusal(words)),
        other => Err(unexpected("a stream's information", &other).into()),
    }
}

fn read_groups(
    frames: &mut Frames<'_>,
    count: usize,
) -> Result<Vec<(Vec<u8>, StreamId)>, Malformed> {
    let mut groups = Vec::with_capacity(count.min(PAGE_ELEMENTS));
    for _ in 0..count {
        let (mut name, mut delivered) = (Vec::new(), StreamId::MIN);
        for _ in 0..frames.array()? / 2 {
            match frames.bytes()? {
                b"name" => name = frames.bytes()?.to_vec(),
                b"last-delivered-id" => delivered = stream_id(frames.bytes()?)?,
                _ => frames.skip()?,
            }
        }
        groups.push((name, delivered));
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "*4\r\n$4\r\nname\r\n$1\r\ng\r\n$17\r\nlast-delivered-id\r\n$3\r\n4-0\r\n";

    #[test]
    fn one_full_answer_says_what_two_answers_say() {
        let head = "$17\r\nlast-generated-id\r\n$3\r\n5-1\r\n$6\r\ngroups\r\n";
        let full = format!("*4\r\n{head}*1\r\n{GROUP}");
        let short = format!("*4\r\n{head}:1\r\n");
        let groups = format!("*1\r\n{GROUP}");
        let expected = (
            StreamId { ms: 5, seq: 1 },
            vec![(b"g".to_vec(), StreamId { ms: 4, seq: 0 })],
        );
        let one = read_stream_end(full.as_bytes(), None);
        let two = read_stream_end(short.as_bytes(), Some(groups.as_bytes()));
        assert_eq!(one, Ok(Some(expected)));
        assert_eq!(one, two);
    }

    #[test]
    fn a_stream_that_is_gone_by_the_second_answer_is_absent() {
        let first = "*2\r\n$17\r\nlast-generated-id\r\n$3\r\n5-1\r\n";
        let gone = b"-ERR no such key\r\n";
        assert_eq!(read_stream_end(first.as_bytes(), Some(gone)), Ok(None));
        assert_eq!(read_stream_end(gone, Some(gone)), Ok(None));
    }
}
