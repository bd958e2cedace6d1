//! What memory costs: a bulk load of the state directory, its size, listing it, a synced commit, opening it.
//!
//! Keys of 20 bytes come in no order and in batches, as a first run learns them. All goes through `State`, as in a run.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytesize::ByteSize;
use clap::Parser;

use reknit::model::{
    Agreement, Body, DbIndex, Expiry, Key, Kind, Lag, LagBase, Memory, Millis, Position,
    PositionRange, ReplicaId, RunNumber, Seen, Sequence, ValueDigest, Version,
};
use reknit::state::{
    Changes, Intent, IntentKey, IntentPart, Opening, Retention, RunEnd, RunStart, State,
};

const DB: DbIndex = DbIndex(0);
const NOW: Millis = Millis(1_700_000_000_000);
const REPLICA: ReplicaId = ReplicaId([1; 8]);

/// Bytes of a key.
const KEY_BYTES: u64 = 20;

/// Keys of one synced step.
const STEP_KEYS: u64 = 64;

/// Measures the state directory
#[derive(Debug, Parser)]
#[command(name = "make bench-state")]
struct Args {
    /// Keys to agree on
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    /// Keys learned in one commit
    #[arg(long, default_value_t = 4096)]
    batch: usize,
    /// Learn the keys in the order of positions, as a diff yields them
    #[arg(long)]
    in_order: bool,
    /// Listings of all keys
    #[arg(long, default_value_t = 3)]
    listings: usize,
    /// Synced steps
    #[arg(long, default_value_t = 500)]
    steps: u64,
    /// Where to put the directory; it is removed at the end
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let dir = tempfile::tempdir_in(&args.dir).context("no temporary directory")?;
    println!(
        "{} keys of {KEY_BYTES} bytes, {} to a batch",
        args.keys, args.batch
    );
    let state = open(dir.path())?;
    load(&state, &args)?;
    list(&state, &args, "listing")?;
    look_up(&state, args.keys)?;
    step(&state, &args)?;
    size(&state, dir.path(), args.keys)?;
    let closing = Instant::now();
    drop(state);
    figure("closing", seconds(closing.elapsed()));
    let opening = Instant::now();
    let state = open(dir.path())?;
    figure("opening", seconds(opening.elapsed()));
    list(&state, &args, "listing after it was opened")?;
    size(&state, dir.path(), args.keys)?;
    prune(&state)?;
    figure("memory at most", memory_peak()?);
    Ok(())
}

fn open(dir: &Path) -> Result<State> {
    let opening = Opening {
        dir,
        now: NOW,
        purpose: "bench",
        random: [7; 64],
    };
    Ok(State::open(opening)?)
}

/// Learns all keys: in an order that has nothing to do with positions, as SCAN gives them, or in theirs.
fn load(state: &State, args: &Args) -> Result<()> {
    let mut order: Vec<u64> = (0..args.keys).collect();
    if args.in_order {
        order.sort_by_cached_key(|number| Position::of(key(*number).as_bytes()));
    }
    let began = Instant::now();
    let start = RunStart {
        at: NOW,
        purpose: "bench".into(),
        replicas: Vec::new(),
        undoes: None,
    };
    let run = state.begin_run(start)?;
    for batch in order.chunks(args.batch) {
        let mut changes = Changes::new(NOW);
        for &number in batch {
            changes.put_agreement(DB, key(number), agreement(number, 1));
        }
        state.commit_unsynced(changes)?;
    }
    state.sync()?;
    let loaded = began.elapsed();
    let end = RunEnd {
        at: NOW,
        result: "done".into(),
        exit: 0,
        note: None,
        counts: BTreeMap::new(),
    };
    state.end_run(run, end)?;
    let rate = args.keys as f64 / loaded.as_secs_f64();
    figure(
        "bulk load, synced",
        format!("{} ({rate:.0} keys/s)", seconds(loaded)),
    );
    Ok(())
}

fn list(state: &State, args: &Args, what: &str) -> Result<()> {
    for _ in 0..args.listings {
        let (began, processor) = (Instant::now(), processor_time()?);
        let mut last = 0;
        let mut visit = |entry: reknit::model::EntryRef<'_>, _| {
            last = entry.position.bits().max(last);
        };
        let count = state.listed(DB, PositionRange::all(), &mut visit)?;
        ensure!(count == args.keys && last > 0, "{count} keys were listed");
        let (took, processor) = (began.elapsed(), processor_time()? - processor);
        let per_million = processor.as_secs_f64() * 1e6 / count as f64;
        let cost = format!("{per_million:.3} s of a processor per million");
        figure(what, format!("{} ({cost})", seconds(took)));
    }
    Ok(())
}

fn look_up(state: &State, keys: u64) -> Result<()> {
    const ASKED: u64 = 100_000;
    let began = Instant::now();
    for turn in 0..ASKED {
        let number = turn.wrapping_mul(7_919) % keys;
        ensure!(
            state.agreement(DB, &key(number))?.is_some(),
            "key {number} is lost"
        );
    }
    let took = began.elapsed() / u32::try_from(ASKED)?;
    figure(
        "looking up one key",
        format!("{:.1} µs", took.as_secs_f64() * 1e6),
    );
    Ok(())
}

/// Steps as a repair takes them: an intent, synced; then what came of it, synced.
fn step(state: &State, args: &Args) -> Result<()> {
    let (mut opened, mut settled) = (Vec::new(), Vec::new());
    for turn in 0..args.steps {
        let intent = intent(state.next_sequence()?, turn * STEP_KEYS, args.keys);
        let began = Instant::now();
        let mut changes = Changes::new(NOW);
        changes.open_intent(intent.clone());
        state.commit(changes)?;
        opened.push(began.elapsed());
        let began = Instant::now();
        state.commit(intent.settle(NOW, |_, place| Some(place % 8 != 0)))?;
        settled.push(began.elapsed());
    }
    figure("synced intent of 64 keys", percentiles(&mut opened));
    figure("synced outcome of 64 keys", percentiles(&mut settled));
    Ok(())
}

fn intent(sequence: Sequence, first: u64, keys: u64) -> Intent {
    let keys = (0..STEP_KEYS).map(|place| {
        let number = (first + place).wrapping_mul(7_919) % keys;
        let otherwise = Lag {
            base: LagBase::Held(agreement(number, 1).memory),
            seen: Seen::all(Version(1)),
            proved: sequence,
            since: sequence,
            evicted: false,
        };
        IntentKey {
            key: key(number),
            agreement: Some(agreement(number, 2)),
            always: Vec::new(),
            parts: vec![IntentPart {
                replica: REPLICA,
                place: place as u8,
                applied: None,
                otherwise,
            }],
        }
    });
    Intent {
        sequence,
        run: RunNumber(1),
        db: DB,
        replicas: vec![REPLICA],
        keys: keys.collect(),
        late: false,
    }
}

fn size(state: &State, dir: &Path, keys: u64) -> Result<()> {
    let (sizes, on_disk) = (state.sizes()?, disk_usage(dir)?);
    let beyond = |bytes: u64| (bytes as f64 / keys as f64) - KEY_BYTES as f64;
    figure(
        "agreements in files",
        format!(
            "{}, {:.1} bytes per key beyond the key's",
            ByteSize::b(sizes.agreement_bytes),
            beyond(sizes.agreement_bytes)
        ),
    );
    figure(
        "the directory, log and all",
        format!(
            "{}, {:.1} bytes per key beyond the key's",
            ByteSize::b(on_disk),
            beyond(on_disk)
        ),
    );
    Ok(())
}

fn prune(state: &State) -> Result<()> {
    let began = Instant::now();
    let retention = Retention {
        age: Duration::ZERO,
        bytes: 0,
    };
    let pruned = state.prune(NOW.plus(Duration::from_secs(1)), Duration::ZERO, retention)?;
    let took = seconds(began.elapsed());
    figure(
        "pruning",
        format!("{took} ({} records of history)", pruned.history),
    );
    Ok(())
}

fn key(number: u64) -> Key {
    // An odd factor scatters the numbers: neighbours in the load are none in the order.
    Key::new(format!(
        "user:{:015}",
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_000_000_000
    ))
}

fn agreement(number: u64, version: u64) -> Agreement {
    let mut digest = [0; ValueDigest::LENGTH];
    let random = blake3::hash(&(number ^ (version << 56)).to_le_bytes());
    digest.copy_from_slice(&random.as_bytes()[..ValueDigest::LENGTH]);
    let memory = Memory {
        kind: Kind::String,
        digest: ValueDigest::from_bytes(digest),
        expiry: Expiry::Never,
        body: Body::Whole,
    };
    Agreement {
        version: Version(version),
        memory: Some(memory),
        removed: BTreeMap::new(),
        // A batch is proved by one step, and learned in one moment.
        proved: Sequence(1 + number / 4096),
        since: Millis(NOW.0 + (number / 4096) as i64),
    }
}

fn figure(what: &str, value: String) {
    println!("{what:<30} {value}");
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99))
}

/// Bytes of the blocks that all files take: the log is reserved beyond its end.
fn disk_usage(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() {
            disk_usage(&entry.path())?
        } else {
            about.blocks() * 512
        };
    }
    Ok(bytes)
}

/// How long this thread was on a processor: what a listing costs, also where others wait for the same one.
fn processor_time() -> Result<Duration> {
    let times = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = times.split_whitespace().next().context("no schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

fn memory_peak() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    let kibibytes: u64 = number.context("no VmHWM")?.parse()?;
    Ok(ByteSize::kib(kibibytes).to_string())
}
