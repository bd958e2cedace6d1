//! The service, and the commands that speak to it.

use tokio_util::sync::CancellationToken;

use super::args::service::RunArgs;
use crate::app::Exit;
use crate::config::Config;
use crate::daemon;
use crate::model::StateDir;

/// `reknit run`
pub(super) async fn run(args: &RunArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    let args = args.clone();
    let load = move || {
        let mut config = Config::from_file(&args.config, None)?;
        if let Some(dir) = &args.state_dir {
            config.state = StateDir::At(dir.clone());
        }
        Ok::<_, crate::config::ConfigError>(config)
    };
    let config = load()?;
    let load = Box::new(move || load().map_err(|error| error.to_string()));
    Ok(daemon::serve(config, load, stop).await?)
}
