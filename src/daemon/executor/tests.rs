use std::sync::Arc;

use super::*;
use crate::app::open_for_service;
use crate::clock::SystemClock;

const REPLICAS: &str = "
replicas:
  - { name: us, url: \"redis://127.0.0.1:1\", username: any, password_file: secret }
  - { name: eu, url: \"redis://127.0.0.1:2\" }
state: { dir: state }
";

#[test]
fn a_run_whose_password_is_gone_when_it_begins_has_an_end_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (config, secret) = (dir.path().join("reknit.yaml"), dir.path().join("secret"));
    std::fs::write(&config, REPLICAS).unwrap();
    std::fs::write(&secret, "any will do").unwrap();
    let config = Arc::new(Config::from_file(&config, None).unwrap());
    let clock = Arc::new(SystemClock);
    let memory = open_for_service(&config, "http://127.0.0.1:3", &*clock);
    let memory = memory.unwrap().unwrap();
    let order = Order::scheduled("any", Selection::of(Vec::new()), false);
    let begun = (clock.now(), order.purpose());
    let logbook = Logbook::begin(&config, &memory, begun, None, None).unwrap();
    let (state, run) = (memory.state.clone(), logbook.run);
    std::fs::remove_file(&secret).unwrap();
    let assignment = Assignment {
        throttle: Arc::new(crate::app::throttle(&config)),
        config,
        memory: Some(memory),
        logbook: Some(logbook),
        clock: clock.clone(),
        patience: Patience::default(),
        told: Box::new(|_| {}),
    };
    let card = Card::new(run.0, order, clock.now(), Vec::new());
    let (send, mut outcome) = oneshot::channel();
    on_this_thread(&card, assignment, send);
    let outcome = outcome.try_recv().unwrap();
    assert_eq!(outcome.state, RunState::Failed);
    let end = state.run(run).unwrap().unwrap().end.unwrap();
    assert_eq!((end.result.as_str(), end.note), ("failed", outcome.trouble));
}
