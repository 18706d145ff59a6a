//! Writing what Prometheus is told of backups.

use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use kbo_archive::store::ProcessStore;
use kbo_core::belonging::identity;
use kbo_core::ids::{ClusterId, ClusterName};
use kbo_core::last_run::{LastRuns, RunRecord, from_the_future};
use kbo_core::manifest::BackupKind;
use kbo_core::metrics::textfile;
use kbo_core::orchestrator::condition;
use kbo_core::ports::store::BackupStore;
use kbo_core::report::chain;
use kbo_core::retention::Condition;

/// Writes the textfile anew after a run, whether it could be noted or not. Kinds that did not run just now keep what the store knows of them.
pub(crate) async fn write(
    path: &Path,
    store: &ProcessStore,
    cluster: &ClusterName,
    configured: Option<&ClusterId>,
    run: &RunRecord,
) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let mut runs = vec![];
    for kind in BackupKind::ALL {
        let mut known = store.last_runs(cluster, kind).await.unwrap_or_else(|error| {
            tracing::warn!("what earlier runs came to is not known: {}", chain(&error));
            LastRuns::default()
        });
        for wrong in known.forget_future(now) {
            tracing::warn!("not in the metrics: {}", from_the_future(&wrong));
        }
        if run.kind == kind {
            known.take(run);
        }
        runs.push((kind, known));
    }
    if runs.iter().any(|(_, runs)| runs.last_success.is_none()) {
        from_backups(&mut runs, store, (cluster, configured), now).await;
    }
    let text = textfile(cluster.as_str(), &runs, now);
    // Its disk may hang, too, and the store's process may be gone by now.
    let path = std::path::absolute(path).context("the current folder is not known")?;
    store
        .apart()
        .replace(&path, text)
        .await
        .with_context(|| format!("cannot write metrics.textfile {}", path.display()))
}

/// Backups made before kbo noted its runs, or imported, are successes as well.
async fn from_backups(
    runs: &mut [(BackupKind, LastRuns)],
    store: &ProcessStore,
    (cluster, configured): (&ClusterName, Option<&ClusterId>),
    now: Timestamp,
) {
    let listed = match store.list().await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!("what backups there are is not known: {}", chain(&error));
            return;
        }
    };
    let identity = match identity(store, cluster, configured, &listed).await {
        Ok(identity) => identity,
        Err(error) => {
            tracing::warn!("whose backups there are is not known: {}", chain(&error));
            return;
        }
    };
    let good = listed
        .iter()
        .rev()
        .filter(|listed| identity.owns(listed) && condition(listed) == Condition::Good);
    let manifests: Vec<_> = good.filter_map(|listed| listed.manifest.as_ref().ok()).collect();
    for (kind, runs) in runs.iter_mut().filter(|(_, runs)| runs.last_success.is_none()) {
        let newest = manifests
            .iter()
            // One from the future is of a wrong clock: it would be young for ever.
            .find(|manifest| manifest.kind == *kind && manifest.committed <= now);
        runs.last_success = newest.map(|manifest| RunRecord::of(manifest));
    }
}
