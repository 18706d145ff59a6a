//! A clean Debian: a container of the lab's base system, which is gone afterwards.

use std::path::Path;

use anyhow::{Context, Result};

use super::shell::Output;
use super::{engine, image, packages, require_root};

/// The image's name in the machine's engine; removed again.
const TAG: &str = "kbo-lab/debian:clean";

/// Run a shell script in it, without network; `mounts` are files and folders of this machine, read-only.
pub(crate) fn in_debian(mounts: &[(&Path, &str)], script: &str, args: &[&str]) -> Result<Output> {
    require_root()?;
    packages::ensure(packages::COMMON)?;
    let base = image::debian()?;
    super::with_engine(|| {
        engine::docker()
            .args(["import"])
            .arg(&base)
            .arg(TAG)
            .run()
            .context("the base system cannot be imported")?;
        let mut run = engine::docker().args(["run", "--rm", "--network", "none"]);
        for (here, there) in mounts {
            run = run.arg("--volume").arg(format!("{}:{there}:ro", here.display()));
        }
        let ran = run.args([TAG, "sh", "-c", script, "check"]).args(args).finish();
        engine::docker().args(["rmi", TAG]).run()?;
        ran
    })
}
