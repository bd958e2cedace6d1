//! What stands against reading or writing a server: its state, and what its user may not do. Pure.

use bytesize::ByteSize;

use crate::model::{Keyspace, Layout};
use crate::repair::Mode;
use crate::store::{Access, Cause, Facts, Product, Refusal, Role};

/// Above this share of maxmemory, a write may evict or be refused.
const MEMORY_SHARE: f64 = 0.95;

/// The oldest version of Redis whose commands reknit needs. What later ones brought is used where it is there.
const OLDEST_MAJOR: u32 = 5;

/// Something that stands against an access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obstacle {
    /// The least access that it stands against.
    pub(super) access: Access,
    /// What is wrong.
    pub(super) problem: String,
    /// What to do.
    pub(super) advice: String,
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}", self.problem, self.advice)
    }
}

/// What a run of this mode does to a server, in these keyspaces.
pub(super) fn access_of<'a>(
    mode: Mode,
    layout: Layout,
    mut keyspaces: impl Iterator<Item = &'a Keyspace>,
) -> Access {
    let counts = |one: &Keyspace| !one.skip && one.policy.rules.counts_any();
    match mode {
        Mode::Diff | Mode::Plan => Access::Read,
        // Stamps are written by a script, like counters.
        Mode::Repair if layout == Layout::Dynomite || keyspaces.any(counts) => Access::Count,
        Mode::Repair => Access::Write,
    }
}

/// What a server's state stands against.
pub(super) fn obstacles(facts: &Facts) -> Vec<Obstacle> {
    let found = [
        version(facts),
        cluster(facts),
        loading(facts),
        role(facts),
        memory(facts),
    ];
    found.into_iter().flatten().collect()
}

/// A node holds some of the slots: what it lacks is no evidence of anything.
fn cluster(facts: &Facts) -> Option<Obstacle> {
    facts.clustered.then(|| Obstacle {
        access: Access::Read,
        problem: "it is a node of a Redis Cluster, which holds a part of the keys only".into(),
        advice: "name the whole cluster: redis+cluster://host:port,host:port".into(),
    })
}

fn version(facts: &Facts) -> Option<Obstacle> {
    let is_old = facts
        .release()
        .is_some_and(|(major, _)| major < OLDEST_MAJOR);
    (is_old && facts.product != Product::Valkey).then(|| Obstacle {
        access: Access::Read,
        problem: format!("it is version {}", facts.version),
        advice: "reknit needs 5.0 or later".into(),
    })
}

fn loading(facts: &Facts) -> Option<Obstacle> {
    facts.loading.then(|| Obstacle {
        access: Access::Read,
        problem: "it is loading its data".into(),
        advice: "try again when it is done".into(),
    })
}

fn role(facts: &Facts) -> Option<Obstacle> {
    match &facts.role {
        Role::ReplicaOf(master) if facts.read_only => Some(Obstacle {
            access: Access::Write,
            problem: format!("it is a read-only replica of {master} and cannot be written"),
            advice: "name its master instead".into(),
        }),
        Role::Master | Role::ReplicaOf(_) | Role::Other(_) => None,
    }
}

fn memory(facts: &Facts) -> Option<Obstacle> {
    let near =
        facts.max_memory > 0 && facts.used_memory as f64 > facts.max_memory as f64 * MEMORY_SHARE;
    near.then(|| Obstacle {
        access: Access::Write,
        problem: format!(
            "it uses {} of {} of maxmemory ({}), so writing may evict keys or be refused",
            ByteSize(facts.used_memory),
            ByteSize(facts.max_memory),
            facts.max_memory_policy
        ),
        advice: "raise maxmemory first".into(),
    })
}

/// What refused commands stand against.
pub(super) fn refused(refusals: &[Refusal], user: &str) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let uses = [
        (Access::Read, "diff"),
        (Access::Write, "repair"),
        (Access::Count, "repair of counters and stamps"),
    ];
    for (access, command) in uses {
        let of = |cause| {
            let those = refusals
                .iter()
                .filter(move |one| one.access == access && one.cause == cause);
            those.collect::<Vec<_>>()
        };
        found.extend(commands(&of(Cause::Command), access, command, user));
        let (unknown, refused) = of(Cause::Server)
            .into_iter()
            .partition::<Vec<_>, _>(|one| one.words.starts_with("ERR unknown"));
        found.extend(unknown_commands(&unknown, access, command));
        found.extend(by_server(&refused, access));
    }
    let keys: Vec<_> = refusals
        .iter()
        .filter(|one| one.cause == Cause::Key)
        .collect();
    found.extend(own_keys(&keys, user));
    found
}

fn commands(refusals: &[&Refusal], access: Access, command: &str, user: &str) -> Option<Obstacle> {
    let names: Vec<String> = refusals
        .iter()
        .map(|one| format!("+{}", one.command))
        .collect();
    let names = names.join(" ");
    (!refusals.is_empty()).then(|| Obstacle {
        access,
        problem: format!("user {user} may not send all that {command} needs, it lacks {names}"),
        advice: format!("give it: ACL SETUSER {user} {names}{}", untried(refusals)),
    })
}

/// Writes are tried inside of a transaction only: without one, nothing is known of them.
fn untried(refusals: &[&Refusal]) -> &'static str {
    match refusals.iter().any(|one| one.command == "multi") {
        true => " and check again, for writing is tried within MULTI only",
        false => "",
    }
}

/// Reading keys of reknit's own is of no use; building values aside under them is.
fn own_keys(refusals: &[&Refusal], user: &str) -> Option<Obstacle> {
    (!refusals.is_empty()).then(|| Obstacle {
        access: Access::Write,
        problem: format!("user {user} may not use keys below reknit:, where values are built"),
        advice: format!("give it: ACL SETUSER {user} ~reknit:*"),
    })
}

/// An older server, or one whose configuration renames commands or takes them away.
fn unknown_commands(refusals: &[&Refusal], access: Access, command: &str) -> Option<Obstacle> {
    let names: Vec<String> = refusals
        .iter()
        .map(|one| one.command.replace('|', " ").to_uppercase())
        .collect();
    (!refusals.is_empty()).then(|| Obstacle {
        access,
        problem: format!(
            "it does not know {}, which {command} needs",
            names.join(", ")
        ),
        advice:
            "see whether its configuration takes that away (rename-command), or use a server that \
                 has it"
                .into(),
    })
}

/// A state that refuses writes refuses all of them with the same words: said once.
fn by_server(refusals: &[&Refusal], access: Access) -> Vec<Obstacle> {
    let mut found: Vec<Obstacle> = Vec::new();
    for refusal in refusals {
        let words = refusal.words.trim_end_matches(['.', ' ']);
        let is_state = !words.starts_with("ERR");
        let problem = match is_state {
            true => format!("it takes no writes now: {words}"),
            false => format!("it refuses {}: {words}", refusal.command),
        };
        if found.iter().all(|known| known.problem != problem) {
            found.push(Obstacle {
                access,
                problem,
                advice: advice_for(words).into(),
            });
        }
    }
    found
}

/// What to do about a state, by the word that the server begins with.
fn advice_for(words: &str) -> &'static str {
    match words.split(' ').next().unwrap_or_default() {
        "OOM" => "raise maxmemory first",
        "NOREPLICAS" => "wait for its own replicas to follow, or lower min-replicas-to-write",
        "MISCONF" => "it cannot save to its disk: see to that, its log says more",
        "READONLY" => "name its master instead",
        _ => "see what the server says of itself: INFO, and its log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(command: &'static str, access: Access, cause: Cause, words: &str) -> Refusal {
        Refusal {
            command,
            access,
            cause,
            words: words.into(),
        }
    }

    #[test]
    fn a_missing_permission_is_named_with_what_to_do() {
        let refusals = [
            refusal("get", Access::Read, Cause::Command, "NOPERM"),
            refusal("hset", Access::Write, Cause::Command, "NOPERM"),
            refusal("sadd", Access::Write, Cause::Command, "NOPERM"),
        ];
        let found: Vec<String> = refused(&refusals, "app")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "user app may not send all that diff needs, it lacks +get, \
                 give it: ACL SETUSER app +get",
                "user app may not send all that repair needs, it lacks +hset +sadd, \
                 give it: ACL SETUSER app +hset +sadd"
            ]
        );
    }

    #[test]
    fn a_state_that_refuses_all_writes_is_said_once() {
        let oom = |command| refusal(command, Access::Write, Cause::Server, "OOM no room");
        assert_eq!(refused(&[oom("set"), oom("hset")], "app").len(), 1);
    }

    #[test]
    fn commands_that_a_server_does_not_know_are_named_together() {
        let unknown = |command| {
            let words = format!("ERR unknown command '{command}', with args beginning with: 'x' ");
            refusal(command, Access::Read, Cause::Server, &words)
        };
        let found = refused(&[unknown("pexpiretime"), unknown("xinfo|stream")], "app");
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].problem,
            "it does not know PEXPIRETIME, XINFO STREAM, which diff needs"
        );
        assert!(found[0].advice.contains("rename-command"));
    }

    #[test]
    fn a_state_comes_with_what_to_do_about_it() {
        let table = [
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                "raise maxmemory",
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                "min-replicas-to-write",
            ),
            ("MISCONF Redis is configured to save RDB snapshots", "disk"),
            (
                "READONLY You can't write against a read only replica.",
                "master",
            ),
            ("STRANGE words", "INFO"),
        ];
        for (words, advice) in table {
            let found = refused(
                &[refusal("set", Access::Write, Cause::Server, words)],
                "app",
            );
            assert!(found[0].advice.contains(advice), "{words}: {}", found[0]);
            assert!(!found[0].to_string().contains(".,"), "{}", found[0]);
        }
    }

    #[test]
    fn keys_of_its_own_matter_to_repair_only() {
        let key = |command| refusal(command, Access::Read, Cause::Key, "NOPERM");
        let found = refused(&[key("get"), key("type")], "app");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].access, Access::Write);
    }
}
