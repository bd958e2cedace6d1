//! The planner step by step; `week` lets it run.

use std::path::Path;

use super::*;
use crate::config::Config;

mod week;

/// Schedules as an operator writes them.
pub(in crate::daemon) fn schedules(text: &str) -> Vec<Schedule> {
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

#[test]
fn missed_runs_are_made_up_by_one() {
    let text = "- { name: n, cron: \"0 2 * * *\" }";
    let mut before = planner(text, at(1, 0, 0));
    go(&mut before, at(1, 2, 0));
    before.ended(Outcome::Done, at(1, 3, 0));
    // Ten days of downtime.
    let mut planner = Planner::new(&schedules(text), &before.memory(), at(11, 12, 0), 1);
    assert_eq!(planner.step(at(11, 12, 0)), start("n", at(11, 2, 0)));
    go(&mut planner, at(11, 12, 0));
    planner.ended(Outcome::Done, at(11, 13, 0));
    assert_eq!(planner.step(at(11, 13, 0)), wait(at(12, 2, 0)));
}

#[test]
fn what_became_due_during_a_run_is_made_up_after_it() {
    let mut planner = planner("- { name: n, every: 1h }", at(1, 0, 0));
    assert_eq!(go(&mut planner, at(1, 0, 0)).due, at(1, 0, 0));
    planner.ended(Outcome::Failed, at(1, 3, 30));
    assert_eq!(go(&mut planner, at(1, 3, 30)).due, at(1, 3, 0));
    planner.ended(Outcome::Done, at(1, 3, 45));
    assert_eq!(planner.step(at(1, 3, 45)), wait(at(1, 4, 0)), "no drift");
}

#[test]
fn a_run_rests_when_its_window_closes_and_goes_on_when_it_opens() {
    let text = "- { name: n, cron: \"0 2 * * *\", window: \"01:00-06:00\" }";
    let mut planner = planner(text, at(1, 0, 0));
    let run = go(&mut planner, at(1, 2, 0));
    assert_eq!(planner.step(at(1, 5, 59)), wait(at(1, 6, 0)));
    let stop = Step::Stop {
        schedule: "n".into(),
        why: StopReason::WindowClosed,
    };
    assert_eq!(planner.step(at(1, 6, 0)), stop);
    planner.ended(Outcome::Closed, at(1, 6, 0));
    assert_eq!(planner.step(at(1, 6, 0)), wait(at(2, 1, 0)));
    let more = go(&mut planner, at(2, 1, 0));
    assert_eq!((more.due, more.resumes), (run.due, true));
    planner.ended(Outcome::Done, at(2, 4, 0));
    // What became due meanwhile is served too.
    assert_eq!(planner.step(at(2, 4, 0)), start("n", at(2, 2, 0)));
}

#[test]
fn a_run_that_is_due_outside_its_window_waits_for_it() {
    let text = "- { name: n, cron: \"0 0 * * *\", window: \"01:00-06:00\" }";
    let planner = planner(text, at(1, 12, 0));
    assert_eq!(planner.step(at(2, 0, 30)), wait(at(2, 1, 0)));
    assert_eq!(planner.step(at(2, 1, 0)), start("n", at(2, 0, 0)));
}

#[test]
fn a_deadline_counts_work_and_not_rest() {
    let text = "- { name: n, cron: \"0 4 * * *\", window: \"01:00-06:00\", deadline: 3h }";
    let mut planner = planner(text, at(1, 0, 0));
    go(&mut planner, at(1, 4, 0));
    planner.ended(Outcome::Closed, at(1, 6, 0));
    go(&mut planner, at(2, 1, 0));
    assert_eq!(planner.step(at(2, 1, 59)), wait(at(2, 2, 0)));
    let stop = Step::Stop {
        schedule: "n".into(),
        why: StopReason::Deadline,
    };
    assert_eq!(planner.step(at(2, 2, 0)), stop);
    planner.ended(Outcome::Deadline, at(2, 2, 0));
    assert_eq!(planner.step(at(2, 2, 0)), wait(at(2, 4, 0)));
    assert_eq!(planner.memory().schedules["n"].last_success, None);
}

#[test]
fn one_run_at_a_time_and_the_longest_due_first() {
    let text = "- { name: late, cron: \"30 1 * * *\" }\n- { name: early, cron: \"0 1 * * *\" }";
    let mut planner = planner(text, at(1, 0, 0));
    assert_eq!(go(&mut planner, at(1, 2, 0)).schedule, "early");
    assert_eq!(planner.step(at(1, 3, 0)), Step::Wait { until: None });
    planner.ended(Outcome::Done, at(1, 4, 0));
    assert_eq!(go(&mut planner, at(1, 4, 0)).schedule, "late");
}

#[test]
#[should_panic(expected = "one run at a time")]
fn a_second_run_at_a_time_is_our_own_mistake() {
    let mut planner = planner("- { name: n, every: 1h }", at(1, 0, 0));
    let run = go(&mut planner, at(1, 0, 0));
    planner.started(&run, at(1, 0, 1));
}

#[test]
fn what_an_operator_asks_for_comes_first_serves_what_is_due_and_keeps_to_the_window() {
    let text =
        "- { name: a, every: 1h }\n- { name: b, cron: \"0 2 * * *\", window: \"01:00-06:00\" }";
    let mut planner = planner(text, at(1, 0, 0));
    assert!(planner.pause("b", true) && planner.run_now("b", at(1, 0, 30)));
    assert!(!planner.run_now("c", at(1, 0, 30)) && !planner.pause("c", true));
    assert_eq!(
        go(&mut planner, at(1, 0, 30)).schedule,
        "a",
        "b is not open"
    );
    planner.ended(Outcome::Done, at(1, 2, 30));
    let run = go(&mut planner, at(1, 2, 30));
    assert_eq!((run.schedule.as_str(), run.due), ("b", at(1, 2, 0)));
    planner.ended(Outcome::Done, at(1, 2, 40));
    planner.pause("b", false);
    assert_eq!(go(&mut planner, at(1, 2, 40)).schedule, "a");
    planner.ended(Outcome::Done, at(1, 2, 50));
    assert_eq!(
        planner.step(at(1, 2, 50)),
        wait(at(1, 3, 0)),
        "b was served"
    );
}

#[test]
fn a_paused_schedule_rests_also_in_the_middle_of_a_run() {
    let text = "- { name: n, every: 1h, window: \"00:00-01:00\" }";
    let mut planner = planner(text, at(1, 0, 0));
    go(&mut planner, at(1, 0, 0));
    planner.ended(Outcome::Closed, at(1, 1, 0));
    planner.pause("n", true);
    assert_eq!(planner.step(at(2, 0, 0)), Step::Wait { until: None });
    assert!(
        planner.status(at(2, 0, 0))[0].overdue,
        "a pause hides nothing"
    );
    planner.pause("n", false);
    assert!(go(&mut planner, at(2, 0, 0)).resumes);
}

#[test]
fn a_run_that_was_cut_off_goes_on_after_a_restart() {
    let text = "- { name: n, cron: \"0 2 * * *\", deadline: 2h }";
    let mut before = planner(text, at(1, 0, 0));
    go(&mut before, at(1, 2, 0));
    assert_eq!(before.works_as(7), None);
    let kept = serde_json::to_string(&before.memory()).unwrap();
    let memory: PlannerMemory = serde_json::from_str(&kept).unwrap();
    assert_eq!(memory, before.memory());
    let mut planner = Planner::new(&schedules(text), &memory, at(1, 9, 0), 1);
    let run = go(&mut planner, at(1, 9, 0));
    assert_eq!((run.due, run.resumes), (at(1, 2, 0), true));
    assert_eq!(planner.works_as(8), Some(7));
    assert_eq!(
        planner.running(),
        Some(("n", Some(at(1, 11, 0)))),
        "downtime is no work"
    );
}

#[test]
fn a_reload_keeps_what_is_known_and_the_run_under_way() {
    let mut planner = planner(
        "- { name: n, every: 1h }\n- { name: gone, every: 2h }",
        at(1, 0, 0),
    );
    go(&mut planner, at(1, 0, 0));
    planner.reload(
        &schedules("- { name: n, every: 1h, deadline: 2h }"),
        at(1, 0, 30),
    );
    assert_eq!(planner.running(), Some(("n", Some(at(1, 2, 0)))));
    planner.ended(Outcome::Done, at(1, 0, 40));
    assert_eq!(planner.step(at(1, 0, 40)), wait(at(1, 1, 0)));
    assert!(!planner.memory().schedules.contains_key("gone"));
    // The schedule of a run under way is removed: the run ends as it is.
    go(&mut planner, at(1, 1, 0));
    planner.reload(&[], at(1, 1, 10));
    assert_eq!(planner.running(), Some(("n", Some(at(1, 3, 0)))));
    planner.ended(Outcome::Done, at(1, 1, 20));
    assert_eq!(planner.step(at(1, 1, 20)), Step::Wait { until: None });
}

#[test]
fn a_clock_that_was_ahead_silences_nothing() {
    let text = "- { name: n, cron: \"0 2 * * *\" }";
    let mut before = planner(text, Millis(at(1, 0, 0).0 + 50 * 365 * 86_400_000));
    let far = Millis(at(1, 12, 0).0 + 50 * 365 * 86_400_000);
    before.run_now("n", far);
    go(&mut before, far);
    before.ended(Outcome::Done, far);
    let planner = Planner::new(&schedules(text), &before.memory(), at(1, 0, 0), 1);
    assert_eq!(planner.step(at(1, 2, 0)), start("n", at(1, 2, 0)));
    assert!(planner.status(at(3, 2, 0))[0].overdue);
}

#[test]
fn the_status_says_when_the_next_run_is() {
    let text = "- { name: n, cron: \"0 0 * * *\", window: \"01:00-06:00\" }";
    let mut planner = planner(text, at(1, 12, 0));
    let status = &planner.status(at(1, 12, 0))[0];
    assert_eq!(status.next_run, Some(at(2, 1, 0)));
    assert_eq!(
        (status.open, status.running, status.overdue),
        (false, false, false)
    );
    go(&mut planner, at(2, 1, 0));
    let status = &planner.status(at(2, 2, 0))[0];
    assert_eq!(status.next_run, Some(at(3, 1, 0)));
    assert_eq!((status.open, status.running), (true, true));
    planner.ended(Outcome::Done, at(2, 3, 0));
    planner.pause("n", true);
    assert_eq!(planner.status(at(2, 3, 0))[0].next_run, None);
}

#[test]
fn what_an_operator_asked_for_is_taken_back() {
    let text = "- { name: n, cron: \"0 2 * * *\", window: \"01:00-06:00\" }";
    let mut planner = planner(text, at(1, 12, 0));
    assert_eq!(planner.withdraw("n"), Some(false));
    assert!(planner.run_now("n", at(1, 12, 0)));
    assert_eq!(planner.withdraw("n"), Some(true));
    assert_eq!(planner.step(at(2, 1, 0)), wait(at(2, 2, 0)));
    assert_eq!(planner.withdraw("nobody"), None);
}

#[test]
fn a_run_that_was_paused_is_paused_when_it_is_taken_up_until_it_is_resumed() {
    let text = "- { name: n, cron: \"0 2 * * *\" }";
    let mut before = planner(text, at(1, 0, 0));
    go(&mut before, at(1, 2, 0));
    assert!(!before.is_run_paused());
    before.pause_run(true);
    let mut after = Planner::new(&schedules(text), &before.memory(), at(1, 3, 0), 1);
    assert!(go(&mut after, at(1, 3, 0)).resumes);
    assert!(after.is_run_paused());
    after.pause_run(false);
    assert!(!after.is_run_paused());
    after.pause_run(true);
    after.ended(Outcome::Stopped, at(1, 4, 0));
    go(&mut after, at(2, 2, 0));
    assert!(!after.is_run_paused());
}

#[test]
fn a_paused_schedule_comes_back_paused_and_a_resumed_one_does_not() {
    let (both, one) = (
        "- { name: a, every: 1h }\n- { name: b, every: 1h }",
        "- { name: b, every: 1h }",
    );
    let mut planner = planner(both, at(1, 0, 0));
    assert!(planner.pause("a", true));
    planner.reload(&schedules(one), at(1, 1, 0));
    let mut after = Planner::new(&schedules(one), &planner.memory(), at(1, 2, 0), 1);
    after.reload(&schedules(both), at(1, 3, 0));
    assert!(after.status(at(1, 3, 0))[0].memory.paused);
    assert!(after.memory().paused.is_empty());
    assert!(after.pause("a", false));
    after.reload(&schedules(one), at(1, 4, 0));
    after.reload(&schedules(both), at(1, 5, 0));
    assert!(!after.status(at(1, 5, 0))[0].memory.paused);
}
