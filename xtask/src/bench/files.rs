//! Many small files on every broker: segments rolled by time.

use anyhow::{Context, Result};

use crate::lab::Lab;

/// The topic that holds them.
pub(super) const TOPIC: &str = "bench-files";

const PARTITIONS: u64 = 200;

/// Makes about `files` files on every broker and tells how many there are.
pub(super) fn fill(lab: &Lab, files: u64) -> Result<usize> {
    crate::say(&format!(
        "bench: rolling segments until every broker has about {files} files"
    ));
    let partitions = PARTITIONS.to_string();
    lab.client_run([
        "create",
        "--topic",
        TOPIC,
        "--partitions",
        &partitions,
        "--config",
        "segment.ms=20",
    ])?;
    // A segment is a log, two indexes, and a snapshot of the producers' state.
    let rounds = files.div_ceil(4 * PARTITIONS) + 1;
    let records = (rounds * PARTITIONS).to_string();
    lab.client_run([
        "produce",
        "--topic",
        TOPIC,
        "--records",
        &records,
        "--size",
        "100",
        "--keys",
        &partitions,
        "--rounds",
        &rounds.to_string(),
        "--pause-ms",
        "60",
    ])?;
    let broker = lab.brokers().next().context("the lab has no broker")?;
    lab.count_files(&broker.name)
}
