//! Where a server listens and who reknit is there; nothing here can be printed into a password.

use std::fmt;
use std::path::PathBuf;

/// Where a server listens. Its display form is a URL without user, password and database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// Name or IP address; an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
    /// A Redis Cluster, by some of its nodes.
    Cluster(Vec<HostPort>),
    /// A master that sentinels watch over, wherever it is at the moment.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<HostPort>,
        /// The name under which they know the master.
        master: String,
    },
}

/// A TCP port of a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Name or IP address; an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "redis://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "redis://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Cluster(seeds) => write!(f, "redis+cluster://{}", joined(seeds)),
            Self::Sentinel { sentinels, master } => {
                write!(f, "redis+sentinel://{}/{master}", joined(sentinels))
            }
        }
    }
}

fn joined(hosts: &[HostPort]) -> String {
    let hosts: Vec<String> = hosts.iter().map(HostPort::to_string).collect();
    hosts.join(",")
}

/// How a server proves who it is, and reknit to it: files in PEM, read when a connection is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The authorities that may sign the server's certificate; nothing means the public ones.
    pub ca: Option<PathBuf>,
    /// Our certificate and its private key, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must be for; nothing means the host's.
    pub server_name: Option<String>,
}

/// A password: `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the server alone: never for a log, an error or a report.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Who reknit is on a server; neither part means the default user without a password.
///
/// Invariant: a user comes with a password (the configuration refuses one without), so a user is never ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The ACL user; nothing means the default user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_a_url() {
        let tcp = |host: &str| Address::Tcp {
            host: host.into(),
            port: 6379,
        };
        assert_eq!(tcp("10.0.0.1").to_string(), "redis://10.0.0.1:6379");
        assert_eq!(tcp("::1").to_string(), "redis://[::1]:6379");
        let unix = Address::Unix("/run/redis.sock".into());
        assert_eq!(unix.to_string(), "unix:///run/redis.sock");
        let host = |host: &str| HostPort {
            host: host.into(),
            port: 7,
        };
        let seeds = vec![host("a"), host("::1")];
        assert_eq!(
            Address::Cluster(seeds.clone()).to_string(),
            "redis+cluster://a:7,[::1]:7"
        );
        let sentinel = Address::Sentinel {
            sentinels: seeds,
            master: "m".into(),
        };
        assert_eq!(sentinel.to_string(), "redis+sentinel://a:7,[::1]:7/m");
    }

    #[test]
    fn a_secret_is_never_printed() {
        let credentials = Credentials {
            username: Some("reknit".into()),
            password: Some(Secret::new("hunter2")),
        };
        assert!(!format!("{credentials:?}").contains("hunter2"));
        assert_eq!(Secret::new("hunter2").to_string(), "***");
    }
}
