//! Bytes that the parsers understand, to begin from: a change of these gets further than noise.

use std::path::PathBuf;
use std::sync::OnceLock;

use kbo_core::inventory::Dataset;
use kbo_core::manifest::{ArchiveRecord, Manifest};
use kbo_transport::agent::proto::{Frame, Hello, encode};

const STORE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../kbo-archive/testdata/v1/store/cluster/rotated/2026/11/22/20261122T030000Z"
);

fn golden(name: &str) -> Vec<u8> {
    let path = PathBuf::from(STORE).join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An archive of the golden store and its record.
pub fn sound_archive() -> (ArchiveRecord, Vec<u8>) {
    static SOUND: OnceLock<(ArchiveRecord, Vec<u8>)> = OnceLock::new();
    let read = || {
        let manifest: Manifest = serde_json::from_slice(&golden("manifest.json")).expect("the golden manifest");
        let data =
            |archive: &ArchiveRecord| archive.dataset == Dataset::Data && archive.node.as_str() == "kafka-broker-1";
        let record = manifest.archives.into_iter().find(data).expect("the broker's data");
        let bytes = golden(&record.name);
        (record, bytes)
    };
    SOUND.get_or_init(read).clone()
}

/// The archive, and the tar in it.
pub fn archive() -> Vec<Vec<u8>> {
    let (_, bytes) = sound_archive();
    let tar = zstd::decode_all(&*bytes).expect("the golden archive");
    vec![bytes, tar]
}

/// `replication-offset-checkpoint`.
pub fn checkpoint() -> Vec<Vec<u8>> {
    vec![b"0\n2\norders 0 17\npay-ments 11 4\n".to_vec()]
}

/// What opens the golden stores of certificates.
pub const STORE_PASSWORD: &str = "changeit";

fn golden_store(name: &str) -> Vec<u8> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../kbo-certs/testdata")).join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JKS with a key and a trusted certificate.
pub fn jks() -> Vec<Vec<u8>> {
    vec![golden_store("keytool.jks")]
}

/// A time at which the golden set is valid.
pub fn set_time() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000).expect("a time within the calendar")
}

/// The files of a set with a NUL between them, and its certificate alone.
pub fn pem_set() -> Vec<Vec<u8>> {
    let file = |part: &str| golden_store(&format!("set/wildcard.example.org-ACME.{part}"));
    vec![[file("key"), file("crt"), file("ca")].join(&0), file("crt")]
}

/// PKCS12 stores of two iterations.
pub fn pkcs12() -> Vec<Vec<u8>> {
    vec![golden_store("openssl.p12"), golden_store("openssl-legacy.p12")]
}

/// config.ini, and inventories in INI and YAML.
pub fn import_config() -> Vec<Vec<u8>> {
    [
        "[ssh]\nSSH_USER=root\n[storage]\nSTORAGE_COLD=/cold\n[cluster]\nNODE_DATA=/d\nIMAGE=x\n[nodes]\nkafka-controller-1=10.0.0.1\nkafka-broker-1=10.0.0.2\n[order]\nstartup=kafka-controller-1,kafka-broker-1\n",
        "[controllers]\nc[1:3] ansible_host=10.0.0.1\n[brokers]\nb1:22 node_id=4 ansible_user='x y'\n[all:vars]\nnode_data_path=/a,/b\n",
        "all:\n  children:\n    combined:\n      hosts:\n        k1: {ansible_host: 10.0.0.1, node_data_path: '{{ base }}/d'}\n      vars:\n        base: /data\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// kbo.toml with every kind of value.
pub fn configuration() -> Vec<Vec<u8>> {
    let text = r#"[cluster]
name = "dev"
[storage]
cold = "/backup/cold"
[ssh]
user = "backup"
become = true
key = "/k"
[archive]
level = 3
[limits]
parallel_nodes = 2
[order]
startup = ["c", "b"]
[defaults]
config = "/c"
data = ["/d1", "/d2"]
[[node]]
name = "c"
role = "controller"
host = "10.0.0.1"
[[node]]
name = "b"
role = "broker"
host = "10.0.0.2"
"#;
    vec![text.into()]
}

/// Frames of several types.
pub fn frame() -> Vec<Vec<u8>> {
    let hello = encode(&Hello::ours()).expect("a greeting");
    let texts: [&[u8]; 3] = [
        br#"{"facts":{"datasets":["data","config"]}}"#,
        br#"{"stop":{"run":"20261122T030000Z","timeout":{"secs":360,"nanos":0},"lease":{"grace":{"secs":120,"nanos":0}}}}"#,
        br#"{"swap":{"run":"20261122T030000Z","datasets":["data"]}}"#,
    ];
    let mut frames = vec![Frame::Hello(hello), Frame::Data(b"bytes".as_slice().into()), Frame::End];
    frames.extend(texts.map(|text| Frame::Request(text.into())));
    frames.push(Frame::Reply(br#"{"Ok":"done"}"#.as_slice().into()));
    frames.push(Frame::Part(br#"{"damage":["a"]}"#.as_slice().into()));
    let bytes = |frame: &Frame| {
        let (kind, payload) = frame.split();
        [&[kind], payload].concat()
    };
    frames.iter().map(bytes).collect()
}

/// Lines of a journal.
pub fn journal() -> Vec<Vec<u8>> {
    let lines = [
        r#"{"entry":"undo_started","at":"2026-11-22T03:00:00Z"}"#,
        r#"{"entry":"taken_over","at":"2026-11-22T03:00:00Z","nothing_left":true}"#,
        r#"{"entry":"end","at":"2026-11-22T03:00:00Z","phase":"done"}"#,
    ];
    lines.map(|line| line.as_bytes().to_vec()).into()
}

/// Small numbers, of which answers consist.
pub fn kafka_answer() -> Vec<Vec<u8>> {
    vec![
        [&[3, 0, 0, 3, 0, 3, 0, 0, 0, 12, 0, 0, 55, 0, 0, 0, 2, 0][..], &[0; 5]].concat(),
        [&[2, 0, 0, 0, 2, 8][..], b"orders1", &[2, 0, 0, 0, 0, 0, 0, 1, 0]].concat(),
        vec![12; 40],
    ]
}

/// Login modules.
pub fn jaas() -> Vec<Vec<u8>> {
    let texts = [
        r#"org.apache.kafka.common.security.scram.ScramLoginModule required username="a\"b" password='c;d=e';"#,
        "/* x */ m required // y\n user_a=\"\\101\" b=c ;",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

/// A server's part of a login: SaslHandshake and SaslAuthenticate responses, and SCRAM's messages.
pub fn scram() -> Vec<Vec<u8>> {
    vec![
        [&[0, 33, 0, 0, 0, 1, 0, 5][..], b"PLAIN"].concat(),
        [&[0, 58, 0, 2][..], b"no", &[0, 0, 0, 2], b"ab", &[0; 8]].concat(),
        b"r=nmore,s=c2FsdHk=,i=4096".to_vec(),
        b"v=AAAA".to_vec(),
        b"e=invalid-proof".to_vec(),
    ]
}

/// The golden manifests: one as written, one with every field.
pub fn manifest() -> Vec<Vec<u8>> {
    vec![golden("manifest.json"), golden("../../../../../../../manifest.json")]
}

/// meta.properties.
pub fn meta_properties() -> Vec<Vec<u8>> {
    vec![b"#\n#Sun Nov 22\nversion=1\ncluster.id=AkU3OEVBNTcwNTJENDM2Qk\nnode.id=4\ndirectory.id=XX\n".to_vec()]
}

/// Names of every kind.
pub fn names() -> Vec<Vec<u8>> {
    let names = [
        "orders-0",
        "orders-0.0123456789abcdef0123456789abcdef-delete",
        "00000000000000000017.timeindex",
        "00000000000000000017.log.deleted",
        "latest~3",
        "20261122T030000Z",
        "kafka-broker-1",
        "AkU3OEVBNTcwNTJENDM2Qg",
    ];
    names.map(|name| name.as_bytes().to_vec()).into()
}

/// server.properties, and an endpoint.
pub fn properties() -> Vec<Vec<u8>> {
    let text = "process.roles=broker,controller\nnode.id = 4\nlisteners=PLAINTEXT://:9092,CONTROLLER://[::1]:9093\n\
                controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@a:9093,2@b:9093\nlog.dirs=/a,\\\n  /b\n\
                listener.security.protocol.map=PLAINTEXT:SASL_SSL\nssl.truststore.location=/x\\u0041\n";
    vec![text.into(), b"EXTERNAL://[fe80::1]:19092".to_vec()]
}

/// Files of a real Kafka 4.1.1, and a topic, its partition and their broker as single records.
pub fn metadata_log() -> Vec<Vec<u8>> {
    let records: [&[u8]; 4] = [
        b"\x01\x02\x00\x02tAAAAAAAAAAAAAAAA\x00",
        b"\x01\x03\x00\x00\x00\x00\x00AAAAAAAAAAAAAAAA\x02\x00\x00\x00\x01\x01\x01\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x01\x05\x00\x00\x00\x00\x00AAAAAAAAAAAAAAAA\x01\x01\x04\xff\xff\xff\xff",
        b"\x01\x09\x00AAAAAAAAAAAAAAAA\x00",
    ];
    let framed = records.iter().flat_map(|record| {
        let length = u8::try_from(record.len()).unwrap_or(u8::MAX);
        std::iter::once(length).chain(record.iter().copied())
    });
    vec![
        framed.collect(),
        include_bytes!("../../kbo-archive/tests/metadata/kafka-4.1.1/00000000000000000000.log").to_vec(),
        include_bytes!("../../kbo-archive/tests/metadata/kafka-4.1.1/00000000000000000061-0000000001.checkpoint")
            .to_vec(),
    ]
}

/// Batches of records, as lie in the golden archive, and an index of them.
pub fn segment() -> Vec<Vec<u8>> {
    let mut batch = [0; 61];
    batch[11] = 49;
    batch[16] = 2;
    vec![
        batch.repeat(3),
        vec![0, 0, 0, 9, 0, 0, 0, 61, 0, 0, 0, 19, 0, 0, 0, 122],
    ]
}
