//! Who is let in, and for how long.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::HttpTrouble;
use super::error::ApiError;

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

/// Lets in who brings the token. A browser that another site sends here is not let in to change anything.
pub(super) async fn admit(
    Shared(token): Shared<Arc<Option<Token>>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if let Some(token) = &*token
        && !bearer(headers).is_some_and(|offered| token.is(offered))
    {
        let words = "this needs the token: Authorization: Bearer TOKEN";
        let refused = ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", words);
        return ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response();
    }
    let changes = request.method() != Method::GET && request.method() != Method::HEAD;
    if changes && headers.contains_key(header::ORIGIN) {
        let words = "requests of web pages may not change anything";
        return ApiError::new(StatusCode::FORBIDDEN, "forbidden", words).into_response();
    }
    next.run(request).await
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
