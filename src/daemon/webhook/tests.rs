//! Against small HTTP servers: one that takes, one that fails first, one that refuses, one that never answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use super::*;

const SECRET: &str = "hunter2-webhook";
const WAIT: Duration = Duration::from_secs(20);

/// What a server was told.
#[derive(Debug)]
struct Told {
    head: String,
    body: Vec<u8>,
}

impl Told {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines();
        lines
            .filter_map(|line| line.split_once(": "))
            .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A server that answers with these statuses, one connection each, the last one for ever.
fn server(statuses: &'static [u16]) -> (String, mpsc::Receiver<Told>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "http://{}/hook?token={SECRET}",
        listener.local_addr().unwrap()
    );
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let status = statuses[index.min(statuses.len() - 1)];
            let mut stream = stream.unwrap();
            let heard = hear(&stream);
            let answer = format!(
                "HTTP/1.1 {status} x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes());
            if tell.send(heard).is_err() {
                return;
            }
        }
    });
    (url, told)
}

fn hear(stream: &TcpStream) -> Told {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).unwrap();
    }
    let mut told = Told {
        head,
        body: Vec::new(),
    };
    let length: usize = told.header("content-length").unwrap().parse().unwrap();
    told.body.resize(length, 0);
    reader.read_exact(&mut told.body).unwrap();
    told
}

fn config(url: &str) -> WebhookConfig {
    WebhookConfig {
        url: Secret::new(url),
        secret_file: None,
        events: EventKind::ALL.to_vec(),
        timeout: Duration::from_secs(10),
    }
}

fn webhook(config: &WebhookConfig) -> Webhook {
    Webhook::with_pause(config, Some(Secret::new(SECRET)), Duration::from_millis(1))
}

fn event(kind: EventKind) -> Event {
    Event {
        kind,
        at: Millis(1_772_323_200_000),
        schedule: Some("nightly".into()),
        run: Some("17".into()),
        message: "missed replica eu".into(),
    }
}

#[test]
fn a_message_is_json_and_signed() {
    let (url, told) = server(&[204]);
    let webhook = webhook(&config(&url));
    webhook.send(event(EventKind::Partial));
    let told = told.recv_timeout(WAIT).unwrap();
    assert!(told.head.starts_with("POST /hook?token="), "{}", told.head);
    assert_eq!(told.header("content-type"), Some("application/json"));
    assert_eq!(told.header("x-reknit-event"), Some("partial"));
    let expected = signature(&Secret::new(SECRET), &told.body);
    assert_eq!(told.header(SIGNATURE), Some(expected.as_str()));
    let json = told.json();
    assert_eq!(json["version"], 1);
    assert_eq!(json["event"], "partial");
    assert_eq!(json["schedule"], "nightly");
    assert_eq!(json["run"], "17");
    assert_eq!(json["at_ms"], 1_772_323_200_000_i64);
    let counts = webhook.counts();
    webhook.stop();
    assert_eq!(
        (counts.delivered(), counts.failed(), counts.dropped()),
        (1, 0, 0)
    );
}

/// A known answer: RFC 4231, test case 2.
#[test]
fn the_signature_is_hmac_sha256() {
    assert_eq!(
        signature(&Secret::new("Jefe"), b"what do ya want for nothing?"),
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

#[test]
fn a_service_that_fails_is_tried_again_with_the_same_message() {
    let (url, told) = server(&[500, 429, 200]);
    let webhook = webhook(&config(&url));
    webhook.send(event(EventKind::Failed));
    let bodies: Vec<_> = (0..3)
        .map(|_| told.recv_timeout(WAIT).unwrap().body)
        .collect();
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    let counts = webhook.counts();
    webhook.stop();
    assert_eq!((counts.delivered(), counts.failed()), (1, 0));
}

#[test]
fn a_service_that_goes_on_failing_is_given_up_after_the_last_attempt() {
    let (url, told) = server(&[503]);
    let webhook = webhook(&config(&url));
    webhook.send(event(EventKind::Failed));
    for _ in 0..ATTEMPTS {
        told.recv_timeout(WAIT).unwrap();
    }
    let counts = webhook.counts();
    webhook.stop();
    assert_eq!((counts.delivered(), counts.failed()), (0, 1));
    assert!(told.try_recv().is_err(), "no sixth");
}

#[test]
fn a_refusal_and_a_redirect_are_not_tried_again() {
    for statuses in [&[404], &[302]] {
        let (url, told) = server(statuses);
        let webhook = webhook(&config(&url));
        webhook.send(event(EventKind::Failed));
        told.recv_timeout(WAIT).unwrap();
        let counts = webhook.counts();
        webhook.stop();
        assert_eq!(counts.failed(), 1, "{statuses:?}");
        assert!(told.try_recv().is_err(), "{statuses:?}");
    }
}

#[test]
fn a_stalled_service_holds_neither_the_sender_nor_the_end() {
    // Connections are taken by the kernel and nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&format!("http://{}/", listener.local_addr().unwrap()));
    config.timeout = Duration::from_millis(20);
    let webhook = webhook(&config);
    let sent = u64::try_from(3 * QUEUE).unwrap();
    for _ in 0..sent {
        webhook.send(event(EventKind::Overdue));
    }
    let counts = webhook.counts();
    assert!(
        counts.dropped() >= u64::try_from(QUEUE).unwrap(),
        "the queue is bounded"
    );
    webhook.stop();
    assert_eq!(counts.delivered(), 0);
    assert!(counts.failed() >= 1, "attempts are bounded in time");
}

#[test]
fn a_service_that_cannot_be_reached_is_given_up() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let webhook = webhook(&config(&format!("http://{free}/")));
    webhook.send(event(EventKind::Overdue));
    let counts = webhook.counts();
    webhook.stop();
    assert_eq!((counts.delivered(), counts.failed()), (0, 1));
}

#[test]
fn what_the_configuration_does_not_name_is_not_told() {
    let (url, told) = server(&[200]);
    let mut config = config(&url);
    config.events = vec![EventKind::Overdue];
    let webhook = webhook(&config);
    webhook.send(event(EventKind::Partial));
    webhook.send(event(EventKind::Overdue));
    assert_eq!(told.recv_timeout(WAIT).unwrap().json()["event"], "overdue");
    webhook.stop();
    assert!(told.try_recv().is_err());
}

#[test]
fn the_secret_comes_from_its_file_and_a_missing_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config("http://127.0.0.1:1/");
    assert_eq!(config.secret().unwrap(), None);
    config.secret_file = Some(dir.path().join("secret"));
    let error = Webhook::start(&config).unwrap_err().to_string();
    assert!(
        error.starts_with("notifications.webhook: cannot read the secret from "),
        "{error}"
    );
    std::fs::write(dir.path().join("secret"), format!("{SECRET}\n")).unwrap();
    assert_eq!(config.secret().unwrap(), Some(Secret::new(SECRET)));
    assert!(!format!("{:?}", webhook(&config)).contains("hunter2"));
}
