//! What there is to know of the schedules of a cluster: when they come, what they came to, whether their backups are late.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kbo_archive::store::DirStore;
use kbo_core::belonging::{Identity, identity};
use kbo_core::ids::{BackupId, ClusterName};
use kbo_core::last_run::{self, LastRuns, RunRecord};
use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::condition;
use kbo_core::ports::store::{BackupStore, Listed};
use kbo_core::report::chain;
use kbo_core::retention::Condition;
use kbo_core::schedule::{ScheduleName, When, due};
use serde::Serialize;

use super::super::Context;
use crate::scheduler::systemd::Elapse;
use crate::scheduler::{self, Installed, Place, Scheduler, systemd};

/// A schedule and what it came to.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct Look {
    pub(super) name: ScheduleName,
    pub(super) kind: BackupKind,
    pub(super) scheduler: Scheduler,
    pub(super) when: When,
    config: PathBuf,
    store: PathBuf,
    user: String,
    files: Vec<PathBuf>,
    installed: Timestamp,
    /// When it comes next; not known where only systemd knows and there is none to ask.
    pub(super) next_run: Option<Timestamp>,
    /// The last run that it began itself.
    pub(super) last_run: Option<RunRecord>,
    /// The last run of its kind, whoever began it.
    last_run_of_kind: Option<RunRecord>,
    pub(super) last_good: Option<Good>,
    /// The first time that it was or will be due since the last good backup.
    due_since: Option<Timestamp>,
    /// Whether a backup that was due is not there.
    late: bool,
}

/// A backup that is all there.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Good {
    pub(super) id: BackupId,
    pub(super) created: Timestamp,
}

/// All that could be found out.
#[derive(Debug)]
pub(in crate::commands) struct Looks {
    pub(in crate::commands) schedules: Vec<Look>,
    /// What could not, and backups that are late.
    pub(in crate::commands) warnings: Vec<String>,
}

/// Looks at every schedule of the cluster. Nothing that fails keeps it from looking further.
pub(in crate::commands) async fn looks(context: &Context, root: Option<&Path>) -> Looks {
    let place = Place::at(root);
    let cluster = &context.config.cluster_name;
    let configured = context.config.cluster_id.as_ref();
    let (installed, mut warnings) = place.installed(cluster);
    let now = Timestamp::now();
    let mut stores: BTreeMap<PathBuf, (Vec<Listed>, Identity)> = BTreeMap::new();
    let mut schedules = vec![];
    for found in installed {
        // Each by its own store: another kbo.toml of the same cluster may have another one.
        let store = found.schedule.store.clone();
        if !stores.contains_key(&store) {
            let listed = DirStore::new(&store).list().await.unwrap_or_else(|error| {
                warnings.push(format!(
                    "the backups of schedule {} are not known: {}",
                    found.schedule.name,
                    chain(&error)
                ));
                vec![]
            });
            let identity = identity(&DirStore::new(&store), cluster, configured, &listed)
                .await
                .unwrap_or_else(|error| {
                    warnings.push(format!("whose backups are there is not known: {}", chain(&error)));
                    Identity {
                        name: cluster.clone(),
                        id: configured.cloned(),
                    }
                });
            warnings.extend(from_the_future(&listed, cluster, now));
            stores.insert(store.clone(), (listed, identity));
        }
        let Some((listed, identity)) = stores.get(&store) else {
            continue;
        };
        let look = look(found, listed, identity, now, &mut warnings).await;
        if look.late {
            warnings.push(look.lateness());
        }
        schedules.push(look);
    }
    Looks { schedules, warnings }
}

async fn look(
    found: Installed,
    listed: &[Listed],
    identity: &Identity,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Look {
    let Installed {
        schedule,
        scheduler,
        files,
    } = found;
    let runs = DirStore::new(&schedule.store)
        .last_runs(&identity.name, schedule.kind)
        .await;
    let runs = match runs {
        Ok(mut runs) => {
            for wrong in runs.forget_future(now) {
                warnings.push(format!("not shown: {}", last_run::from_the_future(&wrong)));
            }
            runs
        }
        Err(error) => {
            warnings.push(format!(
                "the last run of schedule {} is not known: {}",
                schedule.name,
                chain(&error)
            ));
            LastRuns::default()
        }
    };
    if schedule.installed > now {
        warnings.push(format!(
            "schedule {} was installed at {}, which is from the future, and is not late before: check the clocks",
            schedule.name, schedule.installed
        ));
    }
    let last_good = last_good(listed, identity, schedule.kind, now);
    let zone = scheduler::zone();
    let next = |after: Timestamp| match &schedule.when {
        When::Calendar(calendar) => match systemd::next(calendar.as_str(), after) {
            Ok(Elapse::At(at)) => Some(at),
            _ => None,
        },
        when => when.next(after, &zone),
    };
    let due = due(&schedule, last_good.as_ref().map(|good| good.created), now, next);
    Look {
        next_run: next(now),
        last_run: runs.of_schedule(&schedule.name).cloned(),
        last_run_of_kind: runs.last,
        last_good,
        due_since: due.as_ref().map(|due| due.since),
        late: due.is_some_and(|due| due.late),
        name: schedule.name,
        kind: schedule.kind,
        scheduler,
        when: schedule.when,
        config: schedule.config,
        store: schedule.store,
        user: schedule.user,
        files,
        installed: schedule.installed,
    }
}

/// Backups that a wrong clock has dated.
fn from_the_future(listed: &[Listed], cluster: &ClusterName, now: Timestamp) -> Vec<String> {
    let manifests = listed.iter().filter_map(|listed| listed.manifest.as_ref().ok());
    manifests
        .filter(|manifest| manifest.cluster == *cluster && manifest.created > now)
        .map(|manifest| {
            format!(
                "backup {} is from the future and counts for no schedule: check the clocks",
                manifest.id
            )
        })
        .collect()
}

/// A backup of the whole cluster has the configuration and the data in it. One from the future would be young enough for ever.
fn last_good(listed: &[Listed], identity: &Identity, kind: BackupKind, now: Timestamp) -> Option<Good> {
    let covers = |listed: &&Listed| {
        let holds = listed.kind == kind || listed.kind == BackupKind::Cluster;
        holds && identity.owns(listed) && condition(listed) == Condition::Good
    };
    let manifests = listed
        .iter()
        .filter(covers)
        .filter_map(|listed| listed.manifest.as_ref().ok());
    let ours = manifests.filter(|manifest| manifest.created <= now);
    let newest = ours.max_by_key(|manifest| manifest.created)?;
    Some(Good {
        id: newest.id.clone(),
        created: newest.created,
    })
}

impl Look {
    /// That the backup is late, for a person.
    fn lateness(&self) -> String {
        let last = match &self.last_good {
            Some(good) => format!("the last good one is {}", good.id),
            None => "there is no good one".to_owned(),
        };
        let since = self.due_since.map_or_else(String::new, |since| since.to_string());
        format!(
            "the {} backup of schedule {} is late: it was due at {since}, and {last}",
            self.kind, self.name
        )
    }
}
