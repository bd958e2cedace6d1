//! From the siblings of a key to the conditional writes that bring each replica to the merged state. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::crdt::{
    BY_COUNTS, BY_WHOLE_KEY, MergeInput, Merged, Outcome, Restamp, Sibling, Target, integer, merge,
};
use crate::model::{
    Datacenter, Digester, Expect, Expiry, Key, Kind, Millis, Op, Policy, ReplicaIndex, Stamps,
    State, Value, Write,
};

use crate::store::{Capabilities, Capability, refusal_of};

use super::fit::left_out;
use super::increase::increase;
use super::ledger::Fate;
use super::look::Look;
use super::loss::{Losses, loss};
use super::notary::Recollection;
use super::ops::{Unreachable, ops_to_reach};
use super::restamp::{counted, is_stamped, stamped};

/// A sibling that was read twice and found alike both times.
pub(crate) struct Stable<'a> {
    pub(crate) replica: ReplicaIndex,
    pub(crate) datacenter: &'a Datacenter,
    pub(crate) state: Option<&'a State>,
    pub(crate) look: Look,
    /// The stamps beside it; nothing where servers keep none.
    pub(crate) stamps: Option<&'a Stamps>,
    /// What its server can do.
    pub(crate) can: Capabilities,
}

/// What to say of a counter beside whose counts another number stands.
const ODD: &str = "a command that keeps no counts changed the counter, set it anew with reknit_set and count with reknit_incrby";

/// The merged state, and what brings each replica to it.
pub(crate) struct Resolution {
    pub(crate) merged: Merged,
    /// One write per replica that does not hold the merged state.
    pub(crate) writes: Vec<(ReplicaIndex, Write)>,
    /// What these writes take from what the replicas hold.
    pub(crate) losses: Losses,
    /// Replicas that cannot be brought to it by commands, and why.
    pub(crate) stuck: Vec<(ReplicaIndex, String)>,
    /// Replicas whose server cannot hold all of it, and why.
    pub(crate) refused: Vec<(ReplicaIndex, String)>,
    /// Fields that stay as they are at a replica.
    pub(crate) left_out: BTreeMap<ReplicaIndex, BTreeSet<Bytes>>,
    /// Replicas whose stream has to be rebuilt aside, piece by piece, as if it were large.
    pub(crate) rebuilds: Vec<ReplicaIndex>,
}

impl Resolution {
    /// Nothing is written where the server cannot hold it.
    fn refuse(&mut self, sibling: &Stable<'_>, reason: String) {
        self.refused.push((sibling.replica, reason.clone()));
        self.stick(sibling, reason);
    }

    /// The fields that stay as they are at a replica.
    pub(crate) fn left_out(&self, replica: ReplicaIndex) -> BTreeSet<Bytes> {
        self.left_out.get(&replica).cloned().unwrap_or_default()
    }

    fn stick(&mut self, sibling: &Stable<'_>, reason: String) {
        self.stuck.push((sibling.replica, reason));
    }

    fn write(&mut self, key: &Key, sibling: &Stable<'_>, expect: Expect, ops: Vec<Op>) {
        let lost = loss(sibling.state, &ops);
        self.losses
            .extend(lost.map(|loss| (sibling.replica.0, loss)));
        let write = Write {
            key: key.clone(),
            expect,
            ops,
        };
        self.writes.push((sibling.replica, write));
    }

    /// Data and stamps together; nothing where both are as they should be.
    fn write_stamped(&mut self, key: &Key, sibling: &Stable<'_>, ops: Vec<Op>) {
        let held = sibling.stamps.cloned().unwrap_or_default();
        let Some(restamp) = &self.merged.stamps else {
            return;
        };
        let wanted = restamp.at(&held);
        if let Some((expect, ops)) = stamped(sibling.state, ops, &held, &wanted) {
            self.write(key, sibling, expect, ops);
        }
    }

    /// What others counted. False where the counter is to be written whole, or something else than its number is.
    fn write_counts(&mut self, key: &Key, sibling: &Stable<'_>, wanted: Option<&State>) -> bool {
        let (Some(state), Some(wanted), Some(held)) = (sibling.state, wanted, sibling.stamps)
        else {
            return false;
        };
        let Some(restamp) = &self.merged.stamps else {
            return false;
        };
        let then = restamp.at(held);
        if let Some((expect, ops)) = counted(state, wanted, held, &then) {
            self.write(key, sibling, expect, ops);
            return true;
        }
        if begins_alike(state, held, &then) {
            self.write_stamped(key, sibling, increase_to(state, wanted));
            return true;
        }
        let is_odd = held.counts.is_some()
            && held.counts == then.counts
            && state.value.kind() == Kind::String
            && state.value != wanted.value;
        if is_odd {
            self.stick(sibling, ODD.into());
        }
        is_odd
    }

    /// Whether it only counts and adds, and does so whatever clients count meanwhile.
    pub(crate) fn only_counts(&self) -> bool {
        let mut writes = self.writes.iter();
        !self.writes.is_empty()
            && self.losses.is_empty()
            && self.stuck.is_empty()
            && writes.all(|(_, write)| write.expect.is_counted())
    }

    /// Whether it touches single elements alone, each as it was with its stamps, whatever clients do to others meanwhile.
    pub(crate) fn only_touches(&self) -> bool {
        let touches = |write: &Write| match &write.expect {
            Expect::Stamped(witness) => witness.touched.is_some(),
            _ => false,
        };
        !self.writes.is_empty()
            && self.stuck.is_empty()
            && self.writes.iter().all(|(_, write)| touches(write))
    }

    /// How a replica that took part stands to the merged state.
    pub(crate) fn fate(&self, replica: ReplicaIndex) -> Fate {
        if self.writes.iter().any(|(one, _)| *one == replica) {
            Fate::Written
        } else if self.stuck.iter().any(|(one, _)| *one == replica) {
            Fate::Left
        } else {
            Fate::Holds
        }
    }

    /// Why the key is left as it is, if it is.
    pub(crate) fn unresolved(&self) -> Option<String> {
        if let Outcome::Unresolved(reason) = &self.merged.outcome {
            return Some(reason.to_string());
        }
        if let Some((_, reason)) = self.refused.first().or(self.stuck.first()) {
            return Some(reason.clone());
        }
        // Elements that cannot be merged stay different after everything else is written.
        match &self.merged.outcome {
            Outcome::Target(target) => target.untouched.values().next().map(ToString::to_string),
            Outcome::Unresolved(reason) => Some(reason.to_string()),
        }
    }
}

impl Resolution {
    /// What a replica should hold, as far as its server can; nothing where that is refused.
    fn fitted(
        &mut self,
        target: &Target,
        siblings: &[Stable<'_>],
        sibling: &Stable<'_>,
        is_by_element: bool,
    ) -> Option<Option<State>> {
        let all = siblings.iter().map(|one| (one.can, one.state));
        let names = left_out(target, all, sibling.can);
        let wanted = match names.is_empty() {
            true => target.at(sibling.state),
            false if !is_by_element => {
                self.refuse(sibling, refusal_of(Capability::FieldExpiry));
                return None;
            }
            false => {
                let reason = refusal_of(Capability::FieldExpiry);
                self.refused.push((sibling.replica, reason));
                let wanted = target.leaving(&names).at(sibling.state);
                self.left_out.insert(sibling.replica, names);
                wanted
            }
        };
        match sibling.can.refuses(wanted.as_ref()) {
            Some(reason) if wanted.as_ref() != sibling.state => {
                self.refuse(sibling, reason);
                None
            }
            Some(_) | None => Some(wanted),
        }
    }
}

/// Merges the siblings of a key and says what is to be written where. Fewer siblings than replicas means that some take
/// no part.
pub(crate) fn resolve(
    key: &Key,
    siblings: &[Stable<'_>],
    recollection: Option<&Recollection>,
    policy: &Policy,
    (now, replicas): (Millis, usize),
    digester: &mut Digester,
) -> Resolution {
    let mut merged = merged(siblings, recollection, policy, now, digester);
    if siblings.len() < replicas {
        merged.stamps = merged.stamps.map(Restamp::for_the_absent);
    }
    let mut resolution = Resolution {
        merged,
        writes: Vec::new(),
        losses: Losses::new(),
        stuck: Vec::new(),
        refused: Vec::new(),
        left_out: BTreeMap::new(),
        rebuilds: Vec::new(),
    };
    let Outcome::Target(target) = resolution.merged.outcome.clone() else {
        return resolution;
    };
    let is_by_element = resolution.merged.rule != BY_WHOLE_KEY;
    let is_counted = resolution.merged.rule == BY_COUNTS;
    for sibling in siblings {
        let Some(wanted) = resolution.fitted(&target, siblings, sibling, is_by_element) else {
            continue;
        };
        if is_counted && resolution.write_counts(key, sibling, wanted.as_ref()) {
            continue;
        }
        let counted = increase(sibling.state, wanted.as_ref(), &policy.rules);
        if let Some((expect, ops)) = counted.filter(|_| is_by_element && !is_counted) {
            resolution.write(key, sibling, expect, ops);
            continue;
        }
        match ops_to_reach(sibling.state, wanted.as_ref(), false) {
            Err(Unreachable::Aside) => resolution.rebuilds.push(sibling.replica),
            Err(reason @ (Unreachable::HasGroups | Unreachable::TooLong { .. })) => {
                resolution.stick(sibling, reason.to_string());
            }
            Ok(ops)
                if is_stamped(sibling)
                    && resolution.merged.stamps.is_some()
                    && !ends_before(&ops, now) =>
            {
                resolution.write_stamped(key, sibling, ops);
            }
            Ok(ops) if ops.is_empty() => {}
            // A past expiry would not be set: the server would remove the key.
            Ok(ops) if ends_before(&ops, now) => {
                resolution.stick(sibling, "it is about to expire".into());
            }
            Ok(ops) => {
                if let Some(expect) = sibling.look.expect() {
                    resolution.write(key, sibling, expect, ops);
                }
            }
        }
    }
    resolution
}

/// Whether a replica holds what the counter began from, and has not counted yet.
fn begins_alike(state: &State, held: &Stamps, then: &Stamps) -> bool {
    let Some(counts) = then.counts.as_ref() else {
        return false;
    };
    held.counts.is_none()
        && held.key.added == counts.since
        && counts.base.is_some()
        && number(state) == counts.base
}

fn number(state: &State) -> Option<i64> {
    match &state.value {
        Value::String(bytes) => integer(bytes),
        _ => None,
    }
}

fn increase_to(state: &State, wanted: &State) -> Vec<Op> {
    let delta = number(wanted).zip(number(state));
    let delta = delta.and_then(|(to, from)| to.checked_sub(from));
    let increase = match delta {
        Some(0) => None,
        Some(delta) => Some(Op::IncreaseBy(delta)),
        None => Some(Op::Put(wanted.value.clone())),
    };
    let expire = (state.expiry != wanted.expiry).then_some(Op::Expire(wanted.expiry));
    increase.into_iter().chain(expire).collect()
}

fn merged(
    siblings: &[Stable<'_>],
    recollection: Option<&Recollection>,
    policy: &Policy,
    now: Millis,
    digester: &mut Digester,
) -> Merged {
    let siblings: Vec<Sibling<'_>> = siblings
        .iter()
        .map(|stable| Sibling {
            base: recollection.and_then(|known| known.base(stable.replica.0)),
            stamps: stable.stamps,
            fields_can_end: stable.can.has(Capability::FieldExpiry),
            ..Sibling::unknown(stable.replica, stable.datacenter, stable.state)
        })
        .collect();
    let agreed = recollection.and_then(Recollection::agreed);
    let input = MergeInput {
        agreed: agreed.as_ref(),
        ..MergeInput::without_memory(&siblings, policy, now)
    };
    merge(&input, digester)
}

fn ends_before(ops: &[Op], now: Millis) -> bool {
    ops.iter().any(|op| match op {
        Op::Expire(expiry) | Op::ExpireField(_, expiry) => {
            *expiry != Expiry::Never && expiry.has_passed(now)
        }
        _ => false,
    })
}

/// The removal of a key in the words of a report.
pub(crate) const REMOVAL: &str = "remove the key";

/// An operation in the words of a report.
pub(crate) fn describe_op(op: &Op) -> String {
    let count = |verb: &str, count: usize, noun: &str| {
        format!("{verb} {count} {noun}{}", if count == 1 { "" } else { "s" })
    };
    match op {
        Op::Remove => REMOVAL.into(),
        Op::Put(value) => {
            let (length, noun) = match value.kind() {
                Kind::String | Kind::Module => (value.payload_bytes(), "byte"),
                Kind::List | Kind::Hash | Kind::Set | Kind::SortedSet | Kind::Stream => {
                    (value.element_count(), "element")
                }
            };
            count(&format!("put a {} of", value.kind()), length, noun)
        }
        Op::SetFields(fields) => count("set", fields.len(), "field"),
        Op::RemoveFields(names) => count("remove", names.len(), "field"),
        Op::ExpireField(name, expiry) => {
            format!("expire field {} at {expiry}", crate::model::escape(name))
        }
        Op::AddMembers(members) => count("add", members.len(), "member"),
        Op::RemoveMembers(members) => count("remove", members.len(), "member"),
        Op::SetScores(members) => count("set", members.len(), "score"),
        Op::RemoveScored(members) => count("remove", members.len(), "member"),
        Op::Prepend(elements) => count("prepend", elements.len(), "element"),
        Op::Append(elements) => count("append", elements.len(), "element"),
        Op::AppendEntries(entries) => format!(
            "append {} stream entr{}",
            entries.len(),
            if entries.len() == 1 { "y" } else { "ies" }
        ),
        Op::RemoveEntries(ids) => count("remove", ids.len(), "stream ID"),
        Op::RaiseLastId(id) => format!("raise the last ID to {id}"),
        Op::CreateGroup(name, from) => {
            format!("create group {} behind {from}", crate::model::escape(name))
        }
        Op::IncreaseBy(delta) => format!("increase by {delta}"),
        Op::IncreaseFields(fields) => count("increase", fields.len(), "field"),
        Op::IncreaseScores(members) => count("increase", members.len(), "score"),
        Op::Expire(Expiry::Never) => "take the expiry away".into(),
        Op::Expire(expiry) => format!("expire at {expiry}"),
        Op::TakeAside(_) => "replace the key by a copy".into(),
        Op::Restore(_) => "restore the key".into(),
        Op::Stamp(stamps) => count("keep", 1 + stamps.elements.len(), "stamp"),
        Op::Uncount => "remove the counts".into(),
    }
}
