//! One key from every side: who holds what, what should be there, why, and what a repair would write.
//!
//! It reads as a run does, once, and where the replicas differ a second time behind the settle pause. It writes nothing.

use crate::crdt::{BY_COUNTS, Evidence, Outcome};
use crate::model::{DbIndex, Digester, Expiry, Key, Keyspace, KeyspaceName, ReplicaIndex, State};
use crate::state::StateError;
use crate::store::Observed;

mod recalled;
mod stamped;

use super::describe::{describe, holding, planned};
use super::finding::{Change, DifferenceKind, Finding, Held, Holding, Verdict};
use super::large;
use super::look::{Look, difference, is_expiring};
use super::notary::{MemoryTrouble, Notary, Recollection};
use super::reading::{is_large, looks, moved, read, siblings, state};
use super::resolve::{Resolution, Stable, resolve};
use super::round::{Candidate, Stage};
use super::run::{Run, RunError, Shared};
use super::side_by_side::{Element, side_by_side};
use super::stamps::{Stampings, doubt, read_stamps, stamps};
use recalled::{recalled, tell_elements};

pub use recalled::{Did, Recalled, RecalledReplica, RecalledVersion};

/// How a replica stands to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// It holds this.
    Holds(Held),
    /// It lacks the key.
    Absent,
    /// It cannot read the key, with these words; that is not the same as lacking it.
    Unreadable(String),
    /// It takes no part, for this reason.
    Unknown(String),
}

/// Everything that is known about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The key.
    pub key: Key,
    /// The database.
    pub db: DbIndex,
    /// The keyspace that owns it.
    pub keyspace: KeyspaceName,
    /// In what way the replicas differ; nothing where they are alike.
    pub difference: Option<DifferenceKind>,
    /// How each replica stands to it, in datacenter order.
    pub stands: Vec<Stand>,
    /// What stands in the value, element by element: those that differ first.
    pub elements: Vec<Element>,
    /// Elements that are not listed.
    pub elements_left_out: u64,
    /// The merge rule; nothing where no replica holds the key, or none was asked.
    pub rule: Option<&'static str>,
    /// What was known beyond the siblings.
    pub evidence: Evidence,
    /// How it was decided, where a preference decided it.
    pub decided: Option<String>,
    /// What every replica should hold; nothing where that is open.
    pub result: Option<Holding>,
    /// Why it is open, where it is.
    pub unresolved: Option<String>,
    /// What a repair would write.
    pub changes: Vec<Change>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// What is remembered of it; nothing without memory.
    pub memory: Option<Recalled>,
}

/// What is remembered of the key, as far as it is needed here.
#[derive(Clone, Copy)]
struct Remembered<'a> {
    notary: &'a Notary<'a>,
    recollection: &'a Recollection,
}

/// What was read of the key, what is remembered of it, and the stamps beside it.
type Known<'a> = (
    &'a [Option<Observed>],
    Option<Remembered<'a>>,
    &'a Stampings,
);

/// Explains one key. The run says who takes part and how long to wait; its mode and scope do not matter.
///
/// # Errors
/// When fewer than two replicas could be read.
pub async fn explain(run: &Run, keyspace: &Keyspace, key: Key) -> Result<Explanation, RunError> {
    let mut shared = Shared::new(run).await;
    shared.open_memory().await?;
    let shared = shared;
    let mut digester = Digester::new(run.digest_key.clone());
    let mut candidate = Candidate {
        key,
        keyspace,
        looks: Vec::new(),
    };
    let mut observed = observe(&shared, &mut candidate, &mut digester).await?;
    let mut has_moved = false;
    if differs(&candidate).is_some() {
        shared.pause(run.settings.settle).await;
        let before = candidate.looks.clone();
        observed = observe(&shared, &mut candidate, &mut digester).await?;
        has_moved = moved(&before, &candidate.looks);
    }
    let mut explanation = begin(&shared, &candidate, &observed);
    let notary = shared.notary(keyspace.db);
    let recollection = recall(notary, &mut candidate, &mut explanation);
    let mut recollection = recollection.map_err(MemoryTrouble::State)?;
    if let Some((notary, recollection)) = notary.zip(recollection.as_mut()) {
        let states: Vec<_> = observed.iter().map(state).collect();
        recollection.expect_late(&states, notary.memory.elements, &mut digester);
    }
    let remembered = notary.zip(recollection.as_ref());
    let remembered = remembered.map(|(notary, recollection)| Remembered {
        notary,
        recollection,
    });
    let unreadable = observed.iter().flatten().find_map(|one| match one {
        Observed::Unreadable(words) => Some(words),
        Observed::Absent | Observed::Whole(_) | Observed::Large(_) => None,
    });
    let stampings = read_stamps(&shared, &[(&candidate, &observed[..])]).await;
    let stampings = stampings.into_iter().next().unwrap_or_default();
    let doubt = doubt(&shared, &stampings);
    if let Some(words) = unreadable {
        explanation.unresolved = Some(format!("a replica cannot read it: {words}"));
    } else if is_large(&observed) {
        explain_large(
            &shared,
            &candidate,
            (&observed, remembered, &stampings),
            &mut explanation,
            &mut digester,
        )
        .await;
    } else {
        explain_whole(
            &shared,
            &candidate,
            (&observed, remembered, &stampings),
            &mut explanation,
            &mut digester,
        );
    }
    leave_alone(&shared, &candidate, has_moved, &mut explanation);
    if let Some(verdict) = doubt {
        explanation.changes.clear();
        explanation.result = None;
        explanation.unresolved = verdict.reason();
    }
    Ok(explanation)
}

/// Reads the key on all replicas and looks at it.
async fn observe(
    shared: &Shared<'_>,
    candidate: &mut Candidate<'_>,
    digester: &mut Digester,
) -> Result<Vec<Option<Observed>>, RunError> {
    let observed = siblings(&read(shared, std::iter::once(&*candidate)).await, 0);
    candidate.looks = looks(&observed, digester);
    if candidate.looks.iter().flatten().count() < 2 {
        let lost: Vec<String> = shared.lost().into_values().collect();
        return Err(RunError::TooFew(lost.join("; ")));
    }
    Ok(observed)
}

fn differs(candidate: &Candidate<'_>) -> Option<DifferenceKind> {
    let present: Vec<Look> = candidate.looks.iter().flatten().copied().collect();
    difference(&present, &candidate.keyspace.policy.expiry)
}

/// What is remembered of the key. Who lacks it because it evicts is left out of the looks.
fn recall(
    notary: Option<&Notary<'_>>,
    candidate: &mut Candidate<'_>,
    explanation: &mut Explanation,
) -> Result<Option<Recollection>, StateError> {
    let Some(notary) = notary else {
        return Ok(None);
    };
    let recollection = notary.recall_for(candidate)?;
    let evicted = notary.evicted(&candidate.key, &candidate.looks)?;
    explanation.memory = Some(recalled(notary, candidate, &recollection, &evicted)?);
    for replica in evicted {
        candidate.looks[replica] = None;
    }
    Ok(Some(recollection))
}

/// What the siblings themselves say.
fn begin(
    shared: &Shared<'_>,
    candidate: &Candidate<'_>,
    observed: &[Option<Observed>],
) -> Explanation {
    let lost = shared.lost();
    let stand = |(index, one): (usize, &Option<Observed>)| match one {
        None => Stand::Unknown(lost.get(&index).cloned().unwrap_or_default()),
        Some(Observed::Unreadable(words)) => Stand::Unreadable(words.clone()),
        Some(found) => match holding(found) {
            Holding::Held(held) => Stand::Holds(held),
            Holding::Absent | Holding::Unreadable => Stand::Absent,
        },
    };
    Explanation {
        key: candidate.key.clone(),
        db: shared.db_index(candidate.keyspace.db),
        keyspace: candidate.keyspace.name.clone(),
        difference: differs(candidate),
        stands: observed.iter().enumerate().map(stand).collect(),
        elements: Vec::new(),
        elements_left_out: 0,
        rule: None,
        evidence: Evidence::None,
        decided: None,
        result: None,
        unresolved: None,
        changes: Vec::new(),
        notes: Vec::new(),
        memory: None,
    }
}

fn explain_whole(
    shared: &Shared<'_>,
    candidate: &Candidate<'_>,
    (observed, remembered, stampings): Known<'_>,
    explanation: &mut Explanation,
    digester: &mut Digester,
) {
    let participants = &shared.run.participants;
    let taking_part = candidate.looks.iter().enumerate();
    let stable: Vec<Stable<'_>> = taking_part
        .filter_map(|(index, look)| {
            Some(Stable {
                replica: ReplicaIndex(index),
                datacenter: &participants[index].datacenter,
                state: state(&observed[index]),
                look: (*look)?,
                can: participants[index].replica.capabilities(),
                stamps: stampings
                    .get(index)
                    .and_then(|reading| stamps(reading.as_ref())),
            })
        })
        .collect();
    let policy = &candidate.keyspace.policy;
    let resolution = resolve(
        &candidate.key,
        &stable,
        remembered.map(|one| one.recollection),
        policy,
        (shared.now(), participants.len()),
        digester,
    );
    let result = match explanation.difference {
        // Equal counters can still have to be summed.
        None if !resolution.writes.is_empty() => target(&resolution),
        // Expiries within the tolerance are alike: what is there is the result.
        None => Some(observed.iter().find_map(state).cloned()),
        Some(_) => target(&resolution),
    };
    take(shared, &resolution, explanation);
    let sides: Vec<(bool, Option<&State>)> = observed
        .iter()
        .map(|one| (one.is_some(), state(one)))
        .collect();
    let shown = result.as_ref().and_then(Option::as_ref);
    (explanation.elements, explanation.elements_left_out) = side_by_side(&sides, shown);
    if matches!(explanation.difference, None | Some(DifferenceKind::Expiry)) {
        // An equal HyperLogLog may have other bytes.
        let elements = explanation.elements.iter_mut();
        elements.for_each(|element| element.differs = false);
    }
    if let Some(Remembered {
        notary,
        recollection,
    }) = remembered
    {
        let elements = &mut explanation.elements;
        tell_elements(notary, recollection, observed, elements, digester);
    }
    let rows = stamped::rows(stampings, resolution.merged.stamps.as_ref());
    explanation.elements.extend(rows);
    explanation.result = result.map(|state| {
        let found = state.map_or(Observed::Absent, Observed::Whole);
        holding(&found)
    });
}

/// The state that every replica should hold, which may be none; nothing where that is open.
fn target(resolution: &Resolution) -> Option<Option<State>> {
    match &resolution.merged.outcome {
        Outcome::Unresolved(_) => None,
        Outcome::Target(target) => {
            let value = target.value.clone().filter(|value| !value.is_void());
            Some(value.map(|value| State {
                value,
                expiry: target.expiry,
            }))
        }
    }
}

fn take(shared: &Shared<'_>, resolution: &Resolution, explanation: &mut Explanation) {
    let merged = &resolution.merged;
    explanation.rule = merged.kind.map(|_| merged.rule);
    explanation.evidence = merged.evidence;
    explanation.decided = merged.decided.as_ref().map(ToString::to_string);
    explanation.notes = merged.notes.iter().map(ToString::to_string).collect();
    let is_counted = merged.rule == BY_COUNTS;
    if explanation.difference.is_none() && resolution.writes.is_empty() && !is_counted {
        return;
    }
    explanation.unresolved = resolution.unresolved();
    explanation.changes = planned(shared, resolution);
}

/// Large values are told by type, length and whether their contents are alike, and by the first that differs in them.
async fn explain_large(
    shared: &Shared<'_>,
    candidate: &Candidate<'_>,
    (observed, remembered, stampings): Known<'_>,
    explanation: &mut Explanation,
    digester: &mut Digester,
) {
    let held = observed.iter().flatten().map(holding);
    let held = held.into_iter().find(|one| one.held().is_some());
    let kind = held.as_ref().and_then(Holding::held).map(|held| held.kind);
    explanation.rule = kind.map(|kind| candidate.keyspace.policy.rules.name_for(kind));
    if explanation.difference.is_none() {
        let note = "the value is large: its elements are not listed, its contents are alike";
        explanation.notes.push(note.into());
        explanation.result = held;
        return;
    }
    let mut finding: Finding = describe(shared, candidate, observed, &candidate.looks);
    let stage = Stage::Additions;
    let (ended, _) = large::repair(
        shared,
        stage,
        candidate,
        observed,
        (remembered.map(|one| one.recollection), stampings),
        &mut finding,
        digester,
    )
    .await;
    explanation.rule = finding.rule.or(explanation.rule);
    explanation.decided = finding.decided;
    explanation.notes = finding.notes;
    explanation.changes = finding.changes;
    explanation.elements = finding
        .details
        .into_iter()
        .filter(|detail| detail.what != "expiry")
        .map(|detail| Element {
            what: detail.what,
            name: detail.name,
            values: detail.values,
            result: None,
            differs: true,
            since: Vec::new(),
        })
        .collect();
    let note = "the value is large: only the first elements that differ are listed, and a repair merges them piece by \
                piece";
    explanation.notes.push(note.into());
    explanation.unresolved = match ended {
        large::Ended::Decided(Verdict::Diverged | Verdict::Planned) => None,
        large::Ended::Decided(verdict) => verdict.reason(),
        large::Ended::Wrote | large::Ended::Deferred => {
            Some("it changed while it was read, try again".into())
        }
    };
}

/// What a repair would leave to the next run.
fn leave_alone(
    shared: &Shared<'_>,
    candidate: &Candidate<'_>,
    has_moved: bool,
    explanation: &mut Explanation,
) {
    let present: Vec<Look> = candidate.looks.iter().flatten().copied().collect();
    let policy = &candidate.keyspace.policy.expiry;
    let mut left = |why: &str| {
        explanation.changes.clear();
        explanation.notes.push(why.into());
    };
    if explanation.difference.is_some() && has_moved {
        left("it was written between two reads: a run leaves it to the next one");
    }
    if is_expiring(&present, shared.now(), policy) {
        left("it ends within the expiry horizon: a run leaves it alone");
    }
    let memory = explanation.memory.as_ref();
    if let Some(run) = memory.and_then(|memory| memory.held_by) {
        let why =
            format!("run {run} put it back: a run leaves it alone until it is named with --key");
        left(&why);
    }
    if candidate.keyspace.skip {
        left("its keyspace says skip: a run leaves it alone");
    }
}

impl Explanation {
    /// Whether something could not be read, so that the rest is not the whole truth.
    pub fn is_partial(&self) -> bool {
        self.stands
            .iter()
            .any(|stand| matches!(stand, Stand::Unknown(_) | Stand::Unreadable(_)))
    }

    /// When a sibling's key ends, where it is held.
    pub fn expiry(stand: &Stand) -> Expiry {
        match stand {
            Stand::Holds(held) => held.expiry,
            Stand::Absent | Stand::Unreadable(_) | Stand::Unknown(_) => Expiry::Never,
        }
    }
}
