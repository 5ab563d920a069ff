//! Upstream's own client, Go's SPDY and WebSocket libraries with it, against our server's end. Passes over itself where no
//! `kubectl` is installed.

use std::process::Stdio;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::{Dial, bounded, digest, full, noise, serve};
use crate::portforward::{self, Server, ports_from_query};
use crate::remotecommand::{Options, SPDY_PROTOCOLS, ServerSession, WEBSOCKET_PROTOCOLS};
use crate::{KeepAlive, Status, upgrade};

/// Just enough of an API server for `kubectl exec` and `kubectl port-forward`.
async fn api_server() -> Dial {
    serve(|mut request: Request<Incoming>| async move {
        let json = |body: &'static str| full(Response::builder().header("content-type", "application/json").body(body).unwrap());
        let query = request.uri().query().unwrap_or_default().to_owned();
        match request.uri().path() {
            "/api" => json(r#"{"kind":"APIVersions","versions":["v1"]}"#),
            "/apis" => json(r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[]}"#),
            "/api/v1" => json(
                r#"{"kind":"APIResourceList","groupVersion":"v1","resources":[
                {"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get"]}]}"#,
            ),
            "/api/v1/namespaces/default/pods/pod" => json(
                r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"pod","namespace":"default"},
                "spec":{"containers":[{"name":"c"}]},"status":{"phase":"Running"}}"#,
            ),
            "/api/v1/namespaces/default/pods/pod/exec" => {
                let options = Options::from_query(&query).unwrap();
                // `kubectl` falls back to SPDY if the WebSocket is refused, so the command chooses what is tried.
                let websocket = if query.contains("command=websocket") { WEBSOCKET_PROTOCOLS } else { &[] };
                let (response, pending) = match upgrade::accept(&mut request, SPDY_PROTOCOLS, websocket) {
                    Ok(accepted) => accepted,
                    Err(refusal) => return full(refusal.into_response()),
                };
                tokio::spawn(async move {
                    let mut session = ServerSession::accept(pending, options, KeepAlive::default()).await.unwrap();
                    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
                    tokio::io::copy(&mut stdin, &mut stdout).await.unwrap();
                    drop(stdout);
                    session.stderr.as_mut().unwrap().write_all(b"that was all\n").await.unwrap();
                    session.finish(&Status::exit_code(7)).await.unwrap();
                });
                full(response.map(|()| ""))
            }
            "/api/v1/namespaces/default/pods/pod/portforward" => {
                let websocket = portforward::WEBSOCKET_PROTOCOLS;
                let (response, pending) = upgrade::accept(&mut request, portforward::SPDY_PROTOCOLS, websocket).unwrap();
                let ports = ports_from_query(&query).unwrap_or_default();
                tokio::spawn(async move {
                    let server = Server::accept_upgrade(pending, &ports, KeepAlive::default()).await.unwrap();
                    super::portforward::echo(server).await;
                });
                full(response.map(|()| ""))
            }
            other => full(Response::builder().status(404).body(format!("{other} is not here")).unwrap()),
        }
    })
    .await
}

fn kubectl(server: Dial, websockets: bool, home: &std::path::Path) -> Command {
    let mut command = Command::new("kubectl");
    command.arg(format!("--server=http://{}", server.0)).arg("--kubeconfig=/dev/null").arg("--namespace=default");
    command.env("HOME", home).env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets.to_string());
    command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn is_installed() -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("kubectl").exists()))
}

#[tokio::test]
async fn exec_over_spdy_and_websocket() {
    if !is_installed() {
        return;
    }
    let server = api_server().await;
    let home = tempfile::tempdir().unwrap();
    for way in ["websocket", "spdy"] {
        bounded(async {
            let mut command = kubectl(server, way == "websocket", home.path());
            let mut child = command.args(["exec", "-i", "pod", "--", way]).spawn().unwrap();
            let sent = noise(20 << 20, 4);
            let mut stdin = child.stdin.take().unwrap();
            let expected = digest(&sent);
            let writing = tokio::spawn(async move { stdin.write_all(&sent).await });
            let output = child.wait_with_output().await.unwrap();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!((output.stdout.len(), digest(&output.stdout)), (20 << 20, expected), "{way}: {errors}");
            assert_eq!(errors, "that was all\ncommand terminated with exit code 7\n", "{way}");
            assert_eq!(output.status.code(), Some(7), "{way}");
            writing.await.unwrap().unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn port_forward_over_spdy_and_tunnel() {
    if !is_installed() {
        return;
    }
    let server = api_server().await;
    let home = tempfile::tempdir().unwrap();
    for websockets in [true, false] {
        bounded(async {
            let mut child = kubectl(server, websockets, home.path()).args(["port-forward", "pod", ":80"]).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let line = lines.next_line().await.unwrap().expect("kubectl says where it listens");
            let port: u16 = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
            let connection = async |seed: u64| {
                let sent = noise(8 << 20, seed);
                let (mut read, mut write) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
                let mut received = vec![0; sent.len()];
                tokio::join!(async { write.write_all(&sent).await.unwrap() }, async { read.read_exact(&mut received).await.unwrap() });
                assert_eq!(digest(&received), digest(&sent), "websockets: {websockets}");
                drop(write);
                assert_eq!(read.read(&mut [0]).await.unwrap(), 0);
            };
            tokio::join!(connection(1), connection(2));
            child.kill().await.unwrap();
        })
        .await;
    }
}
