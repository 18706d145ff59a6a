//! A connection to one listener, for one question.
//!
//! It blocks, because the TLS library does; [`super::Prober`] runs it on a thread for blocking work. One deadline bounds it
//! all: every read and write waits for what is left of it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ApiVersionsRequest, DescribeClusterRequest, DescribeQuorumRequest, MetadataRequest, RequestHeader,
};
use kafka_protocol::protocol::{StrBytes, encode_request_header_into_buffer};
use kbo_core::ports::node::{KafkaAnswer, KafkaQuestion, NodeError, NodeErrorKind};

use zeroize::Zeroize;

use super::messages::{self, ApiVersions, Ask, Metadata, Quorum, Registered};
use super::sasl::{self, Sasl};
use super::tls::{self, Tls};
use super::wire::{Malformed, Reader};

/// A response larger than this is none: it is Kafka's own default limit, and more than a million partitions.
const MAX_FRAME: u32 = 100 * 1024 * 1024;

/// The error codes that mean more here than that there was an error.
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const UNSUPPORTED_VERSION: i16 = 35;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Nothing was reached there.
    Unreached(String),
    /// Something was, and may answer later.
    NotYet(String),
    /// Waiting will not help.
    Failed(NodeError),
}

impl Trouble {
    /// What there is to say.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Unreached(text) | Self::NotYet(text) => text,
            Self::Failed(error) => &error.message,
        }
    }

    /// An I/O error of a connection that stood.
    pub(crate) fn of_io(error: &io::Error, when: &str) -> Self {
        if let Some(ssl) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<openssl::ssl::Error>())
            && let Some(stack) = ssl.ssl_error()
        {
            return tls::meaning(stack);
        }
        Self::NotYet(match error.kind() {
            io::ErrorKind::TimedOut => format!("no answer in time {when}"),
            io::ErrorKind::UnexpectedEof => format!("closed the connection {when}"),
            _ => format!("{} {when}", plain(error)),
        })
    }

    pub(crate) fn wrong(message: impl Into<String>) -> Self {
        Self::Failed(NodeError::new(NodeErrorKind::State, message).hint(
            "something else than Kafka may listen there, or Kafka's listener speaks another protocol than configured",
        ))
    }
}

impl From<Malformed> for Trouble {
    fn from(Malformed(why): Malformed) -> Self {
        Self::wrong(format!("its answer is no Kafka response: {why}"))
    }
}

/// The error in words, without `(os error N)`.
pub(crate) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => error.to_string(),
    }
}

/// One question to one address.
pub(crate) struct Try<'a> {
    pub(crate) address: SocketAddr,
    /// For TLS: the client and the name that the certificate must have.
    pub(crate) tls: Option<(&'a Tls, &'a str)>,
    /// For SASL: who we are.
    pub(crate) sasl: Option<&'a Sasl>,
    /// Bounds the connection's making.
    pub(crate) connect: Duration,
    /// Bounds everything.
    pub(crate) deadline: Instant,
    /// The node's own node.id, if known.
    pub(crate) node_id: Option<i32>,
}

impl Try<'_> {
    /// Connects, asks and understands.
    pub(crate) fn ask(&self, question: KafkaQuestion) -> Result<KafkaAnswer, Trouble> {
        let mut connection = match self.sasl {
            Some(sasl) => sasl::log_in(|| self.open(), sasl, self.tls.is_some())?,
            None => self.open()?,
        };
        // After a login, not before it: then it would not have been the broker's request handlers that answered.
        let apis = connection.api_versions()?;
        match question {
            KafkaQuestion::Alive => Ok(KafkaAnswer::Alive),
            KafkaQuestion::Quorum => {
                let version = common::<DescribeQuorumRequest>(&apis)?;
                let body = connection.call(version, &messages::describe_quorum_request())?;
                self.understand_quorum(Quorum::decode(&body, version)?)
            }
            KafkaQuestion::Brokers => {
                let version = common::<DescribeClusterRequest>(&apis)?;
                let body = connection.call(version, &messages::describe_cluster_request(version))?;
                let registered = Registered::decode(&body, version)?;
                match registered.error {
                    0 => Ok(KafkaAnswer::Brokers(registered.brokers)),
                    code => Err(refusal("DescribeCluster", code, registered.message.as_deref())),
                }
            }
            KafkaQuestion::Partitions => {
                let version = common::<MetadataRequest>(&apis)?;
                let body = connection.call(version, &messages::metadata_request(version))?;
                let metadata = Metadata::decode(&body, version)?;
                match metadata.error {
                    None => Ok(KafkaAnswer::Partitions(metadata.partitions)),
                    Some((code, topic)) if topic.is_empty() => Err(refusal("Metadata", code, None)),
                    Some((code, topic)) => Err(refusal(&format!("Metadata of topic {topic}"), code, None)),
                }
            }
        }
    }

    fn understand_quorum(&self, quorum: Quorum) -> Result<KafkaAnswer, Trouble> {
        let someone_else = |leader: i32| leader >= 0 && self.node_id.is_some_and(|own| own != leader);
        match quorum {
            // Only the leader answers: an answer in another's name came from another node, which says as much of this one.
            Quorum::State(state) if someone_else(state.leader_id) => Ok(KafkaAnswer::NotLeader(Some(state.leader_id))),
            Quorum::State(state) => Ok(KafkaAnswer::Quorum(state)),
            Quorum::Error {
                code: NOT_LEADER_OR_FOLLOWER,
                leader,
                ..
            } => Ok(KafkaAnswer::NotLeader(leader.filter(|&leader| someone_else(leader)))),
            Quorum::Error { code, message, .. } => Err(refusal("DescribeQuorum", code, message.as_deref())),
        }
    }

    fn open(&self) -> Result<Connection, Trouble> {
        let left = self
            .deadline
            .saturating_duration_since(Instant::now())
            .min(self.connect);
        if left.is_zero() {
            return Err(Trouble::Unreached("no time left to try it".to_owned()));
        }
        let stream = TcpStream::connect_timeout(&self.address, left).map_err(|error| match error.kind() {
            // The machine is there, its port is not open yet.
            io::ErrorKind::ConnectionRefused => Trouble::NotYet(plain(&error)),
            io::ErrorKind::TimedOut => Trouble::Unreached("connecting timed out".to_owned()),
            _ => Trouble::Unreached(plain(&error)),
        })?;
        // Requests are tiny and waited for; a socket that refuses the option works as well.
        drop(stream.set_nodelay(true));
        let stream = Deadlined {
            stream,
            deadline: self.deadline,
        };
        let stream: Box<dyn ReadWrite> = match self.tls {
            Some((tls, server_name)) => Box::new(tls.handshake(server_name, stream)?),
            None => Box::new(stream),
        };
        Ok(Connection { stream, correlation: 0 })
    }
}

fn common<R: Ask>(apis: &ApiVersions) -> Result<i16, Trouble> {
    apis.common::<R>().ok_or_else(|| {
        Trouble::Failed(
            NodeError::new(
                NodeErrorKind::State,
                format!("it knows no version of {:?} that kbo speaks", R::API),
            )
            .hint("is this listener the one that the configuration says, and Kafka 3.3 or newer?"),
        )
    })
}

/// An error code in a response.
pub(crate) fn refusal(what: &str, code: i16, message: Option<&str>) -> Trouble {
    let known = ResponseError::try_from_code(code);
    let name = known.map_or_else(|| format!("error {code}"), |error| format!("{error:?}"));
    let text = match message {
        Some(message) if !message.is_empty() => format!("{what} was answered with {name}: {message}"),
        _ => format!("{what} was answered with {name}"),
    };
    match known {
        Some(
            ResponseError::ClusterAuthorizationFailed
            | ResponseError::TopicAuthorizationFailed
            | ResponseError::SaslAuthenticationFailed,
        ) => Trouble::Failed(
            NodeError::new(NodeErrorKind::Refused, text)
                .hint("the principal needs DESCRIBE on the cluster and on every topic"),
        ),
        Some(error) if error.is_retriable() => Trouble::NotYet(text),
        // What a starting server says when it cannot say it better.
        Some(ResponseError::UnknownServerError) => Trouble::NotYet(text),
        _ => Trouble::Failed(NodeError::new(NodeErrorKind::State, text)),
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// An open connection. Requests go one by one.
pub(crate) struct Connection {
    stream: Box<dyn ReadWrite>,
    correlation: i32,
}

impl Connection {
    fn api_versions(&mut self) -> Result<ApiVersions, Trouble> {
        let oldest = ApiVersionsRequest::SPOKEN.min;
        let mut version = ApiVersionsRequest::SPOKEN.max;
        loop {
            let body = self.call(version, &messages::api_versions_request(version))?;
            let answer = ApiVersions::decode(&body, version)?;
            match answer.error {
                0 => return Ok(answer),
                UNSUPPORTED_VERSION if version > oldest => version = oldest,
                code => return Err(refusal("ApiVersions", code, None)),
            }
        }
    }

    /// Sends a request and returns the response's body.
    fn call<R: Ask>(&mut self, version: i16, request: &R) -> Result<Vec<u8>, Trouble> {
        self.call_for(MAX_FRAME, version, request)
    }

    /// As [`Self::call`], for a response of at most `most` bytes.
    pub(crate) fn call_for<R: Ask>(&mut self, most: u32, version: i16, request: &R) -> Result<Vec<u8>, Trouble> {
        self.correlation += 1;
        let mut frame = self.frame(version, request).map_err(|error| {
            Trouble::Failed(NodeError::new(
                NodeErrorKind::State,
                format!("{:?} cannot be written: {error}", R::API),
            ))
        })?;
        let when = "after the request";
        let sent = self.stream.write_all(&frame).and_then(|()| self.stream.flush());
        // It may hold a password.
        frame.as_mut().zeroize();
        sent.map_err(|e| Trouble::of_io(&e, when))?;

        let mut length = [0; 4];
        self.stream
            .read_exact(&mut length)
            .map_err(|e| Trouble::of_io(&e, when))?;
        // A TLS record of an alert, or of a handshake: content type 0x15 or 0x16, version 3.x.
        if matches!(length, [0x15 | 0x16, 3, 0..=4, _]) {
            return Err(Trouble::wrong("it speaks TLS, and was spoken to in plain text"));
        }
        let length = u32::from_be_bytes(length);
        if length > most {
            return Err(Trouble::wrong(format!(
                "its answer is no Kafka response: it claims to be {length} bytes long"
            )));
        }
        // The buffer grows with what comes, not with what is promised.
        let mut response = Vec::new();
        let read = (&mut self.stream).take(u64::from(length)).read_to_end(&mut response);
        read.map_err(|e| Trouble::of_io(&e, "in the middle of its answer"))?;
        if response.len() < length as usize {
            return Err(Trouble::NotYet(
                "closed the connection in the middle of its answer".to_owned(),
            ));
        }
        self.body::<R>(version, response)
    }

    fn frame<R: Ask>(&self, version: i16, request: &R) -> Result<BytesMut, String> {
        let header = RequestHeader::default()
            .with_request_api_key(R::API as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("kbo")));
        let mut message = BytesMut::new();
        message.extend_from_slice(&[0; 4]);
        encode_request_header_into_buffer(&mut message, &header).map_err(|e| e.to_string())?;
        request.encode(&mut message, version).map_err(|e| e.to_string())?;
        let length = u32::try_from(message.len() - 4).map_err(|e| e.to_string())?;
        message[..4].copy_from_slice(&length.to_be_bytes());
        Ok(message)
    }

    /// Checks that the response is the request's, and takes its header off.
    fn body<R: Ask>(&self, version: i16, mut response: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        let flexible = R::tagged_response_header(version);
        let mut header = Reader::new(&response, flexible);
        if header.i32()? != self.correlation {
            return Err(Trouble::wrong("its answer is to another request"));
        }
        header.tags()?;
        let start = response.len() - header.left();
        response.drain(..start);
        Ok(response)
    }
}

/// A socket whose every wait ends at the deadline.
pub(crate) struct Deadlined {
    pub(crate) stream: TcpStream,
    pub(crate) deadline: Instant,
}

impl Deadlined {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(left)
        }
    }
}

/// A timeout on a socket shows as WouldBlock, which the TLS library would take for an invitation to go on.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        io::ErrorKind::TimedOut.into()
    } else {
        error
    }
}

impl Read for Deadlined {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buf).map_err(timed_out)
    }
}

impl Write for Deadlined {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        match self.stream.write(buf) {
            // A peer that refuses us says why and cuts the connection, maybe before we wrote. Every request is followed by a
            // read, and that finds what the peer said last, or that it is gone.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                Ok(buf.len())
            }
            outcome => outcome.map_err(timed_out),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
