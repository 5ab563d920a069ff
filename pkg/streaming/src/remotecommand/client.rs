//! The end that asks for the command.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ERROR, Options, RESIZE, ResizeWriter, STDERR, STDIN, STDOUT, STREAM_TYPE, Unused, Version, reading, writing};
use crate::upgrade::{Kind, Upgraded};
use crate::websocket::{Channels, Codec, Role};
use crate::{BoxIo, Error, KeepAlive, Outcome, ReadHalf, Stream, WriteHalf, spdy};

/// Longest status that is read. A bigger one is cut off and then fails to parse.
const MAX_STATUS: u64 = 1024 * 1024;

/// One exec or attach session, client's end. Take the streams out to use them in tasks of their own.
pub struct ClientSession {
    /// Input for the command; dropping or shutting it down ends it (in WebSocket only since v5).
    pub stdin: Option<WriteHalf>,
    /// The command's output. Read it to its end: an unread stream holds up the others.
    pub stdout: Option<ReadHalf>,
    /// The command's error output.
    pub stderr: Option<ReadHalf>,
    /// Where to tell the terminal's size.
    pub resize: Option<ResizeWriter>,
    /// How the command ended.
    pub status: StatusReader,
}

/// Waits for the outcome. Keeps the session alive.
pub struct StatusReader {
    stream: ReadHalf,
    json: bool,
    _unused: Vec<Unused>,
    connection: Connection,
}

#[derive(Clone)]
enum Connection {
    Spdy(spdy::Connection),
    WebSocket(Channels),
}

impl ClientSession {
    /// On a connection that [`crate::upgrade::connect`] has made.
    pub async fn start(upgraded: Upgraded, kind: Kind, options: Options, keep: KeepAlive) -> Result<Self, Error> {
        match kind {
            Kind::Spdy => Self::over_spdy(upgraded.io, &upgraded.protocol, options, keep).await,
            Kind::WebSocket => Ok(Self::over_websocket(upgraded.io, &upgraded.protocol, options, keep)),
        }
    }

    /// On an upgraded SPDY connection: opens the streams and waits until the server has accepted them. A server that named no
    /// protocol speaks the first one.
    pub async fn over_spdy(io: BoxIo, protocol: &str, options: Options, keep: KeepAlive) -> Result<Self, Error> {
        let version = Version::of(protocol, Kind::Spdy);
        let connection = spdy::Connection::start(io, true, keep);
        let open = |wanted: bool, kind: &str| wanted.then(|| connection.start_stream(&[(STREAM_TYPE, kind)])).transpose();
        let status = open(true, "error")?;
        let streams = [
            open(options.stdin, "stdin")?,
            open(options.stdout, "stdout")?,
            open(options.stderr && !options.tty, "stderr")?,
            status,
            open(options.tty && version.resize, "resize")?,
        ];
        for stream in streams.iter().flatten() {
            stream.ready().await?;
        }
        Ok(Self::new(Connection::Spdy(connection), version, streams))
    }

    /// On an upgraded WebSocket.
    pub fn over_websocket(io: BoxIo, protocol: &str, options: Options, keep: KeepAlive) -> Self {
        let channels = Channels::start(io, Role::Client, Codec::of(protocol), keep);
        let open = |wanted: bool, number: u8| wanted.then(|| channels.channel(number));
        let streams = [
            open(options.stdin, STDIN),
            open(options.stdout, STDOUT),
            open(options.stderr && !options.tty, STDERR),
            open(true, ERROR),
            open(options.tty, RESIZE),
        ];
        Self::new(Connection::WebSocket(channels), Version::of(protocol, Kind::WebSocket), streams)
    }

    fn new(connection: Connection, version: Version, streams: [Option<Stream>; 5]) -> Self {
        let [stdin, stdout, stderr, status, resize] = streams;
        let mut unused = Vec::new();
        let stdin = writing(stdin, &mut unused);
        let resize = writing(resize, &mut unused).map(ResizeWriter::new);
        let stdout = reading(stdout, &mut unused);
        let stderr = reading(stderr, &mut unused);
        let stream = reading(status, &mut unused).expect("the error stream is always opened");
        let status = StatusReader { stream, json: version.json_status, _unused: unused, connection };
        Self { stdin, stdout, stderr, resize, status }
    }

    /// Sends `data` as the whole of stdin and ends it. Does nothing for a session without stdin.
    pub async fn send_stdin(&mut self, data: &[u8]) -> Result<(), Error> {
        let Some(mut stdin) = self.stdin.take() else { return Ok(()) };
        stdin.write_all(data).await.map_err(|err| Error::lost(&err))
    }
}

impl StatusReader {
    /// Waits for the outcome. Read stdout and stderr to their ends first, or at the same time: what is unread may hold it up, and
    /// in v1 it comes before them. Fails if the connection broke before the server had closed the session. The session ends when
    /// the other streams are dropped, too.
    pub async fn wait(mut self) -> Result<Outcome, Error> {
        let mut text = Vec::new();
        let read = (&mut self.stream).take(MAX_STATUS).read_to_end(&mut text).await;
        match read {
            Err(err) if text.is_empty() => Err(Error::lost(&err)),
            // The status came, and that was all there was to come.
            _ => Ok(Outcome::parse(&text, self.json)),
        }
    }

    /// Waits until the connection is over, whatever the reason.
    pub async fn closed(&self) -> Error {
        match &self.connection {
            Connection::Spdy(connection) => connection.closed().await,
            Connection::WebSocket(channels) => channels.closed().await,
        }
    }
}
