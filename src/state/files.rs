//! Small files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use super::Result;
use super::error::StateError;

/// What a file is called while it is written.
pub(super) const UNFINISHED: &str = ".new";

/// Writes a file that its owner alone can read: beside its place, synced, then renamed.
pub(super) fn write_whole(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    let unfinished = dir.join(format!("{name}{UNFINISHED}"));
    let failed = |error| StateError::from_io(&path, "write", error);
    // One left by a killed process may have any mode.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file = private()
        .create_new(true)
        .open(&unfinished)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&unfinished, &path).map_err(failed)?;
    sync_folder(dir)
}

/// Makes renames in a folder last.
pub(super) fn sync_folder(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|folder| folder.sync_all());
    synced.map_err(|error| StateError::from_io(dir, "sync", error))
}

/// Opens for writing; a file that is created so can be read by its owner alone.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Creates a folder, and those above it, that its owner alone can enter.
pub(super) fn create_folder(dir: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let created = builder.create(dir);
    created.map_err(|error| StateError::from_io(dir, "create", error))
}

/// The text of a file that must be there.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = read_file(path)?;
    String::from_utf8(bytes).map_err(|_| StateError::unreadable(path, "is not text"))
}

/// The bytes of a file that must be there.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            StateError::unreadable(path, "is missing")
        }
        _ => StateError::from_io(path, "read", error),
    })
}
