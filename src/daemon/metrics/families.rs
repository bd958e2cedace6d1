//! All metrics, by what they are about. Each is described in docs/metrics.md with the same words; a test compares.

use prometheus::{Histogram, Registry};

use super::family::{Counter, Gauge, Maker};

/// Bounds of how long runs take, in seconds: from a small set in sync to a night.
const DURATIONS: [f64; 10] = [
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0,
];

/// A replica and where it is.
const NODE: &[&str] = &["replica", "datacenter"];

/// All of them.
pub(super) struct Families {
    pub(super) service: ServiceFamilies,
    pub(super) schedules: ScheduleFamilies,
    pub(super) runs: RunFamilies,
    pub(super) work: WorkFamilies,
    pub(super) findings: FindingFamilies,
    pub(super) nodes: NodeFamilies,
    pub(super) pacing: PacingFamilies,
}

impl Families {
    pub(super) fn new(registry: &Registry) -> Self {
        let make = Maker(registry);
        Self {
            service: ServiceFamilies::new(&make),
            schedules: ScheduleFamilies::new(&make),
            runs: RunFamilies::new(&make),
            work: WorkFamilies::new(&make),
            findings: FindingFamilies::new(&make),
            nodes: NodeFamilies::new(&make),
            pacing: PacingFamilies::new(&make),
        }
    }
}

/// The process, and what it remembers.
pub(super) struct ServiceFamilies {
    pub(super) build: Gauge,
    pub(super) started: Gauge,
    pub(super) resident: Gauge,
    pub(super) ready: Gauge,
    pub(super) reloaded: Gauge,
    pub(super) state_bytes: Gauge,
    pub(super) agreement_bytes: Gauge,
    pub(super) journal_bytes: Gauge,
    pub(super) agreement_updated: Gauge,
    pub(super) webhook: Counter,
}

impl ServiceFamilies {
    fn new(make: &Maker<'_>) -> Self {
        let gauge = |name, help| make.gauge(name, help, &[]);
        Self {
            build: make.gauge(
                "reknit_build_info",
                "1; which version runs.",
                &["version"],
            ),
            started: gauge(
                "process_start_time_seconds",
                "When the service began, in seconds since 1970.",
            ),
            resident: gauge(
                "process_resident_memory_bytes",
                "Memory of the process that is in use.",
            ),
            ready: gauge(
                "reknit_ready",
                "1 while runs begin when they are due, as /readyz says; else 0.",
            ),
            reloaded: gauge(
                "reknit_config_last_reload_successful",
                "1 if the configuration was taken over when it was last read, 0 if the old one stayed.",
            ),
            state_bytes: gauge("reknit_state_bytes", "Size of the state directory."),
            agreement_bytes: gauge(
                "reknit_agreement_bytes",
                "Size of what the replicas agreed on, in the state directory.",
            ),
            journal_bytes: gauge(
                "reknit_journal_bytes",
                "Size of the journal of what runs overwrote and removed, in the state directory.",
            ),
            agreement_updated: gauge(
                "reknit_agreement_updated_timestamp_seconds",
                "When a repair with memory last ended that missed nothing, so that what is remembered is no older; 0: never.",
            ),
            webhook: make.counter(
                "reknit_webhook_events_total",
                "Events for the webhook by what became of them: delivered, failed (after all attempts), dropped (too many waited).",
                &["outcome"],
            ),
        }
    }
}

/// Schedules.
pub(super) struct ScheduleFamilies {
    pub(super) success_of_all: Gauge,
    pub(super) success: Gauge,
    pub(super) overdue: Gauge,
    pub(super) next: Gauge,
    pub(super) paused: Gauge,
    pub(super) incomplete: Gauge,
}

impl ScheduleFamilies {
    fn new(make: &Maker<'_>) -> Self {
        let of_one = |name, help| make.gauge(name, help, &["schedule"]);
        Self {
            success_of_all: make.gauge(
                "reknit_last_success_timestamp_seconds",
                "Since when every schedule has succeeded: the oldest of their last full successes; 0: one never did, or there is none.",
                &[],
            ),
            success: of_one(
                "reknit_schedule_last_success_timestamp_seconds",
                "When a run of the schedule last ended that missed nothing; 0: never.",
            ),
            overdue: of_one(
                "reknit_schedule_overdue",
                "1 if the schedule had no full success for too long, else 0.",
            ),
            next: of_one(
                "reknit_schedule_next_run_timestamp_seconds",
                "When the next run of the schedule is expected to begin; 0 while it is paused.",
            ),
            paused: of_one(
                "reknit_schedule_paused",
                "1 if an operator paused the schedule, else 0.",
            ),
            incomplete: of_one(
                "reknit_schedule_incomplete_runs",
                "How many runs of the schedule in a row, since the service began, ended partial, failed, by a guard or at their deadline.",
            ),
        }
    }
}

/// Runs.
pub(super) struct RunFamilies {
    pub(super) state: Gauge,
    pub(super) progress: Gauge,
    pub(super) started: Gauge,
    pub(super) open: Gauge,
    pub(super) ended: Counter,
    pub(super) duration: Histogram,
    pub(super) segments: Counter,
}

impl RunFamilies {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            state: make.gauge(
                "reknit_run_state",
                "1 at the state of the run that is under way: planned, running, paused or stopping; at idle if there is none. Else 0.",
                &["state"],
            ),
            progress: make.gauge(
                "reknit_run_progress_ratio",
                "How far the run that is under way has come, of its segments and what it read of the present one; it falls where a segment is split or read again. Only while one is.",
                &["schedule"],
            ),
            started: make.gauge(
                "reknit_run_start_timestamp_seconds",
                "When the run that is under way began. Only while one is.",
                &["schedule"],
            ),
            open: make.gauge(
                "reknit_run_segments_open",
                "Segments of the run that is under way that wait or are worked on. Only while one is.",
                &["schedule"],
            ),
            ended: make.counter(
                "reknit_runs_total",
                "Runs that ended, by state; those that an operator started have no schedule.",
                &["schedule", "state"],
            ),
            duration: make.histogram(
                "reknit_run_duration_seconds",
                "How long runs took, however they ended.",
                &DURATIONS,
            ),
            segments: make.counter(
                "reknit_segments_total",
                "Segments by outcome: done, failed (given up), retried (an attempt after the first), split (halved).",
                &["outcome"],
            ),
        }
    }
}

/// What was read and written.
pub(super) struct WorkFamilies {
    pub(super) scanned: Counter,
    pub(super) written: Counter,
    pub(super) read_bytes: Counter,
    pub(super) written_bytes: Counter,
    pub(super) commands: Counter,
}

impl WorkFamilies {
    fn new(make: &Maker<'_>) -> Self {
        let of_one = |name, help| make.counter(name, help, NODE);
        Self {
            scanned: of_one(
                "reknit_keys_scanned_total",
                "Keys whose values were read, every reading counted.",
            ),
            written: of_one("reknit_keys_written_total", "Writes of keys."),
            read_bytes: of_one(
                "reknit_read_bytes_total",
                "Bytes received from the replica.",
            ),
            written_bytes: of_one("reknit_written_bytes_total", "Bytes sent to the replica."),
            commands: of_one("reknit_commands_total", "Commands sent to the replica."),
        }
    }
}

/// What was found and what became of it.
pub(super) struct FindingFamilies {
    pub(super) divergences: Counter,
    pub(super) looked_at: Counter,
    pub(super) verdicts: Counter,
    pub(super) repaired: Counter,
    pub(super) superseded: Counter,
    pub(super) residue: Counter,
    pub(super) deletes: Counter,
    pub(super) guards: Counter,
    pub(super) left: Gauge,
    pub(super) keys: Gauge,
    pub(super) behind: Gauge,
}

impl FindingFamilies {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            divergences: make.counter(
                "reknit_divergences_total",
                "Keys found to differ, by kind: missing, type, expiry; where values differ: stale (some replica held what all should), conflict (none did, a preference chose, or it stays open), undecided (nothing was merged).",
                &["keyspace", "kind"],
            ),
            looked_at: make.counter(
                "reknit_candidates_total",
                "Keys that the first reading found different, by what the second found: confirmed, in_flight (they moved or were alike by then), expiring (they end soon and are left alone).",
                &["outcome"],
            ),
            verdicts: make.counter(
                "reknit_verdicts_total",
                "Keys that differed by what became of them.",
                &["verdict"],
            ),
            repaired: make.counter(
                "reknit_repaired_keys_total",
                "Keys that were written, read again and found alike, by type, merge rule and evidence: recorded (stamps stand beside the data), agreed (the past was remembered) or none.",
                &["type", "rule", "evidence"],
            ),
            superseded: make.counter(
                "reknit_superseded_keys_total",
                "Keys that clients kept writing, so that every conditional write lost.",
                &["keyspace"],
            ),
            residue: make.counter(
                "reknit_verify_residue_total",
                "Keys that were written and could not be seen alike when they were read again, by verdict.",
                &["verdict"],
            ),
            deletes: make.counter(
                "reknit_deletes_propagated_total",
                "Keys that were removed because they had been removed elsewhere.",
                NODE,
            ),
            guards: make.counter(
                "reknit_guard_trips_total",
                "Times that a guard stopped a repair or an undo, by guard and replica: overwrite, delete.",
                &["guard", "replica", "datacenter"],
            ),
            left: make.gauge(
                "reknit_keyspace_divergent_keys",
                "Keys that differed still when the keyspace was last compared as a whole; 0 also before that.",
                &["keyspace"],
            ),
            keys: make.gauge(
                "reknit_keyspace_keys",
                "Keys of the keyspace when it was last compared as a whole; 0 also before that.",
                &["keyspace"],
            ),
            behind: make.gauge(
                "reknit_replica_divergent_keys",
                "Differing keys that the latest whole comparison found, repaired or not: missing (the replica lacked them), alone (only it had them), differing (it held them otherwise than another).",
                &["replica", "datacenter", "kind"],
            ),
        }
    }
}

/// The servers.
pub(super) struct NodeFamilies {
    pub(super) up: Gauge,
    pub(super) latency: Gauge,
    pub(super) baseline: Gauge,
    pub(super) share: Gauge,
    pub(super) skew: Gauge,
}

impl NodeFamilies {
    fn new(make: &Maker<'_>) -> Self {
        let of_one = |name, help| make.gauge(name, help, NODE);
        Self {
            up: of_one(
                "reknit_node_up",
                "0 if the replica cannot be seen, or between runs if it took no part in the latest run or not to its end; else 1, also before the first.",
            ),
            latency: of_one(
                "reknit_node_latency_seconds",
                "How long the replica took to answer PING at the latest look. Only while a run works.",
            ),
            baseline: of_one(
                "reknit_node_latency_baseline_seconds",
                "The latency that is usual for the replica. Only while a run works.",
            ),
            share: of_one(
                "reknit_node_share_ratio",
                "The share of the allowed time that the replica is worked on; below 1 while it is slow. Only while a run works.",
            ),
            skew: of_one(
                "reknit_clock_skew_seconds",
                "How far the replica's clock is ahead of ours. Only while a run works.",
            ),
        }
    }
}

/// How gently.
pub(super) struct PacingFamilies {
    pub(super) waited: Counter,
    pub(super) waiting: Gauge,
    pub(super) keys: Gauge,
    pub(super) bytes: Gauge,
    pub(super) intensity: Gauge,
}

impl PacingFamilies {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            waited: make.counter(
                "reknit_pacing_wait_seconds_total",
                "How long runs waited for the replica, by reason.",
                &["replica", "datacenter", "reason"],
            ),
            waiting: make.gauge(
                "reknit_pacing_waiting",
                "1 at the reason that the replica is being waited for, else 0.",
                &["replica", "datacenter", "reason"],
            ),
            keys: make.gauge(
                "reknit_limit_keys_per_second",
                "limits.keys_per_second as it holds now; 0: unlimited.",
                &[],
            ),
            bytes: make.gauge(
                "reknit_limit_bytes_per_second",
                "limits.bytes_per_second as it holds now; 0: unlimited.",
                &[],
            ),
            intensity: make.gauge(
                "reknit_limit_intensity_ratio",
                "limits.intensity as it holds now.",
                &[],
            ),
        }
    }
}
