//! Schedules: a real cron takes a backup of the configuration, its hooks run, and kbo tells of it.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::kbo::Kbo;
use super::world::text;
use super::{Case, World, nodes};

pub(super) const CASES: &[Case] = &[Case::new(
    "cron_takes_a_backup_of_the_configuration_and_its_outcome_is_shown",
    by_cron,
)];

/// cron comes at the beginning of a minute, and the backup takes its time.
const LIMIT: Duration = Duration::from_secs(130);

/// What the case calls its schedule, so that it meets none of anybody else's.
const NAME: &str = "e2e-cron";

/// cron in the foreground; ended when dropped.
struct Cron(Child);

impl Drop for Cron {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn by_cron(world: &mut World) -> Result<()> {
    let before = nodes::containers(&world.lab)?;
    let folder = world.kbo.scratch().join("schedule");
    fs::create_dir_all(&folder)?;
    let (marker, textfile) = (folder.join("hook.json"), folder.join("kbo.prom"));
    let hook = format!("cat > {}", marker.display());
    let config = folder.join("kbo.toml");
    let lab = fs::read_to_string(world.lab.config_path())?;
    fs::write(
        &config,
        format!("{lab}\n[hooks]\nafter_success = [{hook:?}]\n\n[metrics]\ntextfile = {textfile:?}\n"),
    )?;
    let kbo = world.kbo.configured(config);
    let outcome = scheduled(&kbo, || {
        let shown = kbo.json(&["schedule", "show"])?;
        let run = shown["schedules"][0]["last_run"].clone();
        // A record of the kind alone may be of an earlier case.
        Ok(Some(shown).filter(|_| run["schedule"] == NAME))
    });
    let removed = kbo.run(&["schedule", "remove", NAME])?;
    let shown = outcome?;
    removed.expect(0)?;
    nodes::untouched(&world.lab, &before).context("a scheduled backup of the configuration touched the cluster")?;

    let schedule = &shown["schedules"][0];
    if schedule["last_run"]["outcome"] != "done" || schedule["late"] != false || schedule["next_run"].is_null() {
        bail!("the schedule is shown as {schedule}");
    }
    let id = text(&schedule["last_run"], "id")?;
    world.kbo.expect(0, &["verify", &id])?;
    let told: Value = serde_json::from_slice(&fs::read(&marker).context("the hook did not run")?)?;
    if told["id"] != id || told["outcome"] != "done" || told["schedule"] != NAME {
        bail!("the hook was told {told}");
    }
    let metrics = fs::read_to_string(&textfile).context("there is no textfile")?;
    if !metrics.contains("kbo_backup_last_run_exit_code{cluster=\"lab-ssh\",kind=\"config\"} 0\n") {
        bail!("the textfile says:\n{metrics}");
    }
    let left = world.kbo.json(&["schedule", "show"])?;
    if left["schedules"]
        .as_array()
        .is_none_or(|schedules| !schedules.is_empty())
    {
        bail!("a removed schedule is shown: {left}");
    }
    Ok(())
}

/// Installs, runs a cron, and waits until `seen` has what it looks for.
fn scheduled(kbo: &Kbo, seen: impl Fn() -> Result<Option<Value>>) -> Result<Value> {
    let install = [
        "schedule",
        "install",
        "--kind",
        "config",
        "--cron",
        "* * * * *",
        "--name",
        NAME,
        "--scheduler",
        "cron",
    ];
    kbo.expect(0, &install)?;
    let cron = Command::new("cron").arg("-f").stdin(Stdio::null()).spawn();
    let _cron = Cron(cron.context("cannot start cron")?);
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        if let Some(shown) = seen()? {
            return Ok(shown);
        }
        std::thread::sleep(Duration::from_secs(2));
    }
    bail!("cron took no backup within {} s", LIMIT.as_secs())
}
