//! Where a report is written: an output that may go away.

use std::io::{self, Write};

/// An output that falls silent when its reader has gone, and keeps the first other error for the end.
pub(super) struct Output {
    /// Invariant: nothing once writing failed.
    out: Option<Box<dyn Write + Send>>,
    error: Option<io::Error>,
}

impl Output {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self {
            out: Some(out),
            error: None,
        }
    }

    /// Writes, unless writing failed before.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let Some(out) = &mut self.out else { return };
        if let Err(error) = out.write_all(bytes) {
            self.fail(error);
        }
    }

    /// Whether nothing is written any more.
    pub(super) fn is_closed(&self) -> bool {
        self.out.is_none()
    }

    /// Writes out what is still held back.
    ///
    /// # Errors
    /// The first error that was not a broken pipe.
    pub(super) fn close(mut self) -> io::Result<()> {
        if let Some(Err(error)) = self.out.as_mut().map(|out| out.flush()) {
            self.fail(error);
        }
        self.error.map_or(Ok(()), Err)
    }

    fn fail(&mut self, error: io::Error) {
        self.out = None;
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.error = Some(error);
        }
    }
}

/// Takes a broken pipe for success.
pub(super) fn forgive(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written_to(kind: io::ErrorKind) -> Output {
        let mut output = Output::new(Box::new(Failing(kind)));
        output.put(b"a");
        output.put(b"b");
        output
    }

    #[test]
    fn a_broken_pipe_is_success_and_silence() {
        let output = written_to(io::ErrorKind::BrokenPipe);
        assert!(output.is_closed());
        assert!(output.close().is_ok());
    }

    #[test]
    fn a_full_disk_is_told_at_the_end() {
        let output = written_to(io::ErrorKind::StorageFull);
        assert!(output.is_closed());
        assert_eq!(
            output.close().unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }
}
