//! The menu on the real cluster, on a pseudo-terminal: what is on top is true, a backup runs through it, and a no touches nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::{Case, World, nodes};
use crate::terminal::{ENTER, ESC, Terminal};

pub(super) const CASES: &[Case] = &[Case::new(
    "the_menu_shows_the_cluster_backs_up_and_a_no_touches_nothing",
    backup_and_no,
)];

/// Nodes are asked, a configuration is backed up, a restore is planned: each well within this.
const LIMIT: Duration = Duration::from_secs(120);

fn backup_and_no(world: &mut World) -> Result<()> {
    let before = nodes::containers(&world.lab)?;
    let (program, config) = (world.kbo.program().to_owned(), world.lab.config_path());
    let config = config
        .to_str()
        .context("the configuration's path is no text")?
        .to_owned();
    let folder = world.kbo.scratch().to_owned();
    let arguments = ["--config", &config];
    let environment = BTreeMap::new();
    let told = |why: String| anyhow!(why);
    let mut menu = Terminal::start(&program, &arguments, &environment, &folder, (40, 120), LIMIT).map_err(told)?;

    let count = world.lab.nodes().len();
    menu.await_text(&format!("{count} of {count} nodes run"))
        .map_err(told)?;
    menu.choose("Backup").map_err(told)?;
    menu.choose("Back up the configuration").map_err(told)?;
    let done = menu.await_text("done (exit code 0). Enter returns").map_err(told)?;
    if !done.contains("backup --only config") {
        bail!("the menu does not show what it runs:\n{done}");
    }
    menu.send(ENTER).map_err(told)?;

    let status = world.kbo.json(&["status"])?;
    let last = super::world::text(&status["last_backup"], "id")?;
    menu.await_that("the new backup on top", |seen| {
        let mut lines = seen.lines();
        lines.any(|line| line.starts_with("last backup: ") && line.contains(&last) && line.contains("config"))
    })
    .map_err(told)?;
    menu.send(ESC).map_err(told)?;
    menu.choose("Restore").map_err(told)?;
    menu.await_text(&format!("> {last}")).map_err(told)?;
    menu.send(ENTER).map_err(told)?;
    // It has one dataset only, so that nothing more is asked.
    let plan = menu.await_text("Do this? [y/N]").map_err(told)?;
    if !plan.contains("nothing was touched") {
        bail!("no plan is shown:\n{plan}");
    }
    menu.send("n\r").map_err(told)?;
    menu.await_text("not confirmed; nothing was touched").map_err(told)?;
    menu.send("q").map_err(told)?;
    let status = menu.end().map_err(told)?;
    if status.code() != Some(0) {
        bail!("the menu ended with {status}");
    }
    nodes::untouched(&world.lab, &before)
}
