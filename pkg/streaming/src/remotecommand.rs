//! Exec and attach: one session of stdin, stdout, stderr, terminal sizes and a status, over any of the protocols.
//!
//! ```text
//!                 SPDY stream (header streamtype)    WebSocket channel    since
//!   stdin         stdin                              0                    v1
//!   stdout        stdout                             1                    v1
//!   stderr        stderr                             2                    v1, never with a terminal
//!   status        error                              3                    v1 text, v4 Status object
//!   sizes         resize                             4                    SPDY v3
//!   end of stdin  half-close                         255                  SPDY v1, WebSocket v5
//! ```

mod client;
mod resize;
mod server;

pub use client::{ClientSession, StatusReader};
pub use resize::{ResizeEvents, ResizeWriter, TerminalSize};
pub use server::ServerSession;

use crate::upgrade::Kind;
use crate::{ReadHalf, Stream, WriteHalf};

/// Protocols for SPDY in order of preference, as a client offers and a server supports them.
pub const SPDY_PROTOCOLS: &[&str] = &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// All subprotocols that a WebSocket server here speaks; the empty one is a client that names none.
pub const WEBSOCKET_PROTOCOLS: &[&str] = &[
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];

/// What a WebSocket client offers: only v5 can end stdin, and upstream's `kubectl` offers nothing else.
pub const WEBSOCKET_CLIENT_PROTOCOLS: &[&str] = &["v5.channel.k8s.io"];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const STREAM_TYPE: &str = "streamtype";

/// Which streams a session has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The client sends input.
    pub stdin: bool,
    /// The client wants output.
    pub stdout: bool,
    /// The client wants the error output; a terminal has none of its own.
    pub stderr: bool,
    /// The command gets a terminal.
    pub tty: bool,
}

impl Options {
    /// Reads a request's query (`stdin=true&stdout=1&...`). The error is the text of a 400.
    pub fn from_query(query: &str) -> Result<Self, String> {
        // The API's rule for booleans in a query: what is there is true unless it says false.
        let is_set = |name: &str| {
            let mut values = query.split('&').filter_map(|pair| match pair.split_once('=') {
                Some((key, value)) if key == name => Some(value),
                None if pair == name => Some(""),
                _ => None,
            });
            values.next().is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
        };
        Self { stdin: is_set("stdin"), stdout: is_set("stdout"), stderr: is_set("stderr"), tty: is_set("tty") }.checked()
    }

    /// Drops stderr beside a terminal, as upstream, and refuses a session without any stream.
    pub fn checked(mut self) -> Result<Self, String> {
        self.stderr &= !self.tty;
        if self.stdin || self.stdout || self.stderr {
            Ok(self)
        } else {
            Err("you must specify at least 1 of stdin, stdout, stderr".to_owned())
        }
    }
}

/// What differs between the protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    /// The status is a `Status` object rather than text.
    json_status: bool,
    /// There is a stream of terminal sizes.
    resize: bool,
}

impl Version {
    fn of(protocol: &str, kind: Kind) -> Self {
        let number = protocol.strip_prefix('v').and_then(|rest| rest.split('.').next()).and_then(|number| number.parse().ok()).unwrap_or(1);
        Self { json_status: number >= 4, resize: number >= 3 || kind == Kind::WebSocket }
    }
}

/// The direction of a stream that the session does not use: held until its end, since dropping it would reset the stream.
#[expect(dead_code, reason = "held, not used")]
enum Unused {
    Read(ReadHalf),
    Write(WriteHalf),
}

/// Keeps the direction from the peer to us.
fn reading(stream: Option<Stream>, unused: &mut Vec<Unused>) -> Option<ReadHalf> {
    let (read, write) = stream?.into_split();
    unused.push(Unused::Write(write));
    Some(read)
}

/// Keeps the direction from us to the peer; what comes against it is thrown away.
fn writing(stream: Option<Stream>, unused: &mut Vec<Unused>) -> Option<WriteHalf> {
    let (read, write) = stream?.into_split();
    read.ignore();
    unused.push(Unused::Read(read));
    Some(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_follow_the_apis_rule_for_booleans() {
        for (query, expected) in [
            ("stdin=true&stdout=1", Ok((true, true, false, false))),
            ("command=ls&stderr=True&stdin=false", Ok((false, false, true, false))),
            ("stdout&tty=1&stderr=1", Ok((false, true, false, true))),
            ("stderr=1&tty=1", Err(())),
            ("stdin=0", Err(())),
            ("", Err(())),
        ] {
            let options = Options::from_query(query).map(|o| (o.stdin, o.stdout, o.stderr, o.tty)).map_err(|_| ());
            assert_eq!(options, expected, "{query}");
        }
    }

    #[test]
    fn versions_know_what_they_carry() {
        for (protocol, kind, json_status, resize) in [
            ("channel.k8s.io", Kind::Spdy, false, false),
            ("v2.channel.k8s.io", Kind::Spdy, false, false),
            ("v3.channel.k8s.io", Kind::Spdy, false, true),
            ("v4.channel.k8s.io", Kind::Spdy, true, true),
            ("v4.base64.channel.k8s.io", Kind::WebSocket, true, true),
            ("base64.channel.k8s.io", Kind::WebSocket, false, true),
            ("", Kind::WebSocket, false, true),
            ("v5.channel.k8s.io", Kind::WebSocket, true, true),
        ] {
            assert_eq!(Version::of(protocol, kind), Version { json_status, resize }, "{protocol}");
        }
    }
}
