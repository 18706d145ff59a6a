//! A look at the cluster for the top of the menu: nobody waits for it, it is bounded in time, and what it learns is shown as it comes.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kbo_archive::store::DirStore;
use kbo_core::belonging::{Identity, identity};
use kbo_core::cancel::Cancel;
use kbo_core::config::Config;
use kbo_core::ids::{ClusterId, ClusterName};
use kbo_core::ports::journal::Journal;
use kbo_core::ports::store::{BackupStore, Listed, LockOwner, StoreError};
use kbo_core::report::chain;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::header::{Configuration, NodeSeen, Seen, StoreSeen};
use crate::compose::{MakeVolumes, Passphrases, Reach, compose_with, planned};
use crate::load;
use crate::progress::Progress;

/// How long a node or the store has to answer.
const LIMIT: Duration = Duration::from_secs(8);

/// A look under way, or done. Dropped, it ends.
pub(super) struct Look {
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Look {
    fn drop(&mut self) {
        self.end();
    }
}

/// The configuration as the top shows it, and as the rest works with it.
pub(super) fn configuration(given: Option<&Path>) -> (Configuration, Option<Config>) {
    match load::load(given) {
        Ok((config, file)) => {
            let cluster = config.cluster_name.to_string();
            (Configuration::Loaded { file, cluster }, Some(config))
        }
        Err(_) if !load::is_anywhere(given) => (Configuration::None, None),
        Err(error) => (Configuration::Wrong(format!("{error:#}")), None),
    }
}

impl Look {
    /// Before anybody is asked.
    pub(super) fn new(configuration: Configuration, config: Option<&Config>) -> Self {
        let nodes = config.map(|config| config.cluster.start_order()).unwrap_or_default();
        let nodes = nodes.iter().map(|node| (node.name.to_string(), NodeSeen::Asked));
        let seen = Seen {
            configuration,
            nodes: nodes.collect(),
            ..Seen::default()
        };
        Self {
            seen: Arc::new(Mutex::new(seen)),
            tasks: vec![],
        }
    }

    /// Begins to ask.
    pub(super) fn begin(&mut self, runtime: &Handle, config: &Config, passphrases: &Passphrases) {
        self.ask_nodes(runtime, config, passphrases);
        self.read_store(runtime, config);
    }

    /// Asks no more; what is known stays.
    pub(super) fn end(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }

    /// What is known by now.
    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_nodes(&mut self, runtime: &Handle, config: &Config, passphrases: &Passphrases) {
        let reach = Reach::Planned(planned(config), MakeVolumes::No);
        let mut passphrases = passphrases.clone();
        let composed = compose_with(config, reach, Progress::Quiet, Cancel::default(), &mut passphrases);
        let composed = match composed {
            Ok(composed) => composed,
            Err(error) => {
                let why = format!("{error:#}");
                let nodes = &mut self.lock().nodes;
                nodes
                    .iter_mut()
                    .for_each(|(_, node)| *node = NodeSeen::Unknown(why.clone()));
                return;
            }
        };
        for (number, node) in config.cluster.start_order().iter().enumerate() {
            let Some(transport) = composed.orchestrator.nodes.get(&node.name).cloned() else {
                continue;
            };
            let seen = Arc::clone(&self.seen);
            self.tasks.push(runtime.spawn(async move {
                let answer = match timeout(LIMIT, transport.state()).await {
                    Ok(Ok(state)) => NodeSeen::State(state),
                    Ok(Err(error)) => NodeSeen::Unknown(error.message),
                    Err(_) => NodeSeen::Unknown(format!("no answer within {} s", LIMIT.as_secs())),
                };
                if let Some((_, node)) = seen
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .nodes
                    .get_mut(number)
                {
                    *node = answer;
                }
            }));
        }
    }

    fn read_store(&mut self, runtime: &Handle, config: &Config) {
        let store = DirStore::new(config.storage.cold.clone());
        let cluster = config.cluster_name.clone();
        let configured = config.cluster_id.clone();
        let seen = Arc::clone(&self.seen);
        self.tasks.push(runtime.spawn(async move {
            let read = timeout(LIMIT, read(&store, &cluster, configured.as_ref())).await;
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match read {
                Ok(Ok((listed, identity, running, died))) => {
                    seen.cluster_id = identity.id;
                    seen.store = StoreSeen::Listed(listed);
                    seen.running = running;
                    seen.died = died;
                }
                Ok(Err(error)) => seen.store = StoreSeen::Unknown(chain(&error)),
                Err(_) => seen.store = StoreSeen::Unknown(format!("no answer within {} s", LIMIT.as_secs())),
            }
        }));
    }
}

type Read = (Vec<Listed>, Identity, Option<LockOwner>, bool);

async fn read(store: &DirStore, cluster: &ClusterName, configured: Option<&ClusterId>) -> Result<Read, StoreError> {
    let listed = store.list().await?;
    let identity = identity(store, cluster, configured, &listed).await?;
    let is_dead = |open: Vec<Box<dyn Journal>>| open.iter().any(|journal| !journal.is_alive());
    let mut died = is_dead(store.open_journals(cluster).await?);
    let running = store.holder(cluster).await?;
    if died && running.is_none() {
        // A run closes its journal before it lets go of the lock: it may have ended between these two looks.
        died = is_dead(store.open_journals(cluster).await?);
    }
    Ok((listed, identity, running, died))
}
