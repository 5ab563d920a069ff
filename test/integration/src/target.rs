//! The server under test.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use client::{Client, Config};
use component_base::daemon::Parsed;
use kube_apiserver::config::StoreConfig;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Answer, Call};

/// The token of `admin` in `system:masters`.
const TOKEN: &str = "integration-admin";

/// Longest a server may take to become ready, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A server and how to speak to it. Ends with its value.
pub struct Target {
    client: Client,
    token: String,
    running: Option<Running>,
}

/// A server in this process, with what it needs while it runs.
struct Running {
    stop: CancellationToken,
    server: JoinHandle<Result<(), String>>,
    /// Holds the port: bound beside the server's listener, it receives nothing and gives the port to nobody else.
    _port: TcpSocket,
    _files: TempDir,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("server", &self.client.server()).finish_non_exhaustive()
    }
}

impl Target {
    /// The server named by `TARGET_URL` and `TARGET_TOKEN`, or a fresh one in this process, when it is ready.
    pub async fn start() -> Target {
        if let Ok(url) = std::env::var("TARGET_URL") {
            let token = std::env::var("TARGET_TOKEN").expect("TARGET_URL goes with TARGET_TOKEN");
            return Target { client: client_of(&url), token, running: None };
        }
        let files = tempfile::tempdir().expect("a temporary folder");
        let (port, address) = reserve_port();
        let tokens = files.path().join("tokens.csv");
        std::fs::write(&tokens, format!("{TOKEN},admin,1,system:masters\n")).expect("the token file can be written");
        let key = files.path().join("sa.key");
        std::fs::write(&key, pki::Key::generate().expect("a key").pem()).expect("the key file can be written");

        let flags = [
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", address.port()),
            "--permit-port-sharing=true".to_owned(),
            format!("--data-dir={}", files.path().display()),
            format!("--token-auth-file={}", tokens.display()),
            format!("--service-account-signing-key-file={}", key.display()),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
        ];
        let config = match kube_apiserver::options::command().parse(flags) {
            Ok(Parsed::Run(mut config, ..)) => {
                config.store = StoreConfig::Memory;
                *config
            }
            other => panic!("the flags of the test server are refused: {other:?}"),
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let server = tokio::spawn(async move { kube_apiserver::run(config, stopped).await.map_err(|error| error.to_string()) });
        let running = Running { stop, server, _port: port, _files: files };
        let target = Target { client: client_of(&format!("https://{address}")), token: TOKEN.to_owned(), running: Some(running) };
        target.until_ready().await;
        target
    }

    /// Asks until the server says that it is ready.
    async fn until_ready(&self) {
        let began = Instant::now();
        loop {
            let asked = self.send(&Call { method: "GET".into(), path: "/readyz".into(), ..Call::default() }).await;
            if asked.as_ref().is_ok_and(|answer| answer.status.is_success()) {
                return;
            }
            let ended = self.running.as_ref().is_some_and(|running| running.server.is_finished());
            assert!(!ended && began.elapsed() < START, "the server does not become ready: {asked:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a request as `admin`, unless it says itself as whom: an `Authorization` header, empty for nobody.
    pub async fn send(&self, call: &Call) -> Result<Answer, String> {
        let mut call = call.clone();
        match call.headers.iter().position(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            Some(at) if call.headers[at].1.is_empty() => drop(call.headers.remove(at)),
            Some(_) => {}
            None => call.headers.push(("Authorization".to_owned(), format!("Bearer {}", self.token))),
        }
        call.send(&self.client).await
    }

    /// Stops a server of this process and waits for its end; leaves any other alone.
    pub async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.stop.cancel();
            self.client.close_connections();
            running.server.await.expect("the server does not panic").expect("the server ends well");
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.stop.cancel();
        }
    }
}

/// A port nobody else gets while the socket lives, for the server binds beside it (`SO_REUSEPORT`).
fn reserve_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("SO_REUSEADDR");
    socket.set_reuseport(true).expect("SO_REUSEPORT");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port on loopback");
    let address = socket.local_addr().expect("a bound socket has an address");
    (socket, address)
}

fn client_of(url: &str) -> Client {
    let mut config = Config::new(url);
    config.tls.insecure_skip_verify = true;
    config.qps = -1.0;
    config.user_agent = "replay".to_owned();
    Client::new(&config).expect("a client")
}
