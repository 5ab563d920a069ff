use http::{Request, Response};

use super::remotecommand::{caller, command, connect};
use super::{bounded, full, pair, serve};
use crate::remotecommand::{ClientSession, Options, SPDY_PROTOCOLS, ServerSession, WEBSOCKET_PROTOCOLS};
use crate::upgrade::{self, Kind};
use crate::{Error, KeepAlive, Outcome, proxy};

const PIPES: Options = Options { stdin: true, stdout: true, stderr: true, tty: false };

#[tokio::test]
async fn any_client_reaches_a_spdy_backend() {
    let clients = [
        (Kind::WebSocket, "v5.channel.k8s.io"),
        (Kind::WebSocket, "v4.channel.k8s.io"),
        (Kind::WebSocket, "v4.base64.channel.k8s.io"),
        (Kind::Spdy, "v4.channel.k8s.io"),
    ];
    for (kind, protocol) in clients {
        bounded(async {
            let length = 4 << 20;
            let (client, client_end) = connect(pair(3000), kind, protocol, PIPES).await;
            let (backend_end, backend) = connect(pair(3000), Kind::Spdy, "v4.channel.k8s.io", PIPES).await;
            let (outcome, seen, ()) =
                tokio::join!(proxy::translate(client_end, backend_end), caller(client, length), command(backend, length));
            assert_eq!((outcome.unwrap(), seen), (Outcome::ExitCode(7), Outcome::ExitCode(7)), "{protocol}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_goes_ends_the_backends_session() {
    bounded(async {
        let (client, client_end) = connect(pair(3000), Kind::WebSocket, "v5.channel.k8s.io", PIPES).await;
        let (backend_end, backend) = connect(pair(3000), Kind::Spdy, "v4.channel.k8s.io", PIPES).await;
        let translating = tokio::spawn(proxy::translate(client_end, backend_end));
        drop(client);
        assert!(matches!(translating.await.unwrap(), Err(Error::Finished)));
        assert!(matches!(backend.closed().await, Error::Finished));
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_breaks_is_told_to_the_client() {
    bounded(async {
        let (client, client_end) = connect(pair(3000), Kind::WebSocket, "v5.channel.k8s.io", PIPES).await;
        let (a, middle_a) = pair(1000);
        let (middle_b, b) = pair(1000);
        let middle = tokio::spawn(proxy::proxy_upgrade(middle_a, middle_b));
        let (backend_end, _backend) = connect((a, b), Kind::Spdy, "v4.channel.k8s.io", PIPES).await;
        let translating = tokio::spawn(proxy::translate(client_end, backend_end));
        middle.abort();
        let outcome = client.status.wait().await.unwrap();
        assert!(matches!(&outcome, Outcome::Failed(text) if text.contains("connection lost")), "{outcome:?}");
        assert!(translating.await.unwrap().is_err());
    })
    .await;
}

#[tokio::test]
async fn upgrades_and_refusals_pass_through_a_forwarding_server() {
    let backend = serve(|mut request: Request<hyper::body::Incoming>| async move {
        assert_eq!(request.headers()["host"], "runtime:1");
        if request.uri().path() != "/exec/token" {
            return full(Response::builder().status(404).body("no such token").unwrap());
        }
        let (response, pending) = upgrade::accept(&mut request, SPDY_PROTOCOLS, WEBSOCKET_PROTOCOLS).unwrap();
        tokio::spawn(async move {
            command(ServerSession::accept(pending, PIPES, KeepAlive::default()).await.unwrap(), 2 << 20).await;
        });
        full(response.map(|()| ""))
    })
    .await;
    let front = serve(move |request: Request<hyper::body::Incoming>| async move {
        let target = Request::get(format!("http://runtime:1{}", request.uri().path())).body(()).unwrap();
        full(proxy::forward(request, backend.io().await, target).await.unwrap())
    })
    .await;
    for (kind, protocol) in [(Kind::Spdy, "v4.channel.k8s.io"), (Kind::WebSocket, "v5.channel.k8s.io")] {
        bounded(async {
            let request = Request::post("http://front/exec/token").body(()).unwrap();
            let upgraded = upgrade::connect(front.io().await, request, kind, &[protocol]).await.unwrap();
            let session = ClientSession::start(upgraded, kind, PIPES, KeepAlive::default()).await.unwrap();
            assert_eq!(caller(session, 2 << 20).await, Outcome::ExitCode(7));
            let request = Request::post("http://front/exec/other").body(()).unwrap();
            let refused = upgrade::connect(front.io().await, request, kind, &[protocol]).await;
            assert!(matches!(refused, Err(Error::Refused { code: 404, body }) if body == "no such token"));
        })
        .await;
    }
}
