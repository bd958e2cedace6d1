//! The replicas: their names, servers and passwords, checked against each other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::databases;
use super::error::{Contradiction, suggestion};
use super::http::file;
use super::identity::{Identity, PasswordSource, Said};
use super::rack::{RackConfig, rack, refuse_unlike, url_of};
use super::raw::RawReplica;
use super::{ConfigError, RESERVED_NAMES, ReplicaUrl, YamlPath};
use crate::model::{Address, Credentials, Datacenter, DbIndex, Layout, ReplicaName, Tls};

/// How many replicas one configuration may name.
pub const MAX_REPLICAS: usize = 64;

/// How long a name may be.
const MAX_NAME_LENGTH: usize = 64;

/// One replica as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// Its name.
    pub name: ReplicaName,
    /// Where it is; its own name where the configuration does not say.
    pub datacenter: Datacenter,
    /// Where it is found.
    pub address: Address,
    /// The database of keyspaces that name none.
    pub db: DbIndex,
    /// Who reknit is on its servers.
    pub identity: Identity,
    /// Who reknit is on its sentinels, where that is somebody else.
    pub sentinel: Option<Identity>,
    /// How its servers prove who they are; nothing where they speak in the clear.
    pub tls: Option<Tls>,
    /// Whether everything is read from a server that follows it.
    pub read_follower: bool,
    /// How the data is laid out.
    pub layout: Layout,
    /// Its nodes, where it is a rack of several.
    pub rack: Option<RackConfig>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one answer may take.
    pub read_timeout: Duration,
}

impl ReplicaConfig {
    /// How long connecting may take by default.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

    /// How long one answer may take by default.
    pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

    /// User and password, the latter read now from its file or variable.
    ///
    /// # Errors
    /// [`ConfigError::Password`] where the file or the variable cannot be read; never with the password.
    pub fn credentials(&self) -> Result<Credentials, ConfigError> {
        self.identity.credentials(&self.name)
    }

    /// The same for its sentinels, where they want others than its servers.
    ///
    /// # Errors
    /// As [`Self::credentials`].
    pub fn sentinel_credentials(&self) -> Result<Option<Credentials>, ConfigError> {
        let own = self.sentinel.as_ref();
        own.map(|own| own.credentials(&self.name)).transpose()
    }
}

/// Reads the replicas and checks them against each other.
pub(super) fn replicas(
    raw: &[RawReplica],
    base_dir: &Path,
    db: Option<DbIndex>,
) -> Result<Vec<ReplicaConfig>, Contradiction> {
    let path = YamlPath::of("replicas");
    if !(2..=MAX_REPLICAS).contains(&raw.len()) {
        let what = format!("{} named, there must be 2 to {MAX_REPLICAS}", raw.len());
        return Err(Contradiction::new(
            path,
            what,
            "name every copy of the data",
        ));
    }
    let mut replicas: Vec<ReplicaConfig> = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let at = path.item(index);
        let mut replica = replica(raw, &at, base_dir)?;
        replica.db = db.unwrap_or(replica.db);
        databases::refuse_own(&replica, &at)?;
        refuse_twins(&replicas, &replica, &at)?;
        refuse_mixed(&replicas, &replica, &at)?;
        if let Some(rack) = &replica.rack {
            let before: Vec<_> = replicas
                .iter()
                .filter_map(|one| one.rack.as_ref())
                .collect();
            refuse_unlike(&before, rack, &at)?;
        }
        replicas.push(replica);
    }
    Ok(replicas)
}

/// Stamps can only be kept where all replicas keep them.
fn refuse_mixed(
    before: &[ReplicaConfig],
    replica: &ReplicaConfig,
    at: &YamlPath,
) -> Result<(), Contradiction> {
    match before.iter().find(|other| other.layout != replica.layout) {
        None => Ok(()),
        Some(other) => Err(Contradiction::new(
            at.key("layout"),
            format!("replica `{}` has another layout", other.name),
            "write `dynomite` at all of them, or at none: then stamps are data like any other",
        )),
    }
}

fn refuse_twins(
    before: &[ReplicaConfig],
    replica: &ReplicaConfig,
    at: &YamlPath,
) -> Result<(), Contradiction> {
    if before.iter().any(|other| other.name == replica.name) {
        let what = format!("two replicas are named `{}`", replica.name);
        return Err(Contradiction::new(
            at.key("name"),
            what,
            "give each its own name",
        ));
    }
    let same = |other: &&ReplicaConfig| other.address == replica.address && other.db == replica.db;
    match before.iter().find(same) {
        None => Ok(()),
        Some(other) => Err(Contradiction::new(
            at.key("url"),
            format!("the same server and database as replica `{}`", other.name),
            "name two different copies of the data",
        )),
    }
}

fn replica(
    raw: &RawReplica,
    at: &YamlPath,
    base_dir: &Path,
) -> Result<ReplicaConfig, Contradiction> {
    check_name(&raw.name, at.key("name"))?;
    let datacenter = raw.datacenter.as_ref().unwrap_or(&raw.name);
    let datacenter_at = match raw.datacenter {
        Some(_) => at.key("datacenter"),
        None => at.key("name"),
    };
    check_datacenter(datacenter, datacenter_at)?;
    let url = ReplicaUrl::parse(url_of(raw, at)?).map_err(|error| Contradiction {
        path: at.key("url"),
        what: error.to_string(),
        advice: None,
    })?;
    let identity = Said {
        username: raw.username.as_deref(),
        password_file: raw.password_file.as_deref(),
        password_env: raw.password_env.as_deref(),
        url: (url.username.as_deref(), url.password.as_ref()),
    };
    let layout = layout(&raw.layout, at.key("layout"))?;
    Ok(ReplicaConfig {
        name: ReplicaName(raw.name.clone()),
        datacenter: Datacenter(datacenter.clone()),
        identity: identity.read(at, base_dir)?,
        sentinel: sentinel(raw, &url.address, at, base_dir)?,
        tls: tls(raw, url.tls, at, base_dir)?,
        address: url.address,
        db: url.db.unwrap_or(DbIndex(0)),
        layout,
        rack: rack(raw, layout, at)?,
        read_follower: reads_follower(raw.read_from.as_deref(), at.key("read_from"))?,
        connect_timeout: timeout(
            raw.connect_timeout.map(|found| found.0),
            ReplicaConfig::CONNECT_TIMEOUT,
            at.key("connect_timeout"),
        )?,
        read_timeout: timeout(
            raw.read_timeout.map(|found| found.0),
            ReplicaConfig::READ_TIMEOUT,
            at.key("read_timeout"),
        )?,
    })
}

/// Who reknit is on the sentinels, where a replica is found through some.
fn sentinel(
    raw: &RawReplica,
    address: &Address,
    at: &YamlPath,
    base_dir: &Path,
) -> Result<Option<Identity>, Contradiction> {
    let Some(raw) = &raw.sentinel else {
        return Ok(None);
    };
    let at = at.key("sentinel");
    if !matches!(address, Address::Sentinel { .. }) {
        let advice = "write redis+sentinel:// in the url, or leave sentinel out";
        return Err(Contradiction::new(at, "the url names no sentinels", advice));
    }
    let said = Said {
        username: raw.username.as_deref(),
        password_file: raw.password_file.as_deref(),
        password_env: raw.password_env.as_deref(),
        url: (None, None),
    };
    let identity = said.read(&at, base_dir)?;
    match identity.password {
        PasswordSource::None => Err(Contradiction::new(
            at,
            "it names no password",
            "add password_file or password_env, or leave sentinel out",
        )),
        _ => Ok(Some(identity)),
    }
}

/// The files of TLS, from the URL or from a map of their own.
fn tls(
    raw: &RawReplica,
    of_url: Option<Tls>,
    at: &YamlPath,
    base_dir: &Path,
) -> Result<Option<Tls>, Contradiction> {
    let at = at.key("tls");
    let in_base_dir = |file: PathBuf| base_dir.join(file);
    let (raw, url) = match (&raw.tls, of_url) {
        (None, url) => {
            return Ok(url.map(|url| Tls {
                ca: url.ca.map(in_base_dir),
                identity: url.identity.map(|(a, b)| (in_base_dir(a), in_base_dir(b))),
                ..url
            }));
        }
        (Some(_), None) => {
            let what = "the url speaks in the clear";
            let advice = "write rediss:// in it, or leave tls out";
            return Err(Contradiction::new(at, what, advice));
        }
        (Some(raw), Some(url)) => (raw, url),
    };
    if url != Tls::default() {
        let what = "the url names files of tls too";
        return Err(Contradiction::new(at, what, "keep them in one place"));
    }
    let certificate = file(raw.certificate.as_deref(), at.key("certificate"), base_dir)?;
    let key = file(raw.key.as_deref(), at.key("key"), base_dir)?;
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let what = "our certificate needs its key, and the key its certificate";
            let advice = "write certificate: FILE, key: FILE";
            return Err(Contradiction::new(at, what, advice));
        }
    };
    Ok(Some(Tls {
        ca: file(raw.ca.as_deref(), at.key("ca"), base_dir)?,
        identity,
        server_name: raw.server_name.clone(),
    }))
}

fn reads_follower(raw: Option<&str>, at: YamlPath) -> Result<bool, Contradiction> {
    match raw {
        None | Some("master") => Ok(false),
        Some("replica") => Ok(true),
        Some(other) => {
            let what = format!("unknown value `{other}`");
            let advice = suggestion(other, &["master", "replica"]);
            Err(Contradiction::new(at, what, advice))
        }
    }
}

fn layout(raw: &Option<String>, at: YamlPath) -> Result<Layout, Contradiction> {
    match raw.as_deref() {
        None | Some("plain") => Ok(Layout::Plain),
        Some("dynomite") => Ok(Layout::Dynomite),
        Some(other) => {
            let what = format!("unknown value `{other}`");
            Err(Contradiction::new(
                at,
                what,
                suggestion(other, &["plain", "dynomite"]),
            ))
        }
    }
}

fn timeout(
    raw: Option<Duration>,
    default: Duration,
    at: YamlPath,
) -> Result<Duration, Contradiction> {
    match raw {
        Some(Duration::ZERO) => Err(Contradiction::new(
            at,
            "a time-out of 0 leaves no time",
            "write one like 5s",
        )),
        Some(found) => Ok(found),
        None => Ok(default),
    }
}

/// Names of replicas, datacenters, keyspaces and schedules go into metrics and file names.
/// Whether a replica can be called this.
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= MAX_NAME_LENGTH && name.bytes().all(allowed)
}

pub(super) fn check_name(name: &str, at: YamlPath) -> Result<(), Contradiction> {
    if !is_name(name) {
        return Err(Contradiction::new(
            at,
            "this is not a name",
            format!("write 1 to {MAX_NAME_LENGTH} letters, digits, `.`, `_` or `-`"),
        ));
    }
    Ok(())
}

fn check_datacenter(name: &str, at: YamlPath) -> Result<(), Contradiction> {
    check_name(name, at.clone())?;
    if RESERVED_NAMES.contains(&name) {
        return Err(Contradiction::new(
            at,
            format!("a datacenter cannot be named `{name}`"),
            "the word has its own meaning in `prefer`",
        ));
    }
    Ok(())
}

/// The first name that stands there twice, by its index.
pub(super) fn first_twin<'a>(names: impl Iterator<Item = &'a str>) -> Option<(usize, &'a str)> {
    let mut seen = BTreeSet::new();
    names.enumerate().find(|(_, name)| !seen.insert(*name))
}
