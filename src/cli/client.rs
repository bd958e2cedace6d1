//! Speaks to the service over HTTP, and waits a bounded time for every answer.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::args::service::ServiceArgs;
use crate::config::{Config, HttpConfig};
use crate::model::Secret;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take: a little longer than the service lets a request take.
const ANSWER: Duration = Duration::from_secs(35);

/// Why the service did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unserved {
    /// Nobody answered.
    #[error(
        "the service at {url} cannot be reached: {why}; start it with `reknit run`, or name it with -c FILE or --url"
    )]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What was in the way.
        why: String,
    },
    /// It wants a token, or another.
    #[error(
        "the service at {0} refuses: the token is missing or wrong, name it with --token-file or the service's -c FILE"
    )]
    Unauthorized(String),
    /// It refused.
    #[error("the service refuses: {0}")]
    Refused(String),
    /// Something else answered.
    #[error("what answers at {url} is no reknit: {why}; name the service with -c FILE or --url")]
    Stranger {
        /// Where it is.
        url: String,
        /// What is strange about it.
        why: String,
    },
}

/// A service, and what lets one in.
pub(super) struct Client {
    agent: Agent,
    url: String,
    token: Option<Secret>,
}

impl Client {
    /// The service that these arguments name.
    ///
    /// # Errors
    /// When the configuration, the token or the certificate cannot be read.
    pub(super) fn new(args: &ServiceArgs, variable: Option<OsString>) -> anyhow::Result<Self> {
        let from_variable = variable.filter(|path| !path.is_empty()).map(PathBuf::from);
        let http = match args.config.clone().or(from_variable) {
            // What only --url and --token-file name needs no configuration beside them.
            _ if args.config.is_none() && args.url.is_some() => HttpConfig::default(),
            Some(path) => Config::from_file(&path, None)?.http,
            None => HttpConfig::default(),
        };
        let http = HttpConfig {
            token_file: args.token_file.clone().or(http.token_file),
            ..http
        };
        let ca_file = args.ca_file.clone();
        let ca_file = ca_file.or_else(|| http.tls.as_ref().map(|files| files.certificate.clone()));
        let url = args.url.as_deref().map_or_else(
            || http.url_at(http.listen),
            |url| url.trim_end_matches('/').to_owned(),
        );
        Ok(Self {
            agent: agent(ca_file.as_deref())?,
            url,
            token: http.token()?,
        })
    }

    /// What there is at an address of the API, such as `/status`.
    pub(super) fn get(&self, path: &str) -> Result<Value, Unserved> {
        let request = self.agent.get(self.address(path));
        self.answer(match self.bearer() {
            Some(bearer) => request.header("Authorization", bearer).call(),
            None => request.call(),
        })
    }

    /// Asks for something to be done.
    pub(super) fn post(&self, path: &str) -> Result<Value, Unserved> {
        let request = self.agent.post(self.address(path));
        self.answer(match self.bearer() {
            Some(bearer) => request.header("Authorization", bearer).send_empty(),
            None => request.send_empty(),
        })
    }

    /// Asks for something to be done that needs words.
    pub(super) fn post_body(&self, path: &str, body: &Value) -> Result<Value, Unserved> {
        let request = self.agent.post(self.address(path));
        self.answer(match self.bearer() {
            Some(bearer) => request.header("Authorization", bearer).send_json(body),
            None => request.send_json(body),
        })
    }

    /// Sets something.
    pub(super) fn put(&self, path: &str, body: &Value) -> Result<Value, Unserved> {
        let request = self.agent.put(self.address(path));
        self.answer(match self.bearer() {
            Some(bearer) => request.header("Authorization", bearer).send_json(body),
            None => request.send_json(body),
        })
    }

    fn address(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.url)
    }

    fn bearer(&self) -> Option<String> {
        let token = self.token.as_ref()?;
        Some(format!("Bearer {}", token.expose()))
    }

    fn answer(
        &self,
        answer: Result<ureq::http::Response<Body>, ureq::Error>,
    ) -> Result<Value, Unserved> {
        let url = || self.url.clone();
        let unreachable = |error: ureq::Error| Unserved::Unreachable {
            url: url(),
            why: words(&error),
        };
        let mut answer = answer.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.body_mut().read_to_string().map_err(unreachable)?;
        let body = match text.is_empty() {
            true => Some(Value::Null),
            false => serde_json::from_str::<Value>(&text).ok(),
        };
        let message = body
            .as_ref()
            .and_then(|body| body["error"]["message"].as_str());
        match (status.as_u16(), message, &body) {
            (200..300, _, Some(_)) => Ok(body.unwrap_or_default()),
            (401, _, _) => Err(Unserved::Unauthorized(url())),
            (400.., Some(message), _) => Err(Unserved::Refused(message.to_owned())),
            _ => Err(Unserved::Stranger {
                url: url(),
                why: format!("it says {status}"),
            }),
        }
    }
}

/// A name as a part of an address.
pub(super) fn part(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

fn agent(ca_file: Option<&Path>) -> anyhow::Result<Agent> {
    let mut config = Agent::config_builder()
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(ANSWER))
        // The service is near; and no other is told the token.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("reknit/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_file {
        let roots = RootCerts::new_with_certs(&certificates(path)?);
        config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    Ok(config.build().new_agent())
}

fn certificates(path: &Path) -> anyhow::Result<Vec<Certificate<'static>>> {
    let shown = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("certificate {shown}"))?;
    let found = parse_pem(&bytes).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    anyhow::ensure!(
        !found.is_empty(),
        "certificate {shown}: there is none in it"
    );
    Ok(found)
}

/// What was in the way, and where the cause is not obvious what to do.
fn words(error: &ureq::Error) -> String {
    let error = match error {
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    let of_name = error.contains("NotValidForName") || error.contains("not valid for name");
    let of_use = error.contains("CaUsedAsEndEntity");
    match (of_name, of_use) {
        (true, _) => format!("{error} (name the service as its certificate does, with --url)"),
        (_, true) => format!(
            "{error} (its certificate is one for signing; name the signer with --ca-file, or make one with basicConstraints=CA:FALSE)"
        ),
        (false, false) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_to_another_address() {
        assert_eq!(part("a/../b c?"), "a%2F%2E%2E%2Fb%20c%3F");
    }
}
