//! Who the host is, and who we are: everything that is refused before anything is sent, and how it is said.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::sshd::{Sshd, chmod, keygen, skipped};
use kbo_core::ports::node::{NodeError, NodeErrorKind};
use kbo_core::secret::Secret;
use kbo_transport::carrier::Carrier;
use kbo_transport::ssh::{SshCarrier, SshSettings};

async fn refusal(settings: SshSettings) -> NodeError {
    let error = SshCarrier::new(settings)
        .open()
        .await
        .err()
        .expect("it must not be opened");
    let shown = format!("{error:?}");
    assert!(
        !shown.contains("open sesame") && !shown.contains("PRIVATE KEY"),
        "a secret shows: {shown}"
    );
    error
}

fn fingerprint(public: &Path) -> String {
    let shown = Command::new("ssh-keygen")
        .args(["-l", "-f"])
        .arg(public)
        .output()
        .unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    text.split_whitespace().nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn an_unknown_host_is_refused_with_fingerprint_and_remedy() {
    let Some(sshd) = Sshd::start("") else { return };
    for content in [Some(""), None] {
        match content {
            Some(content) => fs::write(sshd.path("known_hosts"), content).unwrap(),
            None => fs::remove_file(sshd.path("known_hosts")).unwrap(),
        }
        let error = refusal(sshd.settings(&["echo"])).await;
        assert_eq!(error.kind, NodeErrorKind::Refused);
        let known = ["ed25519", "ecdsa"].map(|kind| fingerprint(&sshd.path(&format!("host_{kind}.pub"))));
        assert!(known.iter().any(|print| error.message.contains(print)), "{error:?}");
        let hint = error.hint.unwrap();
        assert!(
            hint.contains(&format!("ssh-keyscan -p {}", sshd.port)) && hint.contains("known_hosts"),
            "{hint}"
        );
        assert!(!sshd.path("agents").exists());
    }
}

#[tokio::test]
async fn the_remedy_works_as_printed() {
    let Some(sshd) = Sshd::start("") else { return };
    fs::remove_file(sshd.path("known_hosts")).unwrap();
    let hint = refusal(sshd.settings(&["echo"])).await.hint.unwrap();
    let command = &hint[hint.find("ssh-keyscan").unwrap()..];
    assert!(
        Command::new("sh")
            .args(["-c", command])
            .output()
            .unwrap()
            .status
            .success(),
        "{command}"
    );
    sshd.carrier(&["echo"]).open().await.unwrap();
}

#[tokio::test]
async fn a_changed_host_key_is_refused_more_strongly() {
    let Some(sshd) = Sshd::start("") else { return };
    keygen("ed25519", &sshd.path("other"), "");
    sshd.trust("other.pub");
    let error = refusal(sshd.settings(&["echo"])).await;
    assert_eq!(error.kind, NodeErrorKind::Refused);
    assert!(error.message.contains("CHANGED"), "{error:?}");
    assert!(
        error.message.contains(&fingerprint(&sshd.path("host_ed25519.pub"))),
        "{error:?}"
    );
    assert!(error.hint.unwrap().contains(&format!("-R '[127.0.0.1]:{}'", sshd.port)));
}

#[tokio::test]
async fn any_type_of_key_that_is_known_will_do() {
    let Some(sshd) = Sshd::start("") else { return };
    for public in ["host_ecdsa.pub", "host_ed25519.pub"] {
        sshd.trust(public);
        sshd.carrier(&["echo"]).open().await.unwrap();
    }
}

#[tokio::test]
async fn hashed_entries_are_read() {
    let Some(sshd) = Sshd::start("") else { return };
    let hashed = Command::new("ssh-keygen")
        .arg("-H")
        .arg("-f")
        .arg(sshd.path("known_hosts"))
        .output()
        .unwrap();
    assert!(hashed.status.success());
    assert!(fs::read_to_string(sshd.path("known_hosts")).unwrap().starts_with("|1|"));
    sshd.carrier(&["echo"]).open().await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_not_accepted_names_user_host_and_methods() {
    let Some(sshd) = Sshd::start("") else { return };
    keygen("ed25519", &sshd.path("stranger"), "");
    let mut settings = sshd.settings(&["echo"]);
    settings.key = Some(sshd.path("stranger"));
    let who = format!("{}@127.0.0.1:{}", settings.user, sshd.port);
    let error = refusal(settings).await;
    assert_eq!(error.kind, NodeErrorKind::Refused);
    for part in [who.as_str(), "stranger", "publickey"] {
        assert!(error.message.contains(part), "{error:?}");
    }
}

#[tokio::test]
async fn a_key_file_that_is_none_says_what_it_is() {
    let Some(sshd) = Sshd::start("") else { return };
    let with = |key: &str| {
        let mut settings = sshd.settings(&["echo"]);
        settings.key = Some(sshd.path(key));
        settings
    };
    let error = refusal(with("missing")).await;
    assert!(
        error.message.contains("does not exist") && error.message.contains("missing"),
        "{error:?}"
    );
    let error = refusal(with("key.pub")).await;
    // Public halves are readable by all; that they are no key at all comes first or second.
    assert!(
        error.message.contains("public half") || error.message.contains("read by others"),
        "{error:?}"
    );
    chmod(&sshd.path("key.pub"), 0o600);
    assert!(refusal(with("key.pub")).await.message.contains("public half"));
    chmod(&sshd.path("key"), 0o640);
    let error = refusal(with("key")).await;
    assert!(error.message.contains("may be read by others") && error.hint.unwrap().contains("chmod 600"));
    fs::write(
        sshd.path("garbage"),
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    )
    .unwrap();
    chmod(&sshd.path("garbage"), 0o600);
    assert!(refusal(with("garbage")).await.message.contains("cannot be used"));
}

#[tokio::test]
async fn encrypted_keys_need_their_passphrase() {
    let Some(sshd) = Sshd::start("") else { return };
    keygen("ed25519", &sshd.path("ed"), "open sesame");
    keygen("rsa", &sshd.path("rsa"), "open sesame");
    keygen("rsa", &sshd.path("pem"), "open sesame");
    let as_pem = Command::new("ssh-keygen")
        .args(["-p", "-q", "-m", "PEM", "-P", "open sesame", "-N", "open sesame", "-f"])
        .arg(sshd.path("pem"))
        .output()
        .unwrap();
    assert!(as_pem.status.success(), "{as_pem:?}");
    let keys: Vec<String> = ["ed", "rsa", "pem"]
        .map(|name| fs::read_to_string(sshd.path(&format!("{name}.pub"))).unwrap())
        .into();
    fs::write(sshd.path("authorized_keys"), keys.concat()).unwrap();
    for name in ["ed", "rsa", "pem"] {
        let with = |passphrase: Option<&str>| {
            let mut settings = sshd.settings(&["echo"]);
            settings.key = Some(sshd.path(name));
            settings.passphrase = passphrase.map(Secret::new);
            settings
        };
        SshCarrier::new(with(Some("open sesame"))).open().await.unwrap();
        let error = refusal(with(None)).await;
        assert!(error.message.contains("no passphrase was given"), "{name}: {error:?}");
        let error = refusal(with(Some("wrong"))).await;
        assert!(error.message.contains("passphrase does not open"), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn an_ssh_agent_logs_in() {
    let Some(sshd) = Sshd::start("") else { return };
    let socket = sshd.path("agent.sock");
    let Ok(mut agent) = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).spawn() else {
        return skipped("ssh-agent is not installed");
    };
    while !socket.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut settings = sshd.settings(&["echo"]);
    settings.key = None;
    settings.auth_sock = None;
    assert!(
        refusal(settings.clone())
            .await
            .message
            .contains("SSH_AUTH_SOCK is not set")
    );
    settings.auth_sock = Some(socket.clone());
    assert!(refusal(settings.clone()).await.message.contains("holds no key"));
    keygen("ed25519", &sshd.path("stranger"), "");
    let add = |key: &str| {
        Command::new("ssh-add")
            .arg("-q")
            .arg(sshd.path(key))
            .env("SSH_AUTH_SOCK", &socket)
            .status()
    };
    assert!(add("stranger").unwrap().success());
    assert!(refusal(settings.clone()).await.message.contains("login refused"));
    assert!(add("key").unwrap().success());
    SshCarrier::new(settings.clone()).open().await.unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(refusal(settings).await.message.contains("does not answer"));
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_says_where() {
    let Some(mut sshd) = Sshd::start("") else { return };
    let mut settings = sshd.settings(&["echo"]);
    let port = settings.port;
    sshd.stop();
    settings.retries = 1;
    let error = refusal(settings).await;
    assert_eq!(error.kind, NodeErrorKind::Unreachable);
    assert!(error.message.contains(&format!("127.0.0.1:{port}")), "{error:?}");
}

#[tokio::test]
async fn something_else_on_the_port_is_not_taken_for_ssh() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // It accepts, and says nothing for ever.
    let silent = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            kept.push(socket);
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let mut settings = SshSettings::new("127.0.0.1", "root", dir.path().join("known_hosts"));
    settings.port = port;
    settings.retries = 0;
    settings.connect_timeout = std::time::Duration::from_secs(1);
    let error = refusal(settings).await;
    assert_eq!(error.kind, NodeErrorKind::Unreachable);
    silent.abort();
}
