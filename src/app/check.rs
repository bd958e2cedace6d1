//! Whether a run could be made: every replica is looked at, nothing is written, and all that is wrong is said at once.

mod counting;
mod recall;
mod service;

use futures::future::join_all;

use crate::clock::Clock;
use crate::config::Config;
use crate::model::{Datacenter, HostPort, Layout, Millis, ReplicaName, Selection};
use crate::repair::{Mode, Scope};
use crate::store::{Access, Deployment, Facts, Shard, StoreError, Topology};

use super::Exit;
use super::estimate::{Estimate, Size, estimate, measure};
use super::fitness::{Obstacle, access_of, obstacles, refused};
use super::fleet::Fleet;
use super::preflight::same_server;

/// Clocks that are further apart than this are remarked on, in milliseconds.
const SKEW_LIMIT: i64 = 1_000;

/// How often a clock is asked: the quickest answer counts.
const CLOCK_SAMPLES: usize = 3;

/// How grave a remark is; the greatest is the gravest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// As it should be.
    Fine,
    /// A run is possible, and the operator should know this.
    Warning,
    /// It stops `diff` or `repair`.
    Fault,
}

/// Something that was tried or seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How grave it is.
    pub gravity: Gravity,
    /// What it is.
    pub text: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// How far a replica was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It answers.
    Answers,
    /// It answers, and lets reknit not in.
    Refuses,
    /// Nothing answers.
    Unreachable,
}

/// One replica as it was found.
#[derive(Debug)]
pub struct CheckedServer {
    /// Its name.
    pub name: ReplicaName,
    /// Its datacenter.
    pub datacenter: Datacenter,
    /// Its address, without user and password.
    pub endpoint: String,
    /// How far it was reached.
    pub reach: Reach,
    /// Whether it is a cluster.
    pub clustered: bool,
    /// What it says of itself.
    pub facts: Option<Facts>,
    /// How far its clock is ahead of ours, in milliseconds.
    pub skew: Option<i64>,
    /// About what it holds.
    pub size: Option<Size>,
    /// What was tried and seen.
    pub notes: Vec<Note>,
}

/// What a check found.
#[derive(Debug)]
pub struct Checkup {
    /// Every replica, in datacenter order.
    pub servers: Vec<CheckedServer>,
    /// What concerns all of them, or the configuration.
    pub notes: Vec<Note>,
    /// What a repair of all keyspaces does.
    pub needed: Access,
    /// What a run would take, where that can be told.
    pub estimate: Option<Estimate>,
}

impl Checkup {
    /// How the check ends: trouble if something stops `diff` or `repair`, partial if a replica takes no part.
    pub fn exit(&self) -> Exit {
        let faulty = |notes: &[Note]| notes.iter().any(|note| note.gravity == Gravity::Fault);
        let count = |reach| self.servers.iter().filter(|one| one.reach == reach).count();
        let reached = |one: &&CheckedServer| one.reach != Reach::Unreachable;
        let faults = self.servers.iter().filter(reached);
        let stopped = faulty(&self.notes) || faults.into_iter().any(|one| faulty(&one.notes));
        if stopped || count(Reach::Answers) < 2 {
            Exit::Trouble
        } else if count(Reach::Unreachable) > 0 {
            Exit::Partial
        } else {
            Exit::InSync
        }
    }
}

/// Looks at all replicas of a configuration.
pub async fn check(config: &Config, fleet: &Fleet, clock: &dyn Clock) -> Checkup {
    let needed = access_of(Mode::Repair, config.layout(), config.keyspaces.iter());
    let keyspaces = config.keyspaces.clone();
    let scope = Scope::new(keyspaces, Selection::default()).of_layout(config.layout());
    let columns = fleet.columns();
    let looks = fleet.servers.iter().zip(columns);
    let looks = looks.map(|(server, (_, datacenter))| {
        let scope = &scope;
        async move { look(server.as_ref(), datacenter, (scope, needed), clock).await }
    });
    let mut servers = join_all(looks).await;
    let mut notes = together(&servers);
    notes.extend(service::files(config));
    notes.extend(recall::recall(config, fleet, &scope, clock, &mut servers).await);
    Checkup {
        notes,
        needed,
        estimate: estimate(&servers, config),
        servers,
    }
}

async fn look(
    server: &dyn Deployment,
    datacenter: Datacenter,
    (scope, needed): (&Scope, Access),
    clock: &dyn Clock,
) -> CheckedServer {
    let mut checked = CheckedServer {
        name: server.name().clone(),
        datacenter,
        endpoint: server.endpoint(),
        reach: Reach::Answers,
        clustered: false,
        facts: None,
        skew: None,
        size: None,
        notes: Vec::new(),
    };
    if let Err(error) = examine(server, (scope, needed), clock, &mut checked).await {
        checked.reach = match error {
            StoreError::Unreachable { .. } => Reach::Unreachable,
            StoreError::Refused { .. }
            | StoreError::Protocol { .. }
            | StoreError::Fenced { .. }
            | StoreError::Marker { .. }
            | StoreError::Changed { .. } => Reach::Refuses,
        };
        checked.notes.push(fault(of_error(&error), None));
    }
    checked
}

/// The error without the replica's name, which stands above the note.
fn of_error(error: &StoreError) -> String {
    match error {
        StoreError::Unreachable { reason, .. } => format!("cannot be reached: {reason}"),
        StoreError::Refused {
            command, reason, ..
        } => format!("{command} refused: {reason}"),
        StoreError::Protocol {
            command, reason, ..
        } => format!("unexpected answer to {command}: {reason}"),
        StoreError::Fenced { .. } | StoreError::Marker { .. } | StoreError::Changed { .. } => {
            error.to_string()
        }
    }
}

async fn examine(
    server: &dyn Deployment,
    (scope, needed): (&Scope, Access),
    clock: &dyn Clock,
    checked: &mut CheckedServer,
) -> Result<(), StoreError> {
    let facts = server.facts().await?;
    checked.notes.push(Note {
        gravity: Gravity::Fine,
        text: format!("answers, and lets user {} in", server.user()),
        advice: None,
    });
    if let Some(topology) = server.topology().await? {
        checked.notes.extend(nodes(&topology));
        checked.clustered = true;
    }
    checked
        .notes
        .extend(obstacles(&facts).into_iter().map(stops));
    checked.notes.extend(warnings(&facts));
    checked.facts = Some(facts.clone());
    checked.skew = Some(skew(server, clock).await?);
    if facts.loading || facts.clustered {
        return Ok(());
    }
    // A read-only replica refuses every write; that is said already.
    let access = match facts.read_only {
        true => Access::Read,
        false => needed,
    };
    let refusals = server.rehearse(&facts, access).await?;
    let found = refused(&refusals, server.user());
    if found.is_empty() && access >= Access::Write {
        checked.notes.push(Note {
            gravity: Gravity::Fine,
            text: "permits all that diff and repair need".into(),
            advice: None,
        });
    }
    let is_readable = found.iter().all(|one| one.access != Access::Read);
    checked.notes.extend(found.into_iter().map(stops));
    if is_readable {
        checked.size = Some(measure(server, &facts, scope, clock).await?);
    }
    if scope.layout() == Layout::Dynomite {
        checked.notes.extend(counting::counting(server).await);
    }
    Ok(())
}

/// The masters of a cluster, with what they hold and who follows them.
fn nodes(topology: &Topology) -> Vec<Note> {
    let of_shard = |shard: &Shard| {
        let slots = shard.slots.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
        let slots = slots.collect::<Vec<_>>().join(",");
        let replicas: Vec<String> = shard.replicas.iter().map(HostPort::to_string).collect();
        let (gravity, followed) = match replicas.is_empty() {
            true => (Gravity::Warning, "no replica".to_owned()),
            false => (Gravity::Fine, format!("replicas {}", replicas.join(", "))),
        };
        Note {
            gravity,
            text: format!("master {}: slots {slots}, {followed}", shard.address),
            advice: (gravity == Gravity::Warning)
                .then(|| "a master that is lost takes its slots along".into()),
        }
    };
    let mut notes: Vec<Note> = topology.masters.iter().map(of_shard).collect();
    if !topology.moving.is_empty() {
        let text = format!(
            "{} slots are on their way to another master",
            topology.moving.len()
        );
        notes.push(warning(
            text,
            "they are read at both ends; a move that was left half done is ended by \
             redis-cli --cluster fix",
        ));
    }
    notes
}

/// How far the server's clock is ahead, with half the way there and back taken off.
async fn skew(server: &dyn Deployment, clock: &dyn Clock) -> Result<i64, StoreError> {
    let mut best: Option<(i64, i64)> = None;
    for _ in 0..CLOCK_SAMPLES {
        let Millis(before) = clock.now();
        let Millis(theirs) = server.now().await?;
        let Millis(after) = clock.now();
        let sample = (after - before, theirs - before - (after - before) / 2);
        best = Some(best.map_or(sample, |best| best.min(sample)));
    }
    Ok(best.map_or(0, |(_, ahead)| ahead))
}

fn warnings(facts: &Facts) -> Vec<Note> {
    let mut notes = Vec::new();
    if facts.saving {
        let text = "is saving in a child process: reads cost it more memory than usual";
        notes.push(warning(text.into(), "wait for the end of it, or go gently"));
    }
    let evicts = facts.max_memory > 0 && facts.max_memory_policy != "noeviction";
    if evicts {
        let text = format!(
            "evicts keys when memory is full ({}): what it evicts is seen as missing and put back",
            facts.max_memory_policy
        );
        notes.push(warning(
            text,
            "set maxmemory-policy noeviction, or give it more memory",
        ));
    }
    if facts.evicted_keys > 0 {
        let text = format!("has evicted {} keys since it started", facts.evicted_keys);
        notes.push(warning(text, "raise maxmemory before they are put back"));
    }
    notes
}

/// What concerns several replicas, or the configuration.
fn together(servers: &[CheckedServer]) -> Vec<Note> {
    let mut notes = Vec::new();
    let facts: Vec<_> = servers.iter().map(|one| one.facts.clone()).collect();
    if let Some((first, second, facts)) = same_server(&facts) {
        let (first, second) = (&servers[first].name, &servers[second].name);
        let text = format!(
            "{first} and {second} are the same server and database (run_id {}, database {})",
            facts.run_id, facts.default_db
        );
        notes.push(fault(
            text,
            Some("there is nothing to compare, check their addresses"),
        ));
    }
    if servers
        .iter()
        .filter(|one| one.reach == Reach::Answers)
        .count()
        < 2
    {
        let advice = "diff and repair need two";
        notes.push(fault("fewer than two replicas answer".into(), Some(advice)));
    }
    notes.extend(versions(servers));
    notes.extend(clocks(servers));
    notes
}

fn versions(servers: &[CheckedServer]) -> Option<Note> {
    let known = servers.iter().filter_map(|one| {
        let facts = one.facts.as_ref()?;
        Some((one, facts.product, facts.release()))
    });
    let known: Vec<_> = known.collect();
    let alike = known
        .windows(2)
        .all(|pair| (pair[0].1, pair[0].2) == (pair[1].1, pair[1].2));
    let named = known.iter().filter_map(|(one, product, _)| {
        let version = &one.facts.as_ref()?.version;
        Some(format!("{} {} {version}", one.name, product.name()))
    });
    (!alike).then(|| {
        let text = format!(
            "the versions differ: {}; module values and expiring hash fields may not be comparable",
            named.collect::<Vec<_>>().join(", ")
        );
        warning(text, "what cannot be compared is reported key by key")
    })
}

/// The two clocks that are furthest apart, ours among them.
fn clocks(servers: &[CheckedServer]) -> Option<Note> {
    let theirs = servers
        .iter()
        .filter_map(|one| Some((one.skew?, one.name.0.as_str())));
    let clocks: Vec<(i64, &str)> = theirs.chain([(0, "this machine")]).collect();
    let (behind, ahead) = (clocks.iter().min()?, clocks.iter().max()?);
    let apart = ahead.0 - behind.0;
    (apart > SKEW_LIMIT).then(|| {
        let text = format!(
            "the clock of {} is {apart} ms ahead of that of {}",
            ahead.1, behind.1
        );
        warning(
            text,
            "keys expire at different moments, set the clocks by NTP",
        )
    })
}

fn stops(obstacle: Obstacle) -> Note {
    fault(obstacle.problem, Some(&obstacle.advice))
}

fn fault(text: String, advice: Option<&str>) -> Note {
    Note {
        gravity: Gravity::Fault,
        text,
        advice: advice.map(str::to_owned),
    }
}

fn warning(text: String, advice: &str) -> Note {
    Note {
        gravity: Gravity::Warning,
        text,
        advice: Some(advice.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, reach: Reach, skew: Option<i64>) -> CheckedServer {
        CheckedServer {
            name: ReplicaName(name.into()),
            datacenter: Datacenter(name.into()),
            endpoint: "127.0.0.1:6379".into(),
            reach,
            clustered: false,
            facts: None,
            skew,
            size: None,
            notes: Vec::new(),
        }
    }

    fn exit(reaches: &[Reach]) -> Exit {
        let mut servers: Vec<_> = reaches
            .iter()
            .map(|reach| server("a", *reach, None))
            .collect();
        for one in servers.iter_mut().filter(|one| one.reach != Reach::Answers) {
            one.notes.push(fault("lost".into(), None));
        }
        Checkup {
            needed: Access::Write,
            servers,
            notes: Vec::new(),
            estimate: None,
        }
        .exit()
    }

    #[test]
    fn an_unreachable_replica_is_partial_only_beside_two_that_answer() {
        use Reach::{Answers, Refuses, Unreachable};
        assert_eq!(exit(&[Answers, Answers]), Exit::InSync);
        assert_eq!(exit(&[Answers, Answers, Unreachable]), Exit::Partial);
        assert_eq!(exit(&[Answers, Unreachable]), Exit::Trouble);
        assert_eq!(exit(&[Answers, Answers, Refuses]), Exit::Trouble);
    }

    #[test]
    fn clocks_are_compared_with_each_other_and_with_ours() {
        let skewed = |skews: &[i64]| {
            let servers = skews
                .iter()
                .map(|skew| server("us", Reach::Answers, Some(*skew)));
            clocks(&servers.collect::<Vec<_>>()).map(|note| note.text)
        };
        assert_eq!(skewed(&[900, 0]), None);
        assert!(skewed(&[1_100, 1_100]).unwrap().contains("this machine"));
        assert!(skewed(&[600, -600]).unwrap().contains("1200 ms"));
    }
}
