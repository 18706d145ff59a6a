//! `kbo certs deploy`

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kbo_certs::Expectation;
use kbo_certs::check::Finding;
use kbo_core::config::certs::RestartKind;
use kbo_core::deploy::{Compared, Deployment, Target, Undone};
use kbo_core::ids::{NodeName, RunId};
use kbo_core::machine::Operation;
use kbo_core::orchestrator::Prepared;
use kbo_core::ports::files::NewFile;
use kbo_core::preflight::refuses;
use kbo_core::report::{Failure, Outcome, Report as RunReport};
use serde::Serialize;

use super::hosts;
use super::shown::{self, Listening};
use super::stores::{Passwords, set_of};
use super::written::{self, Written};
use super::{checked, show_findings, unless_refused};
use crate::args::{CertsDeployArgs, RestartAfter};
use crate::commands::{Context, Ended, Trouble, conduct, power};
use crate::output;

#[derive(Default, Serialize)]
struct Document {
    outcome: Option<Outcome>,
    dir: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    /// The nodes, as they were before.
    nodes: Vec<Compared>,
    changed: bool,
    dry_run: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Finding>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<Failure>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// The restart's own report.
    #[serde(skip_serializing_if = "Option::is_none")]
    restart: Option<RunReport>,
    verdict: String,
}

/// What is to be done.
struct Work<'a> {
    context: &'a Context,
    args: &'a CertsDeployArgs,
    nodes: Vec<NodeName>,
    deployment: Deployment,
    /// The set; none for a rollback.
    set: Option<Written>,
    restart: RestartKind,
}

pub(super) async fn run(context: &Context, args: &CertsDeployArgs) -> Ended {
    let certs = &context.config.certs;
    let dir = certs
        .required_dir()
        .map_err(|error| Trouble::new(Outcome::Usage, error.to_string()))?;
    let chosen = power::chosen(context, &args.nodes)?;
    let all = context
        .config
        .cluster
        .start_order()
        .iter()
        .map(|node| node.name.clone());
    let nodes: Vec<NodeName> = all.filter(|name| chosen.is_empty() || chosen.contains(name)).collect();
    let mut document = Document {
        dir: dir.to_owned(),
        dry_run: args.dry_run,
        ..Document::default()
    };
    let (set, targets) = match args.rollback {
        true => (None, targets(context, &nodes, |_| Ok(vec![]))?),
        false => {
            let (set, findings, targets) = examined(context, args, &nodes).await?;
            document.serial = Some(set.serial.clone());
            document.findings = findings;
            (Some(set), targets)
        }
    };
    let deployment = Deployment {
        run: RunId::at(Timestamp::now()),
        dir: dir.to_owned(),
        targets,
        parallel: context.config.settings.parallel_nodes,
        cancel: context.composed.orchestrator.cancel.clone(),
    };
    let restart = match args.restart {
        Some(RestartAfter::Rolling) => RestartKind::Rolling,
        Some(RestartAfter::Cluster) => RestartKind::Cluster,
        Some(RestartAfter::None) => RestartKind::None,
        None => certs.restart,
    };
    let mut work = Work {
        context,
        args,
        nodes,
        deployment,
        set,
        restart,
    };
    if args.dry_run {
        conduct::unless_interrupted(context, work.plan(&mut document)).await?;
    } else {
        document = conduct::locked(context, "certs deploy", conduct::Undone::Required, async {
            work.deployment.run = run_of_its_own().await;
            work.done(&mut document).await?;
            Ok(document)
        })
        .await?;
    }
    Ok(show(context, &document))
}

/// An id that no deployment before has had: ids have the resolution of a second, and one deployment at a time holds the lock.
async fn run_of_its_own() -> RunId {
    let now = Timestamp::now();
    let rest = 1_000_000_000 - now.subsec_nanosecond().rem_euclid(1_000_000_000);
    tokio::time::sleep(Duration::from_nanos(u64::from(rest.unsigned_abs()))).await;
    RunId::at(Timestamp::now())
}

/// The set in `certs.output`, checked anew, and what each node gets of it.
async fn examined(
    context: &Context,
    args: &CertsDeployArgs,
    nodes: &[NodeName],
) -> Result<(Written, Vec<Finding>, Vec<Target>), Trouble> {
    let certs = &context.config.certs;
    let folder = certs.output.as_path();
    let refused = |text: String| Trouble::new(Outcome::Refused, text).hint("kbo certs make");
    written::usable(folder).map_err(|why| Trouble::new(Outcome::Refused, why))?;
    let Some(set) = Written::read(folder) else {
        return Err(refused(format!(
            "{} holds no set that kbo certs make has written",
            folder.display()
        )));
    };
    let passwords = Passwords::read(certs).await?;
    let now = Timestamp::now();
    let hosts = conduct::unless_interrupted(context, hosts::of_nodes(context, false)).await?;
    let files = |node: &NodeName| files_of(folder, &set, certs.per_node.then(|| node.as_str())).map_err(refused);
    let template = Expectation {
        hosts: vec![],
        now,
        warn_days: certs.warn_days,
        mutual_tls: hosts::any_mutual(&hosts),
    };
    let mut findings: Vec<Finding> = vec![];
    for node in nodes {
        let files = files(node)?;
        // Where all nodes have the same files they are checked with the hosts of all.
        let hosts: Vec<hosts::NodeHosts> = hosts
            .iter()
            .filter(|of| !certs.per_node || of.node == *node)
            .cloned()
            .collect();
        for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("keystore.")) {
            let other = name.replacen("keystore", "truststore", 1);
            let Some((_, trusted)) = files.iter().find(|(name, _)| *name == other) else {
                return Err(refused(format!("{} has no {other}", folder.display())));
            };
            let loaded = set_of((name, bytes), (&other, trusted), &passwords, now).map_err(refused)?;
            if loaded.leaf().facts().fingerprint != set.fingerprint {
                return Err(refused(format!(
                    "{name} in {} is not of the set that set.json tells of",
                    folder.display()
                )));
            }
            let report = checked(context, &loaded, &hosts, template.clone()).1;
            if !report.is_good() {
                show_findings(&report.findings, output::error_line);
            }
            unless_refused(&report, args.force, "--force deploys it")?;
            for finding in report.findings {
                if !findings.contains(&finding) {
                    findings.push(finding);
                }
            }
        }
        if !certs.per_node {
            break;
        }
    }
    let targets = targets(context, nodes, files)?;
    Ok((set, findings, targets))
}

type Files = Vec<(String, zeroize::Zeroizing<Vec<u8>>)>;

/// The files that a node gets, as set.json knows them.
fn files_of(folder: &Path, set: &Written, node: Option<&str>) -> Result<Files, String> {
    let mut files = Files::new();
    for (path, digest) in &set.files {
        let name = match (node, path.split_once('/')) {
            (None, None) => path.as_str(),
            (Some(node), Some((of, name))) if of == node => name,
            _ => continue,
        };
        let full = folder.join(path);
        let bytes = written::bounded(&full).map_err(|error| format!("{} cannot be read: {error}", full.display()))?;
        if written::digest(&bytes) != *digest {
            return Err(format!("{} is not what kbo certs make has written", full.display()));
        }
        files.push((name.to_owned(), bytes));
    }
    match (files.is_empty(), node) {
        (false, _) => Ok(files),
        (true, Some(node)) => Err(format!("{} has no stores for {node}", folder.display())),
        (true, None) => Err(format!("{} has no stores for all nodes together", folder.display())),
    }
}

fn targets(
    context: &Context,
    nodes: &[NodeName],
    files: impl Fn(&NodeName) -> Result<Files, Trouble>,
) -> Result<Vec<Target>, Trouble> {
    let certs = &context.config.certs;
    let of_node = |name: &NodeName| {
        let node = context.composed.orchestrator.nodes.get(name);
        let node = node.ok_or_else(|| Trouble::new(Outcome::Usage, format!("{name} has no transport")))?;
        let new = |(name, bytes): (String, zeroize::Zeroizing<Vec<u8>>)| {
            let digest = written::digest(&bytes);
            let file = NewFile {
                name,
                bytes,
                mode: certs.mode,
                owner: certs.owner,
            };
            (file, digest)
        };
        Ok(Target {
            node: Arc::clone(node),
            files: files(name)?.into_iter().map(new).collect(),
        })
    };
    nodes.iter().map(of_node).collect()
}

impl Work<'_> {
    /// Looks, and says what would be done.
    async fn plan(&self, document: &mut Document) {
        match self.deployment.look().await {
            Ok(compared) => {
                document.nodes = compared;
                document.changed = self.args.rollback || document.nodes.iter().any(|node| !node.is_same());
                document.outcome = Some(Outcome::Done);
                document.verdict = "dry run; nothing was touched".to_owned();
                let kept_by_none = document.nodes.iter().filter(|node| node.previous.is_empty());
                let missing: Vec<&str> = kept_by_none.map(|node| node.node.as_str()).collect();
                if self.args.rollback && !missing.is_empty() {
                    document.outcome = Some(Outcome::Refused);
                    document.verdict = format!(
                        "a rollback would be refused: no earlier files on {}",
                        missing.join(", ")
                    );
                }
            }
            Err(undone) => self.undone(document, undone),
        }
    }

    async fn done(&mut self, document: &mut Document) -> Result<(), Trouble> {
        let looked = conduct::unless_interrupted(self.context, self.deployment.look()).await?;
        match looked {
            Ok(compared) => document.nodes = compared,
            Err(undone) => {
                self.undone(document, undone);
                return Ok(());
            }
        }
        document.changed = self.args.rollback || document.nodes.iter().any(|node| !node.is_same());
        if !document.changed && self.args.restart.is_none() {
            self.nothing_new(document).await;
            return Ok(());
        }
        // A restart that would be refused refuses all, while nothing is touched.
        if let Some(prepared) = self.prepared().await
            && refuses(&prepared.findings)
        {
            prepared
                .findings
                .iter()
                .for_each(|finding| output::error_line(&conduct::described(finding)));
            return Err(
                Trouble::new(Outcome::Refused, "the restart would be refused; nothing was touched")
                    .hint("--restart none puts the files in place alone"),
            );
        }
        if document.changed {
            let deployed = match self.args.rollback {
                true => self.deployment.roll_back().await,
                false => {
                    self.deployment.leave_out_the_same(&document.nodes);
                    self.deployment.run().await
                }
            };
            if let Err(undone) = deployed {
                self.undone(document, undone);
                return Ok(());
            }
        }
        document.outcome = Some(Outcome::Done);
        document.verdict = self.placed();
        if let Some(prepared) = self.prepared().await {
            let report = conduct::executed(self.context, prepared, None).await;
            self.restarted(document, report).await;
        }
        Ok(())
    }

    /// Every node has the files. Whether its Kafka has read them is another matter: a restart may have failed the last time.
    async fn nothing_new(&self, document: &mut Document) {
        document.outcome = Some(Outcome::Done);
        document.verdict = format!("nothing to do: every node has these files in {}", document.dir);
        let Some(set) = &self.set else { return };
        let (listening, unknown) = shown::of_nodes(self.context, &self.nodes).await;
        document.warnings.extend(unknown);
        // A listener that shows nothing is not up, which is no matter of certificates.
        let other = listening.iter().filter(|one| one.serial.is_some());
        let other = others(other, &set.fingerprint);
        if other.is_empty() {
            return;
        }
        document.verdict = format!(
            "every node has these files in {}, but another certificate is shown: {}",
            document.dir,
            other.join("; ")
        );
        match self.restart {
            RestartKind::None => document.verdict += "; Kafka reads them when it starts next",
            RestartKind::Rolling | RestartKind::Cluster => {
                document.outcome = Some(Outcome::Failed);
                document.verdict += "; a restart is due: kbo certs deploy --restart rolling (or cluster)";
            }
        }
    }

    async fn prepared(&self) -> Option<Prepared> {
        let orchestrator = &self.context.composed.orchestrator;
        match self.restart {
            RestartKind::None => None,
            RestartKind::Rolling => Some(orchestrator.prepare_rolling(&self.nodes, false).await),
            RestartKind::Cluster => Some(orchestrator.prepare_power(Operation::Restart, &self.nodes, false).await),
        }
    }

    fn placed(&self) -> String {
        let what = match &self.set {
            Some(set) => format!("the certificate {} lies", set.serial),
            None => "the files of before lie".to_owned(),
        };
        let nodes = match self.nodes.len() {
            1 => "1 node".to_owned(),
            count => format!("{count} nodes"),
        };
        match self.restart {
            RestartKind::None => format!("{what} on {nodes}; Kafka reads it when it starts next"),
            _ => format!("{what} on {nodes}, and they have been restarted"),
        }
    }

    fn undone(&self, document: &mut Document, undone: Undone) {
        document.verdict = match undone.outcome {
            Outcome::Refused => "not deployed: nothing was put in place on any node".to_owned(),
            Outcome::Interrupted => "interrupted: nothing was put in place on any node".to_owned(),
            Outcome::NeedsPerson => {
                let nodes: Vec<&str> = undone.stuck.iter().map(NodeName::as_str).collect();
                format!(
                    "not deployed, and not everywhere taken back: see to {}",
                    nodes.join(", ")
                )
            }
            _ => "not deployed: every node has the files of before".to_owned(),
        };
        document.changed = undone.outcome == Outcome::NeedsPerson;
        document.outcome = Some(undone.outcome);
        document.failures = undone.failures;
    }

    /// After the restart: how it ended, and whether listeners show what was deployed.
    async fn restarted(&self, document: &mut Document, report: RunReport) {
        document.failures.extend(report.failures.iter().cloned());
        let outcome = report.outcome;
        let verdict = report.verdict.clone();
        document.restart = Some(report);
        if outcome != Outcome::Done {
            document.outcome = Some(match outcome {
                // The files are in place: something was touched.
                Outcome::Refused => Outcome::Failed,
                other => other,
            });
            let way = match self.restart {
                RestartKind::Cluster => "cluster",
                _ => "rolling",
            };
            document.verdict = format!(
                "the files are in place, and the restart is not done: {verdict}; kbo certs deploy --rollback --restart {way} goes back"
            );
            return;
        }
        let Some(set) = &self.set else { return };
        let (listening, unknown) = shown::of_nodes(self.context, &self.nodes).await;
        document.warnings.extend(unknown);
        let other = others(listening.iter(), &set.fingerprint);
        if !other.is_empty() {
            document.outcome = Some(Outcome::Failed);
            document.verdict = format!(
                "deployed and restarted, but another certificate is shown: {} (does ssl.keystore.location name a file in {}?)",
                other.join("; "),
                document.dir
            );
        }
    }
}

/// The listeners that show another certificate, or none.
fn others<'a>(listening: impl Iterator<Item = &'a Listening>, fingerprint: &str) -> Vec<String> {
    let other = listening.filter(|one| !one.shows(fingerprint));
    let told = other.map(|one| {
        let shows = match (&one.serial, &one.error) {
            (Some(serial), _) => format!("shows {serial}"),
            (None, Some(why)) => format!("shows none: {why}"),
            (None, None) => "shows none".to_owned(),
        };
        format!("{}: the listener {} {shows}", one.node, one.listener)
    });
    told.collect()
}

fn show(context: &Context, document: &Document) -> Outcome {
    show_findings(&document.findings, output::error_line);
    for failure in &document.failures {
        output::error_line(&format!("failed: {failure}"));
    }
    for warning in &document.warnings {
        output::error_line(&format!("warning: {warning}"));
    }
    if context.global.json {
        output::json(document);
        output::error_line(&document.verdict);
    } else {
        for node in &document.nodes {
            let what = match node.is_same() {
                true if document.serial.is_none() => format!("kept of before: {}", node.previous.join(", ")),
                true => "the same".to_owned(),
                false => [("new", &node.missing), ("changed", &node.different)]
                    .iter()
                    .filter(|(_, names)| !names.is_empty())
                    .map(|(what, names)| format!("{what}: {}", names.join(", ")))
                    .collect::<Vec<_>>()
                    .join("; "),
            };
            output::line(&format!("{}: {what}", node.node));
        }
        output::line(&document.verdict);
    }
    document.outcome.unwrap_or(Outcome::Failed)
}
