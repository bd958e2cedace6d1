//! Tells people and the service manager what they have to know.
//!
//! ```text
//! a run's outcome, overdue schedules ─▶ events ─▶ webhook
//! ready, reload, status, heartbeat ─▶ systemd
//! ```

use std::collections::BTreeSet;

use crate::config::{ConfigError, EventKind, Notifications};
use crate::model::Millis;
use crate::repair::Summary;

use super::board::{Card, RunState, StopReason};
use super::executor::Outcome;
use super::planner::ScheduleStatus;
use super::webhook::{Event, Webhook};

/// Tells people.
#[derive(Default)]
pub struct Herald {
    webhook: Option<Webhook>,
    /// Schedules that were overdue when it last looked.
    overdue: BTreeSet<String>,
}

impl Herald {
    /// Whoever the configuration names is told.
    ///
    /// # Errors
    /// When the secret cannot be read.
    pub fn new(notifications: &Notifications) -> Result<Self, ConfigError> {
        let webhook = notifications.webhook.as_ref().map(Webhook::start);
        Ok(Self {
            webhook: webhook.transpose()?,
            overdue: BTreeSet::new(),
        })
    }

    /// Others are told from now on; what waits for those before is still brought.
    ///
    /// # Errors
    /// When the secret cannot be read; then all stays as it was.
    pub fn replace(&mut self, notifications: &Notifications) -> Result<(), ConfigError> {
        let replaced = Self::new(notifications)?.webhook;
        if let Some(before) = std::mem::replace(&mut self.webhook, replaced) {
            // It blocks as long as the last attempts take.
            tokio::task::spawn_blocking(move || before.stop());
        }
        Ok(())
    }

    /// The way to whoever is told.
    pub fn webhook(&self) -> Option<&Webhook> {
        self.webhook.as_ref()
    }

    /// Tells how a run ended, if somebody has to look at it.
    pub fn ended(&self, card: &Card, outcome: &Outcome, now: Millis) {
        let stopping = card.standing().stopping;
        for (kind, message) in events(outcome, stopping) {
            self.tell(Event {
                kind,
                at: now,
                schedule: card.order.schedule.clone(),
                run: Some(card.id.to_string()),
                message,
            });
        }
    }

    /// Tells of a run that was due and could not begin.
    pub fn not_begun(&self, card: &Card, why: &str, now: Millis) {
        self.tell(Event {
            kind: EventKind::Failed,
            at: now,
            schedule: card.order.schedule.clone(),
            run: Some(card.id.to_string()),
            message: format!("the run could not begin: {why}"),
        });
    }

    /// Tells of schedules that became overdue since it last looked.
    pub fn look(&mut self, schedules: &[ScheduleStatus], now: Millis) {
        let overdue = schedules.iter().filter(|one| one.overdue);
        let overdue: BTreeSet<String> = overdue.map(|one| one.name.clone()).collect();
        for name in overdue.difference(&self.overdue) {
            tracing::warn!("schedule {name} is overdue: no run of it has fully succeeded in time");
            self.tell(Event {
                kind: EventKind::Overdue,
                at: now,
                schedule: Some(name.clone()),
                run: None,
                message: "no run of this schedule has fully succeeded in time".into(),
            });
        }
        self.overdue = overdue;
    }

    fn tell(&self, event: Event) {
        if let Some(webhook) = &self.webhook {
            webhook.send(event);
        }
    }

    /// Ends it: what waits gets a last attempt.
    pub async fn stop(self) {
        if let Some(webhook) = self.webhook {
            // A thread of the runtime that is waited for, and not the loop: this blocks.
            let _ = tokio::task::spawn_blocking(move || webhook.stop()).await;
        }
    }
}

/// What people have to know of a run.
fn events(outcome: &Outcome, stopping: Option<StopReason>) -> Vec<(EventKind, String)> {
    let words = outcome.trouble.clone().unwrap_or_default();
    let mut events = Vec::new();
    match outcome.state {
        RunState::Failed => events.push((EventKind::Failed, words)),
        RunState::Partial => events.push((EventKind::Partial, words)),
        RunState::Stopped if stopping.is_none() => events.push((EventKind::GuardTripped, words)),
        RunState::Stopped if stopping == Some(StopReason::Deadline) => {
            events.push((EventKind::Partial, words));
        }
        _ => {}
    }
    let conflicts = outcome.summary.as_ref().map_or(0, conflicts);
    if conflicts > 0 {
        let message =
            format!("{conflicts} keys differ and no rule decides them: they are left to you");
        events.push((EventKind::ConflictReport, message));
    }
    events
}

/// Keys that no rule decides.
fn conflicts(summary: &Summary) -> u64 {
    summary.verdict("unresolved")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Exit;

    fn outcome(state: RunState) -> Outcome {
        Outcome {
            state,
            exit: Exit::Stopped,
            summary: None,
            trouble: Some("why".into()),
        }
    }

    #[test]
    fn people_are_told_of_what_they_have_to_look_at() {
        let told = |state, stopping| {
            let events = events(&outcome(state), stopping);
            events.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>()
        };
        assert_eq!(told(RunState::Failed, None), [EventKind::Failed]);
        assert_eq!(told(RunState::Partial, None), [EventKind::Partial]);
        assert_eq!(told(RunState::Stopped, None), [EventKind::GuardTripped]);
        let deadline = Some(StopReason::Deadline);
        assert_eq!(told(RunState::Stopped, deadline), [EventKind::Partial]);
        assert_eq!(told(RunState::Done, None), []);
        for stopping in [
            StopReason::Cancelled,
            StopReason::Window,
            StopReason::Shutdown,
        ] {
            assert_eq!(told(RunState::Stopped, Some(stopping)), [], "{stopping:?}");
        }
    }

    #[test]
    fn conflicts_are_reported_whatever_else_a_run_came_to() {
        let mut summary = Summary::new(Millis(0), vec![]);
        summary.verdicts.insert("unresolved", 3);
        let done = Outcome {
            summary: Some(summary),
            ..outcome(RunState::Done)
        };
        let told = events(&done, None);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, EventKind::ConflictReport);
        assert!(told[0].1.starts_with("3 keys"), "{}", told[0].1);
    }
}
