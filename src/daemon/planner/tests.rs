//! The planner step by step; `week` lets it run.

use std::path::Path;

use super::*;
use crate::config::Config;

/// Schedules as an operator writes them.
pub(super) fn schedules(text: &str) -> Vec<Schedule> {
    let yaml = format!(
        "replicas: [{{ name: a, url: redis://a }}, {{ name: b, url: redis://b }}]\nschedules:\n{text}\n"
    );
    let config = Config::from_yaml(&yaml, Path::new("reknit.yaml"), None);
    config.unwrap_or_else(|error| panic!("{error}")).schedules
}

/// A time of 2026-03, UTC: day, hour, minute.
fn at(day: i64, hour: i64, minute: i64) -> Millis {
    const MARCH: i64 = 1_772_323_200_000;
    Millis(MARCH + (((day - 1) * 24 + hour) * 60 + minute) * 60_000)
}

fn planner(text: &str, now: Millis) -> Planner {
    Planner::new(&schedules(text), &PlannerMemory::default(), now, 1)
}

fn start(schedule: &str, due: Millis) -> Step {
    Step::Start(Start {
        schedule: schedule.into(),
        due,
        resumes: false,
    })
}

fn wait(until: Millis) -> Step {
    Step::Wait { until: Some(until) }
}

/// Does what the step says, if it is a start.
fn go(planner: &mut Planner, now: Millis) -> Start {
    match planner.step(now) {
        Step::Start(start) => {
            planner.started(&start, now);
            start
        }
        other => panic!("nothing to start: {other:?}"),
    }
}

#[test]
fn a_run_starts_when_it_is_due_and_not_twice() {
    let mut planner = planner("- { name: n, cron: \"0 2 * * *\" }", at(1, 0, 0));
    assert_eq!(planner.step(at(1, 0, 0)), wait(at(1, 2, 0)));
    assert_eq!(planner.step(at(1, 2, 0)), start("n", at(1, 2, 0)));
    go(&mut planner, at(1, 2, 0));
    assert_eq!(planner.step(at(1, 2, 1)), Step::Wait { until: None });
    planner.ended(Outcome::Done, at(1, 3, 0));
    assert_eq!(planner.step(at(1, 3, 0)), wait(at(2, 2, 0)));
}
