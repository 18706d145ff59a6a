//! The records the tests live on: every kind of topic that Kafka keeps differently, and proof that two states are the same.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::lab::Lab;

/// Topics that nothing writes to once they are filled.
pub(crate) const TOPICS: [&str; 7] = ["plain", "gzip", "snappy", "lz4", "zstd", "compacted", "transactional"];
/// The topic that a producer writes to during a backup.
pub(crate) const LOADED: &str = "loaded";
/// The topic that holds what was written after a backup.
pub(crate) const SINCE: &str = "written-since";

/// Create and fill what is missing of the topics.
pub(crate) fn seed(lab: &Lab) -> Result<()> {
    let list = lab.client_run(["list"])?;
    let missing = |topic: &str| list["topics"].get(topic).is_none();
    let fill = |topic: &str| -> Result<()> {
        let compaction: &[&str] = match topic {
            "compacted" => &["--config", "cleanup.policy=compact", "segment.bytes=1048576"],
            _ => &[],
        };
        lab.client_run([&["create", "--topic", topic], compaction].concat())?;
        let how: &[&str] = match topic {
            "plain" => &["--bytes", "20000000", "--size", "2000", "--headers"],
            "compacted" => &["--bytes", "8000000", "--keys", "500"],
            "transactional" => &["--bytes", "5000000", "--transactional", "--headers"],
            LOADED => return Ok(()),
            codec => &[
                "--bytes",
                "5000000",
                "--headers",
                "--keys",
                "100",
                "--compression",
                codec,
            ],
        };
        lab.client_run([&["produce", "--topic", topic], how].concat())?;
        match topic {
            "plain" => lab
                .client_run(["commit-group", "--group", "halfway", "--topic", topic])
                .map(drop),
            "transactional" => lab
                .client_run([
                    "commit-group",
                    "--group",
                    "at-the-end",
                    "--topic",
                    topic,
                    "--percent",
                    "100",
                ])
                .map(drop),
            _ => Ok(()),
        }
    };
    let wanted: Vec<&str> = TOPICS
        .into_iter()
        .chain([LOADED])
        .filter(|topic| missing(topic))
        .collect();
    // Most of the time goes into starting the client: two lanes.
    let (left, right) = wanted.split_at(wanted.len() / 2);
    std::thread::scope(|scope| {
        let lane = scope.spawn(|| left.iter().try_for_each(|topic| fill(topic)));
        let result = right.iter().try_for_each(|topic| fill(topic));
        lane.join()
            .map_err(|_| anyhow::anyhow!("a lane of the seeding panicked"))?
            .and(result)
    })
    .context("cannot fill the topics")
}

/// Write `bytes` to the topic of what is written after a backup.
pub(crate) fn write_since(lab: &Lab, bytes: u64) -> Result<()> {
    let list = lab.client_run(["list"])?;
    if list["topics"].get(SINCE).is_none() {
        lab.client_run(["create", "--topic", SINCE])?;
    }
    lab.client_run([
        "produce",
        "--topic",
        SINCE,
        "--size",
        "4000",
        "--bytes",
        &bytes.to_string(),
    ])
    .map(drop)
}

/// Count and hash of the quiet topics' records, and the offsets of all groups.
pub(crate) fn digest(lab: &Lab) -> Result<Value> {
    let mut digest = lab.client_run([&["digest", "--topic"][..], &TOPICS].concat())?;
    let topics = digest["topics"].as_object().map_or(0, serde_json::Map::len);
    if topics != TOPICS.len() {
        bail!("{topics} of {} topics are there", TOPICS.len());
    }
    // Compaction may run at any time: what it may not change is the last value of every key.
    for isolation in ["read_committed", "read_uncommitted"] {
        if let Some(found) = digest["topics"]["compacted"][isolation].as_object_mut() {
            found.remove("count");
            found.remove("sha256");
        }
    }
    Ok(digest)
}

/// Whether a topic is there, and how many records it has.
pub(crate) fn count(lab: &Lab, topic: &str) -> Result<Option<u64>> {
    let list = lab.client_run(["list"])?;
    if list["topics"].get(topic).is_none() {
        return Ok(None);
    }
    let digest = lab.client_run(["digest", "--topic", topic])?;
    Ok(digest["topics"][topic]["read_uncommitted"]["count"].as_u64())
}

/// Insist that two digests are the same.
pub(crate) fn same(before: &Value, after: &Value) -> Result<()> {
    for part in ["topics", "groups"] {
        let names = |value: &Value| {
            value[part]
                .as_object()
                .map(|map| map.keys().cloned().collect::<Vec<_>>())
        };
        let (expected, found) = (names(before), names(after));
        if expected != found {
            bail!("the {part} differ: {expected:?} before, {found:?} after");
        }
        for name in expected.unwrap_or_default() {
            let (was, is) = (&before[part][&name], &after[part][&name]);
            if was != is {
                bail!("{part}: {name} differs: before {was}, after {is}");
            }
        }
    }
    Ok(())
}

/// Insist that the quiet topics and the groups are as they were.
pub(crate) fn unchanged(lab: &Lab, before: &Value) -> Result<()> {
    same(before, &digest(lab)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::same;

    #[test]
    fn digests_differ_by_a_record_by_an_offset_and_by_a_topic() {
        let one = json!({"topics": {"a": {"count": 1}}, "groups": {"g": {"a-0": 5}}});
        assert!(same(&one, &one).is_ok());
        for other in [
            json!({"topics": {"a": {"count": 2}}, "groups": {"g": {"a-0": 5}}}),
            json!({"topics": {"a": {"count": 1}}, "groups": {"g": {"a-0": 4}}}),
            json!({"topics": {"a": {"count": 1}, "b": {}}, "groups": {"g": {"a-0": 5}}}),
        ] {
            assert!(same(&one, &other).is_err());
        }
    }
}
