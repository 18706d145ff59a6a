//! One VM: a network namespace of a known name, and in it a process tree with its own mounts, pids and host name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::kafka::Node;
use super::paths;
use super::shell::Cmd;

/// The bridge all VMs hang on.
pub(super) const BRIDGE: &str = "kbo-br0";
/// The machine's own address on it.
const HOST_ADDRESS: &str = "10.77.0.1/24";
/// The first argument of a VM's first process.
const MARK: &str = "kbo-lab-vm";
/// Where the VMs' own directories are mounted.
const MOUNT_POINTS: [&str; 2] = ["/data", "/var/lib/docker"];
/// The directories of a VM, with their modes.
const DIRS: [(&str, u32); 6] = [
    ("data", 0o755),
    ("docker", 0o711),
    ("root", 0o700),
    ("home", 0o755),
    ("tmp", 0o1777),
    ("vartmp", 0o1777),
];

/// The name of a VM's network namespace.
fn netns(node: &Node) -> String {
    format!("kbo-{}", node.name)
}

/// The machine's end of a VM's network cable: at most 15 characters.
fn veth(node: &Node) -> String {
    format!("kbo-v{}", node.id)
}

/// The bridge, its address, and a way through the firewall, which also sees bridged frames.
pub(super) fn make_bridge() -> Result<()> {
    ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    ip(&["address", "add", HOST_ADDRESS, "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])?;
    open_firewall()
}

/// Let the VMs' frames through, if there is a bridge for them.
pub(super) fn open_firewall() -> Result<()> {
    if bridge_exists() && !firewall("-C").succeeds() {
        firewall("-I").run()?;
    }
    Ok(())
}

fn bridge_exists() -> bool {
    Path::new("/sys/class/net").join(BRIDGE).exists()
}

fn firewall(action: &str) -> Cmd {
    Cmd::new("iptables").args([action, "FORWARD", "-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT"])
}

/// Directories that must exist on the machine for the VMs to mount theirs upon; gives those that were made.
pub(super) fn missing_mount_points() -> Vec<PathBuf> {
    MOUNT_POINTS
        .map(PathBuf::from)
        .into_iter()
        .filter(|dir| !dir.exists())
        .collect()
}

/// Make the directories of a VM, all but its /etc.
pub(super) fn make_dirs(dir: &Path) -> Result<()> {
    for (name, mode) in DIRS {
        let path = dir.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Plug the cable in and start the VM's first process; gives its pid on the machine.
pub(super) fn start(node: &Node, dir: &Path) -> Result<u32> {
    let (netns, veth) = (netns(node), veth(node));
    ip(&["netns", "add", &netns])?;
    ip(&[
        "link", "add", &veth, "type", "veth", "peer", "name", "eth0", "netns", &netns,
    ])?;
    ip(&["link", "set", &veth, "master", BRIDGE, "up"])?;
    ip(&[
        "-n",
        &netns,
        "address",
        "add",
        &format!("{}/24", node.ip),
        "dev",
        "eth0",
    ])?;
    ip(&["-n", &netns, "link", "set", "lo", "up"])?;
    ip(&["-n", &netns, "link", "set", "eth0", "up"])?;
    // Not `ip netns exec`: that mounts a new /sys, in which the engine finds no cgroups.
    let child = Cmd::new("nsenter")
        .arg(format!("--net=/run/netns/{netns}"))
        .args([
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .arg("/bin/sh")
        .arg(paths::source("vm-init.sh")?)
        .args([MARK, &node.name])
        .arg(dir)
        .spawn_logged(&dir.join("vm.log"))?;
    let begun = Instant::now();
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    while begun.elapsed() < Duration::from_secs(10) {
        let listed = fs::read_to_string(&children).unwrap_or_default();
        if let Some(pid) = listed
            .split_whitespace()
            .find_map(|pid| pid.parse().ok())
            .filter(|pid| is_init(*pid, dir))
        {
            return Ok(pid);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!(
        "the VM of {} did not start; its log is {}",
        node.name,
        dir.join("vm.log").display()
    )
}

/// Wait until the VM's engine answers.
pub(super) fn wait_for_engine(node: &Node, pid: u32, dir: &Path) -> Result<()> {
    let begun = Instant::now();
    while !enter(pid)
        .args(["docker", "--host", super::engine::SOCKET, "version"])
        .succeeds()
    {
        if !is_init(pid, dir) || begun.elapsed() > Duration::from_secs(60) {
            bail!(
                "the engine of {} does not answer; its log is {}",
                node.name,
                dir.join("vm.log").display()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// A command inside a VM: append the program and its arguments.
pub(super) fn enter(pid: u32) -> Cmd {
    let target = pid.to_string();
    Cmd::new("nsenter").args(["--target", &target, "--mount", "--uts", "--ipc", "--net", "--pid", "--"])
}

/// Whether a process is the first one of the VM with these files, and not a later one that got its number.
pub(super) fn is_init(pid: u32, dir: &Path) -> bool {
    let args = arguments(pid);
    args.first().is_some_and(|program| program.ends_with("sh"))
        && marked_dir(&args).is_some_and(|found| Path::new(found) == dir)
}

fn arguments(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0)
        .map(|arg| String::from_utf8_lossy(arg).into_owned())
        .collect()
}

/// The directory in the arguments of a VM's first process: MARK NAME DIRECTORY.
fn marked_dir(args: &[String]) -> Option<&str> {
    let mark = args.iter().position(|arg| arg == MARK)?;
    args.get(mark + 2).map(String::as_str)
}

/// Where the files of the VMs that hold the lab's names lie, whichever clone made them; nothing when no name is taken.
pub(super) fn owner(nodes: &[Node]) -> Option<String> {
    let taken = bridge_exists() || nodes.iter().any(|node| named(node).exists());
    if !taken {
        return None;
    }
    let dir = nodes
        .iter()
        .flat_map(pids)
        .find_map(|pid| marked_dir(&arguments(pid)).map(str::to_owned));
    Some(dir.unwrap_or_else(|| super::UNKNOWN_OWNER.to_owned()))
}

fn named(node: &Node) -> PathBuf {
    Path::new("/run/netns").join(netns(node))
}

/// All processes in a VM's network namespace.
fn pids(node: &Node) -> Vec<u32> {
    if !named(node).exists() {
        return Vec::new();
    }
    let listed = Cmd::new("ip")
        .args(["netns", "pids", &netns(node)])
        .output()
        .unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Pull the plug of every VM: kill what runs in it, and remove its network, cgroups and name. Nothing of it need be there.
pub(super) fn destroy(nodes: &[Node]) -> Result<()> {
    for node in nodes {
        let begun = Instant::now();
        loop {
            let left = pids(node);
            if left.is_empty() {
                break;
            }
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("processes of {} do not die: {left:?}", node.name);
            }
            // Ones that ended meanwhile make kill complain, which is as good.
            let _ = Cmd::new("kill")
                .arg("-9")
                .args(left.iter().map(u32::to_string))
                .succeeds();
            std::thread::sleep(Duration::from_millis(50));
        }
        if named(node).exists() {
            ip(&["netns", "delete", &netns(node)])?;
        }
        if Path::new("/sys/class/net").join(veth(node)).exists() {
            // It may go by itself at any moment, with its other end.
            let _ = Cmd::new("ip").args(["link", "delete", &veth(node)]).succeeds();
        }
    }
    if bridge_exists() {
        ip(&["link", "delete", BRIDGE])?;
    }
    // `ip netns add` mounted this directory; with the last name gone it is of no use.
    if fs::read_dir("/run/netns").is_ok_and(|mut names| names.next().is_none()) {
        let _ = Cmd::new("umount").arg("/run/netns").succeeds();
    }
    while firewall("-C").succeeds() {
        firewall("-D").run()?;
    }
    remove_cgroups()
}

fn remove_cgroups() -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for dir in hierarchies
        .chain([root.to_owned()])
        .map(|dir| dir.join("kbo-lab"))
        .filter(|dir| dir.is_dir())
    {
        let begun = Instant::now();
        // A killed process leaves its group a moment later than it dies.
        while !remove_cgroup(&dir) {
            if begun.elapsed() > Duration::from_secs(10) {
                bail!("cannot remove the cgroup {}", dir.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

fn remove_cgroup(dir: &Path) -> bool {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    fs::remove_dir(dir).is_ok() || !dir.exists()
}

fn ip(args: &[&str]) -> Result<()> {
    Cmd::new("ip").args(args).run()
}
