//! `kbo ssh-setup`: host keys that somebody has looked at, our key on every node, and the proof that it logs in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kbo_core::config::Access;
use kbo_core::ports::node::{NodeError, NodeErrorKind};
use kbo_core::report::Outcome;
use kbo_core::secret::Secret;
use kbo_transport::ssh::SshSettings;
use kbo_transport::ssh::setup::{self, HostKey, PublicKey};
use serde::Serialize;

use super::{Ended, Trouble};
use crate::args::{Global, SshSetupArgs};
use crate::compose::{Passphrases, ssh_settings};
use crate::{load, logging, output, terminal};

#[derive(Serialize)]
struct Document {
    outcome: Outcome,
    keys: Vec<KeyReport>,
    hosts: Vec<HostReport>,
    verdict: String,
}

#[derive(Serialize)]
struct KeyReport {
    path: PathBuf,
    /// Whether it was made (or would be).
    made: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

/// What became of a host.
#[derive(Serialize)]
struct HostReport {
    host: String,
    port: u16,
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_key: Option<String>,
    /// known, added, would_add, refused, or unseen where the host is not reached.
    host_key_state: &'static str,
    /// works, installed, would_install, or failed.
    login: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip)]
    refused: bool,
}

/// A host to set up.
#[derive(Clone)]
struct Target {
    settings: SshSettings,
    key: PathBuf,
}

pub(super) async fn run(args: &SshSetupArgs, global: &Global) -> Ended {
    let targets = targets(args, global)?;
    terminal::interruptible(set_up(args, global, targets)).await
}

/// The hosts, each once.
fn targets(args: &SshSetupArgs, global: &Global) -> Result<Vec<Target>, Trouble> {
    let usage = |error: anyhow::Error| Trouble::begun(&error);
    let home = std::env::home_dir().unwrap_or_else(|| PathBuf::from("/root"));
    let default_key = home.join(".ssh/id_ed25519");
    let mut all = vec![];
    if args.hosts.is_empty() {
        let (config, file) = load::load(global.config.as_deref())
            .map_err(|error| usage(error).hint("before there is a kbo.toml, name the hosts: --host USER@HOST"))?;
        logging::start(global.verbose, global.quiet, config.log_file.as_deref()).map_err(usage)?;
        let mut passphrases = Passphrases::asking();
        let is_known = |name: &&String| {
            config
                .cluster
                .start_order()
                .iter()
                .any(|node| node.name.as_str() == name.as_str())
        };
        if let Some(stranger) = args.nodes.iter().find(|name| !is_known(name)) {
            return Err(
                Trouble::new(Outcome::Usage, format!("{} has no node {stranger}", file.display()))
                    .hint("a host that is not in it is named by --host"),
            );
        }
        for node in config.cluster.start_order() {
            if !args.nodes.is_empty() && !args.nodes.iter().any(|name| node.name.as_str() == name.as_str()) {
                continue;
            }
            let Some(Access::Ssh(ssh)) = config.access.get(&node.name) else {
                continue;
            };
            let mut ssh = ssh.clone();
            if let Some(key) = &args.key {
                ssh.key = Some(key.clone());
            }
            let key = ssh.key.clone().unwrap_or_else(|| default_key.clone());
            ssh.key = Some(key.clone());
            let settings = ssh_settings(&ssh, &mut passphrases).map_err(usage)?;
            all.push(Target { settings, key });
        }
        if all.is_empty() {
            let text = format!("no node of {} is reached over SSH", file.display());
            return Err(Trouble::new(Outcome::Usage, text).hint("name hosts with --host USER@HOST"));
        }
    } else {
        logging::start(global.verbose, global.quiet, None).map_err(usage)?;
        let key = args.key.clone().unwrap_or(default_key);
        let mut passphrases = Passphrases::asking();
        let passphrase = passphrases.of(&key, None).map_err(usage)?;
        for text in &args.hosts {
            let host = host(text)?;
            let user = host.user.or(args.user.as_deref()).unwrap_or("root");
            let mut settings = SshSettings::new(host.name, user, home.join(".ssh/known_hosts"));
            settings.port = host.port.unwrap_or(22);
            settings.key = Some(key.clone());
            settings.passphrase.clone_from(&passphrase);
            all.push(Target {
                settings,
                key: key.clone(),
            });
        }
    }
    let mut targets: Vec<Target> = vec![];
    for target in all {
        let of = |target: &Target| {
            let settings = &target.settings;
            (settings.host.clone(), settings.port, settings.user.clone())
        };
        if !targets.iter().any(|known| of(known) == of(&target)) {
            targets.push(target);
        }
    }
    Ok(targets)
}

/// A host as it is written on a command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HostText<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) port: Option<u16>,
}

/// `[USER@]HOST[:PORT]`; an IPv6 address with a port stands in brackets.
pub(super) fn host(text: &str) -> Result<HostText<'_>, Trouble> {
    let wrong = || {
        Trouble::new(Outcome::Usage, format!("--host {text}: not [USER@]HOST[:PORT]"))
            .hint("such as ops@10.0.0.21, kafka-1:2222, [fe80::1]:22")
    };
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, text),
    };
    let (name, port) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (name, behind) = inner.split_once(']').ok_or_else(wrong)?;
            match behind {
                "" => (name, None),
                behind => (name, Some(behind.strip_prefix(':').ok_or_else(wrong)?)),
            }
        }
        None => match rest.split_once(':') {
            Some((name, port)) if !port.contains(':') => (name, Some(port)),
            _ => (rest, None),
        },
    };
    let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong));
    let port = port.transpose()?;
    let is_name = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if !is_name(name) || name.starts_with('-') || !user.is_none_or(is_name) {
        return Err(wrong());
    }
    Ok(HostText { user, name, port })
}

async fn set_up(args: &SshSetupArgs, global: &Global, targets: Vec<Target>) -> Ended {
    let mut passwords = Passwords::new(args)?;
    if let Some(file) = &args.known_hosts {
        kbo_archive::regular::open_given(file).map_err(|error| {
            Trouble::new(
                Outcome::Usage,
                format!("--known-hosts: cannot read {}: {error}", file.display()),
            )
        })?;
    }
    let mut keys: Vec<(KeyReport, Option<PublicKey>)> = vec![];
    let mut hosts = vec![];
    for target in &targets {
        let mut report = HostReport {
            host: target.settings.host.clone(),
            port: target.settings.port,
            user: target.settings.user.clone(),
            host_key: None,
            host_key_state: "unseen",
            login: "failed",
            error: None,
            hint: None,
            refused: false,
        };
        let step = match judge_host(args, target, &mut report).await {
            Ok(()) => log_in(args, target, &mut report, &mut keys, &mut passwords).await,
            Err(step) => Err(step),
        };
        match step {
            Ok(()) => {}
            Err(Step::Host(error)) => {
                if error.kind == NodeErrorKind::Refused && report.host_key_state == "unseen" {
                    report.host_key_state = "refused";
                }
                report.refused = error.kind == NodeErrorKind::Refused && report.host_key_state == "refused";
                report.error = Some(error.message);
                report.hint = error.hint;
            }
            Err(Step::Run(trouble)) => return Err(trouble),
        }
        told(global, &report);
        hosts.push(report);
    }
    Ok(ended(
        args,
        global,
        keys.into_iter().map(|(key, _)| key).collect(),
        hosts,
    ))
}

/// Why a host's turn is over: by its own fault, or because the run ends.
enum Step {
    Host(NodeError),
    Run(Trouble),
}

impl From<NodeError> for Step {
    fn from(error: NodeError) -> Self {
        Step::Host(error)
    }
}

impl From<Trouble> for Step {
    fn from(trouble: Trouble) -> Self {
        Step::Run(trouble)
    }
}

/// Is it the host that we think it is?
async fn judge_host(args: &SshSetupArgs, target: &Target, report: &mut HostReport) -> Result<(), Step> {
    let settings = target.settings.clone();
    let vouchers = args.known_hosts.clone();
    let key = terminal::blocking({
        let (settings, vouchers) = (settings.clone(), vouchers.clone());
        move || setup::look(&settings, vouchers.as_deref())
    })
    .await??;
    report.host_key = Some(format!("{} {}", key.key_type, key.fingerprint));
    // A file that is named is the only word that counts, whatever is known already.
    if key.known && vouchers.is_none() {
        report.host_key_state = "known";
        return Ok(());
    }
    if !is_trusted(args, &settings, &key, vouchers.as_deref()).await? {
        let text = format!("{}: the host key was not accepted; nothing was sent", report.host);
        return Err(NodeError::new(NodeErrorKind::Refused, text)
            .hint("compare the fingerprint with what `ssh-keygen -lf` says of /etc/ssh/ssh_host_*_key.pub on the host")
            .into());
    }
    if key.known {
        report.host_key_state = "known";
        return Ok(());
    }
    if args.dry_run {
        report.host_key_state = "would_add";
        return Ok(());
    }
    setup::trust(&settings, &key)?;
    report.host_key_state = "added";
    Ok(())
}

/// By the file, or by whoever sits at the terminal.
async fn is_trusted(
    args: &SshSetupArgs,
    settings: &SshSettings,
    key: &HostKey,
    vouchers: Option<&Path>,
) -> Result<bool, Step> {
    let shown = format!(
        "{} port {} shows the host key {} {}",
        settings.host, settings.port, key.key_type, key.fingerprint
    );
    if let Some(file) = vouchers {
        if setup::is_vouched_for(settings, key, file)? {
            return Ok(true);
        }
        let text = format!("{shown}, which {} does not have; nothing was sent", file.display());
        return Err(NodeError::new(NodeErrorKind::Refused, text)
            .hint("compare it on the host itself, and add it to that file")
            .into());
    }
    if args.dry_run {
        return Ok(true);
    }
    if output::has_terminal() {
        let file = settings.known_hosts.display();
        output::error_line(&format!("{shown}, and {file} has none for it."));
    }
    match terminal::confirm("Is it the host's own? Trust it".to_owned()).await? {
        Some(yes) => Ok(yes),
        None => {
            let text = format!("{shown}, which is not known, and there is no terminal to ask on; nothing was sent");
            Err(NodeError::new(NodeErrorKind::Refused, text)
                .hint("--known-hosts FILE names a file with the host keys that are to be trusted")
                .into())
        }
    }
}

/// Does our key log in? If not, it is put there, and then it has to.
async fn log_in(
    args: &SshSetupArgs,
    target: &Target,
    report: &mut HostReport,
    keys: &mut Vec<(KeyReport, Option<PublicKey>)>,
    passwords: &mut Passwords,
) -> Result<(), Step> {
    let settings = target.settings.clone();
    let key = key(args, target, keys)?;
    if report.host_key_state == "would_add" {
        report.login = "would_install";
        return Ok(());
    }
    if key.is_some() || !args.dry_run {
        let proof = {
            let settings = settings.clone();
            terminal::blocking(move || setup::prove(&settings)).await?
        };
        match proof {
            Ok(()) => {
                report.login = "works";
                return Ok(());
            }
            Err(error) if error.kind == NodeErrorKind::Refused && error.message.contains("login refused") => {}
            Err(error) => return Err(error.into()),
        }
    }
    if args.dry_run {
        report.login = "would_install";
        return Ok(());
    }
    let Some(key) = key else { return Ok(()) };
    let secret = passwords.of(&settings.user).await?;
    let (added, proof) = {
        let settings = settings.clone();
        terminal::blocking(move || {
            let added = setup::install(&settings, &secret, &key)?;
            // A new connection, by the key alone: that it is in the file proves nothing.
            Ok::<_, NodeError>((added, setup::prove(&settings)))
        })
        .await??
    };
    proof.map_err(|error| {
        let state = if added { "was added to" } else { "is in" };
        let text = format!("the key {state} ~/.ssh/authorized_keys, and still: {}", error.message);
        NodeError::new(NodeErrorKind::Io, text).hint(
            "sshd reads the file of its AuthorizedKeysFile, and only where home, .ssh and file belong to the user and nobody else may write to them",
        )
    })?;
    report.login = "installed";
    Ok(())
}

/// The public half of the target's key, made where there is none.
fn key(
    args: &SshSetupArgs,
    target: &Target,
    keys: &mut Vec<(KeyReport, Option<PublicKey>)>,
) -> Result<Option<PublicKey>, NodeError> {
    if let Some((_, known)) = keys.iter().find(|(report, _)| report.path == target.key) {
        return Ok(known.clone());
    }
    let made = !setup::is_there(&target.key);
    let key = match (made, args.dry_run) {
        (true, true) => None,
        (true, false) => Some(setup::make(&target.key, "kbo")?),
        (false, _) => Some(setup::public_half(&target.key)?),
    };
    let report = KeyReport {
        path: target.key.clone(),
        made,
        fingerprint: key.as_ref().map(|key| key.fingerprint.clone()),
    };
    keys.push((report, key.clone()));
    Ok(key)
}

/// The passwords: asked for once for each user, kept nowhere.
struct Passwords {
    /// That of the file, for everybody.
    given: Option<Secret>,
    typed: BTreeMap<String, Option<Secret>>,
}

impl Passwords {
    fn new(args: &SshSetupArgs) -> Result<Self, Trouble> {
        let given = match &args.password_file {
            None => None,
            Some(file) => {
                let read = kbo_transport::ssh::read_passphrase(file);
                Some(read.map_err(|error| {
                    let text = error.message.replace("passphrase file", "password file");
                    let trouble = Trouble::new(Outcome::Usage, text);
                    match error.hint {
                        Some(hint) => trouble.hint(hint),
                        None => trouble,
                    }
                })?)
            }
        };
        Ok(Self {
            given,
            typed: BTreeMap::new(),
        })
    }

    async fn of(&mut self, user: &str) -> Result<Secret, Step> {
        if self.given.is_none() && !self.typed.contains_key(user) {
            let question = format!("Password of {user} on the hosts (typed once, stored nowhere): ");
            let typed = terminal::password(question).await?;
            self.typed.insert(user.to_owned(), typed);
        }
        let typed = self.typed.get(user).cloned().flatten();
        self.given.clone().or(typed).ok_or_else(|| {
            let text = "the key does not log in yet, and there is no password to put it there with";
            NodeError::new(NodeErrorKind::Io, text)
                .hint("run it on a terminal, or name a file with --password-file")
                .into()
        })
    }
}

fn told(global: &Global, report: &HostReport) {
    if let Some(error) = &report.error {
        output::error_line(&format!("failed: {error}"));
        if let Some(hint) = report.hint.as_ref().filter(|_| !global.quiet) {
            output::error_line(&format!("hint: {hint}"));
        }
    }
}

fn ended(args: &SshSetupArgs, global: &Global, keys: Vec<KeyReport>, hosts: Vec<HostReport>) -> Outcome {
    let failed = hosts.iter().filter(|host| host.error.is_some()).count();
    let untouched = keys.iter().all(|key| !key.made) && hosts.iter().all(|host| host.refused);
    let outcome = match failed {
        0 => Outcome::Done,
        _ if untouched => Outcome::Refused,
        _ => Outcome::Failed,
    };
    let changed = |host: &&HostReport| host.login == "installed" || host.host_key_state == "added";
    let verdict = match (failed, args.dry_run) {
        (0, true) => "dry run; nothing was changed".to_owned(),
        (0, false) => match hosts.iter().filter(changed).count() {
            0 => format!("{0} of {0} logins work; nothing had to be done", hosts.len()),
            _ => format!("{0} of {0} logins work", hosts.len()),
        },
        (failed, _) if hosts.iter().any(|host| changed(&host)) => format!(
            "{failed} of {} hosts failed, see above; what was done stays",
            hosts.len()
        ),
        (failed, _) => format!("{failed} of {} hosts failed, see above", hosts.len()),
    };
    if global.json {
        output::error_line(&verdict);
        output::json(&Document {
            outcome,
            keys,
            hosts,
            verdict,
        });
        return outcome;
    }
    for key in &keys {
        let what = match (key.made, args.dry_run) {
            (true, true) => "would be made",
            (true, false) => "made",
            (false, _) => "there already",
        };
        let fingerprint = key.fingerprint.as_deref().unwrap_or_default();
        output::line(format!("key {}: {what} {fingerprint}", key.path.display()).trim_end());
    }
    let head = ["HOST", "USER", "HOST KEY", "LOGIN"].map(str::to_owned).to_vec();
    let rows = hosts.iter().map(|host| {
        vec![
            format!("{}:{}", host.host, host.port),
            host.user.clone(),
            host.host_key_state.to_owned(),
            host.login.to_owned(),
        ]
    });
    output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), &[]);
    output::line(&verdict);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_users_ports_and_addresses() {
        let read = |text| {
            let host = host(text).ok()?;
            Some((host.user.map(str::to_owned), host.name.to_owned(), host.port))
        };
        let some = |user: Option<&str>, name: &str, port| Some((user.map(str::to_owned), name.to_owned(), port));
        assert_eq!(read("h"), some(None, "h", None));
        assert_eq!(read("ops@h:2222"), some(Some("ops"), "h", Some(2222)));
        assert_eq!(read("fe80::1"), some(None, "fe80::1", None));
        assert_eq!(read("a@[fe80::1]:22"), some(Some("a"), "fe80::1", Some(22)));
        for wrong in ["", "@h", "h:", "h:x", "h:0", "h:99999", "[x", "a b", "-oProxyCommand=x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
