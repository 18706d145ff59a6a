//! `kbo format`

use kbo_core::ids::ClusterId;
use kbo_core::orchestrator::{Formatting, Quorum};
use kbo_core::plan::Plan;
use kbo_core::preflight::refuses;
use kbo_core::report::Outcome;

use super::{Context, Ended, Trouble, conduct, create, power};
use crate::args::FormatArgs;
use crate::output;

pub(super) async fn run(context: &Context, args: &FormatArgs) -> Ended {
    let (cluster_id, is_new) = cluster_id(context, args)?;
    let bodies = create::bodies(context)?;
    let nodes = context.config.containers.iter().filter_map(|(name, definition)| {
        let properties = definition.properties.clone()?;
        Some((
            name.clone(),
            (bodies.get(name)?.clone(), properties, definition.data.clone()),
        ))
    });
    let mut request = Formatting {
        chosen: power::chosen(context, &args.nodes)?,
        nodes: nodes.collect(),
        cluster_id: cluster_id.clone(),
        quorum: match (&args.initial_controllers, args.standalone) {
            (Some(given), _) => Quorum::InitialControllers(given.clone()),
            (None, true) => Quorum::Standalone,
            (None, false) => Quorum::AsConfigured,
        },
        delete_data: told_to_delete(context, args)?,
        fresh: random_id,
    };
    let orchestrator = &context.composed.orchestrator;
    if args.dry_run {
        let prepared = conduct::unless_interrupted(context, orchestrator.prepare_format(&request)).await?;
        return Ok(conduct::dry_run(context, &prepared));
    }
    let ended = conduct::locked(context, "format", conduct::Undone::Required, async {
        let mut prepared = conduct::unless_interrupted(context, orchestrator.prepare_format(&request)).await?;
        if refuses(&prepared.findings)
            && !request.delete_data
            && let Some(shown) = agrees_to_delete(context, &request).await?
        {
            request.delete_data = true;
            prepared = conduct::unless_interrupted(context, orchestrator.prepare_format(&request)).await?;
            if prepared.plan.phases != shown.phases && !refuses(&prepared.findings) {
                let text =
                    "the nodes have changed while the question waited, and the plan with them; nothing was touched";
                return Err(Trouble::new(Outcome::Refused, text).hint("run it again: it shows the plan as it is now"));
            }
        }
        Ok(conduct::execute(context, prepared).await)
    })
    .await?;
    if ended == Outcome::Done && is_new && !context.global.quiet {
        output::error_line(&format!(
            "the new cluster id is {cluster_id}: write it into kbo.toml, id = \"{cluster_id}\" under [cluster]"
        ));
    }
    Ok(ended)
}

/// The id to write, and whether it is a new one.
fn cluster_id(context: &Context, args: &FormatArgs) -> Result<(ClusterId, bool), Trouble> {
    let usage = |text: String| Trouble::new(Outcome::Usage, text);
    let configured = context.config.cluster_id.clone();
    let given = args.cluster_id.as_deref().map(str::parse::<ClusterId>).transpose();
    match (given.map_err(|error| usage(error.to_string()))?, configured) {
        (Some(given), Some(configured)) if given != configured => Err(usage(format!(
            "--cluster-id {given} is not the id in kbo.toml, {configured}"
        ))
        .hint("change or remove `id` under [cluster]")),
        (Some(id), _) | (None, Some(id)) => Ok((id, false)),
        // One node of a cluster must not get an id of its own.
        (None, None) if !args.nodes.is_empty() => Err(usage("which cluster id? kbo.toml has none".to_owned())
            .hint("give --cluster-id, the one of the cluster's other nodes")),
        (None, None) => Ok((random_id(), true)),
    }
}

/// Random, and as Kafka's own: none that begins with a dash, which tools would take for an option.
fn random_id() -> ClusterId {
    loop {
        let mut bytes = [0; 16];
        if kbo_transport::random(&mut bytes).is_ok() {
            let id = ClusterId::of(bytes);
            if !id.as_str().starts_with('-') {
                return id;
            }
        }
    }
}

fn told_to_delete(context: &Context, args: &FormatArgs) -> Result<bool, Trouble> {
    match &args.yes_delete_data {
        None => Ok(false),
        Some(name) if name == context.config.cluster_name.as_str() => Ok(true),
        Some(name) => Err(Trouble::new(
            Outcome::Usage,
            format!(
                "--yes-delete-data {name}: this cluster is called {}",
                context.config.cluster_name
            ),
        )),
    }
}

/// Where all that speaks against it is the data there: asks for the cluster's name. Gives the plan that was agreed to.
async fn agrees_to_delete(context: &Context, request: &Formatting) -> Result<Option<Plan>, Trouble> {
    if context.global.json {
        return Ok(None);
    }
    let orchestrator = &context.composed.orchestrator;
    let with_delete = Formatting {
        delete_data: true,
        ..request.clone()
    };
    let prepared = orchestrator.prepare_format(&with_delete).await;
    if refuses(&prepared.findings) || !output::has_terminal() {
        return Ok(None);
    }
    conduct::show_plan(context, &prepared);
    let name = context.config.cluster_name.to_string();
    let question = format!("ALL DATA of these log dirs will be deleted. Type the cluster's name ({name}) to go on: ");
    let asking = tokio::task::spawn_blocking(move || output::ask(&question));
    let answer = conduct::unless_interrupted(context, asking).await?.unwrap_or(None);
    if answer.as_deref() == Some(name.as_str()) {
        return Ok(Some(prepared.plan));
    }
    Err(Trouble::new(Outcome::Refused, "not confirmed; nothing was touched"))
}
