//! `kbo init`: looks at the nodes and writes a kbo.toml.

mod draft;

use std::path::{Path, PathBuf};

use kbo_core::cancel::Cancel;
use kbo_core::ports::node::NodeError;
use kbo_core::report::Outcome;
use kbo_transport::ssh::SshSettings;
use kbo_transport::survey::{self, Ignored, Survey};
use serde::Serialize;

use super::ssh_setup::host;
use super::{Context, Ended, Trouble, check};
use crate::args::{Global, InitArgs};
use crate::compose::{MakeVolumes, Passphrases, Reach, compose, planned};
use crate::progress::Progress;
use crate::{load, logging, output, terminal, written};

const SOCKET: &str = "/var/run/docker.sock";
const LOCAL_ENGINE: &str = "unix:///var/run/docker.sock";

/// What was asked for, or answered.
struct Wanted {
    places: Vec<Place>,
    name: Option<String>,
    cold: Option<String>,
}

/// Where to look.
enum Place {
    Ssh(Box<SshSettings>),
    Engine(String),
}

impl Place {
    fn shown(&self) -> String {
        match self {
            Place::Ssh(settings) => settings.host.clone(),
            Place::Engine(host) => host.clone(),
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    file: String,
    written: bool,
    toml: &'a str,
    nodes: &'a [draft::Found],
    ignored: &'a [IgnoredAt],
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<serde_json::Value>,
    verdict: String,
}

/// A container that is left out, and where it is.
#[derive(Serialize)]
struct IgnoredAt {
    host: String,
    #[serde(flatten)]
    container: Container,
}

#[derive(Serialize)]
struct Container {
    container: String,
    image: String,
    why: String,
}

pub(super) async fn run(args: &InitArgs, global: &Global) -> Ended {
    logging::start(global.verbose, global.quiet, None)
        .map_err(|error| Trouble::new(Outcome::Usage, format!("{error:#}")))?;
    if !args.dry_run {
        written::refuse_existing(&args.out, args.force)?;
    }
    terminal::interruptible(initialise(args, global)).await
}

async fn initialise(args: &InitArgs, global: &Global) -> Ended {
    let wanted = wanted(args).await?;
    let surveys = look(args, wanted.places).await?;
    let mut warnings = vec![];
    let mut ignored = vec![];
    for (place, survey) in &surveys {
        if survey.nodes.is_empty() {
            warnings.push(format!("{}: no Kafka container", place.shown()));
        }
        let left_out = survey.ignored.iter().cloned();
        ignored.extend(left_out.map(|Ignored { container, image, why }| IgnoredAt {
            host: place.shown(),
            container: Container { container, image, why },
        }));
    }
    for left in &ignored {
        let Container { container, image, why } = &left.container;
        told(global, &format!("{}: left out {container} ({image}): {why}", left.host));
    }
    let drafted = draft::of(args, &surveys, wanted.name, wanted.cold)?;
    warnings.extend(drafted.warnings.iter().cloned());
    for warning in &warnings {
        told(global, &format!("warning: {warning}"));
    }
    load::check(&drafted.toml).map_err(|error| {
        Trouble::new(
            Outcome::Failed,
            format!("what was found makes no kbo.toml that loads: {error:#}"),
        )
        .hint("see the containers above; --dry-run --json shows all that was found. Nothing was written")
    })?;
    let mut document = Document {
        outcome: Outcome::Done,
        file: args.out.display().to_string(),
        written: false,
        toml: &drafted.toml,
        nodes: &drafted.found,
        ignored: &ignored,
        warnings: &warnings,
        check: None,
        verdict: format!("{} nodes found; dry run, nothing was written", drafted.found.len()),
    };
    if args.dry_run {
        if global.json {
            output::json(&document);
        } else {
            output::line(drafted.toml.trim_end());
        }
        output::error_line(&document.verdict);
        return Ok(Outcome::Done);
    }
    written::to(&args.out, &drafted.toml, args.force)?;
    document.written = true;
    told(
        global,
        &format!(
            "{} written, {} nodes; kbo check:",
            args.out.display(),
            drafted.found.len()
        ),
    );
    let context = context(&args.out, global)?;
    let checked = check::examine(&context).await;
    document.outcome = checked.outcome;
    document.verdict = format!("{} written; kbo check says the rest", args.out.display());
    if global.json {
        document.check = serde_json::to_value(checked.document()).ok();
        output::json(&document);
    } else {
        checked.show(&context);
    }
    Ok(checked.outcome)
}

fn told(global: &Global, line: &str) {
    if !global.quiet {
        output::error_line(line);
    }
}

/// The written file, as `kbo check` takes it.
fn context(file: &Path, global: &Global) -> Result<Context, Trouble> {
    let usage = |error: anyhow::Error| Trouble::begun(&error);
    let (config, file) = load::load(Some(file)).map_err(usage)?;
    let nodes = Reach::Planned(planned(&config), MakeVolumes::No);
    let composed = compose(&config, nodes, Progress::new(global.quiet), Cancel::default()).map_err(usage)?;
    Ok(Context {
        config,
        file,
        composed,
        global: global.clone(),
    })
}

/// Asks for what is missing, where there is a terminal.
async fn wanted(args: &InitArgs) -> Result<Wanted, Trouble> {
    let asks = output::has_terminal() && !args.yes;
    let ask = async |question: &str, default: &str| -> Result<String, Trouble> {
        let answer = terminal::ask(format!("{question} [{default}]: ")).await?;
        Ok(answer
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| default.to_owned()))
    };
    let mut hosts = args.hosts.clone();
    let mut user = args.user.clone();
    if hosts.is_empty() && args.docker.is_none() {
        if asks {
            let question = "Hosts of the nodes, with blanks between them: ".to_owned();
            let answer = terminal::ask(question).await?.unwrap_or_default();
            hosts = answer
                .split([' ', ','])
                .filter(|host| !host.is_empty())
                .map(str::to_owned)
                .collect();
        }
        if hosts.is_empty() {
            return Err(Trouble::new(Outcome::Usage, "no host is named")
                .hint("--host HOST for each node, or --docker where the nodes are containers of one engine"));
        }
        if user.is_none() {
            user = Some(ask("User on them", "root").await?);
        }
    }
    let mut name = args.name.clone();
    let mut cold = args.cold.clone();
    if asks && name.is_none() {
        name = Some(ask("Name of the cluster", "kafka").await?);
    }
    if asks && cold.is_none() {
        cold = Some(ask("Folder for backups on this machine", "/backup/cold").await?);
    }
    let places = match &args.docker {
        Some(engine) => vec![Place::Engine(engine.clone().unwrap_or_else(|| LOCAL_ENGINE.to_owned()))],
        None => ssh_places(args, &hosts, user.as_deref())?,
    };
    Ok(Wanted { places, name, cold })
}

fn ssh_places(args: &InitArgs, hosts: &[String], user: Option<&str>) -> Result<Vec<Place>, Trouble> {
    let home = std::env::home_dir().unwrap_or_else(|| PathBuf::from("/root"));
    let usual = home.join(".ssh/id_ed25519");
    let key = args.key.clone().or_else(|| usual.exists().then_some(usual));
    let usage = |error: anyhow::Error| Trouble::begun(&error);
    let passphrase = match &key {
        Some(key) => Passphrases::asking().of(key, None).map_err(usage)?,
        None => None,
    };
    let known_hosts = args
        .known_hosts
        .clone()
        .unwrap_or_else(|| home.join(".ssh/known_hosts"));
    let mut places = vec![];
    for text in hosts {
        let host = host(text)?;
        let mut settings = SshSettings::new(host.name, host.user.or(user).unwrap_or("root"), &known_hosts);
        settings.port = host.port.or(args.port).unwrap_or(22);
        settings.key.clone_from(&key);
        settings.passphrase.clone_from(&passphrase);
        settings.become_root = args.r#become;
        settings.retries = 1;
        places.push(Place::Ssh(Box::new(settings)));
    }
    Ok(places)
}

/// Looks everywhere at once. One place that cannot be seen is enough to write nothing: half a cluster is none.
async fn look(args: &InitArgs, places: Vec<Place>) -> Result<Vec<(Place, Survey)>, Trouble> {
    let socket = args.engine_socket.clone().unwrap_or_else(|| SOCKET.to_owned());
    let engine = format!("unix://{}", socket.strip_prefix("unix://").unwrap_or(&socket));
    let looking: Vec<_> = places
        .into_iter()
        .map(|place| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let survey = match &place {
                    Place::Ssh(settings) => survey::over_ssh((**settings).clone(), &engine).await,
                    Place::Engine(host) => survey::of_engine(host).await,
                };
                (place, survey)
            })
        })
        .collect();
    let mut surveys = vec![];
    let mut failures: Vec<NodeError> = vec![];
    for looked in looking {
        let (place, survey) = looked
            .await
            .map_err(|error| Trouble::new(Outcome::Failed, format!("a task died: {error}")))?;
        match survey {
            Ok(survey) => surveys.push((place, survey)),
            Err(mut error) => {
                let place = place.shown();
                if !error.message.contains(&place) {
                    error.message = format!("{place}: {}", error.message);
                }
                output::error_line(&format!("failed: {}", error.message));
                if let Some(hint) = &error.hint {
                    output::error_line(&format!("hint: {hint}"));
                }
                failures.push(error);
            }
        }
    }
    let hint = match args.docker {
        Some(_) => "--docker ENGINE names another engine",
        None => {
            "kbo ssh-setup makes the logins, --engine-socket names another engine; leave out hosts that are no nodes"
        }
    };
    match failures.first() {
        None => Ok(surveys),
        Some(first) => {
            let more = failures.len() - 1;
            let more = if more > 0 {
                format!("; and {more} more, see above")
            } else {
                String::new()
            };
            let text = format!(
                "not every place could be looked at, and nothing was written: {}{more}",
                first.message
            );
            Err(Trouble::new(Outcome::Failed, text).hint(hint))
        }
    }
}
