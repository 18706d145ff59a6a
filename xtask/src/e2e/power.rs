//! Start, stop and restart, in the only orders there are.

use anyhow::{Result, bail};

use super::{Case, World, nodes};

pub(super) const CASES: &[Case] = &[
    Case::new("controllers_are_not_stopped_under_brokers", controllers_under_brokers),
    Case::new("a_restart_starts_controllers_first_and_in_order", restart_in_order),
    Case::new("one_broker_is_stopped_and_started", one_broker),
];

fn controllers_under_brokers(world: &mut World) -> Result<()> {
    let before = nodes::containers(&world.lab)?;
    let controllers: Vec<String> = (1..=3).map(|number| world.controller(number)).collect();
    let names: Vec<&str> = controllers.iter().map(String::as_str).collect();
    world.kbo.expect(3, &[&["stop"], &names[..]].concat())?;
    nodes::untouched(&world.lab, &before)
}

fn restart_in_order(world: &mut World) -> Result<()> {
    let before = nodes::containers(&world.lab)?;
    let report = world.kbo.json(&["restart"])?;
    world.note_window("restart", &report);
    let after = nodes::containers(&world.lab)?;
    let mut last = String::new();
    for node in world.lab.nodes() {
        let started = &after[&node.name].started;
        if *started == before[&node.name].started {
            bail!("{} was not restarted", node.name);
        }
        // The engine writes times of one length in UTC: they sort as text.
        if *started <= last {
            bail!(
                "{} was started at {started}, before the one ahead of it in the order ({last})",
                node.name
            );
        }
        last.clone_from(started);
    }
    Ok(())
}

fn one_broker(world: &mut World) -> Result<()> {
    let node = world.broker(3);
    let before = nodes::containers(&world.lab)?;
    world.kbo.json(&["stop", &node])?;
    world.kbo.expect(0, &["stop", &node])?;
    let between = nodes::containers(&world.lab)?;
    if between[&node].runs() || between.values().filter(|container| !container.runs()).count() != 1 {
        bail!("not {node} alone is stopped: {between:?}");
    }
    world.kbo.json(&["start", &node])?;
    let after = nodes::containers(&world.lab)?;
    for (name, container) in &after {
        if (name == &node) == (container.started == before[name].started) {
            bail!("{name} is {container:?}, was {:?}", before[name]);
        }
    }
    Ok(())
}
