//! `kbo start`, `kbo stop`, `kbo restart`

use kbo_core::ids::NodeName;
use kbo_core::machine::Operation;
use kbo_core::report::Outcome;

use super::{Context, Ended, Trouble, conduct};
use crate::args::PowerArgs;

pub(super) async fn run(context: &Context, operation: Operation, args: &PowerArgs) -> Ended {
    let orchestrator = &context.composed.orchestrator;
    let chosen: Vec<NodeName> = args
        .nodes
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()
        .map_err(|error| Trouble::new(Outcome::Usage, format!("{error}")))?;
    if let Some(unknown) = chosen.iter().find(|name| orchestrator.cluster.node(name).is_none()) {
        let known: Vec<&str> = orchestrator
            .cluster
            .start_order()
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        return Err(Trouble::new(
            Outcome::Usage,
            format!("{unknown} is not a node of this cluster; it has {}", known.join(", ")),
        ));
    }
    let purpose = match operation {
        Operation::Start => "start",
        Operation::Stop => "stop",
        _ => "restart",
    };
    if args.dry_run {
        let prepared = conduct::unless_interrupted(context, orchestrator.prepare_power(operation, &chosen)).await?;
        return Ok(conduct::dry_run(context, &prepared));
    }
    conduct::locked(context, purpose, conduct::Undone::Required, async {
        let prepared = conduct::unless_interrupted(context, orchestrator.prepare_power(operation, &chosen)).await?;
        Ok(conduct::execute(context, prepared).await)
    })
    .await
}
