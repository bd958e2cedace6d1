//! Where status, metrics and the API are served, and to whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

use super::error::Contradiction;
use super::raw::{RawHttp, RawTls};
use super::{ConfigError, YamlPath};
use crate::model::Secret;

/// Where status and metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// A file with the token that requests must bring; nothing means none is asked for, on loopback alone.
    pub token_file: Option<PathBuf>,
    /// The files that TLS needs; nothing means plain HTTP.
    pub tls: Option<TlsFiles>,
}

/// The files that TLS needs, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that sign it up to the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl HttpConfig {
    /// The address of a configuration that names none.
    pub const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9310));

    /// Where a service that listens there is reached from the same machine.
    pub fn url_at(&self, listen: SocketAddr) -> String {
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let scheme = match self.tls {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}", SocketAddr::new(ip, listen.port()))
    }

    /// The token that requests must bring, if one is asked for.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] if its file cannot be read or is empty.
    pub fn token(&self) -> Result<Option<Secret>, ConfigError> {
        secret("http.token_file", self.token_file.as_deref())
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: Self::LISTEN,
            token_file: None,
            tls: None,
        }
    }
}

/// Reads the HTTP endpoint.
pub(super) fn http(raw: &RawHttp, base_dir: &Path) -> Result<HttpConfig, Contradiction> {
    let at = YamlPath::of("http");
    let listen = listen(raw.listen.as_deref(), at.key("listen"))?;
    let token_file = file(raw.token_file.as_deref(), at.key("token_file"), base_dir)?;
    if token_file.is_none() && !listen.ip().is_loopback() {
        // The API starts, stops and undoes runs.
        let what = format!("whoever reaches {listen} could start and undo runs");
        let advice = "add token_file, or listen on 127.0.0.1";
        return Err(Contradiction::new(at.key("listen"), what, advice));
    }
    let tls = raw.tls.as_ref();
    Ok(HttpConfig {
        listen,
        token_file,
        tls: tls
            .map(|raw| tls_files(raw, &at.key("tls"), base_dir))
            .transpose()?,
    })
}

fn listen(raw: Option<&str>, at: YamlPath) -> Result<SocketAddr, Contradiction> {
    raw.map_or(Ok(HttpConfig::LISTEN), |text| {
        text.parse().map_err(|_| {
            let what = "this is not an address and port";
            Contradiction::new(at, what, "write one like 127.0.0.1:9310 or [::1]:9310")
        })
    })
}

fn tls_files(raw: &RawTls, at: &YamlPath, base_dir: &Path) -> Result<TlsFiles, Contradiction> {
    let certificate = file(raw.certificate.as_deref(), at.key("certificate"), base_dir)?;
    let key = file(raw.key.as_deref(), at.key("key"), base_dir)?;
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(TlsFiles { certificate, key }),
        _ => Err(Contradiction::new(
            at.clone(),
            "TLS needs a certificate and its key",
            "write tls: { certificate: FILE, key: FILE }",
        )),
    }
}

/// A file's name, from the directory of the configuration on.
pub(super) fn file(
    raw: Option<&str>,
    at: YamlPath,
    base_dir: &Path,
) -> Result<Option<PathBuf>, Contradiction> {
    match raw {
        Some("") => Err(Contradiction::new(
            at,
            "the file name is empty",
            "name the file",
        )),
        _ => Ok(raw.map(|name| base_dir.join(name))),
    }
}

/// A secret from its file, without the one newline at its end.
pub(super) fn secret(of: &'static str, path: Option<&Path>) -> Result<Option<Secret>, ConfigError> {
    let Some(path) = path else {
        return Ok(None);
    };
    let refused = |why| ConfigError::Secret {
        of,
        path: path.to_owned(),
        why,
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| refused(format!("{error}, check that it exists and is readable")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    match text.strip_suffix('\r').unwrap_or(text) {
        "" => Err(refused("it is empty, write the secret into it".into())),
        text => Ok(Some(Secret::new(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_listens_everywhere_is_reached_at_home() {
        let files = TlsFiles {
            certificate: "cert.pem".into(),
            key: "key.pem".into(),
        };
        let table = [
            ("0.0.0.0:9310", None, "http://127.0.0.1:9310"),
            ("[::]:1", Some(files.clone()), "https://[::1]:1"),
            ("10.0.0.7:80", Some(files), "https://10.0.0.7:80"),
        ];
        for (listen, tls, url) in table {
            let http = HttpConfig {
                tls,
                ..HttpConfig::default()
            };
            assert_eq!(http.url_at(listen.parse().unwrap()), url);
        }
    }
}
