//! The demo as its users see it: it proves equality by itself, and leaves nothing behind.

mod support;

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use support::reknit::{Outcome, Reknit};

/// Every port that the demo named.
fn ports(outcome: &Outcome) -> BTreeSet<u16> {
    let after = outcome.stdout.split("redis://127.0.0.1:").skip(1);
    let digits = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    };
    after
        .map(|text| digits(text).parse().expect("a port"))
        .collect()
}

fn assert_gone(outcome: &Outcome) {
    let ports = ports(outcome);
    assert_eq!(ports.len(), 3, "{outcome}");
    for port in ports {
        assert!(
            TcpStream::connect(("127.0.0.1", port)).is_err(),
            "{port} is still open\n{outcome}"
        );
    }
}

#[test]
fn the_demo_repairs_its_servers_proves_them_equal_and_stops_them() {
    let outcome = Reknit::new(["demo", "--keys", "2000"]).run();
    outcome.assert_code(0);
    for phrase in [
        "eu is cut off",
        "FLUSHALL",
        "all verified",
        "in sync",
        "Equal on all three",
    ] {
        assert!(
            outcome.stdout.contains(phrase),
            "{phrase} is missing\n{outcome}"
        );
    }
    assert_gone(&outcome);
}

#[test]
fn an_interrupted_demo_leaves_no_server_behind() {
    let running = Reknit::new(["demo", "--keys", "200000"]).spawn();
    // Long enough for the servers to be up, and much shorter than such a demo.
    thread::sleep(Duration::from_secs(2));
    running.signal("INT");
    let outcome = running.finish();
    outcome.assert_code(130);
    assert_gone(&outcome);
}
