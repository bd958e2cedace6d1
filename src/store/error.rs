//! What can go wrong at a replica, by what the caller can do about it.

use crate::model::{Key, Marker, ReplicaName};

/// A failure at one replica.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or not any more: the replica does not take part.
    #[error("replica {replica}: {action}: {reason}")]
    Unreachable {
        /// The replica.
        replica: ReplicaName,
        /// What was tried.
        action: String,
        /// What stood in the way, and what to try.
        reason: String,
    },
    /// The server answered with an error that concerns more than one key.
    #[error("replica {replica}: {command} refused: {reason}")]
    Refused {
        /// The replica.
        replica: ReplicaName,
        /// The command.
        command: String,
        /// The server's words, and what to try.
        reason: String,
    },
    /// The server answered something that reknit does not understand.
    #[error("replica {replica}: unexpected answer to {command}: {reason}")]
    Protocol {
        /// The replica.
        replica: ReplicaName,
        /// The command.
        command: String,
        /// What was odd.
        reason: String,
    },
    /// The marker does not say what this process wrote: another run took the lane over, or the replica forgot. Nothing
    /// was written.
    #[error("replica {replica}: marker {lane} {}", says(.found))]
    Fenced {
        /// The replica.
        replica: ReplicaName,
        /// The marker.
        lane: Key,
        /// What it says; nothing where it is absent.
        found: Option<Marker>,
    },
    /// A key that reknit remembers by holds something that it did not write. Nothing was written.
    #[error("replica {replica}: {key} cannot be read: {reason}")]
    Marker {
        /// The replica.
        replica: ReplicaName,
        /// The key: a marker, or the list of state directories.
        key: Key,
        /// What is there instead, and what to try.
        reason: String,
    },
    /// The key is no longer what it was a moment ago.
    #[error("replica {replica}: key {key} changed while it was read")]
    Changed {
        /// The replica.
        replica: ReplicaName,
        /// The key.
        key: Key,
    },
}

/// Why a marker is not as it was left.
const WHY_ELSE: &str = "another run took the replica over, or its server lost what was written last, as in a failover or a \
                        restart from an older file; the next run begins from what is there";

fn says(found: &Option<Marker>) -> String {
    match found {
        Some(marker) => format!(
            "says step {} of run {} of state {}, which is not what this run wrote there last: {WHY_ELSE}",
            marker.sequence.0, marker.run, marker.state
        ),
        None => format!("is gone: {WHY_ELSE}"),
    }
}

/// What to try where a key that reknit remembers by is none of its own.
pub(super) fn advise_marker(reason: &str) -> String {
    if reason.contains("NOPERM") {
        return advise(reason);
    }
    format!("{reason} (`reknit clean --markers` removes it, and with it what the replica shows)")
}

/// Words of servers and systems, and what to try where they are said; the first that is found counts.
const ADVICE: &[(&str, &str)] = &[
    (
        "certificate: Expired",
        "the server's certificate has expired, or this machine's clock is wrong",
    ),
    (
        "certificate: certificate expired",
        "the server's certificate has expired, or this machine's clock is wrong",
    ),
    (
        "certificate not valid yet",
        "the server's certificate is for later, or this machine's clock is wrong",
    ),
    (
        "UnknownIssuer",
        "nobody in tls.ca vouches for the server: name the authority that signed its certificate there",
    ),
    (
        "BadSignature",
        "the server's certificate was signed by another authority of the same name",
    ),
    (
        "not valid for name",
        "set tls.server_name to a name that the certificate is for, if it is the right server",
    ),
    (
        "CertificateRequired",
        "the server asks who we are: give tls.certificate and tls.key",
    ),
    (
        "UnknownCA",
        "the server does not know who signed our certificate in tls.certificate",
    ),
    (
        "received fatal alert",
        "the server turned our certificate down, see its log",
    ),
    (
        "InvalidContentType",
        "does the server speak TLS at this port?",
    ),
    ("WRONGPASS", "check the user and the password"),
    (
        "NOAUTH",
        "the server wants a password: give password_file, password_env or one in the URL",
    ),
    ("AUTH", "check the user and the password"),
    (
        "NOPERM",
        "`reknit check` prints the ACL rule that is needed",
    ),
    ("LOADING", "the server is loading its data, try again later"),
    (
        "DENIED",
        "the server is in protected mode, give it a password",
    ),
    (
        "onnection refused",
        "is the server running, and does it listen there?",
    ),
    ("out of range", "the server has fewer databases"),
    (
        "unknown command",
        "the server is too old, or its configuration takes the command away",
    ),
    (
        "No such file",
        "is the server running, and does it listen at this socket?",
    ),
    ("lookup address", "check the host's name"),
    (
        "Bad data format",
        "does the server have the module, in the same version?",
    ),
    (
        "not RESP2",
        "is this the port of a Redis server, and without TLS?",
    ),
];

/// Adds what to try to words that alone would not say it.
pub(super) fn advise(reason: &str) -> String {
    match ADVICE.iter().find(|(sign, _)| reason.contains(sign)) {
        Some((_, advice)) => format!("{} ({advice})", reason.trim_end()),
        None => reason.to_owned(),
    }
}

/// The command that a refusal begins with, such as `AUTH: WRONGPASS ...`, and the server's words.
pub(super) fn refused_command(reason: &str) -> Option<(&str, &str)> {
    let (command, words) = reason.split_once(": ")?;
    let is_command = command.bytes().all(|byte| byte.is_ascii_uppercase());
    is_command.then_some((command, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_command_that_was_refused_once() {
        let table = [
            ("AUTH: WRONGPASS no", Some(("AUTH", "WRONGPASS no"))),
            ("OOM command not allowed", None),
            ("ERR wrong: no", None),
        ];
        for (reason, expected) in table {
            assert_eq!(refused_command(reason), expected, "{reason}");
        }
    }

    #[test]
    fn what_to_try_is_added_where_the_words_do_not_say_it() {
        let told = advise("ERR unknown command 'INFO', with args beginning with: ");
        assert!(told.ends_with(
            "with: (the server is too old, or its configuration takes the command away)"
        ));
        assert!(advise("not RESP2: byte 0x48").contains("without TLS"));
        assert_eq!(advise("Broken pipe"), "Broken pipe");
    }
}
