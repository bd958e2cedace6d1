//! Beyond the memory limit: the sums of the first pass say which keys a second one has to read.

use crate::merkle::{BucketSet, Buckets};

use super::run::RunError;
use super::runner::Database;
use super::sweep::{Budget, Gathered, Side, Sweep};

/// What an entry costs in memory beside its key: the record, its share of the tree, and some slack of the vectors.
const ENTRY_BYTES: u64 = 64;

/// A key's length for estimates before any key was seen.
const KEY_BYTES: u64 = 32;

impl Database<'_, '_> {
    /// Beyond the memory limit: the sums say which buckets differ; their keys alone are read again, a part at a time.
    pub(super) async fn second_pass(&mut self, sides: Vec<(usize, Side)>) -> Result<(), RunError> {
        let run = self.shared.run;
        let sums: Vec<&[Buckets; 2]> = sides
            .iter()
            .filter_map(|(_, side)| match &side.gathered {
                Gathered::Sums(sums) => Some(sums),
                Gathered::Entries(_) => None,
            })
            .collect();
        let differing = [0, 1].map(|class| {
            Buckets::differing(&sums.iter().map(|sums| &sums[class]).collect::<Vec<_>>())
        });
        let most = (run.settings.memory / (ENTRY_BYTES + KEY_BYTES)).max(1);
        let [longest, ignore] = differing;
        let none = Buckets::differing(&[&Buckets::new(1), &Buckets::new(1)]);
        let parts = longest
            .split_by_budget(most)
            .into_iter()
            .map(|part| [part, none.clone()]);
        let parts: Vec<[BucketSet; 2]> = parts
            .chain(
                ignore
                    .split_by_budget(most)
                    .into_iter()
                    .map(|part| [none.clone(), part]),
            )
            .collect();
        tracing::info!(
            parts = parts.len(),
            "beyond the memory limit: reading what differs again"
        );
        for part in &parts {
            if part.iter().all(BucketSet::is_empty) || run.stop.is_cancelled() {
                continue;
            }
            let sweep = Sweep {
                scope: &run.scope,
                db: self.db,
                digest_key: &run.digest_key,
                within: Some(part),
            };
            let sides = self.sweep(&sweep, &Budget::new(u64::MAX)).await?;
            if !sides.is_empty() {
                self.compare_entries(&sweep, sides).await?;
            }
        }
        Ok(())
    }
}
