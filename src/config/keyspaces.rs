//! The keyspaces: each with its policy, checked so that every one of them can own a key.

use super::YamlPath;
use super::databases;
use super::error::Contradiction;
use super::policy;
use super::raw::RawKeyspace;
use super::replicas::{ReplicaConfig, check_name, first_twin};
use crate::model::{Datacenter, DbIndex, Glob, Keyspace, KeyspaceName, Keyspaces, Policy};

/// Reads the keyspaces.
///
/// A database that is the default of every replica's URL is the same as none: so one pass over a replica's default
/// database meets all keyspaces that could own its keys.
pub(super) fn keyspaces(
    raw: &[RawKeyspace],
    replicas: &[ReplicaConfig],
    replicates: bool,
) -> Result<Keyspaces, Contradiction> {
    if raw.is_empty() {
        // The keyspace that owns every key goes through the same checks.
        let everything = RawKeyspace {
            name: "default".into(),
            ..RawKeyspace::default()
        };
        return self::keyspaces(&[everything], replicas, replicates);
    }
    let path = YamlPath::of("keyspaces");
    if let Some((index, name)) = first_twin(raw.iter().map(|raw| raw.name.as_str())) {
        let at = path.item(index).key("name");
        let what = format!("two keyspaces are named `{name}`");
        return Err(Contradiction::new(at, what, "give each its own name"));
    }
    let datacenters: Vec<Datacenter> = replicas.iter().map(|r| r.datacenter.clone()).collect();
    let mut keyspaces: Vec<Keyspace> = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let at = path.item(index);
        let mut keyspace = keyspace(raw, &at, &datacenters, replicates)?;
        databases::refuse_of_keyspace(keyspace.db, replicas, &at)?;
        keyspace.db = keyspace
            .db
            .filter(|db| !is_default_everywhere(*db, replicas));
        refuse_shadowed(&keyspaces, &keyspace, &at)?;
        refuse_overlap(&keyspaces, &keyspace, replicas, &at)?;
        keyspaces.push(keyspace);
    }
    Ok(Keyspaces::new(keyspaces))
}

fn keyspace(
    raw: &RawKeyspace,
    at: &YamlPath,
    datacenters: &[Datacenter],
    replicates: bool,
) -> Result<Keyspace, Contradiction> {
    check_name(&raw.name, at.key("name"))?;
    let pattern = raw.pattern.as_deref().unwrap_or("*");
    if pattern.is_empty() {
        let advice = "write \"*\" for all keys";
        return Err(Contradiction::new(
            at.key("match"),
            "the pattern is empty",
            advice,
        ));
    }
    let empty_rules = Default::default();
    let empty_expiry = Default::default();
    let rules = raw.rules.as_ref().unwrap_or(&empty_rules);
    let expiry = raw.expiry.as_ref().unwrap_or(&empty_expiry);
    let prefer = raw.prefer.as_deref().unwrap_or_default();
    Ok(Keyspace {
        name: KeyspaceName(raw.name.clone()),
        db: raw.db.map(DbIndex),
        pattern: Glob::new(pattern),
        policy: Policy {
            rules: policy::rules(rules, &at.key("rules"), replicates)?,
            expiry: policy::expiry(expiry, &at.key("expiry"))?,
            prefer: policy::prefer(prefer, &at.key("prefer"), datacenters)?,
            on_delete_conflict: policy::on_delete_conflict(
                &raw.on_delete_conflict,
                at.key("on_delete_conflict"),
            )?,
        },
        skip: raw.skip.unwrap_or(false),
    })
}

fn is_default_everywhere(db: DbIndex, replicas: &[ReplicaConfig]) -> bool {
    replicas.iter().all(|replica| replica.db == db)
}

/// A keyspace behind one of the same database that takes every key, or has the same pattern, owns nothing.
fn refuse_shadowed(
    before: &[Keyspace],
    keyspace: &Keyspace,
    at: &YamlPath,
) -> Result<(), Contradiction> {
    let shadows = |other: &&Keyspace| {
        other.db == keyspace.db
            && (other.pattern.matches_all() || other.pattern == keyspace.pattern)
    };
    match before.iter().find(shadows) {
        None => Ok(()),
        Some(other) => Err(Contradiction::new(
            at.clone(),
            format!(
                "keyspace `{}` never owns a key, `{}` before it takes them all",
                keyspace.name, other.name
            ),
            "put it further up or remove it",
        )),
    }
}

/// Where URLs name different databases, a numbered database can be the default of some replica alone.
fn refuse_overlap(
    before: &[Keyspace],
    keyspace: &Keyspace,
    replicas: &[ReplicaConfig],
    at: &YamlPath,
) -> Result<(), Contradiction> {
    for other in before {
        let number = match (other.db, keyspace.db) {
            (Some(number), None) | (None, Some(number)) => number,
            (None, None) | (Some(_), Some(_)) => continue,
        };
        if let Some(replica) = replicas.iter().find(|replica| replica.db == number) {
            return Err(Contradiction::new(
                at.clone(),
                format!(
                    "keyspaces `{}` and `{}` meet in database {number}, the default of replica `{}` alone",
                    other.name, keyspace.name, replica.name
                ),
                "name a `db` in both, or in neither",
            ));
        }
    }
    Ok(())
}
