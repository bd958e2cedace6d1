//! Looks at the nodes' health while a run works.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::repair::run::Run;
use crate::store::Replica;

use super::pacer::Pacer;

/// Works, and looks at the health of all nodes meanwhile, if the throttle says so. The first look is before the work.
pub(crate) async fn watched<T>(run: &Run, work: impl Future<Output = T>) -> T {
    let Some(every) = run.throttle.probing else {
        return work.await;
    };
    let (end, (first, seen)) = (CancellationToken::new(), oneshot::channel());
    // Also where the run is dropped.
    let _ends = end.clone().drop_guard();
    let probes = Probes::new(run, every);
    let pacers: Vec<Arc<Pacer>> = probes.pacers().collect();
    let worked = match probes.detached() {
        Some(detached) => {
            let thread = detached.on_thread(first, end.clone());
            // An error says that the thread could not begin: the run does without.
            let _ = seen.await;
            let worked = work.await;
            end.cancel();
            let _ = thread.await;
            worked
        }
        None => {
            let begun = async {
                let _ = seen.await;
                work.await
            };
            tokio::select! {
                () = probes.look(first) => unreachable!("nodes are looked at without an end"),
                worked = begun => worked,
            }
        }
    };
    pacers.iter().for_each(|pacer| pacer.look_away());
    worked
}

/// The nodes that are looked at.
struct Probes {
    nodes: Vec<(Arc<dyn Replica>, Arc<Pacer>)>,
    clock: Arc<dyn Clock>,
    every: Duration,
}

impl Probes {
    fn new(run: &Run, every: Duration) -> Self {
        let node = |replica: &Arc<dyn Replica>| {
            let pacer = run.throttle.pacer(replica.name());
            (Arc::clone(replica), pacer)
        };
        let participants = run.participants.iter();
        Self {
            nodes: participants.map(|one| node(&one.replica)).collect(),
            clock: run.clock.clone(),
            every,
        }
    }

    fn pacers(&self) -> impl Iterator<Item = Arc<Pacer>> + '_ {
        self.nodes.iter().map(|(_, pacer)| Arc::clone(pacer))
    }

    /// The same with connections of their own; nothing where one gains nothing by that.
    fn detached(&self) -> Option<Self> {
        let detached = self.nodes.iter().map(|(replica, pacer)| {
            let replica = replica.detached()?;
            Some((replica, Arc::clone(pacer)))
        });
        Some(Self {
            nodes: detached.collect::<Option<_>>()?,
            clock: Arc::clone(&self.clock),
            every: self.every,
        })
    }

    /// Looks from a thread of its own, so that no look is late because the run was busy.
    fn on_thread(self, first: oneshot::Sender<()>, end: CancellationToken) -> JoinHandle<()> {
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    tokio::select! {
                        () = self.look(first) => {}
                        () = end.cancelled() => {}
                    }
                }),
                Err(error) => tracing::warn!("the nodes' health is not looked at: {error}"),
            }
        })
    }

    /// Looks at every node by itself, so that one that hangs keeps none waiting.
    async fn look(&self, first: oneshot::Sender<()>) {
        let all = self.nodes.iter();
        join_all(all.map(|(replica, pacer)| look(replica.as_ref(), pacer))).await;
        // An error says that nobody waits for it any more.
        let _ = first.send(());
        let all = self.nodes.iter().map(|(replica, pacer)| async move {
            loop {
                self.clock.sleep(self.every).await;
                look(replica.as_ref(), pacer).await;
            }
        });
        join_all(all).await;
    }
}

async fn look(replica: &dyn Replica, pacer: &Pacer) {
    pacer.look(replica.health().await.ok());
}
