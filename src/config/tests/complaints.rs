//! Every complaint about a file, word by word.

use super::{REPLICAS, read};

fn complaint(text: &str) -> String {
    let message = read(text).unwrap_err().to_string();
    let stripped = message.strip_prefix("reknit.yaml: ").map(str::to_owned);
    stripped.unwrap_or_else(|| panic!("no file in {message}"))
}

fn complaint_with(rest: &str) -> String {
    complaint(&format!("{REPLICAS}{rest}"))
}

#[test]
fn every_unreadable_text_is_named() {
    let table = [
        (
            "keyspcaes: []",
            "unknown key `keyspcaes` at line 5 column 1, did you mean `keyspaces`?",
        ),
        (
            "limits: { pipelin: 3 }",
            "limits: unknown key `pipelin` at line 5 column 11, did you mean `pipeline`?",
        ),
        (
            "keyspaces:\n- name: a\n  rules: { strin: lww }",
            "keyspaces[0].rules: unknown key `strin` at line 7 column 12, did you mean `string`?",
        ),
        (
            "state: { path: /x }",
            "state: unknown key `path` at line 5 column 10, the known ones are dir, journal_age, journal_size",
        ),
        (
            "limits:\n\tpipeline: 3",
            "tabs are not allowed for indentation at line 6 column 1, use spaces",
        ),
        (
            "limits:\n  memory: 1GiB\n \tpipeline: 3",
            "tabs are not allowed for indentation at line 7 column 2, use spaces",
        ),
        (
            "limits: 3",
            "limits: expected a map of limits, found integer `3` at line 5 column 9",
        ),
        (
            "limits: { pipeline: -3 }",
            "limits.pipeline: expected a whole number, 0 or more, found integer `-3` at line 5 column 21",
        ),
        (
            "limits: { pipeline: 1, pipeline: 2 }",
            "limits: the key `pipeline` stands there twice at line 5 column 9, keep one of them",
        ),
    ];
    for (rest, message) in table {
        assert_eq!(complaint_with(rest), message, "{rest}");
    }
}

#[test]
fn every_unreadable_value_is_named() {
    let table = [
        (
            "limits: { memory: big }",
            "limits.memory: `big` is not a size at line 5 column 19, write one like 512MiB or 1GiB",
        ),
        (
            "guards: { settle: 5 }",
            "guards.settle: the duration `5` has no unit at line 5 column 19, write `5s` for seconds",
        ),
        (
            "guards: { settle: -5s }",
            "guards.settle: the duration `-5s` is negative at line 5 column 19, write one like 1s or 0s",
        ),
        (
            "guards: { settle: 2h }",
            "guards.settle: the pause is longer than an hour at line 5 column 19, write the time that writes are under way, such as 1s",
        ),
        (
            "guards: { max_delete_ratio: much }",
            "guards.max_delete_ratio: `much` is not a number at line 5 column 29, write one like 0.5",
        ),
        (
            "keyspaces:\n- match: \"*\"",
            "keyspaces[0]: missing key `name` at line 6 column 3, add `name:`",
        ),
        (
            "keyspaces:\n- name: a\n  match: *",
            "a value starts with `*` without quotes at line 7 column 11, put a pattern into quotes, as in match: \"*\"",
        ),
        (
            "keyspaces:\n- name: a\n  expiry: { tolerance: -1s }",
            "keyspaces[0].expiry.tolerance: the duration `-1s` is negative at line 7 column 24, write one like 1s or 0s",
        ),
    ];
    for (rest, message) in table {
        assert_eq!(complaint_with(rest), message, "{rest}");
    }
}

#[test]
fn every_contradiction_between_replicas_is_named() {
    let one = "- { name: us, url: redis://a }";
    let table = [
        ("", "replicas: 0 named, there must be 2 to 64, name every copy of the data".to_owned()),
        (one, "replicas: 1 named, there must be 2 to 64 at line 2 column 1, name every copy of the data".into()),
        (
            "- { name: us, url: redis://a }\n- { name: us, url: redis://b }",
            "replicas[1].name: two replicas are named `us` at line 3 column 11, give each its own name".into(),
        ),
        (
            "- { name: us, url: redis://a }\n- { name: eu, url: \"redis://a:6379/0\" }",
            "replicas[1].url: the same server and database as replica `us` at line 3 column 20, \
             name two different copies of the data".into(),
        ),
        (
            "- { name: a b, url: redis://a }\n- { name: eu, url: redis://b }",
            "replicas[0].name: this is not a name at line 2 column 11, \
             write 1 to 64 letters, digits, `.`, `_` or `-`".into(),
        ),
        (
            "- { name: us, datacenter: skip, url: redis://a }\n- { name: eu, url: redis://b }",
            "replicas[0].datacenter: a datacenter cannot be named `skip` at line 2 column 27, \
             the word has its own meaning in `prefer`".into(),
        ),
    ];
    for (replicas, message) in table {
        let text = match replicas {
            "" => String::new(),
            _ => format!("replicas:\n{replicas}\n"),
        };
        assert_eq!(complaint(&text), message, "{replicas}");
    }
}

#[test]
fn every_contradiction_inside_a_replica_is_named() {
    let table = [
        (
            "url: redis://a, password_file: f, password_env: E",
            "password_env: there is a password_file too at line 3 column 63, keep one of them",
        ),
        (
            "url: \"redis://:hunter2@a\", password_file: f",
            "password_file: the url has a password too at line 3 column 57, remove the one in the url",
        ),
        (
            "url: \"redis://:hunter2@a\", password_env: E",
            "password_env: the url has a password too at line 3 column 56, remove the one in the url",
        ),
        (
            "url: redis://a, password_env: hunter 2",
            "password_env: this is not the name of an environment variable at line 3 column 45, write letters, digits and _ only, not the password itself",
        ),
        (
            "url: redis://a, password_file: ''",
            "password_file: the file name is empty at line 3 column 46, name the file",
        ),
        (
            "url: redis://u@a, username: v, password_env: E",
            "username: the url names a user too at line 3 column 43, keep one of them",
        ),
        (
            "url: redis://a, layout: dynomite",
            "layout: replica `us` has another layout at line 3 column 39, write `dynomite` at all of them, or at none: then stamps are data like any other",
        ),
        (
            "url: redis://a, read_from: replicas",
            "read_from: unknown value `replicas` at line 3 column 42, did you mean `replica`?",
        ),
        (
            "url: redis://a, read_timeout: 0s",
            "read_timeout: a time-out of 0 leaves no time at line 3 column 45, write one like 5s",
        ),
        (
            "url: \"redis://a\", tls: { ca: /ca.pem }",
            "tls: the url speaks in the clear at line 3 column 38, write rediss:// in it, or leave tls out",
        ),
        (
            "url: \"rediss://a?ca=/ca.pem\", tls: { ca: /ca.pem }",
            "tls: the url names files of tls too at line 3 column 50, keep them in one place",
        ),
        (
            "url: \"rediss://a\", tls: { certificate: /c.pem }",
            "tls: our certificate needs its key, and the key its certificate at line 3 column 39, write certificate: FILE, key: FILE",
        ),
        (
            "url: \"redis://u:hunter2#@a\"",
            "url: malformed url (invalid port number), in a user or password write @ : / ? # % as %40 %3A %2F %3F %23 %25 at line 3 column 20",
        ),
    ];
    for (parts, message) in table {
        let text =
            format!("replicas:\n- {{ name: us, url: redis://x }}\n- {{ name: eu, {parts} }}\n");
        assert_eq!(
            complaint(&text),
            format!("replicas[1].{message}"),
            "{parts}"
        );
    }
    let text = "replicas:\n- { name: us, url: redis://x }\n- { name: eu, url: redis://u@a }\n";
    assert_eq!(
        complaint(text),
        "replicas[1]: the user `u` has no password at line 3 column 3, \
         add password_file or password_env (any text will do for a user with nopass)"
    );
}

#[test]
fn every_contradiction_between_keyspaces_is_named() {
    let table = [
        (
            "- { name: a }\n- { name: a, match: x }",
            "keyspaces[1].name: two keyspaces are named `a` at line 7 column 11, give each its own name",
        ),
        (
            "- { name: a }\n- { name: b, match: x }",
            "keyspaces[1]: keyspace `b` never owns a key, `a` before it takes them all at line 7 column 3, put it further up or remove it",
        ),
        (
            "- { name: a, match: x }\n- { name: b, match: x, db: 0 }",
            "keyspaces[1]: keyspace `b` never owns a key, `a` before it takes them all at line 7 column 3, put it further up or remove it",
        ),
        (
            "- { name: a, match: '' }",
            "keyspaces[0].match: the pattern is empty at line 6 column 21, write \"*\" for all keys",
        ),
        (
            "- { name: a, prefer: [mars] }",
            "keyspaces[0].prefer[0]: no replica is in a datacenter `mars` at line 6 column 23, the known ones are us, eu, majority, greatest, skip",
        ),
        (
            "- { name: a, prefer: [us, us] }",
            "keyspaces[0].prefer[1]: `us` stands there twice at line 6 column 27, keep the first",
        ),
        (
            "- { name: a, prefer: [greatest, us] }",
            "keyspaces[0].prefer[1]: `us` is never reached, `greatest` before it always decides at line 6 column 33, remove it or put it before `greatest`",
        ),
        (
            "- { name: a, rules: { string: countr } }",
            "keyspaces[0].rules.string: unknown value `countr` at line 6 column 31, did you mean `counter`?",
        ),
        (
            "- { name: a, rules: { set: lww } }",
            "keyspaces[0].rules.set: unknown value `lww` at line 6 column 28, the known ones are add-wins",
        ),
        (
            "- { name: a, expiry: { rule: shortest } }",
            "keyspaces[0].expiry.rule: unknown value `shortest` at line 6 column 30, the known ones are longest, ignore",
        ),
        (
            "- { name: a, on_delete_conflict: update-win }",
            "keyspaces[0].on_delete_conflict: unknown value `update-win` at line 6 column 34, did you mean `update-wins`?",
        ),
        (
            "- { name: a, rules: { string: counter } }\nreplicates: { lag: 1s }",
            "keyspaces[0].rules.string: `counter` counts twice where datacenters replicate to each other at line 6 column 31, use `counter-max` or remove `replicates`",
        ),
        (
            "- { name: a, rules: { list: append } }\nreplicates: { lag: 1s }",
            "keyspaces[0].rules.list: `append` counts twice where datacenters replicate to each other at line 6 column 29, use `lww` or remove `replicates`",
        ),
    ];
    for (rest, message) in table {
        assert_eq!(
            complaint_with(&format!("keyspaces:\n{rest}\n")),
            message,
            "{rest}"
        );
    }
}

#[test]
fn keyspaces_that_meet_on_some_replicas_alone_are_refused() {
    let text = "replicas:\n- { name: us, url: redis://a/0 }\n- { name: eu, url: redis://a/3 }\n\
                keyspaces:\n- { name: a, match: x, db: 3 }\n- { name: b }\n";
    assert_eq!(
        complaint(text),
        "keyspaces[1]: keyspaces `a` and `b` meet in database 3, the default of replica `eu` alone \
         at line 6 column 3, name a `db` in both, or in neither"
    );
}

#[test]
fn every_contradiction_elsewhere_is_named() {
    let table = [
        (
            "limits: { pipeline: 0 }",
            "limits.pipeline: pipeline 0 is not between 1 and 10000 at line 5 column 21, 10 is gentle, 100 is fast",
        ),
        (
            "limits: { intensity: 0 }",
            "limits.intensity: intensity 0 is not between 0.001 and 1 at line 5 column 22, write the share of time spent working, such as 0.5",
        ),
        (
            "limits: { memory: 0 }",
            "limits.memory: nothing works in no memory at line 5 column 19, write one like 512MiB or 1GiB",
        ),
        (
            "guards: { max_delete_ratio: 1.5 }",
            "guards.max_delete_ratio: ratio 1.5 is not between 0 and 1 at line 5 column 29, write 0.01 for one key in a hundred",
        ),
        (
            "guards: { max_overwrite_ratio: -1 }",
            "guards.max_overwrite_ratio: ratio -1 is not between 0 and 1 at line 5 column 32, write 0.01 for one key in a hundred",
        ),
        (
            "guards: { max_delete_ratio: .nan }",
            "guards.max_delete_ratio: ratio NaN is not between 0 and 1 at line 5 column 29, write 0.01 for one key in a hundred",
        ),
        (
            "replicates: {}",
            "replicates: nothing says how late the datacenters' own replication may be at line 5 column 13, write replicates: { lag: 5s }",
        ),
        (
            "state: memory",
            "state: this is neither `none` nor a map at line 5 column 8, write state: none, or state: { dir: /var/lib/reknit }",
        ),
        (
            "state: { dir: none, journal_age: 1d }",
            "state: without a directory there is no journal at line 5 column 8, name a directory, or write state: none",
        ),
        (
            "state: { dir: '' }",
            "state.dir: the directory's name is empty at line 5 column 15, name a directory, or write state: none",
        ),
        (
            "http: { listen: localhost }",
            "http.listen: this is not an address and port at line 5 column 17, write one like 127.0.0.1:9310 or [::1]:9310",
        ),
    ];
    for (rest, message) in table {
        assert_eq!(complaint_with(rest), message, "{rest}");
    }
}

#[test]
fn every_contradiction_of_the_service_is_named() {
    let table = [
        (
            "http: { listen: '0.0.0.0:9310' }",
            "http.listen: whoever reaches 0.0.0.0:9310 could start and undo runs at line 5 column 17, add token_file, or listen on 127.0.0.1",
        ),
        (
            "http: { tls: { certificate: c } }",
            "http.tls: TLS needs a certificate and its key at line 5 column 14, write tls: { certificate: FILE, key: FILE }",
        ),
        (
            "http: { token_file: '' }",
            "http.token_file: the file name is empty at line 5 column 21, name the file",
        ),
        (
            "notifications: { webhook: {} }",
            "notifications.webhook: nothing says where to at line 5 column 27, add `url:`",
        ),
        (
            "notifications: { webhook: { url: 'ftp://hunter2' } }",
            "notifications.webhook.url: this is not an http or https url at line 5 column 34, write one like https://alerts.example.com/reknit",
        ),
        (
            "notifications: { webhook: { url: http://a, events: [overdu] } }",
            "notifications.webhook.events[0]: unknown event `overdu` at line 5 column 53, did you mean `overdue`?",
        ),
        (
            "notifications: { webhook: { url: http://a, timeout: 1h } }",
            "notifications.webhook.timeout: this is not above 0 and at most a minute at line 5 column 53, write one like 10s",
        ),
    ];
    for (rest, message) in table {
        assert_eq!(complaint_with(rest), message, "{rest}");
    }
}

#[test]
fn every_contradiction_in_a_schedule_is_named() {
    let table = [
        (
            "schedules: [{ name: n }]",
            "schedules[0]: schedule `n` is never due at line 5 column 13, add `cron` or `every`",
        ),
        (
            "schedules: [{ name: n, every: 1m, cron: '* * * * *' }]",
            "schedules[0].every: there is a cron too at line 5 column 31, keep one of them",
        ),
        (
            "schedules: [{ name: n, every: 0s }]",
            "schedules[0].every: every 0 never rests at line 5 column 31, write one like 15m",
        ),
        (
            "schedules: [{ name: n, cron: '* *' }]",
            "schedules[0].cron: this is not a cron expression at line 5 column 30, write five fields: minute hour day month weekday, such as \"0 2 * * *\"",
        ),
        (
            "schedules: [{ name: n, every: 1m, timezone: '?' }]",
            "schedules[0].timezone: there is no time zone `?` at line 5 column 45, write one like UTC or Europe/Berlin",
        ),
        (
            "schedules: [{ name: n, every: 1m, timezone: Europe/Berln }]",
            "schedules[0].timezone: there is no time zone `Europe/Berln` at line 5 column 45, did you mean `Europe/Berlin`?",
        ),
        (
            "schedules: [{ name: n, cron: '0 25 * * *' }]",
            "schedules[0].cron: this is not a cron expression (hour `25`: number out of bounds) at line 5 column 30, write five fields: minute hour day month weekday, such as \"0 2 * * *\"",
        ),
        (
            "schedules: [{ name: n, cron: '0 2 30 2 *' }]",
            "schedules[0].cron: this is not a cron expression (there is no such day) at line 5 column 30, write five fields: minute hour day month weekday, such as \"0 2 * * *\"",
        ),
        (
            "schedules: [{ name: n, every: 10ms }]",
            "schedules[0].every: this is shorter than a second at line 5 column 31, write one like 15m",
        ),
    ];
    for (rest, message) in table {
        assert_eq!(complaint_with(rest), message, "{rest}");
    }
}

#[test]
fn every_contradiction_in_the_parts_of_a_schedule_is_named() {
    let table = [
        (
            "schedules: [{ name: n, every: 1m, window: ['01:00-02:00', x] }]",
            "schedules[0].window[1]: this is not a part of the day at line 5 column 59, write one like \"01:00-06:00\" or \"Mon-Fri 22:00-04:00\"",
        ),
        (
            "schedules: [{ name: n, every: 1m, window: [] }]",
            "schedules[0].window: the list is empty at line 5 column 43, leave it out for always, or write one like \"01:00-06:00\"",
        ),
        (
            "schedules: [{ name: n, every: 1m, window: 3 }]",
            "schedules[0].window: expected a part of the day like \"01:00-06:00\", or a list of them, found integer `3` at line 5 column 43",
        ),
        (
            "schedules: [{ name: n, every: 1m, window: '01:00-02:00', blackouts: ['00:00-12:00'] }]",
            "schedules[0].blackouts: blackouts leave no minute of the week at line 5 column 69, shorten them, or remove the schedule",
        ),
        (
            "schedules: [{ name: n, every: 1m, jitter: 1m }]",
            "schedules[0].jitter: a run would be put off beyond the next one at line 5 column 43, write less than 1m",
        ),
        (
            "schedules: [{ name: n, cron: '0,10 * * * *', jitter: 15m }]",
            "schedules[0].jitter: a run would be put off beyond the next one at line 5 column 54, write less than 10m",
        ),
        (
            "schedules: [{ name: n, every: 1m, deadline: 0s }]",
            "schedules[0].deadline: a deadline of 0 leaves no time at line 5 column 45, write one like 4h",
        ),
        (
            "schedules: [{ name: n, every: 1m, window: 1-2 }]",
            "schedules[0].window: this is not a part of the day at line 5 column 43, write one like \"01:00-06:00\" or \"Mon-Fri 22:00-04:00\"",
        ),
        (
            "schedules: [{ name: n, every: 1m, keyspaces: [defalt] }]",
            "schedules[0].keyspaces[0]: there is no keyspace `defalt` at line 5 column 47, did you mean `default`?",
        ),
        (
            "schedules: [{ name: n, every: 1m }, { name: n, every: 2m }]",
            "schedules[1].name: two schedules are named `n` at line 5 column 45, give each its own name",
        ),
    ];
    for (rest, message) in table {
        assert_eq!(complaint_with(rest), message, "{rest}");
    }
}

#[test]
fn no_complaint_repeats_a_password() {
    let texts = [
        "replicas: [\"redis://u:hunter2@a\", b]",
        "replicas: \"redis://u:hunter2@a\"",
        "\"redis://u:hunter2@a\": 1",
        "redis://u:hunter2@a",
        "replicas:\n- { name: us, url: [\"redis://u:hunter2@a\"] }",
        "replicas:\n- { name: us, url: redis://a, password: hunter2 }",
        "limits: { memory: \"redis://u:hunter2@a\" }",
    ];
    for text in texts {
        let message = complaint(text);
        assert!(!message.contains("hunter2"), "{text}: {message}");
    }
    let config = read(
        "replicas:\n- { name: a, url: \"redis://:hunter2@a\" }\n- { name: b, url: redis://b }",
    );
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_password_key_is_pointed_to_files_and_variables() {
    assert_eq!(
        complaint("replicas:\n- { name: us, url: redis://a, password: x }"),
        "replicas[0]: unknown key `password` at line 2 column 31, \
         write `password_file` or `password_env`, a password does not belong into the file"
    );
}
