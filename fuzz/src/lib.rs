//! Fuzz targets for every parser of bytes that come from elsewhere: archives and manifests of a store, Kafka's files, Kafka's
//! answers, an agent's frames, an operator's configuration, keystores.
//!
//! A target panics where a promise is broken: a parser never panics by itself, never claims more than it was given, and what it
//! read can be written and read again. With nightly and cargo-fuzz:
//!
//! ```text
//! cargo +nightly fuzz run --target x86_64-unknown-linux-gnu manifest
//! ```
//!
//! On stable, `cargo test -p kbo-fuzz` runs all of them over damaged [`seeds`], and `cargo run -p kbo-fuzz --bin manifest -- FILE`
//! runs one over a file, such as a crash that the fuzzer found.

use std::io::Write;

use bytes::Bytes;
use figment::Figment;
use figment::providers::{Format, Toml};
use kbo_archive::checkpoint::Offsets;
use kbo_archive::metadata::{self, Held, Image};
use kbo_archive::segment::{Verifier, stable_prefix};
use kbo_archive::store::Selector;
use kbo_archive::{metaprops, reader, records, rules};
use kbo_certs::jks::Jks;
use kbo_certs::pkcs12::{Pkcs12, Profile};
use kbo_certs::{Expectation, Options, WildcardSet, check};
use kbo_core::config::Config;
use kbo_core::config::raw::Raw;
use kbo_core::ids::{BackupId, ClusterId, NodeName, RunId};
use kbo_core::import::{Scope, Source, Wishes, import};
use kbo_core::journal::Entry;
use kbo_core::manifest::{ArchiveRecord, Manifest};
use kbo_core::ports::node::NodeError;
use kbo_core::secret::Secret;
use kbo_transport::agent::proto::{self, Frame, Hello, Open, Part, Parts, Progress, Reply, Request};
use kbo_transport::kafka::{Endpoint, NodeKafkaConfig, decode_answers, parse_properties, read_jaas, read_scram_server};

pub mod seeds;

/// A target: its name, what it does with bytes, and bytes that it understands.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub const TARGETS: &[Target] = &[
    ("archive", archive, seeds::archive),
    ("checkpoint", checkpoint, seeds::checkpoint),
    ("configuration", configuration, seeds::configuration),
    ("frame", frame, seeds::frame),
    ("import_config", import_config, seeds::import_config),
    ("jaas", jaas, seeds::jaas),
    ("jks", jks, seeds::jks),
    ("journal", journal, seeds::journal),
    ("kafka_answer", kafka_answer, seeds::kafka_answer),
    ("manifest", manifest, seeds::manifest),
    ("meta_properties", meta_properties, seeds::meta_properties),
    ("metadata_log", metadata_log, seeds::metadata_log),
    ("names", names, seeds::names),
    ("pem_set", pem_set, seeds::pem_set),
    ("pkcs12", pkcs12, seeds::pkcs12),
    ("properties", properties, seeds::properties),
    ("scram", scram, seeds::scram),
    ("segment", segment, seeds::segment),
];

/// The program of one target: libFuzzer's, or on stable one that takes files.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::$name(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            for file in std::env::args_os().skip(1) {
                $crate::$name(&std::fs::read(file)?);
            }
            Ok(())
        }
    };
}

/// An archive, as compressed bytes and as the tar within: other bytes than those recorded are never called whole.
pub fn archive(data: &[u8]) {
    let (record, sound) = seeds::sound_archive();
    verify(&record, &sound, data);
    // What lies behind the compression is hardly ever reached by changing compressed bytes.
    if let Ok(packed) = zstd::encode_all(data, 1) {
        verify(&record, &sound, &packed);
    }
}

fn verify(record: &ArchiveRecord, sound: &[u8], data: &[u8]) {
    let findings = reader::verify_archive(record, &mut &*data, &|_| {}, &|| false);
    if let Ok(findings) = findings {
        assert_eq!(findings.is_empty(), data == sound, "{findings:?}");
    }
}

/// A checkpoint of high watermarks.
pub fn checkpoint(data: &[u8]) {
    if let Ok(offsets) = Offsets::parse(&String::from_utf8_lossy(data)) {
        let _ = offsets.get("orders", 0);
    }
}

/// kbo.toml.
pub fn configuration(data: &[u8]) {
    let figment = Figment::from(Toml::string(&String::from_utf8_lossy(data)));
    if let Ok(raw) = figment.extract::<Raw>() {
        let _ = Config::new(&raw, None);
    }
}

/// A frame between centre and agent: the first byte is its type. What is joined can be split into the same.
pub fn frame(data: &[u8]) {
    let Some((&kind, payload)) = data.split_first() else {
        return;
    };
    let Ok(frame) = Frame::join(kind, Bytes::copy_from_slice(payload)) else {
        return;
    };
    assert_eq!(frame.split(), (kind, payload));
    match &frame {
        Frame::Hello(json) => drop(proto::decode::<Hello>(json)),
        Frame::Open(json) => drop(proto::decode::<Open>(json)),
        Frame::Request(json) => again::<Request>(json),
        Frame::Part(json) => {
            let _ = proto::decode::<Part>(json);
            let _ = Parts::default().add(json);
        }
        Frame::Progress(json) => again::<Progress>(json),
        Frame::Reply(json) => again::<Result<Reply, NodeError>>(json),
        _ => {}
    }
}

/// What was understood says the same when it is written and read again.
fn again<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(json: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(json) {
        let written = serde_json::to_vec(&message).expect("what was read can be written");
        let read = serde_json::from_slice::<T>(&written).expect("what was written can be read");
        assert_eq!(message, read);
    }
}

/// A JKS store, with a password that may be its own: what was read can be written and read again.
pub fn jks(data: &[u8]) {
    let password = Secret::new(seeds::STORE_PASSWORD);
    if let Ok(store) = Jks::read(data, &password, None)
        && let Ok(written) = Jks::write(&store, &password, None)
    {
        let read = Jks::read(&written, &password, None).expect("what was written can be read");
        assert_eq!(read.entries.len(), store.entries.len());
    }
}

/// Files of a set, one after another with a NUL between them: in whichever order they come, the same is served, and a set can be checked.
pub fn pem_set(data: &[u8]) {
    let now = seeds::set_time();
    let options = Options {
        passphrase: Some(Secret::new(seeds::STORE_PASSWORD)),
        roots: vec![],
        now,
    };
    let files: Vec<(String, &[u8])> = (1..)
        .map(|at: u32| at.to_string())
        .zip(data.split(|byte| *byte == 0))
        .collect();
    let forwards = WildcardSet::from_files(files.iter().cloned(), &options);
    let backwards = WildcardSet::from_files(files.into_iter().rev(), &options);
    assert_eq!(forwards.is_ok(), backwards.is_ok());
    if let (Ok(one), Ok(other)) = (&forwards, &backwards) {
        assert_eq!(one.served(), other.served());
        assert_eq!(one.anchors(), other.anchors());
        let expected = Expectation {
            hosts: vec![],
            now,
            warn_days: 21,
            mutual_tls: true,
        };
        let _ = check(one, &expected);
    }
}

/// A PKCS12 store: what was read can be written and read again.
pub fn pkcs12(data: &[u8]) {
    let password = Secret::new(seeds::STORE_PASSWORD);
    if let Ok(store) = Pkcs12::read(data, &password)
        && let Ok(written) = Pkcs12::write(&store, &password, Profile::Legacy)
    {
        let read = Pkcs12::read(&written, &password).expect("what was written can be read");
        assert_eq!(read.entries.len(), store.entries.len());
    }
}

/// A `sasl.jaas.config`: its parts are no longer than the whole.
pub fn jaas(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(length) = read_jaas(&text) {
        assert!(length < text.len(), "{length} of {}", text.len());
    }
}

/// What a server says in a login.
pub fn scram(data: &[u8]) {
    read_scram_server(data);
}

/// The older tool's configuration, in whatever format: what comes of it is TOML of keys that kbo knows.
pub fn import_config(data: &[u8]) {
    let source = Source {
        name: "fuzzed".to_owned(),
        text: String::from_utf8_lossy(data).into_owned(),
        scope: Scope::Main,
    };
    if let Ok(imported) = import(&[source], &Wishes::default()) {
        let raw = Figment::from(Toml::string(&imported.toml)).extract::<Raw>();
        let raw = raw.unwrap_or_else(|error| panic!("{error}\n{}", imported.toml));
        let _ = Config::new(&raw, None);
    }
}

/// A line of a run's journal.
pub fn journal(data: &[u8]) {
    again::<Entry>(data);
}

/// What a Kafka answers to each question; the first byte is the version that it was asked in.
pub fn kafka_answer(data: &[u8]) {
    if let Some((&version, body)) = data.split_first() {
        decode_answers(body, i16::from(version % 16));
    }
}

/// manifest.json. Records that are not refused lead nowhere out of their directories.
pub fn manifest(data: &[u8]) {
    again::<Manifest>(data);
    let Ok(manifest) = serde_json::from_slice::<Manifest>(data) else {
        return;
    };
    for archive in &manifest.archives {
        if records::check(&archive.dirs, &archive.files).is_ok() {
            for file in &archive.files {
                let parts = file.path.split('/');
                assert!(!file.path.starts_with('/') && parts.clone().all(|part| part != ".." && part != "."));
            }
        }
    }
}

/// meta.properties.
pub fn meta_properties(data: &[u8]) {
    let _ = metaprops::parse(&String::from_utf8_lossy(data));
}

/// Names of files, directories, nodes and backups: a name that is taken shows as it was written.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let class = rules::dir_class(&text);
    let _ = rules::segment_file(&text);
    let _ = rules::partition_rules(&[&text], &class, Some(7));
    let _ = text.parse::<Selector>();
    let same = |shown: Option<String>| assert!(shown.is_none_or(|shown| shown == text), "{text:?}");
    same(text.parse::<NodeName>().ok().map(|name| name.to_string()));
    same(text.parse::<ClusterId>().ok().map(|id| id.to_string()));
    same(text.parse::<BackupId>().ok().map(|id| id.to_string()));
    same(text.parse::<RunId>().ok().map(|id| id.to_string()));
}

/// server.properties, and what is read out of them.
pub fn properties(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let properties = parse_properties(&text);
    if let Ok(config) = NodeKafkaConfig::from_properties(&properties, None) {
        let _ = config.quorum();
    }
    if let Some(endpoint) = Endpoint::parse(&text) {
        let _ = (endpoint.is_wildcard(), endpoint.is_loopback());
    }
}

/// The metadata log, as a snapshot and as a segment; and as records one by one, which no checksum keeps away: each after its length.
pub fn metadata_log(data: &[u8]) {
    let open = || -> std::io::Result<Box<dyn std::io::Read>> { Ok(Box::new(std::io::Cursor::new(data.to_vec()))) };
    for name in ["00000000000000000000.log", "00000000000000000007-0000000001.checkpoint"] {
        if let Ok(image) = metadata::read(&[metadata::Part { name, open: &open }]) {
            let _ = metadata::check(&image, 1, &[Held::default()]);
        }
    }
    let mut image = Image::default();
    let mut rest = data;
    while let Some((length, tail)) = rest.split_first() {
        let (record, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        let _ = metadata::record(&mut image, record, 7);
        rest = tail;
    }
    let _ = metadata::check(&image, 1, &[]);
}

/// Record batches: in one piece or byte by byte, the verdict is the same; a stable prefix lies within the file.
pub fn segment(data: &[u8]) {
    let mut whole = Verifier::default();
    whole.feed(data);
    let mut pieces = Verifier::default();
    for piece in data.chunks(7) {
        pieces.feed(piece);
    }
    assert_eq!(whole.last_offset(), pieces.last_offset());
    assert_eq!(whole.finish(), pieces.finish());

    let Ok(mut file) = tempfile::tempfile() else { return };
    if file.write_all(data).is_err() {
        return;
    }
    let length = data.len() as u64;
    for limit in [0, 5, i64::MAX] {
        if let Ok(Some(stable)) = stable_prefix(&file, length, 0, Some(&file), limit) {
            assert!(stable.end <= length && stable.tail_at < stable.end);
        }
    }
}
