//! Tries the commands that reknit needs, without writing: reading ones for real on a key that nobody has, writing
//! ones queued in MULTI and discarded.
//!
//! ```text
//! GET TYPE HSCAN ...  WATCH UNWATCH  MULTI EXEC  MULTI ──▶ is it open? ──▶ SET HSET ...  DISCARD
//! ```

use super::Facts;
use super::acl::{Access, trials};
use super::observe::{is_elsewhere, is_passing};
use super::resp::{Frame, Frames};
use super::wire::{Wire, WireError};

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The user may not send it.
    Command,
    /// The user may send it, but not for the keys that reknit builds values under.
    Key,
    /// The server does not know it, or does not take writes now.
    Server,
}

/// A command that the server refused in a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The command as an ACL rule names it.
    pub command: &'static str,
    /// What it is needed for.
    pub access: Access,
    /// Why.
    pub cause: Cause,
    /// The server's words.
    pub words: String,
}

/// What came of a rehearsal.
pub(crate) struct Rehearsal {
    pub(crate) refusals: Vec<Refusal>,
    /// Whether the connection is as it was before.
    pub(crate) is_clean: bool,
}

/// Tries everything that an access needs, in one round trip for reading and two for writing.
pub(crate) async fn rehearse(
    wire: &mut Wire,
    facts: &Facts,
    access: Access,
) -> Result<Rehearsal, WireError> {
    let reading = trials(facts, Access::Read);
    for (_, words) in &reading {
        wire.push(words);
    }
    if access >= Access::Write {
        for words in FRAME {
            wire.push(words.1);
        }
    }
    wire.flush().await?;
    let mut refusals = Vec::new();
    for (command, _) in reading {
        let refused = read_refusal(wire, command, Access::Read).await?;
        // A key that is not there is no refusal.
        refusals.extend(refused.filter(|one| one.cause != Cause::Server || is_lasting(&one.words)));
    }
    if access == Access::Read {
        let is_clean = true;
        return Ok(Rehearsal { refusals, is_clean });
    }
    let is_clean = rehearse_writing(wire, facts, access, &mut refusals).await?;
    Ok(Rehearsal { refusals, is_clean })
}

/// What surrounds a conditional write; the empty transaction writes nothing. The last MULTI opens the next.
const FRAME: [(&str, &[&[u8]]); 5] = [
    ("watch", &[b"WATCH", b"reknit:aside:check"]),
    ("unwatch", &[b"UNWATCH"]),
    ("multi", &[b"MULTI"]),
    ("exec", &[b"EXEC"]),
    ("multi", &[b"MULTI"]),
];

/// Answers whether the connection is out of the transaction again.
async fn rehearse_writing(
    wire: &mut Wire,
    facts: &Facts,
    access: Access,
    refusals: &mut Vec<Refusal>,
) -> Result<bool, WireError> {
    let (mut is_open, mut is_clean) = (false, true);
    for (command, _) in FRAME {
        let refused = read_refusal(wire, command, Access::Write).await?;
        // Where EXEC was refused, the first MULTI is still open.
        is_open = refused
            .as_ref()
            .is_none_or(|one| one.words.contains("nested"));
        is_clean &= refused.is_none();
        let meant = |one: &Refusal| one.cause != Cause::Server || is_lasting(&one.words);
        let is_known = refusals.iter().any(|known| known.command == command);
        refusals.extend(refused.filter(|one| meant(one) && !is_known));
    }
    // SUBTLE: outside a transaction, the commands that follow would be executed.
    if !is_open {
        return Ok(is_clean);
    }
    let mut writing = Vec::new();
    for level in [Access::Write, Access::Count] {
        if level <= access {
            let trials = trials(facts, level).into_iter();
            writing.extend(trials.map(|(command, words)| (level, command, words)));
        }
    }
    for (_, _, words) in &writing {
        wire.push(words);
    }
    wire.push(&[b"DISCARD"]);
    wire.flush().await?;
    for (level, command, _) in writing {
        refusals.extend(read_refusal(wire, command, level).await?);
    }
    let discard = read_refusal(wire, "discard", Access::Write).await?;
    is_clean &= discard.is_none();
    refusals.extend(discard);
    Ok(is_clean)
}

async fn read_refusal(
    wire: &mut Wire,
    command: &'static str,
    access: Access,
) -> Result<Option<Refusal>, WireError> {
    let Frame::Error(words) = Frames::new(wire.reply().await?).next()? else {
        return Ok(None);
    };
    let words = String::from_utf8_lossy(words).into_owned();
    // Who may not send a command is told that before a node of a cluster says that the key is elsewhere.
    if is_elsewhere(&words) || words.starts_with("CROSSSLOT") {
        return Ok(None);
    }
    if is_passing(&words) && !words.starts_with("READONLY") {
        return Err(WireError::Lost(words));
    }
    Ok(Some(Refusal {
        command,
        access,
        cause: cause(&words),
        words,
    }))
}

fn cause(words: &str) -> Cause {
    // A refused EXEC says so first.
    let words = words
        .strip_prefix("EXECABORT Transaction discarded because of: ")
        .unwrap_or(words);
    match words.strip_prefix("NOPERM") {
        Some(rest) if rest.contains("to access") => Cause::Key,
        Some(_) => Cause::Command,
        None => Cause::Server,
    }
}

/// Whether the words are about the command and not about the key that is not there.
fn is_lasting(words: &str) -> bool {
    words.starts_with("ERR unknown") || words.starts_with("NOAUTH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_by_the_servers_words() {
        let table = [
            (
                "NOPERM this user has no permissions to run the 'get' command",
                Cause::Command,
            ),
            (
                "NOPERM User u has no permissions to run the 'hset' command",
                Cause::Command,
            ),
            (
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                Cause::Key,
            ),
            ("NOPERM No permissions to access a key", Cause::Key),
            (
                "EXECABORT Transaction discarded because of: NOPERM this user has no permissions to run the 'exec' command",
                Cause::Command,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Cause::Server,
            ),
            ("ERR unknown command 'FLUSHALL'", Cause::Server),
        ];
        for (words, expected) in table {
            assert_eq!(cause(words), expected, "{words}");
        }
    }
}
