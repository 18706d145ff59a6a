//! The hosts that a certificate has to be valid for: those that the nodes' listeners tell clients.

use kbo_certs::Host;
use kbo_core::config::Access;
use kbo_core::ids::NodeName;
use kbo_core::ports::listener::ListenerFacts;
use serde::Serialize;

use crate::commands::Context;

/// A node's hosts, and where they come from.
#[derive(Debug, Clone, Serialize)]
pub(super) struct NodeHosts {
    pub(super) node: NodeName,
    pub(super) hosts: Vec<String>,
    pub(super) source: Source,
    /// Whether its listeners ask the cluster's other nodes for their certificates.
    pub(super) mutual_tls: bool,
    /// What a person should know of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// Where hosts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// `certs_hosts` of kbo.toml.
    Configuration,
    /// The node's own listeners.
    Listeners,
    /// The address that kbo reaches it by, which may be no listener's.
    Access,
}

/// The hosts of every node. Those that kbo.toml names outrank what the node says; it is asked all the same, for who has to show a
/// certificate to it.
pub(super) async fn of_nodes(context: &Context, offline: bool) -> Vec<NodeHosts> {
    let nodes = context.config.cluster.start_order();
    let asked = nodes.iter().map(|node| of_node(context, &node.name, offline));
    futures_util::future::join_all(asked).await
}

async fn of_node(context: &Context, node: &NodeName, offline: bool) -> NodeHosts {
    let transport = context.composed.orchestrator.nodes.get(node).filter(|_| !offline);
    let listeners = match transport {
        None => Err("was not asked".to_owned()),
        Some(transport) => {
            let asked = transport.listeners(false).await;
            asked.map_err(|error| format!("could not be asked for its listeners: {error}"))
        }
    };
    let mutual_tls = listeners.iter().flatten().any(|listener| listener.mutual_tls);
    let found = |hosts: Vec<String>, source, note| NodeHosts {
        node: node.clone(),
        hosts,
        source,
        mutual_tls,
        note,
    };
    if let Some(hosts) = context.config.certs.hosts.get(node) {
        return found(hosts.clone(), Source::Configuration, None);
    }
    let why = match listeners {
        Err(why) => why,
        Ok(listeners) => {
            let any_tls = listeners.iter().any(ListenerFacts::has_tls);
            let mut hosts: Vec<String> = listeners
                .iter()
                .filter(|listener| listener.has_tls() || !any_tls)
                .filter_map(|listener| listener.host.clone())
                .collect();
            hosts.sort();
            hosts.dedup();
            let note = (!any_tls).then(|| "has no listener with TLS; the hosts of all its listeners count".to_owned());
            if !hosts.is_empty() {
                return found(hosts, Source::Listeners, note);
            }
            "tells no host of a listener".to_owned()
        }
    };
    let host = match context.config.access.get(node) {
        Some(Access::Ssh(ssh)) => Some(ssh.host.clone()),
        _ => None,
    };
    let instead = match &host {
        Some(host) => format!("{why}; {host}, where kbo reaches it, was taken for its host"),
        None => format!("{why}; its hosts were not compared with the certificate's names"),
    };
    found(host.into_iter().collect(), Source::Access, Some(instead))
}

/// Whether a node has to show its certificate to any of these.
pub(super) fn any_mutual(nodes: &[NodeHosts]) -> bool {
    nodes.iter().any(|node| node.mutual_tls)
}

/// Those that a certificate must cover, or those that it may have to.
pub(super) fn hosts(nodes: &[NodeHosts], is_sure: bool) -> Vec<Host> {
    let nodes = nodes.iter().filter(|node| (node.source != Source::Access) == is_sure);
    nodes
        .flat_map(|node| {
            node.hosts.iter().map(|host| Host {
                node: node.node.to_string(),
                host: host.clone(),
            })
        })
        .collect()
}
