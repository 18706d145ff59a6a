//! A run that others wait for: its hooks, the note of what it came to, the metrics. None of them changes how it ended, but for a
//! `before` hook that refuses it.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use kbo_archive::store::ProcessStore;
use kbo_core::cancel::{Cancel, Urgency};
use kbo_core::config::Config;
use kbo_core::config::hooks::Moment;
use kbo_core::ids::BackupId;
use kbo_core::last_run::RunRecord;
use kbo_core::manifest::BackupKind;
use kbo_core::preflight::Severity;
use kbo_core::report::{Outcome, Report, chain};
use kbo_core::schedule::ScheduleName;
use serde_json::{Map, Value, json};

use super::{Context, Ended, Trouble, conduct, kind_of};
use crate::args::{BackupArgs, Global, Only};
use crate::hooks::{Facts, HookRun};
use crate::{compose, hooks, metrics, output};

/// What is done.
#[derive(Clone, PartialEq, Eq)]
enum Deed {
    Backup,
    Restore(BackupId),
}

/// A backup or a restore, from the call on.
pub(super) struct Attended {
    config: Config,
    file: String,
    store: Option<ProcessStore>,
    cancel: Cancel,
    global: Global,
    deed: Deed,
    kind: BackupKind,
    schedule: Option<ScheduleName>,
    started: Timestamp,
    /// Somebody has been asked and has not agreed: that is no failure to wake anyone for.
    unanswered: AtomicBool,
    before: Mutex<Vec<HookRun>>,
}

impl Attended {
    /// A backup, before anything else is known of it.
    pub(super) fn backup(config: &Config, file: &Path, global: &Global, cancel: Cancel, args: &BackupArgs) -> Self {
        Self {
            config: config.clone(),
            file: std::path::absolute(file)
                .unwrap_or_else(|_| file.to_owned())
                .display()
                .to_string(),
            store: compose::process_store(config, &cancel).ok(),
            cancel,
            global: global.clone(),
            deed: Deed::Backup,
            kind: kind_of(args.only),
            schedule: args.schedule.clone(),
            started: Timestamp::now(),
            unanswered: AtomicBool::new(false),
            before: Mutex::default(),
        }
    }

    pub(super) fn of_backup(context: &Context, args: &BackupArgs) -> Self {
        let cancel = context.composed.orchestrator.cancel.clone();
        Self {
            // The one that the run has used: what has hung there is not waited for again.
            store: Some(context.composed.held.clone()),
            ..Self::backup(&context.config, &context.file, &context.global, cancel, args)
        }
    }

    /// A restore of a backup, or of one of the datasets in it.
    pub(super) async fn of_restore(context: &Context, only: Option<Only>, id: &BackupId) -> Self {
        let args = BackupArgs::default();
        let kind = match (only, context.composed.orchestrator.store.manifest(id).await) {
            (None, Ok(manifest)) => manifest.kind,
            (only, _) => kind_of(only),
        };
        Self {
            deed: Deed::Restore(id.clone()),
            kind,
            ..Self::of_backup(context, &args)
        }
    }

    /// A question is put to somebody.
    pub(super) fn asks(&self) {
        self.unanswered.store(true, Ordering::Relaxed);
    }

    /// And was answered with yes.
    pub(super) fn is_answered(&self) {
        self.unanswered.store(false, Ordering::Relaxed);
    }

    /// The `before` hooks. The caller has touched nothing.
    pub(super) async fn before(&self) -> Result<(), Trouble> {
        let facts = self.facts(Moment::Before, None, None);
        let runs = hooks::run(
            &self.config.hooks,
            Moment::Before,
            &facts,
            &self.cancel,
            Urgency::Gentle,
        )
        .await;
        let refusing = runs.iter().find(|run| run.failure.is_some()).map(ToString::to_string);
        *self.before.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = runs;
        match refusing {
            None => Ok(()),
            Some(_) if self.cancel.is_asked() => Err(Trouble::new(
                Outcome::Interrupted,
                "interrupted before anything was touched",
            )),
            Some(why) => Err(Trouble::new(Outcome::Refused, format!("{why}; nothing was touched"))
                .hint("a hook under `before` refuses the run when it fails; what it said stands above")),
        }
    }

    /// What follows the run, and its report.
    pub(super) async fn end(&self, context: &Context, ended: Result<Report, Trouble>) -> Ended {
        match ended {
            Ok(mut report) => {
                let said = Said {
                    outcome: report.outcome,
                    verdict: conduct::verdict(&report),
                };
                let (runs, warnings) = self.afterwards(&said, Some(&report)).await;
                report.warnings.extend(warnings);
                let is_scheduled = self.schedule.is_some() && self.global.quiet && !self.global.json;
                // cron mails whatever is said: that all is well is not worth a mail, and all else is, a warning among it.
                let warned = report
                    .findings
                    .iter()
                    .any(|finding| finding.severity == Severity::Warning);
                let is_well = report.outcome == Outcome::Done && report.warnings.is_empty() && !warned;
                if !(is_scheduled && is_well) {
                    conduct::show_report(context, &report, &runs);
                }
                Ok(report.outcome)
            }
            Err(trouble) => Err(self.troubled(trouble).await),
        }
    }

    /// What follows a run that did not come so far as to have a report.
    pub(super) async fn troubled(&self, mut trouble: Trouble) -> Trouble {
        if self.unanswered.load(Ordering::Relaxed) {
            return trouble;
        }
        let said = Said {
            outcome: trouble.outcome,
            verdict: trouble.verdict.clone(),
        };
        (trouble.hooks, trouble.warnings) = self.afterwards(&said, None).await;
        trouble
    }

    /// Notes the run, writes the metrics, runs the hooks; tells which ran and what failed of all that.
    async fn afterwards(&self, said: &Said, report: Option<&Report>) -> (Vec<HookRun>, Vec<String>) {
        let record = self.record(said, report);
        let mut warnings = vec![];
        if self.deed == Deed::Backup {
            warnings.extend(self.noted(&record).await);
        }
        let mut runs = self
            .before
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        let moment = match said.outcome {
            outcome if outcome.is_done() => Moment::AfterSuccess,
            _ => Moment::OnFailure,
        };
        // Whoever has interrupted the run still wants to hear of it; another signal ends the hooks.
        let end_at = match self.cancel.urgency() {
            Urgency::None => Urgency::Gentle,
            Urgency::Gentle | Urgency::Hurry => Urgency::Hurry,
        };
        for moment in [moment, Moment::Always] {
            let facts = self.facts(moment, Some(&record), report);
            let ran = hooks::run(&self.config.hooks, moment, &facts, &self.cancel, end_at).await;
            warnings.extend(ran.iter().filter(|run| run.failure.is_some()).map(ToString::to_string));
            runs.extend(ran);
        }
        for warning in &warnings {
            output::error_line(&format!("warning: {warning}"));
        }
        (runs, warnings)
    }

    async fn noted(&self, record: &RunRecord) -> Vec<String> {
        let mut warnings = vec![];
        let Some(store) = &self.store else {
            return vec!["what this run came to cannot be noted: the running program cannot be found".to_owned()];
        };
        // A run that did not come to make a store notes nothing: what a `before` hook has refused may be a disk that is not mounted.
        let noting = async {
            match store.is_there().await {
                Ok(true) => store.note_run(record).await.map(drop),
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            }
        };
        // A note is not worth the minutes that the store has for what others wait for.
        let patience = self.config.settings.store_timeout;
        match tokio::time::timeout(patience, noting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warnings.push(format!("what this run came to cannot be noted: {}", chain(&error))),
            Err(_) => {
                let text = format!(
                    "what this run came to cannot be noted, nor its metrics be written: the store does not answer within {} s",
                    patience.as_secs()
                );
                warnings.push(text);
                return warnings;
            }
        }
        if let Some(path) = &self.config.metrics_textfile
            && let Err(error) = metrics::write(
                path,
                store,
                &self.config.cluster_name,
                self.config.cluster_id.as_ref(),
                record,
            )
            .await
        {
            warnings.push(format!("{error:#}"));
        }
        warnings
    }

    fn record(&self, said: &Said, report: Option<&Report>) -> RunRecord {
        let restored = match &self.deed {
            Deed::Restore(id) => Some(id.clone()),
            Deed::Backup => None,
        };
        RunRecord {
            cluster: self.config.cluster_name.clone(),
            kind: self.kind,
            schedule: self.schedule.clone(),
            started: self.started,
            ended: Timestamp::now(),
            outcome: said.outcome,
            exit_code: said.outcome.exit_code(),
            id: report.and_then(|report| report.id.clone()).or(restored),
            window_seconds: report.and_then(|report| report.window_seconds),
            raw_bytes: report.map_or(0, |report| report.raw_bytes),
            stored_bytes: report.map_or(0, |report| report.stored_bytes),
            good: report.is_none_or(|report| report.unclean.is_empty()),
            verdict: said.verdict.clone(),
        }
    }

    /// What a hook is told: of the run that is to be, or of the one that was.
    fn facts(&self, moment: Moment, record: Option<&RunRecord>, report: Option<&Report>) -> Facts {
        let command = match &self.deed {
            Deed::Backup => "backup",
            Deed::Restore(_) => "restore",
        };
        let id = match (&self.deed, record) {
            (Deed::Restore(id), None) => Some(id.to_string()),
            (_, record) => record.and_then(|record| record.id.as_ref().map(ToString::to_string)),
        };
        let of = |shown: fn(&RunRecord) -> String| record.map(shown).unwrap_or_default();
        let schedule = self.schedule.as_ref().map(ToString::to_string);
        let store = self.config.storage.cold.display().to_string();
        let variables = vec![
            ("KBO_CONFIG", self.file.clone()),
            ("KBO_RUN_OPERATION", command.to_owned()),
            ("KBO_RUN_CLUSTER", self.config.cluster_name.to_string()),
            ("KBO_RUN_KIND", self.kind.to_string()),
            ("KBO_RUN_SCHEDULE", schedule.clone().unwrap_or_default()),
            ("KBO_RUN_STORE", store.clone()),
            ("KBO_RUN_STARTED", self.started.to_string()),
            ("KBO_RUN_ID", id.clone().unwrap_or_default()),
            ("KBO_RUN_OUTCOME", of(|record| record.outcome.as_str().to_owned())),
            ("KBO_RUN_EXIT_CODE", of(|record| record.exit_code.to_string())),
            ("KBO_RUN_VERDICT", of(|record| record.verdict.clone())),
            ("KBO_RUN_ENDED", of(|record| record.ended.to_string())),
            (
                "KBO_RUN_DURATION_SECONDS",
                of(|record| format!("{:.3}", record.duration_seconds())),
            ),
            (
                "KBO_RUN_WINDOW_SECONDS",
                of(|record| {
                    record
                        .window_seconds
                        .map(|seconds| format!("{seconds:.3}"))
                        .unwrap_or_default()
                }),
            ),
            ("KBO_RUN_RAW_BYTES", of(|record| record.raw_bytes.to_string())),
            ("KBO_RUN_STORED_BYTES", of(|record| record.stored_bytes.to_string())),
        ];
        let mut document = match report.map(serde_json::to_value) {
            Some(Ok(Value::Object(report))) => report,
            _ => Map::new(),
        };
        let mut tell = |facts: Value| {
            if let Value::Object(facts) = facts {
                document.extend(facts);
            }
        };
        tell(json!({
            "hook": moment, "command": command, "cluster": self.config.cluster_name, "kind": self.kind, "schedule": schedule,
            "store": store, "started": self.started, "id": id,
        }));
        if let Some(record) = record {
            tell(json!({
                "outcome": record.outcome, "exit_code": record.exit_code, "verdict": record.verdict, "ended": record.ended,
                "duration_seconds": record.duration_seconds(), "window_seconds": record.window_seconds,
                "raw_bytes": record.raw_bytes, "stored_bytes": record.stored_bytes,
            }));
        }
        Facts {
            variables,
            document: Value::Object(document).to_string() + "\n",
        }
    }
}

/// How a run ended, in a word and in a sentence.
struct Said {
    outcome: Outcome,
    verdict: String,
}
