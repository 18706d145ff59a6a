//! Small files put into a directory of a node, all of them or none: the stores that Kafka's listeners read.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::ids::RunId;
use crate::manifest::Sha256;
use crate::ports::node::{NodeError, NodeErrorKind};

/// How many files one request may name.
pub const MAX_FILES: usize = 64;
/// How many bytes the files of one request may have together: a message to an agent is no longer than 4 MiB, in base64.
pub const MAX_BYTES: usize = 2 << 20;
/// What the names of kbo's own entries in the directory begin with.
pub const RESERVED: &str = ".kbo";

/// What is asked of a node's directory of certificates.
///
/// # Contract
///
/// - Nothing that Kafka reads changes before [`FilesRequest::Commit`].
/// - **Idempotence.** Everything but [`FilesRequest::Rollback`], which exchanges again, may be asked again after any outcome and comes
///   to the same.
/// - **Atomicity.** A file is its old self or its new self, under whatever is read at any moment. A request that fails leaves all files
///   as they were. One that dies half way (with its node) is put to an end by the next request of any kind, be it a look: a commit or
///   rollback is taken back, an undo finished.
/// - A file that is no regular one is replaced as it is, never followed, and put back as it was; a directory is refused.
/// - kbo's own folders in the directory are `.kbo-staged-RUN` and `.kbo-previous`, for their owner alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesRequest {
    /// What stands under these names.
    Look {
        /// The directory, as the operator writes it.
        dir: String,
        /// Names of files in it.
        names: Vec<String>,
    },
    /// Writes new files beside the old ones, with their owner and mode, and reads them back. What another run staged and never put in
    /// place goes.
    Stage {
        /// On whose behalf.
        run: RunId,
        /// The directory; made where it is missing, mode 0750, with the owner of the first file or else of Kafka's data, if what it is
        /// to lie in is there.
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
    /// Undoes the run's commit, as if it had not been: its files are staged again, and what was kept from before is kept again.
    /// Nothing is done where it has put nothing in place.
    Undo {
        /// Whose commit.
        run: RunId,
        /// The directory.
        dir: String,
    },
    /// Exchanges the files with those of the last commit's before; once more exchanges them again. A file that replaced none is
    /// away, then.
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

impl FilesRequest {
    /// The directory that it is about.
    pub fn dir(&self) -> &str {
        match self {
            FilesRequest::Look { dir, .. }
            | FilesRequest::Stage { dir, .. }
            | FilesRequest::Commit { dir, .. }
            | FilesRequest::Undo { dir, .. }
            | FilesRequest::Rollback { dir }
            | FilesRequest::Drop { dir } => dir,
        }
    }

    /// Refuses what leads out of the directory, is kbo's own, or is too much.
    ///
    /// # Errors
    /// [`NodeErrorKind::State`], with what is wrong.
    pub fn check(&self) -> Result<(), NodeError> {
        let refuse = |text: String| Err(NodeError::new(NodeErrorKind::State, text));
        let dir = self.dir();
        let is_clean = dir.starts_with('/') && !dir.contains('\0') && dir.split('/').all(|part| part != "..");
        if !is_clean || dir.split('/').all(|part| part.is_empty() || part == ".") || dir.len() > 4000 {
            return refuse(format!("{dir:?} is no absolute path of a directory"));
        }
        let names: Vec<&str> = match self {
            FilesRequest::Look { names, .. } => names.iter().map(String::as_str).collect(),
            FilesRequest::Stage { files, .. } => files.iter().map(|file| file.name.as_str()).collect(),
            _ => return Ok(()),
        };
        if names.len() > MAX_FILES {
            return refuse(format!("{} files are asked for, and {MAX_FILES} can be", names.len()));
        }
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            return refuse(format!("{name:?} is no name of a file that may lie in {dir}"));
        }
        let FilesRequest::Stage { files, .. } = self else {
            return Ok(());
        };
        if files.is_empty() {
            return refuse(format!("no file is to be put into {dir}"));
        }
        if let Some((at, name)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return refuse(format!("file {at} is named {name:?} as another one is"));
        }
        if let Some(file) = files.iter().find(|file| file.mode & !0o777 != 0) {
            return refuse(format!(
                "{}: {:o} is no mode of permissions alone",
                file.name, file.mode
            ));
        }
        let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
        if bytes > MAX_BYTES {
            return refuse(format!(
                "the files for {dir} have {bytes} bytes, and {MAX_BYTES} can be sent"
            ));
        }
        Ok(())
    }
}

/// Whether a file of this name may be put into a directory: one plain component that is not kbo's own.
pub fn is_name(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && !name.contains('/')
        && !name.chars().any(char::is_control)
        && !name.chars().all(|c| c == '.')
        && !name.starts_with(RESERVED)
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
    /// The files asked about, staged or put in place (by a commit, an undo or a rollback: those of them that are in place then), in the
    /// order of the request; none that are missing or no regular files.
    pub files: Vec<PlacedFile>,
    /// Names of the files that a rollback would put back.
    pub previous: Vec<String>,
    /// Which deployment a rollback would take back; nothing where none is kept (or the agent is of kbo 0.1.0).
    #[serde(default)]
    pub kept: Option<KeptOf>,
}

/// Whose earlier files a directory keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptOf {
    /// The run that replaced them.
    pub run: RunId,
    /// Whether they have been put back since: a rollback would then put the run's own files in place again.
    pub rolled_back: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(dir: &str, files: &[(&str, usize, u32)]) -> Result<(), NodeError> {
        let file = |(name, length, mode): &(&str, usize, u32)| NewFile {
            name: (*name).to_owned(),
            bytes: vec![0; *length].into(),
            mode: *mode,
            owner: None,
        };
        let request = FilesRequest::Stage {
            run: "20261125T050000Z".parse().expect("a run"),
            dir: dir.to_owned(),
            files: files.iter().map(file).collect(),
        };
        request.check()
    }

    #[test]
    fn what_leads_out_of_the_directory_is_refused() {
        assert_eq!(
            stage("/data/cluster/certificates", &[("k.p12", 3, 0o600), ("..k", 0, 0o777)]),
            Ok(())
        );
        let long = "x".repeat(201);
        for name in [
            "",
            ".",
            "..",
            "...",
            "a/b",
            "/etc/shadow",
            "a\0b",
            "a\nb",
            ".kbo-previous",
            ".kbo",
            &long,
        ] {
            assert!(stage("/certs", &[(name, 1, 0o600)]).is_err(), "{name:?}");
        }
        for dir in ["", "/", "//.", "certs", "./certs", "/certs/../etc", "/..", "/a\0b"] {
            assert!(stage(dir, &[("k", 1, 0o600)]).is_err(), "{dir:?}");
        }
    }

    #[test]
    fn too_much_is_refused() {
        assert!(stage("/certs", &[]).is_err());
        assert!(stage("/certs", &[("k", 1, 0o600), ("k", 2, 0o600)]).is_err());
        assert!(stage("/certs", &[("k", 1, 0o4600)]).is_err());
        assert!(stage("/certs", &[("k", MAX_BYTES, 0o600)]).is_ok());
        assert!(stage("/certs", &[("k", MAX_BYTES, 0o600), ("l", 1, 0o600)]).is_err());
        let names: Vec<String> = (0..=MAX_FILES).map(|n| n.to_string()).collect();
        let files: Vec<(&str, usize, u32)> = names.iter().map(|name| (name.as_str(), 1, 0o600)).collect();
        assert!(stage("/certs", &files).is_err());
        assert!(stage("/certs", &files[1..]).is_ok());
    }
}
