//! The agent's program on the node: pushed once, checked, never where it cannot run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sshd::{Sshd, chmod, read_all, skipped, user};
use kbo_core::ports::node::NodeErrorKind;
use kbo_transport::carrier::Carrier;
use kbo_transport::ssh::SshCarrier;
use tokio::io::AsyncWriteExt;

/// All names in a folder, hidden ones too.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn only(dir: &Path) -> PathBuf {
    let names = names(dir);
    assert_eq!(names.len(), 1, "{names:?}");
    dir.join(&names[0])
}

async fn echoes(carrier: &SshCarrier) {
    let mut pipe = carrier.open().await.unwrap();
    pipe.writer.write_all(b"hello").await.unwrap();
    pipe.writer.shutdown().await.unwrap();
    assert_eq!(read_all(&mut pipe).await.unwrap(), b"hello", "{}", (pipe.complaints)());
}

#[tokio::test]
async fn it_is_pushed_once_and_then_found() {
    let Some(sshd) = Sshd::start("") else { return };
    let carrier = sshd.carrier(&["echo"]);
    echoes(&carrier).await;
    let program = only(&sshd.path("agents"));
    assert!(program.file_name().unwrap().to_str().unwrap().starts_with("kbo-agent-"));
    assert_eq!(fs::read(&program).unwrap(), fs::read(sshd.path("stand-in")).unwrap());
    let before = fs::metadata(&program).unwrap();
    assert_eq!(before.mode() & 0o7777, 0o700);
    echoes(&carrier).await;
    echoes(&sshd.carrier(&["echo"])).await;
    let after = fs::metadata(only(&sshd.path("agents"))).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
}

#[tokio::test]
async fn a_damaged_one_is_replaced_and_old_versions_go() {
    let Some(sshd) = Sshd::start("") else { return };
    echoes(&sshd.carrier(&["echo"])).await;
    let program = only(&sshd.path("agents"));
    let mut bytes = fs::read(&program).unwrap();
    // The same size, and it still runs: only the hash tells.
    *bytes.iter_mut().rfind(|byte| **byte == b'9').unwrap() = b'8';
    fs::write(&program, bytes).unwrap();
    fs::write(sshd.path("agents/kbo-agent-0.0.1-0123456789abcdef"), "old").unwrap();
    fs::write(sshd.path("agents/unrelated"), "stays").unwrap();
    echoes(&sshd.carrier(&["echo"])).await;
    assert_eq!(fs::read(&program).unwrap(), fs::read(sshd.path("stand-in")).unwrap());
    assert_eq!(
        names(&sshd.path("agents")),
        [program.file_name().unwrap().to_str().unwrap(), "unrelated"]
    );
}

#[tokio::test]
async fn folders_with_unusual_names_are_no_trouble() {
    let Some(sshd) = Sshd::start("") else { return };
    for name in ["with space", "it's", "a\"b", "$HOME `id` !x", "-n", "*"] {
        let mut settings = sshd.settings(&["echo"]);
        settings.agent_dirs = vec![sshd.path(name).display().to_string()];
        echoes(&SshCarrier::new(settings)).await;
        only(&sshd.path(name));
    }
}

#[tokio::test]
async fn many_at_once_do_not_disturb_each_other() {
    let Some(sshd) = Sshd::start("MaxSessions 10") else {
        return;
    };
    let carriers: Vec<SshCarrier> = (0..6).map(|_| sshd.carrier(&["echo"])).collect();
    futures_util::future::join_all(carriers.iter().map(echoes)).await;
    only(&sshd.path("agents"));
}

#[tokio::test]
async fn a_folder_that_runs_no_programs_is_passed_over() {
    let Some(sshd) = Sshd::start("") else { return };
    let noexec = sshd.path("noexec");
    fs::create_dir(&noexec).unwrap();
    let mounted = user() == "root"
        && Command::new("mount")
            .args(["-t", "tmpfs", "-o", "noexec", "tmpfs"])
            .arg(&noexec)
            .status()
            .is_ok_and(|s| s.success());
    if !mounted {
        return skipped("a noexec folder needs root and mount");
    }
    let mut settings = sshd.settings(&["echo"]);
    settings.agent_dirs.insert(0, noexec.display().to_string());
    echoes(&SshCarrier::new(settings)).await;
    let left = names(&noexec);
    assert!(Command::new("umount").arg(&noexec).status().unwrap().success());
    assert!(left.is_empty(), "{left:?}");
    only(&sshd.path("agents"));
}

#[tokio::test]
async fn where_nothing_will_do_each_folder_and_its_reason_are_named() {
    let Some(sshd) = Sshd::start("SetEnv HOME=/proc/1/kbo") else {
        return;
    };
    let mut settings = sshd.settings(&["echo"]);
    fs::write(sshd.path("a-file"), "").unwrap();
    settings.agent_dirs = vec![sshd.path("a-file").display().to_string(), "/proc/kbo".into()];
    // A program that runs nowhere: every folder fails, the usual ones as well.
    fs::write(sshd.path("broken"), "#!/nonexistent/interpreter\n").unwrap();
    settings.agent_binary = sshd.path("broken");
    let error = SshCarrier::new(settings).open().await.err().unwrap();
    assert_eq!(error.kind, NodeErrorKind::Agent);
    for part in ["a-file", "/proc/kbo", "/var/tmp/kbo-"] {
        assert!(error.message.contains(part), "{error:?}");
    }
    assert!(error.hint.unwrap().contains("agent_dir"));
}

#[tokio::test]
async fn a_folder_must_be_absolute() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut settings = sshd.settings(&["echo"]);
    settings.agent_dirs = vec!["tmp/x".into()];
    assert_eq!(
        SshCarrier::new(settings).open().await.err().unwrap().kind,
        NodeErrorKind::Agent
    );
}

#[tokio::test]
async fn a_program_for_another_processor_is_not_brought() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut settings = sshd.settings(&["echo"]);
    let mut elf = fs::read("/proc/self/exe").unwrap();
    elf.truncate(4096);
    // s390x, which no test runs on.
    elf[18..20].copy_from_slice(&[22, 0]);
    fs::write(sshd.path("elf"), elf).unwrap();
    settings.agent_binary = sshd.path("elf");
    let error = SshCarrier::new(settings).open().await.err().unwrap();
    assert_eq!(error.kind, NodeErrorKind::Agent);
    assert!(
        error.message.contains("s390x") && error.message.contains(std::env::consts::ARCH),
        "{error:?}"
    );
    assert!(!sshd.path("agents").exists());
}

#[tokio::test]
async fn without_a_hash_tool_on_the_node_the_program_is_read_back() {
    let Some(sshd) = Sshd::start("") else { return };
    let tools = sshd.path("tools");
    fs::create_dir(&tools).unwrap();
    for tool in [
        "sh", "cat", "uname", "id", "wc", "mkdir", "chmod", "rm", "rmdir", "mv", "tr", "find", "printf",
    ] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output()
            .unwrap();
        let path = String::from_utf8(found.stdout).unwrap();
        if path.trim().starts_with('/') {
            std::os::unix::fs::symlink(path.trim(), tools.join(tool)).unwrap();
        }
    }
    let key = fs::read_to_string(sshd.path("key.pub")).unwrap();
    let forced = format!(
        "command=\"PATH={} /bin/sh -c \\\"$SSH_ORIGINAL_COMMAND\\\"\" {key}",
        tools.display()
    );
    fs::write(sshd.path("authorized_keys"), forced).unwrap();
    echoes(&sshd.carrier(&["echo"])).await;
    let program = only(&sshd.path("agents"));
    let before = fs::metadata(&program).unwrap();
    echoes(&sshd.carrier(&["echo"])).await;
    assert_eq!(before.ino(), fs::metadata(&program).unwrap().ino());
    let mut bytes = fs::read(&program).unwrap();
    *bytes.iter_mut().rfind(|byte| **byte == b'9').unwrap() = b'8';
    fs::write(&program, bytes).unwrap();
    echoes(&sshd.carrier(&["echo"])).await;
    assert_eq!(fs::read(&program).unwrap(), fs::read(sshd.path("stand-in")).unwrap());
}

#[tokio::test]
async fn a_login_without_a_shell_is_told_as_such() {
    let Some(sshd) = Sshd::start("ForceCommand echo 'This account is not available.'; exit 1") else {
        return;
    };
    let error = sshd.carrier(&["echo"]).open().await.err().unwrap();
    assert_eq!(error.kind, NodeErrorKind::Agent);
    assert!(error.message.contains("not available"), "{error:?}");
}

/// Another user of the machine, for the tests of sudo; made and removed by the test.
struct OtherUser(&'static str);

impl Drop for OtherUser {
    fn drop(&mut self) {
        let _ = Command::new("userdel").args(["-r", "-f", self.0]).output();
        let _ = fs::remove_file(format!("/etc/sudoers.d/{}", self.0));
    }
}

#[tokio::test]
async fn sudo_makes_root_or_says_what_to_write() {
    let Some(sshd) = Sshd::start("") else { return };
    let other = OtherUser("kbo-test-user");
    let possible = user() == "root"
        && Path::new("/usr/bin/sudo").exists()
        && Command::new("useradd")
            .args(["-m", "-p", "*", "-s", "/bin/sh", other.0])
            .output()
            .is_ok_and(|made| made.status.success());
    if !possible {
        return skipped("sudo is tested by root with useradd and sudo");
    }
    chmod(sshd.dir.path(), 0o755);
    let settings = || {
        let mut settings = sshd.settings(&["pid"]);
        settings.user = other.0.into();
        settings.become_root = true;
        settings
    };
    let error = SshCarrier::new(settings()).open().await.err().unwrap();
    assert_eq!(error.kind, NodeErrorKind::Refused);
    assert!(
        error.message.contains("password") && error.message.contains("sudo"),
        "{error:?}"
    );
    assert!(error.hint.unwrap().contains("NOPASSWD"));

    fs::write(
        format!("/etc/sudoers.d/{}", other.0),
        format!("{} ALL=(root) NOPASSWD: ALL\n", other.0),
    )
    .unwrap();
    let mut pipe = SshCarrier::new(settings()).open().await.unwrap();
    let mut line = [0; 32];
    let read = tokio::io::AsyncReadExt::read(&mut pipe.reader, &mut line)
        .await
        .unwrap();
    let pid = std::str::from_utf8(&line[..read]).unwrap().trim().to_owned();
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), 0);
    assert_eq!(fs::metadata(only(&sshd.path("agents"))).unwrap().uid(), 0);
    drop(pipe);

    // Without sudo the folder is another user's: root's program there could not be trusted, nor written.
    let mut plain = settings();
    plain.become_root = false;
    let mut pipe = SshCarrier::new(plain).open().await.unwrap();
    let read = tokio::io::AsyncReadExt::read(&mut pipe.reader, &mut line)
        .await
        .unwrap();
    let pid = std::str::from_utf8(&line[..read]).unwrap().trim().to_owned();
    assert_ne!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), 0);
    assert!(Path::new(&format!("/home/{}/.cache/kbo", other.0)).exists());
}
