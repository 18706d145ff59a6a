//! Speed of snapshot, archive, verify and unpack against `tar | zstd -1` on the same data; prints one JSON line per figure.
//!
//! `cargo bench -p kbo-archive -- [MiB of data] [folder to work in]`
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench panics on failure and prints its figures"
)]

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use kbo_archive::{DirSpec, clean, facts, reader, snapshot, stage, writer};
use kbo_core::ids::RunId;
use kbo_core::inventory::Dataset;
use kbo_core::manifest::ArchiveRecord;
use kbo_core::ports::node::{CleanRequest, StageRequest};

const ROUNDS: usize = 3;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let mebibytes: usize = arguments.next().map_or(1024, |text| text.parse().unwrap());
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let work = tempfile::tempdir_in(folder).unwrap();
    let threads = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();

    let many = work.path().join("many");
    fill_many(&many, 5000);
    let many = [spec(&many)];
    let (snapshot_many, _) = best(|| snapshot::take(&run(), &many).unwrap());
    print("snapshot_of_20000_files_seconds", snapshot_many);
    print("facts_of_20000_files_seconds", best(|| facts::dir_facts(&many[0])).0);
    clean::remove(&many, &CleanRequest::Run(run())).unwrap();

    let data = work.path().join("data");
    fill(&data, mebibytes);
    let dirs = [spec(&data)];
    // Making the data took memory; the peak counts from here.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let bytes = mebibytes as f64;
    let (taken, report) = best(|| snapshot::take(&run(), &dirs).unwrap());
    print("snapshot_seconds", taken);
    print("snapshot_linked_files", report.linked_files as f64);

    let archive = work.path().join("kbo.tar.zst");
    let theirs = work.path().join("tar.tar.zst");
    let options = writer::Options { level: 1, threads };
    let (ours, report) = best(|| {
        let mut file = File::create(&archive).unwrap();
        writer::write(&run(), &dirs, options, &mut file, &|_| {}, &|| false).unwrap()
    });
    let script = format!(
        "tar -C {} -cf - . | zstd -q -1 -T{threads} > {}",
        data.display(),
        theirs.display()
    );
    let (tar, ()) = best(|| shell(&script));
    print("archive_mib_per_second", bytes / ours);
    print("tar_zstd_mib_per_second", bytes / tar);
    print("archive_ratio", tar / ours);
    print(
        "compressed_size_ratio",
        report.size as f64 / fs::metadata(&theirs).unwrap().len() as f64,
    );

    let record = ArchiveRecord {
        name: "n.data.tar.zst".to_owned(),
        node: "n".parse().unwrap(),
        dataset: Dataset::Data,
        size: report.size,
        sha256: report.sha256,
        raw_size: report.raw_size,
        dirs: report.dirs.clone(),
        files: report.files.clone(),
    };
    let (verify, findings) = best(|| reader::verify_archive(&record, &mut open(&archive), &|_| {}, &|| false).unwrap());
    assert!(findings.is_empty());
    let request = StageRequest {
        run: run(),
        dataset: Dataset::Data,
        sha256: report.sha256,
        dirs: report.dirs,
        files: report.files,
    };
    let target = [spec(&work.path().join("target/data"))];
    fs::create_dir(work.path().join("target")).unwrap();
    let (unpack, _) = best(|| stage::unpack(&request, &target, &mut open(&archive), &|_| {}, &|| false).unwrap());
    let out = work.path().join("out");
    let script = format!(
        "rm -rf {0}; mkdir {0}; zstd -q -d -c {1} | tar -C {0} -xf -; sync -f {0}",
        out.display(),
        theirs.display()
    );
    let (untar, ()) = best(|| shell(&script));
    print("verify_mib_per_second", bytes / verify);
    print("unpack_mib_per_second", bytes / unpack);
    print("zstd_tar_mib_per_second", bytes / untar);
    print("verify_ratio", untar / verify);
    print("unpack_ratio", untar / unpack);
    print("peak_rss_mib", peak_rss_mib());
}

fn open(path: &Path) -> impl io::Read {
    BufReader::with_capacity(1 << 18, File::open(path).unwrap())
}

fn run() -> RunId {
    "20261122T030000Z".parse().unwrap()
}

fn spec(path: &Path) -> DirSpec {
    DirSpec {
        dataset: Dataset::Data,
        label: path.display().to_string(),
        path: path.to_owned(),
    }
}

/// The best of several rounds, in seconds. With `KBO_BENCH_CPU` set it is processor time, which a busy machine does not change.
fn best<T>(mut work: impl FnMut() -> T) -> (f64, T) {
    let cpu = std::env::var_os("KBO_BENCH_CPU").is_some();
    let mut timed = || {
        let (began, began_cpu) = (Instant::now(), cpu_seconds());
        let value = work();
        (
            if cpu {
                cpu_seconds() - began_cpu
            } else {
                began.elapsed().as_secs_f64()
            },
            value,
        )
    };
    let mut best = timed();
    for _ in 1..ROUNDS {
        let (seconds, value) = timed();
        best = (best.0.min(seconds), value);
    }
    best
}

/// User and system time of this process and its children.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..15]
        .iter()
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

fn shell(script: &str) {
    assert!(
        Command::new("bash")
            .args(["-o", "pipefail", "-c", script])
            .status()
            .unwrap()
            .success()
    );
}

fn print(figure: &str, value: f64) {
    println!("{{\"figure\":\"{figure}\",\"value\":{value:.3}}}");
}

fn peak_rss_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Partitions with segments of 64 MiB, the last one active, half compressible.
fn fill(data: &Path, mebibytes: usize) {
    const SEGMENT: usize = 64;
    const PARTITIONS: usize = 4;
    fs::create_dir(data).unwrap();
    let mut seed = 1_u64;
    let segments = mebibytes.div_ceil(SEGMENT * PARTITIONS);
    let mut left = mebibytes;
    for partition in 0..PARTITIONS {
        let dir = data.join(format!("orders-{partition}"));
        fs::create_dir(&dir).unwrap();
        let mut offset = 0_i64;
        for _ in 0..segments {
            let size = left.min(SEGMENT);
            left -= size;
            let mut log = Vec::with_capacity(size << 20);
            let (mut index, base) = (Vec::new(), offset);
            while log.len() + 16_000 < size << 20 {
                index.extend(i32::try_from(offset - base).unwrap().to_be_bytes());
                index.extend(u32::try_from(log.len()).unwrap().to_be_bytes());
                log.extend(batch(offset, &mut seed));
                offset += 64;
            }
            fs::write(dir.join(format!("{base:020}.log")), log).unwrap();
            fs::write(dir.join(format!("{base:020}.index")), index).unwrap();
        }
    }
    let lines: String = (0..PARTITIONS)
        .map(|partition| format!("orders {partition} {}\n", i64::MAX))
        .collect();
    fs::write(
        data.join("replication-offset-checkpoint"),
        format!("0\n{PARTITIONS}\n{lines}"),
    )
    .unwrap();
    shell(&format!("sync -f {}", data.display()));
}

/// Records as applications write them: JSON with ids and amounts.
fn batch(offset: i64, seed: &mut u64) -> Vec<u8> {
    let mut random = || {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    };
    let mut records: Vec<u8> = Vec::new();
    for n in 0..64 {
        let (order, customer, amount) = (random(), random() % 100_000, random() % 1_000_000);
        let record = format!(
            "{{\"order\":\"{order:016x}\",\"customer\":{customer},\"amount\":{amount},\"currency\":\"EUR\",\"seq\":{},\"token\":\"{:016x}{:016x}\"}}",
            offset + n,
            random(),
            random()
        );
        records.extend(record.as_bytes());
    }
    let mut bytes = Vec::with_capacity(records.len() + 61);
    bytes.extend(offset.to_be_bytes());
    bytes.extend(i32::try_from(records.len() + 49).unwrap().to_be_bytes());
    bytes.extend(3_i32.to_be_bytes());
    bytes.push(2);
    bytes.extend([0; 4]);
    bytes.extend(0_i16.to_be_bytes());
    bytes.extend(63_i32.to_be_bytes());
    bytes.extend([0; 16]);
    bytes.extend([255; 14]);
    bytes.extend(64_i32.to_be_bytes());
    bytes.extend(records);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// 20,000 files: partitions of a small log that is linked, two indexes and a checkpoint.
fn fill_many(data: &Path, partitions: usize) {
    let mut seed = 1;
    let log: Vec<u8> = (0..3).flat_map(|n| batch(n * 64, &mut seed)).collect();
    let mut lines = String::new();
    for partition in 0..partitions {
        let dir = data.join(format!("orders-{partition}"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("00000000000000000000.log"), &log).unwrap();
        fs::write(dir.join("00000000000000000000.index"), [0, 0, 0, 64, 0, 0, 0, 0]).unwrap();
        fs::write(dir.join("00000000000000000000.timeindex"), [0; 24]).unwrap();
        fs::write(dir.join("leader-epoch-checkpoint"), "0\n1\n3 0\n").unwrap();
        lines += &format!("orders {partition} 192\n");
    }
    fs::write(
        data.join("replication-offset-checkpoint"),
        format!("0\n{partitions}\n{lines}"),
    )
    .unwrap();
    shell(&format!("sync -f {}", data.display()));
}
