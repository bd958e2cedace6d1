//! What must hold at the end of a history in which replicas forgot.

use std::collections::{BTreeMap, BTreeSet};

use reknit::model::{Key, State};

use super::{Forgetting, Increment, Name};
use crate::model_support::sight::items;

impl Forgetting {
    pub(super) fn check(&self, held: &BTreeSet<Name>) -> Result<(), String> {
        let all: Vec<BTreeMap<Key, State>> =
            (0..self.replicas).map(|one| self.states(one)).collect();
        let full = (0..self.replicas).find(|one| !self.evicting.contains(one));
        let first = &all[full.unwrap_or(0)];
        for (replica, other) in all.iter().enumerate() {
            let keys: BTreeSet<&Key> = first.keys().chain(other.keys()).collect();
            let may_lack = |key: &Key| self.evicting.contains(&replica) && !other.contains_key(key);
            let differs = |key: &&&Key| first.get(**key) != other.get(**key) && !may_lack(key);
            if full.is_some()
                && let Some(key) = keys.iter().find(differs)
            {
                let (one, another) = (first.get(*key), other.get(*key));
                return Err(format!(
                    "replica {replica} differs in {key}: {another:?} and {one:?}"
                ));
            }
        }
        for (name, life) in &self.lives {
            let shown = || format!("{}/{} {life:?}", name.0, name.1.escape_ascii());
            let is_there = all
                .iter()
                .any(|states| items(states.get(&name.0)).contains_key(&name.1));
            let is_safe = held.contains(name) && !life.is_weak;
            if is_safe && life.removed_at.is_none() && !is_there {
                return Err(format!("lost {}", shown()));
            }
            if life.is_gone && !life.may_return && is_there {
                return Err(format!("back is {}", shown()));
            }
        }
        // Where all evict, what one lacks is told by the others.
        let told: Vec<&BTreeMap<Key, State>> = match full {
            Some(_) => vec![first],
            None => all.iter().collect(),
        };
        self.check_counters(&told)
    }

    fn check_counters(&self, told: &[&BTreeMap<Key, State>]) -> Result<(), String> {
        for name in ["count0", "count1"] {
            let key = Key::from(name);
            let of_key: Vec<&Increment> = self
                .increments
                .iter()
                .filter(|one| one.key == key)
                .collect();
            let least: i64 = of_key.iter().map(|one| one.amount * one.times.0).sum();
            let most: i64 = of_key.iter().map(|one| one.amount * one.times.1).sum();
            let text = told
                .iter()
                .find_map(|states| items(states.get(&key)).into_values().next());
            let have = text.map_or(0, |text| String::from_utf8_lossy(&text).parse().unwrap());
            let is_evicted = |replica| self.evicted.contains(&(replica, key.clone()));
            if told.iter().all(|states| !states.contains_key(&key))
                && (0..self.replicas).all(is_evicted)
            {
                continue;
            }
            if have < least || have > most {
                return Err(format!(
                    "{name} is {have}, at least {least}, at most {most}"
                ));
            }
        }
        Ok(())
    }
}
