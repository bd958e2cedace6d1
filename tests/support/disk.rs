//! Disks that are full, or cannot be written: mounted in a name space of their own, so that nothing is left behind.
//!
//! It takes a user who may mount (root, as in a container). Who may not is told so, and the test fails: a disk that was
//! not full proves nothing.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// The words that run a command where this folder cannot be written; put them before it.
pub(crate) fn read_only(dir: &Path) -> Vec<String> {
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    words(&["unshare", "-m", "sh", "-c", script, &path(dir)])
}

/// A file system in memory, seen only by what is run within it; gone when dropped.
pub(crate) struct Disk {
    at: PathBuf,
    holder: Child,
    /// The holder waits for its end.
    leash: ChildStdin,
}

impl Disk {
    /// One of so many bytes (as in `8m`), mounted at this folder, which is created.
    pub(crate) fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir(at).expect("a folder is made");
        let script =
            format!("mount -t tmpfs -o size={size} tmpfs \"$0\" && echo mounted && read -r _");
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .arg(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is there (util-linux)");
        let mut line = String::new();
        let mut out = BufReader::new(holder.stdout.take().expect("piped"));
        out.read_line(&mut line).expect("it says so");
        assert_eq!(
            line, "mounted\n",
            "this user may not mount: run the tests as root"
        );
        let leash = holder.stdin.take().expect("piped");
        Self {
            at: at.to_owned(),
            holder,
            leash,
        }
    }

    /// The words that run a command within it; put them before it.
    pub(crate) fn within(&self) -> Vec<String> {
        words(&["nsenter", "-t", &self.holder.id().to_string(), "-m", "--"])
    }

    /// Runs a shell script within it, at the disk.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        let words = self.within();
        let output = Command::new(&words[0])
            .args(&words[1..])
            .args(["sh", "-c", &format!("cd \"$0\" && {script}")])
            .arg(&self.at)
            .output()
            .expect("nsenter is there (util-linux)");
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// Fills it but for so many KiB.
    pub(crate) fn fill_but(&self, kib: u64) {
        let free = self.sh("df -k --output=avail . | tail -1");
        let free: u64 = free.trim().parse().expect("a number");
        let taken = free.checked_sub(kib).expect("there is more room than that");
        self.sh(&format!("head -c {taken}K /dev/zero > ballast"));
    }

    /// Makes room again.
    pub(crate) fn make_room(&self) {
        self.sh("rm -f ballast");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.leash.flush());
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

fn path(dir: &Path) -> String {
    dir.to_str()
        .expect("a temporary folder's name is text")
        .into()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
