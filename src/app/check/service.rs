//! What only the service needs besides: the files of its secrets and certificate.

use std::path::Path;

use super::{Note, warning};
use crate::config::Config;

/// What `reknit run` would stumble over.
pub(super) fn files(config: &Config) -> Vec<Note> {
    let advice = "diff and repair do without, `reknit run` does not start";
    let secrets = [
        config.http.token().err(),
        config
            .notifications
            .webhook
            .as_ref()
            .and_then(|webhook| webhook.secret().err()),
    ];
    let secrets = secrets.into_iter().flatten().map(|error| error.to_string());
    let tls = config.http.tls.iter().flat_map(|files| {
        let named = [("certificate", &files.certificate), ("key", &files.key)];
        named
            .into_iter()
            .filter_map(|(what, path)| unreadable(what, path))
    });
    secrets
        .chain(tls)
        .map(|text| warning(text, advice))
        .collect()
}

fn unreadable(what: &str, path: &Path) -> Option<String> {
    let error = std::fs::File::open(path).err()?;
    Some(format!("http.tls.{what} {}: {error}", path.display()))
}
