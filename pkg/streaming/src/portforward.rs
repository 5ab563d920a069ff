//! Port-forward: connections to ports of a Pod, each a pair of streams (data, error) on one connection.
//!
//! - SPDY, raw or tunnelled in WebSocket (`SPDY/3.1+portforward.k8s.io`): the client opens an error and a data stream per connection,
//!   with the headers `streamtype`, `port` and `requestid`; as many connections as it likes.
//! - The old WebSocket form, which the Python client speaks: the ports come in the query, port number i has the channels 2i (data)
//!   and 2i+1 (error), each starts with the port in two bytes, little endian; one connection per port.

mod legacy;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::upgrade::{Kind, Pending};
use crate::websocket::{self, Channels, Role};
use crate::{BoxIo, Error, KeepAlive, ReadHalf, Stream, WriteHalf, spdy};
pub use legacy::ports_from_query;

/// The protocol inside SPDY.
pub const PROTOCOL: &str = "portforward.k8s.io";
/// SPDY inside WebSocket: what upstream's `kubectl` asks for first.
pub const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// For [`crate::upgrade::accept`]: what a SPDY client may ask for.
pub const SPDY_PROTOCOLS: &[&str] = &[PROTOCOL];
/// For [`crate::upgrade::accept`]: what a WebSocket client may ask for. The empty one is the old form.
pub const WEBSOCKET_PROTOCOLS: &[&str] = &[TUNNEL_PROTOCOL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""];

/// How long the second stream of a pair may take, as upstream.
const PAIR_TIMEOUT: Duration = Duration::from_secs(30);
/// Most pairs that wait for their second stream.
const MAX_PENDING: usize = 256;
/// Longest error message that a client reads.
const MAX_ERROR: u64 = 64 * 1024;

/// A connection that the client wants to have forwarded.
pub struct Forward {
    /// The port in the Pod, not zero.
    pub port: u16,
    /// The bytes. Shut it down when the Pod's side ends, drop it when both have.
    pub data: Stream,
    /// Where failure is told.
    pub error: ErrorWriter,
}

/// Tells the client why a connection failed. Dropped unused, it says that all went well.
pub struct ErrorWriter {
    stream: WriteHalf,
    _unused: ReadHalf,
}

impl ErrorWriter {
    fn new(stream: Stream) -> Self {
        let (unused, stream) = stream.into_split();
        unused.ignore();
        Self { stream, _unused: unused }
    }

    /// Sends the message and ends the error stream. Upstream's client then gives up the whole session.
    pub async fn fail(mut self, message: &str) -> Result<(), Error> {
        self.stream.write_all(message.as_bytes()).await.map_err(|err| Error::lost(&err))
    }
}

/// The end that connects to the Pod.
pub struct Server {
    kind: Protocol,
}

enum Protocol {
    Spdy { connection: spdy::Connection, pairs: HashMap<String, Pair> },
    Legacy { channels: Channels, ready: Vec<Forward> },
}

/// Half of a pair.
struct Pair {
    stream: Stream,
    is_error: bool,
    deadline: Instant,
}

impl Server {
    /// Waits for an upgrade that was answered with [`crate::upgrade::accept`]. `ports` are those of the request's query, which the
    /// old WebSocket form needs ([`ports_from_query`]).
    pub async fn accept_upgrade(pending: Pending, ports: &[u16], keep: KeepAlive) -> Result<Self, Error> {
        let (kind, protocol) = (pending.kind, pending.protocol.clone());
        let io = pending.connect().await?;
        match kind {
            Kind::Spdy => Ok(Self::over_spdy(io, keep)),
            Kind::WebSocket if protocol == TUNNEL_PROTOCOL => {
                Ok(Self::over_spdy(Box::new(websocket::tunnel(io, Role::Server, KeepAlive::default())), keep))
            }
            Kind::WebSocket => Self::over_websocket(io, &protocol, ports, keep).await,
        }
    }

    /// On an upgraded SPDY connection, or a tunnel that carries one.
    pub fn over_spdy(io: BoxIo, keep: KeepAlive) -> Self {
        Self { kind: Protocol::Spdy { connection: spdy::Connection::start(io, false, keep), pairs: HashMap::new() } }
    }

    /// On an upgraded WebSocket in the old form.
    pub async fn over_websocket(io: BoxIo, protocol: &str, ports: &[u16], keep: KeepAlive) -> Result<Self, Error> {
        let (channels, ready) = legacy::start(io, protocol, ports, keep).await?;
        Ok(Self { kind: Protocol::Legacy { channels, ready } })
    }

    /// The next connection to forward. Fails once there will be none: with [`Error::Finished`] if the client closed the session
    /// properly. Not safe to cancel while a pair is incomplete only in that its timeout may be late.
    pub async fn accept(&mut self) -> Result<Forward, Error> {
        match &mut self.kind {
            Protocol::Legacy { channels, ready } => match ready.pop() {
                Some(forward) => Ok(forward),
                None => Err(channels.closed().await),
            },
            Protocol::Spdy { connection, pairs } => accept_pair(connection, pairs).await,
        }
    }

    /// Ends the session; what is already written is delivered first. Returns at once.
    pub fn close(&self) {
        match &self.kind {
            Protocol::Spdy { connection, .. } => connection.close(),
            Protocol::Legacy { channels, .. } => channels.close(),
        }
    }
}

async fn accept_pair(connection: &spdy::Connection, pairs: &mut HashMap<String, Pair>) -> Result<Forward, Error> {
    loop {
        let deadline = pairs.values().map(|pair| pair.deadline).min();
        let wait = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        // Both arms are cancel-safe: an accepted stream is returned in the same poll that takes it.
        let stream = tokio::select! {
            stream = connection.accept() => stream?,
            () = wait => {
                expire(pairs).await;
                continue;
            }
        };
        let Some((id, is_error, port)) = describe(&stream) else {
            stream.reset();
            continue;
        };
        match pairs.remove(&id) {
            Some(other) if other.is_error != is_error => {
                let (data, error) = if is_error { (other.stream, stream) } else { (stream, other.stream) };
                return Ok(Forward { port, data, error: ErrorWriter::new(error) });
            }
            Some(other) => {
                tracing::warn!(request_id = id, "port-forward stream is already assigned");
                pairs.insert(id, other);
                stream.reset();
            }
            None if pairs.len() >= MAX_PENDING => stream.reset(),
            None => {
                pairs.insert(id, Pair { stream, is_error, deadline: Instant::now() + PAIR_TIMEOUT });
            }
        }
    }
}

/// Gives up pairs whose second stream did not come.
async fn expire(pairs: &mut HashMap<String, Pair>) {
    let now = Instant::now();
    let late: Vec<String> = pairs.iter().filter(|(_, pair)| pair.deadline <= now).map(|(id, _)| id.clone()).collect();
    for id in late {
        if let Some(pair) = pairs.remove(&id)
            && pair.is_error
        {
            // A client that is gone by now is no news.
            let _ = ErrorWriter::new(pair.stream).fail(&format!("(request={id}) timed out waiting for streams")).await;
        }
    }
}

/// Request id, whether it is the error stream, and port; `None` for a stream that is refused.
fn describe(stream: &Stream) -> Option<(String, bool, u16)> {
    let port = stream.header("port")?.parse().ok().filter(|port| *port > 0)?;
    let is_error = match stream.header("streamtype")?.as_str() {
        "error" => true,
        "data" => false,
        _ => return None,
    };
    // Clients older than the header open the pair with consecutive ids, error first.
    let id = stream.header("requestid").filter(|id| !id.is_empty());
    let id = id.unwrap_or_else(|| (if is_error { stream.id() } else { stream.id().wrapping_sub(2) }).to_string());
    Some((id, is_error, port))
}

/// The end that has the local port.
pub struct Client {
    connection: spdy::Connection,
    next: AtomicU64,
}

/// A forwarded connection, client's end.
pub struct Forwarded {
    /// The bytes to and from the Pod.
    pub data: Stream,
    /// What went wrong on the other side.
    pub error: ErrorReader,
}

/// Waits for the server's word on how a connection went.
pub struct ErrorReader {
    stream: ReadHalf,
    _unused: WriteHalf,
}

impl ErrorReader {
    /// The server's message; `None` if all went well. Ends when the server has ended the connection.
    pub async fn message(mut self) -> Result<Option<String>, Error> {
        let mut text = Vec::new();
        (&mut self.stream).take(MAX_ERROR).read_to_end(&mut text).await.map_err(|err| Error::lost(&err))?;
        Ok((!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned()))
    }
}

impl Client {
    /// On an upgraded SPDY connection.
    pub fn over_spdy(io: BoxIo, keep: KeepAlive) -> Self {
        Self { connection: spdy::Connection::start(io, true, keep), next: AtomicU64::new(0) }
    }

    /// On an upgraded WebSocket with [`TUNNEL_PROTOCOL`].
    pub fn over_websocket(io: BoxIo, keep: KeepAlive) -> Self {
        Self::over_spdy(Box::new(websocket::tunnel(io, Role::Client, KeepAlive::default())), keep)
    }

    /// Opens a connection to a port of the Pod.
    pub async fn open(&self, port: u16) -> Result<Forwarded, Error> {
        let (id, port) = (self.next.fetch_add(1, Ordering::Relaxed).to_string(), port.to_string());
        let open = |kind| self.connection.start_stream(&[("streamtype", kind), ("port", &port), ("requestid", &id)]);
        let (error, data) = (open("error")?, open("data")?);
        error.ready().await?;
        let (stream, mut unused) = error.into_split();
        unused.shutdown().await.map_err(|err| Error::lost(&err))?; // We never write to it.
        data.ready().await?;
        Ok(Forwarded { data, error: ErrorReader { stream, _unused: unused } })
    }

    /// Ends the session. Returns at once.
    pub fn close(&self) {
        self.connection.close();
    }

    /// Waits for the end of the session and tells why it came.
    pub async fn closed(&self) -> Error {
        self.connection.closed().await
    }
}
