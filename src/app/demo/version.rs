//! Whether this machine has a redis-server that the demo can use.

use std::io::ErrorKind;

use tokio::process::Command;

use super::DemoError;

/// The oldest major version that reknit works with.
const OLDEST_MAJOR: u32 = 7;

/// Asks redis-server for its version.
pub(super) async fn look() -> Result<(), DemoError> {
    let asked = Command::new("redis-server").arg("--version").output().await;
    let output = asked.map_err(|error| match error.kind() {
        ErrorKind::NotFound => DemoError::NotInstalled,
        _ => DemoError::Io(error),
    })?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match major(&said) {
        Some(major) if major < OLDEST_MAJOR => Err(DemoError::TooOld(said.trim().to_owned())),
        // One that says it in other words is tried.
        _ => Ok(()),
    }
}

/// The major version in `Redis server v=7.0.15 sha=...`.
fn major(said: &str) -> Option<u32> {
    let version = said.split(" v=").nth(1)?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        let table = [
            (
                "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64",
                Some(7),
            ),
            ("Redis server v=6.2.1 sha=0", Some(6)),
            ("Valkey server v=8.1.0 sha=0", Some(8)),
            ("something else", None),
        ];
        for (said, expected) in table {
            assert_eq!(major(said), expected, "{said}");
        }
    }
}
