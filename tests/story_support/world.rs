//! The world of a story: its replicas, its clock, and the engine that compares and repairs them.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use reknit::model::{Key, Keyspace, Keyspaces, Millis, Policy, State, escape};
use reknit::store::Replica;

use super::show::show;
use super::step::{Step, Word};
use super::story::Item;

/// One replica of a story, as reknit, its clients and its operator see it.
#[async_trait]
pub(crate) trait Site: Send + Sync {
    /// What reknit works with.
    fn replica(&self) -> Arc<dyn Replica>;

    /// Sends a client's command; an error is what the server answered.
    async fn send(&self, command: &[Bytes]) -> Result<(), String>;

    /// Everything that clients see.
    async fn states(&self) -> BTreeMap<Key, State>;

    /// Moves the clock on. An error where that cannot be done, as on a real server.
    fn set_now(&self, now: Millis) -> Result<(), String>;

    /// Cuts the replica off from reknit, or heals it.
    fn set_reachable(&self, reachable: bool) -> Result<(), String>;
}

/// Where sites come from: memory, or real servers.
#[async_trait]
pub(crate) trait Ground: Send + Sync {
    /// The time at which stories begin.
    fn beginning(&self) -> Millis;

    /// An empty replica of this name.
    async fn site(&self, name: &str) -> Box<dyn Site>;
}

/// What the engine is given.
pub(crate) struct Run {
    /// The replicas in datacenter order. A replica's datacenter has the replica's name.
    pub(crate) replicas: Vec<Arc<dyn Replica>>,
    /// The story's keyspaces, and last one that owns every other key, with the step's policy.
    pub(crate) keyspaces: Keyspaces,
}

/// What the engine found or did.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Per key that differed, in words: `differs`, `wrote us eu`, `left: REASON`.
    pub(crate) keys: BTreeMap<Key, String>,
    /// Anything that is not about one key.
    pub(crate) notes: Vec<String>,
    /// The exit code.
    pub(crate) exit: u8,
}

/// Compares and repairs replicas without a memory. A run stays on one thread.
#[async_trait(?Send)]
pub(crate) trait Engine: Send + Sync {
    /// What differs.
    async fn diff(&self, run: &Run) -> Report;

    /// Makes the replicas equal.
    async fn repair(&self, run: &Run) -> Report;
}

/// Replicas in the middle of a story.
pub(crate) struct World<'a> {
    ground: &'a dyn Ground,
    engine: &'a dyn Engine,
    sites: Vec<(String, Box<dyn Site>)>,
    keyspaces: Vec<Keyspace>,
}

/// Tells a story; answers it with the lines that were seen in the place of those expected.
///
/// # Errors
/// The step that could not be done, by line.
pub(crate) async fn tell(
    items: Vec<Item>,
    ground: &dyn Ground,
    engine: &dyn Engine,
) -> Result<Vec<Item>, String> {
    let mut world = World::new(ground, engine);
    let mut told = Vec::with_capacity(items.len());
    for item in items {
        told.push(match item {
            Item::Text(text) => Item::Text(text),
            Item::Step {
                line, text, step, ..
            } => {
                let seen = world.take(&step).await;
                let expected = seen.map_err(|reason| format!("line {line}: {reason}"))?;
                Item::Step {
                    line,
                    text,
                    step,
                    expected,
                }
            }
        });
    }
    Ok(told)
}

impl<'a> World<'a> {
    /// Nothing yet.
    pub(crate) fn new(ground: &'a dyn Ground, engine: &'a dyn Engine) -> Self {
        Self {
            ground,
            engine,
            sites: Vec::new(),
            keyspaces: Vec::new(),
        }
    }

    /// Takes a step; the lines that are seen then.
    pub(crate) async fn take(&mut self, step: &Step) -> Result<Vec<String>, String> {
        let nothing = Ok(Vec::new());
        match step {
            Step::Replicas(names) => {
                self.sites.clear();
                for name in names {
                    self.sites
                        .push((name.clone(), self.ground.site(name).await));
                }
                nothing
            }
            Step::Send { to, command } => self.send(to, command).await,
            Step::At(millis) => {
                let now = self.time(*millis);
                self.sites
                    .iter()
                    .try_for_each(|(_, site)| site.set_now(now))?;
                nothing
            }
            Step::Partition(names) => self.set_reachable(names, false),
            Step::Heal(names) => self.set_reachable(names, true),
            Step::Keyspace(keyspace) => {
                self.keyspaces.push((**keyspace).clone());
                nothing
            }
            Step::Diff(policy) => Ok(lines(self.engine.diff(&self.run(policy)).await)),
            Step::Repair(policy) => Ok(lines(self.engine.repair(&self.run(policy)).await)),
            Step::Show => Ok(self.show().await),
        }
    }

    async fn send(&self, to: &[String], command: &[Word]) -> Result<Vec<String>, String> {
        let command: Vec<Bytes> = command
            .iter()
            .map(|word| match word {
                Word::Bytes(bytes) => bytes.clone(),
                Word::Time(millis) => Bytes::from(self.time(*millis).0.to_string()),
            })
            .collect();
        let mut refused = Vec::new();
        for (name, site) in self.chosen(to)? {
            if let Err(answer) = site.send(&command).await {
                refused.push(format!("{name}: {answer}"));
            }
        }
        Ok(refused)
    }

    async fn show(&self) -> Vec<String> {
        let mut held = Vec::new();
        for (name, site) in &self.sites {
            held.push((name.as_str(), site.states().await));
        }
        show(&held, self.ground.beginning())
    }

    fn set_reachable(&self, names: &[String], reachable: bool) -> Result<Vec<String>, String> {
        for (_, site) in self.chosen(names)? {
            site.set_reachable(reachable)?;
        }
        Ok(Vec::new())
    }

    fn run(&self, policy: &Policy) -> Run {
        let rest = Keyspace {
            policy: policy.clone(),
            ..Keyspace::everything()
        };
        Run {
            replicas: self.sites.iter().map(|(_, site)| site.replica()).collect(),
            keyspaces: Keyspaces::new(self.keyspaces.iter().cloned().chain([rest]).collect()),
        }
    }

    fn time(&self, millis: i64) -> Millis {
        Millis(self.ground.beginning().0 + millis)
    }

    /// The named sites; all where none is named.
    fn chosen(&self, names: &[String]) -> Result<Vec<(&str, &dyn Site)>, String> {
        let known = |name: &&String| self.sites.iter().all(|(site, _)| site != *name);
        if let Some(unknown) = names.iter().find(known) {
            return Err(format!("there is no replica `{unknown}`"));
        }
        let chosen = self
            .sites
            .iter()
            .filter(|(name, _)| names.is_empty() || names.contains(name));
        Ok(chosen
            .map(|(name, site)| (name.as_str(), &**site))
            .collect())
    }
}

fn lines(report: Report) -> Vec<String> {
    let keys = report.keys.iter();
    let keys = keys.map(|(key, words)| format!("\"{}\": {words}", escape(key.as_bytes())));
    let exit = format!("exit {}", report.exit);
    keys.chain(report.notes.iter().cloned())
        .chain([exit])
        .collect()
}
