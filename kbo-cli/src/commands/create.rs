//! `kbo run`: containers as kbo.toml defines them, or as a backup captured them.

use std::collections::BTreeMap;

use kbo_archive::store::Wanted;
use kbo_core::container::{Body, Captured, captured};
use kbo_core::ids::NodeName;
use kbo_core::orchestrator::RunRequest;
use kbo_core::ports::store::BackupStore;
use kbo_core::report::Outcome;

use super::{Context, Ended, Trouble, power, show};
use crate::args::RunArgs;
use crate::compose::{MakeVolumes, Reach, compose};
use crate::environment;
use crate::progress::Progress;

pub(super) async fn run(context: &Context, args: &RunArgs) -> Ended {
    let chosen = power::chosen(context, &args.nodes)?;
    let request = |bodies| RunRequest {
        chosen: chosen.clone(),
        bodies,
        recreate: args.recreate,
        start: !args.no_start,
        force: args.force,
    };
    let Some(backup) = &args.from else {
        let request = request(bodies(context)?);
        let prepare = || context.composed.orchestrator.prepare_run(&request);
        return power::conducted(context, "run", args.dry_run, prepare).await;
    };
    let mut bodies = captured_bodies(context, backup, &chosen).await?;
    bodies.retain(|name, _| context.config.cluster.node(name).is_some());
    let reach = Reach::Planned(bodies.clone(), MakeVolumes::No);
    let cancel = context.composed.orchestrator.cancel.clone();
    let composed = compose(&context.config, reach, Progress::new(context.global.quiet), cancel);
    let context = Context {
        config: context.config.clone(),
        file: context.file.clone(),
        composed: composed.map_err(|error| Trouble::new(Outcome::Usage, format!("{error:#}")))?,
        global: context.global.clone(),
    };
    let request = request(bodies);
    let prepare = || context.composed.orchestrator.prepare_run(&request);
    power::conducted(&context, &format!("run from {backup}"), args.dry_run, prepare).await
}

/// What kbo.toml makes the containers of, secrets and all.
pub(super) fn bodies(context: &Context) -> Result<BTreeMap<NodeName, Body>, Trouble> {
    let definitions = context.config.containers.iter();
    definitions
        .map(|(name, definition)| {
            let more = environment::of(definition)
                .map_err(|error| Trouble::new(Outcome::Usage, format!("{name}: {error:#}")))?;
            Ok((name.clone(), definition.body(&more)))
        })
        .collect()
}

/// What a backup captured; what it had redacted comes from kbo.toml, or is asked for.
async fn captured_bodies(
    context: &Context,
    backup: &str,
    chosen: &[NodeName],
) -> Result<BTreeMap<NodeName, Body>, Trouble> {
    let id = show::selected(context, backup, Wanted::Containers(chosen))
        .await?
        .told(context);
    let manifest = context.composed.held.manifest(&id).await?;
    let mut bodies = BTreeMap::new();
    for record in manifest
        .nodes
        .iter()
        .filter(|record| chosen.is_empty() || chosen.contains(&record.name))
    {
        let name = &record.name;
        let definition = context.config.containers.get(name);
        let known = match definition {
            Some(definition) => environment::of(definition).map(|more| {
                let mut known = definition.environment.clone();
                known.extend(more);
                known
            }),
            None => Ok(BTreeMap::new()),
        };
        let known = known.map_err(|error| Trouble::new(Outcome::Usage, format!("{name}: {error:#}")))?;
        let inspected = record
            .container
            .as_ref()
            .and_then(|inspected| captured(inspected, &known));
        let Some(Captured { body, lacking }) = inspected else {
            tracing::warn!("backup {id} does not know the container of {name}");
            continue;
        };
        let (labels, lacking): (Vec<String>, Vec<String>) =
            lacking.into_iter().partition(|what| what.starts_with("label "));
        for label in labels {
            tracing::warn!("{name}: {label} is left out, for the backup does not know its secret value");
        }
        if !lacking.is_empty() {
            let text = format!(
                "{name}: backup {id} knows the names but not the secret values of: {}",
                lacking.join(", ")
            );
            return Err(Trouble::new(Outcome::Usage, text).hint(
                "write variables into a file, NAME=VALUE a line, and name it as `environment_file` of this node's container in kbo.toml; with a secret in the command, define the container in kbo.toml",
            ));
        }
        bodies.insert(name.clone(), body);
    }
    Ok(bodies)
}
