//! The engine of stories: a real run, by a clock that stands still.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reknit::app::exit_of;
use reknit::model::{Key, Millis, Selection};
use reknit::repair::{
    Change, Fate, Finding, Listener, Mode, Run as Repair, Scope, Summary, Verdict, run,
};

use crate::support::run::run_over;

use super::world::{Engine, Report, Run};

/// The exit code of a run that came to nothing.
const TROUBLE: u8 = 2;

/// Runs without a memory, without limits and without a pause between the two reads.
pub(crate) struct RealRun;

#[async_trait(?Send)]
impl Engine for RealRun {
    async fn diff(&self, story: &Run) -> Report {
        report(story, Mode::Diff).await
    }

    async fn repair(&self, story: &Run) -> Report {
        report(story, Mode::Repair).await
    }
}

async fn report(story: &Run, mode: Mode) -> Report {
    let mut words = Words::default();
    match run(&prepared(story, mode).await, &mut words).await {
        Ok(summary) => Report {
            keys: words.0,
            notes: notes(&summary),
            exit: exit_of(&summary, mode).code(),
        },
        Err(error) => Report {
            keys: words.0,
            notes: vec![error.to_string()],
            exit: TROUBLE,
        },
    }
}

async fn prepared(story: &Run, mode: Mode) -> Repair {
    let mut run = run_over(story.replicas.iter().cloned(), mode, now(story).await);
    run.scope = Scope::new(story.keyspaces.clone(), Selection::default());
    run
}

/// The time at the first replica that is reached.
async fn now(story: &Run) -> Millis {
    for replica in &story.replicas {
        if let Ok(now) = replica.now().await {
            return now;
        }
    }
    Millis(0)
}

/// What a run says that is not about one key.
fn notes(summary: &Summary) -> Vec<String> {
    let lost = summary.replicas.iter().filter(|one| one.lost.is_some());
    let lost = lost.map(|one| format!("{} took no part", one.name));
    let counts = [
        ("about to expire", summary.expiring),
        ("in flight", summary.in_flight),
    ];
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    lost.chain(counts.map(|(what, count)| format!("{count} {what}")))
        .collect()
}

/// Findings in the words of a story.
#[derive(Default)]
struct Words(BTreeMap<Key, String>);

impl Listener for Words {
    fn finding(&mut self, finding: &Finding) {
        let known = self.0.insert(finding.key.clone(), words(finding));
        assert!(known.is_none(), "{} was decided twice", finding.key);
    }
}

fn words(finding: &Finding) -> String {
    let applied = |change: &&Change| change.fate == Fate::Applied;
    let written = finding.changes.iter().filter(applied);
    let written = written.map(|change| &*change.replica.0);
    let written: Vec<&str> = written.collect();
    let written = match written[..] {
        [] => None,
        _ => Some(format!("wrote {}", written.join(" "))),
    };
    let left = match &finding.verdict {
        Verdict::Diverged => Some("differs".into()),
        Verdict::Repaired => None,
        Verdict::Unresolved(reason) => Some(format!("left: {reason}")),
        other => {
            let reason = other.reason().unwrap_or_default();
            Some(format!("{}: {reason}", other.name()))
        }
    };
    let parts: Vec<String> = written.into_iter().chain(left).collect();
    parts.join("; ")
}
