use super::*;

fn scanned(
    replica: &MemoryReplica,
    pattern: Option<&str>,
) -> (Result<ScanReport, StoreError>, Seen) {
    let mut seen = Seen::default();
    let request = ScanRequest {
        db: None,
        pattern: pattern.map(Glob::new),
        wanted: &|_| true,
        digest_key: &secret(),
    };
    let report = run(replica.scan(&request, &NoPace, &mut seen));
    (report, seen)
}

fn hundred() -> BTreeSet<String> {
    (0..100).map(|number| format!("key:{number}")).collect()
}

#[test]
fn a_scan_reads_every_key_once_in_an_order_of_its_seed() {
    let (first, second) = (replica_of(hundred()), replica_of(hundred()));
    let (report, seen) = scanned(&first, None);
    assert_eq!(report.unwrap().keys_read, 100);
    assert_eq!(seen.names(), hundred());
    assert_ne!(seen.entries, {
        let mut sorted = seen.entries.clone();
        sorted.sort();
        sorted
    });
    assert_eq!(scanned(&second, None).1.entries, seen.entries);
}

#[test]
fn a_scan_reads_only_what_is_wanted_and_never_reknits_own_keys() {
    let names = ["a1", "a2", "b1", "reknit:aside:x", "reknit:marker:x"].map(String::from);
    let replica = replica_of(names);
    let (report, seen) = scanned(&replica, None);
    assert_eq!(seen.names(), ["a1", "a2", "b1"].map(String::from).into());
    assert!(report.unwrap().markers_seen);
    let (report, seen) = scanned(&replica, Some("a*"));
    assert_eq!(seen.names(), ["a1", "a2"].map(String::from).into());
    assert_eq!(
        report.unwrap(),
        ScanReport {
            names_seen: 2,
            keys_read: 2,
            markers_seen: false
        }
    );
}

#[test]
fn named_keys_are_read_and_absent_ones_left_out() {
    let replica = replica_of(hundred());
    let mut seen = Seen::default();
    let request = ScanRequest {
        db: None,
        pattern: None,
        wanted: &|_| true,
        digest_key: &secret(),
    };
    let keys = ["key:1", "none", "key:2"].map(Key::from);
    let report = run(replica.scan_keys(&request, &keys, &NoPace, &mut seen)).unwrap();
    assert_eq!(report.keys_read, 2);
    assert_eq!(seen.names(), ["key:1", "key:2"].map(String::from).into());
}

#[test]
fn a_name_can_be_listed_twice() {
    let replica = replica_of(hundred());
    script(&replica, |step, _, _| match step {
        Step::ScanName { key, .. } if key.as_bytes() == b"key:5" => Fault::ListTwice,
        _ => Fault::None,
    });
    let (report, seen) = scanned(&replica, None);
    assert_eq!(report.unwrap().names_seen, 101);
    assert_eq!(seen.entries.len(), 101);
    assert_eq!(seen.names(), hundred());
}

#[test]
fn only_a_key_that_was_written_meanwhile_can_be_left_out() {
    let replica = replica_of(hundred());
    let mut pages = 0;
    script(&replica, move |step, db, data| match step {
        Step::ScanPage => {
            pages += 1;
            if pages == 1 {
                data.set_state(db, &Key::from("key:5"), Some(string("y")));
                data.set_state(db, &Key::from("new"), Some(string("y")));
            }
            Fault::None
        }
        Step::ScanName { .. } => Fault::LeaveOut,
        _ => Fault::None,
    });
    let (_, seen) = scanned(&replica, None);
    let mut constant = hundred();
    constant.remove("key:5");
    assert_eq!(seen.names(), constant);
}

#[test]
fn a_lost_connection_ends_a_scan_with_an_error() {
    let replica = replica_of(hundred());
    let mut reads = 0;
    script(&replica, move |step, _, _| {
        reads += u32::from(matches!(step, Step::ReadKey(_)));
        if reads == 30 {
            Fault::Disconnect
        } else {
            Fault::None
        }
    });
    let (report, seen) = scanned(&replica, None);
    assert!(matches!(report, Err(StoreError::Unreachable { .. })));
    assert_eq!(seen.entries.len(), 29);
}

#[test]
fn an_unreadable_key_is_told_to_the_sink() {
    let replica = replica_of(["a".into(), "b".into()]);
    script(&replica, |step, _, _| match step {
        Step::ReadKey(key) if key.as_bytes() == b"a" => Fault::Unreadable("NOPERM".into()),
        _ => Fault::None,
    });
    let (_, seen) = scanned(&replica, None);
    assert_eq!(seen.unreadable, [(b"a".to_vec(), "NOPERM".into())]);
    assert_eq!(seen.names(), ["b".to_string()].into());
}
