//! The cluster of six VMs: Kafka in a container of each, the way in by SSH only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use super::kafka::{self, Node};
use super::shell::Cmd;
use super::state::{State, VmState};
use super::{Kind, image, packages, paths, secured, vm};

/// Kafka's configuration directory on a VM.
pub(super) const CONFIG: &str = "/data/cluster/config";
/// Kafka's log.dirs on a VM.
pub(super) const DATA: &str = "/data/cluster/data";
/// Where keystores are put on a VM, and what Kafka calls that place.
pub(super) const CERTIFICATES: &str = "/data/cluster/certificates";
pub(super) const SECRETS: &str = "/etc/kafka/secrets";
/// The user that is not root, and may become it with `sudo -n`.
const PLAIN_USER: &str = "ops";

/// The directory of one VM's own files.
pub(super) fn vm_dir(node: &str) -> Result<PathBuf> {
    Ok(paths::lab_dir(Kind::Ssh)?.join("nodes").join(node))
}

/// Make the machines, load the image into each, and start Kafka.
pub(super) fn up(state: &mut State) -> Result<()> {
    packages::ensure(packages::COMMON)?;
    packages::ensure(packages::SSH)?;
    let archive = image::archive(&state.kafka_version)?;
    let nodes = kafka::nodes(Kind::Ssh);
    let dir = paths::lab_dir(Kind::Ssh)?;
    state.mount_points = vm::missing_mount_points();
    state.save(Kind::Ssh)?;
    for point in &state.mount_points {
        fs::create_dir_all(point).with_context(|| format!("cannot create {}", point.display()))?;
    }
    crate::say("lab: making six VMs");
    client_key(&dir)?;
    let mut known_hosts = String::new();
    for node in &nodes {
        known_hosts.push_str(&furnish(node, &dir, &nodes)?);
    }
    fs::write(dir.join("known_hosts"), known_hosts)?;
    fs::write(dir.join("hosts"), hosts(&nodes))?;
    vm::make_bridge()?;
    for node in &nodes {
        let pid = vm::start(node, &vm_dir(&node.name)?)?;
        state.vms.push(VmState {
            name: node.name.clone(),
            pid,
        });
        state.save(Kind::Ssh)?;
    }
    crate::say("lab: loading the image into six engines");
    run_containers(&nodes, state, &archive)?;
    write_config(&dir, &nodes, &state.kafka_version)
}

/// In two lanes: more would only contend for the disk.
fn run_containers(nodes: &[Node], state: &State, archive: &Path) -> Result<()> {
    let queue = Mutex::new(nodes.iter().zip(&state.vms));
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let lane = || -> Result<()> {
        while let Some((node, machine)) = next() {
            vm::wait_for_engine(node, machine.pid, &vm_dir(&node.name)?)?;
            vm::enter(machine.pid)
                .args(["docker", "--host", super::engine::SOCKET, "load"])
                .stdin(archive)?
                .run()?;
            run_container(node, machine.pid, &state.kafka_version)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let lanes = [scope.spawn(lane), scope.spawn(lane)];
        lanes
            .into_iter()
            .try_for_each(|lane| lane.join().unwrap_or_else(|_| bail!("a thread of the lab panicked")))
    })
}

fn run_container(node: &Node, pid: u32, version: &str) -> Result<()> {
    vm::enter(pid)
        .args([
            "docker",
            "--host",
            super::engine::SOCKET,
            "run",
            "--detach",
            "--name",
            &node.name,
        ])
        .args(["--network", "host", "--restart", "always", "--user", "1000:1000"])
        .args(["--stop-timeout", kafka::STOP_TIMEOUT])
        .args(["--log-opt", "max-size=20m"])
        .args([
            "--volume",
            &format!("{CONFIG}:/etc/kafka:ro"),
            "--volume",
            &format!("{DATA}:{DATA}"),
            "--volume",
            &format!("{CERTIFICATES}:{SECRETS}:ro"),
        ])
        .args([
            "--entrypoint",
            "/bin/sh",
            &image::tag(version),
            "-c",
            &kafka::container_script(Kind::Ssh, DATA),
        ])
        .run()
        .with_context(|| format!("cannot start Kafka on {}", node.name))
}

fn client_key(dir: &Path) -> Result<()> {
    keygen(&dir.join("id_ed25519"), "kbo-lab")
}

fn keygen(file: &Path, comment: &str) -> Result<()> {
    Cmd::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
        .arg(file)
        .run()
}

/// Make a VM's files; gives its line for known_hosts.
fn furnish(node: &Node, lab: &Path, nodes: &[Node]) -> Result<String> {
    let dir = vm_dir(&node.name)?;
    vm::make_dirs(&dir)?;
    let etc = own_etc(&dir)?;
    let ssh = etc.join("kbo-lab");
    fs::create_dir(&ssh)?;
    keygen(&ssh.join("ssh_host_ed25519_key"), &node.name)?;
    fs::copy(lab.join("id_ed25519.pub"), ssh.join("authorized_keys"))?;
    fs::write(ssh.join("sshd_config"), sshd_config(node))?;
    replace(&etc.join("hosts"), &hosts(nodes), 0o644)?;
    replace(&etc.join("hostname"), &format!("{}\n", node.name), 0o644)?;
    users(&etc)?;
    let home = dir.join("home").join(PLAIN_USER);
    fs::create_dir_all(&home)?;
    std::os::unix::fs::chown(&home, Some(1500), Some(1500))?;

    let config = dir.join("data/cluster/config");
    let data = dir.join("data/cluster/data");
    // apache/kafka declares /etc/kafka/secrets a volume; below a read-only mount its mount point must be there already.
    fs::create_dir_all(config.join("secrets"))?;
    fs::create_dir_all(&data)?;
    for (name, text) in kafka::config_files(Kind::Ssh, node, DATA) {
        fs::write(config.join(name), text)?;
    }
    std::os::unix::fs::chown(&data, Some(1000), Some(1000))?;
    let certificates = dir.join("data/cluster/certificates");
    fs::create_dir_all(&certificates)?;
    fs::set_permissions(&certificates, fs::Permissions::from_mode(0o750))?;
    std::os::unix::fs::chown(&certificates, Some(1000), Some(1000))?;

    let public = fs::read_to_string(ssh.join("ssh_host_ed25519_key.pub")).context("cannot read a host key")?;
    let key = public.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    Ok(format!("{} {key}\n", node.ip))
}

/// The names of all nodes: short ones, and those that certificates have. A container on its VM's network gets them too.
fn hosts(nodes: &[Node]) -> String {
    let names = nodes
        .iter()
        .map(|node| format!("{} {} {}\n", node.ip, node.name, node.host()));
    std::iter::once("127.0.0.1 localhost\n".to_owned())
        .chain(names)
        .collect()
}

/// A copy of the machine's /etc, without what belongs to its own sshd and engine.
fn own_etc(dir: &Path) -> Result<PathBuf> {
    let etc = dir.join("etc");
    Cmd::new("cp").args(["--archive", "/etc"]).arg(&etc).run()?;
    for foreign in ["ssh", "docker"] {
        let path = etc.join(foreign);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(etc)
}

/// A new file under that name, whatever is there: a link must not lead the text out of the VM's directory.
fn replace(path: &Path, text: &str, mode: u32) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn sshd_config(node: &Node) -> String {
    format!(
        "ListenAddress {}:22\n\
         HostKey /etc/kbo-lab/ssh_host_ed25519_key\n\
         AuthorizedKeysFile /etc/kbo-lab/authorized_keys\n\
         PidFile /run/sshd.pid\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n\
         StrictModes no\n\
         UsePAM no\n\
         UseDNS no\n\
         MaxStartups 100\n\
         Subsystem sftp internal-sftp\n",
        node.ip
    )
}

/// The machine's users with one more, for the VMs alone.
fn users(etc: &Path) -> Result<()> {
    let others = |file: &str| -> Result<String> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        let prefix = format!("{PLAIN_USER}:");
        Ok(text
            .lines()
            .filter(|line| !line.starts_with(&prefix))
            .map(|line| format!("{line}\n"))
            .collect())
    };
    let passwd = format!(
        "{}{PLAIN_USER}:x:1500:1500::/home/{PLAIN_USER}:/bin/sh\n",
        others("/etc/passwd")?
    );
    // Nobody has a password, and nobody is locked out: sshd refuses users whose entry begins with an exclamation mark.
    let names = passwd.lines().filter_map(|line| line.split(':').next());
    let shadow: String = names.map(|name| format!("{name}:*:19000:0:99999:7:::\n")).collect();
    let group = format!("{}{PLAIN_USER}:x:1500:\n", others("/etc/group")?);
    let sudoers =
        format!("Defaults !lecture\nroot ALL=(ALL:ALL) NOPASSWD: ALL\n{PLAIN_USER} ALL=(ALL:ALL) NOPASSWD: ALL\n");
    for (name, text, mode) in [
        ("passwd", passwd, 0o644),
        ("group", group, 0o644),
        ("shadow", shadow, 0o600),
        ("sudoers", sudoers, 0o440),
    ] {
        replace(&etc.join(name), &text, mode)?;
    }
    Ok(())
}

fn write_config(dir: &Path, nodes: &[Node], version: &str) -> Result<()> {
    let store = dir.join("store");
    fs::create_dir_all(&store)?;
    let mut text = format!(
        "[cluster]\nname = {:?}\nid = \"{}\"\n\n[storage]\ncold = {:?}\n\n\
         [ssh]\nuser = \"root\"\nkey = {:?}\nknown_hosts = {:?}\n\n\
         [defaults]\nconfig = \"{CONFIG}\"\ndata = \"{DATA}\"\n",
        kafka::cluster_name(Kind::Ssh),
        kafka::cluster_id(Kind::Ssh),
        store,
        dir.join("id_ed25519"),
        dir.join("known_hosts"),
    );
    text.push_str(&format!(
        "\n[defaults.container]\nimage = {:?}\n{}network = \"host\"\nrestart = \"always\"\nconfig_mount = \"/etc/kafka\"\ndata_mount = \"{DATA}\"\n\
         mounts = [\"{CERTIFICATES}:{SECRETS}:ro\"]\n",
        image::tag(version),
        kafka::container_toml(Kind::Ssh, DATA),
    ));
    text.push_str(&secured::certs_toml(dir));
    for node in nodes {
        text.push_str(&format!(
            "\n[[node]]\nname = \"{}\"\nrole = \"{}\"\nhost = \"{}\"\ncerts_hosts = [\"{}\"]\n",
            node.name,
            node.role.name(),
            node.ip,
            node.host()
        ));
    }
    fs::write(dir.join("kbo.toml"), text).context("cannot write kbo.toml")
}

/// Take every VM down, by name: of this clone or another, whole or in part.
pub(super) fn down(state: Option<&State>) -> Result<()> {
    vm::destroy(&kafka::nodes(Kind::Ssh))?;
    for point in state.map(|state| &state.mount_points[..]).unwrap_or_default() {
        // Only if nobody put anything there meanwhile.
        let _ = fs::remove_dir(point);
    }
    Ok(())
}
