//! What a tool that embeds kbo-core starts from: a configuration, its own transports, store and clock, and an orchestrator
//! that is looked at before it acts.
//!
//! The cluster and the store are the fakes in memory, so that it runs anywhere:
//! `cargo run -p kbo-core --features testing --example embed`. Put your own [`NodeTransport`] and [`BackupStore`] in their
//! places, or those of kbo-transport and kbo-archive.
#![expect(clippy::print_stdout, reason = "a program, not the library")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use kbo_core::cancel::Cancel;
use kbo_core::config::Config;
use kbo_core::config::raw::Raw;
use kbo_core::ids::NodeName;
use kbo_core::manifest::BackupKind;
use kbo_core::orchestrator::{BackupRequest, Orchestrator, RestoreRequest};
use kbo_core::ports::monitor::{Monitor, MonitorEvent};
use kbo_core::ports::node::{NodeTransport, Owner};
use kbo_core::ports::store::BackupStore;
use kbo_core::preflight::refuses;
use kbo_core::report::Report;
use kbo_core::testing::{FakeCluster, MemoryStore, Shape};

/// What stands in kbo.toml, here in the only format that this crate reads by itself. A tool of yours may build [`Raw`] as it
/// likes; unknown keys are refused.
const CONFIG: &str = r#"{
    "cluster": { "name": "dev" },
    "storage": { "cold": "/backup/cold" },
    "defaults": { "transport": "local", "config": "/srv/kafka/config", "data": "/srv/kafka/data0" },
    "node": [
        { "name": "c1", "role": "controller" },
        { "name": "b1", "role": "broker" },
        { "name": "b2", "role": "broker" }
    ]
}"#;

/// Takes the events; yours might feed a progress bar or a log.
struct Printing;

impl Monitor for Printing {
    fn event(&self, event: MonitorEvent) {
        match event {
            MonitorEvent::Phase(phase) => println!("{phase}"),
            MonitorEvent::StepStarted { step } => println!("  {step}"),
            MonitorEvent::Warning(text) | MonitorEvent::Waiting(text) => println!("  {text}"),
            _ => {}
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // The configuration is checked once; what comes out holds together.
    let raw: Raw = serde_json::from_str(CONFIG)?;
    let config = Config::new(&raw, None)?;

    // How the nodes are reached, and where backups live, is yours to say.
    let fake = FakeCluster::new(Shape::new(1, 0, 2));
    let nodes: BTreeMap<NodeName, Arc<dyn NodeTransport>> = fake.nodes(None);
    let store: Arc<dyn BackupStore> = Arc::new(MemoryStore::default());

    let orchestrator = Orchestrator {
        name: config.cluster_name,
        cluster_id: config.cluster_id,
        cluster: config.cluster,
        nodes,
        store: Arc::clone(&store),
        clock: Arc::new(fake.clock().clone()),
        monitor: Arc::new(Printing),
        // Keep a clone and call `ask` from your signal handler: the run undoes itself and ends.
        cancel: Cancel::default(),
        settings: config.settings,
        kbo_version: env!("CARGO_PKG_VERSION").to_owned(),
        // How the nodes, and whoever finds a lease on one, know this process.
        owner: Owner::default(),
    };

    // One run at a time, and first of all what an earlier one left undone.
    let lock = store.lock(&orchestrator.name, "backup").await?;
    if orchestrator.needs_recovery().await? {
        orchestrator.recover().await?;
    }

    // Look and plan; nothing is touched until the plan is executed.
    let kind = BackupKind::Cluster;
    let prepared = orchestrator.prepare_backup(BackupRequest { kind }).await;
    for finding in &prepared.findings {
        println!("{finding}");
    }
    if refuses(&prepared.findings) {
        return Err("preflight refuses the backup".into());
    }
    print!("{}", prepared.plan);
    let report: Report = orchestrator.execute(prepared).await;
    println!("{}\n", report.verdict);

    // And back again.
    let id = report.id.ok_or("the run made no backup")?;
    let request = RestoreRequest {
        manifest: store.manifest(&id).await?,
        datasets: kind.datasets().to_vec(),
        other_cluster: false,
        previous: kbo_core::plan::Previous::UntilReady,
    };
    let prepared = orchestrator.prepare_restore(request).await;
    let report = orchestrator.execute(prepared).await;
    println!("{}", report.verdict);
    lock.release().await?;
    Ok(())
}
