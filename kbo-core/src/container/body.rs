//! From a definition to what the engine is asked for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Body, Definition, Port};

impl Definition {
    /// The engine's request. `more` are the variables of `environment_file`.
    pub fn body(&self, more: &BTreeMap<String, String>) -> Body {
        let mut environment = self.environment.clone();
        environment.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
        let environment: Vec<String> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for Port {
            address,
            host,
            container,
            protocol,
        } in &self.ports
        {
            let binding = json!({ "HostIp": address.as_deref().unwrap_or(""), "HostPort": host.to_string() });
            bindings
                .entry(format!("{container}/{protocol}"))
                .or_default()
                .push(binding);
        }
        let exposed: Map<String, Value> = bindings.keys().map(|port| (port.clone(), json!({}))).collect();
        let ulimits: Vec<Value> = self
            .ulimits
            .iter()
            .map(|(name, (soft, hard))| json!({ "Name": name, "Soft": soft, "Hard": hard }))
            .collect();
        let binds: Vec<String> = self.volumes.iter().map(ToString::to_string).collect();
        let mut host = json!({
            "Binds": binds,
            "PortBindings": bindings,
            "NetworkMode": self.network,
            "RestartPolicy": { "Name": self.restart },
            "ExtraHosts": self.extra_hosts,
            "Ulimits": ulimits,
        });
        if let Some(memory) = self.memory {
            host["Memory"] = json!(memory);
        }
        if let Some(cpus) = self.nano_cpus {
            host["NanoCpus"] = json!(cpus);
        }
        let mut body = json!({
            "Image": self.image,
            "Env": environment,
            "Labels": self.labels,
            "ExposedPorts": exposed,
            "StopTimeout": self.stop_timeout_seconds,
            "HostConfig": host,
        });
        let optional = [
            ("Entrypoint", self.entrypoint.as_ref().map(|words| json!(words))),
            ("Cmd", self.command.as_ref().map(|words| json!(words))),
            ("Hostname", self.hostname.as_ref().map(|name| json!(name))),
            ("User", self.user.as_ref().map(|user| json!(user))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        if let Some(ip) = &self.ip {
            let family = if ip.contains(':') { "IPv6Address" } else { "IPv4Address" };
            body["NetworkingConfig"] =
                json!({ "EndpointsConfig": { &self.network: { "IPAMConfig": { family: ip } } } });
        }
        Body(body)
    }
}
