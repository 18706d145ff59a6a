//! How long the cluster is down for a backup and for a restore, against a bare ordered restart with the same readiness checks.

use anyhow::Result;

use super::kbo::{Kbo, window};
use super::table::{Table, Wanted};
use super::{median, ratio};

pub(super) fn backup(kbo: &Kbo, table: &mut Table, what: &str, pairs: usize, limit: f64) -> Result<()> {
    let name = format!("window of a backup / bare restart, {what}");
    pairs_of(kbo, table, name, pairs, limit, &["backup"])
}

pub(super) fn restore(kbo: &Kbo, table: &mut Table, what: &str, pairs: usize) -> Result<()> {
    let name = format!("window of a restore / bare restart, {what}");
    pairs_of(kbo, table, name, pairs, 1.10, &["restore", "latest", "--yes"])
}

/// Restart, run, restart, run ...: the median of the ratios of neighbours.
fn pairs_of(kbo: &Kbo, table: &mut Table, name: String, pairs: usize, limit: f64, args: &[&str]) -> Result<()> {
    // The first restart after a load also waits for what the load left to do; it warms up and is not counted.
    kbo.run(&["restart"])?;
    let (mut ratios, mut ours, mut bare) = (vec![], vec![], vec![]);
    for _ in 0..pairs {
        let restart = window(&kbo.run(&["restart"])?)?;
        let run = window(&kbo.run(args)?)?;
        crate::say(&format!("bench: {name}: {run:.1} s / {restart:.1} s"));
        ratios.push(run / restart);
        ours.push(run);
        bare.push(restart);
    }
    let detail = format!("{:.1} s / {:.1} s, median of {pairs} pairs", median(ours), median(bare));
    table.add(ratio(name, median(ratios), 1.0, Wanted::AtMost(limit), detail));
    Ok(())
}
