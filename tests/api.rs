//! The API of the service, as strangers meet it: it does what its document says, whatever it is sent.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should
#![allow(clippy::disallowed_methods)] // real time is measured here

mod api_support;
mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use api_support::daemon::Daemon;
use api_support::dice::Dice;
use api_support::http::{Answer, Request, send_bytes};
use api_support::make::{fitting, forbidden, forbidden_text};
use api_support::odd::odd_request;
use api_support::schema::{faults, resolve};

/// How often each route is asked for something that it takes, and for something that it does not.
const ROUNDS: usize = 30;
/// How many requests that nobody expects are sent.
const ODD_REQUESTS: usize = 4_000;
/// How long an answer may take while they are.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How many keys a run has that is to last.
const KEYS: usize = 2_000;

const TOKEN: &str = "a token that nobody guesses";

/// A route of the document.
struct Route<'a> {
    document: &'a Value,
    path: &'a str,
    method: &'a str,
    operation: &'a Value,
}

fn routes(document: &Value) -> Vec<Route<'_>> {
    let paths = document["paths"].as_object().unwrap().iter();
    let of_path = |(path, item): (&'_ String, &'_ Value)| -> Vec<(String, String)> {
        let methods = item.as_object().unwrap().keys();
        methods
            .map(|method| (path.clone(), method.clone()))
            .collect()
    };
    let named: Vec<(String, String)> = paths.flat_map(of_path).collect();
    let route = |(path, method): (String, String)| {
        let (path, item) = document["paths"]
            .as_object()
            .unwrap()
            .get_key_value(&path)
            .unwrap();
        let (method, operation) = item.as_object().unwrap().get_key_value(&method).unwrap();
        Route {
            document,
            path,
            method,
            operation,
        }
    };
    named.into_iter().map(route).collect()
}

impl Route<'_> {
    /// A request; what of it does not fit is told.
    fn request(&self, daemon: &Daemon, dice: &mut Dice, fits: bool) -> Request {
        let ids = ["1", "2", "3", "18446744073709551615"];
        let odd_ids = ["-1", "1.5", "x", "%00", "18446744073709551616", "%ff"];
        let names = ["often", "nobody", "a%2Fb", "%C3%A9", "%20"];
        let name = *dice.pick(&names);
        let id = *dice.pick(if fits { &ids[..] } else { &odd_ids[..] });
        let mut path = self.path.replace("{id}", id).replace("{name}", name);
        for parameter in self.operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
        {
            if parameter["in"] == "query" {
                let schema = &parameter["schema"];
                let is_text = resolve(self.document, schema)["type"] == "string";
                let value = match fits {
                    true => fitting(self.document, schema, dice),
                    // In an address, all is text.
                    false if is_text => json!(forbidden_text(self.document, schema, dice)),
                    false => forbidden(self.document, schema, dice),
                };
                let text = in_address(&value);
                let mark = if path.contains('?') { '&' } else { '?' };
                path = format!("{path}{mark}{}={text}", parameter["name"].as_str().unwrap());
            }
        }
        let request = daemon.request(&self.method.to_uppercase(), &path);
        let schema = &self.operation["requestBody"]["content"]["application/json"]["schema"];
        match schema.is_null() {
            true => request,
            false if fits => request.json(&fitting(self.document, schema, dice)),
            false => request.json(&forbidden(self.document, schema, dice)),
        }
    }

    /// Whether there is anything that it does not take.
    fn can_be_wrong(&self) -> bool {
        let asks = self.path.contains("{id}") || !self.operation["requestBody"].is_null();
        // Every text is one, in an address, unless it has a form.
        let parameters = self.operation["parameters"].as_array();
        let is_any_text = |one: &Value| {
            let schema = resolve(self.document, &one["schema"]);
            schema["type"] == "string" && schema["pattern"].is_null()
        };
        asks || parameters.is_some_and(|all| !all.iter().all(is_any_text))
    }

    /// Fails the test unless the answer is one that the document has.
    #[track_caller]
    fn check(&self, request: &Request, answer: &Answer) {
        let shown = || format!("{request:?}\n{}\n{}", answer.head, answer.text());
        let said = &self.operation["responses"][answer.status.to_string()];
        assert!(!said.is_null(), "not in the document: {}", shown());
        for name in said["headers"]
            .as_object()
            .into_iter()
            .flat_map(|map| map.keys())
        {
            assert!(
                answer.header(name).is_some(),
                "{name} is missing: {}",
                shown()
            );
        }
        let Some(content) = said["content"].as_object() else {
            assert!(
                answer.body.is_empty(),
                "a body that is not in the document: {}",
                shown()
            );
            return;
        };
        let (kind, content) = content.iter().next().unwrap();
        let found = answer.header("content-type").unwrap_or_default();
        assert!(found.starts_with(kind.as_str()), "{found}: {}", shown());
        if kind == "application/json" {
            let faults = faults(self.document, &content["schema"], &answer.json(), "body");
            assert!(faults.is_empty(), "{faults:#?}\n{}", shown());
        }
    }
}

/// A value as a query says it.
fn in_address(value: &Value) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() || b"-.".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02x}"),
    };
    text.bytes().map(byte).collect()
}

/// Keys that only one replica has.
fn differ(daemon: &Daemon, keys: usize) {
    let mut client = daemon.servers[0].client();
    let mut pipe = redis::pipe();
    for index in 0..keys {
        pipe.cmd("SET")
            .arg(format!("key:{index}"))
            .arg("value")
            .ignore();
    }
    pipe.query::<()>(&mut client).unwrap();
}

/// How many of them a replica has; it also has what reknit marks it with.
fn keys(daemon: &Daemon, server: usize) -> usize {
    let mut client = daemon.servers[server].client();
    let keys: Vec<String> = redis::cmd("KEYS").arg("key:*").query(&mut client).unwrap();
    keys.len()
}

/// A run that works until it is told otherwise: it may read a key a second.
fn with_long_run(daemon: &Daemon) -> u64 {
    daemon.until_idle();
    differ(daemon, KEYS);
    let slowly = json!({ "keys_per_second": 1 });
    let answer = daemon
        .request("PUT", "/api/v1/limits")
        .json(&slowly)
        .send(daemon.address);
    assert_eq!(answer.status, 200);
    let started = daemon
        .request("POST", "/api/v1/runs")
        .json(&json!({}))
        .send(daemon.address);
    assert_eq!(started.status, 202, "{}", started.text());
    started.json()["id"].as_u64().unwrap()
}

#[test]
fn every_route_answers_as_the_document_says() {
    for token in [None, Some(TOKEN)] {
        let http = token.map_or("", |_| ", token_file: token");
        let mut daemon = Daemon::with(http, token);
        differ(&daemon, 20);
        daemon.until_idle();
        let document = daemon.get("/api/v1/openapi.json");
        let (mut dice, mut seen) = (Dice(41), BTreeSet::new());
        for round in 0..ROUNDS {
            for route in routes(&document) {
                let fits = round % 2 == 0 || !route.can_be_wrong();
                let request = route.request(&daemon, &mut dice, fits);
                let answer = request.send(daemon.address);
                route.check(&request, &answer);
                // What fits may name nothing that there is; nonsense it is not.
                let is_as_said = match fits {
                    true => answer.status != 400,
                    false => (400..500).contains(&answer.status),
                };
                assert!(
                    is_as_said,
                    "{request:?}\n{}\n{}",
                    answer.head,
                    answer.text()
                );
                seen.insert(answer.status);
            }
        }
        // It was not refused all the time, and not let through either.
        for status in [200, 202, 204, 400, 404, 409] {
            assert!(
                seen.contains(&status),
                "{status} was never answered: {seen:?}"
            );
        }
        assert!(daemon.stop().success(), "{}", daemon.log());
        assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    }
}

#[test]
fn what_all_routes_have_in_common_is_in_the_document() {
    let daemon = Daemon::with(", token_file: token", Some(TOKEN));
    let document = daemon.get("/api/v1/openapi.json");
    assert_eq!(
        document["components"]["securitySchemes"]["bearer"]["scheme"],
        "bearer"
    );
    for route in routes(&document) {
        let has = |status: &str| !route.operation["responses"][status].is_null();
        let api = route.path.starts_with("/api/");
        let shown = format!("{} {}", route.method, route.path);
        assert_eq!(has("401") && has("408") && has("500"), api, "{shown}");
        assert_eq!(has("403"), api && route.method != "get", "{shown}");
        let takes_body = !route.operation["requestBody"].is_null();
        assert_eq!(has("413") && has("415"), takes_body, "{shown}");
        // Each of those that can be brought about is.
        let path = route.path.replace("{id}", "1").replace("{name}", "often");
        let method = route.method.to_uppercase();
        if api {
            let stranger = Request::new(&method, &path);
            let answer = stranger.send(daemon.address);
            assert_eq!(answer.status, 401, "{shown}");
            route.check(&stranger, &answer);
        }
        if takes_body {
            let long = daemon
                .request(&method, &path)
                .header("Content-Type", "application/json");
            let long = long.body(vec![b' '; (1 << 20) + 1]);
            let plain = daemon.request(&method, &path).body(b"{}".to_vec());
            for (request, status) in [(long, 413), (plain, 415)] {
                let answer = request.send(daemon.address);
                assert_eq!(answer.status, status, "{shown}");
                route.check(&request, &answer);
            }
        }
    }
}

#[test]
fn the_page_about_the_api_names_every_route_and_no_other() {
    let daemon = Daemon::start();
    let document = daemon.get("/api/v1/openapi.json");
    let routes = routes(&document).into_iter();
    let routes: BTreeSet<String> = routes
        .map(|route| format!("{} {}", route.method.to_uppercase(), route.path))
        .collect();
    let rows = include_str!("../docs/api.md").lines();
    let named: BTreeSet<String> = rows
        .filter_map(|row| row.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.contains(" /"))
        .map(str::to_owned)
        .collect();
    assert_eq!(routes, named);
}

#[test]
fn methods_and_addresses_that_the_document_does_not_have_are_refused() {
    let daemon = Daemon::start();
    let document = daemon.get("/api/v1/openapi.json");
    for route in routes(&document) {
        let known = document["paths"][route.path].as_object().unwrap();
        let path = route.path.replace("{id}", "1").replace("{name}", "often");
        for method in [
            "GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW",
        ] {
            if known.contains_key(&method.to_lowercase()) {
                continue;
            }
            let answer = Request::new(method, &path).send(daemon.address);
            assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text());
            let allowed = answer.header("allow").unwrap_or_default().to_lowercase();
            assert!(
                known.keys().all(|one| allowed.contains(one)),
                "{path}: {allowed}"
            );
        }
    }
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v2/status",
        "/api/v1/runs/",
        "/api/v1/../status",
    ] {
        let answer = Request::new("GET", path).send(daemon.address);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["error"]["code"], "not-found");
    }
}

#[test]
fn nothing_that_is_sent_panics_or_blocks_the_service() {
    let mut daemon = Daemon::start();
    daemon.until_idle();
    // Heads that never end: they are waited for, and nobody else waits for them.
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(daemon.address).unwrap())
        .collect();
    for stream in &mut slow {
        stream
            .write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: ")
            .unwrap();
    }
    let mut dice = Dice(4711);
    for round in 0..ODD_REQUESTS {
        if round == ODD_REQUESTS / 2 {
            differ(&daemon, 100);
            assert_eq!(daemon.post("/api/v1/schedules/often/run").status, 202);
        }
        let (bytes, is_whole) = odd_request(&mut dice);
        if let Some(answer) = send_bytes(daemon.address, &bytes, !is_whole) {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
            assert!(
                answer.status < 500,
                "{shown}\n{}\n{}",
                answer.head,
                answer.text()
            );
        }
        if round % 100 == 0 {
            let begun = Instant::now();
            daemon.get("/api/v1/status");
            assert!(
                begun.elapsed() < AT_ONCE,
                "it answered after {:?}",
                begun.elapsed()
            );
        }
    }
    daemon.until("the run in between succeeded", |status| {
        let schedule = &status["schedules"][0];
        status["current"].is_null() && schedule["asked"] == false && keys(&daemon, 1) == 100
    });
    drop(slow);
    assert!(daemon.stop().success(), "{}", daemon.log());
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

#[test]
fn limits_are_set_one_by_one_and_a_reload_sets_them_back() {
    let daemon = Daemon::start();
    let put = |body: Value| {
        daemon
            .request("PUT", "/api/v1/limits")
            .json(&body)
            .send(daemon.address)
    };
    let limits = put(json!({ "keys_per_second": 700, "intensity": 0.5 })).json();
    assert_eq!(
        limits["now"],
        json!({ "keys_per_second": 700, "bytes_per_second": 0, "intensity": 0.5 })
    );
    assert_eq!(limits["changed"], true);
    let limits = put(json!({ "bytes_per_second": 4096, "keys_per_second": null })).json();
    assert_eq!(
        limits["now"],
        json!({ "keys_per_second": 700, "bytes_per_second": 4096, "intensity": 0.5 })
    );
    for wrong in [
        json!({ "intensity": 0.0 }),
        json!({ "intensity": 1.1 }),
        json!({ "keys_per_second": -1 }),
        json!({ "bytes_per_second": "1MiB" }),
        json!({ "pipeline": 1 }),
        json!([1, 2, 0.5]),
        json!(null),
    ] {
        assert_eq!(put(wrong.clone()).status, 400, "{wrong}");
    }
    assert_eq!(daemon.get("/api/v1/limits")["now"], limits["now"]);
    daemon.write_limits("keys_per_second: 900");
    assert_eq!(daemon.post("/api/v1/reload").status, 204);
    let limits = daemon.get("/api/v1/limits");
    assert_eq!(
        limits["now"],
        json!({ "keys_per_second": 900, "bytes_per_second": 0, "intensity": 1.0 })
    );
    assert_eq!(
        (&limits["changed"], &limits["now"]),
        (&json!(false), &limits["configured"])
    );
    // A bad one is refused, and the old one stays.
    daemon.write_limits("intensity: 7");
    assert_eq!(daemon.post("/api/v1/reload").status, 400);
    assert_eq!(daemon.get("/api/v1/limits"), limits);
}

#[test]
fn limits_hold_at_once_for_a_run_that_works() {
    let daemon = Daemon::start();
    let run = with_long_run(&daemon);
    let waiting = daemon.until("it waits for the limit", |status| {
        status["replicas"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["waiting_for"] == "keys_per_second")
    });
    assert_eq!(waiting["current"]["id"], run);
    let fast = json!({ "keys_per_second": 0 });
    assert_eq!(
        daemon
            .request("PUT", "/api/v1/limits")
            .json(&fast)
            .send(daemon.address)
            .status,
        200
    );
    let status = daemon.until_idle();
    assert_eq!(status["last"]["state"], "done", "{status:#}");
    assert_eq!(keys(&daemon, 1), KEYS);
    let waited = &status["replicas"][0]["waited_ms"]["keys_per_second"];
    assert!(waited.as_u64() > Some(0), "{status:#}");
}

#[test]
fn what_a_run_wrote_is_shown_page_by_page() {
    let daemon = Daemon::start();
    daemon.until_idle();
    differ(&daemon, 25);
    daemon
        .ask(&["run-now", "often", "--wait"])
        .run()
        .assert_code(0);
    let run = daemon.get("/api/v1/status")["last"]["id"].as_u64().unwrap();
    let mut seen = BTreeSet::new();
    let (mut after, mut sizes) = (String::new(), Vec::new());
    loop {
        let page = daemon.get(&format!("/api/v1/runs/{run}/writes?limit=10{after}"));
        sizes.push(page["writes"].as_array().unwrap().len());
        for write in page["writes"].as_array().unwrap() {
            assert_eq!(
                (&write["replica"], &write["applied"]),
                (&json!("eu"), &json!(true))
            );
            assert_eq!(
                (&write["before"]["held"], &write["after"]["held"]),
                (&json!(false), &json!(true))
            );
            assert!(
                seen.insert(write["key"].as_str().unwrap().to_owned()),
                "{write}"
            );
        }
        match page["next"].as_str() {
            Some(place) => after = format!("&after={place}"),
            None => break,
        }
    }
    assert_eq!((seen.len(), sizes), (25, vec![10, 10, 5]));
    let nowhere = format!("/api/v1/runs/{run}/writes?after=here");
    assert_eq!(
        daemon.request("GET", &nowhere).send(daemon.address).status,
        400
    );
    let unknown = daemon
        .request("GET", "/api/v1/runs/999/writes")
        .send(daemon.address);
    assert_eq!(unknown.status, 404);
}
