//! Engines that restart in the window, and operators who stop what a dead run had stopped.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::kbo::Running;
use super::nodes::{self, wait_until};
use super::{Case, World, data};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "an_engine_that_starts_a_broker_in_the_window_voids_its_snapshot_and_a_restore_stops_it_again",
        engines_restart,
    ),
    Case::new(
        "a_recovery_leaves_down_what_an_operator_has_stopped_since",
        operator_stops,
    ),
];

/// How long an engine takes to restart, and its containers to be started.
const LIMIT: Duration = Duration::from_secs(60);

fn engines_restart(world: &mut World) -> Result<()> {
    let backup = world.full()?;
    let policies = [(1, "no"), (2, "unless-stopped"), (3, "always")];
    for (number, policy) in policies {
        set_policy(world, number, policy)?;
    }
    let done = in_the_window(world, &backup);
    for (number, _) in policies {
        set_policy(world, number, "always")?;
    }
    done?;
    data::unchanged(&world.lab, &backup.digest)
}

fn in_the_window(world: &mut World, backup: &super::world::Backup) -> Result<()> {
    let mut run = world.kbo.spawn(&["backup"])?;
    restart_engines(world, &mut run, &[1, 2, 3])?;
    let ran = run.end()?.expect(1)?.says("snapshot is void")?;
    ran.says(&world.broker(3))?;
    world.lab.wait_ready(super::WHOLE)?;
    if nodes::stopped(&world.lab)? > 0 {
        bail!("nodes are down after the backup that failed");
    }
    let mut run = world.kbo.spawn(&["restore", &backup.id, "--yes"])?;
    restart_engines(world, &mut run, &[3])?;
    run.end()?.expect(0)?.says("is stopped again")?;
    world.lab.wait_ready(super::WHOLE)
}

/// With kbo held still when the brokers are down: their engines restart, and start what their policies name.
fn restart_engines(world: &World, run: &mut Running, brokers: &[usize]) -> Result<()> {
    let stops: Vec<String> = [3, 2, 1]
        .map(|number| format!("stop {}", world.broker(number)))
        .to_vec();
    run.await_steps(&stops)?;
    signal(run, "-STOP")?;
    let restarted = brokers.iter().try_for_each(|number| {
        let name = world.broker(*number);
        world.lab.restart_engine(&name)?;
        let wanted = if *number == 3 { "running" } else { "exited" };
        let state = || Ok(world.lab.container_state(&name).is_ok_and(|state| state == wanted));
        wait_until(&format!("{name} is {wanted} after its engine's restart"), LIMIT, state)
    });
    signal(run, "-CONT")?;
    restarted
}

fn operator_stops(world: &mut World) -> Result<()> {
    let digest = world.seeded()?;
    let kbo = world.kbo.with("KBO_LIMITS_LEASE_GRACE_SECONDS", "5");
    let mut run = kbo.spawn(&["backup"])?;
    run.await_steps(&[
        format!("stop {}", world.broker(1)),
        format!("stop {}", world.controller(3)),
    ])?;
    run.kill()?;
    wait_until("the nodes are back by themselves", Duration::from_secs(150), || {
        Ok(nodes::stopped(&world.lab)? == 0)
    })?;
    // A broker that still starts does not hear that it is to stop.
    world.lab.wait_ready(super::WHOLE)?;
    let broker = world.broker(3);
    world.lab.stop(&broker)?;
    world.kbo.expect(7, &["recover"])?.says(&broker)?.says("left down")?;
    if nodes::stopped(&world.lab)? != 1 {
        bail!("the recovery has started {broker}, which was stopped by hand");
    }
    world.lab.start(&broker)?;
    world.lab.wait_ready(super::WHOLE)?;
    world.kbo.expect(0, &["recover"])?;
    data::unchanged(&world.lab, &digest)
}

fn set_policy(world: &World, number: usize, policy: &str) -> Result<()> {
    let name = world.broker(number);
    nodes::docker(&world.lab, &name, &["update", &format!("--restart={policy}"), &name]).map(drop)
}

fn signal(run: &Running, signal: &str) -> Result<()> {
    let status = Command::new("kill").args([signal, &run.pid().to_string()]).status();
    if !status.context("cannot run kill")?.success() {
        bail!("kbo cannot be sent {signal}");
    }
    Ok(())
}
