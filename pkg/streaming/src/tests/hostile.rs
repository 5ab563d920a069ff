//! What a peer must not be able to do: crash us, hang us, fill our memory.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{bounded, noise, pair};
use crate::remotecommand::{Options, ServerSession};
use crate::spdy::Connection;
use crate::{Error, KeepAlive};

const ALL: Options = Options { stdin: true, stdout: true, stderr: true, tty: false };

/// What a server connection ends with after reading `bytes` and then the end.
async fn spdy_end(bytes: &[u8]) -> Error {
    let (mut a, b) = tokio::io::duplex(1 << 20);
    a.write_all(bytes).await.unwrap();
    a.shutdown().await.unwrap();
    let server = Connection::server(b);
    let drain = tokio::spawn(async move {
        let mut sink = Vec::new();
        let _ = a.read_to_end(&mut sink).await;
    });
    let serving = async {
        loop {
            match server.accept().await {
                Err(err) => return err,
                Ok(mut stream) => {
                    tokio::spawn(async move {
                        let mut sink = Vec::new();
                        let _ = stream.read_to_end(&mut sink).await;
                    });
                }
            }
        }
    };
    let end = bounded(serving).await;
    drop(server);
    bounded(drain).await.unwrap();
    end
}

#[tokio::test]
async fn frames_that_cannot_be_are_refused() {
    let control = |version: u16, kind: u16, length: u32, payload: &[u8]| {
        let mut frame = Vec::new();
        frame.extend_from_slice(&(0x8000 | version).to_be_bytes());
        frame.extend_from_slice(&kind.to_be_bytes());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    };
    for (what, bytes, expected) in [
        ("version", control(2, 1, 10, &[0; 10]), "version 2"),
        ("stream 0", control(3, 3, 8, &[0; 8]), "stream 0"),
        ("data on 0", vec![0, 0, 0, 0, 0, 0, 0, 1, 9], "stream 0"),
        ("huge control frame", control(3, 1, 0x00ff_ffff, &[]), "too large"),
        ("short RST", control(3, 3, 4, &[0, 0, 0, 1]), "cut short"),
        ("short SYN", control(3, 1, 4, &[0, 0, 0, 1]), "cut short"),
        ("no zlib", control(3, 1, 14, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), "header compression"),
        ("even stream", control(3, 1, 10, &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0]), "header block"),
    ] {
        let end = spdy_end(&bytes).await.to_string();
        assert!(end.contains(expected), "{what}: {end}");
    }
}

#[tokio::test]
async fn unknown_control_frames_settings_and_window_updates_are_skipped() {
    let mut bytes = Vec::new();
    for kind in [4u8, 5, 9, 10, 200] {
        bytes.extend_from_slice(&[0x80, 3, 0, kind, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1]);
    }
    bytes.extend_from_slice(&[0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(spdy_end(&bytes).await, Error::Finished));
}

/// A session as its client writes it, recorded.
async fn recorded() -> Vec<u8> {
    let (a, mut b) = tokio::io::duplex(1 << 20);
    let client = Connection::client(a);
    for kind in ["error", "stdin", "stdout", "stderr"] {
        let mut stream = client.start_stream(&[("streamtype", kind), ("x", &"y".repeat(300))]).unwrap();
        stream.write_all(&noise(500, 1)).await.unwrap();
        stream.shutdown().await.unwrap();
    }
    client.close();
    let mut bytes = Vec::new();
    b.read_buf(&mut bytes).await.unwrap();
    while !bytes.windows(4).any(|part| part == [0x80, 3, 0, 7]) {
        b.read_buf(&mut bytes).await.unwrap();
    }
    bytes
}

#[tokio::test]
async fn corrupted_bytes_end_a_spdy_connection_in_order() {
    let good = recorded().await;
    let noise = noise(4000, 99);
    for round in 0..1000 {
        let mut bytes = good.clone();
        for hit in 0..=round % 4 {
            let place = usize::from(u16::from_le_bytes([noise[(round + hit) % 2000], noise[(round * 2 + hit) % 2000]])) % bytes.len();
            bytes[place] ^= 1 << (noise[2000 + round] % 8);
        }
        if round % 5 == 0 {
            bytes.truncate(bytes.len() * usize::from(noise[round]) / 256);
        }
        spdy_end(&bytes).await; // Any end is fine; a panic or a hang is not.
    }
}

#[tokio::test]
async fn random_bytes_end_a_websocket_session_in_order() {
    for round in 0..300 {
        let (mut a, b) = pair(1 << 16);
        let mut bytes = noise(400, round + 7);
        // The first rounds begin like frames of a client, so that more than the first check is reached.
        bytes[0] = [0x82, 0x81, 0x02, 0x80, 0x89, 0x88][round as usize % 6];
        bytes[1] |= 0x80;
        a.write_all(&bytes).await.unwrap();
        a.shutdown().await.unwrap();
        let protocol = ["v5.channel.k8s.io", "v4.base64.channel.k8s.io", ""][round as usize % 3];
        let mut session = ServerSession::over_websocket(b, protocol, ALL, KeepAlive::default());
        bounded(async {
            let mut sink = Vec::new();
            let _ = session.stdin.take().unwrap().read_to_end(&mut sink).await;
            assert!(!matches!(session.closed().await, Error::TimedOut(_)));
        })
        .await;
    }
}

#[tokio::test]
async fn a_websocket_client_that_does_not_mask_is_refused() {
    let (mut a, b) = pair(4096);
    a.write_all(&[0x82, 2, 0, b'x']).await.unwrap();
    let session = ServerSession::over_websocket(b, "v5.channel.k8s.io", ALL, KeepAlive::default());
    assert!(bounded(session.closed()).await.to_string().contains("unmasked"));
}

#[tokio::test]
async fn pings_without_reading_the_answers_are_a_flood() {
    let (mut a, b) = pair(1024);
    let server = Connection::server(b);
    let ping = [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1];
    bounded(async {
        while a.write_all(&ping.repeat(100)).await.is_ok() {}
        assert!(server.closed().await.to_string().contains("flood"));
    })
    .await;
}

#[tokio::test]
async fn streams_that_nobody_accepts_are_refused_after_a_while() {
    let (a, b) = pair(1 << 16);
    let (client, server) = (Connection::client(a), Connection::server(b));
    bounded(async {
        let streams: Vec<_> = (0..100).map(|_| client.start_stream(&[]).unwrap()).collect();
        assert!(matches!(streams[99].ready().await, Err(Error::Reset(3))));
        server.accept().await.unwrap();
        streams[0].ready().await.unwrap();
    })
    .await;
}
