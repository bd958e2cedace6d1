//! Faults: what a script makes happen between the steps of a replica in memory.
//!
//! The script is asked at every step, in an order that depends on nothing but the calls. Driven from one seed, a run
//! is the same every time.

use crate::model::{DbIndex, Key};

use super::Data;

/// A point between two commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The next page of names is about to be listed, or the next database walk to begin.
    ScanPage,
    /// A scan lists this name. `written_meanwhile` names may be left out, any name may be listed twice.
    ScanName {
        /// The name.
        key: &'a Key,
        /// Whether the key was written or created since the scan began.
        written_meanwhile: bool,
    },
    /// A key's value is about to be read, by a scan or a fetch.
    ReadKey(&'a Key),
    /// The elements or a piece of a large value are about to be read.
    ReadPart(&'a Key),
    /// A value built aside is about to be added to or dropped.
    WriteAside(&'a Key),
    /// Keys are about to be watched and compared; a fence names its marker.
    Compare(&'a [Key]),
    /// They were compared, and are about to be written.
    Execute(&'a [Key]),
    /// This key, compared and not touched since, is about to be written. With a seal all are asked for before the
    /// transaction, in which nobody gets a word in.
    ExecuteKey(&'a Key),
    /// All were written; the answer is on its way.
    Answer(&'a [Key]),
    /// The server is about to be asked of itself, for its clock or for reknit's own keys, markers among them.
    Ask,
}

/// What goes wrong at a step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The connection is lost. From [`Step::Execute`] on, outcomes are unknown: nothing was written at that step, all
    /// was at [`Step::Answer`], and the keys before it were at [`Step::ExecuteKey`], with a seal none.
    Disconnect,
    /// [`Step::Execute`] alone: the connection is lost, and EXEC arrives when the test delivers it
    /// ([`super::MemoryReplica::deliver_late`]).
    Late,
    /// [`Step::ReadKey`] alone: the key cannot be read, for this reason.
    Unreadable(String),
    /// [`Step::ScanName`] alone: the name is listed twice.
    ListTwice,
    /// [`Step::ScanName`] alone, and only heeded for a key that was written meanwhile: the name is left out.
    LeaveOut,
    /// [`Step::ExecuteKey`]: the server refuses every operation on the key, with these words. With a seal also
    /// [`Step::Execute`]: it refuses the whole transaction.
    Refuse(String),
}

/// A script of faults and client writes.
pub trait Faults: Send {
    /// What goes wrong at this step. The script may write to the data as a client would.
    fn at(&mut self, step: Step<'_>, db: DbIndex, data: &mut Data) -> Fault;
}

/// Any function is a script.
impl<F> Faults for F
where
    F: FnMut(Step<'_>, DbIndex, &mut Data) -> Fault + Send,
{
    fn at(&mut self, step: Step<'_>, db: DbIndex, data: &mut Data) -> Fault {
        self(step, db, data)
    }
}
