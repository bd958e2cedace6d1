//! TLS to a server: who may vouch for it, and who we are.
//!
//! ```text
//! connection ─▶ read the files ─▶ handshake ─▶ the same bytes as in the clear
//! ```
//!
//! The files are read anew for every connection, so that a certificate that was replaced is in force from the next
//! one on. Deliberately absent: a way to leave a certificate unchecked.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::model::Tls;

use super::wire::WireError;

/// Shakes hands with the server behind a connection; `host` is what its certificate must be for, unless `tls` says
/// another name.
pub(crate) async fn secure(
    stream: TcpStream,
    host: &str,
    tls: &Tls,
) -> Result<TlsStream<TcpStream>, WireError> {
    let config = config(tls).map_err(|words| WireError::Refused(format!("TLS: {words}")))?;
    let name = tls.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| WireError::Refused(format!("TLS: `{name}` is no name of a server")))?;
    let connector = TlsConnector::from(Arc::new(config));
    Ok(connector.connect(name, stream).await?)
}

/// What a failure of TLS comes to, told apart from a connection that is lost: trying again is no use.
pub(crate) fn trouble(error: &std::io::Error) -> Option<WireError> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(WireError::Refused(format!("TLS: {tls}")))
}

fn config(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(tls.ca.as_deref())?);
    let Some((certificate, key)) = &tls.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("no private key in {}: {error}", key.display()))?;
    builder
        .with_client_auth_cert(chain, secret)
        .map_err(|error| {
            let (certificate, key) = (certificate.display(), key.display());
            format!("{certificate} and {key} do not belong together: {error}")
        })
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let Some(ca) = ca else {
        let public = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        return Ok(public.collect());
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{} is no authority: {error}", ca.display()))?;
    }
    Ok(roots)
}

/// The certificates of a file: at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| format!("no certificate in {}: {error}", file.display());
    let found = CertificateDer::pem_file_iter(file).map_err(unreadable)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(unreadable)?;
    match found.is_empty() {
        true => Err(format!("no certificate in {}", file.display())),
        false => Ok(found),
    }
}
