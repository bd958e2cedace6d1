//! The policy of a keyspace: names of rules and preferences, as YAML and command line write them, to their types.

use std::collections::BTreeSet;

use super::error::{Contradiction, suggestion};
use super::raw::{RawExpiry, RawRules};
use super::{RESERVED_NAMES, YamlPath};
use crate::model::{
    Datacenter, ExpiryPolicy, ExpiryRule, HashRule, HllRule, ListRule, OnDeleteConflict,
    Preference, Rules, SetRule, StreamRule, StringRule, ZsetRule,
};

/// Names of values, in the order in which they are offered.
type Names<T> = [(&'static str, T)];

const STRING_RULES: &Names<StringRule> = &[
    ("lww", StringRule::Lww),
    ("counter", StringRule::Counter),
    ("counter-max", StringRule::CounterMax),
    ("bitmap-or", StringRule::BitmapOr),
];
const HASH_RULES: &Names<HashRule> = &[
    ("lww", HashRule::Lww),
    ("counter", HashRule::Counter),
    ("counter-max", HashRule::CounterMax),
];
const SET_RULES: &Names<SetRule> = &[("add-wins", SetRule::AddWins)];
const ZSET_RULES: &Names<ZsetRule> = &[
    ("lww", ZsetRule::Lww),
    ("max", ZsetRule::Max),
    ("min", ZsetRule::Min),
    ("counter", ZsetRule::Counter),
];
const LIST_RULES: &Names<ListRule> = &[("append", ListRule::Append), ("lww", ListRule::Lww)];
const STREAM_RULES: &Names<StreamRule> = &[("union", StreamRule::Union)];
const HLL_RULES: &Names<HllRule> = &[("merge", HllRule::Merge), ("lww", HllRule::Lww)];
const EXPIRY_RULES: &Names<ExpiryRule> = &[
    ("longest", ExpiryRule::Longest),
    ("ignore", ExpiryRule::Ignore),
];
const DELETE_CONFLICTS: &Names<OnDeleteConflict> = &[
    ("update-wins", OnDeleteConflict::UpdateWins),
    ("delete-wins", OnDeleteConflict::DeleteWins),
];

/// The types that have rules.
pub(super) const RULE_KINDS: &[&str] = &[
    "string",
    "hash",
    "set",
    "zset",
    "list",
    "stream",
    "hyperloglog",
];

/// Reads the rules of a keyspace. Where datacenters replicate to each other, what would count twice is refused.
pub(super) fn rules(
    raw: &RawRules,
    path: &YamlPath,
    replicates: bool,
) -> Result<Rules, Contradiction> {
    let mut rules = Rules {
        string: named(STRING_RULES, &raw.string, path.key("string"))?,
        hash: named(HASH_RULES, &raw.hash, path.key("hash"))?,
        set: named(SET_RULES, &raw.set, path.key("set"))?,
        zset: named(ZSET_RULES, &raw.zset, path.key("zset"))?,
        list: named(LIST_RULES, &raw.list, path.key("list"))?,
        stream: named(STREAM_RULES, &raw.stream, path.key("stream"))?,
        hyperloglog: named(HLL_RULES, &raw.hyperloglog, path.key("hyperloglog"))?,
    };
    if replicates {
        refuse_doubling(raw, &rules, path)?;
        rules.list = ListRule::Lww;
    }
    Ok(rules)
}

/// An increment or an append that the datacenters already carry to each other would be made a second time.
fn refuse_doubling(raw: &RawRules, rules: &Rules, path: &YamlPath) -> Result<(), Contradiction> {
    let doubling = [
        (
            "string",
            rules.string == StringRule::Counter,
            "counter",
            "counter-max",
        ),
        (
            "hash",
            rules.hash == HashRule::Counter,
            "counter",
            "counter-max",
        ),
        ("zset", rules.zset == ZsetRule::Counter, "counter", "max"),
        (
            "list",
            raw.list.is_some() && rules.list == ListRule::Append,
            "append",
            "lww",
        ),
    ];
    match doubling.into_iter().find(|(_, found, ..)| *found) {
        None => Ok(()),
        Some((kind, _, rule, instead)) => Err(Contradiction::new(
            path.key(kind),
            format!("`{rule}` counts twice where datacenters replicate to each other"),
            format!("use `{instead}` or remove `replicates`"),
        )),
    }
}

/// Reads the expiry policy of a keyspace.
pub(super) fn expiry(raw: &RawExpiry, path: &YamlPath) -> Result<ExpiryPolicy, Contradiction> {
    let default = ExpiryPolicy::default();
    Ok(ExpiryPolicy {
        rule: named(EXPIRY_RULES, &raw.rule, path.key("rule"))?,
        tolerance: raw.tolerance.map_or(default.tolerance, |found| found.0),
        horizon: raw.horizon.map_or(default.horizon, |found| found.0),
    })
}

/// Reads who wins between a deletion and a change.
pub(super) fn on_delete_conflict(
    raw: &Option<String>,
    path: YamlPath,
) -> Result<OnDeleteConflict, Contradiction> {
    named(DELETE_CONFLICTS, raw, path)
}

/// Reads a preference list; every entry must be able to matter.
pub(super) fn prefer(
    raw: &[String],
    path: &YamlPath,
    datacenters: &[Datacenter],
) -> Result<Vec<Preference>, Contradiction> {
    let mut seen = BTreeSet::new();
    let mut preferences: Vec<Preference> = Vec::new();
    for (index, text) in raw.iter().enumerate() {
        let at = path.item(index);
        if let Some(end) = preferences.last().and_then(always_decides) {
            return Err(Contradiction::new(
                at,
                format!("`{text}` is never reached, `{end}` before it always decides"),
                format!("remove it or put it before `{end}`"),
            ));
        }
        if !seen.insert(text) {
            let what = format!("`{text}` stands there twice");
            return Err(Contradiction::new(at, what, "keep the first"));
        }
        preferences.push(preference(text, at, datacenters)?);
    }
    Ok(preferences)
}

fn preference(
    text: &str,
    at: YamlPath,
    datacenters: &[Datacenter],
) -> Result<Preference, Contradiction> {
    match text {
        "majority" => return Ok(Preference::Majority),
        "greatest" => return Ok(Preference::Greatest),
        "skip" => return Ok(Preference::Skip),
        _ => {}
    }
    if let Some(found) = datacenters.iter().find(|known| known.0 == text) {
        return Ok(Preference::Datacenter(found.clone()));
    }
    let known: Vec<&str> = datacenters
        .iter()
        .map(|datacenter| datacenter.0.as_str())
        .chain(RESERVED_NAMES)
        .collect();
    Err(Contradiction::new(
        at,
        format!("no replica is in a datacenter `{text}`"),
        suggestion(text, &known),
    ))
}

fn always_decides(preference: &Preference) -> Option<&'static str> {
    match preference {
        Preference::Greatest => Some("greatest"),
        Preference::Skip => Some("skip"),
        Preference::Datacenter(_) | Preference::Majority => None,
    }
}

/// The value behind a name; the default where none is given.
pub(super) fn named<T: Copy + Default>(
    names: &Names<T>,
    text: &Option<String>,
    path: YamlPath,
) -> Result<T, Contradiction> {
    let Some(text) = text else {
        return Ok(T::default());
    };
    if let Some((_, value)) = names.iter().find(|(name, _)| name == text) {
        return Ok(*value);
    }
    let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    let what = format!("unknown value `{text}`");
    Err(Contradiction::new(path, what, suggestion(text, &known)))
}
