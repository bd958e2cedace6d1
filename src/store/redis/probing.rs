//! Looking at a server's health, on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::store::resp::{Frame, Frames};
use crate::store::wire::{Connecting, Meter, Wire, WireError};
use crate::store::{Health, StoreError, server_info};

use super::RedisReplica;

/// How long a look may take; connecting may take as long again.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

impl RedisReplica {
    /// Looks at the server. After a failure the next look begins with a new connection.
    pub(super) async fn look(&self) -> Result<Health, StoreError> {
        let mut probe = self.probe.lock().await;
        let kept = probe.take();
        let looked = timeout(LOOK_LIMIT, async {
            let mut wire = match kept {
                Some(wire) => wire,
                None => Wire::connect(&self.probing(), Arc::new(Meter::default())).await?,
            };
            let health = health(&mut wire).await?;
            Ok((wire, health))
        });
        let looked = looked.await.unwrap_or_else(|_| {
            let waited = humantime::format_duration(LOOK_LIMIT);
            Err(WireError::Lost(format!("no answer within {waited}")))
        });
        let (wire, health) = looked.map_err(|error| self.failure("PING", error))?;
        *probe = Some(wire);
        Ok(health)
    }

    fn probing(&self) -> Connecting {
        Connecting {
            connect_timeout: self.connecting.connect_timeout.min(LOOK_LIMIT),
            ..self.connecting.clone()
        }
    }
}

async fn health(wire: &mut Wire) -> Result<Health, WireError> {
    let asked = Instant::now();
    let answer = wire.ask(&[b"PING"]).await?;
    let latency = asked.elapsed();
    // A server that loads refuses PING, and answers all the same.
    match Frames::new(&answer).next()? {
        Frame::Error(words) if !words.starts_with(b"LOADING") => {
            Err(server_info::refusal("PING", words))
        }
        _ => server_info::health(wire, latency).await,
    }
}
