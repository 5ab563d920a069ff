use http::Request;

use super::remotecommand::{PIPES, caller, matrix};
use super::{Dial, bounded, full, serve};
use crate::gateway::{self, Backend};
use crate::portforward::{Client, PROTOCOL, TUNNEL_PROTOCOL};
use crate::remotecommand::ClientSession;
use crate::upgrade::{self, Kind};
use crate::{Error, KeepAlive, Outcome};

/// An API server in front of a node's exec and port-forward.
async fn front(exec: Dial, forward: Dial) -> Dial {
    serve(move |request: Request<hyper::body::Incoming>| async move {
        let path = request.uri().path_and_query().unwrap().clone();
        let to = |dial: Dial| Backend {
            dial: Box::pin(async move { Ok(dial.io().await) }),
            request: Request::post(format!("http://node:10250{path}")).body(()).unwrap(),
        };
        let keep = KeepAlive::default();
        let answer = match request.uri().path() {
            "/exec" => gateway::remote_command(request, PIPES, to(exec), keep).await,
            _ => gateway::port_forward(request, to(forward), keep).await,
        };
        full(answer.unwrap())
    })
    .await
}

#[tokio::test]
async fn every_client_reaches_a_spdy_node() {
    let dial = front(super::remotecommand::server().await, super::portforward::server().await).await;
    for (kind, protocol, ..) in matrix() {
        let offer: &[&str] = if protocol.is_empty() { &[] } else { &[protocol] };
        bounded(async {
            let request = Request::post("http://front/exec?stdin=1&stdout=1&stderr=1").body(()).unwrap();
            let upgraded = upgrade::connect(dial.io().await, request, kind, offer).await.unwrap();
            assert_eq!(upgraded.protocol, protocol);
            let session = ClientSession::start(upgraded, kind, PIPES, KeepAlive::default()).await.unwrap();
            match caller(session, 3 << 20).await {
                Outcome::ExitCode(7) => {}
                Outcome::Failed(text) => assert!(text.contains("exit code 7"), "{text}"),
                other => panic!("{other:?}"),
            }
        })
        .await;
    }
    for (kind, protocol) in [(Kind::Spdy, PROTOCOL), (Kind::WebSocket, TUNNEL_PROTOCOL)] {
        bounded(async {
            let request = Request::post("http://front/portforward").body(()).unwrap();
            let io = upgrade::connect(dial.io().await, request, kind, &[protocol]).await.unwrap().io;
            let keep = KeepAlive::default();
            super::portforward::use_it(&if kind == Kind::Spdy { Client::over_spdy(io, keep) } else { Client::over_websocket(io, keep) })
                .await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_nodes_refusal_reaches_every_client() {
    let node = serve(|_| async {
        let status = r#"{"kind":"Status","status":"Failure","message":"container not found (\"c\")","code":404}"#;
        full(http::Response::builder().status(404).body(status).unwrap())
    })
    .await;
    let dial = front(node, node).await;
    let connect = async |path: &str, kind, protocol| {
        let request = Request::post(format!("http://front{path}")).body(()).unwrap();
        upgrade::connect(dial.io().await, request, kind, &[protocol]).await
    };
    bounded(async {
        for (path, kind, protocol) in [
            ("/exec", Kind::Spdy, "v4.channel.k8s.io"),
            ("/portforward", Kind::Spdy, PROTOCOL),
            ("/portforward", Kind::WebSocket, TUNNEL_PROTOCOL),
        ] {
            let refused = connect(path, kind, protocol).await.err().unwrap();
            assert!(matches!(refused, Error::Refused { code: 404, .. }), "{refused:?}");
            assert_eq!(refused.to_string(), "container not found (\"c\")");
        }
        let upgraded = connect("/exec", Kind::WebSocket, "v5.channel.k8s.io").await.unwrap();
        let session = ClientSession::start(upgraded, Kind::WebSocket, PIPES, KeepAlive::default()).await.unwrap();
        let outcome = session.status.wait().await.unwrap();
        assert_eq!(outcome, Outcome::Failed("Internal error occurred: container not found (\"c\")".to_owned()));
        let refused = connect("/portforward", Kind::WebSocket, "v4.channel.k8s.io").await.err().unwrap();
        assert!(matches!(&refused, Error::Refused { code: 400, body } if body.contains("is required")), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn a_plain_request_is_refused() {
    let dial = front(super::remotecommand::server().await, super::portforward::server().await).await;
    let response = bounded(upgrade::exchange(dial.io().await, Request::post("http://front/exec").body(()).unwrap())).await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(upgrade::body(response).await, "Upgrade request required\n");
}
