//! What of a merged key a replica's server can hold. Pure.
//!
//! ```text
//! target ─┬─ a kind that the server lacks ────────▶ refused, nothing is written there
//!         └─ fields that end, and it has no ends ─▶ these stay as they are there, the rest is written; refused
//! ```
//!
//! A field that ends by itself is never given to a server on which it would not end: it would outlive the others, and
//! come back from there. What such a server has of the field has no say among the others.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::crdt::Target;
use crate::model::{Expiry, State, Value};
use crate::store::{Capabilities, Capability};

/// The fields that stay as they are at a replica: those that end elsewhere, where its server cannot hold that. `all`
/// is what the replicas hold and what their servers can do.
pub(crate) fn left_out<'s>(
    target: &Target,
    all: impl Iterator<Item = (Capabilities, Option<&'s State>)>,
    can: Capabilities,
) -> BTreeSet<Bytes> {
    if can.has(Capability::FieldExpiry) || !matches!(target.value, Some(Value::Hash(_))) {
        return BTreeSet::new();
    }
    let able = all.filter(|(can, _)| can.has(Capability::FieldExpiry));
    let held = able.filter_map(|(_, state)| Some(&state?.value));
    held.chain(&target.value).flat_map(ending).collect()
}

fn ending(value: &Value) -> Vec<Bytes> {
    match value {
        Value::Hash(fields) => {
            let ending = fields
                .iter()
                .filter(|(_, field)| field.expiry != Expiry::Never);
            ending.map(|(name, _)| name.clone()).collect()
        }
        Value::String(_)
        | Value::List(_)
        | Value::Set(_)
        | Value::SortedSet(_)
        | Value::Stream(_)
        | Value::Module(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::model::arbitrary::{expiry, text};
    use crate::model::{Datacenter, DigestKey, Digester, Field, Key, Millis, Policy, ReplicaIndex};
    use crate::repair::look::Look;
    use crate::repair::resolve::{Resolution, Stable, resolve};
    use crate::store::{Observed, apply};

    /// A replica: whether its fields can end, and what it holds.
    type Site = (bool, Option<State>);

    fn can(ends: bool) -> Capabilities {
        match ends {
            true => Capabilities::ALL,
            false => Capabilities::ALL.without(Capability::FieldExpiry),
        }
    }

    fn site() -> impl Strategy<Value = Site> {
        let fields = btree_map(text(), (text(), expiry()), 0..5);
        (any::<bool>(), fields).prop_map(|(ends, fields)| {
            let field = |(name, (value, expiry))| {
                let expiry = if ends { expiry } else { Expiry::Never };
                (name, Field { value, expiry })
            };
            let fields: BTreeMap<Bytes, Field> = fields.into_iter().map(field).collect();
            let state = State::lasting(Value::Hash(fields));
            (ends, Some(state).filter(|state| !state.value.is_void()))
        })
    }

    fn resolved(sites: &[Site]) -> Resolution {
        let mut digester = Digester::new(DigestKey::new([1; 32]));
        let datacenter = Datacenter("dc".into());
        let mut look = |state: &Option<State>| match state {
            Some(state) => Look::observed(&Observed::Whole(state.clone()), &mut digester),
            None => Look::Absent,
        };
        let looks: Vec<Look> = sites.iter().map(|(_, state)| look(state)).collect();
        let stable = sites.iter().zip(looks).enumerate();
        let stable = stable.map(|(index, ((ends, state), look))| Stable {
            replica: ReplicaIndex(index),
            datacenter: &datacenter,
            state: state.as_ref(),
            look,
            stamps: None,
            can: can(*ends),
        });
        let stable: Vec<Stable<'_>> = stable.collect();
        let key = Key::from("hash");
        resolve(
            &key,
            &stable,
            None,
            &Policy::default(),
            (Millis(0), sites.len()),
            &mut digester,
        )
    }

    fn repaired(sites: &[Site]) -> Vec<Site> {
        let mut after = sites.to_vec();
        for (ReplicaIndex(replica), write) in resolved(sites).writes {
            for op in &write.ops {
                let held = after[replica].1.take();
                after[replica].1 = apply(held, op, Millis(0)).unwrap();
            }
        }
        after
    }

    fn fields(site: &Site) -> BTreeMap<Bytes, Field> {
        match site.1.as_ref().map(|state| &state.value) {
            Some(Value::Hash(fields)) => fields.clone(),
            _ => BTreeMap::new(),
        }
    }

    proptest! {
        #[test]
        fn servers_with_ends_are_alike_and_the_others_in_what_lasts(sites in vec(site(), 2..5)) {
            // Where a longer end wins that is none, the others have their say in the second round.
            let after = repaired(&repaired(&sites));
            let able = || after.iter().filter(|(ends, _)| *ends);
            let ending = |name: &Bytes| {
                let mut held = after.iter().map(|site| fields(site).get(name).cloned());
                held.any(|field| field.is_some_and(|field| field.expiry != Expiry::Never))
            };
            for site in able() {
                prop_assert_eq!(Some(fields(site)), able().next().map(fields));
            }
            let lasting = |site: &Site| {
                let mut fields = fields(site);
                fields.retain(|name, _| !ending(name));
                fields
            };
            for site in &after {
                prop_assert_eq!(lasting(site), lasting(&after[0]));
            }
        }

        #[test]
        fn no_field_is_created_where_it_would_not_end_and_nothing_is_written_twice(
            sites in vec(site(), 2..5)
        ) {
            let first = repaired(&sites);
            let after = repaired(&first);
            for (sites, after) in [(&sites, &first), (&first, &after)] {
                for (before, now) in sites.iter().zip(after).filter(|((ends, _), _)| !ends) {
                    for (name, field) in fields(now) {
                        let ends = |site: &Site| {
                            let held = fields(site).remove(&name);
                            held.is_some_and(|held| held.expiry != Expiry::Never)
                        };
                        prop_assert_eq!(field.expiry, Expiry::Never);
                        if sites.iter().any(ends) {
                            prop_assert_eq!(fields(before).remove(&name), Some(field));
                        }
                    }
                }
            }
            let again = resolved(&after);
            prop_assert!(again.writes.is_empty(), "{:?}", again.writes);
            let mixed = after.iter().any(|(ends, _)| !ends);
            let ends = after.iter().flat_map(|site| fields(site).into_values());
            let ends = ends.filter(|field| field.expiry != Expiry::Never).count();
            prop_assert_eq!(again.unresolved().is_some(), mixed && ends > 0);
        }
    }
}
