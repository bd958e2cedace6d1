//! Who is let in, and for how long.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State as Shared};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::HttpTrouble;
use super::error::ApiError;
use super::keys::Keys;

/// How long a request may take, its body included.
const TIME: Duration = Duration::from_secs(30);

/// The shortest token that is taken.
const SHORTEST: usize = 16;

/// What requests must bring; only its digest is kept.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl Token {
    /// Reads it from a file; one newline at its end does not count.
    ///
    /// # Errors
    /// When the file cannot be read, or what it holds is too short to be a secret.
    pub fn read(path: &Path) -> Result<Self, HttpTrouble> {
        let failed = |why: String| HttpTrouble::Token(path.to_owned(), why);
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let token = text.trim_end_matches(['\n', '\r']);
        if token.len() < SHORTEST {
            let why = format!(
                "a token has at least {SHORTEST} characters: head -c 32 /dev/urandom | base64"
            );
            return Err(failed(why));
        }
        Ok(Self(blake3::hash(token.as_bytes())))
    }

    /// Whether this is it; takes as long for a wrong one, for digests are compared in constant time.
    fn is(&self, offered: &str) -> bool {
        self.0 == blake3::hash(offered.as_bytes())
    }
}

/// Who is let in, and where.
pub struct Door {
    /// The address that is listened on.
    pub listen: IpAddr,
    /// The token that is asked for, if one is.
    pub keys: Arc<Keys>,
}

/// Lets in who brings the token; where none is asked for, who names this machine as the host. A browser that another site sends here is not let in to change anything.
pub(super) async fn admit(
    Shared(door): Shared<Arc<Door>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let token = door.keys.token();
    if let Some(token) = &token
        && !bearer(headers).is_some_and(|offered| token.is(offered))
    {
        let words = "this needs the token: Authorization: Bearer TOKEN";
        let refused = ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", words);
        return ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response();
    }
    // A page whose name was made to lead here (DNS rebinding) is of one origin with us to its browser, but for the name.
    if token.is_none() && !hosts(&request).all(|host| is_near(host, door.listen)) {
        let words = "without http.token_file, the host of a request is localhost, a loopback address or http.listen";
        return ApiError::new(StatusCode::FORBIDDEN, "forbidden", words).into_response();
    }
    let changes = request.method() != Method::GET && request.method() != Method::HEAD;
    if changes && headers.contains_key(header::ORIGIN) {
        let words = "requests of web pages may not change anything";
        return ApiError::new(StatusCode::FORBIDDEN, "forbidden", words).into_response();
    }
    next.run(request).await
}

/// What a request says that it was sent to.
fn hosts(request: &Request) -> impl Iterator<Item = &str> {
    let named = request.headers().get_all(header::HOST).iter();
    // What is no text is no name of ours either.
    let named = named.map(|host| host.to_str().unwrap_or("?"));
    named.chain(request.uri().authority().map(Authority::as_str))
}

/// Whether a host, with or without a port, is this machine.
fn is_near(host: &str, listen: IpAddr) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let ip = name.parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback() || ip == listen)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Ends requests that take too long.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let words = "the request took too long";
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", words).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_host_is_near_by_name_or_address_whatever_its_port() {
        let listen = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
        for host in [
            "localhost",
            "LOCALHOST:9310",
            "127.0.0.1:1",
            "127.0.0.9",
            "[::1]:9310",
            "[::1]",
        ] {
            assert!(is_near(host, listen), "{host}");
        }
        for host in [
            "",
            "?",
            "evil.example",
            "localhost.evil.example:9310",
            "10.0.0.1:9310",
            "[::2]",
            "127.0.0.1.evil",
        ] {
            assert!(!is_near(host, listen), "{host}");
        }
    }
}
