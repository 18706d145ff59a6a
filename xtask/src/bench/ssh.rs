//! The archive phase over SSH, against OpenSSH carrying `tar | zstd -1` from the same nodes, as many at once.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::kbo::{Kbo, phase};
use super::table::{Table, Wanted};
use super::{median, ratio};
use crate::lab::Lab;

const ROUNDS: usize = 3;

pub(super) fn measure(lab: &Lab, kbo: &Kbo, table: &mut Table, what: &str) -> Result<()> {
    let (mut ratios, mut details) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let theirs = openssh(lab)?;
        let report = kbo.run(&["backup"])?;
        let ours = phase(&report, "archiving")?;
        crate::say(&format!(
            "bench: archive phase over SSH: {ours:.1} s, OpenSSH {theirs:.1} s"
        ));
        ratios.push(theirs / ours);
        details.push(format!("{ours:.1} s / {theirs:.1} s"));
    }
    let name = format!("archive over SSH / `ssh node 'tar \\| zstd -1'`, {what}");
    table.add(ratio(
        name,
        median(ratios),
        1.0,
        Wanted::AtLeast(0.9),
        details.join(", "),
    ));
    Ok(())
}

/// Seconds that OpenSSH takes for the data of all nodes at once.
fn openssh(lab: &Lab) -> Result<f64> {
    let dir = lab.dir();
    let out = crate::target_dir()?.join("bench");
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let began = Instant::now();
    let mut children = Vec::new();
    let mut files = Vec::new();
    for node in lab.nodes() {
        let path = out.join(format!("{}.tar.zst", node.name));
        let file = fs::File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        // What tar complains of is a file that grew: the broker runs, as it does while kbo archives.
        let script = format!(
            "tar -C /data/cluster/data -cf - . 2>/dev/null | zstd -q -1 -T{}",
            threads()
        );
        let child = Command::new("ssh")
            .arg("-i")
            .arg(dir.join("id_ed25519"))
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", dir.join("known_hosts").display()))
            .args(["-o", "BatchMode=yes", &format!("root@{}", node.ip), &script])
            .stdin(Stdio::null())
            .stdout(file)
            .spawn()
            .context("cannot run ssh")?;
        children.push(child);
        files.push(path);
    }
    for mut child in children {
        let status = child.wait().context("cannot wait for ssh")?;
        if !status.success() {
            bail!("ssh failed ({status})");
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    for path in files {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(seconds)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
