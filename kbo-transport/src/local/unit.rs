//! systemd around a node's container: which unit runs it, and stopping and starting through that unit.

use std::process::Stdio;
use std::time::Duration;

use kbo_core::ports::node::{ContainerFacts, NodeError, NodeErrorKind, UnitFacts};
use tokio::process::Command;

/// How long systemd has for a question.
const QUESTION: Duration = Duration::from_secs(10);

/// What is asked of every service.
const PROPERTIES: &str =
    "--property=Id,ActiveState,Type,Restart,SuccessExitStatus,TimeoutStopUSec,ExecStart,ExecStop,ExecStopPost";

/// Most bytes of an answer that are read: a machine has some hundred services.
const MOST: usize = 8 << 20;

/// The `systemctl` of the node.
#[derive(Debug, Clone)]
pub(super) struct Systemctl(pub(super) String);

impl Default for Systemctl {
    fn default() -> Self {
        Self("systemctl".to_owned())
    }
}

impl Systemctl {
    /// The unit that runs the container; `None` where there is no systemd, or none of its services does.
    pub(super) async fn unit_of(&self, name: &str, container: &ContainerFacts) -> Option<UnitFacts> {
        let output = self.call(&["show", "*.service", PROPERTIES], QUESTION).await;
        let output = output
            .inspect_err(|error| tracing::debug!(%error, "systemd cannot be asked"))
            .ok()?;
        let labelled = container.definition.pointer("/Config/Labels/PODMAN_SYSTEMD_UNIT");
        find(&output, name, labelled.and_then(|unit| unit.as_str()))
    }

    /// Stops or starts a unit and waits until systemd says that it is done.
    pub(super) async fn order(&self, verb: &str, unit: &str, limit: Duration) -> Result<(), NodeError> {
        self.call(&[verb, "--", unit], limit).await.map(drop).map_err(|why| {
            NodeError::new(NodeErrorKind::Engine, format!("systemctl {verb} {unit}: {why}"))
                .hint(format!("see: systemctl status {unit}; journalctl -u {unit}"))
        })
    }

    async fn call(&self, arguments: &[&str], limit: Duration) -> Result<String, String> {
        let mut command = Command::new(&self.0);
        command
            .args(arguments)
            .env("LC_ALL", "C")
            .env("SYSTEMD_PAGER", "")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = match tokio::time::timeout(limit, command.output()).await {
            Ok(output) => output.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("no answer in {} s", limit.as_secs())),
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said: String = said.trim().chars().filter(|c| !c.is_control()).take(500).collect();
            return Err(format!("{}: {said}", output.status));
        }
        let shown = &output.stdout[..output.stdout.len().min(MOST)];
        Ok(String::from_utf8_lossy(shown).into_owned())
    }
}

/// Of `systemctl show`, whose answers stand in blocks: the unit by its name, else the one whose command starts the container.
fn find(shown: &str, container: &str, labelled: Option<&str>) -> Option<UnitFacts> {
    let units = || shown.split("\n\n").filter_map(|block| read(block, container));
    let by_name = labelled.and_then(|name| units().find(|(unit, _)| unit.name == name));
    let mut by_command: Vec<UnitFacts> = units().filter(|(_, runs)| *runs).map(|(unit, _)| unit).collect();
    by_command.sort_by_key(|unit| !unit.active);
    by_name.map(|(unit, _)| unit).or_else(|| by_command.into_iter().next())
}

/// A unit, and whether its command starts the container.
fn read(block: &str, container: &str) -> Option<(UnitFacts, bool)> {
    let mut unit = UnitFacts::default();
    let mut runs = false;
    for line in block.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        match key {
            "Id" => value.clone_into(&mut unit.name),
            "ActiveState" => unit.active = matches!(value, "active" | "activating" | "reloading"),
            "Type" => value.clone_into(&mut unit.kind),
            "Restart" => value.clone_into(&mut unit.restart),
            "SuccessExitStatus" => unit.success = value.split_whitespace().map(str::to_owned).collect(),
            "TimeoutStopUSec" => unit.stop_timeout_seconds = seconds(value),
            "ExecStart" => runs |= commands(value).iter().any(|command| starts(command, container)),
            "ExecStop" | "ExecStopPost" => unit.on_stop.extend(commands(value)),
            _ => {}
        }
    }
    (!unit.name.is_empty()).then_some((unit, runs))
}

/// The commands of `{ path=... ; argv[]=... ; ignore_errors=... }`, of which there may be several.
fn commands(value: &str) -> Vec<String> {
    let tails = value.split("argv[]=").skip(1);
    tails
        .map(|tail| tail.split(" ; ignore_errors=").next().unwrap_or(tail).trim().to_owned())
        .collect()
}

/// Whether a command has an engine start this very container.
fn starts(command: &str, container: &str) -> bool {
    let mut words = command.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ';' | '&'));
    let is_engine = |word: &str| matches!(word.rsplit('/').next(), Some("docker" | "podman" | "nerdctl"));
    if !words.any(is_engine) {
        return false;
    }
    let rest: Vec<&str> = words.collect();
    // A container that is run has its name after an option; other words are the image's or the command's.
    let is_named = rest.iter().any(|word| word.strip_prefix("--name=") == Some(container))
        || rest.windows(2).any(|pair| pair == ["--name", container]);
    match rest.iter().find(|word| matches!(**word, "start" | "run" | "restart")) {
        Some(&"run") => is_named,
        Some(_) => rest.contains(&container),
        None => false,
    }
}

/// `1min 30s`, `infinity`, as systemd writes spans.
fn seconds(value: &str) -> Option<u64> {
    let mut sum = 0;
    for part in value.split_whitespace() {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let number: u64 = part[..digits].parse().ok()?;
        let unit = match &part[digits..] {
            "us" | "ms" => 0,
            "s" | "" => 1,
            "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        sum += number.saturating_mul(unit);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use kbo_core::ports::node::{ContainerState, NodeTransport, StartOutcome, StopRequest};

    use super::*;
    use crate::local::fake::FakeEngine;
    use crate::local::{LocalNode, NodeSpec};

    /// As systemd 252 shows it.
    const SHOWN: &str = "Type=notify\nRestart=no\nTimeoutStopUSec=1min 30s\nExecStart={ path=/usr/sbin/sshd ; argv[]=/usr/sbin/sshd -D kafka1 ; ignore_errors=no ; start_time=[n/a] ; pid=1 }\nId=ssh.service\nActiveState=active\n\nType=simple\nRestart=always\nTimeoutStopUSec=6min\nSuccessExitStatus=143 SIGKILL\nExecStart={ path=/usr/bin/docker ; argv[]=/usr/bin/docker start -a kafka1 ; ignore_errors=no ; start_time=[n/a] ; pid=7 }\nExecStop={ path=/usr/bin/docker ; argv[]=/usr/bin/docker stop -t 360 kafka1 ; ignore_errors=no ; pid=0 }\nId=kafka.service\nActiveState=active\n\nType=oneshot\nExecStart={ path=/usr/bin/podman ; argv[]=/usr/bin/podman run --rm --name=kafka2 kafka ; ignore_errors=no }\nId=kafka2.service\nActiveState=inactive\n";

    #[test]
    fn the_unit_whose_command_starts_the_container_is_found() {
        let unit = find(SHOWN, "kafka1", None).unwrap();
        assert_eq!(unit.name, "kafka.service");
        assert_eq!(
            (unit.active, unit.kind.as_str(), unit.restart.as_str()),
            (true, "simple", "always")
        );
        assert_eq!(unit.stop_timeout_seconds, Some(360));
        assert_eq!(unit.success, ["143", "SIGKILL"]);
        assert_eq!(unit.on_stop, ["/usr/bin/docker stop -t 360 kafka1"]);
        assert_eq!(find(SHOWN, "kafka2", None).unwrap().name, "kafka2.service");
        assert_eq!(find(SHOWN, "kafka", None), None, "a part of a name is none");
        assert_eq!(
            find(SHOWN, "kafka", Some("kafka.service")).unwrap().name,
            "kafka.service"
        );
        assert_eq!(seconds("infinity"), None);
    }

    /// A node whose unit is ordered through a stand-in for systemctl, which notes what it was told.
    async fn ordered(state: ContainerState, ask: impl AsyncFnOnce(&LocalNode)) -> (String, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let (program, told) = (dir.path().join("systemctl"), dir.path().join("told"));
        std::fs::write(&program, format!("#!/bin/sh\necho \"$@\" >> {}\n", told.display())).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut spec = NodeSpec::of(&kbo_core::testing::Shape::SINGLE.cluster().start_order()[0]);
        spec.unit = Some("kafka.service".to_owned());
        let engine = Arc::new(FakeEngine::new(state));
        let mut node = LocalNode::new(spec, None).with_engine(engine.clone());
        node.systemctl = Systemctl(program.to_str().unwrap().to_owned());
        ask(&node).await;
        (std::fs::read_to_string(&told).unwrap_or_default(), engine.calls())
    }

    #[tokio::test]
    async fn a_node_with_a_unit_is_stopped_and_started_through_systemctl_alone() {
        let (told, calls) = ordered(ContainerState::Stopped, async |node| {
            assert_eq!(node.start().await, Ok(StartOutcome::Started));
        })
        .await;
        assert_eq!((told.as_str(), calls), ("start -- kafka.service\n", vec![]));
        let stop = StopRequest {
            run: "20261122T030000Z".parse().unwrap(),
            timeout: Duration::from_secs(5),
            lease: None,
        };
        // The stand-in stops nothing, and that is seen.
        let (told, calls) = ordered(ContainerState::Running, async |node| {
            assert_eq!(node.start().await, Ok(StartOutcome::AlreadyRunning));
            let error = node.stop(&stop).await.unwrap_err();
            assert!(
                error.message.contains("has stopped kafka.service, and the container"),
                "{error:?}"
            );
        })
        .await;
        assert_eq!((told.as_str(), calls), ("stop -- kafka.service\n", vec![]));
    }
}
