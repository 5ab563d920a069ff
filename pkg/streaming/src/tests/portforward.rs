use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Dial, bounded, digest, full, noise, pair, serve};
use crate::portforward::{Client, PROTOCOL, SPDY_PROTOCOLS, Server, TUNNEL_PROTOCOL, WEBSOCKET_PROTOCOLS, ports_from_query};
use crate::upgrade::{self, Kind};
use crate::{Error, KeepAlive, proxy, spdy};

/// Echoes what comes for port 80 and refuses the rest, until the client ends the session.
pub(super) async fn echo(mut server: Server) -> Error {
    loop {
        match server.accept().await {
            Err(why) => return why,
            Ok(forward) if forward.port == 80 => {
                tokio::spawn(async move {
                    let (mut read, mut write) = forward.data.into_split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    drop(forward.error);
                });
            }
            Ok(forward) => {
                drop(forward.data);
                forward.error.fail("error forwarding port 81 to pod x: connection refused").await.unwrap();
            }
        }
    }
}

/// Two connections at once with much data, and one that is refused.
pub(super) async fn use_it(client: &Client) {
    let big = async |seed: u64| {
        let sent = noise(5 << 20, seed);
        let expected = digest(&sent);
        let forwarded = client.open(80).await.unwrap();
        let (mut read, mut write) = forwarded.data.into_split();
        let mut received = Vec::new();
        let writing = async move {
            write.write_all(&sent).await.unwrap();
            drop(write);
        };
        tokio::join!(writing, async { read.read_to_end(&mut received).await.unwrap() });
        assert_eq!(digest(&received), expected);
        drop(read);
        assert_eq!(forwarded.error.message().await.unwrap(), None);
    };
    tokio::join!(big(1), big(2));
    let refused = client.open(81).await.unwrap();
    let message = refused.error.message().await.unwrap().unwrap();
    assert!(message.contains("connection refused"), "{message}");
}

#[tokio::test]
async fn connections_share_a_session() {
    bounded(async {
        let (a, b) = pair(5000);
        let server = tokio::spawn(echo(Server::over_spdy(b, KeepAlive::default())));
        let client = Client::over_spdy(a, KeepAlive::default());
        use_it(&client).await;
        client.close();
        assert!(matches!(server.await.unwrap(), Error::Finished));
    })
    .await;
}

#[tokio::test]
async fn streams_without_request_ids_are_paired_and_bad_ones_refused() {
    bounded(async {
        let (a, b) = pair(5000);
        let connection = spdy::Connection::client(a);
        tokio::spawn(echo(Server::over_spdy(b, KeepAlive::default())));
        let _error = connection.open_stream(&[("streamtype", "error"), ("port", "80")]).await.unwrap();
        let mut data = connection.open_stream(&[("streamtype", "data"), ("port", "80")]).await.unwrap();
        data.write_all(b"x").await.unwrap();
        assert_eq!(data.read_u8().await.unwrap(), b'x');
        for headers in
            [[("streamtype", "data"), ("port", "0")], [("streamtype", "x"), ("port", "80")], [("streamtype", "data"), ("a", "b")]]
        {
            let mut stream = connection.open_stream(&headers).await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "{headers:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_its_partner_is_given_up() {
    let (a, b) = pair(5000);
    let connection = spdy::Connection::client(a);
    tokio::spawn(echo(Server::over_spdy(b, KeepAlive::default())));
    let mut error = connection.open_stream(&[("streamtype", "error"), ("port", "80"), ("requestid", "5")]).await.unwrap();
    let mut text = String::new();
    error.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "(request=5) timed out waiting for streams");
}

/// Answers port-forward requests on a loopback server.
pub(super) async fn server() -> Dial {
    serve(|mut request: Request<hyper::body::Incoming>| async move {
        let ports = ports_from_query(request.uri().query().unwrap_or_default()).unwrap_or_default();
        let (response, pending) = upgrade::accept(&mut request, SPDY_PROTOCOLS, WEBSOCKET_PROTOCOLS).unwrap();
        tokio::spawn(async move {
            echo(Server::accept_upgrade(pending, &ports, KeepAlive::default()).await.unwrap()).await;
        });
        full(response.map(|()| ""))
    })
    .await
}

#[tokio::test]
async fn spdy_and_its_tunnel_over_loopback_http() {
    let dial = server().await;
    bounded(async {
        let request = || Request::post("http://node/portForward/ns/pod").body(()).unwrap();
        let upgraded = upgrade::connect(dial.io().await, request(), Kind::Spdy, &[PROTOCOL]).await.unwrap();
        assert_eq!(upgraded.protocol, PROTOCOL);
        use_it(&Client::over_spdy(upgraded.io, KeepAlive::default())).await;
        let upgraded = upgrade::connect(dial.io().await, request(), Kind::WebSocket, &[TUNNEL_PROTOCOL]).await.unwrap();
        assert_eq!(upgraded.protocol, TUNNEL_PROTOCOL);
        use_it(&Client::over_websocket(upgraded.io, KeepAlive::default())).await;
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_is_joined_to_a_raw_spdy_backend() {
    bounded(async {
        let (a, b) = pair(5000);
        let (c, d) = pair(5000);
        tokio::spawn(echo(Server::over_spdy(d, KeepAlive::default())));
        let tunnel = crate::websocket::tunnel(b, crate::websocket::Role::Server, KeepAlive::default());
        let joined = tokio::spawn(proxy::proxy_upgrade(tunnel, c));
        let client = Client::over_websocket(a, KeepAlive::default());
        use_it(&client).await;
        drop(client);
        joined.await.unwrap();
    })
    .await;
}

/// The old WebSocket form, with a foreign client, translated to a SPDY backend.
#[tokio::test]
async fn the_python_clients_form_reaches_a_spdy_backend() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    bounded(async {
        let (a, b) = pair(5000);
        let (c, d) = pair(5000);
        tokio::spawn(echo(Server::over_spdy(d, KeepAlive::default())));
        let legacy = Server::over_websocket(b, "v4.channel.k8s.io", &[80, 81], KeepAlive::default()).await.unwrap();
        tokio::spawn(proxy::translate_port_forward(legacy, Client::over_spdy(c, KeepAlive::default())));
        let mut socket = WebSocketStream::from_raw_socket(a, Role::Client, None).await;
        socket.send(Message::Binary(b"\0hello".to_vec().into())).await.unwrap();
        let mut channels: [Vec<u8>; 4] = Default::default();
        while !channels[3].ends_with(b"refused") || !channels[0].ends_with(b"hello") {
            if let Message::Binary(data) = socket.next().await.unwrap().unwrap() {
                channels[usize::from(data[0])].extend_from_slice(&data[1..]);
            }
        }
        assert_eq!(channels[0], b"\x50\0hello");
        assert_eq!(channels[1], b"\x50\0");
        assert_eq!(channels[2], b"\x51\0");
        assert!(channels[3].starts_with(b"\x51\0error forwarding port"));
    })
    .await;
}
