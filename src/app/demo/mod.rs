//! `reknit demo`: three real servers that diverge, and a real run that repairs them.
//!
//! ```text
//! start -> fill alike -> diverge -> diff -> repair -> diff -> DEBUG DIGEST of all three
//! ```
//!
//! The last word is the servers' own: only where their digests are equal, the demo has succeeded. It touches no
//! server but those that it started.

mod data;
mod diverge;
mod error;
mod servers;
mod stage;
mod version;

use futures::future::try_join_all;
use redis::Pipeline;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::model::Selection;
use crate::repair::Mode;
use crate::report::Shape;

use super::Exit;
pub use error::DemoError;
use servers::Servers;
pub use stage::Opener;
use stage::{PIPELINE, Stage, grouped};

/// Keys that are sent to a server in one go.
const CHUNK_KEYS: u64 = 2_000;

/// What the demo is asked for.
pub struct Demo {
    /// How many keys each server is filled with.
    pub keys: u64,
    /// Whether the servers are left running.
    pub keep: bool,
    /// How reports look.
    pub shape: Shape,
    /// Whether runs show a progress bar on standard error.
    pub bar: bool,
    /// Opens the output.
    pub open: Opener,
}

/// Plays the demo to its end, or until it is stopped; then its servers are gone, unless they are to be kept.
///
/// # Errors
/// When a server cannot be started or used, or a run comes to nothing.
pub async fn demo(demo: &Demo, stop: CancellationToken) -> Result<Exit, DemoError> {
    let mut stage = Stage::new(demo);
    let started = tokio::select! {
        started = begin(&mut stage) => started?,
        () = stop.cancelled() => return stage.interrupted(),
    };
    let result = tokio::select! {
        // First: a run that was told to stop may end in the same moment.
        biased;
        () = stop.cancelled() => stage.interrupted(),
        result = play(demo, &mut stage, &started, &stop) => result,
    };
    let played_to_its_end = matches!(result, Ok(Exit::InSync | Exit::Diverged));
    if demo.keep && played_to_its_end {
        stage.say(&how_to_go_on(&started))?;
        started.keep().await;
    } else {
        started.stop().await?;
        if result.is_ok() {
            stage.say("The servers are stopped and their directory is removed.")?;
        }
    }
    result
}

async fn begin(stage: &mut Stage<'_>) -> Result<Servers, DemoError> {
    stage.begin("Starting three redis-servers, one for each datacenter")?;
    let servers = Servers::start().await?;
    stage.done()?;
    for server in servers.all() {
        stage.say(&format!("  {}  {}", server.name, server.url()))?;
    }
    Ok(servers)
}

async fn play(
    demo: &Demo,
    stage: &mut Stage<'_>,
    servers: &Servers,
    stop: &CancellationToken,
) -> Result<Exit, DemoError> {
    fill(demo.keys, stage, servers).await?;
    diverge(demo.keys, stage, servers).await?;
    compare(demo, stage, servers, stop).await?;
    prove(stage, servers).await
}

/// Fills all servers alike.
async fn fill(keys: u64, stage: &mut Stage<'_>, servers: &Servers) -> Result<(), DemoError> {
    stage.begin(&format!(
        "Filling each with the same {} keys: strings, hashes, sets, sorted sets, lists, streams, HyperLogLogs, \
         bitmaps, places",
        grouped(keys)
    ))?;
    let now = SystemClock.now();
    for first in (0..keys).step_by(CHUNK_KEYS as usize) {
        let mut commands = Pipeline::new();
        for number in first..keys.min(first + CHUNK_KEYS) {
            data::fill(number, now, &mut commands);
        }
        try_join_all(servers.all().iter().map(|server| server.send(&commands))).await?;
    }
    stage.done()
}

async fn diverge(keys: u64, stage: &mut Stage<'_>, servers: &Servers) -> Result<(), DemoError> {
    let [us, eu, ap] = servers.all() else {
        unreachable!("there are as many servers as names");
    };
    let (count, now) = (grouped(diverge::scale(keys)), SystemClock.now());
    stage.say("Now the datacenters lose each other:")?;

    let missed = diverge::missed_by_eu(keys);
    stage.begin(&format!(
        "  eu is cut off and misses {} writes: new orders, changed users, streams, leaderboards, inboxes",
        grouped(missed.len() as u64)
    ))?;
    us.send(&missed).await?;
    ap.send(&missed).await?;
    stage.done()?;

    stage.begin(&format!(
        "  us and eu both go on writing: {count} products, {count} users and {count} carts, each in its own way"
    ))?;
    let [in_us, in_eu] = diverge::both_sides(keys);
    us.send(&in_us).await?;
    eu.send(&in_eu).await?;
    us.send(&diverge::extended_in_us(keys, now)).await?;
    let [in_us, in_eu] = diverge::type_conflict();
    us.send(&in_us).await?;
    eu.send(&in_eu).await?;
    stage.done()?;
    stage.say(&format!(
        "  us alone extends {count} sessions, and {} is a string in us and a hash in eu",
        diverge::TYPE_CONFLICT
    ))?;

    stage.begin("  ap restarts without its data: FLUSHALL")?;
    ap.ask(&["FLUSHALL", "SYNC"]).await?;
    stage.done()
}

/// Runs what the commands run: a look at some keys, a diff, the repair, and a diff again.
async fn compare(
    demo: &Demo,
    stage: &mut Stage<'_>,
    servers: &Servers,
    stop: &CancellationToken,
) -> Result<(), DemoError> {
    let runs = stage::Runs::new(servers, stop.clone())?;
    stage.say(&format!(
        "Nobody else uses these servers, so reknit takes a pipeline of {PIPELINE} commands instead of {}.",
        crate::model::Limits::DEFAULT_PIPELINE
    ))?;
    stage.title("reknit diff --key ...   six of the keys, one for each sort of damage")?;
    let samples = diverge::samples(demo.keys);
    let shown = samples.len();
    runs.run(stage, Mode::Diff, runs.selection_of(samples), shown)
        .await?;
    stage.title("reknit diff   everything")?;
    runs.run(stage, Mode::Diff, runs.all(), 0).await?;
    stage.title("reknit repair")?;
    runs.run(stage, Mode::Repair, runs.all(), 0).await?;
    stage.title("reknit diff   again, and it must find nothing")?;
    let all: Selection = runs.all();
    match runs.run(stage, Mode::Diff, all, SHOWN_IF_LEFT).await? {
        Exit::InSync => Ok(()),
        _ => Err(DemoError::Left),
    }
}

/// Asks the servers themselves whether they are equal.
async fn prove(stage: &mut Stage<'_>, servers: &Servers) -> Result<Exit, DemoError> {
    stage.title("And what do the servers say? DEBUG DIGEST of everything each of them holds:")?;
    let mut digests = Vec::new();
    for server in servers.all() {
        let digest = server.ask(&["DEBUG", "DIGEST"]).await?;
        let keys = server.ask(&["DBSIZE"]).await?;
        stage.say(&format!("  {}  {digest}  {keys} keys", server.name))?;
        digests.push((digest, keys));
    }
    if digests.windows(2).all(|pair| pair[0] == pair[1]) {
        stage.say(&format!("Equal on all three, after {}.", stage.total()))?;
        Ok(Exit::InSync)
    } else {
        stage.say("They are NOT equal: this is a bug, please report it.")?;
        Ok(Exit::Diverged)
    }
}

/// Keys that the last diff shows, where there are any.
const SHOWN_IF_LEFT: usize = 6;

fn how_to_go_on(servers: &Servers) -> String {
    let mut text = String::from("The servers are still running (--keep):\n");
    for server in servers.all() {
        text += &format!("  {}  {}\n", server.name, server.url());
    }
    let replicas: Vec<String> = servers
        .all()
        .iter()
        .map(|server| format!("--replica {}={}", server.name, server.url()))
        .collect();
    let first = servers.all()[0].port;
    text += "Look around, break something, and repair it:\n";
    text += &format!("  redis-cli -p {first} --scan --pattern 'user:*' | head\n");
    text += &format!("  redis-cli -p {first} del user:9\n");
    text += &format!("  reknit diff {}\n", replicas.join(" "));
    text += &format!("  reknit repair {}\n", replicas.join(" "));
    text += "Stop them:\n";
    for server in servers.all() {
        text += &format!("  redis-cli -p {} shutdown nosave\n", server.port);
    }
    text += &format!("  rm -r {}", servers.dir().display());
    text
}
