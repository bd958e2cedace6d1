//! What the run under way has done since it was last looked at.

use crate::daemon::board::Card;
use crate::daemon::segments::Tally;
use crate::store::Usage;

use super::families::Families;

/// What was counted of a run so far.
#[derive(Default)]
pub(super) struct Meter {
    run: Option<u64>,
    used: Vec<Usage>,
    segments: Tally,
    in_flight: u64,
    expiring: u64,
}

impl Meter {
    /// Counts what came to it. A run is looked at a last time when it has ended, before the next begins.
    pub(super) fn advance(&mut self, card: &Card, families: &Families) {
        if self.run != Some(card.id) {
            *self = Self {
                run: Some(card.id),
                ..Self::default()
            };
        }
        self.count_usage(card, families);
        let standing = card.standing();
        let segments = &families.runs.segments;
        let counted = [
            ("done", standing.segments.done, self.segments.done),
            ("failed", standing.segments.failed, self.segments.failed),
            ("retried", standing.segments.retried, self.segments.retried),
            ("split", standing.segments.split, self.segments.split),
        ];
        for (outcome, now, before) in counted {
            segments.add(&[outcome], now.saturating_sub(before));
        }
        self.segments = standing.segments;
        let Some(summary) = &standing.summary else {
            return;
        };
        let looked_at = &families.findings.looked_at;
        let moved = summary.in_flight.saturating_sub(self.in_flight);
        looked_at.add(&["in_flight"], moved);
        let expiring = summary.expiring.saturating_sub(self.expiring);
        looked_at.add(&["expiring"], expiring);
        (self.in_flight, self.expiring) = (summary.in_flight, summary.expiring);
    }

    fn count_usage(&mut self, card: &Card, families: &Families) {
        let used = card.used();
        self.used.resize(used.len(), Usage::default());
        let work = &families.work;
        for ((name, place), (now, before)) in card
            .replicas
            .iter()
            .zip(used.into_iter().zip(&mut self.used))
        {
            let labels = [name.0.as_str(), place.0.as_str()];
            let more = now.since(before);
            work.scanned.add(&labels, more.keys_read);
            work.written.add(&labels, more.keys_written);
            work.read_bytes.add(&labels, more.bytes_read);
            work.written_bytes.add(&labels, more.bytes_written);
            work.commands.add(&labels, more.commands);
            *before = now;
        }
    }
}
