//! RDB files of other programs, repaired in both directions: against an empty server and against a damaged copy.
//!
//! Whether the servers are equal afterwards is asked of the servers (`judge`), not of reknit.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use support::damage::{KINDS, damage};
use support::judge::{assert_equal, databases, names};
use support::reknit::Reknit;
use support::server::RedisServer;

/// Nothing writes meanwhile, so there is nothing to wait for.
const SETTLE: [&str; 2] = ["--settle", "10ms"];
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/rdb")
        .join(name)
        .with_extension("rdb")
}

/// The databases in which any of the servers holds keys; database 0 if there are none.
fn all_databases(servers: [&RedisServer; 2]) -> BTreeSet<u32> {
    let found: BTreeSet<u32> = servers.into_iter().flat_map(databases).collect();
    if found.is_empty() {
        BTreeSet::from([0])
    } else {
        found
    }
}

/// Every key of every server, with its database.
fn all_names(servers: [&RedisServer; 2]) -> BTreeSet<(u32, Vec<u8>)> {
    let of = |server: &RedisServer, db: u32| names(&mut server.client_db(db));
    let found = all_databases(servers).into_iter().flat_map(|db| {
        let both = servers.map(|server| of(server, db));
        both.into_iter().flatten().map(move |key| (db, key))
    });
    found.collect()
}

/// Repairs every database, then lets the judge, a diff and a second repair say that nothing is left.
fn repair_makes_equal(servers: [&RedisServer; 2]) {
    let before = all_names(servers);
    for db in all_databases(servers) {
        let db = db.to_string();
        let reknit = |verb| {
            Reknit::over(verb, &servers)
                .args(SETTLE)
                .args(["--db", &db])
        };
        reknit("repair").run().assert_code(0);
        reknit("diff").run().assert_code(0);
    }
    assert_equal(&servers);
    assert_eq!(
        all_names(servers),
        before,
        "a key was lost, or one came from nowhere"
    );
}

/// Against an empty server the file's data must come out as it went in, whichever side it stands on.
fn repairs_an_empty_server(name: &str) {
    let untouched = RedisServer::with_rdb(&fixture(name));
    for full_first in [true, false] {
        let (full, empty) = (RedisServer::with_rdb(&fixture(name)), RedisServer::start());
        repair_makes_equal(if full_first {
            [&full, &empty]
        } else {
            [&empty, &full]
        });
        assert_equal(&[&untouched, &full, &empty]);
    }
}

/// With few keys, each must suffer every kind of damage in turn; many suffer all kinds at once.
fn repairs_a_damaged_copy(name: &str) {
    let keys = all_names([
        &RedisServer::with_rdb(&fixture(name)),
        &RedisServer::start(),
    ])
    .len();
    let salts = if keys < KINDS { 0..KINDS } else { 0..1 };
    for (salt, whole_first) in salts.flat_map(|salt| [(salt, true), (salt, false)]) {
        let [whole, damaged] = [(); 2].map(|()| RedisServer::with_rdb(&fixture(name)));
        assert!(damage(&damaged, salt) > 0);
        repair_makes_equal(if whole_first {
            [&whole, &damaged]
        } else {
            [&damaged, &whole]
        });
    }
}

macro_rules! fixtures {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(mod $name {
            #[test]
            fn fills_an_empty_server_unchanged() {
                super::repairs_an_empty_server(stringify!($name));
            }

            #[test]
            fn and_its_damaged_copy_become_equal_in_both_directions() {
                super::repairs_a_damaged_copy(stringify!($name));
            }
        })*
    };
}

fixtures! {
    dictionary
    easily_compressible_string_key
    hash_as_ziplist
    integer_keys
    intset_16
    intset_32
    intset_64
    keys_with_expiry
    linkedlist
    multiple_databases
    non_ascii_values
    parser_filters
    rdb_version_8_with_64b_length_and_scores
    redis_50_with_streams
    regular_set
    regular_sorted_set
    sorted_set_as_ziplist
    uncompressible_string_keys
    ziplist_that_compresses_easily
    ziplist_that_doesnt_compress
    ziplist_with_integers
    zipmap_that_compresses_easily
    zipmap_with_big_values
}

#[test]
fn every_file_has_its_tests() {
    let dir = fixture("any")
        .parent()
        .expect("a file has a directory")
        .to_owned();
    let files = std::fs::read_dir(dir)
        .expect("the fixtures are there")
        .map(|file| {
            let path = file.expect("a directory can be listed").path();
            path.file_stem()
                .expect("a file has a name")
                .to_string_lossy()
                .into_owned()
        });
    let files: BTreeSet<String> = files.collect();
    assert_eq!(files, NAMES.iter().map(|&name| name.to_owned()).collect());
}
