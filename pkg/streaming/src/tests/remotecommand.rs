use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Dial, bounded, digest, full, noise, pair, serve};
use crate::remotecommand::{ClientSession, Options, SPDY_PROTOCOLS, ServerSession, TerminalSize, WEBSOCKET_PROTOCOLS};
use crate::upgrade::{self, Kind};
use crate::{BoxIo, Error, KeepAlive, Outcome, Status};

pub(super) const PIPES: Options = Options { stdin: true, stdout: true, stderr: true, tty: false };
const TERMINAL: Options = Options { stdin: true, stdout: true, stderr: false, tty: true };

/// Every protocol both ends speak, with whether it carries exit codes and the end of stdin.
pub(super) fn matrix() -> Vec<(Kind, &'static str, bool, bool)> {
    let mut all = Vec::new();
    for protocol in SPDY_PROTOCOLS {
        all.push((Kind::Spdy, *protocol, protocol.starts_with("v4"), true));
    }
    for protocol in WEBSOCKET_PROTOCOLS {
        all.push((Kind::WebSocket, *protocol, protocol.starts_with("v4") || protocol.starts_with("v5"), protocol.starts_with("v5")));
    }
    all
}

pub(super) async fn connect(io: (BoxIo, BoxIo), kind: Kind, protocol: &str, options: Options) -> (ClientSession, ServerSession) {
    let keep = KeepAlive::default();
    match kind {
        Kind::Spdy => {
            let (client, server) = tokio::join!(
                ClientSession::over_spdy(io.0, protocol, options, keep),
                ServerSession::over_spdy(io.1, protocol, options, keep)
            );
            (client.unwrap(), server.unwrap())
        }
        Kind::WebSocket => {
            (ClientSession::over_websocket(io.0, protocol, options, keep), ServerSession::over_websocket(io.1, protocol, options, keep))
        }
    }
}

/// A command that writes back `length` bytes of its input, a line to stderr, and returns 7.
pub(super) async fn command(mut session: ServerSession, length: usize) {
    let mut stdin = session.stdin.take().unwrap().take(length as u64);
    let mut stdout = session.stdout.take().unwrap();
    tokio::io::copy(&mut stdin, &mut stdout).await.unwrap();
    session.stderr.as_mut().unwrap().write_all(b"that was all\n").await.unwrap();
    drop(stdin);
    session.finish(&Status::exit_code(7)).await.unwrap();
}

/// Its client: checks what comes back.
pub(super) async fn caller(mut session: ClientSession, length: usize) -> Outcome {
    let sent = noise(length, 5);
    let expected = digest(&sent);
    let mut stdin = session.stdin.take().unwrap();
    let (mut stdout, mut stderr) = (session.stdout.take().unwrap(), session.stderr.take().unwrap());
    let (mut out, mut err) = (Vec::new(), String::new());
    let writing = async {
        stdin.write_all(&sent).await.unwrap();
    };
    let (_, outs, errs, outcome) =
        tokio::join!(writing, stdout.read_to_end(&mut out), stderr.read_to_string(&mut err), session.status.wait());
    assert_eq!((outs.unwrap(), errs.unwrap()), (length, err.len()));
    assert_eq!((digest(&out), err.as_str()), (expected, "that was all\n"));
    outcome.unwrap()
}

#[tokio::test]
async fn every_version_carries_twenty_megabytes_both_ways_through_a_small_pipe() {
    for (kind, protocol, exit_codes, _) in matrix() {
        let length = if protocol.contains("v4.channel") || protocol.contains("v5") { 20 << 20 } else { 1 << 20 };
        bounded(async {
            let (client, server) = connect(pair(8000), kind, protocol, PIPES).await;
            let (_, outcome) = tokio::join!(command(server, length), caller(client, length));
            match outcome {
                Outcome::ExitCode(7) if exit_codes => {}
                Outcome::Failed(text) if !exit_codes => assert!(text.contains("exit code 7"), "{text}"),
                other => panic!("{kind:?} {protocol}: {other:?}"),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn the_end_of_stdin_and_success_arrive_where_the_version_can_tell() {
    for (kind, protocol, _, ends) in matrix() {
        if !ends {
            continue;
        }
        bounded(async {
            let (mut client, mut server) = connect(pair(1000), kind, protocol, PIPES).await;
            let serving = async move {
                let mut text = String::new();
                server.stdin.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
                server.stdout.as_mut().unwrap().write_all(text.to_uppercase().as_bytes()).await.unwrap();
                server.finish(&Status::success()).await.unwrap();
            };
            let asking = async move {
                client.send_stdin(b"hello").await.unwrap();
                let mut text = String::new();
                client.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
                assert_eq!((text.as_str(), client.status.wait().await.unwrap()), ("HELLO", Outcome::Success));
            };
            tokio::join!(serving, asking);
        })
        .await;
    }
}

#[tokio::test]
async fn terminals_are_resized() {
    for (kind, protocol, ..) in matrix() {
        bounded(async {
            let (mut client, mut server) = connect(pair(1000), kind, protocol, TERMINAL).await;
            assert!(client.stderr.is_none() && server.stderr.is_none());
            let resizable = kind == Kind::WebSocket || protocol.starts_with("v3") || protocol.starts_with("v4");
            assert_eq!((client.resize.is_some(), server.resize.is_some()), (resizable, resizable), "{protocol}");
            if resizable {
                for size in [TerminalSize { width: 80, height: 24 }, TerminalSize { width: 300, height: 100 }] {
                    client.resize.as_mut().unwrap().send(size).await.unwrap();
                    assert_eq!(server.resize.as_mut().unwrap().next().await, Some(size));
                }
            }
            server.finish(&Status::success()).await.unwrap();
            assert_eq!(client.status.wait().await.unwrap(), Outcome::Success);
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_success() {
    for (kind, protocol) in [(Kind::Spdy, "v4.channel.k8s.io"), (Kind::WebSocket, "v5.channel.k8s.io")] {
        bounded(async {
            let (a, middle_a) = pair(1000);
            let (middle_b, b) = pair(1000);
            let middle = tokio::spawn(crate::proxy::proxy_upgrade(middle_a, middle_b));
            let (client, server) = connect((a, b), kind, protocol, PIPES).await;
            middle.abort();
            assert!(matches!(client.status.wait().await, Err(Error::Lost(_))));
            assert!(matches!(server.closed().await, Error::Lost(_)));
        })
        .await;
    }
}

/// Servers of v1, containerd's among them, reset the error stream as soon as all streams are open.
#[tokio::test]
async fn output_is_read_though_the_error_stream_ended_first() {
    bounded(async {
        let (a, b) = pair(1000);
        let server = crate::spdy::Connection::server(b);
        let serving = async {
            let mut streams = Vec::new();
            for _ in 0..3 {
                streams.push(server.accept().await.unwrap());
            }
            streams.remove(0).reset();
            streams.pop().unwrap().write_all(&noise(200_000, 2)).await.unwrap();
            server.close();
        };
        let asking = async {
            let options = Options { stdin: true, stdout: true, ..Options::default() };
            let mut client = ClientSession::over_spdy(a, "channel.k8s.io", options, KeepAlive::default()).await.unwrap();
            assert_eq!(client.status.wait().await.unwrap(), Outcome::Success);
            let mut output = Vec::new();
            client.stdout.as_mut().unwrap().read_to_end(&mut output).await.unwrap();
            assert_eq!(digest(&output), digest(&noise(200_000, 2)));
        };
        tokio::join!(serving, asking);
    })
    .await;
}

/// Answers exec requests on a loopback server.
pub(super) async fn server() -> Dial {
    serve(|mut request: Request<hyper::body::Incoming>| async move {
        let options = match Options::from_query(request.uri().query().unwrap_or_default()) {
            Ok(options) => options,
            Err(message) => return full(Response::builder().status(400).body(message).unwrap()),
        };
        match upgrade::accept(&mut request, SPDY_PROTOCOLS, WEBSOCKET_PROTOCOLS) {
            Err(refusal) => full(refusal.into_response()),
            Ok((response, pending)) => {
                tokio::spawn(async move {
                    command(ServerSession::accept(pending, options, KeepAlive::default()).await.unwrap(), 3 << 20).await;
                });
                full(response.map(|()| ""))
            }
        }
    })
    .await
}

fn request(query: &str) -> Request<()> {
    Request::post(format!("http://node:10250/exec/ns/pod/container?{query}")).body(()).unwrap()
}

#[tokio::test]
async fn upgrades_over_loopback_http() {
    let dial = server().await;
    for (kind, protocol, ..) in matrix() {
        let offer: &[&str] = if protocol.is_empty() { &[] } else { &["v9.channel.k8s.io", protocol] };
        bounded(async {
            let upgraded = upgrade::connect(dial.io().await, request("stdin=1&stdout=1&stderr=1"), kind, offer).await.unwrap();
            assert_eq!(upgraded.protocol, protocol);
            let session = ClientSession::start(upgraded, kind, PIPES, KeepAlive::default()).await.unwrap();
            assert_ne!(caller(session, 3 << 20).await, Outcome::Success);
        })
        .await;
    }
}

#[tokio::test]
async fn refusals_reach_the_client_with_their_text() {
    let dial = server().await;
    for (query, kind, offer, code, text) in [
        ("stdin=0", Kind::Spdy, "v4.channel.k8s.io", 400, "at least 1 of stdin"),
        (
            "stdout=1",
            Kind::Spdy,
            "v9.channel.k8s.io",
            403,
            "unable to negotiate protocol: client supports [v9.channel.k8s.io], server accepts [",
        ),
        ("stdout=1", Kind::WebSocket, "v9.channel.k8s.io", 403, "requested protocol(s) are not supported"),
    ] {
        match bounded(upgrade::connect(dial.io().await, request(query), kind, &[offer])).await {
            Err(Error::Refused { code: got, body }) => assert!(got == code && body.contains(text), "{got} {body}"),
            other => panic!("{:?}", other.err()),
        }
    }
}

/// A WebSocket library that nobody here wrote, as the client.
#[tokio::test]
async fn a_foreign_websocket_client_is_understood() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    let dial = server().await;
    bounded(async {
        let upgraded =
            upgrade::connect(dial.io().await, request("stdin=1&stdout=1&stderr=1"), Kind::WebSocket, &["v5.channel.k8s.io"]).await;
        let (mut write, mut read) = WebSocketStream::from_raw_socket(upgraded.unwrap().io, Role::Client, None).await.split();
        let sent = noise(3 << 20, 8);
        let expected = digest(&sent);
        let writing = tokio::spawn(async move {
            // One message far bigger than any buffer, as the Python client sends it, with a ping before it.
            write.send(Message::Ping(b"are you there".as_slice().into())).await.unwrap();
            let mut message = vec![0];
            message.extend_from_slice(&sent);
            write.send(Message::Binary(message.into())).await.unwrap();
            write.send(Message::Binary(vec![255, 0].into())).await.unwrap();
            write
        });
        let mut channels: [Vec<u8>; 4] = Default::default();
        let (mut pongs, mut closed) = (0, false);
        while let Some(Ok(message)) = read.next().await {
            match message {
                Message::Binary(data) => channels[usize::from(data[0])].extend_from_slice(&data[1..]),
                Message::Pong(text) => {
                    assert_eq!(&text[..], b"are you there");
                    pongs += 1;
                }
                Message::Close(frame) => {
                    assert_eq!(u16::from(frame.unwrap().code), 1000);
                    closed = true;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((pongs, closed, digest(&channels[1])), (1, true, expected));
        assert_eq!(Outcome::parse(&channels[3], true), Outcome::ExitCode(7));
        drop(writing.await.unwrap());
    })
    .await;
}
