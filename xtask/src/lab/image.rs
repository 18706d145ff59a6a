//! Kafka's image and jars: pulled where a registry answers, else built from Debian and Maven packages; kept in `target/lab-cache`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::shell::Cmd;
use super::{engine, packages, paths};

/// The image's name in every engine of the lab.
pub(super) fn tag(version: &str) -> String {
    format!("kbo-lab/kafka:{version}")
}

/// The image as `docker load` reads it, made on first use.
pub(super) fn archive(version: &str) -> Result<PathBuf> {
    let cache = paths::cache_dir()?;
    let archive = cache.join(format!("kafka-{version}.image.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    let new = cache.join(format!("kafka-{version}.image.tar.new"));
    if registry_answers(version) {
        pull(version, &new)?;
    } else {
        crate::say("lab: no registry answers: building the image from Debian and Maven packages (some minutes, once)");
        build(version, &cache, &new)?;
    }
    rename(&new, &archive)?;
    Ok(archive)
}

/// Kafka's jars for the lab's own client, made on first use.
pub(super) fn jars(version: &str) -> Result<PathBuf> {
    let cache = paths::cache_dir()?;
    let libs = cache.join("libs").join(version);
    if libs.is_dir() {
        return Ok(libs);
    }
    packages::ensure(packages::IMAGE)?;
    crate::say(&format!("lab: fetching the jars of Kafka {version}"));
    let new = cache.join("libs").join(format!("{version}.new"));
    remove(&new)?;
    Cmd::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(paths::source("pom.xml")?)
        .arg(format!("-Dkafka.version={version}"))
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", new.display()))
        .run()
        .with_context(|| format!("cannot fetch the jars of Kafka {version}"))?;
    one_log_binding(&new)?;
    rename(&new, &libs)?;
    Ok(libs)
}

/// Kafka 3 brings a logging binding of its own; beside it, the one for Kafka 4 would only cause complaints.
fn one_log_binding(libs: &Path) -> Result<()> {
    let starting = |prefix: &'static str| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(libs).with_context(|| format!("cannot read {}", libs.display()))?;
        let jars = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        Ok(jars.map(|entry| entry.path()).collect())
    };
    if !starting("slf4j-reload4j-")?.is_empty() {
        for jar in starting("log4j-slf4j-impl-")? {
            fs::remove_file(&jar).with_context(|| format!("cannot remove {}", jar.display()))?;
        }
    }
    Ok(())
}

fn registry_answers(version: &str) -> bool {
    let ask = Cmd::new("timeout").args(["15", "docker", "manifest", "inspect"]);
    ask.env("DOCKER_CLI_EXPERIMENTAL", "enabled")
        .arg(format!("apache/kafka:{version}"))
        .succeeds()
}

/// Pull the image and take its jars, so that the client speaks with the same ones.
fn pull(version: &str, to: &Path) -> Result<()> {
    let upstream = format!("apache/kafka:{version}");
    crate::say(&format!("lab: pulling {upstream}"));
    let engine = engine::Engine::ensure()?;
    let docker = || engine::docker();
    let result = (|| {
        docker().args(["pull", "--quiet"]).arg(&upstream).run()?;
        docker().args(["tag", &upstream]).arg(tag(version)).run()?;
        docker().args(["save", "--output"]).arg(to).arg(tag(version)).run()?;
        let libs = paths::cache_dir()?.join("libs").join(version);
        if !libs.is_dir() {
            fs::create_dir_all(paths::cache_dir()?.join("libs"))?;
            let container = docker().args(["create", &upstream]).output()?;
            let copied = docker()
                .arg("cp")
                .arg(format!("{}:/opt/kafka/libs", container.trim()))
                .arg(&libs)
                .run();
            docker().args(["rm", container.trim()]).run()?;
            copied?;
        }
        Ok(())
    })();
    engine.release()?;
    result
}

/// Two layers, a Debian with Java and Kafka's jars, put together as `docker load` wants them: this takes no engine.
fn build(version: &str, cache: &Path, to: &Path) -> Result<()> {
    let base = base_layer(cache)?;
    let work = cache.join("image.new");
    remove(&work)?;
    fs::create_dir_all(work.join("layer/opt/kafka"))?;
    Cmd::new("cp")
        .arg("-r")
        .arg(jars(version)?)
        .arg(work.join("layer/opt/kafka/libs"))
        .run()?;
    pack(
        &work.join("layer"),
        &work.join("kafka.tar"),
        &["--owner=0", "--group=0"],
    )?;
    fs::hard_link(&base, work.join("base.tar")).or_else(|_| fs::copy(&base, work.join("base.tar")).map(drop))?;
    let layers = ["base.tar", "kafka.tar"];
    let mut diff_ids = Vec::new();
    for layer in layers {
        let hashed = Cmd::new("sha256sum").arg(work.join(layer)).output()?;
        let digest = hashed.split_whitespace().next().context("sha256sum printed nothing")?;
        diff_ids.push(format!("sha256:{digest}"));
    }
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"User": "1000:1000", "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [tag(version)], "Layers": layers}]);
    fs::write(work.join("config.json"), config.to_string())?;
    fs::write(work.join("manifest.json"), manifest.to_string())?;
    let parts = ["manifest.json", "config.json", "base.tar", "kafka.tar"];
    Cmd::new("tar")
        .arg("-C")
        .arg(&work)
        .arg("-cf")
        .arg(to)
        .args(parts)
        .run()?;
    remove(&work)
}

/// The base system alone, made on first use.
pub(super) fn debian() -> Result<PathBuf> {
    base_layer(&paths::cache_dir()?)
}

/// A small Debian with a Java runtime, the same for every version of Kafka.
fn base_layer(cache: &Path) -> Result<PathBuf> {
    let layer = cache.join("base.tar");
    if layer.exists() {
        return Ok(layer);
    }
    packages::ensure(packages::IMAGE)?;
    let root = cache.join("rootfs.new");
    remove(&root)?;
    crate::say("lab: debootstrap of a Debian with Java 17");
    Cmd::new("debootstrap")
        .args([
            "--variant=minbase",
            "--include=openjdk-17-jre-headless,procps",
            "bookworm",
        ])
        .arg(&root)
        .run()
        .with_context(|| format!("its log may be in {}", root.join("debootstrap").display()))?;
    for ballast in [
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/info",
        "var/cache/apt",
        "var/lib/apt/lists",
    ] {
        remove(&root.join(ballast))?;
    }
    for dir in ["etc/kafka", "var/lib/kafka/data", "data/cluster/data"] {
        fs::create_dir_all(root.join(dir))?;
    }
    Cmd::new("chown")
        .arg("1000:1000")
        .args(["var/lib/kafka/data", "data/cluster/data"].map(|dir| root.join(dir)))
        .run()?;
    let new = cache.join("base.tar.new");
    pack(&root, &new, &[])?;
    rename(&new, &layer)?;
    remove(&root)?;
    Ok(layer)
}

fn pack(dir: &Path, to: &Path, options: &[&str]) -> Result<()> {
    Cmd::new("tar")
        .arg("-C")
        .arg(dir)
        .args(["--numeric-owner", "--sort=name"])
        .args(options)
        .arg("-cf")
        .arg(to)
        .arg(".")
        .run()
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}
