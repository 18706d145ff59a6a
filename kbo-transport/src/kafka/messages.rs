//! The requests, and what is needed of their responses.

use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, DescribeClusterRequest, DescribeQuorumRequest, MetadataRequest,
    SaslAuthenticateRequest, SaslHandshakeRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use kbo_core::ports::node::{BrokerState, PartitionState, QuorumState};

use super::wire::{Malformed, Reader};

/// Versions of a request that can be written and whose response can be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Versions {
    pub(crate) min: i16,
    pub(crate) max: i16,
}

/// A request and how its response is framed.
pub(crate) trait Ask: Encodable {
    /// Its API.
    const API: ApiKey;
    /// The versions that are spoken.
    const SPOKEN: Versions;
    /// Whether the header before the response has tagged fields.
    fn tagged_response_header(version: i16) -> bool;
}

/// 3 is as old as KRaft; a listener that does not know it is asked again with 0.
impl Ask for ApiVersionsRequest {
    const API: ApiKey = ApiKey::ApiVersions;
    const SPOKEN: Versions = Versions { min: 0, max: 3 };

    /// Never: who asks does not know yet what the other side understands.
    fn tagged_response_header(_: i16) -> bool {
        false
    }
}

/// All versions are flexible. 2 came with KIP-853.
impl Ask for DescribeQuorumRequest {
    const API: ApiKey = ApiKey::DescribeQuorum;
    const SPOKEN: Versions = Versions { min: 0, max: 2 };

    fn tagged_response_header(_: i16) -> bool {
        true
    }
}

/// All versions are flexible. 2 came with Kafka 4.0, and with it fenced brokers.
impl Ask for DescribeClusterRequest {
    const API: ApiKey = ApiKey::DescribeCluster;
    const SPOKEN: Versions = Versions { min: 0, max: 2 };

    fn tagged_response_header(_: i16) -> bool {
        true
    }
}

/// From 1 on a null array asks for all topics. 13 is Kafka 4.0's.
impl Ask for MetadataRequest {
    const API: ApiKey = ApiKey::Metadata;
    const SPOKEN: Versions = Versions { min: 1, max: 13 };

    fn tagged_response_header(version: i16) -> bool {
        version >= 9
    }
}

/// 1 is the one after which SaslAuthenticate comes; before, tokens went bare.
impl Ask for SaslHandshakeRequest {
    const API: ApiKey = ApiKey::SaslHandshake;
    const SPOKEN: Versions = Versions { min: 1, max: 1 };

    fn tagged_response_header(_: i16) -> bool {
        false
    }
}

/// Nothing of 2 is needed, and nobody lacks 1.
impl Ask for SaslAuthenticateRequest {
    const API: ApiKey = ApiKey::SaslAuthenticate;
    const SPOKEN: Versions = Versions { min: 1, max: 1 };

    fn tagged_response_header(_: i16) -> bool {
        false
    }
}

/// The topic of the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";

pub(crate) fn api_versions_request(version: i16) -> ApiVersionsRequest {
    if version < 3 {
        return ApiVersionsRequest::default();
    }
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("kbo"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")))
}

pub(crate) fn describe_quorum_request() -> DescribeQuorumRequest {
    let partition = PartitionData::default().with_partition_index(0);
    let topic = TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str(METADATA_TOPIC)))
        .with_partitions(vec![partition]);
    DescribeQuorumRequest::default().with_topics(vec![topic])
}

/// All topics. Nothing is created by it: there is no name to create.
pub(crate) fn metadata_request(version: i16) -> MetadataRequest {
    // Up to version 3 the field does not exist and the encoder wants its default, which is true.
    MetadataRequest::default()
        .with_topics(None)
        .with_allow_auto_topic_creation(version < 4)
}

/// All brokers; those that are fenced too, where the version can ask for them.
pub(crate) fn describe_cluster_request(version: i16) -> DescribeClusterRequest {
    DescribeClusterRequest::default().with_include_fenced_brokers(version >= 2)
}

/// A DescribeCluster response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) error: i16,
    pub(crate) message: Option<String>,
    /// Sorted by node.id.
    pub(crate) brokers: Vec<BrokerState>,
}

impl Registered {
    pub(crate) fn decode(body: &[u8], version: i16) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body, true);
        reader.i32()?;
        let error = reader.i16()?;
        let message = reader.string()?.map(str::to_owned);
        if version >= 1 {
            // The type of the endpoints.
            reader.skip(1)?;
        }
        reader.string()?;
        reader.i32()?;
        let mut brokers = reader.list(|r| {
            let id = r.i32()?;
            let host = r.string()?.unwrap_or_default().to_owned();
            let port = r.i32()?;
            r.string()?;
            let fenced = version >= 2 && r.bool()?;
            r.tags()?;
            Ok(BrokerState {
                id,
                address: format!("{host}:{port}"),
                fenced,
            })
        })?;
        // What the asker may do.
        reader.i32()?;
        reader.tags()?;
        reader.end()?;
        brokers.sort();
        Ok(Self {
            error,
            message,
            brokers,
        })
    }
}

/// An ApiVersions response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ApiVersions {
    pub(crate) error: i16,
    /// (API key, oldest version, newest version).
    pub(crate) apis: Vec<(i16, i16, i16)>,
}

impl ApiVersions {
    pub(crate) fn decode(body: &[u8], version: i16) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body, version >= 3);
        let error = reader.i16()?;
        if error != 0 {
            // To an unknown version Kafka answers in version 0: what follows the error is not in the format asked for.
            return Ok(Self {
                error,
                apis: Vec::new(),
            });
        }
        let apis = reader.list(|r| {
            let api = (r.i16()?, r.i16()?, r.i16()?);
            r.tags()?;
            Ok(api)
        })?;
        if version >= 1 {
            reader.i32()?;
        }
        reader.tags()?;
        reader.end()?;
        Ok(Self { error, apis })
    }

    /// The newest version that both sides know.
    pub(crate) fn common<R: Ask>(&self) -> Option<i16> {
        let &(_, min, max) = self.apis.iter().find(|(key, _, _)| *key == R::API as i16)?;
        let newest = max.min(R::SPOKEN.max);
        (newest >= min.max(R::SPOKEN.min)).then_some(newest)
    }
}

/// A SaslHandshake response of version 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SaslOffer {
    pub(crate) error: i16,
    pub(crate) mechanisms: Vec<String>,
}

impl SaslOffer {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body, false);
        let error = reader.i16()?;
        let mechanisms = reader.list(|r| Ok(r.string()?.unwrap_or_default().to_owned()))?;
        reader.end()?;
        Ok(Self { error, mechanisms })
    }
}

/// A SaslAuthenticate response of version 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SaslAuthenticated {
    pub(crate) error: i16,
    pub(crate) message: Option<String>,
    pub(crate) bytes: Vec<u8>,
}

impl SaslAuthenticated {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body, false);
        let error = reader.i16()?;
        let message = reader.string()?.map(str::to_owned);
        let bytes = reader.bytes()?.to_vec();
        // How long the session may last: longer than a question.
        reader.i64()?;
        reader.end()?;
        Ok(Self { error, message, bytes })
    }
}

/// A DescribeQuorum response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Quorum {
    State(QuorumState),
    /// An error code, its message, and the leader if the response has one all the same.
    Error {
        code: i16,
        message: Option<String>,
        leader: Option<i32>,
    },
}

impl Quorum {
    pub(crate) fn decode(body: &[u8], version: i16) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body, true);
        let code = reader.i16()?;
        let message = if version >= 2 {
            reader.string()?.map(str::to_owned)
        } else {
            None
        };
        let topics = reader.list(|r| {
            let name = r.string()?.ok_or(Malformed("a topic has no name"))?;
            let partitions = r.list(|r| QuorumPartition::decode(r, version))?;
            r.tags()?;
            Ok((name, partitions))
        })?;
        if version >= 2 {
            reader.list(skip_node)?;
        }
        reader.tags()?;
        reader.end()?;
        if code != 0 {
            return Ok(Self::Error {
                code,
                message,
                leader: None,
            });
        }
        let mut partitions = topics
            .into_iter()
            .filter(|(name, _)| *name == METADATA_TOPIC)
            .flat_map(|(_, p)| p);
        let partition = partitions
            .find(|p| p.index == 0)
            .ok_or(Malformed("it lacks the metadata partition"))?;
        if partition.error != 0 {
            return Ok(Self::Error {
                code: partition.error,
                message: partition.message,
                // An error leaves the leader at 0, which is a valid node.id: only an epoch shows that it was set.
                leader: (partition.state.epoch > 0 && partition.state.leader_id >= 0)
                    .then_some(partition.state.leader_id),
            });
        }
        Ok(Self::State(partition.state))
    }
}

struct QuorumPartition {
    index: i32,
    error: i16,
    message: Option<String>,
    state: QuorumState,
}

impl QuorumPartition {
    fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, Malformed> {
        let index = reader.i32()?;
        let error = reader.i16()?;
        let message = if version >= 2 {
            reader.string()?.map(str::to_owned)
        } else {
            None
        };
        let leader_id = reader.i32()?;
        let epoch = reader.i32()?;
        let high_watermark = reader.i64()?;
        let voters = reader.list(|r| replica(r, version))?;
        reader.list(|r| replica(r, version))?;
        reader.tags()?;
        Ok(Self {
            index,
            error,
            message,
            state: QuorumState {
                leader_id,
                epoch,
                high_watermark,
                voters,
            },
        })
    }
}

/// A voter or observer: (node.id, log end offset).
fn replica(reader: &mut Reader<'_>, version: i16) -> Result<(i32, i64), Malformed> {
    let id = reader.i32()?;
    if version >= 2 {
        // The id of its directory.
        reader.skip(16)?;
    }
    let end = reader.i64()?;
    if version >= 1 {
        // When it fetched last, and how far it had caught up then.
        reader.skip(16)?;
    }
    reader.tags()?;
    Ok((id, end))
}

fn skip_node(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    reader.i32()?;
    reader.list(|r| {
        r.string()?;
        r.string()?;
        r.skip(2)?;
        r.tags()
    })?;
    reader.tags()
}

/// A Metadata response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The first error of the response or of a topic as a whole: its code and the topic.
    pub(crate) error: Option<(i16, String)>,
    /// Every partition, sorted.
    pub(crate) partitions: Vec<PartitionState>,
}

impl Metadata {
    pub(crate) fn decode(body: &[u8], version: i16) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body, version >= 9);
        if version >= 3 {
            reader.i32()?;
        }
        reader.list(|r| {
            r.i32()?;
            r.string()?;
            r.i32()?;
            r.string()?;
            r.tags()
        })?;
        if version >= 2 {
            reader.string()?;
        }
        reader.i32()?;
        let mut error = None;
        let mut partitions = Vec::new();
        reader.list(|r| {
            let code = r.i16()?;
            let topic = r.string()?.unwrap_or_default();
            if version >= 10 {
                r.skip(16)?;
            }
            r.skip(1)?;
            r.list(|r| {
                partitions.push(partition(r, version, topic)?);
                Ok(())
            })?;
            if version >= 8 {
                r.i32()?;
            }
            r.tags()?;
            if code != 0 && error.is_none() {
                error = Some((code, topic.to_owned()));
            }
            Ok(())
        })?;
        if (8..=10).contains(&version) {
            reader.i32()?;
        }
        if version >= 13 {
            let code = reader.i16()?;
            if code != 0 {
                error = Some((code, String::new()));
            }
        }
        reader.tags()?;
        reader.end()?;
        partitions.sort();
        Ok(Self { error, partitions })
    }
}

fn partition(reader: &mut Reader<'_>, version: i16, topic: &str) -> Result<PartitionState, Malformed> {
    let error = reader.i16()?;
    let partition = reader.i32()?;
    let leader = reader.i32()?;
    if version >= 7 {
        reader.i32()?;
    }
    let replicas = reader.list(Reader::i32)?;
    let isr = reader.list(Reader::i32)?;
    let offline = if version >= 5 {
        reader.list(Reader::i32)?
    } else {
        Vec::new()
    };
    reader.tags()?;
    // LEADER_NOT_AVAILABLE and its like are the very state that is asked for. REPLICA_NOT_AVAILABLE (9) leaves the leader valid.
    let leader = if matches!(error, 0 | 9) { leader } else { -1 };
    Ok(PartitionState {
        topic: topic.to_owned(),
        partition,
        leader,
        replicas,
        isr,
        offline,
    })
}
