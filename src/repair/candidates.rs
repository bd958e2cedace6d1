//! From the differences of trees to keys that are worth a second read, in batches.
//!
//! ```text
//! replicas differ ───────────────▶ keys to decide
//! replicas alike, agreement not ─▶ keys to decide, or, where nothing was remembered, to learn by the thousand
//! nothing differs ───────────────▶ but somebody lags, or forgot the proof: keys to decide
//! ```

use std::collections::BTreeSet;

use crate::merkle::{Diff, Difference, Listed, SealedEntries, Side as TreeSide, Tree};
use crate::model::{DbIndex, Key, Keyspace, Position, PositionRange, Sequence};
use crate::store::BATCH_KEYS;

use super::look::{Look, difference, is_expiring};
use super::round::{Candidate, Tracked};
use super::run::{Mode, Shared};

/// Keys that are learned together.
const FRESH_KEYS: usize = 2048;

/// The entries and the tree of a replica, with its index; behind the last replica's, those of the agreement.
pub(super) struct Account {
    pub(super) replica: usize,
    pub(super) entries: SealedEntries,
    pub(super) tree: Tree,
    /// Keys whose proof a participant forgot; only of the agreement.
    pub(super) suspects: Vec<(Key, Sequence)>,
}

/// Keys that are worked on together.
pub(super) enum Batch<'a> {
    /// To be decided.
    Keys(Vec<Tracked<'a>>),
    /// Alike on all replicas, and nothing is remembered of them.
    Fresh(Vec<Candidate<'a>>),
}

/// What a difference of trees comes to.
enum Found<'a> {
    Differs(Candidate<'a>),
    Fresh(Candidate<'a>),
}

/// Turns what differs into batches.
pub(super) struct Comparison<'a, 'c> {
    shared: &'a Shared<'a>,
    db: Option<DbIndex>,
    accounts: &'c [Account],
    diff: Diff<'c>,
    /// Keys to look at although nothing differs; what the diff yields is taken out.
    overdue: BTreeSet<Key>,
    /// The first key, found before the pause.
    waiting: Option<Found<'a>>,
    fresh: Vec<Candidate<'a>>,
    /// Keys left alone because they end soon.
    pub(super) expiring: u64,
}

impl<'a, 'c> Comparison<'a, 'c> {
    /// Compares the accounts of one database and expiry rule.
    pub(super) fn new(
        shared: &'a Shared<'a>,
        (db, positions): (Option<DbIndex>, PositionRange),
        accounts: &'c [Account],
    ) -> Self {
        let sides: Vec<TreeSide<'c>> = accounts
            .iter()
            .map(|account| TreeSide {
                tree: &account.tree,
                entries: &account.entries,
            })
            .collect();
        let mut comparison = Self {
            shared,
            db,
            accounts,
            diff: Diff::new(&sides, positions),
            overdue: BTreeSet::new(),
            waiting: None,
            fresh: Vec::new(),
            expiring: 0,
        };
        comparison.overdue = comparison.find_overdue();
        let is_here = |key: &Key| positions.contains(Position::of(key.as_bytes()));
        comparison.overdue.retain(is_here);
        comparison
    }

    /// Whether there is anything to work on.
    pub(super) fn has_any(&mut self) -> bool {
        self.waiting = self.waiting.take().or_else(|| self.next_found());
        self.waiting.is_some()
    }

    fn next_found(&mut self) -> Option<Found<'a>> {
        if let Some(waiting) = self.waiting.take() {
            return Some(waiting);
        }
        while let Some(difference) = self.diff.next() {
            self.overdue.remove(difference.key);
            if let Some(found) = self.admit(&difference) {
                return Some(found);
            }
        }
        loop {
            let key = self.overdue.pop_first()?;
            if let Some(candidate) = self.take_up(key) {
                return Some(Found::Differs(candidate));
            }
        }
    }

    /// The index of the agreement's account.
    fn agreement(&self) -> usize {
        self.shared.run.participants.len()
    }

    fn admit(&mut self, found: &Difference<'_>) -> Option<Found<'a>> {
        let looks = found.sides.iter();
        let looks: Vec<Look> = looks.map(|side| Look::listed(side.as_ref())).collect();
        self.sort(Key::copied(found.key), looks)
    }

    fn take_up(&mut self, key: Key) -> Option<Candidate<'a>> {
        let notary = self.shared.notary(self.db)?;
        match notary.is_overdue(&key, &self.shared.active()) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                self.shared.break_off(error);
                return None;
            }
        }
        let position = Position::of(key.as_bytes());
        let find = |account: &Account| {
            let listed: Option<Listed<'_>> = account.entries.find(position, key.as_bytes());
            Look::listed(listed.as_ref())
        };
        let looks: Vec<Look> = self.accounts.iter().map(find).collect();
        let keyspace = self.shared.run.scope.owner(self.db, key.as_bytes())?;
        let class = super::sweep::class_of(keyspace.policy.expiry.rule);
        let here = super::sweep::EXPIRY_RULES[class] == self.diff.expiry();
        here.then(|| self.candidate(key, looks)).flatten()
    }

    /// Whether a key is to be decided, or learned, or left alone.
    fn sort(&mut self, key: Key, looks: Vec<Look>) -> Option<Found<'a>> {
        let run = self.shared.run;
        let keyspace = run.scope.owner(self.db, key.as_bytes())?;
        let policy = &keyspace.policy.expiry;
        difference(&looks, policy)?;
        let held: Vec<Look> = self.held(&looks);
        let unreadable = held.contains(&Look::Unreadable);
        if !unreadable && !run.scope.admits_kinds(looks.iter().filter_map(Look::kind)) {
            return None;
        }
        if is_expiring(&held, self.shared.now(), policy) {
            let db = self.shared.db_index(self.db);
            self.shared.unsettled(db, key);
            if looks.contains(&Look::Absent) {
                self.shared.open_absences.put();
            }
            self.expiring += 1;
            return None;
        }
        let is_fresh = difference(&held, policy).is_none()
            && self.is_unknown(&looks)
            && !self.adds_up(keyspace, &held);
        // Alike and new: to a run that learns nothing there is nothing to say of it.
        if is_fresh && run.settings.mode != Mode::Repair {
            return None;
        }
        let candidate = self.candidate(key, looks)?;
        Some(if is_fresh {
            Found::Fresh(candidate)
        } else {
            Found::Differs(candidate)
        })
    }

    /// Whether what is alike may have to be added up: two equal increments are two.
    fn adds_up(&self, keyspace: &Keyspace, held: &[Look]) -> bool {
        let kind = held.iter().find_map(Look::kind);
        let counts = kind.is_some_and(|kind| keyspace.policy.rules.counts(kind));
        let notary = self.shared.notary(self.db);
        counts && notary.is_some_and(|notary| notary.has_covered(keyspace))
    }

    /// What the replicas hold, without what is agreed.
    fn held(&self, looks: &[Look]) -> Vec<Look> {
        let replicas = self.accounts.iter().zip(looks);
        let replicas = replicas.filter(|(account, _)| account.replica != self.agreement());
        replicas.map(|(_, look)| *look).collect()
    }

    /// Whether the agreement does not list the key.
    fn is_unknown(&self, looks: &[Look]) -> bool {
        let mut all = self.accounts.iter().zip(looks);
        all.any(|(account, look)| account.replica == self.agreement() && *look == Look::Absent)
    }

    fn candidate(&self, key: Key, looks: Vec<Look>) -> Option<Candidate<'a>> {
        let run = self.shared.run;
        let keyspace = run.scope.owner(self.db, key.as_bytes())?;
        let mut all = vec![None; run.participants.len()];
        for (account, look) in self.accounts.iter().zip(looks) {
            if let Some(place) = all.get_mut(account.replica) {
                *place = Some(look);
            }
        }
        Some(Candidate {
            key,
            keyspace,
            looks: all,
        })
    }

    /// Keys to look at although no tree differs: somebody lags, or forgot what proves that it does not.
    fn find_overdue(&self) -> BTreeSet<Key> {
        let (Some(notary), Mode::Repair) =
            (self.shared.notary(self.db), self.shared.run.settings.mode)
        else {
            return BTreeSet::new();
        };
        let agreed = self
            .accounts
            .iter()
            .find(|account| account.replica == self.agreement());
        let suspects = agreed.map_or(&[][..], |account| &account.suspects);
        notary
            .overdue(&self.shared.active(), suspects)
            .unwrap_or_else(|error| {
                self.shared.break_off(error);
                BTreeSet::new()
            })
    }
}

impl<'a> Iterator for Comparison<'a, '_> {
    type Item = Batch<'a>;

    fn next(&mut self) -> Option<Batch<'a>> {
        let run = self.shared.run;
        let mut keys = Vec::with_capacity(BATCH_KEYS);
        while keys.len() < BATCH_KEYS && self.fresh.len() < FRESH_KEYS {
            if run.stop.is_cancelled() || self.shared.is_exhausted() {
                break;
            }
            match self.next_found() {
                Some(Found::Differs(candidate)) => keys.push(Tracked::new(candidate)),
                Some(Found::Fresh(candidate)) => self.fresh.push(candidate),
                None => break,
            }
        }
        run.progress.found(keys.len());
        if !keys.is_empty() {
            return Some(Batch::Keys(keys));
        }
        let fresh = std::mem::take(&mut self.fresh);
        (!fresh.is_empty() && !self.shared.is_broken()).then_some(Batch::Fresh(fresh))
    }
}
