//! `kbo adopt`: the store goes by another cluster id from now on.

use kbo_core::belonging::Belonging;
use kbo_core::ids::{ClusterId, InvalidId};
use kbo_core::ports::store::BackupStore;
use kbo_core::report::Outcome;
use serde::Serialize;

use super::{Context, Ended, Trouble, store_locked};
use crate::output;

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    cluster: &'a str,
    cluster_id: &'a ClusterId,
    /// The id that the store went by before.
    previous: Option<&'a ClusterId>,
    changed: bool,
    /// Backups of this name that are of another id now.
    others: usize,
    verdict: &'a str,
}

pub(super) async fn run(context: &Context, text: &str) -> Ended {
    let id: &ClusterId = &text
        .parse()
        .map_err(|error: InvalidId| Trouble::new(Outcome::Usage, error.to_string()))?;
    let name = &context.config.cluster_name;
    if let Some(configured) = context
        .config
        .cluster_id
        .as_ref()
        .filter(|configured| *configured != id)
    {
        let text = format!("kbo.toml names the cluster id {configured}, not {id}");
        return Err(Trouble::new(Outcome::Usage, text)
            .hint("cluster.id in kbo.toml decides: correct it, and nothing has to be adopted"));
    }
    store_locked(context, "adopt", async {
        let store = &context.composed.held;
        let listed = store.list().await?;
        // A note that is damaged is written anew.
        let before = context.composed.orchestrator.identity(&listed).await.ok();
        let previous = before.and_then(|identity| identity.id);
        store.adopt(name, id).await?;
        let identity = context.composed.orchestrator.identity(&listed).await?;
        let manifests = listed.iter().filter_map(|backup| backup.manifest.as_ref().ok());
        let others = manifests
            .filter(|manifest| matches!(identity.of(manifest), Belonging::OtherId(_)))
            .count();
        let changed = previous.as_ref() != Some(id);
        let rest = match (others, &previous) {
            (0, _) => String::new(),
            (count, Some(old)) if changed => {
                format!(
                    "; {count} backup(s) of other ids stay, and kbo rotate --cluster-id {old} rotates those of {old}"
                )
            }
            (count, _) => format!("; {count} backup(s) of other ids stay"),
        };
        let verdict = format!("{name} is the cluster {id} from now on{rest}");
        if context.global.json {
            output::json(&Document {
                outcome: Outcome::Done,
                cluster: name.as_str(),
                cluster_id: id,
                previous: previous.as_ref(),
                changed,
                others,
                verdict: &verdict,
            });
            output::error_line(&verdict);
        } else {
            output::line(&verdict);
        }
        Ok(Outcome::Done)
    })
    .await
}
