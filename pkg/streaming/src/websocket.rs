//! WebSocket (RFC 6455) as Kubernetes uses it: channels of one session, or a tunnel for SPDY.
//!
//! The framing is our own, some two hundred lines: it hands payload on as it arrives, so that a message has no size limit and is
//! never held in memory whole, and it shares buffers, back pressure and the driving task with SPDY.

mod frame;

use crate::mux::{KeepAlive, Mux};
use crate::{BoxIo, Error, Stream};

/// Which end of the connection we are. Clients mask what they send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that sent the upgrade request.
    Client,
    /// The end that answered it.
    Server,
}

/// How messages name their channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Text messages: a digit for the channel, then base64.
    pub base64: bool,
    /// Channel 255 tells that a channel is closed (v5).
    pub close_signal: bool,
}

impl Codec {
    /// The codec of a subprotocol such as `v4.base64.channel.k8s.io`.
    pub fn of(protocol: &str) -> Self {
        Self { base64: protocol.contains("base64."), close_signal: protocol.starts_with("v5.") }
    }
}

/// A WebSocket whose messages each belong to a numbered channel.
#[derive(Clone)]
pub struct Channels {
    mux: Mux,
}

impl Channels {
    /// Starts on an upgraded connection. Declare the channels at once: what comes for an unknown channel is dropped.
    pub fn start(io: BoxIo, role: Role, codec: Codec, keep: KeepAlive) -> Self {
        let client = role == Role::Client;
        let mode = frame::Mode::Channels(codec);
        Self { mux: Mux::start(io, Box::new(frame::Writer::new(client, mode)), Box::new(frame::Reader::new(client, mode)), 1, keep) }
    }

    /// The stream for a channel number.
    pub fn channel(&self, number: u8) -> Stream {
        self.mux.channel(u32::from(number))
    }

    /// Sends an empty message on a channel, which tells the client that the session is up.
    pub fn announce(&self, number: u8) {
        self.mux.send_empty(u32::from(number));
    }

    /// Ends the session: a close frame after everything written so far. Returns at once.
    pub fn close(&self) {
        self.mux.close();
    }

    /// Waits for the end of the connection and tells why it came.
    pub async fn closed(&self) -> Error {
        self.mux.closed().await
    }
}

/// Makes a plain byte stream of binary messages: what carries SPDY in the `SPDY/3.1+portforward.k8s.io` subprotocol.
pub fn tunnel(io: BoxIo, role: Role, keep: KeepAlive) -> Stream {
    let client = role == Role::Client;
    let mode = frame::Mode::Tunnel;
    Mux::start(io, Box::new(frame::Writer::new(client, mode)), Box::new(frame::Reader::new(client, mode)), 1, keep).channel(0)
}
