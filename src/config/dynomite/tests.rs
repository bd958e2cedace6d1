use std::path::Path;

use super::seed::{Seed, server};
use super::{ImportError, Imported, import};
use crate::config::Config;
use crate::model::{Address, Layout};

fn fixtures(prefix: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dynomite/configs");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let named = files.iter().map(|file| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(file).unwrap())
    });
    named.filter(|(name, _)| name.starts_with(prefix)).collect()
}

fn config(imported: &Imported) -> Config {
    Config::from_yaml(&imported.text, Path::new("reknit.yaml"), None)
        .unwrap_or_else(|error| panic!("{error}\n{}", imported.text))
}

fn node(more: &str) -> String {
    format!(
        "dyn_o_mite:\n  datacenter: dc1\n  rack: r1\n  tokens: '100'\n  servers:\n  - 10.0.0.1:22122:1\n{more}"
    )
}

fn refused(texts: &[&str]) -> String {
    let files: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(at, text)| (format!("n{at}.yml"), (*text).to_owned()))
        .collect();
    import(&files).unwrap_err().to_string()
}

#[test]
fn recorded_clusters_become_replicas() {
    for (prefix, racks, nodes) in [("a211", 2, 1), ("b231", 6, 1), ("e212", 2, 2)] {
        let imported = import(&fixtures(prefix)).unwrap();
        assert_eq!(imported.notes, Vec::<String>::new());
        let config = config(&imported);
        assert_eq!(config.replicas.len(), racks, "{}", imported.text);
        for replica in &config.replicas {
            assert_eq!(replica.layout, Layout::Dynomite);
            let rack = replica.rack.as_ref().unwrap();
            assert_eq!(rack.nodes.len(), nodes);
            let tagged = rack.placement.tag == Some(*b"{}");
            assert_eq!(tagged, prefix == "e212");
        }
    }
}

#[test]
fn the_text_is_this() {
    let imported = import(&fixtures("e212")).unwrap();
    let lines: Vec<&str> = imported.text.lines().skip(2).take(9).collect();
    assert_eq!(
        lines,
        [
            "replicas:",
            "  - name: dc1-rack1",
            "    datacenter: dc1",
            "    layout: dynomite",
            "    hash: murmur",
            "    hash_tag: \"{}\"",
            "    nodes:",
            "      - { url: \"redis://127.0.50.1:24379\", tokens: \"100\" }",
            "      - { url: \"redis://127.0.50.2:24379\", tokens: \"2147483747\" }",
        ]
    );
}

#[test]
fn seeds_are_read_from_the_right() {
    let table = [
        ("h:8101:r:d:1", "h", vec![1]),
        ("127.0.0.1:8101:r:d:1,2 a name", "127.0.0.1", vec![1, 2]),
        ("::1:8101:r:d:7 n:a:m:e", "::1", vec![7]),
        ("[2001:db8::1]:8101:r:d:7", "2001:db8::1", vec![7]),
        (
            "ec2-1.compute.amazonaws.com:8101:r:d:4294967295",
            "ec2-1.compute.amazonaws.com",
            vec![u32::MAX],
        ),
    ];
    for (line, host, tokens) in table {
        // Only what stands behind the last space is a name.
        let line = line.replace("a name", "name");
        let seed = Seed::parse(&line).unwrap();
        assert_eq!(
            (seed.host.as_str(), seed.port, seed.tokens),
            (host, 8101, tokens),
            "{line}"
        );
        assert_eq!((seed.rack.as_str(), seed.datacenter.as_str()), ("r", "d"));
    }
    for line in [
        "",
        "h",
        "h:8101",
        "r:d:1",
        ":8101:r:d:1",
        "h:x:r:d:1",
        "h:8101:r:d:",
        "h:8101:r:d:-1",
        "h:8101:r:d:x",
        "h:8101:r:d:4294967296",
    ] {
        let words = Seed::parse(line).unwrap_err();
        assert!(
            words.contains("host:port:rack:datacenter:tokens"),
            "{words}"
        );
    }
}

#[test]
fn servers_are_read_from_the_right() {
    let tcp = |host: &str| Address::Tcp {
        host: host.into(),
        port: 6379,
    };
    assert_eq!(server("10.0.0.1:6379:1"), Ok(tcp("10.0.0.1")));
    assert_eq!(server("fe80::1:6379:1 local"), Ok(tcp("fe80::1")));
    assert_eq!(server("[fe80::1]:6379:1"), Ok(tcp("fe80::1")));
    assert_eq!(
        server("/run/redis.sock:1"),
        Ok(Address::Unix("/run/redis.sock".into()))
    );
    for line in ["h:1", "h", ":6379:1", "h:6379:x", "h:x:1"] {
        assert!(server(line).is_err(), "{line}");
    }
}

#[test]
fn every_contradiction_is_told() {
    let table: [(&[&str], &str); 16] = [
        (&[], "no node file was named"),
        (&["- a\n- b"], "n0.yml: a node's file has one root"),
        (
            &["datacenter: dc1\nrack: r1"],
            "n0.yml: a node's file has one root",
        ),
        (&["a: {}\nb: {}"], "n0.yml: a node's file has one root"),
        (&["a: [1"], "n0.yml: this is no yaml"),
        (&["dyn_o_mite:\n  rack: r"], "n0.yml: 0 servers are named"),
        (
            &["x:\n  servers: ['h:1:1']"],
            "n0.yml: the node has no tokens",
        ),
        (
            &["x:\n  servers: ['h:1:1', 'i:1:1']\n  tokens: 1"],
            "n0.yml: 2 servers are named",
        ),
        (
            &["x:\n  servers: ['h:1']\n  tokens: 1"],
            "n0.yml: server `h:1`",
        ),
        (
            &["x:\n  servers: ['h:1:1']\n  tokens: '-4'"],
            "`-4` is not a token",
        ),
        (
            &[&node("  hash: sha1")],
            "n0.yml: `sha1` is no hash of dynomite's",
        ),
        (
            &[&node("  hash_tag: '{'")],
            "n0.yml: hash_tag `{` is not two characters",
        ),
        (
            &[&node("  data_store: 1")],
            "n0.yml: data_store 1 is not redis",
        ),
        (
            &[&node("  dyn_seeds:\n  - nonsense")],
            "n0.yml: seed `nonsense`",
        ),
        (
            &[&node(""), &node("").replace("0.1", "0.2")],
            "n0.yml and n1.yml: both have token 100 in one rack",
        ),
        (
            &[
                &node(""),
                &node("  hash: md5")
                    .replace("r1", "r2")
                    .replace("0.1", "0.2"),
            ],
            "n0.yml and n1.yml: hash and hash_tag differ",
        ),
    ];
    for (texts, words) in table {
        let found = refused(texts);
        assert!(found.contains(words), "{found}\nlacks: {words}");
    }
    let twice = refused(&[&node(""), &node("").replace("r1", "r2")]);
    assert!(
        twice.contains("both name the redis at redis://10.0.0.1:22122"),
        "{twice}"
    );
}

#[test]
fn a_rack_of_which_a_node_is_missing_is_refused_and_a_missing_rack_is_noted() {
    let mut files = fixtures("e212");
    files.retain(|(name, _)| name != "e212-dc1r1n2.yml");
    let error = import(&files).unwrap_err();
    assert!(
        matches!(&error, ImportError::Incomplete { rack, .. } if rack == "dc1-rack1"),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("127.0.50.2:24101 with tokens 2147483747"),
        "{error}"
    );
    files.retain(|(name, _)| name.contains("dc2"));
    let imported = import(&files).unwrap();
    assert_eq!(imported.notes.len(), 1);
    assert!(imported.notes[0].starts_with("rack dc1-rack1 of datacenter dc1 is left out"));
}

#[test]
fn a_redis_that_listens_for_its_host_alone_is_looked_for_where_peers_know_the_node() {
    let texts = ["1", "2"].map(|own| {
        let peer = if own == "1" { "2" } else { "1" };
        format!(
            "dyn_o_mite:\n  datacenter: dc{own}\n  rack: r\n  tokens: 5\n  dyn_listen: 0.0.0.0:8101\n  servers: [127.0.0.1:22122:1]\n  \
             dyn_seeds: ['10.0.0.{peer}:8101:r:dc{peer}:5']\n"
        )
    });
    let files: Vec<_> = texts
        .into_iter()
        .enumerate()
        .map(|(at, text)| (format!("n{at}.yml"), text))
        .collect();
    let imported = import(&files).unwrap();
    let found = config(&imported);
    let addresses: Vec<String> = found
        .replicas
        .iter()
        .map(|one| one.address.to_string())
        .collect();
    assert_eq!(
        addresses,
        ["redis://10.0.0.1:22122", "redis://10.0.0.2:22122"]
    );
    // Racks that are called alike are told apart, and what may surprise is said.
    assert_eq!(found.replicas[0].name.0, "dc1-r");
    assert_eq!(imported.notes.len(), 3, "{:?}", imported.notes);
    let without_peers = files[0].1.replace("10.0.0.2", "127.0.0.1");
    let alone = [
        ("a.yml".to_owned(), without_peers.clone()),
        ("b.yml".to_owned(), without_peers.replace("dc1", "dc3")),
    ];
    assert!(
        import(&alone)
            .unwrap_err()
            .to_string()
            .contains("both name the redis")
    );
}
