//! Replicas that have one database only: none but 0 may be named for them.

use super::YamlPath;
use super::error::Contradiction;
use super::replicas::ReplicaConfig;
use crate::model::{Address, DbIndex, Layout};

/// Why a replica has no database but 0; nothing where it may have others.
fn has_one(replica: &ReplicaConfig) -> Option<&'static str> {
    match (&replica.address, replica.layout) {
        (Address::Cluster(_), _) => Some("a Redis Cluster, which has database 0 alone"),
        (_, Layout::Dynomite) => {
            Some("a rack of Dynomite, which keeps its data and stamps in database 0 alone")
        }
        (Address::Tcp { .. } | Address::Unix(_) | Address::Sentinel { .. }, Layout::Plain) => None,
    }
}

/// Refuses a replica's own database, be it of its URL or of the command line.
pub(super) fn refuse_own(replica: &ReplicaConfig, at: &YamlPath) -> Result<(), Contradiction> {
    match has_one(replica) {
        Some(why) if replica.db != DbIndex(0) => Err(Contradiction::new(
            at.key("url"),
            format!("database {} is named, but this is {why}", replica.db),
            "take the database out of the url, and leave --db away",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Refuses a keyspace's database that a replica has not.
pub(super) fn refuse_of_keyspace(
    db: Option<DbIndex>,
    replicas: &[ReplicaConfig],
    at: &YamlPath,
) -> Result<(), Contradiction> {
    let Some(db) = db.filter(|db| *db != DbIndex(0)) else {
        return Ok(());
    };
    let found = replicas.iter().find_map(|one| Some((one, has_one(one)?)));
    match found {
        None => Ok(()),
        Some((replica, why)) => Err(Contradiction::new(
            at.key("db"),
            format!("replica `{}` is {why}, not database {db}", replica.name),
            "take `db` out",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;
    use crate::model::DbIndex;

    fn complaint(text: &str, db: Option<u32>) -> Option<String> {
        let read = Config::from_yaml(text, Path::new("reknit.yaml"), db.map(DbIndex));
        read.err().map(|error| error.to_string())
    }

    const CLUSTER: &str =
        "replicas:\n- { name: a, url: redis://a }\n- { name: b, url: redis+cluster://b }\n";
    const RACKS: &str = "replicas:\n- { name: a, layout: dynomite, url: redis://a }\n- { name: b, layout: dynomite, url: redis://b }\n";

    #[test]
    fn a_database_that_a_replica_has_not_is_refused_with_the_reason() {
        let of_keyspace = "keyspaces:\n- { name: k, db: 3 }\n";
        let table = [
            (
                format!("{CLUSTER}{of_keyspace}"),
                None,
                "replica `b` is a Redis Cluster",
            ),
            (
                format!("{RACKS}{of_keyspace}"),
                None,
                "replica `a` is a rack of Dynomite",
            ),
            (
                CLUSTER.to_owned(),
                Some(2),
                "database 2 is named, but this is a Redis Cluster",
            ),
            (
                RACKS.to_owned(),
                Some(2),
                "database 2 is named, but this is a rack of Dynomite",
            ),
            (RACKS.replace("//b", "//b/1"), None, "database 1 is named"),
        ];
        for (text, db, expected) in table {
            let found = complaint(&text, db).unwrap_or_default();
            assert!(found.contains(expected), "{text}: {found}");
        }
    }

    #[test]
    fn database_0_is_what_they_have() {
        for text in [CLUSTER, RACKS] {
            let named = format!("{text}keyspaces:\n- {{ name: k, db: 0 }}\n");
            assert_eq!(complaint(&named, None), None);
            assert_eq!(complaint(text, Some(0)), None);
        }
    }
}
