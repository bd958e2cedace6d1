//! Installs the functions by which applications stamp what they write, replica by replica.

use tokio_util::sync::CancellationToken;

use crate::model::ReplicaName;
use crate::store::{FunctionOrder, Installed, StoreError};

use super::Exit;
use super::fleet::Fleet;

/// How they are installed.
#[derive(Debug, Clone, Copy)]
pub struct Installing {
    /// Look only.
    pub dry_run: bool,
    /// Replace other libraries of reknit's.
    pub replace: bool,
    /// Load scripts, although servers have functions.
    pub scripts: bool,
}

/// One replica.
#[derive(Debug)]
pub struct InstalledServer {
    /// Its name, under which it counts.
    pub name: ReplicaName,
    /// Where it is found.
    pub endpoint: String,
    /// What became of it at each of its servers, or what stood in the way.
    pub installed: Result<Vec<Installed>, StoreError>,
}

/// Installs them at every replica, each under its own name.
pub async fn install_functions(
    fleet: &Fleet,
    installing: Installing,
    stop: &CancellationToken,
) -> Vec<InstalledServer> {
    let mut servers = Vec::with_capacity(fleet.servers.len());
    for server in &fleet.servers {
        let order = FunctionOrder {
            replica: server.name().clone(),
            replace: installing.replace,
            dry_run: installing.dry_run,
            scripts: installing.scripts,
        };
        let installed = tokio::select! {
            installed = server.install_functions(&order) => installed,
            () = stop.cancelled() => break,
        };
        servers.push(InstalledServer {
            name: server.name().clone(),
            endpoint: server.endpoint(),
            installed,
        });
    }
    servers
}

/// How it ends: every server has them, some lack them, or all do.
pub fn exit_of_installation(servers: &[InstalledServer], stop: &CancellationToken) -> Exit {
    let differs = |one: &Installed| matches!(one, Installed::Differs(_));
    let lacks = |server: &&InstalledServer| match &server.installed {
        Ok(installed) => installed.iter().any(differs),
        Err(_) => true,
    };
    let lacking = servers.iter().filter(lacks).count();
    if stop.is_cancelled() {
        Exit::Interrupted
    } else if lacking == 0 {
        Exit::InSync
    } else if lacking == servers.len() {
        Exit::Trouble
    } else {
        Exit::Partial
    }
}
