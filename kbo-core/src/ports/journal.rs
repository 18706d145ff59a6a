//! The journal of a run: what was about to be done, what was done, in an order that a power cut cannot change.

use async_trait::async_trait;

use crate::ids::RunId;
use crate::journal::Entry;
use crate::ports::store::StoreError;

/// The journal of one run.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Journal: Send + Sync {
    /// The run.
    fn run(&self) -> &RunId;

    /// Whether the process that began it still writes it: its run is nobody else's to undo.
    fn is_alive(&self) -> bool;

    /// Adds an entry; returns when it is durable.
    async fn append(&self, entry: &Entry) -> Result<(), StoreError>;

    /// Every whole entry so far, in order. A last line cut short by a crash is left out.
    async fn entries(&self) -> Result<Vec<Entry>, StoreError>;

    /// Ends the journal: it is no longer among the open ones.
    async fn close(&self) -> Result<(), StoreError>;
}
