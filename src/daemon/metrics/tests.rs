use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::fixture::finding;
use super::*;
use crate::config::Config;
use crate::daemon::desk::{Desk, ScheduleView};
use crate::daemon::order::Order;
use crate::daemon::planner::{Planner, PlannerMemory};
use crate::model::{DbIndex, KeyspaceName, Kind, Selection};
use crate::repair::{Destruction, Fate, Summary, Tally, Tripped};

const NOW: Millis = Millis(1_700_000_000_000);

fn config(schedules: &str, third: &str) -> Arc<Config> {
    let yaml = format!(
        "replicas:\n- {{ name: us, url: redis://127.0.0.1:1 }}\n- {{ name: eu, url: redis://127.0.0.1:2 }}\n\
         {third}state: none\nschedules: [{schedules}]\n"
    );
    Arc::new(Config::from_yaml(&yaml, Path::new("test.yaml"), None).unwrap())
}

/// A desk that shows the schedules of a configuration.
fn show(desk: &Desk, config: &Arc<Config>) {
    let planner = Planner::new(&config.schedules, &PlannerMemory::default(), NOW, 0);
    let view = |status| ScheduleView {
        due: String::new(),
        keyspaces: Vec::new(),
        status,
    };
    desk.set_config(config.clone());
    desk.show_schedules(planner.status(NOW).into_iter().map(view).collect());
}

fn desk(config: &Arc<Config>) -> Arc<Desk> {
    let (desk, _commands) = Desk::new(config.clone(), None, NOW);
    show(&desk, config);
    desk
}

fn series(desk: &Desk) -> BTreeSet<String> {
    let text = desk.metrics.text(desk, NOW).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn shows(desk: &Desk, expected: &[&str]) {
    let series = series(desk);
    for one in expected {
        assert!(series.contains(*one), "{one}: {series:#?}");
    }
}

fn about(desk: &Desk, what: &str) -> Vec<String> {
    let series = series(desk).into_iter();
    series
        .filter(|one| !one.starts_with('#') && one.contains(what))
        .collect()
}

fn replicas() -> Vec<(ReplicaName, Datacenter)> {
    let replica = |name: &str| (ReplicaName(name.into()), Datacenter(name.into()));
    ["us", "eu"].map(replica).to_vec()
}

fn card(id: u64) -> Arc<Card> {
    let selection = Selection::of(vec![KeyspaceName("default".into())]);
    let order = Order::scheduled("nightly", selection, false);
    Arc::new(Card::new(id, order, NOW, replicas()))
}

const NIGHTLY: &str = "{ name: nightly, every: 1h }";

#[test]
fn what_is_gone_leaves_no_series() {
    let ap = "- { name: ap, url: redis://127.0.0.1:3 }\n";
    let desk = desk(&config(NIGHTLY, ap));
    assert!(!about(&desk, "nightly").is_empty());
    assert!(!about(&desk, "replica=\"ap\"").is_empty());
    show(&desk, &config("{ name: other, every: 1h }", ""));
    assert_eq!(about(&desk, "nightly"), Vec::<String>::new());
    assert_eq!(about(&desk, "ap\""), Vec::<String>::new());
    assert!(!about(&desk, "schedule=\"other\"").is_empty());
}

#[test]
fn a_run_shows_while_it_works_and_counts_when_it_ended() {
    let desk = desk(&config(NIGHTLY, ""));
    assert_eq!(
        about(&desk, "reknit_run_progress_ratio"),
        Vec::<String>::new()
    );
    let run = card(1);
    desk.put_up(run.clone());
    run.begin();
    shows(
        &desk,
        &[
            "reknit_run_state{state=\"running\"} 1",
            "reknit_run_state{state=\"idle\"} 0",
            "reknit_run_progress_ratio{schedule=\"nightly\"} 0",
        ],
    );
    let mut summary = Summary::new(NOW, replicas().into_iter().map(|one| one.0).collect());
    (summary.in_flight, summary.expiring) = (4, 2);
    summary.replicas[1].lost = Some("connection refused".into());
    run.came_to(&summary);
    run.end(RunState::Partial, None, Millis(NOW.0 + 90_000));
    desk.metrics.ended(&run, Some(planner::Outcome::Partial));
    shows(
        &desk,
        &[
            "reknit_run_state{state=\"idle\"} 1",
            "reknit_runs_total{schedule=\"nightly\",state=\"partial\"} 1",
            "reknit_run_duration_seconds_sum 90",
            "reknit_schedule_incomplete_runs{schedule=\"nightly\"} 1",
            "reknit_candidates_total{outcome=\"in_flight\"} 4",
            "reknit_candidates_total{outcome=\"expiring\"} 2",
            "reknit_node_up{datacenter=\"eu\",replica=\"eu\"} 0",
            "reknit_node_up{datacenter=\"us\",replica=\"us\"} 1",
        ],
    );
    assert_eq!(
        about(&desk, "reknit_run_progress_ratio"),
        Vec::<String>::new()
    );
}

#[test]
fn a_guard_that_stops_a_run_is_counted() {
    let desk = desk(&config(NIGHTLY, ""));
    let run = card(1);
    desk.put_up(run.clone());
    let mut summary = Summary::new(NOW, replicas().into_iter().map(|one| one.0).collect());
    summary.tripped.push(Tripped {
        replica: ReplicaName("eu".into()),
        what: Destruction::Delete,
        keys: 500,
        held: 1000,
        limit: 100,
    });
    let of_strings = Tally {
        keys: 1000,
        left: 500,
        ..Tally::default()
    };
    let place = (DbIndex(0), KeyspaceName("default".into()));
    let tallies = [(Some(Kind::String), of_strings)].into();
    summary.tallies.insert(place, tallies);
    run.came_to(&summary);
    run.end(RunState::Stopped, None, NOW);
    desk.metrics.ended(&run, Some(planner::Outcome::Failed));
    shows(
        &desk,
        &[
            "reknit_guard_trips_total{datacenter=\"eu\",guard=\"delete\",replica=\"eu\"} 1",
            "reknit_guard_trips_total{datacenter=\"eu\",guard=\"overwrite\",replica=\"eu\"} 0",
            "reknit_keyspace_divergent_keys{keyspace=\"default\"} 500",
        ],
    );
}

#[test]
fn findings_are_counted_by_what_they_are_and_what_became_of_them() {
    let desk = desk(&config(NIGHTLY, ""));
    let mut removed = finding(1, Verdict::Repaired);
    removed.changes[0].ops = vec!["remove the key".into()];
    desk.metrics.finding(&removed, &replicas());
    let mut refused = finding(1, Verdict::Superseded);
    desk.metrics.finding(&refused, &replicas());
    refused.changes[0].fate = Fate::Superseded;
    desk.metrics.finding(&refused, &replicas());
    shows(
        &desk,
        &[
            "reknit_divergences_total{keyspace=\"default\",kind=\"stale\"} 3",
            "reknit_candidates_total{outcome=\"confirmed\"} 3",
            "reknit_repaired_keys_total{evidence=\"agreed\",rule=\"lww\",type=\"string\"} 1",
            "reknit_repaired_keys_total{evidence=\"none\",rule=\"lww\",type=\"string\"} 0",
            "reknit_deletes_propagated_total{datacenter=\"us\",replica=\"us\"} 1",
            "reknit_deletes_propagated_total{datacenter=\"eu\",replica=\"eu\"} 0",
            "reknit_superseded_keys_total{keyspace=\"default\"} 2",
            "reknit_verify_residue_total{verdict=\"superseded\"} 1",
        ],
    );
}
