//! `cargo xtask bench`: what the project promises of speed and memory, measured on this machine as ratios within one run.
//!
//! A ratio pairs kbo with the plainest thing that does the same work, on the same data, one right after the other: machines are
//! noisy, and an absolute figure says more about the machine than about kbo.

mod archive;
mod files;
mod kbo;
mod memory;
mod ssh;
mod table;
mod windows;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::lab::{Kind, Lab};
use kbo::Kbo;
use table::{Figure, Table};

/// What to measure, and how often.
#[derive(clap::Args)]
pub struct Args {
    /// Gigabytes a broker, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,4")]
    gb: Vec<u64>,
    /// Pairs of runs for every ratio of windows; the median counts.
    #[arg(long, default_value_t = 3)]
    pairs: usize,
    /// Files a broker in the benchmark of many files; 0 leaves it out.
    #[arg(long, default_value_t = 20_000)]
    files: u64,
    /// Only what needs no cluster: archiving, verifying and unpacking on this machine.
    #[arg(long)]
    local: bool,
}

/// Measure, print the table, and write it as JSON under `target/bench/`.
///
/// # Errors
///
/// Fails when something cannot be measured. A ratio that falls short fails nothing: it is marked in the table.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut table = Table::new()?;
    archive::measure(&mut table)?;
    table.write()?;
    if !args.local {
        cluster(args, &mut table)?;
    }
    crate::print(&table.to_string());
    crate::print(&format!("written to {}", table.write()?.display()));
    Ok(ExitCode::SUCCESS)
}

fn cluster(args: &Args, table: &mut Table) -> Result<()> {
    if args.pairs == 0 {
        bail!("--pairs must be at least 1");
    }
    // A lab of its own data: what lies in one that is up would be measured too.
    Lab::down(Kind::Ssh)?;
    let lab = Lab::up(Kind::Ssh)?;
    let kbo = Kbo::release(&lab)?;
    if args.files > 0 {
        let made = files::fill(&lab, args.files)?;
        windows::backup(&kbo, table, &format!("{made} files a broker"), args.pairs, 1.10)?;
        lab.client_run(["delete", "--topic", files::TOPIC])?;
    }
    let mut have = 0;
    let last = args.gb.last().copied();
    lab.client_run(["create", "--topic", "bench", "--partitions", "6"])?;
    for gb in &args.gb {
        let more = gb.checked_sub(have).context("--gb wants rising numbers")?;
        crate::say(&format!("bench: producing {more} GB a broker"));
        let bytes = (more * 1_000_000_000).to_string();
        lab.client_run([
            "produce",
            "--topic",
            "bench",
            "--bytes",
            &bytes,
            "--size",
            "1000",
            "--seed",
            &gb.to_string(),
        ])?;
        have = *gb;
        let what = format!("{gb} GB a broker");
        windows::backup(&kbo, table, &what, args.pairs, 1.05)?;
        if Some(*gb) == last {
            ssh::measure(&lab, &kbo, table, &what)?;
        }
        windows::restore(&kbo, table, &what, args.pairs)?;
        memory::record(&kbo, table, &what);
    }
    Lab::down(Kind::Ssh)
}

/// The middle of some numbers.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

fn ratio(name: String, ours: f64, theirs: f64, wanted: table::Wanted, detail: String) -> Figure {
    Figure {
        name,
        value: ours / theirs,
        unit: "ratio",
        wanted: Some(wanted),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert!(median(vec![]).is_nan());
    }
}
