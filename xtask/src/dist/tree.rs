//! The folder that is handed out, and its archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Target, output};
use crate::{lab, reference, test};

/// Files of the clone and where they go.
const COPIED: &[(&str, &str)] = &[
    ("packaging/systemd", "systemd"),
    ("packaging/examples", "examples"),
    ("docs", "docs"),
    ("README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE", "LICENSE"),
];

/// Put everything into one folder, with its checksums.
pub(super) fn make(folder: &Path, target: &Target, program: &Path) -> Result<PathBuf> {
    let version = env!("CARGO_PKG_VERSION");
    let tree = folder.join(format!("kbo-{version}-{}-linux", target.machine()));
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot empty {}", tree.display()))?;
    }
    is_static(program)?;
    copy(program, &tree.join("bin/kbo"))?;
    // What it says of itself, a program of this machine says for those of others.
    let speaker = if target.is_here() {
        program.to_owned()
    } else {
        test::kbo_program()?
    };
    reference::generate(&speaker, "man", &tree.join("man"))?;
    reference::generate(&speaker, "completions", &tree.join("completions"))?;
    for (from, to) in COPIED {
        copy(&lab::workspace()?.join(from), &tree.join(to))?;
    }
    let files = files(&tree, &tree)?;
    sums(
        &tree,
        files.iter().map(|file| tree.join(file)).collect::<Vec<_>>().iter(),
    )?;
    Ok(tree)
}

/// It runs on machines of which nothing is known: no loader, no library.
fn is_static(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    if !bytes.starts_with(b"\x7fELF") || has_loader(&bytes) {
        bail!("{} is not static", program.display());
    }
    Ok(())
}

/// Whether a 64-bit little-endian ELF file has a PT_INTERP entry.
fn has_loader(elf: &[u8]) -> bool {
    let word = |at: usize, width: usize| {
        let bytes = elf.get(at..at + width).unwrap_or_default();
        bytes
            .iter()
            .rev()
            .fold(0usize, |value, byte| value << 8 | usize::from(*byte))
    };
    let (table, size, count) = (word(32, 8), word(54, 2), word(56, 2));
    (0..count).any(|index| word(table + index * size, 4) == 3)
}

/// The folder as one file; the same for the same content and time.
pub(super) fn pack(tree: &Path, epoch: u64) -> Result<PathBuf> {
    let name = tree.file_name().context("the folder has no name")?.to_string_lossy();
    let folder = tree.parent().context("the folder lies nowhere")?;
    let archive = folder.join(format!("{name}.tar.zst"));
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=go=rX,u+rw",
    ]);
    tar.arg(format!("--mtime=@{epoch}"))
        .args(["--use-compress-program", "zstd -15 -T0 -q"]);
    tar.arg("-C").arg(folder).arg("-cf").arg(&archive).arg(&*name);
    output(&mut tar)?;
    Ok(archive)
}

/// Write the SHA256SUMS of files below a folder.
pub(super) fn sums<'a>(folder: &Path, files: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let names: Vec<PathBuf> = files
        .map(|file| file.strip_prefix(folder).map(Path::to_owned))
        .collect::<Result<_, _>>()
        .context("a file lies elsewhere")?;
    let sums = output(Command::new("sha256sum").args(&names).current_dir(folder))?;
    let path = folder.join("SHA256SUMS");
    fs::write(&path, sums).with_context(|| format!("cannot write {}", path.display()))
}

/// The files below a folder, sorted.
fn files(folder: &Path, root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, root)?);
        } else {
            found.push(path.strip_prefix(root).unwrap_or(&path).to_owned());
        }
    }
    found.sort();
    Ok(found)
}

/// A file, or a folder with all that is in it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        for file in files(from, from)? {
            copy(&from.join(&file), &to.join(&file))?;
        }
        return Ok(());
    }
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_told_from_one_without() {
        let mut elf = vec![0; 64 + 2 * 56];
        elf[..4].copy_from_slice(b"\x7fELF");
        (elf[32], elf[54], elf[56]) = (64, 56, 2);
        elf[64] = 1;
        assert!(!has_loader(&elf));
        elf[64 + 56] = 3;
        assert!(has_loader(&elf));
        // This very test is static, as every build of the project is.
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(!has_loader(&own));
    }

    #[test]
    fn truncated_programs_have_no_loader_and_do_no_harm() {
        assert!(!has_loader(b"\x7fELF"));
        assert!(!has_loader(&[]));
    }
}
