//! What the service answers, as the reports that are made of the state directory take it.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::Client;
use crate::model::{
    DbIndex, Expiry, Key, Kind, Millis, ReplicaName, RunNumber, Sequence, unescape,
};
use crate::repair::{Destruction, Forgetful, Tripped, UndoFate, UndoFinding, UndoSummary};
use crate::report::{LoggedRun, LoggedState, LoggedWrite};

/// What answers that belong to another version are met with.
pub(super) const OTHER_VERSION: &str =
    "the service speaks otherwise than expected: is it the same version?";

/// How many items are asked for at once.
const PAGE: usize = 1000;

/// A run, as the service says it.
#[derive(Debug, Deserialize)]
pub(super) struct SaidRun {
    pub(super) id: u64,
    purpose: String,
    pub(super) state: String,
    started_ms: i64,
    pub(super) ended_ms: Option<i64>,
    taken_up_by: Option<u64>,
    result: Option<String>,
    pub(super) exit_code: Option<u8>,
    pub(super) note: Option<String>,
    pub(super) divergences: u64,
    undoes: Option<u64>,
    replicas: Vec<String>,
    counts: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct SaidRuns {
    runs: Vec<SaidRun>,
    total: u64,
}

#[derive(Deserialize)]
struct SaidWrites {
    writes: Vec<SaidWrite>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct SaidWrite {
    step: u64,
    replica: String,
    db: u32,
    key: String,
    before: SaidState,
    after: SaidState,
    rule: String,
    evidence: String,
    applied: Option<bool>,
}

#[derive(Deserialize)]
struct SaidState {
    held: bool,
    #[serde(rename = "type")]
    kind: Option<String>,
    length: Option<u64>,
    expires_at_ms: Option<i64>,
}

/// What an undo did, as the service says it.
#[derive(Deserialize)]
pub(super) struct SaidUndone {
    findings: Vec<SaidFinding>,
    undoes: u64,
    fates: BTreeMap<String, u64>,
    lost: BTreeMap<String, String>,
    forgetful: Vec<SaidForgot>,
    tripped: Vec<SaidGuard>,
    interrupted: bool,
    pub(super) ended: bool,
}

#[derive(Deserialize)]
struct SaidFinding {
    key: String,
    db: u32,
    replica: String,
    fate: String,
    reason: Option<String>,
    operations: Vec<String>,
}

#[derive(Deserialize)]
struct SaidForgot {
    replica: String,
    db: u32,
    remembers: Option<u64>,
    known: bool,
}

#[derive(Deserialize)]
struct SaidGuard {
    replica: String,
    guard: String,
    keys: u64,
    held: u64,
    limit: u64,
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(answer: Value) -> anyhow::Result<T> {
    serde_json::from_value(answer).context(OTHER_VERSION)
}

/// The latest runs, oldest first, and how many earlier ones there are.
pub(super) fn runs(client: &Client, most: usize) -> anyhow::Result<(Vec<LoggedRun>, u64)> {
    let mut found: Vec<SaidRun> = Vec::new();
    let total = loop {
        let limit = most.saturating_sub(found.len()).clamp(1, PAGE);
        let page: SaidRuns =
            read(client.get(&format!("/runs?offset={}&limit={limit}", found.len()))?)?;
        let is_last = page.runs.len() < limit;
        found.extend(page.runs);
        if is_last || found.len() >= most {
            break page.total;
        }
    };
    let left_out = total.saturating_sub(found.len() as u64);
    Ok((
        found.into_iter().rev().map(LoggedRun::from).collect(),
        left_out,
    ))
}

/// One run.
pub(super) fn run(client: &Client, run: u64) -> anyhow::Result<SaidRun> {
    read(client.get(&format!("/runs/{run}"))?)
}

/// Visits what a run wrote, in the order of its steps.
pub(super) fn writes(
    client: &Client,
    run: u64,
    visit: &mut dyn FnMut(&LoggedWrite),
) -> anyhow::Result<()> {
    let mut after = String::new();
    loop {
        let page: SaidWrites =
            read(client.get(&format!("/runs/{run}/writes?limit={PAGE}{after}"))?)?;
        for write in page.writes {
            visit(&LoggedWrite::try_from(write)?);
        }
        match page.next {
            Some(place) => after = format!("&after={place}"),
            None => return Ok(()),
        }
    }
}

/// How an undo stands, without its findings.
pub(super) fn undone(client: &Client, undo: u64) -> anyhow::Result<SaidUndone> {
    read(client.get(&format!("/runs/{undo}/undone?limit=1"))?)
}

/// Visits what an undo did, in the order in which it was decided, as far as the service keeps it.
pub(super) fn findings(
    client: &Client,
    undo: u64,
    visit: &mut dyn FnMut(&UndoFinding),
) -> anyhow::Result<()> {
    let mut offset = 0;
    loop {
        let path = format!("/runs/{undo}/undone?offset={offset}&limit={PAGE}");
        let page: SaidUndone = read(client.get(&path)?)?;
        offset += page.findings.len();
        let is_last = page.findings.len() < PAGE;
        for finding in page.findings {
            visit(&UndoFinding::try_from(finding)?);
        }
        if is_last {
            return Ok(());
        }
    }
}

impl From<SaidRun> for LoggedRun {
    fn from(said: SaidRun) -> Self {
        Self {
            number: said.id,
            purpose: said.purpose,
            started: Millis(said.started_ms),
            ended: said.ended_ms.map(Millis),
            taken_up_by: said.taken_up_by,
            result: said.result,
            exit_code: said.exit_code,
            note: said.note,
            undoes: said.undoes,
            replicas: said.replicas.into_iter().map(ReplicaName).collect(),
            counts: said.counts,
        }
    }
}

impl TryFrom<SaidWrite> for LoggedWrite {
    type Error = anyhow::Error;

    fn try_from(said: SaidWrite) -> anyhow::Result<Self> {
        Ok(Self {
            step: said.step,
            replica: ReplicaName(said.replica),
            db: DbIndex(said.db),
            key: key(&said.key)?,
            before: said.before.try_into()?,
            after: said.after.try_into()?,
            rule: said.rule,
            evidence: said.evidence,
            applied: said.applied,
        })
    }
}

impl TryFrom<SaidState> for LoggedState {
    type Error = anyhow::Error;

    fn try_from(said: SaidState) -> anyhow::Result<Self> {
        let kind = |name: &String| {
            let known = Kind::ALL.iter().find(|kind| kind.name() == name);
            known
                .copied()
                .ok_or_else(|| anyhow!("type `{name}`: {OTHER_VERSION}"))
        };
        let ends = said.expires_at_ms.map(|at| Expiry::At(Millis(at)));
        Ok(Self {
            held: said.held,
            kind: said.kind.as_ref().map(kind).transpose()?,
            length: said.length,
            expiry: ends.unwrap_or(Expiry::Never),
        })
    }
}

impl TryFrom<SaidFinding> for UndoFinding {
    type Error = anyhow::Error;

    fn try_from(said: SaidFinding) -> anyhow::Result<Self> {
        Ok(Self {
            db: DbIndex(said.db),
            key: key(&said.key)?,
            replica: ReplicaName(said.replica),
            ops: said.operations,
            fate: fate(&said.fate, said.reason)?,
        })
    }
}

impl TryFrom<SaidUndone> for UndoSummary {
    type Error = anyhow::Error;

    fn try_from(said: SaidUndone) -> anyhow::Result<Self> {
        let counts = said.fates.into_iter();
        let lost = said.lost.into_iter();
        let counts = counts.map(|(name, count)| Ok((fate(&name, None)?.name(), count)));
        Ok(Self {
            undone: RunNumber(said.undoes),
            holds: true,
            counts: counts.collect::<anyhow::Result<_>>()?,
            forgetful: said.forgetful.into_iter().map(Forgetful::from).collect(),
            lost: lost.map(|(name, why)| (ReplicaName(name), why)).collect(),
            tripped: said.tripped.into_iter().map(Tripped::from).collect(),
            interrupted: said.interrupted,
        })
    }
}

impl From<SaidForgot> for Forgetful {
    fn from(said: SaidForgot) -> Self {
        Self {
            replica: ReplicaName(said.replica),
            db: DbIndex(said.db),
            remembers: said.remembers.map(Sequence),
            known: said.known,
        }
    }
}

impl From<SaidGuard> for Tripped {
    fn from(said: SaidGuard) -> Self {
        let is_delete = said.guard == Destruction::Delete.name();
        Self {
            replica: ReplicaName(said.replica),
            what: match is_delete {
                true => Destruction::Delete,
                false => Destruction::Overwrite,
            },
            keys: said.keys,
            held: said.held,
            limit: said.limit,
        }
    }
}

fn fate(name: &str, reason: Option<String>) -> anyhow::Result<UndoFate> {
    let reason = reason.unwrap_or_default();
    let known = [
        UndoFate::Planned,
        UndoFate::Undone,
        UndoFate::Changed,
        UndoFate::Missed(reason.clone()),
        UndoFate::Kept(reason),
        UndoFate::LeftOut,
    ];
    let found = known.into_iter().find(|fate| fate.name() == name);
    found.ok_or_else(|| anyhow!("`{name}`: {OTHER_VERSION}"))
}

fn key(text: &str) -> anyhow::Result<Key> {
    let bytes =
        unescape(text).map_err(|error| anyhow!("key `{text}`: {error}: {OTHER_VERSION}"))?;
    Ok(Key::new(bytes))
}
