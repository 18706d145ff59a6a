//! `cargo xtask demo`: a real cluster, a backup, a disaster, a restore, and proof, told as it happens.

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::e2e::{World, data};
use crate::lab::{self, Kind, Lab};
use crate::{print, test};

/// `cargo xtask demo ...`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave the cluster up afterwards
    #[arg(long)]
    keep: bool,
    /// The telling part alone
    #[arg(long, hide = true)]
    told: bool,
}

/// Runs the telling part, and cleans up whatever becomes of it: Ctrl-C ends that part, and not the shell.
const SCRIPT: &str = r#"
trap : INT TERM
"$0" demo --told
code=$?
if [ "$1" = keep ]; then
    echo "The cluster stays up: cargo xtask lab status shows it, cargo xtask lab down docker removes it."
else
    echo "== Cleaning up: containers, volumes, network, and the engine if it was started for this"
    "$0" lab down docker || code=1
fi
exit $code
"#;

/// Show everything, and clean up.
///
/// # Errors
///
/// Fails when the cluster does not come up, or when anything is not as it was.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.told {
        let begun = Instant::now();
        show()?;
        print(&format!("\nDone in {} s.\n", begun.elapsed().as_secs()));
        return Ok(ExitCode::SUCCESS);
    }
    lab::possible()?;
    let stays = args.keep || Lab::open(Kind::Docker).is_ok();
    let program = std::env::current_exe().context("cannot find out this program's path")?;
    let failed = Command::new("sh")
        .args(["-c", SCRIPT])
        .arg(program)
        .arg(if stays { "keep" } else { "remove" })
        .exec();
    Err(failed).context("cannot run sh")
}

fn step(text: &str) {
    let (bold, plain) = if std::io::stdout().is_terminal() {
        ("\x1b[1m", "\x1b[0m")
    } else {
        ("", "")
    };
    print(&format!("\n{bold}== {text}{plain}"));
}

fn show() -> Result<()> {
    step("Building kbo");
    lab::install(test::BUILD)?;
    let program = test::kbo_program()?;
    step("Starting a Kafka cluster in Docker: three controllers, three brokers (what is missing is installed first)");
    let lab = Lab::up(Kind::Docker)?;
    print(&format!("Kafka {} is up at {}", lab.kafka_version(), lab.bootstrap()));
    let world = World::new(lab, program)?;

    step(
        "Writing records: plain, gzip, snappy, lz4, zstd, compacted, transactional; and committing two groups' offsets",
    );
    data::seed(&world.lab)?;
    let before = data::digest(&world.lab)?;
    table(&world.lab)?;

    step("kbo backup: stop, snapshot, start; the archives are made while the cluster runs again");
    let backup = world.kbo.json(&["backup"])?;
    let id = backup["id"].as_str().context("the backup has no id")?.to_owned();
    let down_for_backup = window(&backup)?;
    print(&format!(
        "Backup {id}: {} of data in {} of archives; the cluster was down for {down_for_backup:.1} s",
        megabytes(&backup["raw_bytes"]),
        megabytes(&backup["stored_bytes"])
    ));
    print(world.kbo.expect(0, &["verify", &id])?.stdout.trim_end());

    let broker = world.broker(2);
    step(&format!(
        "A disaster: the topic \"plain\" is deleted, and the disk of {broker} is wiped"
    ));
    world.lab.client_run(["delete", "--topic", "plain"])?;
    world.lab.stop(&broker)?;
    world.lab.wipe_data(&broker)?;
    print(&format!("Topics now: {}", topics(&world.lab)?.join(", ")));
    print(&format!("Files on {broker}: {}", world.lab.list_data(&broker)?.len()));
    world.lab.start(&broker)?;

    step("kbo restore: staged and verified beside the live data; then stop, rename, start");
    let restore = world.kbo.json(&["restore", &id, "--yes"])?;
    let down_for_restore = window(&restore)?;
    print(&format!("Restored; the cluster was down for {down_for_restore:.1} s"));

    step(
        "Proof: every record (partition, offset, key, value, timestamp, headers) and every group's offsets, read again",
    );
    world.lab.wait_ready(std::time::Duration::from_secs(120))?;
    data::unchanged(&world.lab, &before).context("the records are NOT the same as before")?;
    table(&world.lab)?;
    print("All records and offsets are the same as before the disaster.");
    print(&format!(
        "Down for the backup {down_for_backup:.1} s, for the restore {down_for_restore:.1} s: the time of an ordered restart."
    ));
    if world.lab.list_data(&broker)?.is_empty() {
        bail!("{broker} is still empty");
    }
    Ok(())
}

fn window(report: &Value) -> Result<f64> {
    report["window_seconds"].as_f64().context("the report has no window")
}

fn megabytes(bytes: &Value) -> String {
    // A figure to read, not to reckon with.
    format!("{} MB", bytes.as_u64().unwrap_or(0) / 1_000_000)
}

fn topics(lab: &Lab) -> Result<Vec<String>> {
    let list = lab.client_run(["list"])?;
    let topics = list["topics"].as_object().context("the client lists no topics")?;
    Ok(topics.keys().cloned().collect())
}

/// Records of each topic, and a piece of their hash.
fn table(lab: &Lab) -> Result<()> {
    let digest = lab.client_run([&["digest", "--topic"][..], &data::TOPICS].concat())?;
    for topic in data::TOPICS {
        let found = &digest["topics"][topic]["read_committed"];
        let hash = found["latest_sha256"]
            .as_str()
            .or(found["sha256"].as_str())
            .unwrap_or_default();
        print(&format!(
            "  {topic:<14} {:>7} records   sha256 {}...",
            found["count"].as_u64().unwrap_or(0),
            &hash[..hash.len().min(16)]
        ));
    }
    for (group, offsets) in digest["groups"].as_object().into_iter().flatten() {
        print(&format!("  group {group:<12} {offsets}"));
    }
    Ok(())
}
