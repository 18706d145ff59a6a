//! `kbo start`, `kbo stop`, `kbo restart`, `kbo remove`

use std::future::Future;

use kbo_core::ids::NodeName;
use kbo_core::machine::Operation;
use kbo_core::orchestrator::Prepared;
use kbo_core::report::Outcome;

use super::{Context, Ended, Trouble, conduct};
use crate::args::PowerArgs;

pub(super) async fn run(context: &Context, operation: Operation, args: &PowerArgs) -> Ended {
    let chosen = chosen(context, &args.nodes)?;
    let purpose = match operation {
        Operation::Start => "start",
        Operation::Stop => "stop",
        _ => "restart",
    };
    let prepare = || {
        context
            .composed
            .orchestrator
            .prepare_power(operation, &chosen, args.force)
    };
    conducted(context, purpose, args.dry_run, prepare).await
}

pub(super) async fn rolling(context: &Context, args: &PowerArgs) -> Ended {
    let chosen = chosen(context, &args.nodes)?;
    let prepare = || context.composed.orchestrator.prepare_rolling(&chosen, args.force);
    conducted(context, "rolling restart", args.dry_run, prepare).await
}

pub(super) async fn remove(context: &Context, args: &PowerArgs) -> Ended {
    let chosen = chosen(context, &args.nodes)?;
    let prepare = || context.composed.orchestrator.prepare_remove(&chosen, args.force);
    conducted(context, "remove", args.dry_run, prepare).await
}

/// The nodes of these names.
pub(super) fn chosen(context: &Context, names: &[String]) -> Result<Vec<NodeName>, Trouble> {
    let cluster = &context.config.cluster;
    let chosen: Vec<NodeName> = names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()
        .map_err(|error| Trouble::new(Outcome::Usage, format!("{error}")))?;
    if let Some(unknown) = chosen.iter().find(|name| cluster.node(name).is_none()) {
        let known: Vec<&str> = cluster.start_order().iter().map(|node| node.name.as_str()).collect();
        return Err(Trouble::new(
            Outcome::Usage,
            format!("{unknown} is not a node of this cluster; it has {}", known.join(", ")),
        ));
    }
    Ok(chosen)
}

/// Prepares and shows, or prepares and executes with the lock held.
pub(super) async fn conducted<F>(context: &Context, purpose: &str, dry_run: bool, prepare: impl Fn() -> F) -> Ended
where
    F: Future<Output = Prepared>,
{
    if dry_run {
        let prepared = conduct::unless_interrupted(context, prepare()).await?;
        return Ok(conduct::dry_run(context, &prepared));
    }
    conduct::locked(context, purpose, conduct::Undone::Required, async {
        let prepared = conduct::unless_interrupted(context, prepare()).await?;
        Ok(conduct::execute(context, prepared).await)
    })
    .await
}
