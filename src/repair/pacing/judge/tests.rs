//! What a node's health means, look by look.

use super::*;
use crate::model::Millis;

const MEBIBYTE: u64 = 1 << 20;

fn well() -> Health {
    Health::well(Millis(0))
}

fn late(latency: Duration) -> Health {
    Health { latency, ..well() }
}

fn looks(judge: &mut Judge, health: &Health, times: usize) -> Verdict {
    (0..times).fold(Verdict::WELL, |_, _| judge.look(Some(health)))
}

#[test]
fn a_node_that_gets_slow_is_worked_on_less_step_by_step_and_more_again_when_it_recovers() {
    let mut judge = Judge::default();
    assert_eq!(looks(&mut judge, &well(), 5), Verdict::WELL);
    let slow = late(Duration::from_millis(30));
    let mut shares = vec![1.0];
    for _ in 0..20 {
        shares.push(judge.look(Some(&slow)).share);
    }
    assert!(shares.is_sorted_by(|one, next| one >= next), "{shares:?}");
    assert!(
        shares[3] < 1.0 && shares[3] > 0.4,
        "not at a blow: {shares:?}"
    );
    assert_eq!(shares.last(), Some(&LEAST_SHARE));
    let verdict = judge.look(Some(&slow));
    assert_eq!(
        (verdict.hold, verdict.reason()),
        (None, Some(Reason::Latency))
    );
    let half = looks(&mut judge, &well(), 6).share;
    assert!(half > LEAST_SHARE && half < 1.0, "{half}");
    assert_eq!(looks(&mut judge, &well(), 30), Verdict::WELL);
}

#[test]
fn one_late_answer_and_what_our_own_pipelines_cost_are_no_slowness() {
    let mut judge = Judge::default();
    looks(&mut judge, &well(), 5);
    judge.look(Some(&late(Duration::from_secs(1))));
    assert_eq!(judge.look(Some(&well())), Verdict::WELL);
    let busy = late(Duration::from_millis(5));
    assert_eq!(looks(&mut judge, &busy, 60), Verdict::WELL);
}

#[test]
fn a_node_far_away_is_slow_at_twice_its_latency_and_a_lasting_change_is_accepted() {
    let (far, further) = (Duration::from_millis(80), Duration::from_millis(200));
    let mut judge = Judge::default();
    looks(&mut judge, &late(far), 5);
    assert_eq!(looks(&mut judge, &late(far + far / 2), 9), Verdict::WELL);
    assert!(looks(&mut judge, &late(further), 5).share < 1.0);
    assert_eq!(looks(&mut judge, &late(further), 2_000), Verdict::WELL);
    let baseline = judge.baseline().expect("it was looked at");
    assert!(baseline > far, "{baseline:?}");
}

fn with(change: fn(&mut Health)) -> Health {
    let mut health = well();
    change(&mut health);
    health
}

/// A server with so many mebibytes in use of so many.
fn filled(used: u64, most: u64) -> Health {
    Health {
        used_memory: used * MEBIBYTE,
        max_memory: most * MEBIBYTE,
        ..well()
    }
}

/// A server of so many mebibytes that saves while so many are written.
fn saves(used: u64, copied: u64) -> Health {
    Health {
        saving: true,
        copied_on_write: copied * MEBIBYTE,
        ..filled(used, 0)
    }
}

fn follower() -> Health {
    Health {
        role: Role::ReplicaOf("10.0.0.9:6379".into()),
        ..well()
    }
}

#[test]
fn each_state_of_a_node_is_waited_for_by_its_name() {
    let cache = Health {
        evicts: true,
        ..filled(100, 100)
    };
    let table = [
        (well(), None),
        (with(|node| node.loading = true), Some(Reason::Loading)),
        (
            with(|node| node.link_down = true),
            Some(Reason::FailingOver),
        ),
        (
            with(|node| node.handing_over = true),
            Some(Reason::FailingOver),
        ),
        (follower(), Some(Reason::FailingOver)),
        (saves(300, 80), Some(Reason::Saving)),
        (saves(900, 80), None),
        (saves(10, 9), None),
        (filled(97, 100), Some(Reason::Memory)),
        (filled(90, 100), None),
        (cache, None),
    ];
    for (health, reason) in table {
        let mut judge = Judge::default();
        judge.look(Some(&well()));
        assert_eq!(judge.look(Some(&health)).hold, reason, "{health:?}");
        assert_eq!(judge.look(Some(&well())).hold, None);
    }
}

#[test]
fn a_replica_of_another_that_was_one_from_the_start_is_not_failing_over() {
    assert_eq!(looks(&mut Judge::default(), &follower(), 9), Verdict::WELL);
}

#[test]
fn what_lasts_is_waited_for_up_to_a_bound_and_again_when_it_comes_back() {
    let mut judge = Judge::default();
    judge.look(Some(&well()));
    for _ in 0..longest(Reason::Unseen) {
        assert_eq!(judge.look(None).hold, Some(Reason::Unseen));
    }
    assert_eq!(judge.look(None).hold, None, "the next read decides");
    judge.look(Some(&well()));
    assert_eq!(judge.look(None).hold, Some(Reason::Unseen));
}
