//! A replica's URL, by its scheme:
//!
//! ```text
//! redis://     [user[:password]@]host[:port][/db]                   one server
//! unix://      /path[?db=N&user=U&pass=P]                           one server, by its socket
//! redis+cluster://   [user[:password]@]host[:port],host[:port],...  a Redis Cluster, by some of its nodes
//! redis+sentinel://  [user[:password]@]host[:port],.../master[/db]  the master that sentinels watch over
//! ```
//!
//! `rediss` in place of `redis` speaks TLS, with `?ca=FILE&cert=FILE&key=FILE&server_name=NAME` behind it.
//!
//! No error here repeats any part of the text beyond a known scheme, because a password may stand anywhere in a
//! text that is not quite a URL. A password with `#` or `/` in it, not percent-encoded, would otherwise be cut in
//! two and connect to the wrong place: fragments and unknown query parts are refused.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use thiserror::Error;
use url::{Host, Url};

use crate::model::{Address, DbIndex, HostPort, Secret, Tls};

/// The port of a URL that names none.
pub const DEFAULT_PORT: u16 = 6379;

/// The port of a sentinel for which the URL names none.
const SENTINEL_PORT: u16 = 26379;

/// What a replica's URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaUrl {
    /// Where it is found.
    pub address: Address,
    /// The ACL user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The database; nothing where the URL names none.
    pub db: Option<DbIndex>,
    /// How its servers prove who they are; nothing where they speak in the clear.
    pub tls: Option<Tls>,
}

/// Why a text is not a replica's URL; never with the text itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// No URL at all.
    #[error(
        "this is not the url of a replica, write redis://host:6379/0, rediss://, redis+cluster://, redis+sentinel:// \
         or unix:///path/to/socket"
    )]
    NotAUrl,
    /// A URL that cannot be read.
    #[error(
        "malformed url ({0}), in a user or password write @ : / ? # % as %40 %3A %2F %3F %23 %25"
    )]
    Malformed(url::ParseError),
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
    /// A database of a cluster.
    #[error("a cluster has no databases but 0, leave it out; in a password write / as %2F")]
    ClusterDatabase,
    /// No master's name.
    #[error("the url names no master, write redis+sentinel://host:26379,host:26379/master-name/0")]
    NoMaster,
    /// Several hosts for one server.
    #[error("one server has one host, for several write redis+cluster:// or redis+sentinel://")]
    SeveralHosts,
    /// A certificate without its key, or the other way round.
    #[error("our certificate needs its key and the key its certificate, write ?cert=FILE&key=FILE")]
    HalfIdentity,
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

/// What a scheme stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Single,
    Cluster,
    Sentinel,
}

impl ReplicaUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong and what to write, without any part of the text that might hold a password.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let scheme = text.split("://").next().unwrap_or_default();
        let secured = scheme.starts_with("rediss");
        match scheme {
            "redis" | "rediss" => parse_hosts(text, Way::Single, secured),
            "redis+cluster" | "rediss+cluster" => parse_hosts(text, Way::Cluster, secured),
            "redis+sentinel" | "rediss+sentinel" => parse_hosts(text, Way::Sentinel, secured),
            _ => parse_other(text),
        }
    }
}

fn parse_url(text: &str) -> Result<Url, UrlError> {
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => UrlError::NotAUrl,
        other => UrlError::Malformed(other),
    })?;
    match url.fragment() {
        Some(_) => Err(UrlError::Fragment),
        None => Ok(url),
    }
}

fn parse_other(text: &str) -> Result<ReplicaUrl, UrlError> {
    let url = parse_url(text)?;
    match url.scheme() {
        "unix" | "redis+unix" => parse_unix(&url),
        "redis" => Err(UrlError::NoHost),
        _ => Err(UrlError::NotAUrl),
    }
}

/// Reads a URL of one host or several, of which the url crate knows one.
fn parse_hosts(text: &str, way: Way, secured: bool) -> Result<ReplicaUrl, UrlError> {
    let (first, more) = split_hosts(text);
    let url = parse_url(&first)?;
    let port = match way {
        Way::Single | Way::Cluster => DEFAULT_PORT,
        Way::Sentinel => SENTINEL_PORT,
    };
    let mut hosts = vec![host_port(&url, port)?];
    for host in more {
        hosts.push(host_port(&parse_url(&format!("redis://{host}"))?, port)?);
    }
    let (address, db) = address(hosts, way, url.path())?;
    let username = decode(url.username())?;
    Ok(ReplicaUrl {
        address,
        username: (!username.is_empty()).then_some(username),
        password: url.password().map(decode).transpose()?.map(Secret::new),
        db,
        tls: tls(&url, secured)?,
    })
}

/// The text with the first of its hosts alone, and the others.
fn split_hosts(text: &str) -> (String, Vec<&str>) {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(start);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    let at = authority.rfind('@').map_or(0, |at| at + 1);
    let (who, hosts) = authority.split_at(at);
    let mut hosts = hosts.split(',');
    let first = hosts.next().unwrap_or_default();
    (format!("{scheme}{who}{first}{behind}"), hosts.collect())
}

fn address(
    mut hosts: Vec<HostPort>,
    way: Way,
    path: &str,
) -> Result<(Address, Option<DbIndex>), UrlError> {
    let path = path.strip_prefix('/').unwrap_or_default();
    match way {
        Way::Single if hosts.len() > 1 => Err(UrlError::SeveralHosts),
        Way::Single => {
            let HostPort { host, port } = hosts.remove(0);
            Ok((Address::Tcp { host, port }, database(path)?))
        }
        Way::Cluster => match database(path) {
            Ok(None | Some(DbIndex(0))) => Ok((Address::Cluster(hosts), None)),
            _ => Err(UrlError::ClusterDatabase),
        },
        Way::Sentinel => {
            let (master, db) = path.split_once('/').unwrap_or((path, ""));
            let master = decode(master)?;
            if master.is_empty() {
                return Err(UrlError::NoMaster);
            }
            let sentinels = hosts;
            Ok((Address::Sentinel { sentinels, master }, database(db)?))
        }
    }
}

/// The files of TLS behind `?`.
fn tls(url: &Url, secured: bool) -> Result<Option<Tls>, UrlError> {
    const KNOWN: &str = "rediss:// takes ca, cert, key and server_name";
    if !secured {
        return match url.query() {
            Some(_) => Err(UrlError::Query("redis:// takes none")),
            None => Ok(None),
        };
    }
    let (mut tls, mut certificate, mut key) = (Tls::default(), None, None);
    for (name, value) in url.query_pairs() {
        let value = value.into_owned();
        match name.as_ref() {
            "ca" => tls.ca = Some(PathBuf::from(value)),
            "cert" => certificate = Some(PathBuf::from(value)),
            "key" => key = Some(PathBuf::from(value)),
            "server_name" => tls.server_name = Some(value),
            _ => return Err(UrlError::Query(KNOWN)),
        }
    }
    tls.identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(UrlError::HalfIdentity),
    };
    Ok(Some(tls))
}

fn host_port(url: &Url, default: u16) -> Result<HostPort, UrlError> {
    let port = url.port().unwrap_or(default);
    if port == 0 {
        return Err(UrlError::PortZero);
    }
    let host = host(url)?;
    Ok(HostPort { host, port })
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
        tls: None,
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
            ("redis://a,b", UrlError::SeveralHosts),
            ("redis+cluster://a,b:0", UrlError::PortZero),
            ("redis+cluster://a,,b", UrlError::NoHost),
            ("redis+cluster://a/1", UrlError::ClusterDatabase),
            ("redis+sentinel://a", UrlError::NoMaster),
            ("redis+sentinel://a/m/x", UrlError::Database),
            ("rediss://h?cert=/c", UrlError::HalfIdentity),
            (
                "rediss://h?tls=1",
                UrlError::Query("rediss:// takes ca, cert, key and server_name"),
            ),
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
    fn clusters_and_sentinels_are_named_by_several_hosts() {
        let table = [
            (
                "redis+cluster://u:p@a:1,b,[::1]:3",
                "redis+cluster://a:1,b:6379,[::1]:3",
                None,
            ),
            ("redis+cluster://a/0", "redis+cluster://a:6379", None),
            (
                "redis+sentinel://a,b:2/main/4",
                "redis+sentinel://a:26379,b:2/main",
                Some(4),
            ),
            (
                "rediss+sentinel://a/main?ca=/ca.pem",
                "redis+sentinel://a:26379/main",
                None,
            ),
        ];
        for (text, address, db) in table {
            let (found, _, _, found_db) = parts(text);
            assert_eq!((found.as_str(), found_db), (address, db), "{text}");
        }
    }

    #[test]
    fn what_tls_needs_stands_behind_the_question_mark() {
        let tls = |text: &str| ReplicaUrl::parse(text).unwrap().tls;
        assert_eq!(tls("redis://h"), None);
        assert_eq!(tls("rediss://h"), Some(Tls::default()));
        let full = "rediss+cluster://h?ca=/ca&cert=/c&key=/k&server_name=n";
        let expected = Tls {
            ca: Some("/ca".into()),
            identity: Some(("/c".into(), "/k".into())),
            server_name: Some("n".into()),
        };
        assert_eq!(tls(full), Some(expected));
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
            "rediss://u:hunter2@h?hunter2=1",
            "redis+cluster://u:hunter2/x@h",
            "redis+sentinel://u:hunter2@h",
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
