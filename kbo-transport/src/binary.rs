//! The agent's program file: its digest, its name on a node, and the processor it is made for.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// An agent program as found on this machine.
#[derive(Debug, Clone)]
pub(crate) struct AgentBinary {
    path: PathBuf,
    /// Bytes.
    pub(crate) size: u64,
    /// SHA-256, hex.
    pub(crate) sha256: String,
    /// `uname -m` of the machines it runs on; `None` for a script or a machine that is not in the table.
    pub(crate) machine: Option<&'static str>,
}

impl AgentBinary {
    /// Reads and hashes the file once.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = kbo_archive::regular::open(path)?;
        let mut hash = Sha256::new();
        let mut head = Vec::new();
        let mut size = 0u64;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            if head.is_empty() {
                head = buffer[..read.min(32)].to_vec();
            }
            hash.update(&buffer[..read]);
            size += read as u64;
        }
        Ok(Self {
            path: path.to_owned(),
            size,
            sha256: hex::encode(hash.finalize()),
            machine: elf_machine(&head),
        })
    }

    /// The file, from its beginning.
    pub(crate) fn reader(&self) -> io::Result<File> {
        kbo_archive::regular::open(&self.path)
    }

    /// Its name on a node: another version or another build is another name.
    pub(crate) fn name(&self) -> String {
        format!("kbo-agent-{}-{}", env!("CARGO_PKG_VERSION"), &self.sha256[..16])
    }
}

/// The processor an ELF file is made for, as `uname -m` spells it.
fn elf_machine(head: &[u8]) -> Option<&'static str> {
    if head.len() < 20 || !head.starts_with(b"\x7fELF") {
        return None;
    }
    let number = if head[5] == 2 {
        [head[19], head[18]]
    } else {
        [head[18], head[19]]
    };
    match u16::from_le_bytes(number) {
        3 => Some("i686"),
        21 => Some("ppc64le"),
        22 => Some("s390x"),
        40 => Some("armv7l"),
        62 => Some("x86_64"),
        183 => Some("aarch64"),
        243 => Some("riscv64"),
        _ => None,
    }
}

/// What machines that run such a program call themselves, by `uname -m` or to an engine.
pub(crate) fn machines(made_for: &str) -> Vec<&str> {
    match made_for {
        "x86_64" => vec!["x86_64", "amd64"],
        "aarch64" => vec!["aarch64", "arm64"],
        "i686" => vec!["i686", "i586", "i486", "i386", "386", "x86_64", "amd64"],
        "armv7l" => vec!["armv7l", "armv8l", "arm"],
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_program_is_made_for_this_machine() {
        let binary = AgentBinary::open(Path::new("/proc/self/exe")).unwrap();
        assert!(
            machines(binary.machine.unwrap()).contains(&std::env::consts::ARCH),
            "{binary:?}"
        );
        assert!(binary.name().ends_with(&binary.sha256[..16]));
    }
}
