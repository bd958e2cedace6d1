//! Beyond the memory limit: the sums of the first pass say which keys a second one has to read.
//!
//! ```text
//! sums ─▶ differing buckets ─▶ parts that fit by their counts ─▶ read, compared
//!  ▲                                    │ one bucket is too large
//!  └──────── counted more finely ◀──────┘
//! ```
//!
//! Counts are those of the pass before: what clients added since can make a part too large. It is noticed while it is
//! read, and the part is divided.

use std::sync::Arc;

use crate::merkle::{BucketSet, Buckets};

use super::run::RunError;
use super::runner::Database;
use super::sweep::{Budget, ENTRY_BYTES, GRANT, Gathered, Pass, Side};

/// Buckets whose keys are read together.
struct Part {
    /// Which of the two trees they belong to.
    class: usize,
    set: BucketSet,
    /// Whether its keys were found to take more memory than counted.
    has_grown: bool,
}

impl Database<'_, '_> {
    /// Reads again what differs by the sums of a first pass, a part at a time.
    pub(super) async fn second_pass(&mut self, sides: Vec<(usize, Side)>) -> Result<(), RunError> {
        let mut parts = self.parts(&sides);
        drop(sides);
        tracing::info!(
            parts = parts.len(),
            "beyond the memory limit: reading what differs again"
        );
        // The first part is taken from the end.
        parts.reverse();
        while let Some(part) = parts.pop() {
            if self.shared.run.stop.is_cancelled() {
                break;
            }
            if self.shared.is_exhausted() {
                self.course.summary.limit_reached = true;
                break;
            }
            let smaller = self.read_part(part).await?;
            parts.extend(smaller.into_iter().rev());
        }
        Ok(())
    }

    /// What differs by the sums of all sides, divided so that each part fits by what was counted.
    fn parts(&self, sides: &[(usize, Side)]) -> Vec<Part> {
        let sums: Vec<&[Buckets; 2]> = sides
            .iter()
            .filter_map(|(_, side)| match &side.gathered {
                Gathered::Sums(sums) => Some(sums),
                Gathered::Entries(_) | Gathered::Nothing => None,
            })
            .collect();
        let of_class = |class: usize| {
            let sums: Vec<&Buckets> = sums.iter().map(|sums| &sums[class]).collect();
            let parts = Buckets::differing(&sums).split(self.room(), ENTRY_BYTES);
            parts.into_iter().map(move |set| Part {
                class,
                set,
                has_grown: false,
            })
        };
        [0, 1].into_iter().flat_map(of_class).collect()
    }

    /// What the entries of a part may take: every side may hold a grant that it does not use up.
    fn room(&self) -> u64 {
        let idle = GRANT * self.shared.run.participants.len() as u64;
        self.shared.room_for_keys().saturating_sub(idle)
    }

    /// Reads and compares the keys of a part; or finds that it is too large, and answers smaller parts.
    async fn read_part(&mut self, part: Part) -> Result<Vec<Part>, RunError> {
        let is_too_large = part.has_grown || part.set.bytes(ENTRY_BYTES) > self.room();
        if is_too_large && part.set.len() > 1 {
            return Ok(part.halves());
        }
        let mut limit = self.shared.room_for_keys();
        if is_too_large {
            if let Some(finer) = part.set.refine() {
                return self.count(part.class, &finer).await;
            }
            tracing::warn!(
                "{} entries cannot be told apart by their positions: they are read at once, beyond the memory limit",
                part.set.entries().iter().sum::<u64>()
            );
            limit = u64::MAX;
        }
        let budget = Arc::new(Budget::new(limit));
        let sweep = self.pass(Pass::Within(part.class, &part.set));
        let sides = self.sweep(&sweep, &budget).await?;
        if budget.is_exceeded() {
            return Ok(vec![Part {
                has_grown: true,
                ..part
            }]);
        }
        if !sides.is_empty() {
            self.compare_entries(&sweep, sides).await?;
        }
        Ok(Vec::new())
    }

    /// Counts the keys of one bucket more finely.
    async fn count(&mut self, class: usize, finer: &Buckets) -> Result<Vec<Part>, RunError> {
        let sweep = self.pass(Pass::Count(class, finer));
        let sides = self.sweep(&sweep, &Arc::new(Budget::new(u64::MAX))).await?;
        if sides.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.parts(&sides))
    }
}

impl Part {
    /// The part in two or three, by what was counted. It has at least two buckets.
    fn halves(self) -> Vec<Self> {
        let half = self.set.bytes(ENTRY_BYTES) / 2;
        let halves = self.set.split(half, ENTRY_BYTES);
        let class = self.class;
        let part = |set| Self {
            class,
            set,
            has_grown: false,
        };
        halves.into_iter().map(part).collect()
    }
}
