//! Small files brought to many nodes, all or none: staged on every node first, then put in place on every node, else taken back.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;

use crate::cancel::{Cancel, Urgency};
use crate::ids::{NodeName, RunId};
use crate::manifest::Sha256;
use crate::ports::node::{FilesReport, FilesRequest, NewFile, NodeError, NodeTransport};
use crate::report::{Failure, Outcome};
use crate::text::some_of;

/// A node and what is to lie there.
pub struct Target {
    /// The node.
    pub node: Arc<dyn NodeTransport>,
    /// Its files, each with the SHA-256 of its bytes.
    pub files: Vec<(NewFile, Sha256)>,
}

/// Files for the same directory of several nodes.
pub struct Deployment {
    /// On whose behalf.
    pub run: RunId,
    /// The directory on every node.
    pub dir: String,
    /// The nodes.
    pub targets: Vec<Target>,
    /// How many of them at once.
    pub parallel: usize,
    /// The operator's wish to stop. Heard until the first file is put in place.
    pub cancel: Cancel,
}

/// A node's directory, compared with what is to lie there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// The node.
    pub node: NodeName,
    /// Files that are not there.
    pub missing: Vec<String>,
    /// Files that are there with other bytes, another mode or another owner.
    pub different: Vec<String>,
    /// Files of which an earlier version is kept.
    pub previous: Vec<String>,
}

impl Compared {
    /// Whether everything is there as it is to be.
    pub fn is_same(&self) -> bool {
        self.missing.is_empty() && self.different.is_empty()
    }
}

/// A deployment that was not done, and what it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// `Refused` or `Interrupted`: nothing was put in place. `Failed`: what was is taken back. `NeedsPerson`: not everywhere.
    pub outcome: Outcome,
    /// What failed, first things first.
    pub failures: Vec<Failure>,
    /// The nodes that a person has to see to, in the order of the deployment.
    pub stuck: Vec<NodeName>,
}

impl Undone {
    fn new(outcome: Outcome, failures: Vec<Failure>) -> Self {
        Self {
            outcome,
            failures,
            stuck: vec![],
        }
    }

    fn taken_back(failures: Vec<Failure>, stuck: Vec<NodeName>) -> Self {
        let outcome = match stuck.is_empty() {
            true => Outcome::Failed,
            false => Outcome::NeedsPerson,
        };
        Self {
            outcome,
            failures,
            stuck,
        }
    }
}

type Answers = Vec<(usize, Result<FilesReport, NodeError>)>;

impl Deployment {
    /// What lies on every node now; nothing is touched.
    ///
    /// # Errors
    /// The nodes that could not be looked at.
    pub async fn look(&self) -> Result<Vec<Compared>, Undone> {
        let answers = self.ask(|target| self.look_of(target)).await;
        let failures = failures("look at", &self.dir, &self.targets, &answers);
        if !failures.is_empty() {
            return Err(Undone::new(Outcome::Refused, failures));
        }
        let reports = answers.into_iter().filter_map(|(at, answer)| Some((at, answer.ok()?)));
        Ok(reports.map(|(at, report)| self.targets[at].compare(&report)).collect())
    }

    /// Leaves out the nodes that need nothing: what they keep from before would be lost to a copy of what they have.
    pub fn leave_out_the_same(&mut self, compared: &[Compared]) {
        self.targets.retain(|target| {
            let found = compared.iter().find(|node| node.node == *target.node.name());
            found.is_none_or(|node| !node.is_same())
        });
    }

    /// Stages on every node, then puts in place on every node. Whatever fails, all nodes have the old files or a person is called.
    ///
    /// # Errors
    /// What failed, and what that left.
    pub async fn run(&self) -> Result<(), Undone> {
        let staging = self.ask(|target| FilesRequest::Stage {
            run: self.run.clone(),
            dir: self.dir.clone(),
            files: target.files.iter().map(|(file, _)| file.clone()).collect(),
        });
        let staged = tokio::select! {
            staged = staging => Some(staged),
            () = self.cancel.reached(Urgency::Gentle) => None,
        };
        let mut failures = match &staged {
            None => vec![],
            Some(staged) => self.unlike_sent("stage beside", staged),
        };
        if !failures.is_empty() || staged.is_none() || self.cancel.is_asked() {
            failures.extend(self.drop_staged().await);
            let outcome = match failures.is_empty() {
                true => Outcome::Interrupted,
                false => Outcome::Refused,
            };
            return Err(Undone::new(outcome, failures));
        }
        let committed = self
            .ask(|_| FilesRequest::Commit {
                run: self.run.clone(),
                dir: self.dir.clone(),
            })
            .await;
        let failures = self.unlike_sent("put in place", &committed);
        match failures.is_empty() {
            true => Ok(()),
            false => Err(self.take_back(failures).await),
        }
    }

    /// Exchanges the files of every node with those of before the last deployment.
    ///
    /// # Errors
    /// What failed, and what that left. A node without earlier files refuses it for all.
    pub async fn roll_back(&self) -> Result<(), Undone> {
        let before = self.look_everything().await?;
        let none = before
            .iter()
            .enumerate()
            .filter(|(_, report)| report.previous.is_empty());
        let mut failures: Vec<Failure> = none
            .map(|(at, _)| Failure {
                step: format!("look for earlier files in {}", self.dir),
                node: Some(self.targets[at].node.name().clone()),
                message: format!("{} keeps none", self.targets[at].node.name()),
                hint: Some("kbo certs deploy puts a set in place, with this one kept".to_owned()),
            })
            .collect();
        if failures.is_empty() {
            failures.extend(self.of_several_deployments(&before));
        }
        let outcome = match (failures.is_empty(), self.cancel.is_asked()) {
            (true, false) => Outcome::Done,
            (true, true) => Outcome::Interrupted,
            (false, _) => Outcome::Refused,
        };
        if outcome != Outcome::Done {
            return Err(Undone::new(outcome, failures));
        }
        let rolled = self.ask(|_| FilesRequest::Rollback { dir: self.dir.clone() }).await;
        let mut failures = self::failures("exchange the files of", &self.dir, &self.targets, &rolled);
        if failures.is_empty() {
            return Ok(());
        }
        // An exchange undoes itself, so it must not be asked for where it has not happened: an answer may have been lost.
        let mut stuck = vec![];
        for (at, found) in before.iter().enumerate() {
            if let Err(failure) = self.exchange_back(at, found).await {
                stuck.extend(failure.node.clone());
                failures.push(failure);
            }
        }
        Err(Undone::taken_back(failures, stuck))
    }

    /// Exchanged together, files that different deployments replaced would leave the nodes with sets that never stood side by side.
    fn of_several_deployments(&self, reports: &[FilesReport]) -> Option<Failure> {
        let mut deployments: BTreeMap<(RunId, bool), Vec<&NodeName>> = BTreeMap::new();
        for (target, report) in self.targets.iter().zip(reports) {
            // Agents of before this was told are taken as they are.
            if let Some(kept) = &report.kept {
                let nodes = deployments.entry((kept.run.clone(), kept.rolled_back)).or_default();
                nodes.push(target.node.name());
            }
        }
        if deployments.len() < 2 {
            return None;
        }
        let told = |((run, rolled_back), nodes): (&(RunId, bool), &Vec<&NodeName>)| {
            let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            let since = if *rolled_back { ", rolled back since" } else { "" };
            format!("{} keep those of deployment {run}{since}", some_of(&names))
        };
        let all: Vec<String> = deployments.iter().map(told).collect();
        let last: Vec<String> = deployments
            .last_key_value()
            .map(|(_, nodes)| nodes.iter().map(ToString::to_string).collect())
            .unwrap_or_default();
        Some(Failure {
            step: format!("compare the earlier files in {}", self.dir),
            node: None,
            message: format!(
                "the nodes' earlier files are of different deployments: {}",
                all.join("; ")
            ),
            hint: Some(format!(
                "name the nodes of one deployment: kbo certs deploy --rollback {} takes back the last one",
                last.join(" ")
            )),
        })
    }

    async fn exchange_back(&self, at: usize, found: &FilesReport) -> Result<(), Failure> {
        let target = &self.targets[at];
        let failed = |error: &NodeError| failure("exchange back the files of", &self.dir, target, error);
        let look = FilesRequest::Look {
            dir: self.dir.clone(),
            names: names_of(found),
        };
        let now = target.node.files(&look).await.map_err(|error| failed(&error))?;
        // With what is kept: a file that had no predecessor is in place under no name that was known before.
        if now == *found {
            return Ok(());
        }
        let again = FilesRequest::Rollback { dir: self.dir.clone() };
        target.node.files(&again).await.map_err(|error| failed(&error))?;
        Ok(())
    }

    /// Every node's files with what is kept, by the names of what is kept.
    async fn look_everything(&self) -> Result<Vec<FilesReport>, Undone> {
        let mut reports = vec![];
        for _ in 0..2 {
            let known: &[FilesReport] = &reports;
            let at_of = |target: &Target| {
                let same = |other: &Target| std::ptr::eq(other, target);
                self.targets.iter().position(same)
            };
            let answers = self
                .ask(|target| FilesRequest::Look {
                    dir: self.dir.clone(),
                    names: at_of(target)
                        .and_then(|at| known.get(at))
                        .map(names_of)
                        .unwrap_or_default(),
                })
                .await;
            let failures = failures("look at", &self.dir, &self.targets, &answers);
            if !failures.is_empty() {
                return Err(Undone::new(Outcome::Refused, failures));
            }
            reports = answers.into_iter().filter_map(|(_, answer)| answer.ok()).collect();
        }
        Ok(reports)
    }

    /// After a commit that failed somewhere: the undo, everywhere, for an answer may have been lost.
    async fn take_back(&self, mut failures: Vec<Failure>) -> Undone {
        let undone = self
            .ask(|_| FilesRequest::Undo {
                run: self.run.clone(),
                dir: self.dir.clone(),
            })
            .await;
        let stuck = self::failures("take back what was put into", &self.dir, &self.targets, &undone);
        let nodes = stuck.iter().filter_map(|failure| failure.node.clone()).collect();
        failures.extend(stuck);
        failures.extend(self.drop_staged().await);
        Undone::taken_back(failures, nodes)
    }

    async fn drop_staged(&self) -> Vec<Failure> {
        let dropped = self.ask(|_| FilesRequest::Drop { dir: self.dir.clone() }).await;
        failures("remove what was staged beside", &self.dir, &self.targets, &dropped)
    }

    /// Failures of a step, and nodes that hold something else after it than was sent.
    fn unlike_sent(&self, step: &str, answers: &Answers) -> Vec<Failure> {
        let mut failures = failures(step, &self.dir, &self.targets, answers);
        for (at, answer) in answers {
            let target = &self.targets[*at];
            let Ok(report) = answer else { continue };
            let compared = target.compare(report);
            if let Some(name) = compared.missing.iter().chain(&compared.different).next() {
                let message = format!("{}: {name} is not what was sent", compared.node);
                failures.push(Failure {
                    step: format!("{step} {}", self.dir),
                    node: Some(compared.node.clone()),
                    message,
                    hint: Some("may the agent give files to that owner?".to_owned()),
                });
            }
        }
        failures
    }

    fn look_of(&self, target: &Target) -> FilesRequest {
        FilesRequest::Look {
            dir: self.dir.clone(),
            names: target.files.iter().map(|(file, _)| file.name.clone()).collect(),
        }
    }

    /// The same question to every node, in the order of the targets.
    async fn ask(&self, request: impl Fn(&Target) -> FilesRequest) -> Answers {
        let requests: Vec<(usize, Arc<dyn NodeTransport>, FilesRequest)> = self
            .targets
            .iter()
            .enumerate()
            .map(|(at, target)| (at, Arc::clone(&target.node), request(target)))
            .collect();
        let work = requests
            .into_iter()
            .map(|(at, node, request)| async move { (at, node.files(&request).await) });
        let mut answers: Answers = stream::iter(work)
            .buffer_unordered(self.parallel.max(1))
            .collect()
            .await;
        answers.sort_by_key(|(at, _)| *at);
        answers
    }
}

impl Target {
    fn compare(&self, report: &FilesReport) -> Compared {
        let mut compared = Compared {
            node: self.node.name().clone(),
            missing: vec![],
            different: vec![],
            previous: report.previous.clone(),
        };
        for (file, sha256) in &self.files {
            let there = report.files.iter().find(|there| there.name == file.name);
            let is_same = |uid_gid: (u32, u32)| file.owner.is_none_or(|owner| owner == uid_gid);
            match there {
                None => compared.missing.push(file.name.clone()),
                Some(there)
                    if there.sha256 != *sha256 || there.mode != file.mode || !is_same((there.uid, there.gid)) =>
                {
                    compared.different.push(file.name.clone());
                }
                Some(_) => {}
            }
        }
        compared
    }
}

fn names_of(report: &FilesReport) -> Vec<String> {
    let there = report.files.iter().map(|file| &file.name);
    let mut names: Vec<String> = there.chain(&report.previous).cloned().collect();
    names.sort();
    names.dedup();
    names
}

fn failures(step: &str, dir: &str, targets: &[Target], answers: &Answers) -> Vec<Failure> {
    let failed = answers
        .iter()
        .filter_map(|(at, answer)| Some((at, answer.as_ref().err()?)));
    failed
        .map(|(at, error)| failure(step, dir, &targets[*at], error))
        .collect()
}

fn failure(step: &str, dir: &str, target: &Target, error: &NodeError) -> Failure {
    let node = target.node.name();
    Failure {
        step: format!("{step} {dir} on {node}"),
        node: Some(node.clone()),
        message: error.message.clone(),
        hint: error.hint.clone(),
    }
}
