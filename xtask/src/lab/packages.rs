//! The system tools the lab needs: named, and installed where that can be done.

use std::path::Path;

use anyhow::{Result, bail};

use super::shell::Cmd;

/// A program, and the Debian package that brings it.
pub(super) type Need = (&'static str, &'static str);

/// What every lab needs.
pub(super) const COMMON: &[Need] = &[
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nsenter", "util-linux"),
    ("javac", "default-jdk-headless"),
    ("openssl", "openssl"),
];

/// What the VMs need besides.
pub(super) const SSH: &[Need] = &[
    ("sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
    ("sudo", "sudo"),
    ("hostname", "hostname"),
    ("faketime", "faketime"),
    ("fsfreeze", "util-linux"),
    ("chattr", "e2fsprogs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("pkill", "procps"),
];

/// What it takes to build an image without a registry.
pub(super) const IMAGE: &[Need] = &[("debootstrap", "debootstrap"), ("mvn", "maven")];

/// Make sure that all of these are there.
///
/// On Debian and Ubuntu what is missing is installed; elsewhere the error names it.
pub(super) fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|(program, _)| !present(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs = missing
        .iter()
        .map(|(program, _)| *program)
        .collect::<Vec<_>>()
        .join(", ");
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    if !present("apt-get") {
        bail!(
            "not installed: {programs}. Install them (on Debian they come with: {})",
            packages.join(" ")
        );
    }
    crate::say(&format!(
        "lab: installing with apt-get, for {programs}: {}",
        packages.join(" ")
    ));
    install(&packages)?;
    if let Some((program, package)) = missing.iter().find(|(program, _)| !present(program)) {
        bail!("{program} is still missing after the installation of {package}");
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    // A test machine gets sshd and the engine as programs; nothing may begin to listen because of them.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let ours = !policy.exists();
    if ours {
        std::fs::write(policy, "#!/bin/sh\nexit 101\n")?;
        Cmd::new("chmod").args(["755", "/usr/sbin/policy-rc.d"]).run()?;
    }
    let apt = |args: &[&str]| {
        Cmd::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(args)
            .run()
    };
    let result = apt(&["-qq", "update"])
        .and_then(|()| apt(&[&["-qq", "install", "--yes", "--no-install-recommends"][..], packages].concat()));
    if ours {
        std::fs::remove_file(policy)?;
    }
    result
}

pub(super) fn present(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program lies; administrators' directories are searched even when PATH lacks them.
pub(super) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into));
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file())
}
