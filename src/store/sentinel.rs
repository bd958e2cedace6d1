//! Sentinels: they say which server is the master at the moment.
//!
//! ```text
//! connection ─▶ any sentinel: who is it? ─▶ that server: are you? ─▶ go on
//! ```
//!
//! Asked anew for every connection, so that the next one after a failover leads to the new master. Deliberately
//! absent: listening to what sentinels publish; a connection that is lost says the same.

use std::sync::Arc;

use crate::model::{Credentials, DbIndex, HostPort};

use super::resp::{Frame, Frames, unexpected};
use super::server_info;
use super::wire::{Connecting, Endpoint, Meter, Wire, WireError};

/// Where the master is, by the first sentinel that knows.
pub(crate) async fn master(
    to: &Connecting,
    sentinels: &[HostPort],
    (name, credentials): (&str, Option<&Credentials>),
) -> Result<Endpoint, WireError> {
    let mut trouble = Vec::new();
    for sentinel in sentinels {
        match ask(to, sentinel, (name, credentials)).await {
            Ok(Some(HostPort { host, port })) => return Ok(Endpoint::Tcp { host, port }),
            Ok(None) => trouble.push(format!("sentinel {sentinel} knows no master `{name}`")),
            Err(error) => trouble.push(format!("sentinel {sentinel}: {error}")),
        }
    }
    Err(WireError::Lost(trouble.join("; ")))
}

async fn ask(
    to: &Connecting,
    sentinel: &HostPort,
    (name, credentials): (&str, Option<&Credentials>),
) -> Result<Option<HostPort>, WireError> {
    let HostPort { host, port } = sentinel.clone();
    let mut asking = Connecting {
        endpoint: Endpoint::Tcp { host, port },
        db: DbIndex(0),
        username: credentials.and_then(|own| own.username.clone()),
        password: credentials.and_then(|own| Some(own.password.as_ref()?.expose().to_owned())),
        ..to.clone()
    };
    let command: [&[u8]; 3] = [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name.as_bytes()];
    let mut wire = Box::pin(Wire::connect(&asking, Arc::new(Meter::default()))).await?;
    let mut reply = wire.ask(&command).await?;
    if let Frame::Error(words) = Frames::new(&reply).next()?
        && words.starts_with(b"NOAUTH")
        && credentials.is_none()
    {
        // Sentinels that want a password, and of which the configuration says nothing, get the one of the servers.
        asking.username.clone_from(&to.username);
        asking.password.clone_from(&to.password);
        wire = Box::pin(Wire::connect(&asking, Arc::new(Meter::default()))).await?;
        reply = wire.ask(&command).await?;
    }
    let mut frames = Frames::new(&reply);
    match frames.next()? {
        Frame::Array(2) => {}
        Frame::Nil => return Ok(None),
        Frame::Error(words) => return Err(server_info::refusal("SENTINEL", words)),
        other => return Err(unexpected("the address of a master", &other).into()),
    }
    let mut text = || -> Result<String, WireError> {
        Ok(String::from_utf8_lossy(frames.bytes()?).into_owned())
    };
    let (host, port) = (text()?, text()?);
    let port = port
        .parse()
        .map_err(|_| WireError::Lost(format!("a port of `{port}`")))?;
    Ok(Some(HostPort { host, port }))
}
