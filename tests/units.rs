//! What is shipped to run reknit with: systemd's own tools accept the units, and the Kubernetes objects say what they
//! must.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use serde_yaml::Value;

/// What systemd calls OK, from 0 to 100.
const MOST_EXPOSED: &str = "20";

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(config(name)).unwrap()
}

fn systemd_analyze(words: &[&str]) -> Output {
    let output = Command::new("systemd-analyze").args(words).output();
    output.unwrap_or_else(|error| {
        panic!("systemd-analyze: {error}; `make units` installs what is needed")
    })
}

/// The units as they are, but with the binary under test: the shipped path exists on no machine that only builds.
fn units() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(config("systemd")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("/usr/bin/reknit", env!("CARGO_BIN_EXE_reknit"));
        std::fs::write(dir.path().join(path.file_name().unwrap()), text).unwrap();
    }
    dir
}

#[test]
fn systemd_takes_every_unit_without_a_word() {
    let dir = units();
    for unit in [
        "reknit.service",
        "reknit-repair.service",
        "reknit-repair.timer",
    ] {
        let path = dir.path().join(unit);
        let output = systemd_analyze(&["verify", "--man=no", path.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        // What other units of this machine do wrong is not ours.
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("reknit"))
            .collect();
        assert!(output.status.success() && ours.is_empty(), "{unit}: {said}");
    }
}

#[test]
fn the_verifier_sees_what_is_wrong() {
    let dir = units();
    let path = dir.path().join("reknit.service");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("WatchdogSec=60s", "WatchdogSec=soon")).unwrap();
    let output = systemd_analyze(&["verify", "--man=no", path.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("reknit.service") && said.contains("soon"),
        "{said}"
    );
}

#[test]
fn the_services_are_little_exposed() {
    let dir = units();
    for unit in ["reknit.service", "reknit-repair.service"] {
        let path = dir.path().join(unit);
        let threshold = format!("--threshold={MOST_EXPOSED}");
        let output = systemd_analyze(&[
            "security",
            "--offline=yes",
            "--no-pager",
            &threshold,
            path.to_str().unwrap(),
        ]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{unit}: {said}");
        assert!(said.contains("Overall exposure level"), "{unit}: {said}");
    }
}

/// The commands of the units, the crontab and the Kubernetes objects are taken by the command line as it is.
#[test]
fn every_shipped_command_line_is_one() {
    let crontab = read("crontab.example");
    let cron = crontab.lines().find(|line| !line.starts_with('#')).unwrap();
    let cron = cron.split_once("/usr/bin/reknit").unwrap().1;
    let repair = read("systemd/reknit-repair.service");
    let repair = repair
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/reknit"));
    let pod = pod("kubernetes/cronjob.yaml");
    let args: Vec<String> = serde_yaml::from_value(pod["containers"][0]["args"].clone()).unwrap();
    for line in [cron, repair.unwrap(), &args.join(" ")] {
        let words = line.split_whitespace().filter(|word| !word.contains('>'));
        // A file that does not exist: what is wrong is the file, not the line.
        let words = words.map(|word| match word {
            "/etc/reknit/reknit.yaml" => "/nowhere/reknit.yaml",
            other => other,
        });
        let output = Command::new(env!("CARGO_BIN_EXE_reknit"))
            .args(words)
            .output();
        let said = String::from_utf8(output.unwrap().stderr).unwrap();
        assert!(
            said.contains("cannot read the configuration /nowhere/reknit.yaml"),
            "{line}: {said}"
        );
    }
    let fields: Vec<&str> = crontab.lines().last().unwrap().split_whitespace().collect();
    reknit::config::Cron::parse(&fields[..5].join(" ")).unwrap();
}

#[test]
fn the_service_is_started_as_it_is_documented() {
    let unit = read("systemd/reknit.service");
    for line in [
        "Type=notify",
        "ExecStart=/usr/bin/reknit run -c /etc/reknit/reknit.yaml",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "WatchdogSec=60s",
        "DynamicUser=yes",
        "StateDirectory=reknit",
        "ProtectSystem=strict",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let timer = read("systemd/reknit-repair.timer");
    assert!(timer.contains("Persistent=true") && timer.contains("RandomizedDelaySec="));
}

fn documents(name: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(&read(name))
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// The pod of a file's second object; the first is its volume claim.
fn pod(name: &str) -> Value {
    let documents = documents(name);
    assert_eq!(documents[0]["kind"], "PersistentVolumeClaim");
    let spec = &documents[1]["spec"];
    match documents[1]["kind"].as_str().unwrap() {
        "Deployment" => spec["template"]["spec"].clone(),
        "CronJob" => spec["jobTemplate"]["spec"]["template"]["spec"].clone(),
        other => panic!("{name}: {other}"),
    }
}

#[test]
fn every_pod_runs_without_rights_on_a_root_that_cannot_be_written() {
    for name in ["kubernetes/deployment.yaml", "kubernetes/cronjob.yaml"] {
        let pod = pod(name);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        let container = &pod["containers"][0];
        let context = &container["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(context["capabilities"]["drop"][0], "ALL", "{name}");
        let names = |list: &Value| -> Vec<String> {
            let list = list.as_sequence().unwrap().iter();
            list.map(|one| one["name"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(names(&container["volumeMounts"]), names(&pod["volumes"]));
        let claim = &pod["volumes"][2]["persistentVolumeClaim"]["claimName"];
        assert_eq!(*claim, documents(name)[0]["metadata"]["name"], "{name}");
    }
}

#[test]
fn the_deployment_is_probed_where_the_service_answers_and_never_runs_twice() {
    let deployment = &documents("kubernetes/deployment.yaml")[1];
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    let container = &pod("kubernetes/deployment.yaml")["containers"][0];
    for (probe, path) in [
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(
            container[probe]["httpGet"]["port"],
            container["ports"][0]["name"]
        );
    }
    let cronjob = &documents("kubernetes/cronjob.yaml")[1]["spec"];
    assert_eq!(cronjob["concurrencyPolicy"], "Forbid");
    reknit::config::Cron::parse(cronjob["schedule"].as_str().unwrap()).unwrap();
}
