//! Sessions with a container: WebSocket first, SPDY where a server is too old for it; and this end's terminal.
//!
//! Upstream: `client-go/tools/remotecommand`, `kubectl/pkg/util/term`.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::{Client, Error, Request};
use http::header::{HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use streaming::remotecommand::{ClientSession, Options, SPDY_PROTOCOLS, TerminalSize, WEBSOCKET_CLIENT_PROTOCOLS};
use streaming::{BoxIo, KeepAlive, Outcome as Ended, portforward};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// Most bytes of one copy. Output of a container comes in pieces up to this size.
const CHUNK: usize = 64 * 1024;

/// A connection that has left HTTP behind, and the protocol that was agreed upon.
struct Switched {
    io: BoxIo,
    protocol: String,
    websocket: bool,
}

async fn switch(client: &Client, path: &str, websocket: &[&str], spdy: &[&str]) -> Result<Switched, Failure> {
    const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
    let request = Request::get(path)
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &random_key())
        .header(SEC_WEBSOCKET_PROTOCOL, &websocket.join(", "));
    match client.upgrade(request, "websocket").await {
        Ok(upgraded) => {
            let protocol = header(&upgraded.headers, SEC_WEBSOCKET_PROTOCOL);
            return Ok(Switched { io: Box::new(upgraded.io), protocol, websocket: true });
        }
        // What a second attempt would be answered the same way.
        Err(error @ (Error::Connect { .. } | Error::Tls { .. } | Error::Auth(_))) => return Err(error.into()),
        Err(error) if error.is_not_found() || error.is_unauthorized() => return Err(error.into()),
        Err(_) => {}
    }
    let mut request = Request::new(http::Method::POST, path);
    for protocol in spdy {
        request = request.header(STREAM_PROTOCOL, protocol);
    }
    let upgraded = client.upgrade(request, "SPDY/3.1").await?;
    let protocol = header(&upgraded.headers, STREAM_PROTOCOL);
    Ok(Switched { io: Box::new(upgraded.io), protocol, websocket: false })
}

fn header(headers: &http::HeaderMap, name: HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_string()
}

fn random_key() -> String {
    let mut bytes = [0u8; 16];
    // A key need not be secret, only different each time.
    drop(std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)));
    STANDARD.encode(bytes)
}

/// Opens an exec or attach session at `path`, its query included.
pub async fn session(client: &Client, path: &str, options: Options) -> Result<ClientSession, Failure> {
    let switched = switch(client, path, WEBSOCKET_CLIENT_PROTOCOLS, SPDY_PROTOCOLS).await?;
    Ok(match switched.websocket {
        true => ClientSession::over_websocket(switched.io, &switched.protocol, options, KeepAlive::default()),
        false => ClientSession::over_spdy(switched.io, &switched.protocol, options, KeepAlive::default()).await?,
    })
}

/// Opens a port-forward session.
pub async fn port_forward(client: &Client, path: &str) -> Result<portforward::Client, Failure> {
    let switched = switch(client, path, &[portforward::TUNNEL_PROTOCOL], portforward::SPDY_PROTOCOLS).await?;
    Ok(match switched.websocket {
        true => portforward::Client::over_websocket(switched.io, KeepAlive::default()),
        false => portforward::Client::over_spdy(switched.io, KeepAlive::default()),
    })
}

/// The terminal in raw mode. Dropping it brings the old mode back.
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    pub fn enter() -> Option<RawTerminal> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &raw).ok()?;
        Some(RawTerminal { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // There is nobody left to tell of a failure.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
    }
}

pub fn is_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stdin().is_terminal()
}

fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin())).ok()?;
    Some(TerminalSize { width: size.ws_col, height: size.ws_row })
}

/// Joins the session with standard input, output and error, until the command has ended.
pub async fn converse(mut session: ClientSession, tty: bool) -> Result<Ended, Failure> {
    let _raw = if tty { RawTerminal::enter() } else { None };
    if let Some(mut stdin) = session.stdin.take() {
        // Ends with the process: a read of a terminal cannot be called off.
        tokio::spawn(async move {
            drop(copy(&mut tokio::io::stdin(), &mut stdin).await);
            drop(stdin.shutdown().await);
        });
    }
    if let (true, Some(mut resize)) = (tty, session.resize.take()) {
        tokio::spawn(async move {
            let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
            loop {
                if let Some(size) = size()
                    && resize.send(size).await.is_err()
                {
                    return;
                }
                changes.recv().await;
            }
        });
    }
    let output = session.stdout.take();
    let errors = session.stderr.take();
    let print_output = async {
        match output {
            Some(mut output) => copy(&mut output, &mut tokio::io::stdout()).await,
            None => Ok(()),
        }
    };
    let print_errors = async {
        match errors {
            Some(mut errors) => copy(&mut errors, &mut tokio::io::stderr()).await,
            None => Ok(()),
        }
    };
    let (_, _, ended) = tokio::join!(print_output, print_errors, session.status.wait());
    Ok(ended?)
}

/// Copies until the end, showing each piece at once.
pub async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl tokio::io::AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}

/// How a command's end becomes kubectl's.
pub fn exit(ended: Ended) -> Result<(), Failure> {
    match ended {
        Ended::Success => Ok(()),
        Ended::ExitCode(code) => Err(Failure::Plain(format!("command terminated with exit code {code}"), code)),
        Ended::Failed(message) => Err(Failure::text(message)),
    }
}
