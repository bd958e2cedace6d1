//! The directory: what is in it, how it comes about, how it is set aside.
//!
//! ```text
//! identity  store  store.new
//!    -        -       any      nothing was ever kept here: create
//!    x        x        -       open
//!    x        -        x       killed between the last two steps of creating: finish
//!    x        -        -       damaged: the store is lost
//!    -        x       any      damaged: the identity is lost
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::model::Millis;

use super::error::{ELSEWHERE, StateError};
use super::files::{UNFINISHED, create_folder, read_text, sync_folder, write_whole};
use super::identity::{IDENTITY, Identity};
use super::layout;
use super::lock::{LOCK, Lock};
use super::record::put_counter;
use super::store::{Store, Table};
use super::{Opening, Result};

/// The store's folder.
const STORE: &str = "store";

/// The number of the last commit that is known to be on disk: a store that ends before it lost some.
const COMMITTED: &str = "committed";

/// What is set aside is in folders that begin so.
const ASIDE: &str = "aside-";

/// What a file system may put into any folder.
const LOST_AND_FOUND: &str = "lost+found";

/// What stands in a directory.
#[derive(Debug, Default)]
struct Survey {
    identity: bool,
    store: bool,
    unfinished: bool,
    /// Something that is not ours.
    foreign: Option<String>,
}

/// An open directory.
pub(super) struct Directory {
    pub(super) identity: Identity,
    pub(super) store: Store,
    pub(super) committed: u64,
    pub(super) lock: Lock,
}

/// Opens a directory, and creates what is not there if nothing is.
pub(super) fn open(opening: &Opening<'_>) -> Result<Directory> {
    let dir = opening.dir;
    if !dir.exists() {
        create_folder(dir)?;
    }
    survey(dir)?.refuse_foreign(dir)?;
    let lock = Lock::take(dir, opening.now, opening.purpose)?;
    let survey = survey(dir)?;
    survey.refuse_foreign(dir)?;
    match (survey.identity, survey.store) {
        (false, false) => create(opening)?,
        (true, true) => {}
        (true, false) if survey.unfinished => finish(dir)?,
        (true, false) => {
            return Err(StateError::unreadable(
                dir,
                "the store beside the identity is missing",
            ));
        }
        (false, true) => {
            return Err(StateError::unreadable(
                dir,
                "the identity beside the store is missing",
            ));
        }
    }
    let identity = Identity::read(dir)?;
    let store = Store::open(&dir.join(STORE))?;
    check_owner(dir, &identity, &store)?;
    Ok(Directory {
        identity,
        store,
        committed: read_committed(dir)?,
        lock,
    })
}

fn survey(dir: &Path) -> Result<Survey> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotADirectory => StateError::Damaged {
            path: dir.to_owned(),
            what: "is not a directory".into(),
            advice: ELSEWHERE,
        },
        _ => StateError::from_io(dir, "list", error),
    };
    let mut survey = Survey::default();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        match name.strip_suffix(UNFINISHED).unwrap_or(&name) {
            IDENTITY if name == IDENTITY => survey.identity = true,
            STORE if name == STORE => survey.store = true,
            STORE => survey.unfinished = true,
            IDENTITY | COMMITTED => {}
            _ if stays(&name) => {}
            _ => survey.foreign = Some(name.into_owned()),
        }
    }
    Ok(survey)
}

/// What neither belongs to a state nor is foreign.
fn stays(name: &str) -> bool {
    name == LOCK || name == LOST_AND_FOUND || name.starts_with(ASIDE)
}

impl Survey {
    fn refuse_foreign(&self, dir: &Path) -> Result<()> {
        match &self.foreign {
            Some(name) if !self.identity => Err(StateError::Damaged {
                path: dir.to_owned(),
                what: format!("holds `{name}`, which is not reknit's"),
                advice: ELSEWHERE,
            }),
            _ => Ok(()),
        }
    }
}

/// Creates all of it. The store takes its name last: until then, nothing was ever kept.
fn create(opening: &Opening<'_>) -> Result<()> {
    let dir = opening.dir;
    let unfinished = dir.join(format!("{STORE}{UNFINISHED}"));
    if unfinished.exists() {
        let removed = fs::remove_dir_all(&unfinished);
        removed.map_err(|error| StateError::from_io(&unfinished, "remove", error))?;
    }
    let identity = Identity::new(&opening.random, opening.now);
    let store = Store::create(&unfinished)?;
    let rows = [
        (Table::Book, layout::OWNER.to_vec(), Some(identity.seal())),
        (Table::Book, layout::COMMITS.to_vec(), Some(put_counter(1))),
    ];
    store.write(rows, true)?;
    drop(store);
    write_committed(dir, 1)?;
    identity.write(dir)?;
    finish(dir)
}

fn finish(dir: &Path) -> Result<()> {
    let (from, to) = (dir.join(format!("{STORE}{UNFINISHED}")), dir.join(STORE));
    let renamed = fs::rename(from, &to);
    renamed.map_err(|error| StateError::from_io(&to, "create", error))?;
    sync_folder(dir)
}

fn check_owner(dir: &Path, identity: &Identity, store: &Store) -> Result<()> {
    let seal = store.get(Table::Book, layout::OWNER)?;
    if seal.as_deref() == Some(&identity.seal()[..]) {
        return Ok(());
    }
    let what = match seal {
        Some(_) => "the identity and the store beside it do not belong together",
        None => "the store does not say whose it is: its log was cut off",
    };
    Err(StateError::unreadable(dir, what))
}

/// Notes that a commit is on disk, so that a log which was cut off is found when the directory is next opened.
pub(super) fn write_committed(dir: &Path, commit: u64) -> Result<()> {
    write_whole(dir, COMMITTED, &format!("{commit}\n"))
}

fn read_committed(dir: &Path) -> Result<u64> {
    let path = dir.join(COMMITTED);
    let number = read_text(&path)?.trim_end().parse();
    number.map_err(|_| StateError::unreadable(&path, "is not a number"))
}

/// Moves all that a directory holds into a folder in it, and answers which; nothing if it holds nothing.
///
/// # Errors
/// [`StateError::Locked`] while somebody works on it.
pub(super) fn set_aside(dir: &Path, now: Millis) -> Result<Option<PathBuf>> {
    if !dir.exists() {
        return Ok(None);
    }
    survey(dir)?;
    let _lock = Lock::take(dir, now, "set aside")?;
    let failed = |error| StateError::from_io(dir, "set aside", error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !stays(&name.to_string_lossy()) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Ok(None);
    }
    let aside = free_name(dir, now);
    create_folder(&aside)?;
    for name in names {
        fs::rename(dir.join(&name), aside.join(&name)).map_err(failed)?;
    }
    sync_folder(&aside)?;
    sync_folder(dir)?;
    Ok(Some(aside))
}

fn free_name(dir: &Path, now: Millis) -> PathBuf {
    let since_epoch = u64::try_from(now.0).unwrap_or_default();
    let time = UNIX_EPOCH + Duration::from_millis(since_epoch);
    let time = humantime::format_rfc3339_seconds(time)
        .to_string()
        .replace(':', "");
    let names = (1_u64..).map(|number| match number {
        1 => dir.join(format!("{ASIDE}{time}")),
        _ => dir.join(format!("{ASIDE}{time}-{number}")),
    });
    let mut free = names.filter(|path| !path.exists());
    free.next().expect("numbers do not run out")
}
