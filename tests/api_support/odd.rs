//! Requests that no well-behaved client sends.

use super::dice::Dice;
use super::http::Request;

const METHODS: &[&str] = &["GET", "POST", "PUT", "HEAD", "get", "", "BREW", "\0"];

const PATHS: &[&str] = &[
    "/api/v1/status",
    "/api/v1/runs",
    "/api/v1/limits",
    "/api/v1/runs/1/undo",
    "/api/v1/runs/%31/divergences",
    "/api/v1/runs/1/writes?after=18446744073709551615-18446744073709551615&limit=1000",
    "/api/v1/schedules/%F0%9F%92%A9/pause",
    "/api/v1/schedules/%zz/run",
    "//api//v1",
    "/api/v1/runs?limit=1&limit=2",
    "/api/v1/runs?%00=%ff",
    "*",
    "",
    "/api/v1/../../etc/passwd",
    "http://elsewhere/api/v1/status",
    "/healthz?",
    "/readyz#x",
];

/// Something that no well-behaved client sends, and whether it has an end.
pub(crate) fn odd_request(dice: &mut Dice) -> (Vec<u8>, bool) {
    let (kind, path) = (dice.below(8), *dice.pick(PATHS));
    match kind {
        0 => (dice.bytes(400), false),
        1 => {
            // A head that is too long, or nearly.
            let long = "a".repeat(dice.below(100_000));
            let head = "GET /api/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close";
            (
                format!("{head}\r\nX-Long: {long}\r\n\r\n").into_bytes(),
                true,
            )
        }
        2 => {
            let deep = *dice.pick(&[10, 127, 128, 5_000, 200_000]);
            let (open, close) = *dice.pick(&[("[", "]"), ("{\"selection\":", "}")]);
            let body = format!("{}{}", open.repeat(deep), close.repeat(deep));
            (json_request(path, body.into_bytes()), true)
        }
        3 => (json_request(path, dice.bytes(2_000)), true),
        4 => (json_request(path, vec![b'1'; dice.below(3 << 20)]), true),
        5 => {
            // A length that is a lie, or none.
            let lies = [
                "5",
                "-1",
                "99999999999999999999",
                "x",
                "0\r\nContent-Length: 7",
            ];
            let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: ");
            let text = format!("{head}{}\r\n\r\n{{}}", dice.pick(&lies));
            (text.into_bytes(), false)
        }
        6 => (odd_headers(path, dice), true),
        _ => {
            let more = dice.bytes(30).into_iter();
            let more: String = more.map(|byte| format!("%{byte:02x}")).collect();
            let method = *dice.pick(METHODS);
            let request = Request::new(method, &format!("{path}{more}"));
            (request.bytes(), true)
        }
    }
}

fn odd_headers(path: &str, dice: &mut Dice) -> Vec<u8> {
    let head = format!(
        "{} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n",
        dice.pick(METHODS)
    );
    let mut bytes = head.into_bytes();
    for _ in 0..dice.below(150) {
        let (name, value) = (dice.bytes(12), dice.bytes(40));
        for part in [&b"X-"[..], &name, b": ", &value, b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend(b"\r\n");
    bytes
}

fn json_request(path: &str, body: Vec<u8>) -> Vec<u8> {
    let request = Request::new("POST", path).header("Content-Type", "application/json");
    request.body(body).bytes()
}
