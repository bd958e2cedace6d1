//! Rounds: clients write on all sides, a run repairs, disturbed or not, and all servers hold what the specification says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;

use super::clients::Clients;
use super::dice::Dice;
use super::fleet::{Fleet, Held, SERVERS};
use super::gate::Event;
use super::spec::{Contents, Name, Past, Sight, Spec};
use crate::support::reknit::Outcome;

/// How many differences are shown.
const SHOWN: usize = 20;

/// What happens to a run at a chosen moment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// It is killed.
    KillRun,
    /// A server is killed, and starts again at once or when the run has ended.
    KillServer { server: usize, at_once: bool },
    /// Clients write this often.
    Clients(u64),
}

/// What a server was once.
struct Kept {
    file: PathBuf,
    sight: Sight,
    server: usize,
    round: usize,
    /// The server lost everything since.
    is_void: bool,
}

/// Rounds under way.
pub(crate) struct History {
    pub(crate) fleet: Fleet,
    spec: Spec,
    pub(crate) clients: Clients,
    seed: u64,
    round: usize,
    /// How many pieces the last undisturbed run said.
    pieces: u64,
    kept: Vec<Kept>,
    /// What happened in this round.
    told: Vec<String>,
}

impl History {
    pub(crate) fn new(seed: u64, is_synced: bool) -> Self {
        Self {
            fleet: Fleet::start(is_synced),
            spec: Spec::new(SERVERS),
            clients: Clients::new(Dice::new(seed), SERVERS),
            seed,
            round: 0,
            pieces: 1,
            kept: Vec::new(),
            told: Vec::new(),
        }
    }

    pub(crate) fn dice(&mut self) -> &mut Dice {
        &mut self.clients.dice
    }

    pub(crate) fn server(&mut self) -> usize {
        self.clients.dice.below(SERVERS as u64) as usize
    }

    fn tell(&mut self, what: String) {
        self.told.push(what);
    }

    /// Clients write, up to so often, on all sides.
    pub(crate) fn write(&mut self, most: u64) {
        let mut commands = vec![Vec::new(); SERVERS];
        for _ in 0..=self.clients.dice.below(most) {
            let server = self.server();
            let command = self.clients.write(&mut self.spec, server);
            commands[server].extend(command);
        }
        for (server, commands) in commands.iter().enumerate() {
            let said: Vec<String> = commands.iter().map(|words| words.join(" ")).collect();
            self.tell(format!("clients of r{}: {}", server + 1, said.join("; ")));
            self.fleet.send(server, commands);
        }
    }

    /// A round begins: what servers hold is what was written, or this test is wrong.
    pub(crate) fn begin(&mut self, writes: u64) -> Vec<Held> {
        self.round += 1;
        self.told.clear();
        self.write(writes);
        self.as_written()
    }

    fn as_written(&self) -> Vec<Held> {
        let held = self.fleet.held();
        for (server, held) in held.iter().enumerate() {
            let written = self.spec.sights[server].contents();
            assert_contents(
                &format!("before the run r{}", server + 1),
                &held.contents,
                &written,
            );
        }
        held
    }

    /// A run that nothing disturbs, to its end: in sync, and exact.
    pub(crate) fn repair(&mut self) -> Outcome {
        let (sender, _receiver) = channel();
        self.fleet.gates.arm(Vec::new(), sender);
        let outcome = self.fleet.reknit("repair").run();
        self.pieces = self.fleet.gates.disarm();
        self.tell(summary(&outcome));
        outcome.assert_code(0);
        self.exact();
        outcome
    }

    /// All servers hold what the specification says, and the next round begins.
    pub(crate) fn exact(&mut self) {
        let must = self.spec.merge();
        let held = self.fleet.held();
        for (server, held) in held.iter().enumerate() {
            assert_contents(
                &format!("after the run r{}", server + 1),
                &held.contents,
                &must,
            );
        }
        assert!(
            held.iter().all(|one| one.empty == held[0].empty),
            "empty streams"
        );
        self.clients.settle();
    }

    /// A run to which this happens, in this order.
    pub(crate) fn disturbed(&mut self, acts: &[Act]) -> Outcome {
        let pieces = self.pieces;
        let mut moments = BTreeSet::new();
        while moments.len() < acts.len().min(pieces as usize) {
            moments.insert(1 + self.clients.dice.below(pieces));
        }
        self.tell(format!("at {moments:?} of {pieces} pieces: {acts:?}"));
        let (sender, events) = channel();
        self.fleet
            .gates
            .arm(moments.into_iter().collect(), sender.clone());
        self.clients.is_late = true;
        let running = self.fleet.reknit("repair").spawn();
        let pid = running.pid();
        thread::spawn(move || sender.send(Event::Ended(Box::new(running.finish()))));
        let mut acts = acts.iter();
        let mut later = Vec::new();
        loop {
            match events.recv().expect("the run ends") {
                Event::Reached(go) => {
                    let act = *acts.next().expect("one act for each moment");
                    later.extend(self.act(act, pid));
                    drop(go);
                }
                Event::Ended(outcome) => {
                    self.fleet.gates.disarm();
                    later
                        .into_iter()
                        .for_each(|server| self.fleet.restart(server));
                    self.tell(summary(&outcome));
                    return *outcome;
                }
            }
        }
    }

    /// Does it; returns the server that is to be started again later.
    fn act(&mut self, act: Act, pid: u32) -> Option<usize> {
        match act {
            Act::KillRun => kill(pid),
            Act::Clients(most) => self.write(most),
            Act::KillServer { server, at_once } => {
                self.fleet.kill(server);
                if !at_once {
                    return Some(server);
                }
                self.fleet.restart(server);
            }
        }
        None
    }

    /// Every key at every server is as it was, or as a run makes it, also one that lost a server: nothing lies between.
    pub(crate) fn assert_whole(&self, before: &[Held], lost: Option<usize>) {
        let lost = lost.map(|server| self.spec.without(server));
        let ends = [Some(self.spec.clone()), lost];
        let ends: Vec<Contents> = ends
            .into_iter()
            .flatten()
            .map(|mut one| one.merge())
            .collect();
        let ends: Vec<_> = ends.iter().map(by_key).collect();
        for (server, held) in self.fleet.held().iter().enumerate() {
            let (held, before) = (by_key(&held.contents), by_key(&before[server].contents));
            let keys = ends.iter().chain([&held, &before]).flat_map(BTreeMap::keys);
            for key in keys {
                let (found, was) = (held.get(key), before.get(key));
                let is_whole = found == was || ends.iter().any(|end| end.get(key) == found);
                let whose = server + 1;
                assert!(
                    is_whole,
                    "{key} of r{whose} is torn: {found:?}, before {was:?}"
                );
            }
        }
    }

    /// Keeps what a server holds now, to be restored one day.
    pub(crate) fn keep(&mut self) {
        let server = self.server();
        let file = self.fleet.save(server, &format!("{}.rdb", self.round));
        let sight = self.spec.sights[server].clone();
        self.kept.push(Kept {
            file,
            sight,
            server,
            round: self.round,
            is_void: false,
        });
    }

    /// A server starts empty, or with old data of its own or of another one. What must be said of it.
    ///
    /// What a server was before it lost everything has no base any more, should it ever come back: it is a newcomer's.
    /// What it was after a moment that it was rolled back to has one for some keys alone, and is not asked for here.
    pub(crate) fn forget(&mut self, server: usize) -> &'static str {
        self.clients.forget(server);
        let own = |kept: &Kept| kept.server == server;
        if self.kept.is_empty() || self.clients.dice.percent(35) {
            self.tell(format!("r{} is flushed", server + 1));
            self.fleet.flush(server);
            self.spec.forget(server, Past::Newcomer, Sight::default());
            self.kept
                .iter_mut()
                .filter(|kept| own(kept))
                .for_each(|kept| kept.is_void = true);
            return "lost its marker";
        }
        let chosen = self.clients.dice.below(self.kept.len() as u64) as usize;
        let kept = &self.kept[chosen];
        let (round, whose, is_void) = (kept.round, kept.server, kept.is_void);
        self.fleet.restore(server, &kept.file);
        let past = match whose == server && !is_void {
            true => Past::RolledBack,
            false => Past::Newcomer,
        };
        self.spec.forget(server, past, kept.sight.clone());
        self.tell(format!(
            "r{} is what r{} was after round {round}",
            server + 1,
            whose + 1
        ));
        if whose == server {
            self.kept.retain(|kept| !own(kept) || kept.round <= round);
            return "was rolled back to step";
        }
        self.kept
            .iter_mut()
            .filter(|kept| own(kept))
            .for_each(|kept| kept.is_void = true);
        "lost its marker"
    }

    /// Puts back what the last run wrote: all servers hold what they held before it.
    pub(crate) fn undo(&mut self, before: &[Held]) {
        let run = self.fleet.last_run().to_string();
        let outcome = self.fleet.reknit("undo").args([run]).run();
        self.tell(summary(&outcome));
        outcome.assert_code(0);
        for (server, held) in self.fleet.held().iter().enumerate() {
            let before = &before[server].contents;
            assert_contents(
                &format!("after the undo r{}", server + 1),
                &held.contents,
                before,
            );
        }
    }

    /// Takes up by name what was undone, as if it had never been.
    pub(crate) fn take_up(&mut self, before: &[Held]) {
        let keys = before.iter().flat_map(|held| held.contents.keys());
        let keys: BTreeSet<&str> = keys.map(|(key, _)| key.as_str()).collect();
        let named = keys.iter().map(|key| format!("--key={key}"));
        let outcome = self.fleet.reknit("repair").args(named).run();
        self.tell(summary(&outcome));
        outcome.assert_code(0);
        self.exact();
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if thread::panicking() {
            let told = self.told.join("\n");
            eprintln!(
                "REKNIT_SEED={} fails in round {}:\n{told}",
                self.seed, self.round
            );
        }
    }
}

/// How a run ended, and the first lines of what it said.
fn summary(outcome: &Outcome) -> String {
    let first: Vec<&str> = outcome.stdout.lines().take(3).collect();
    let (code, first) = (outcome.code(), first.join("\n"));
    format!("run ends with {code:?}: {first}\n{}", outcome.stderr)
}

fn kill(pid: u32) {
    let pid = pid.to_string();
    let status = Command::new("kill").args(["-KILL", &pid]).status();
    assert!(
        status.expect("kill can be run").success(),
        "the run was there"
    );
}

fn by_key(contents: &Contents) -> BTreeMap<&str, BTreeMap<&str, &str>> {
    let mut keys: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for ((key, element), item) in contents {
        keys.entry(key).or_default().insert(element, item);
    }
    keys
}

#[track_caller]
fn assert_contents(whose: &str, held: &Contents, must: &Contents) {
    let names: BTreeSet<&Name> = held.keys().chain(must.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| held.get(*name) != must.get(*name));
    let shown: Vec<String> = differing
        .take(SHOWN)
        .map(|name| {
            let (held, must) = (held.get(name), must.get(name));
            format!("{} {}: {held:?}, it must be {must:?}", name.0, name.1)
        })
        .collect();
    assert!(shown.is_empty(), "{whose} differs:\n{}", shown.join("\n"));
}
