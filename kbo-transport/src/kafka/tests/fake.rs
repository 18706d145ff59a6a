//! A listener that answers as a test wants. What it writes is put together by hand, not by a library, and so is proof of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use openssl::ssl::SslAcceptor;

/// A request as far as a fake needs it.
pub(super) struct Request {
    pub(super) key: i16,
    pub(super) version: i16,
    pub(super) correlation: i32,
    /// What follows the client's name; of requests that are not flexible, the message.
    pub(super) body: Vec<u8>,
}

/// What to do on a request.
pub(super) enum Reply {
    /// Write these bytes and go on.
    Bytes(Vec<u8>),
    /// Write these bytes, one every so many milliseconds.
    Drip(Vec<u8>, u64),
    /// Say nothing, and keep the connection.
    Silence,
    /// Write these bytes and cut the connection.
    Last(Vec<u8>),
    /// Cut the connection.
    Close,
}

/// What answers on one connection.
pub(super) type Handler = Box<dyn FnMut(&Request) -> Reply + Send>;

/// What answers, anew for each connection.
type Answering = Arc<dyn Fn() -> Handler + Send + Sync>;

/// Serves every connection to a port of its own until the test's process ends.
pub(super) fn serve(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> u16 {
    listen(None, stateless(handler))
}

pub(super) fn serve_tls(acceptor: SslAcceptor, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> u16 {
    listen(Some(acceptor), stateless(handler))
}

/// A server whose answers depend on what was said on the connection before.
pub(super) fn serve_stateful(
    acceptor: Option<SslAcceptor>,
    handler: impl Fn() -> Handler + Send + Sync + 'static,
) -> u16 {
    listen(acceptor, Arc::new(handler))
}

fn stateless(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Answering {
    let handler = Arc::new(handler);
    Arc::new(move || {
        let handler = handler.clone();
        Box::new(move |request| handler(request))
    })
}

fn listen(acceptor: Option<SslAcceptor>, answering: Answering) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = acceptor.map(Arc::new);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (acceptor, handler) = (acceptor.clone(), answering());
            std::thread::spawn(move || match acceptor {
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream) {
                        let _ended = converse(stream, handler);
                    }
                }
                None => {
                    let _ended = converse(stream, handler);
                }
            });
        }
    });
    port
}

/// Answers until the other side has enough: `None` either way.
fn converse(mut stream: impl Read + Write, mut handler: Handler) -> Option<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut message).ok()?;
        let request = Request {
            key: i16::from_be_bytes([message[0], message[1]]),
            version: i16::from_be_bytes([message[2], message[3]]),
            correlation: i32::from_be_bytes([message[4], message[5], message[6], message[7]]),
            body: message[10 + usize::from(u16::from_be_bytes([message[8], message[9]]))..].to_vec(),
        };
        match handler(&request) {
            Reply::Bytes(bytes) => stream.write_all(&bytes).and_then(|()| stream.flush()).ok()?,
            Reply::Drip(bytes, pause) => {
                for byte in bytes {
                    std::thread::sleep(std::time::Duration::from_millis(pause));
                    stream.write_all(&[byte]).and_then(|()| stream.flush()).ok()?;
                }
            }
            Reply::Silence => {}
            Reply::Last(bytes) => {
                stream.write_all(&bytes).and_then(|()| stream.flush()).ok()?;
                return None;
            }
            Reply::Close => return None,
        }
    }
}

/// A port on which nobody listens.
pub(super) fn closed_port() -> u16 {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.local_addr().unwrap().port()
}

/// A Kafka that knows these APIs: ApiVersions itself, and one more with its newest version and its response's body.
pub(super) fn kafka(key: i16, max: i16, body: impl Fn(i16) -> Vec<u8> + Send + Sync + 'static) -> u16 {
    serve(answers(key, max, body))
}

pub(super) fn answers(
    key: i16,
    max: i16,
    body: impl Fn(i16) -> Vec<u8> + Send + Sync + 'static,
) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    move |request| match request.key {
        18 => Reply::Bytes(frame(
            request,
            false,
            &api_versions(request.version, &[(18, 0, 4), (key, 0, max)]),
        )),
        other => {
            assert_eq!(other, key, "an unexpected request");
            // Flexible responses have a header with tagged fields: DescribeQuorum and DescribeCluster always, Metadata from 9 on.
            let tagged = matches!(key, 55 | 60) || request.version >= 9;
            Reply::Bytes(frame(request, tagged, &body(request.version)))
        }
    }
}

pub(super) fn frame(request: &Request, tagged_header: bool, body: &[u8]) -> Vec<u8> {
    let mut out = Bytes::new(false);
    out.i32(request.correlation);
    if tagged_header {
        out.raw(&[0]);
    }
    out.raw(body);
    let mut framed = u32::try_from(out.out.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(out.out);
    framed
}

pub(super) fn api_versions(version: i16, apis: &[(i16, i16, i16)]) -> Vec<u8> {
    let mut out = Bytes::new(version >= 3);
    out.i16(0);
    out.list(apis, |out, &(key, min, max)| {
        out.i16(key);
        out.i16(min);
        out.i16(max);
        out.tags();
    });
    if version >= 1 {
        out.i32(0);
    }
    if version >= 3 {
        // finalized_features_epoch, as real brokers send it.
        out.raw(&[1, 1, 8, 0, 0, 0, 0, 0, 0, 0, 7]);
    }
    out.out
}

/// A writer of Kafka's wire format.
pub(super) struct Bytes {
    pub(super) out: Vec<u8>,
    pub(super) flexible: bool,
}

impl Bytes {
    pub(super) fn new(flexible: bool) -> Self {
        Self {
            out: Vec::new(),
            flexible,
        }
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    fn compact(&mut self, length: usize) {
        let mut rest = length + 1;
        while rest >= 0x80 {
            self.raw(&[(rest & 0x7f) as u8 | 0x80]);
            rest >>= 7;
        }
        self.raw(&[rest as u8]);
    }

    pub(super) fn string(&mut self, text: Option<&str>) {
        match (text, self.flexible) {
            (None, true) => self.raw(&[0]),
            (None, false) => self.i16(-1),
            (Some(text), true) => self.compact(text.len()),
            (Some(text), false) => self.i16(text.len() as i16),
        }
        self.raw(text.unwrap_or_default().as_bytes());
    }

    pub(super) fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        if self.flexible {
            self.compact(items.len());
        } else {
            self.i32(items.len() as i32);
        }
        for element in items {
            item(self, element);
        }
    }

    pub(super) fn tags(&mut self) {
        if self.flexible {
            self.raw(&[0]);
        }
    }
}
