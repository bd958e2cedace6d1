//! A replica's URL: `redis://[user[:password]@]host[:port][/db]` or `unix:///path[?db=N&user=U&pass=P]`.
//!
//! No error here repeats any part of the text beyond a known scheme, because a password may stand anywhere in a
//! text that is not quite a URL. A password with `#` or `/` in it, not percent-encoded, would otherwise be cut in
//! two and connect to the wrong place: fragments and unknown query parts are refused.

use percent_encoding::percent_decode_str;
use thiserror::Error;
use url::{Host, Url};

use crate::model::{Address, DbIndex, Secret};

/// The port of a URL that names none.
pub const DEFAULT_PORT: u16 = 6379;

/// What a replica's URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaUrl {
    /// Where the server listens.
    pub address: Address,
    /// The ACL user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The database; nothing where the URL names none.
    pub db: Option<DbIndex>,
}

/// Why a text is not a replica's URL; never with the text itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// No URL at all.
    #[error(
        "this is not the url of a replica, write redis://host:6379/0 or unix:///path/to/socket"
    )]
    NotAUrl,
    /// A URL that cannot be read.
    #[error(
        "malformed url ({0}), in a user or password write @ : / ? # % as %40 %3A %2F %3F %23 %25"
    )]
    Malformed(url::ParseError),
    /// A way to connect that reknit will have, but has not yet.
    #[error("{0}:// is not supported in this version, use redis:// or unix://{1}")]
    Unsupported(String, &'static str),
    /// Something behind `#`.
    #[error("a url of a replica has nothing behind `#`, in a user or password write # as %23")]
    Fragment,
    /// Something behind `?` that is not known.
    #[error("unknown parameter behind `?`, {0}; in a user or password write ? as %3F")]
    Query(&'static str),
    /// No number behind the last slash.
    #[error(
        "the database is not a number, write redis://host:6379/0; in a password write / as %2F"
    )]
    Database,
    /// No host.
    #[error("the url names no host, write redis://host:6379/0")]
    NoHost,
    /// An address that stands for all interfaces.
    #[error("a wildcard address cannot be connected to, write the server's own address")]
    Wildcard,
    /// Port 0.
    #[error("port 0 cannot be connected to, write the server's port, such as 6379")]
    PortZero,
    /// A unix URL with a host or without a path.
    #[error("a unix url is unix:///absolute/path/to/socket, with three slashes")]
    UnixPath,
    /// Percent-encoded bytes that are not UTF-8.
    #[error("the user or the password is not utf-8, put the password into a password_file")]
    Encoding,
}

impl ReplicaUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong and what to write, without any part of the text that might hold a password.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = Url::parse(text.trim()).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => UrlError::NotAUrl,
            other => UrlError::Malformed(other),
        })?;
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        match url.scheme() {
            "redis" => parse_tcp(&url),
            "unix" | "redis+unix" => parse_unix(&url),
            scheme => Err(unsupported(scheme)),
        }
    }
}

fn unsupported(scheme: &str) -> UrlError {
    let hint = match scheme {
        "rediss" => ", through a tunnel where the network is not private",
        "redis+cluster" => "; a cluster's nodes cannot be named one by one",
        "redis+sentinel" => " with the address of the present primary",
        _ => return UrlError::NotAUrl,
    };
    UrlError::Unsupported(scheme.into(), hint)
}

fn parse_tcp(url: &Url) -> Result<ReplicaUrl, UrlError> {
    if url.query().is_some() {
        return Err(UrlError::Query("redis:// takes none"));
    }
    let port = url.port().unwrap_or(DEFAULT_PORT);
    if port == 0 {
        return Err(UrlError::PortZero);
    }
    let username = decode(url.username())?;
    Ok(ReplicaUrl {
        address: Address::Tcp {
            host: host(url)?,
            port,
        },
        username: (!username.is_empty()).then_some(username),
        password: url.password().map(decode).transpose()?.map(Secret::new),
        db: database(url.path().strip_prefix('/').unwrap_or_default())?,
    })
}

fn host(url: &Url) -> Result<String, UrlError> {
    let host = match url.host().ok_or(UrlError::NoHost)? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    match host.as_str() {
        "" => Err(UrlError::NoHost),
        "0.0.0.0" | "::" => Err(UrlError::Wildcard),
        _ => Ok(host),
    }
}

fn database(text: &str) -> Result<Option<DbIndex>, UrlError> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlError::Database);
    }
    let number = text.parse().map_err(|_| UrlError::Database)?;
    Ok(Some(DbIndex(number)))
}

fn parse_unix(url: &Url) -> Result<ReplicaUrl, UrlError> {
    let path = url.to_file_path().map_err(|()| UrlError::UnixPath)?;
    if url.host().is_some() || path.parent().is_none() {
        return Err(UrlError::UnixPath);
    }
    let mut parsed = ReplicaUrl {
        address: Address::Unix(path),
        username: None,
        password: None,
        db: None,
    };
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "db" => parsed.db = database(&value)?,
            "user" => parsed.username = Some(value.into_owned()),
            "pass" => parsed.password = Some(Secret::new(value.into_owned())),
            _ => return Err(UrlError::Query("unix:// takes db, user and pass")),
        }
    }
    Ok(parsed)
}

fn decode(text: &str) -> Result<String, UrlError> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_| UrlError::Encoding)?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, Option<String>, Option<String>, Option<u32>) {
        let url = ReplicaUrl::parse(text).unwrap();
        let password = url.password.map(|secret| secret.expose().to_owned());
        let db = url.db.map(|db| db.0);
        (url.address.to_string(), url.username, password, db)
    }

    #[test]
    fn every_form_of_url_is_read() {
        let some = |text: &str| Some(text.to_owned());
        let table = [
            ("redis://h", "redis://h:6379", None, None, None),
            ("redis://h:1/", "redis://h:1", None, None, None),
            (
                "redis://10.0.0.1:6380/3",
                "redis://10.0.0.1:6380",
                None,
                None,
                Some(3),
            ),
            ("redis://u@h", "redis://h:6379", some("u"), None, None),
            (
                "redis://u:p@h/0",
                "redis://h:6379",
                some("u"),
                some("p"),
                Some(0),
            ),
            ("redis://:p@h", "redis://h:6379", None, some("p"), None),
            (
                "redis://u:a%40b%3A%2F%23@[::1]:7/1",
                "redis://[::1]:7",
                some("u"),
                some("a@b:/#"),
                Some(1),
            ),
            (
                "redis://u:a@b@h",
                "redis://h:6379",
                some("u"),
                some("a@b"),
                None,
            ),
            (
                "redis://u%40corp:p@h",
                "redis://h:6379",
                some("u@corp"),
                some("p"),
                None,
            ),
            ("unix:///run/r.sock", "unix:///run/r.sock", None, None, None),
            (
                "redis+unix:///run/a%20b?db=2",
                "unix:///run/a b",
                None,
                None,
                Some(2),
            ),
            (
                "unix:///r?db=1&user=u&pass=p%26",
                "unix:///r",
                some("u"),
                some("p&"),
                Some(1),
            ),
            ("  redis://h  ", "redis://h:6379", None, None, None),
        ];
        for (text, address, user, password, db) in table {
            assert_eq!(
                parts(text),
                (address.to_owned(), user, password, db),
                "{text}"
            );
        }
    }

    #[test]
    fn every_bad_url_is_named() {
        let table = [
            ("10.0.0.1:6379", UrlError::NotAUrl),
            ("localhost:6379", UrlError::NotAUrl),
            ("http://h", UrlError::NotAUrl),
            ("", UrlError::NotAUrl),
            (
                "redis://h:99999",
                UrlError::Malformed(url::ParseError::InvalidPort),
            ),
            (
                "redis://[::1",
                UrlError::Malformed(url::ParseError::InvalidIpv6Address),
            ),
            ("redis:///0", UrlError::NoHost),
            ("redis:h", UrlError::NoHost),
            ("redis://0.0.0.0", UrlError::Wildcard),
            ("redis://[::]", UrlError::Wildcard),
            ("redis://h:0", UrlError::PortZero),
            ("redis://h/x", UrlError::Database),
            ("redis://h/-1", UrlError::Database),
            ("redis://h/+1", UrlError::Database),
            ("redis://h/4294967296", UrlError::Database),
            ("redis://h/1/2", UrlError::Database),
            ("redis://h?db=1", UrlError::Query("redis:// takes none")),
            (
                "unix:///r?x=1",
                UrlError::Query("unix:// takes db, user and pass"),
            ),
            ("unix://run/r.sock", UrlError::UnixPath),
            ("unix:///", UrlError::UnixPath),
            ("unix:///r?db=x", UrlError::Database),
            ("redis://:%ff@h", UrlError::Encoding),
        ];
        for (text, error) in table {
            assert_eq!(ReplicaUrl::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn ways_to_connect_that_are_still_to_come_are_refused_by_name() {
        for scheme in ["rediss", "redis+cluster", "redis+sentinel"] {
            let error = ReplicaUrl::parse(&format!("{scheme}://u:hunter2@h")).unwrap_err();
            let text = error.to_string();
            let start =
                format!("{scheme}:// is not supported in this version, use redis:// or unix://");
            assert!(text.starts_with(&start), "{text}");
        }
    }

    #[test]
    fn no_error_repeats_a_password() {
        let texts = [
            "redis://u:hunter2#x@h",
            "redis://u:12#hunter2@h",
            "redis://u:12/hunter2@h",
            "redis://u:12?hunter2@h",
            "redis://u:hunter2@h:hunter2",
            "redis://u:hunter2/@h",
            "redis://u:hunter2@",
            "redis://:hunter2@h/db",
            "u:hunter2@h:6379",
            "hunter2",
            "unix://u:hunter2@h/r",
            "rediss://u:hunter2@h",
        ];
        for text in texts {
            let error = ReplicaUrl::parse(text).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{text}: {error}");
            assert!(
                !format!("{error:?}").contains("hunter2"),
                "{text}: {error:?}"
            );
        }
    }
}
