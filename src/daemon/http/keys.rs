//! What the service shows and asks for at its door: certificate and token, read anew with the configuration.

use std::sync::{Arc, PoisonError, RwLock};

use axum_server::tls_rustls::RustlsConfig;

use super::HttpTrouble;
use super::gate::Token;
use crate::config::{HttpConfig, TlsFiles};

/// Certificate and token as they were last read.
pub struct Keys {
    config: HttpConfig,
    token: RwLock<Option<Token>>,
    tls: Option<RustlsConfig>,
}

impl Keys {
    /// Reads them.
    ///
    /// # Errors
    /// When the token, certificate or key cannot be read, or cannot be used.
    pub async fn read(config: &HttpConfig) -> Result<Arc<Self>, HttpTrouble> {
        let tls = match &config.tls {
            None => None,
            Some(files) => {
                // The first provider that is installed stays; it is the same one.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let loaded = RustlsConfig::from_pem_file(&files.certificate, &files.key).await;
                Some(loaded.map_err(|source| unusable(files, source))?)
            }
        };
        Ok(Arc::new(Self {
            token: RwLock::new(token(config)?),
            tls,
            config: config.clone(),
        }))
    }

    /// Reads them anew. Connections that stand keep the certificate they began with; the next request needs the new
    /// token.
    ///
    /// # Errors
    /// As [`Keys::read`]; what was read before stays then.
    pub async fn renew(&self) -> Result<(), HttpTrouble> {
        let token = token(&self.config)?;
        if let (Some(tls), Some(files)) = (&self.tls, &self.config.tls) {
            let loaded = tls.reload_from_pem_file(&files.certificate, &files.key);
            loaded.await.map_err(|source| unusable(files, source))?;
        }
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
        Ok(())
    }

    /// The token that is asked for, if one is.
    pub(super) fn token(&self) -> Option<Token> {
        let token = self.token.read();
        token.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is shown, if connections are encrypted.
    pub(super) fn tls(&self) -> Option<RustlsConfig> {
        self.tls.clone()
    }
}

fn token(config: &HttpConfig) -> Result<Option<Token>, HttpTrouble> {
    config.token_file.as_deref().map(Token::read).transpose()
}

fn unusable(files: &TlsFiles, source: std::io::Error) -> HttpTrouble {
    HttpTrouble::Tls {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    }
}
