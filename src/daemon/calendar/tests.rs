//! Due times and windows through daylight saving, leap days and midnights.

use proptest::prelude::*;

use super::*;
use crate::daemon::planner::tests::schedules;

/// The schedule `n` with these keys, known since 2020.
fn timetable(keys: &str) -> Timetable {
    Timetable::new(
        &schedules(&format!("- {{ name: n, {keys} }}"))[0],
        utc("2020-01-01 00:00"),
    )
}

fn utc(text: &str) -> Millis {
    let parse = |format| NaiveDateTime::parse_from_str(text, format);
    let found = parse("%Y-%m-%d %H:%M").or_else(|_| parse("%Y-%m-%d %H:%M:%S"));
    let found = found.unwrap_or_else(|error| panic!("{text}: {error}"));
    Millis(found.and_utc().timestamp_millis())
}

fn shown(at: Millis) -> String {
    let at = DateTime::from_timestamp_millis(at.0).unwrap();
    at.naive_utc().to_string()[..16].to_owned()
}

/// The next due times, in UTC.
fn dues(keys: &str, after: &str, count: usize) -> Vec<String> {
    let table = timetable(keys);
    let dues = std::iter::successors(Some(utc(after)), |last| Some(table.due_after(*last)));
    dues.skip(1).take(count).map(shown).collect()
}

/// The last due time by its definition: nothing lies between it and the time that was asked for.
fn assert_last(keys: &str, until: &str) {
    let table = timetable(keys);
    let until = utc(until);
    let last = table.last_due_time(until).unwrap();
    assert!(last <= until, "{keys}: {}", shown(last));
    assert!(table.due_after(last) > until, "{keys}: {}", shown(until));
    assert_eq!(
        table.due_after(Millis(last.0 - 1)),
        last,
        "{keys}: {}",
        shown(until)
    );
}

#[test]
fn a_time_that_does_not_exist_is_taken_at_the_next_one_that_does() {
    let berlin = "cron: \"30 2 * * *\", timezone: Europe/Berlin";
    assert_eq!(
        dues(berlin, "2026-03-28 00:00", 3),
        ["2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"]
    );
    let new_york = "cron: \"30 2 * * *\", timezone: America/New_York";
    assert_eq!(
        dues(new_york, "2026-03-07 00:00", 3),
        ["2026-03-07 07:30", "2026-03-08 07:00", "2026-03-09 06:30"]
    );
}

#[test]
fn several_times_that_do_not_exist_are_taken_once() {
    let berlin = "cron: \"0,20,40 2,3 * * *\", timezone: Europe/Berlin";
    assert_eq!(
        dues(berlin, "2026-03-29 00:00", 4),
        [
            "2026-03-29 01:00",
            "2026-03-29 01:20",
            "2026-03-29 01:40",
            "2026-03-30 00:00"
        ]
    );
}

#[test]
fn a_time_that_exists_twice_is_taken_once() {
    let berlin = "cron: \"30 2 * * *\", timezone: Europe/Berlin";
    assert_eq!(
        dues(berlin, "2026-10-24 12:00", 2),
        ["2026-10-25 00:30", "2026-10-26 01:30"]
    );
    // Asked between its two passes, and after both.
    assert_eq!(dues(berlin, "2026-10-25 00:45", 1), ["2026-10-26 01:30"]);
    assert_eq!(dues(berlin, "2026-10-25 01:15", 1), ["2026-10-26 01:30"]);
    let new_york = "cron: \"30 1 * * *\", timezone: America/New_York";
    assert_eq!(
        dues(new_york, "2026-10-31 12:00", 2),
        ["2026-11-01 05:30", "2026-11-02 06:30"]
    );
}

#[test]
fn the_last_due_time_agrees_with_the_next_one_around_changes_of_clocks() {
    let changes = [
        ("Europe/Berlin", ["2026-03-29", "2026-10-25"]),
        ("America/New_York", ["2026-03-08", "2026-11-01"]),
        ("Australia/Lord_Howe", ["2026-04-04", "2026-10-03"]),
    ];
    for cron in ["30 2 * * *", "0,20,40 1-3 * * *", "*/10 * * * *"] {
        for (zone, days) in changes {
            let keys = format!("cron: \"{cron}\", timezone: {zone}");
            for (day, hour) in days
                .iter()
                .flat_map(|day| (0..20).map(move |hour| (day, hour)))
            {
                assert_last(&keys, &format!("{day} {hour:02}:05"));
                assert_last(&keys, &format!("{day} {hour:02}:40"));
            }
        }
    }
}

#[test]
fn a_day_that_a_zone_leaves_out_is_served_when_the_next_begins() {
    // Samoa went over the date line: there was no 30 December 2011.
    let samoa = "cron: \"0 12 * * *\", timezone: Pacific/Apia";
    assert_eq!(
        dues(samoa, "2011-12-29 12:00", 3),
        ["2011-12-29 22:00", "2011-12-30 10:00", "2011-12-30 22:00"]
    );
}

#[test]
fn a_leap_day_comes_every_four_years() {
    assert_eq!(
        dues("cron: \"0 2 29 2 *\"", "2026-01-01 00:00", 2),
        ["2028-02-29 02:00", "2032-02-29 02:00"]
    );
    assert_eq!(
        dues("cron: \"0 2 * * *\"", "2028-02-28 02:00", 2),
        ["2028-02-29 02:00", "2028-03-01 02:00"]
    );
    assert_last("cron: \"0 2 29 2 *\"", "2027-06-01 00:00");
}

#[test]
fn seconds_and_parts_of_them_are_no_matter() {
    let table = timetable("cron: \"*/5 * * * *\"");
    let due = utc("2026-01-01 00:05");
    assert_eq!(table.due_after(Millis(due.0 - 1)), due);
    assert_eq!(table.due_after(due), utc("2026-01-01 00:10"));
    assert_eq!(table.last_due_time(Millis(due.0 + 1)), Some(due));
    assert_eq!(table.last_due_time(due), Some(due));
    assert_eq!(
        table.last_due_time(Millis(due.0 - 1)),
        Some(utc("2026-01-01 00:00"))
    );
}

#[test]
fn every_counts_from_when_it_was_known_and_does_not_drift() {
    let table = timetable("every: 7m");
    let known = utc("2020-01-01 00:00");
    assert_eq!(table.due_after(Millis(known.0 - 1)), known, "at once");
    for steps in [1, 1000, 1_000_000] {
        let due = Millis(known.0 + steps * 7 * 60_000);
        assert_eq!(table.due_after(Millis(due.0 - 1)), due);
        assert_eq!(table.last_due_time(Millis(due.0 + 419_999)), Some(due));
    }
    assert_eq!(table.last_due_time(Millis(known.0 - 1)), None);
}

#[test]
fn jitter_stays_in_its_bounds_is_always_the_same_and_differs_between_seeds() {
    let table = timetable("every: 1h, jitter: 10m");
    let due = utc("2026-01-01 00:00");
    let starts: Vec<i64> = (0..1000)
        .map(|seed| table.start_of(due, seed).0 - due.0)
        .collect();
    assert!(starts.iter().all(|late| (0..=600_000).contains(late)));
    assert!(starts.iter().any(|late| *late < 60_000) && starts.iter().any(|late| *late > 540_000));
    assert_eq!(table.start_of(due, 7), table.start_of(due, 7));
    let other = timetable("every: 2h, jitter: 10m");
    assert_eq!(
        table.start_of(due, 7),
        other.start_of(due, 7),
        "only name, seed and due time decide"
    );
    assert_eq!(timetable("every: 1h").start_of(due, 7), due);
}

#[test]
fn the_next_start_is_the_one_that_was_put_off_beyond_the_question() {
    let table = timetable("every: 1h, jitter: 50m");
    let due = utc("2026-01-01 05:00");
    let start = table.start_of(due, 3);
    assert!(start > due, "a seed that puts it off");
    assert_eq!(table.next_due(Millis(start.0 - 1), 3), start);
    let following = Millis(due.0 + 3_600_000);
    assert_eq!(table.next_due(start, 3), table.start_of(following, 3));
}

#[test]
fn a_window_opens_and_closes_on_the_wall_of_its_zone() {
    let table = timetable("every: 1h, timezone: Europe/Berlin, window: \"01:00-06:00\"");
    assert!(!table.is_open(utc("2026-01-10 23:59:59")));
    assert!(table.is_open(utc("2026-01-11 00:00")));
    assert_eq!(
        table.closes_at(utc("2026-01-11 00:00:30")),
        Some(utc("2026-01-11 05:00"))
    );
    assert!(table.is_open(utc("2026-01-11 04:59:59")));
    assert_eq!(
        table.opens_at(utc("2026-01-11 05:00")),
        Some(utc("2026-01-12 00:00"))
    );
    assert_eq!(
        table.opens_at(utc("2026-01-11 03:00:05")),
        Some(utc("2026-01-11 03:00:05"))
    );
    // Clocks go forward in it: it is an hour shorter. Back: an hour longer.
    assert_eq!(
        table.closes_at(utc("2026-03-29 00:00")),
        Some(utc("2026-03-29 04:00"))
    );
    assert_eq!(
        table.closes_at(utc("2026-10-24 23:00")),
        Some(utc("2026-10-25 05:00"))
    );
}

#[test]
fn a_window_that_exists_twice_opens_twice() {
    let table = timetable("every: 1h, timezone: Europe/Berlin, window: \"01:00-02:30\"");
    assert_eq!(
        table.closes_at(utc("2026-10-25 00:00")),
        Some(utc("2026-10-25 00:30"))
    );
    assert_eq!(
        table.opens_at(utc("2026-10-25 00:30")),
        Some(utc("2026-10-25 01:00"))
    );
    assert_eq!(
        table.closes_at(utc("2026-10-25 01:00")),
        Some(utc("2026-10-25 01:30"))
    );
}

#[test]
fn a_blackout_over_midnight_belongs_to_the_day_on_which_it_starts() {
    let table = timetable("every: 1h, blackouts: [\"Fri 22:00-04:00\"]");
    // 9 January 2026 is a Friday.
    assert_eq!(
        table.closes_at(utc("2026-01-09 12:00")),
        Some(utc("2026-01-09 22:00"))
    );
    assert_eq!(
        table.opens_at(utc("2026-01-09 22:00")),
        Some(utc("2026-01-10 04:00"))
    );
    assert!(table.is_open(utc("2026-01-09 03:00")), "the night before");
    assert!(table.is_open(utc("2026-01-10 23:00")), "the night after");
    let sunday = timetable("every: 1h, blackouts: \"Sun 22:00-04:00\"");
    assert_eq!(
        sunday.opens_at(utc("2026-01-11 23:00")),
        Some(utc("2026-01-12 04:00")),
        "into Monday"
    );
}

#[test]
fn a_blackout_beats_a_window_and_none_of_both_is_always_open() {
    let table = timetable(
        "every: 1h, window: [\"00:00-12:00\", \"20:00-24:00\"], blackouts: [\"06:00-22:00\"]",
    );
    assert_eq!(
        table.closes_at(utc("2026-01-09 00:00")),
        Some(utc("2026-01-09 06:00"))
    );
    assert_eq!(
        table.opens_at(utc("2026-01-09 06:00")),
        Some(utc("2026-01-09 22:00"))
    );
    let always = timetable("every: 1h");
    assert_eq!(always.closes_at(utc("2026-01-09 00:00")), None);
    assert_eq!(
        always.opens_at(utc("2026-01-09 00:00")),
        Some(utc("2026-01-09 00:00"))
    );
}

#[test]
fn one_failure_is_not_overdue_and_two_are() {
    let table = timetable("cron: \"0 2 * * *\", jitter: 10m, deadline: 1h");
    let success = Some(utc("2026-01-05 03:00"));
    assert!(
        !table.overdue(success, utc("2026-01-06 12:00")),
        "one run failed"
    );
    assert!(
        !table.overdue(success, utc("2026-01-07 03:09")),
        "the second has its grace"
    );
    assert!(table.overdue(success, utc("2026-01-07 03:10")));
    assert!(!table.overdue(Some(utc("2026-01-06 02:30")), utc("2026-01-07 12:00")));
}

#[test]
fn what_never_succeeded_is_overdue_from_when_it_was_known() {
    let schedule = &schedules("- { name: n, every: 1h }")[0];
    let table = Timetable::new(schedule, utc("2026-01-05 00:00"));
    assert_eq!(table.overdue_at(None), Some(utc("2026-01-05 02:00")));
    assert!(!table.overdue(None, utc("2026-01-05 01:59")));
}

#[test]
fn the_grace_of_a_due_time_outside_its_window_begins_when_that_opens() {
    let table = timetable("cron: \"0 0 * * *\", window: \"01:00-06:00\", deadline: 2h");
    let success = Some(utc("2026-01-05 03:00"));
    assert_eq!(table.overdue_at(success), Some(utc("2026-01-07 03:00")));
}

proptest! {
    /// Whatever the schedule and the time: what is due next is later, and nothing is due between.
    #[test]
    fn due_times_rise_and_leave_nothing_out(minutes in 0..4_000_000_i64, which in 0..6_usize) {
        let keys = [
            "cron: \"*/7 * * * *\", timezone: Europe/Berlin",
            "cron: \"30 2 * * *\", timezone: America/New_York",
            "cron: \"0 0 1 * *\", timezone: Pacific/Apia",
            "cron: \"45 1-3 * * sun\", timezone: Australia/Lord_Howe",
            "every: 13m, jitter: 5m",
            "every: 36h",
        ][which];
        let table = timetable(keys);
        let at = Millis(utc("2021-01-01 00:00").0 + minutes * 60_000 + 1);
        let next = table.due_after(at);
        prop_assert!(next > at);
        prop_assert!(table.last_due_time(next) == Some(next));
        let last = table.last_due_time(Millis(next.0 - 1)).unwrap();
        prop_assert!(last <= at);
        prop_assert_eq!(table.due_after(last), next);
        prop_assert!(table.next_due(at, 5) > at);
    }

    /// Until it closes it is open, and the other way.
    #[test]
    fn windows_close_and_open_where_they_say(minutes in 0..4_000_000_i64, part in 0..100_i64) {
        let table = timetable(
            "every: 1h, timezone: Europe/Berlin, window: [\"01:30-06:00\", \"Sat\"], blackouts: [\"Sun 22:00-04:15\"]",
        );
        let at = Millis(utc("2021-01-01 00:00").0 + minutes * 60_000 + 17);
        let (closes, opens) = (table.closes_at(at).unwrap(), table.opens_at(at).unwrap());
        prop_assert!(!table.is_open(closes) && table.is_open(opens));
        let until = closes.max(opens);
        prop_assert!(closes == at || opens == at);
        let between = Millis(at.0 + (until.0 - 1 - at.0) * part / 99);
        prop_assert_eq!(table.is_open(between), opens == at);
    }
}
