//! What was found, in the form in which it is printed.

use crate::app::{CheckedServer, Checkup, CleanedServer, Estimate, Gravity, Note};
use crate::report::{
    self, CheckReport, CheckedCapabilities, CheckedReplica, CleanReport, CleanedDatabase,
    CleanedReplica, KeyspaceKeys, Remark, Severity,
};
use crate::store::{Access, CLUSTER_ACL, Capabilities, Capability, Facts, Role, acl_rule};

/// The report of `check`.
pub(super) fn check(checkup: Checkup) -> CheckReport {
    CheckReport {
        replicas: checkup
            .servers
            .into_iter()
            .map(|server| replica(server, checkup.needed))
            .collect(),
        remarks: checkup.notes.into_iter().map(remark).collect(),
        estimate: checkup.estimate.map(estimate),
    }
}

fn replica(server: CheckedServer, needed: Access) -> CheckedReplica {
    let facts = server.facts.as_ref();
    let of_nodes = if server.clustered { CLUSTER_ACL } else { "" };
    let rule = |access| facts.map(|facts| acl_rule(facts, access) + of_nodes);
    let keyspaces = server.size.iter().flat_map(|size| &size.keyspaces);
    CheckedReplica {
        version: facts.map(|facts| format!("{} {}", facts.product.name(), facts.version)),
        role: facts.map(role),
        memory_bytes: facts.map(|facts| facts.used_memory),
        memory_limit_bytes: facts
            .map(|facts| facts.max_memory)
            .filter(|limit| *limit > 0),
        keyspaces: keyspaces
            .map(|((db, keyspace), keys)| KeyspaceKeys {
                db: *db,
                keyspace: keyspace.clone(),
                keys: *keys,
            })
            .collect(),
        clock_skew_ms: server.skew,
        capabilities: facts.map(|facts| capabilities(facts.capabilities)),
        acl_rule: rule(needed),
        acl_rule_diff: rule(Access::Read),
        name: server.name,
        datacenter: server.datacenter,
        endpoint: server.endpoint,
        remarks: server.notes.into_iter().map(remark).collect(),
    }
}

fn capabilities(found: Capabilities) -> CheckedCapabilities {
    let all = Capability::ALL.into_iter();
    let (has, lacks): (Vec<_>, Vec<_>) = all.partition(|one| found.has(*one));
    let names = |some: &[Capability]| some.iter().map(|one| one.name()).collect();
    CheckedCapabilities {
        has: names(&has),
        instead: lacks.iter().map(|one| one.without()).collect(),
        lacks: names(&lacks),
        told_by: found.told.words(),
    }
}

fn role(facts: &Facts) -> String {
    match &facts.role {
        Role::Master => "master".into(),
        Role::ReplicaOf(master) => format!("replica of {master}"),
        Role::Other(words) => words.clone(),
    }
}

fn remark(note: Note) -> Remark {
    Remark {
        severity: match note.gravity {
            Gravity::Fine => Severity::Ok,
            Gravity::Warning => Severity::Warn,
            Gravity::Fault => Severity::Error,
        },
        text: note.text,
        advice: note.advice,
    }
}

fn estimate(estimate: Estimate) -> report::Estimate {
    report::Estimate {
        keys: estimate.keys,
        bytes: estimate.bytes,
        duration_ms: u64::try_from(estimate.time.as_millis()).unwrap_or(u64::MAX),
        memory_bytes: estimate.memory,
    }
}

/// The report of `clean`.
pub(super) fn clean(servers: Vec<CleanedServer>, dry_run: bool) -> CleanReport {
    let database = |one: &crate::app::CleanedDatabase| CleanedDatabase {
        db: one.db,
        found: one.found,
        removed: one.removed,
        kept: one.kept,
    };
    let replicas = servers.into_iter().map(|server| CleanedReplica {
        name: server.name,
        databases: server.databases.iter().map(database).collect(),
        lost: server.lost.map(|error| error.to_string()),
    });
    CleanReport {
        dry_run,
        replicas: replicas.collect(),
    }
}
