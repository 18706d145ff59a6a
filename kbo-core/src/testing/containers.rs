//! The fake node's container as a thing, and the formatting of its log dirs.

use super::cluster::World;
use super::node::work;
use super::state::{Files, Image, NodeState};
use crate::container::Difference;
use crate::ids::NodeName;
use crate::inventory::Dataset;
use crate::ports::node::*;

/// Carries a request out on a node of the world.
pub(super) fn container(
    world: &mut World,
    name: &NodeName,
    request: &ContainerRequest,
) -> Result<ContainerReport, NodeError> {
    match request {
        ContainerRequest::Compare(body) => return Ok(compare(node(world, name), &body.0)),
        ContainerRequest::Remove | ContainerRequest::Replace { .. } if node(world, name).container.is_up() => {
            world.violate(format!("the container of {name} was removed while it was up"));
            return Err(state(format!("the container of {name} is up")));
        }
        _ => {}
    }
    let node = node(world, name);
    let changed = match request {
        ContainerRequest::Compare(_) => false,
        ContainerRequest::Create(body) => {
            let missing = node.container == ContainerState::Missing;
            if missing {
                create(node, body.0.clone());
            }
            missing
        }
        ContainerRequest::Replace { run, body } => {
            let again = node.aside.as_ref().is_some_and(|(aside, _)| aside == run);
            if !again {
                node.aside = Some((run.clone(), node.defined.take()));
            }
            let changed = !again || node.container == ContainerState::Missing;
            if changed {
                create(node, body.0.clone());
            }
            changed
        }
        ContainerRequest::TakeBack(run) => match node.aside.take_if(|(aside, _)| aside == run) {
            Some((_, before)) => {
                node.defined = before;
                node.made += 1;
                node.container = ContainerState::Stopped;
                true
            }
            None => false,
        },
        ContainerRequest::DropReplaced(run) => node.aside.take_if(|(aside, _)| aside == run).is_some(),
        ContainerRequest::Remove => {
            let there = node.container != ContainerState::Missing;
            if there {
                node.container = ContainerState::Missing;
                node.defined = None;
                node.removed += 1;
            }
            there
        }
    };
    Ok(if changed {
        ContainerReport::Changed
    } else {
        ContainerReport::Unchanged
    })
}

fn create(node: &mut NodeState, body: serde_json::Value) {
    node.container = ContainerState::Stopped;
    node.made += 1;
    node.defined = Some(body);
    node.stopped_by_kbo = true;
}

fn compare(node: &NodeState, wanted: &serde_json::Value) -> ContainerReport {
    if node.container == ContainerState::Missing {
        return ContainerReport::Missing { has_image: true };
    }
    let same = node.defined.as_ref().is_none_or(|defined| defined == wanted);
    let difference = Difference {
        what: "definition".to_owned(),
        wanted: "another".to_owned(),
        actual: "this".to_owned(),
    };
    ContainerReport::Differs(if same { vec![] } else { vec![difference] })
}

/// Stages freshly formatted log dirs.
pub(super) fn format(world: &mut World, name: &NodeName, request: &FormatRequest) -> Result<FormatReport, NodeError> {
    if !world.check_at_rest(name, "a format") {
        return Err(state(format!("the container of {name} is up")));
    }
    let node = node(world, name);
    let text = format!("node.id={}\ncluster.id={}\n", node.node_id, request.cluster_id).into_bytes();
    let fresh = Image {
        files: Files::from([("meta.properties".to_owned(), text)]),
        clean: false,
    };
    let dirs = node.paths.get(&Dataset::Data).map_or(0, Vec::len);
    work(node, &request.run)
        .staged
        .insert(Dataset::Data, vec![Some(fresh); dirs]);
    Ok(FormatReport {
        output: "Formatting".to_owned(),
    })
}

fn node<'a>(world: &'a mut World, name: &NodeName) -> &'a mut NodeState {
    world.nodes.get_mut(name).expect("a node of the cluster")
}

fn state(message: String) -> NodeError {
    NodeError::new(NodeErrorKind::State, message)
}
