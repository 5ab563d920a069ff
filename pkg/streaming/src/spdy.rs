//! SPDY/3.1 as Kubernetes uses it: streams with headers, half-close and reset over one upgraded connection.
//!
//! Both ends, framing and header compression are here; buffers and the driving task are `mux`. As `moby/spdystream` does, window
//! updates and settings are read and ignored and none are sent: back pressure is the socket's. Upstream's peers drop data on a
//! stream that has not been accepted, hence [`Connection::open_stream`] waits for the answer.

mod frame;
mod headers;

use crate::mux::{KeepAlive, Mux};
use crate::{BoxIo, Error, Io, Stream};

/// The value of the `Upgrade` header.
pub const PROTOCOL: &str = "SPDY/3.1";

/// A SPDY connection, client's or server's end. Clones speak of the same connection, which closes when they and all streams are
/// dropped.
#[derive(Clone)]
pub struct Connection {
    mux: Mux,
}

impl Connection {
    /// The end that sent the upgrade request.
    pub fn client(io: impl Io) -> Self {
        Self::start(Box::new(io), true, KeepAlive::default())
    }

    /// The end that answered it.
    pub fn server(io: impl Io) -> Self {
        Self::start(Box::new(io), false, KeepAlive::default())
    }

    /// As [`Connection::client`] or [`Connection::server`], with pings or an idle timeout.
    pub fn start(io: BoxIo, client: bool, keep: KeepAlive) -> Self {
        let first = if client { 1 } else { 2 };
        Self { mux: Mux::start(io, Box::new(frame::Writer::new(client)), Box::new(frame::Reader::new(client)), first, keep) }
    }

    /// Opens a stream and waits until the peer has accepted it.
    pub async fn open_stream(&self, headers: &[(&str, &str)]) -> Result<Stream, Error> {
        let stream = self.start_stream(headers)?;
        stream.ready().await?;
        Ok(stream)
    }

    /// Asks for a stream without waiting; [`Stream::ready`] must have returned before the first write.
    pub fn start_stream(&self, headers: &[(&str, &str)]) -> Result<Stream, Error> {
        self.mux.open(headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect())
    }

    /// The next stream that the peer opens. Fails once the connection is over; [`Error::Finished`] if it was closed properly.
    pub async fn accept(&self) -> Result<Stream, Error> {
        self.mux.accept().await
    }

    /// Ends all streams, says goodbye and closes the socket when everything is flushed. Returns at once.
    pub fn close(&self) {
        self.mux.close();
    }

    /// Waits for the end of the connection and tells why it came.
    pub async fn closed(&self) -> Error {
        self.mux.closed().await
    }
}
