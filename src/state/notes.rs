//! Notes that a service keeps for itself beside what runs remember: bytes under a name.

use super::layout::Chapter;
use super::store::Table;
use super::{Result, State};

impl State {
    /// What was noted under this name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let at = Chapter::Notes.about(name.as_bytes());
        Ok(self
            .0
            .store
            .get(Table::Book, &at)?
            .map(|bytes| bytes.to_vec()))
    }

    /// Notes this under a name, in place of what stood there; it is on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_note(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.write_note(name, bytes, true)
    }

    /// The same, on disk with the next sync.
    pub(super) fn put_note_unsynced(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.write_note(name, bytes, false)
    }

    fn write_note(&self, name: &str, bytes: &[u8], synced: bool) -> Result<()> {
        let mut writing = self.writing();
        let at = Chapter::Notes.about(name.as_bytes());
        let row = (Table::Book, at, Some(bytes.to_vec()));
        self.write_rows(&mut writing, vec![row], synced)
    }
}
