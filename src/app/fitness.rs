//! What stands against reading or writing a server: its state, and what its user may not do. Pure.

use crate::repair::Mode;
use crate::store::{Access, Cause, Facts, Product, Refusal, Role};

/// Above this share of maxmemory, a write may evict or be refused.
const MEMORY_SHARE: f64 = 0.95;

/// The oldest version of Redis whose commands reknit needs: PEXPIRETIME.
const OLDEST_MAJOR: u32 = 7;

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

/// What a run of this mode does to a server.
pub(super) fn access_of(mode: Mode) -> Access {
    match mode {
        Mode::Diff | Mode::Plan => Access::Read,
        Mode::Repair => Access::Write,
    }
}

/// What a server's state stands against.
pub(super) fn obstacles(facts: &Facts) -> Vec<Obstacle> {
    [version(facts), loading(facts), role(facts), memory(facts)]
        .into_iter()
        .flatten()
        .collect()
}

fn version(facts: &Facts) -> Option<Obstacle> {
    let is_old = facts
        .release()
        .is_some_and(|(major, _)| major < OLDEST_MAJOR);
    (is_old && facts.product != Product::Valkey).then(|| Obstacle {
        access: Access::Read,
        problem: format!("it is version {}", facts.version),
        advice: "reknit needs 7.0 or later, for PEXPIRETIME".into(),
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
            "it uses {} of {} bytes of maxmemory ({}), so writing may evict keys or be refused",
            facts.used_memory, facts.max_memory, facts.max_memory_policy
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
        (Access::Count, "repair of counters"),
    ];
    for (access, command) in uses {
        let of = |cause| {
            let those = refusals
                .iter()
                .filter(move |one| one.access == access && one.cause == cause);
            those.collect::<Vec<_>>()
        };
        found.extend(commands(&of(Cause::Command), access, command, user));
        found.extend(by_server(&of(Cause::Server), access));
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

/// A state that refuses writes refuses all of them with the same words: said once.
fn by_server(refusals: &[&Refusal], access: Access) -> Vec<Obstacle> {
    let mut found: Vec<Obstacle> = Vec::new();
    for refusal in refusals {
        let is_state = !refusal.words.starts_with("ERR");
        let problem = match is_state {
            true => format!("it takes no writes now: {}", refusal.words),
            false => format!("it refuses {}: {}", refusal.command, refusal.words),
        };
        if found.iter().all(|known| known.problem != problem) {
            found.push(Obstacle {
                access,
                problem,
                advice: "see what the server says of itself: INFO, and its log".into(),
            });
        }
    }
    found
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
    fn keys_of_its_own_matter_to_repair_only() {
        let key = |command| refusal(command, Access::Read, Cause::Key, "NOPERM");
        let found = refused(&[key("get"), key("type")], "app");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].access, Access::Write);
    }
}
