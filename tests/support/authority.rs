//! An authority that signs certificates for the tests, and the files that a server needs of them.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use super::server::{Builder, RedisServer, free_port};

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// An authority and a directory with what it signed.
pub(crate) struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) ca: PathBuf,
}

impl Authority {
    /// A new one; its files are below this directory.
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("authority {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let ca = dir.join(format!("{name}.pem"));
        fs::write(&ca, certificate.pem()).expect("a file");
        Self {
            dir: dir.to_owned(),
            issuer: Issuer::new(params, key),
            ca,
        }
    }

    /// Signs a certificate for these names, good until a year.
    pub(crate) fn sign(&self, file: &str, names: &[&str], until: i32) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, file);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        let identity = Identity {
            certificate: self.dir.join(format!("{file}.pem")),
            key: self.dir.join(format!("{file}.key")),
        };
        fs::write(&identity.certificate, signed.pem()).expect("a file");
        fs::write(&identity.key, key.serialize_pem()).expect("a file");
        identity
    }

    /// Starts a server that shows this certificate at a port of its own; answers the server and its port of TLS.
    pub(crate) fn serve(
        &self,
        builder: Builder,
        identity: &Identity,
        asks_clients: bool,
    ) -> (RedisServer, u16) {
        let port = free_port();
        let path = |path: &Path| path.display().to_string();
        let server = builder
            .args(["--tls-port", &port.to_string()])
            .args(["--tls-cert-file", &path(&identity.certificate)])
            .args(["--tls-key-file", &path(&identity.key)])
            .args(["--tls-ca-cert-file", &path(&self.ca)])
            .args([
                "--tls-auth-clients",
                if asks_clients { "yes" } else { "no" },
            ])
            .start();
        (server, port)
    }
}
