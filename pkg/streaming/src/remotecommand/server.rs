//! The end that runs the command.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{ERROR, Options, RESIZE, ResizeEvents, STDERR, STDIN, STDOUT, STREAM_TYPE, Unused, Version, reading, writing};
use crate::upgrade::{Kind, Pending};
use crate::websocket::{Channels, Codec, Role};
use crate::{BoxIo, Error, KeepAlive, ReadHalf, Status, Stream, WriteHalf, spdy};

/// How long a client may take to open the streams it asked for, as upstream.
const CREATION_TIMEOUT: Duration = Duration::from_secs(30);

/// One exec or attach session, server's end. Take the streams out to use them in tasks of their own; end with
/// [`ServerSession::finish`].
pub struct ServerSession {
    /// What the client types. Ends when the client closes it (in WebSocket only since v5) or goes away.
    pub stdin: Option<ReadHalf>,
    /// The command's output.
    pub stdout: Option<WriteHalf>,
    /// The command's error output.
    pub stderr: Option<WriteHalf>,
    /// The client's terminal sizes.
    pub resize: Option<ResizeEvents>,
    status: WriteHalf,
    unused: Vec<Unused>,
    connection: Connection,
    version: Version,
}

enum Connection {
    Spdy(spdy::Connection),
    WebSocket(Channels),
}

impl ServerSession {
    /// Waits for an upgrade that was answered with [`crate::upgrade::accept`] and for the client's streams.
    pub async fn accept(pending: Pending, options: Options, keep: KeepAlive) -> Result<Self, Error> {
        let (kind, protocol) = (pending.kind, pending.protocol.clone());
        let io = pending.connect().await?;
        match kind {
            Kind::Spdy => Self::over_spdy(io, &protocol, options, keep).await,
            Kind::WebSocket => Ok(Self::over_websocket(io, &protocol, options, keep)),
        }
    }

    /// On an upgraded SPDY connection: waits until the client has opened all streams.
    pub async fn over_spdy(io: BoxIo, protocol: &str, options: Options, keep: KeepAlive) -> Result<Self, Error> {
        let version = Version::of(protocol, Kind::Spdy);
        let connection = spdy::Connection::start(io, false, keep);
        let streams = collect(&connection, options, version);
        let timed_out = || Error::Streams("timed out waiting for client to create streams".to_owned());
        let streams = tokio::time::timeout(CREATION_TIMEOUT, streams).await.unwrap_or_else(|_| Err(timed_out()))?;
        let [stdin, stdout, stderr, status, resize] = streams;
        let status = status.ok_or_else(|| Error::Streams("the client opened no error stream".to_owned()))?;
        Ok(Self::new(Connection::Spdy(connection), version, [stdin, stdout, stderr, Some(status), resize]))
    }

    /// On an upgraded WebSocket: all channels are there at once.
    pub fn over_websocket(io: BoxIo, protocol: &str, options: Options, keep: KeepAlive) -> Self {
        let channels = Channels::start(io, Role::Server, Codec::of(protocol), keep);
        let channel = |wanted: bool, number: u8| wanted.then(|| channels.channel(number));
        let streams = [
            channel(options.stdin, STDIN),
            channel(options.stdout, STDOUT),
            channel(options.stderr, STDERR),
            channel(true, ERROR),
            channel(true, RESIZE),
        ];
        channels.announce(if options.stdout {
            STDOUT
        } else if options.stderr {
            STDERR
        } else {
            ERROR
        });
        Self::new(Connection::WebSocket(channels), Version::of(protocol, Kind::WebSocket), streams)
    }

    fn new(connection: Connection, version: Version, streams: [Option<Stream>; 5]) -> Self {
        let [stdin, stdout, stderr, status, resize] = streams;
        let mut unused = Vec::new();
        let stdin = reading(stdin, &mut unused);
        let resize = reading(resize, &mut unused);
        let stdout = writing(stdout, &mut unused);
        let stderr = writing(stderr, &mut unused);
        let status = writing(status, &mut unused).expect("callers make sure of an error stream");
        Self { stdin, stdout, stderr, resize: resize.map(ResizeEvents::new), status, unused, connection, version }
    }

    /// Tells the client how the command ended, in the form of its protocol version, and closes the session: everything written
    /// so far is delivered first, in the background.
    pub async fn finish(mut self, status: &Status) -> Result<(), Error> {
        let text = if self.version.json_status { status.to_json() } else { status.to_text() };
        // What the client still types is of no use; dropping it keeps the connection moving.
        self.stdin = None;
        self.resize = None;
        // Ended before the status goes out: upstream's client waits for the ends of both.
        self.stdout = None;
        self.stderr = None;
        let sent = self.status.write_all(&text).await;
        match &self.connection {
            Connection::Spdy(connection) => connection.close(),
            Connection::WebSocket(channels) => channels.close(),
        }
        self.unused.clear();
        sent.map_err(|err| Error::lost(&err))
    }

    /// Waits until the client has gone, whatever the reason.
    pub async fn closed(&self) -> Error {
        match &self.connection {
            Connection::Spdy(connection) => connection.closed().await,
            Connection::WebSocket(channels) => channels.closed().await,
        }
    }
}

/// Waits for the streams that the options announce: stdin, stdout, stderr, error, resize.
async fn collect(connection: &spdy::Connection, options: Options, version: Version) -> Result<[Option<Stream>; 5], Error> {
    let wanted = [options.stdin, options.stdout, options.stderr, true, options.tty && version.resize];
    let mut streams: [Option<Stream>; 5] = Default::default();
    while !streams.iter().zip(wanted).all(|(stream, wanted)| stream.is_some() || !wanted) {
        let stream = connection.accept().await?;
        let kind = stream.header(STREAM_TYPE).unwrap_or_default();
        let place = match kind.as_str() {
            "stdin" => STDIN,
            "stdout" => STDOUT,
            "stderr" => STDERR,
            "error" => ERROR,
            "resize" => RESIZE,
            _ => {
                tracing::warn!(stream_type = kind, "unexpected stream type");
                continue;
            }
        };
        let place = &mut streams[usize::from(place)];
        if place.is_some() {
            return Err(Error::Streams(format!("the client opened stream {kind:?} twice")));
        }
        *place = Some(stream);
    }
    Ok(streams)
}
