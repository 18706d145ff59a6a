//! The folders that scheduled runs write to. A service of systemd does not even start where one of them is missing.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::atomic;

/// Makes those that are missing, for their user alone; that of the metrics is for others to read as well.
pub(super) fn make(folders: &[PathBuf], textfile: Option<&Path>, owner: Option<(u32, u32)>) -> anyhow::Result<()> {
    let metrics = textfile.and_then(Path::parent);
    // That of the metrics first: what is made above it has to let others in.
    let first = folders.iter().filter(|folder| Some(folder.as_path()) == metrics);
    let others = folders.iter().filter(|folder| Some(folder.as_path()) != metrics);
    for (folder, mode) in first
        .map(|folder| (folder, 0o755))
        .chain(others.map(|folder| (folder, 0o700)))
    {
        atomic::make_folder(folder, mode, owner).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn others_may_read_the_folder_of_the_metrics_and_no_other() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        let owner = rustix::process::geteuid().is_root().then_some((12_345, 12_345));
        let textfile = at("lib/metrics/kbo.prom");
        make(&[at("lib/cold"), at("lib/metrics"), at("log")], Some(&textfile), owner).unwrap();
        let seen = |name: &str| fs::metadata(at(name)).unwrap();
        let modes = ["lib", "lib/metrics", "lib/cold", "log"].map(|name| seen(name).mode() & 0o777);
        assert_eq!(modes, [0o755, 0o755, 0o700, 0o700]);
        let user = owner.map_or(rustix::process::geteuid().as_raw(), |(user, _)| user);
        assert!(
            ["lib", "lib/metrics", "lib/cold", "log"]
                .iter()
                .all(|name| seen(name).uid() == user)
        );
    }
}
