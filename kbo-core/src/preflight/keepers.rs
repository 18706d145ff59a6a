//! Who else starts, stops or removes a node's container: inside the window nobody but kbo may.

use serde_json::Value;

use super::{Finding, Judge, Purpose, Severity};
use crate::inventory::Node;
use crate::ports::node::{ContainerFacts, NodeFacts, UnitFacts};

/// Exit status of a Kafka that was asked to end (128 + SIGTERM).
const TERMINATED: &str = "143";

impl Judge<'_> {
    pub(super) fn keepers(&mut self, node: &Node, facts: &NodeFacts) {
        let stops = matches!(
            self.input.purpose,
            Purpose::Backup { cold: true, .. } | Purpose::Restore { .. }
        );
        if stops {
            self.findings.extend(kept_by_another(node, facts));
            self.hasty_unit(node, facts);
        }
    }
}

/// How long a clean stop of a broker may take, in seconds.
const CLEAN_STOP: u64 = 300;

impl Judge<'_> {
    /// systemd kills what has not stopped by its own timeout.
    fn hasty_unit(&mut self, node: &Node, facts: &NodeFacts) {
        let Some(unit) = facts
            .unit
            .as_ref()
            .filter(|unit| node.unit.as_ref() == Some(&unit.name))
        else {
            return;
        };
        if let Some(seconds) = unit.stop_timeout_seconds.filter(|seconds| *seconds < CLEAN_STOP) {
            self.warn(
                Some(node),
                format!(
                    "the unit {} gives its container {seconds} s to stop; Kafka may need {CLEAN_STOP}",
                    unit.name
                ),
                Some(
                    "set TimeoutStopSec=420 in the unit, and let its ExecStop= wait as long (docker stop -t 360)"
                        .to_owned(),
                ),
            );
        }
    }
}

/// Why stopping the node's container would not be kbo's alone, for a container that runs.
pub(crate) fn kept_by_another(node: &Node, facts: &NodeFacts) -> Option<Finding> {
    let Ok(Some(container)) = &facts.container else {
        return None;
    };
    if !container.state.is_up() {
        return None;
    }
    let (message, hint) = swarm(node, container)
        .or_else(|| auto_remove(node, container))
        .or_else(|| unit(node, container, facts.unit.as_ref()))?;
    Some(Finding {
        severity: Severity::Refusal,
        node: Some(node.name.clone()),
        message,
        hint: Some(hint),
    })
}

fn label<'a>(container: &'a ContainerFacts, name: &str) -> Option<&'a str> {
    let labels = container.definition.pointer("/Config/Labels")?;
    labels.get(name)?.as_str().filter(|value| !value.is_empty())
}

fn swarm(node: &Node, container: &ContainerFacts) -> Option<(String, String)> {
    label(container, "com.docker.swarm.task.id")?;
    let service = label(container, "com.docker.swarm.service.name").unwrap_or("its service");
    Some((
        format!(
            "the container {} is a task of the Swarm service {service}: once stopped, Swarm replaces it",
            node.container
        ),
        format!(
            "run Kafka's containers outside of Swarm (kbo run, or Compose); kbo cannot stop a task of {service} for a backup"
        ),
    ))
}

fn auto_remove(node: &Node, container: &ContainerFacts) -> Option<(String, String)> {
    let removes = container
        .definition
        .pointer("/HostConfig/AutoRemove")
        .and_then(Value::as_bool);
    // Where a unit starts it, it makes the container anew.
    if removes != Some(true) || node.unit.is_some() {
        return None;
    }
    Some((
        format!(
            "the container {} was made with --rm: once stopped, the engine removes it",
            node.container
        ),
        "`docker update` cannot change that: create it anew without --rm (kbo run --recreate does, where kbo.toml says what it is made of), with its log dirs in a mount that stays".to_owned(),
    ))
}

/// What a removal or a replacement of the container cannot take back: with `--rm` the engine removes it when it stops, and with it the
/// volumes that have no name of their own. A log dir in one of those would be gone.
pub(crate) fn removed_when_stopped(node: &Node, facts: &NodeFacts) -> Option<Finding> {
    let Ok(Some(container)) = &facts.container else {
        return None;
    };
    let (message, _) = auto_remove(node, container)?;
    let goes_too = |dir: &&String| {
        container
            .mounts
            .iter()
            .any(|mount| is_nameless(&mount.source) && dir.starts_with(&mount.source))
    };
    let lost = node.data.iter().find(goes_too);
    Some(Finding {
        severity: if lost.is_some() {
            Severity::Refusal
        } else {
            Severity::Warning
        },
        node: Some(node.name.clone()),
        message: match lost {
            Some(dir) => format!("{message}, and the volume with {dir} in it"),
            None => format!("{message}: it cannot be put back if the new one does not come up"),
        },
        hint: lost.map(|dir| {
            format!("copy {dir} to a directory or a volume with a name first; `docker volume ls` shows the volumes")
        }),
    })
}

/// Whether a mount's source is a volume of which the engine made the name: 64 hexadecimal digits.
fn is_nameless(source: &str) -> bool {
    source
        .split('/')
        .any(|part| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn unit(node: &Node, container: &ContainerFacts, found: Option<&UnitFacts>) -> Option<(String, String)> {
    if node.unit.is_some() {
        return None;
    }
    let way_out = |unit: &str| {
        format!("write unit = {unit:?} at this node in kbo.toml: kbo then stops and starts it through systemctl")
    };
    let Some(unit) = found else {
        // Podman names the unit; what it does could not be asked of systemd.
        let unit = label(container, "PODMAN_SYSTEMD_UNIT")?;
        return Some((
            format!(
                "the container {} belongs to the unit {unit} of systemd, which may start it again",
                node.container
            ),
            way_out(unit),
        ));
    };
    let meddles = meddling(unit)?;
    Some((
        format!(
            "the unit {} of systemd runs the container {}, and {meddles}",
            unit.name, node.container
        ),
        way_out(&unit.name),
    ))
}

/// What a unit would do once its container has been stopped by somebody else.
fn meddling(unit: &UnitFacts) -> Option<String> {
    // A one-shot unit has started the container and is done with it.
    if !unit.active || unit.kind == "oneshot" {
        return None;
    }
    let is_success = unit.success.iter().any(|status| status == TERMINATED);
    let restarts = match unit.restart.as_str() {
        "always" => true,
        "on-failure" => !is_success,
        "on-success" => is_success,
        _ => false,
    };
    if restarts {
        return Some(format!("would start it again (Restart={})", unit.restart));
    }
    let touches = unit.on_stop.iter().find(|command| {
        let words = || command.split(|c: char| c.is_whitespace() || c == ';');
        words().any(|word| matches!(word, "rm" | "stop" | "kill" | "down" | "restart" | "start" | "run"))
    })?;
    Some(format!("would act on it when it has stopped ({touches})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_counts_where_it_would_touch_the_container_in_the_window() {
        let unit = |kind: &str, restart: &str, success: &[&str], on_stop: &[&str]| UnitFacts {
            name: "kafka.service".to_owned(),
            active: true,
            kind: kind.to_owned(),
            restart: restart.to_owned(),
            success: success.iter().map(|status| (*status).to_owned()).collect(),
            on_stop: on_stop.iter().map(|command| (*command).to_owned()).collect(),
            stop_timeout_seconds: None,
        };
        for (unit, meddles) in [
            (unit("simple", "always", &[], &[]), true),
            (unit("simple", "on-failure", &[], &[]), true),
            (unit("simple", "on-failure", &["143"], &[]), false),
            (unit("simple", "on-abnormal", &[], &[]), false),
            (unit("simple", "no", &[], &[]), false),
            (unit("simple", "no", &[], &["/usr/bin/docker rm -f kafka"]), true),
            (unit("simple", "no", &[], &["/usr/bin/logger kafka ended"]), false),
            (unit("oneshot", "no", &[], &["/usr/bin/docker compose down"]), false),
        ] {
            assert_eq!(meddling(&unit).is_some(), meddles, "{unit:?}");
            let idle = UnitFacts { active: false, ..unit };
            assert_eq!(meddling(&idle), None);
        }
    }
}
