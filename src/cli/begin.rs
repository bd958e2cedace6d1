//! Runs that the service is asked to begin: of a schedule, or of selected keys.

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::args::service::RunNowArgs;
use super::args::{GlobalArgs, SelectionArgs};
use super::ask::{POLL, asked, exit_of, say};
use super::client::{Client, part};
use super::remote::{self, OTHER_VERSION, SaidRun, read};
use super::selection;
use crate::app::Exit;
use crate::model::{Key, escape};
use crate::repair::Mode;
use crate::report::{AskedReport, SeenRun, Shape};

/// `reknit run-now`
pub(super) async fn run_now(
    global: &GlobalArgs,
    args: &RunNowArgs,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let (wait, is_everything) = (args.wait, args.selection.is_everything());
    match args.schedule.clone() {
        Some(_) if !is_everything => {
            bail!("a schedule has keyspaces of its own: select keys without SCHEDULE")
        }
        Some(name) => {
            let ask =
                move |client: &Client, shape: &Shape| of_schedule(client, shape, (name, wait));
            asked(global, &args.service, stop, ask).await
        }
        None if is_everything && !args.all => {
            bail!("run what? name a schedule, select keys, or say --all for all of them")
        }
        None => {
            let body = body(args)?;
            let ask =
                move |client: &Client, shape: &Shape| of_selection(client, shape, (&body, wait));
            asked(global, &args.service, stop, ask).await
        }
    }
}

fn of_schedule(
    client: &Client,
    shape: &Shape,
    (name, wait): (String, bool),
) -> anyhow::Result<Exit> {
    let before = latest_run(client)?;
    client.post(&format!("/schedules/{}/run", part(&name)))?;
    if !wait {
        let report = AskedReport {
            done: format!("a run of schedule {name} begins as soon as it can"),
            run: None,
            schedule: Some(name),
            state: None,
        };
        return say(&report, shape, Exit::InSync);
    }
    let id = ended_run(client, &name, before)?;
    let run = remote::run(client, id)?;
    let report = AskedReport {
        done: format!("run {id} of schedule {name} is {}", ending(&run)),
        run: Some(id),
        schedule: Some(name),
        state: Some(run.state.clone()),
    };
    say(&report, shape, exit_of(&run))
}

fn of_selection(
    client: &Client,
    shape: &Shape,
    (body, wait): (&Value, bool),
) -> anyhow::Result<Exit> {
    let begun = client.post_body("/runs", body)?;
    let id = begun["id"].as_u64().context(OTHER_VERSION)?;
    if !wait {
        let report = AskedReport {
            done: format!("run {id} has begun: `reknit status`, `reknit runs divergences {id}`"),
            run: Some(id),
            schedule: None,
            state: None,
        };
        return say(&report, shape, Exit::InSync);
    }
    let run = loop {
        let run = remote::run(client, id)?;
        match run.ended_ms {
            Some(_) => break run,
            None => std::thread::sleep(POLL),
        }
    };
    let report = AskedReport {
        done: format!("run {id} is {}", ending(&run)),
        run: Some(id),
        schedule: None,
        state: Some(run.state.clone()),
    };
    say(&report, shape, exit_of(&run))
}

/// How a run ended, in words.
fn ending(run: &SaidRun) -> String {
    let note = run.note.as_ref();
    let note = note.map_or_else(String::new, |note| format!(": {note}"));
    let differed = match run.divergences {
        0 => String::new(),
        1 => format!(
            "; 1 key differed, `reknit runs divergences {}` shows it",
            run.id
        ),
        many => format!(
            "; {many} keys differed, `reknit runs divergences {}` shows them",
            run.id
        ),
    };
    format!("{}{note}{differed}", run.state)
}

/// What the service is asked.
fn body(args: &RunNowArgs) -> anyhow::Result<Value> {
    let mut body = Map::new();
    let mode = match (args.diff, args.dry_run) {
        (true, _) => "diff",
        (_, true) => "dry-run",
        _ => "repair",
    };
    body.insert("mode".into(), json!(mode));
    body.insert("selection".into(), selected(&args.selection)?);
    let numbers = [
        ("limit", args.limit),
        ("force_overwrites", args.force_overwrites),
        ("force_deletes", args.force_deletes),
    ];
    for (name, number) in numbers {
        body.extend(number.map(|number| (name.to_owned(), json!(number))));
    }
    let reason = args.reason.as_ref();
    body.extend(reason.map(|reason| ("reason".to_owned(), json!(reason))));
    Ok(Value::Object(body))
}

fn selected(args: &SelectionArgs) -> anyhow::Result<Value> {
    let shown = |key: &Key| escape(key.as_bytes());
    let keys = selection::keys(args, std::io::stdin())?;
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        body.extend(value.map(|value| (name.to_owned(), value)));
    };
    let keyspaces = &args.keyspace;
    put(
        "keyspaces",
        (!keyspaces.is_empty()).then(|| json!(keyspaces)),
    );
    put("match", args.pattern.as_ref().map(|glob| json!(glob)));
    put("keys", keys.map(|keys| keys.iter().map(shown).collect()));
    put("from", args.from.as_ref().map(|key| json!(shown(key))));
    put("to", args.to.as_ref().map(|key| json!(shown(key))));
    put("slots", args.slots.map(|slots| json!(slots.to_string())));
    let kinds = args.kind.iter().map(|kind| kind.name());
    put("types", (!args.kind.is_empty()).then(|| kinds.collect()));
    Ok(Value::Object(body))
}

/// What to say instead of a command that a service does not leave the state directory to.
pub(super) fn instead(mode: Mode, args: &SelectionArgs) -> String {
    let mut words = vec!["reknit run-now --wait".to_owned()];
    words.extend(match mode {
        Mode::Diff => Some("--diff".to_owned()),
        Mode::Plan => Some("--dry-run".to_owned()),
        Mode::Repair => None,
    });
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let key = |flag: &str, key: &Key| format!("{flag} {}", quoted(&escape(key.as_bytes())));
    words.extend(
        args.keyspace
            .iter()
            .map(|name| format!("--keyspace {}", quoted(name))),
    );
    words.extend(
        args.pattern
            .iter()
            .map(|glob| format!("--match {}", quoted(glob))),
    );
    words.extend(args.key.iter().map(|one| key("--key", one)));
    let file = args.keys_from.as_ref();
    words.extend(file.map(|path| format!("--keys-from {}", quoted(&path.display().to_string()))));
    words.extend(args.from.iter().map(|one| key("--from", one)));
    words.extend(args.to.iter().map(|one| key("--to", one)));
    words.extend(args.slots.map(|slots| format!("--slots {slots}")));
    words.extend(
        args.kind
            .iter()
            .map(|kind| format!("--type {}", kind.name())),
    );
    if args.is_everything() {
        words.push("--all".into());
    }
    format!(
        "a service works on it, which has to do this: `{}`, then `reknit runs divergences RUN`",
        words.join(" ")
    )
}

fn runs(client: &Client, most: usize) -> anyhow::Result<Vec<SeenRun>> {
    let mut page = client.get(&format!("/runs?limit={most}"))?;
    read(page["runs"].take())
}

/// The number of the latest run; 0 if there was none.
fn latest_run(client: &Client) -> anyhow::Result<u64> {
    Ok(runs(client, 1)?.first().map_or(0, |run| run.id))
}

/// Waits until the schedule's first run after another has ended, and answers its number.
fn ended_run(client: &Client, schedule: &str, after: u64) -> anyhow::Result<u64> {
    loop {
        let runs = runs(client, 20)?;
        let ours = |run: &&SeenRun| run.id > after && run.schedule.as_deref() == Some(schedule);
        match runs.into_iter().rev().find(|run| ours(&run)) {
            Some(run) if run.is_ended() => return Ok(run.id),
            _ => std::thread::sleep(POLL),
        }
    }
}
