//! Formatting log dirs by Kafka's own tool, in a container that runs once: beside the live ones, to be swapped in.

use std::path::{Path, PathBuf};

use kbo_core::ports::node::{FormatRequest, NodeError, NodeErrorKind};
use serde_json::{Value, json};

/// Finds the tool where the usual images have it. Java itself is the last resort, for images without scripts.
const SCRIPT: &str = r#"set -eu
for tool in kafka-storage kafka-storage.sh /opt/kafka/bin/kafka-storage.sh /opt/bitnami/kafka/bin/kafka-storage.sh; do
  if command -v "$tool" >/dev/null 2>&1; then exec "$tool" "$@"; fi
done
for libs in /opt/kafka/libs /usr/share/java/kafka; do
  if [ -d "$libs" ]; then exec java -Xmx256m -XX:TieredStopAtLevel=1 -cp "$libs/*" kafka.tools.StorageTool "$@"; fi
done
echo "this image has no kafka-storage" >&2
exit 127
"#;

/// What the engine is asked for: the node's own container, but for its program, its network, and its log dirs, which are `staged`
/// (as paths on the engine's machine, in the order of the request's targets).
pub(super) fn one_shot(request: &FormatRequest, staged: &[PathBuf]) -> Value {
    let mut body = request.body.0.clone();
    let mut arguments = vec![
        "kbo-format".to_owned(),
        "format".to_owned(),
        "-t".to_owned(),
        request.cluster_id.to_string(),
        "-c".to_owned(),
        request.properties.clone(),
    ];
    arguments.extend(request.arguments.iter().cloned());
    body["Entrypoint"] = json!(["/bin/sh", "-c", SCRIPT]);
    body["Cmd"] = json!(arguments);
    // The JVM's remote port would be bound for nothing, or by the node's container already.
    let is_jmx = |entry: &Value| entry.as_str().is_some_and(|entry| entry.contains("JMX"));
    let environment = body["Env"].as_array().cloned().unwrap_or_default();
    body["Env"] = environment.into_iter().filter(|entry| !is_jmx(entry)).collect();
    if let Some(body) = body.as_object_mut() {
        for name in ["ExposedPorts", "NetworkingConfig", "Healthcheck"] {
            body.remove(name);
        }
    }
    let host = &mut body["HostConfig"];
    host["NetworkMode"] = json!("none");
    host["RestartPolicy"] = json!({ "Name": "no" });
    if let Some(host) = host.as_object_mut() {
        // Neither is to be had without a network.
        host.remove("PortBindings");
        host.remove("ExtraHosts");
    }
    let is_target = |path: &str| {
        request
            .targets
            .iter()
            .any(|target| target.trim_end_matches('/') == path.trim_end_matches('/'))
    };
    let mut binds = host["Binds"].as_array().cloned().unwrap_or_default();
    binds.retain(|bind| {
        !bind
            .as_str()
            .and_then(|bind| bind.split(':').nth(1))
            .is_some_and(is_target)
    });
    let over = staged.iter().zip(&request.targets);
    binds.extend(over.map(|(path, target)| json!(format!("{}:{target}", path.display()))));
    host["Binds"] = json!(binds);
    if let Some(mounts) = host["Mounts"].as_array_mut() {
        mounts.retain(|mount| !mount["Target"].as_str().is_some_and(is_target));
    }
    body
}

/// User and group that Kafka runs as: numbers of the definition's or the image's user; 1000 where only a name is known, which is what
/// `appuser` of the usual images means.
pub(super) fn owner(body: &Value, image: &Value) -> (u32, u32) {
    let user = [&body["User"], &image["User"]]
        .into_iter()
        .filter_map(Value::as_str)
        .find(|user| !user.is_empty());
    let Some(user) = user else { return (0, 0) };
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    let uid = if user == "root" {
        0
    } else {
        user.parse().unwrap_or(1000)
    };
    (uid, group.parse().unwrap_or(uid))
}

/// The tool writes where the properties file says: make sure that it was here.
pub(super) fn check(staged: &[PathBuf], request: &FormatRequest) -> Result<(), NodeError> {
    let empty = |dir: &&PathBuf| !Path::exists(&dir.join("meta.properties"));
    match staged.iter().zip(&request.targets).find(|(dir, _)| empty(dir)) {
        None => Ok(()),
        Some((_, target)) => {
            let text = format!(
                "kafka-storage wrote no meta.properties into {target}: log.dirs in {} names other directories",
                request.properties
            );
            Err(NodeError::new(NodeErrorKind::State, text)
                .hint("make `data_mount` of the container and log.dirs the same"))
        }
    }
}
