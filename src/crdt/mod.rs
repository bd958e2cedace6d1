//! What a key should be, given what each replica holds and what is known of their pasts.
//!
//! ```text
//! siblings ─┐             one voice per sibling      the candidates          the rule of the type
//! bases ────┼─► type ───► for the key, or for ─────► of a contest ─────────► picks one, or joins them ─► target
//! agreement ┘ (register)  each element
//! ```
//!
//! Everything an element or key can be asked is asked in `contest`; the files per type say what an element is and
//! how several candidates become one. Memories hold digests, not values: where the agreed value should stay and no
//! sibling that takes part holds it, the key or element waits. A run without memory passes no bases and no agreement:
//! then absence is no evidence, collections are united and registers are chosen.
//!
//! Stamps that servers keep beside the data are heard before anything else, in `recorded`.
//!
//! Deliberately absent: reading stamps, writing, and keeping memories.
//!
//! # Laws
//! Held by properties in `tests/laws.rs` over all permutations of siblings, and, together with what runs remember, by
//! comparison with dotted CRDTs over random histories in `repair/ledger/tests`:
//! * commutative: the order of the siblings does not matter, ties are broken by the order of replicas or of values;
//! * idempotent: where all siblings hold the target, the target is what they hold;
//! * associative, but for `majority`, datacenter order and appended lists;
//! * every value in the result came from some sibling, but for counters, HyperLogLogs and bitmaps;
//! * nothing that anyone added is lost, except to a removal that had seen it or to the register rule;
//! * nothing that all agreed to delete comes back.
//!
//! # Partial siblings
//! Of large collections the caller may pass states that hold only the elements named in `shown`, with the digests of
//! the whole values where there is memory. No rule for elements looks at elements beyond those. Of a stream, each
//! side's first entry is shown, too. Agreement and bases may be whole.

mod case;
mod contest;
mod counter;
mod counts;
mod decide;
mod element;
mod expiry;
mod hash;
mod kind;
mod list;
mod memory;
mod order;
mod outcome;
mod prefer;
mod recorded;
mod register;
mod set;
mod stream;
mod string;
mod whole_key;
mod zset;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use bytes::Bytes;

pub use counter::integer;
pub use counts::BY_COUNTS;
pub use memory::{Agreed, Base, Standing, remember};
pub use order::alike;
pub use outcome::{Changes, Decided, Evidence, Merged, Note, Outcome, Reason, Target};
pub use recorded::Restamp;
pub use whole_key::BY_WHOLE_KEY;

use crate::model::{
    Datacenter, Digester, Kind, Millis, Policy, ReplicaIndex, Stamps, State, ValueDigest,
};
use case::Case;
use kind::{TypeOf, choose_type, note_losers};

/// One replica's state of a key, and what is known of its past.
#[derive(Debug, Clone)]
pub struct Sibling<'a> {
    /// The replica; each takes part once.
    pub replica: ReplicaIndex,
    /// Its datacenter.
    pub datacenter: &'a Datacenter,
    /// What it holds; nothing if absent.
    pub state: Option<&'a State>,
    /// The digest of its whole value, where that is known or the state is partial. Else it is taken here if needed.
    pub digest: Option<ValueDigest>,
    /// Its state when it last took part. Nothing on a first run and for newcomers. A key that did not exist then has
    /// a base without memory.
    pub base: Option<Base<'a>>,
    /// The stamps beside it; nothing where servers keep none.
    pub stamps: Option<&'a Stamps>,
    /// Whether its fields can end by themselves. Where one ends elsewhere, a sibling that cannot hold that has no say.
    pub fields_can_end: bool,
}

impl<'a> Sibling<'a> {
    /// A sibling of whose past nothing is known.
    pub fn unknown(
        replica: ReplicaIndex,
        datacenter: &'a Datacenter,
        state: Option<&'a State>,
    ) -> Self {
        Self {
            replica,
            datacenter,
            state,
            digest: None,
            base: None,
            stamps: None,
            fields_can_end: true,
        }
    }
}

/// All that is known of one key.
#[derive(Debug, Clone, Copy)]
pub struct MergeInput<'a> {
    /// One per replica that takes part, in any order.
    pub siblings: &'a [Sibling<'a>],
    /// The agreement on the key; nothing if there never was one. Also nothing, with no bases, where no living replica
    /// can hold the agreed value any more: then the candidates are what the living hold.
    pub agreed: Option<&'a Agreed<'a>>,
    /// What the operator wants.
    pub policy: &'a Policy,
    /// The time at which what has expired is absent.
    pub now: Millis,
    /// The names of the elements that the siblings show, where they are partial; of streams, IDs as text.
    pub shown: Option<&'a BTreeSet<Bytes>>,
}

impl<'a> MergeInput<'a> {
    /// A merge of whole siblings without memory.
    pub fn without_memory(siblings: &'a [Sibling<'a>], policy: &'a Policy, now: Millis) -> Self {
        Self {
            siblings,
            agreed: None,
            policy,
            now,
            shown: None,
        }
    }
}

/// Says what a key should be.
///
/// The digester must be the one that digested the memories.
pub fn merge(input: &MergeInput<'_>, digester: &mut Digester) -> Merged {
    let case = Case::new(input, digester);
    let mut merged = merge_case(&case, digester);
    merged.stamps = merged.stamps.take().or_else(|| restamp(&case, &merged));
    merged
}

/// The stamps that belong beside what was merged.
fn restamp(case: &Case<'_>, merged: &Merged) -> Option<Restamp> {
    let Outcome::Target(target) = &merged.outcome else {
        return None;
    };
    if counts::are_left(case) {
        return None;
    }
    let stamps = case.sides.iter().filter_map(|side| side.stamps);
    let overwritten = merged
        .kind
        .and_then(|kind| case.clone().of_kind(kind).overwritten);
    let value = target.value.as_ref();
    let is_recorded = merged.evidence == Evidence::Recorded;
    is_recorded.then(|| Restamp::of(stamps, value, &target.untouched, overwritten))
}

fn merge_case(case: &Case<'_>, digester: &mut Digester) -> Merged {
    match choose_type(case) {
        TypeOf::Nothing => register::merge(case, "lww", Vec::new()),
        TypeOf::Open(reason) => {
            register::answer(case, Outcome::Unresolved(reason), false, "type", Vec::new())
        }
        TypeOf::Known(kind) => {
            let mut notes = Vec::new();
            note_losers(case, kind, &mut notes);
            let merged = merge_kind(&case.clone().of_kind(kind), kind, digester);
            notes.extend(merged.notes.iter().cloned());
            notes.truncate(Merged::MAX_NOTES);
            Merged {
                kind: Some(kind),
                notes,
                ..merged
            }
        }
    }
}

fn merge_kind(case: &Case<'_>, kind: Kind, digester: &mut Digester) -> Merged {
    match kind {
        Kind::String => string::merge(case),
        Kind::List => list::merge(case, digester),
        Kind::Hash => hash::merge(case, digester),
        Kind::Set => set::merge(case, digester),
        Kind::SortedSet => zset::merge(case, digester),
        Kind::Stream => stream::merge(case, digester),
        Kind::Module => register::merge(case, "lww", Vec::new()),
    }
}
