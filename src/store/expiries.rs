//! When a key ends, asked of servers that say so and of older ones.
//!
//! ```text
//! PEXPIRETIME key                       at 1 700 000 000 123
//! TIME   PTTL key   TIME                ms 1 700 000 000 000   123   ms 1 700 000 000 000
//! ```
//!
//! SUBTLE: PTTL is what is left at a moment that the server does not tell. It lies between the two TIMEs; where they
//! are of one millisecond, the sum is exact, and equal to what PEXPIRETIME would have said. Else it may be off by one:
//! then it is asked again, so that a key's digest is the same on a server with PEXPIRETIME and on one without.

use crate::model::{Expiry, Millis};

use super::Capability::ExpireTime;
use super::capabilities::Capabilities;
use super::observe::{ExpiryReply, read_expiry};
use super::resp::{Frame, Frames, pack, unexpected};
use super::server_info::time;
use super::wire::WireError;

/// How often a key is asked again whose two moments differ, before the later one is taken: clocks tick once a
/// millisecond, and three commands take some microseconds.
pub(crate) const MOMENTS: u8 = 50;

/// How many commands ask when a key ends.
pub(crate) fn commands(can: Capabilities) -> usize {
    if can.has(ExpireTime) { 1 } else { 3 }
}

/// Packs the commands that ask when a key ends; the key is a packed argument.
pub(crate) fn pack_when(out: &mut Vec<u8>, key: &[u8], can: Capabilities) {
    if can.has(ExpireTime) {
        out.extend_from_slice(b"*2\r\n$11\r\nPEXPIRETIME\r\n");
        out.extend_from_slice(key);
        return;
    }
    pack(out, &[b"TIME"]);
    out.extend_from_slice(b"*2\r\n$4\r\nPTTL\r\n");
    out.extend_from_slice(key);
    pack(out, &[b"TIME"]);
}

/// The answers to [`pack_when`], as they come in.
#[derive(Debug, Default)]
pub(crate) struct When {
    before: Option<Moment>,
    left: Option<ExpiryReply>,
}

/// What the answers came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ends {
    /// This, to the millisecond.
    Exactly(ExpiryReply),
    /// This or a millisecond earlier.
    About(ExpiryReply),
}

impl Ends {
    /// What was answered, as good as it is.
    pub(crate) fn into_reply(self) -> ExpiryReply {
        match self {
            Self::Exactly(reply) | Self::About(reply) => reply,
        }
    }
}

impl When {
    /// Takes the next answer in; the whole one once all have come.
    pub(crate) fn take(
        &mut self,
        reply: &[u8],
        can: Capabilities,
    ) -> Result<Option<Ends>, WireError> {
        if can.has(ExpireTime) {
            return Ok(Some(Ends::Exactly(read_expiry(reply)?)));
        }
        let (Some(before), Some(left)) = (&self.before, &self.left) else {
            match &self.before {
                None => self.before = Some(moment(reply)?),
                Some(_) => self.left = Some(read_expiry(reply)?),
            }
            return Ok(None);
        };
        let ends = ends(left, before, &moment(reply)?);
        *self = Self::default();
        Ok(Some(ends))
    }
}

fn ends(left: &ExpiryReply, before: &Moment, after: &Moment) -> Ends {
    let left = match left {
        Ok(Some(Expiry::At(Millis(left)))) => *left,
        // What has no end needs no moment.
        Err(_) | Ok(None | Some(Expiry::Never)) => return Ends::Exactly(left.clone()),
    };
    match (before, after) {
        (Err(words), _) | (_, Err(words)) => Ends::Exactly(Err(words.clone())),
        (Ok(before), Ok(after)) => {
            let reply = Ok(Some(Expiry::At(Millis(after.0 + left))));
            match before == after {
                true => Ends::Exactly(reply),
                false => Ends::About(reply),
            }
        }
    }
}

/// An answer of TIME; the server's words if it refused.
type Moment = Result<Millis, String>;

fn moment(reply: &[u8]) -> Result<Moment, WireError> {
    let mut frames = Frames::new(reply);
    match frames.next()? {
        Frame::Array(2) => Ok(Ok(time(&mut frames)?)),
        Frame::Error(words) => super::observe::refused(words),
        other => Err(unexpected("a time", &other).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(replies: [&str; 3]) -> Ends {
        let older = Capabilities::ALL.without(ExpireTime);
        let mut when = When::default();
        let mut last = None;
        for reply in replies {
            assert_eq!(last, None, "{replies:?}");
            last = when.take(reply.as_bytes(), older).unwrap();
        }
        last.unwrap()
    }

    fn at(ms: i64) -> ExpiryReply {
        Ok(Some(Expiry::At(Millis(ms))))
    }

    const EARLY: &str = "*2\r\n$10\r\n1700000000\r\n$6\r\n123001\r\n";
    const SAME: &str = "*2\r\n$10\r\n1700000000\r\n$6\r\n123999\r\n";
    const LATER: &str = "*2\r\n$10\r\n1700000000\r\n$6\r\n124000\r\n";

    #[test]
    fn time_and_what_is_left_are_exact_within_one_millisecond() {
        let sum = at(1_700_000_000_123 + 5_000);
        assert_eq!(answer([EARLY, ":5000\r\n", SAME]), Ends::Exactly(sum));
        let sum = at(1_700_000_000_124 + 5_000);
        assert_eq!(answer([SAME, ":5000\r\n", LATER]), Ends::About(sum));
    }

    #[test]
    fn what_has_no_end_or_is_absent_needs_no_moment() {
        let never = Ends::Exactly(Ok(Some(Expiry::Never)));
        assert_eq!(answer([SAME, ":-1\r\n", LATER]), never);
        assert_eq!(answer([SAME, ":-2\r\n", LATER]), Ends::Exactly(Ok(None)));
    }

    #[test]
    fn a_refusal_is_never_taken_for_an_end() {
        let words = "NOPERM no".to_owned();
        let refused = Ends::Exactly(Err(words));
        let no = "-NOPERM no\r\n";
        assert_eq!(answer([no, ":5000\r\n", no]), refused);
        assert_eq!(answer([EARLY, no, SAME]), refused);
        assert_eq!(answer([EARLY, ":5000\r\n", no]), refused);
    }

    #[test]
    fn a_newer_server_answers_at_once() {
        let mut when = When::default();
        let ends = when.take(b":1700000000123\r\n", Capabilities::ALL).unwrap();
        assert_eq!(ends, Some(Ends::Exactly(at(1_700_000_000_123))));
    }
}
