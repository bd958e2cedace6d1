//! From the differences of trees to keys that are worth a second read.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::merkle::{Diff, Difference, SealedEntries, Tree};
use crate::model::{DbIndex, Key};

use super::look::{Look, difference, is_expiring};
use super::round::Candidate;
use super::run::Shared;

/// A replica's entries and tree, with its index.
pub(super) struct Account {
    pub(super) replica: usize,
    pub(super) entries: SealedEntries,
    pub(super) tree: Tree,
}

/// Turns differences of trees into candidates.
#[derive(Clone, Copy)]
pub(super) struct Candidates<'a> {
    pub(super) shared: &'a Shared<'a>,
    pub(super) db: Option<DbIndex>,
}

impl<'a> Candidates<'a> {
    /// The next key that differs under its keyspace's policy.
    pub(super) fn next(
        &self,
        diff: &mut Diff<'_>,
        accounts: &[Account],
        expiring: &AtomicU64,
    ) -> Option<Candidate<'a>> {
        loop {
            let difference = diff.next()?;
            if let Some(candidate) = self.admit(&difference, accounts, expiring) {
                return Some(candidate);
            }
        }
    }

    fn admit(
        &self,
        found: &Difference<'_>,
        accounts: &[Account],
        expiring: &AtomicU64,
    ) -> Option<Candidate<'a>> {
        let run = self.shared.run;
        let keyspace = run.scope.owner(self.db, found.key)?;
        let looks: Vec<Look> = found
            .sides
            .iter()
            .map(|side| Look::listed(side.as_ref()))
            .collect();
        let unreadable = looks.contains(&Look::Unreadable);
        if !unreadable && !run.scope.admits_kinds(looks.iter().filter_map(Look::kind)) {
            return None;
        }
        difference(&looks, &keyspace.policy.expiry)?;
        if is_expiring(&looks, self.shared.now(), &keyspace.policy.expiry) {
            expiring.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let mut all = vec![None; run.participants.len()];
        for (account, look) in accounts.iter().zip(looks) {
            all[account.replica] = Some(look);
        }
        Some(Candidate {
            key: Key::copied(found.key),
            keyspace,
            looks: all,
        })
    }
}
