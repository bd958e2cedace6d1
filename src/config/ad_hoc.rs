//! Replicas and policy from the command line, as if they stood in a file with one keyspace.

use super::error::{Contradiction, suggestion};
use super::policy::RULE_KINDS;
use super::raw::{RawConfig, RawKeyspace, RawReplica, RawRules};
use super::{Problem, Step};

/// A replica as the command line names it.
#[derive(Clone, PartialEq, Eq)]
pub struct AdHocReplica {
    /// Its name, and its datacenter's.
    pub name: String,
    /// Its URL, perhaps with a password: so there is no `Debug` for it.
    pub url: String,
    /// The file that holds its password.
    pub password_file: Option<String>,
    /// The environment variable that holds its password.
    pub password_env: Option<String>,
}

/// A run whose replicas stand on the command line.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct AdHoc {
    /// The replicas, in datacenter order.
    pub replicas: Vec<AdHocReplica>,
    /// Preferences, as in `prefer`.
    pub prefer: Vec<String>,
    /// Rules as `TYPE=RULE`.
    pub rules: Vec<String>,
}

impl AdHoc {
    /// The same in the form of a file.
    pub(super) fn to_raw(&self) -> Result<RawConfig, Problem> {
        let keyspace = RawKeyspace {
            name: "default".into(),
            rules: Some(raw_rules(&self.rules)?),
            prefer: Some(self.prefer.clone()),
            ..RawKeyspace::default()
        };
        Ok(RawConfig {
            replicas: Some(self.replicas.iter().map(raw_replica).collect()),
            keyspaces: Some(vec![keyspace]),
            ..RawConfig::default()
        })
    }

    /// A contradiction in the words of the command line.
    pub(super) fn explain(&self, found: Contradiction) -> Problem {
        let option = match found.path.steps() {
            [Step::Key("replicas"), Step::Index(index), ..] => match self.replicas.get(*index) {
                Some(replica) => format!("--replica {}", replica.name),
                None => "--replica".into(),
            },
            [Step::Key("replicas")] => "--replica".into(),
            [.., Step::Key("prefer"), Step::Index(_)] => "--prefer".into(),
            [.., Step::Key("rules"), Step::Key(kind)] => format!("--rule {kind}"),
            _ => found.path.to_string(),
        };
        Problem {
            path: option,
            what: found.what,
            at: None,
            advice: found.advice,
        }
    }
}

fn raw_replica(replica: &AdHocReplica) -> RawReplica {
    RawReplica {
        name: replica.name.clone(),
        url: replica.url.clone(),
        password_file: replica.password_file.clone(),
        password_env: replica.password_env.clone(),
        ..RawReplica::default()
    }
}

fn raw_rules(rules: &[String]) -> Result<RawRules, Problem> {
    let mut raw = RawRules::default();
    for text in rules {
        let problem = |what: String, advice: String| Problem {
            path: "--rule".into(),
            what,
            at: None,
            advice: Some(advice),
        };
        let Some((kind, rule)) = text.split_once('=') else {
            let what = format!("`{text}` is not TYPE=RULE");
            return Err(problem(what, "write one like string=counter".into()));
        };
        let Some(slot) = rule_of(&mut raw, kind) else {
            let what = format!("unknown type `{kind}`");
            return Err(problem(what, suggestion(kind, RULE_KINDS)));
        };
        if slot.replace(rule.to_owned()).is_some() {
            let what = format!("two rules for `{kind}`");
            return Err(problem(what, "keep one of them".into()));
        }
    }
    Ok(raw)
}

fn rule_of<'a>(rules: &'a mut RawRules, kind: &str) -> Option<&'a mut Option<String>> {
    match kind {
        "string" => Some(&mut rules.string),
        "hash" => Some(&mut rules.hash),
        "set" => Some(&mut rules.set),
        "zset" => Some(&mut rules.zset),
        "list" => Some(&mut rules.list),
        "stream" => Some(&mut rules.stream),
        "hyperloglog" => Some(&mut rules.hyperloglog),
        _ => None,
    }
}
