//! Small files put into a directory of a node, all of them or none: the stores that Kafka's listeners read.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::ids::RunId;
use crate::manifest::Sha256;

/// What is asked of a node's directory of certificates. Everything but [`FilesRequest::Look`] may be asked again after any outcome.
///
/// Nothing that Kafka reads changes before [`FilesRequest::Commit`]. kbo's own folders in the directory are `.kbo-staged-RUN`
/// and `.kbo-previous`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesRequest {
    /// What stands under these names.
    Look {
        /// The directory, as the operator writes it.
        dir: String,
        /// Names of files in it.
        names: Vec<String>,
    },
    /// Writes new files beside the old ones, with their owner and mode, and reads them back.
    Stage {
        /// On whose behalf.
        run: RunId,
        /// The directory; made where it is missing.
        dir: String,
        /// The files.
        files: Vec<NewFile>,
    },
    /// Puts what the run staged in its place, each file by one rename. What was there before is kept for [`FilesRequest::Rollback`].
    /// Where one fails, those before it are put back.
    Commit {
        /// Whose staged files.
        run: RunId,
        /// The directory.
        dir: String,
    },
    /// Undoes the run's commit, as if it had not been.
    Undo {
        /// Whose commit.
        run: RunId,
        /// The directory.
        dir: String,
    },
    /// Exchanges the files with those of the last commit's before; once more exchanges them again.
    Rollback {
        /// The directory.
        dir: String,
    },
    /// Removes what runs have staged and not put in place.
    Drop {
        /// The directory.
        dir: String,
    },
}

/// A file to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its name in the directory.
    pub name: String,
    /// What it holds; may be a key.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Permission bits, as 0o600.
    pub mode: u32,
    /// uid and gid; those of the file that it replaces, else of the directory, where none are given.
    pub owner: Option<(u32, u32)>,
}

impl fmt::Debug for NewFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewFile({}, {} bytes, {:o})", self.name, self.bytes.len(), self.mode)
    }
}

/// The directory after the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesReport {
    /// The files asked about, staged or put in place, in the order of the request; none that are missing.
    pub files: Vec<PlacedFile>,
    /// Names of the files that a rollback would put back.
    pub previous: Vec<String>,
}

/// A file as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedFile {
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}
