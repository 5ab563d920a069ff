//! Connections, retries, credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::testing::{Answer, Server};
use client::{Auth, Client, Config, ConfigError, Error, Pem, Request};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Pki {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Pki { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn ca(&self) -> Pem {
        Pem::Data(self.issuer.pem().into_bytes())
    }

    fn leaf(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn acceptor(&self, alpn: &[&[u8]], ask_client: bool) -> TlsAcceptor {
        let (cert, key) = self.leaf("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = if ask_client {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(self.issuer.pem().as_bytes()).unwrap()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
        let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

async fn get(client: &Client, path: &str) -> Result<String, Error> {
    client.fetch(Request::get(path)).await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn many_requests_share_one_http2_connection() {
    let pki = Pki::new();
    let server = Server::start_with(Some(pki.acceptor(BOTH, false)), |seen| Answer::ok(seen.path.clone())).await;
    let mut config = server.config();
    config.tls.ca = Some(pki.ca());
    let client = Client::new(&config.with_user_agent("kubelet")).unwrap();
    let asks = (0..50).map(|index| {
        let client = client.clone();
        tokio::spawn(async move { get(&client, &format!("/x/{index}")).await.unwrap() })
    });
    for (index, ask) in asks.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(ask.await.unwrap(), format!("/x/{index}"));
    }
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.http2 && seen.connection == 0));
    assert!(seen[0].header("user-agent").starts_with("kubelet/v1.36.2 (linux/"), "{}", seen[0].header("user-agent"));
}

#[tokio::test]
async fn watches_beyond_a_connections_streams_open_another() {
    let pki = Pki::new();
    let server = Server::start_with(Some(pki.acceptor(BOTH, false)), |_| {
        let (sender, answer) = Answer::pieces();
        // Kept open for as long as the client reads.
        tokio::spawn(async move { sender.closed().await });
        answer
    })
    .await;
    let mut config = server.config();
    config.tls.ca = Some(pki.ca());
    let client = Client::new(&config).unwrap();
    let mut open = Vec::new();
    for _ in 0..95 {
        open.push(client.send(Request::get("/watch").no_timeout()).await.unwrap());
    }
    assert_eq!(server.seen().iter().map(|seen| seen.connection).max(), Some(1));
}

#[tokio::test]
async fn http1_connections_are_used_again() {
    let server = Server::start(|_| Answer::ok("hello")).await;
    let client = Client::new(&server.config()).unwrap();
    for _ in 0..5 {
        assert_eq!(get(&client, "/").await.unwrap(), "hello");
    }
    assert!(server.seen().iter().all(|seen| seen.connection == 0 && !seen.http2));
}

#[tokio::test]
async fn a_client_certificate_read_from_a_file_is_presented() {
    let pki = Pki::new();
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = pki.leaf("client", ExtendedKeyUsagePurpose::ClientAuth);
    std::fs::write(dir.path().join("c.pem"), &cert).unwrap();
    std::fs::write(dir.path().join("k.pem"), &key).unwrap();
    let server = Server::start_with(Some(pki.acceptor(BOTH, true)), |_| Answer::ok("in")).await;
    let mut config = server.config();
    config.tls.ca = Some(pki.ca());
    assert!(get(&Client::new(&config).unwrap(), "/").await.is_err());
    config.tls.client_cert = Some(Pem::File(dir.path().join("c.pem")));
    assert!(matches!(Client::new(&config), Err(ConfigError::CertWithoutKey)));
    config.tls.client_key = Some(Pem::File(dir.path().join("k.pem")));
    assert_eq!(get(&Client::new(&config).unwrap(), "/").await.unwrap(), "in");
}

#[tokio::test]
async fn an_exchanged_identity_means_a_new_connection() {
    let pki = Pki::new();
    let server = Server::start_with(Some(pki.acceptor(BOTH, true)), |_| Answer::ok("in")).await;
    let identity = client::ClientIdentity::empty();
    let set = |name: &str| {
        let (cert, key) = pki.leaf(name, ExtendedKeyUsagePurpose::ClientAuth);
        identity.set(cert.as_bytes(), key.as_bytes()).unwrap();
    };
    set("first");
    let mut config = server.config();
    config.tls.ca = Some(pki.ca());
    config.tls.identity = Some(identity.clone());
    let client = Client::new(&config).unwrap();
    get(&client, "/1").await.unwrap();
    get(&client, "/2").await.unwrap();
    set("second");
    get(&client, "/3").await.unwrap();
    assert_eq!(server.seen().iter().map(|seen| seen.connection).collect::<Vec<_>>(), [0, 0, 1]);
}

#[tokio::test]
async fn an_unknown_authority_is_refused_unless_told_otherwise() {
    let (pki, other) = (Pki::new(), Pki::new());
    let server = Server::start_with(Some(pki.acceptor(BOTH, false)), |_| Answer::ok("in")).await;
    let mut config = server.config();
    config.tls.ca = Some(other.ca());
    let err = get(&Client::new(&config).unwrap(), "/").await.unwrap_err();
    assert!(matches!(err, Error::Tls { .. }), "{err:?}");
    config.tls.insecure_skip_verify = true;
    assert!(matches!(Client::new(&config), Err(ConfigError::InsecureWithRoots)));
    config.tls.ca = None;
    assert_eq!(get(&Client::new(&config).unwrap(), "/").await.unwrap(), "in");
    config.tls = client::TlsSettings { ca: Some(Pem::Data(b"nonsense".to_vec())), ..Default::default() };
    assert!(matches!(Client::new(&config), Err(ConfigError::NoRoots)));
}

#[tokio::test]
async fn the_server_may_ask_for_patience_ten_times() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let server = Server::start(move |seen| match (seen.path.as_str(), counter.fetch_add(1, Ordering::SeqCst)) {
        ("/soon", count) if count < 3 => Answer::failure(429, "TooManyRequests", "later").with_header("retry-after", "0"),
        ("/soon", _) => Answer::ok("now"),
        ("/once", _) => Answer::failure(503, "ServiceUnavailable", "no"),
        _ => Answer::failure(500, "InternalError", "never").with_header("retry-after", "0"),
    })
    .await;
    let client = Client::new(&server.config()).unwrap();
    assert_eq!(client.fetch(Request::new(http::Method::POST, "/soon")).await.unwrap(), "now");
    assert_eq!(asked.swap(0, Ordering::SeqCst), 4);
    assert!(get(&client, "/once").await.unwrap_err().is_service_unavailable());
    assert_eq!(asked.swap(0, Ordering::SeqCst), 1);
    assert!(get(&client, "/never").await.unwrap_err().is_internal());
    assert_eq!(asked.load(Ordering::SeqCst), 11);
}

#[tokio::test]
async fn refusals_carry_the_servers_status() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/status" => Answer::failure(409, "AlreadyExists", "pods \"a\" already exists"),
        "/text" => Answer::json(404, "404 page not found"),
        _ => Answer::json(502, ""),
    })
    .await;
    let client = Client::new(&server.config()).unwrap();
    let exists = get(&client, "/status").await.unwrap_err();
    assert!(exists.is_already_exists() && !exists.is_conflict());
    assert_eq!(exists.to_string(), "pods \"a\" already exists");
    let missing = get(&client, "/text").await.unwrap_err();
    assert!(missing.is_not_found());
    assert_eq!(missing.to_string(), "the server could not find the requested resource");
    let broken = get(&client, "/other").await.unwrap_err();
    assert_eq!(broken.to_string(), "an error on the server (\"unknown\") has prevented the request from succeeding");
}

#[tokio::test]
async fn nobody_listening_is_told_apart() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::new(&Config::new(format!("http://{unused}"))).unwrap();
    assert!(get(&client, "/").await.unwrap_err().is_connection_refused());
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let server = Server::start(|_| {
        let (sender, answer) = Answer::pieces();
        tokio::spawn(async move { sender.closed().await });
        answer
    })
    .await;
    let client = Client::new(&server.config()).unwrap();
    let err = client.fetch(Request::get("/").timeout(Duration::from_millis(50))).await.unwrap_err();
    assert!(err.is_timeout(), "{err:?}");
}

#[tokio::test]
async fn tokens_come_from_files_and_plugins() {
    let dir = tempfile::tempdir().unwrap();
    let (token, plugin) = (dir.path().join("token"), dir.path().join("plugin"));
    std::fs::write(&token, "from-file\n").unwrap();
    let script = "#!/bin/sh\necho ran >> \"$LOG\"\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"from-plugin\"}}'\n";
    std::fs::write(&plugin, script).unwrap();
    std::fs::set_permissions(&plugin, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let server = Server::start(|seen| match seen.path.as_str() {
        "/refuse" => Answer::failure(401, "Unauthorized", "Unauthorized"),
        _ => Answer::ok(seen.header("authorization").to_string()),
    })
    .await;

    let mut config = server.config();
    config.auth = Auth::TokenFile { path: token.clone(), initial: None };
    let client = Client::new(&config).unwrap();
    assert_eq!(get(&client, "/").await.unwrap(), "Bearer from-file");

    let log = dir.path().join("log");
    let mut exec = client::ExecSettings {
        api_version: "client.authentication.k8s.io/v1".into(),
        command: plugin.display().to_string(),
        ..Default::default()
    };
    exec.env = vec![("LOG".into(), log.display().to_string())];
    exec.interactive_mode = client::InteractiveMode::Never;
    config.auth = Auth::Exec(Box::new(exec.clone()));
    let client = Client::new(&config).unwrap();
    for _ in 0..3 {
        assert_eq!(get(&client, "/").await.unwrap(), "Bearer from-plugin");
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "ran\n");
    assert!(get(&client, "/refuse").await.unwrap_err().is_unauthorized());
    get(&client, "/").await.unwrap();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "ran\nran\n");

    exec.command = "no-such-plugin-anywhere".into();
    config.auth = Auth::Exec(Box::new(exec));
    let err = get(&Client::new(&config).unwrap(), "/").await.unwrap_err();
    let cause = std::error::Error::source(&err).unwrap().to_string();
    assert!(cause.starts_with("exec: executable no-such-plugin-anywhere not found"), "{cause}");
}

#[tokio::test]
async fn a_connection_cut_during_a_get_is_replaced() {
    let count = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let accepted = count.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
            if accepted.fetch_add(1, Ordering::SeqCst) > 0 {
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
        }
    });
    let mut config = Config::new(url);
    config.qps = -1.0;
    let client = Client::new(&config).unwrap();
    let post = client.fetch(Request::new(http::Method::POST, "/")).await.unwrap_err();
    assert!(post.is_connection_lost());
    count.store(0, Ordering::SeqCst);
    assert_eq!(get(&client, "/").await.unwrap(), "ok");
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn warnings_reach_whoever_shows_them() {
    let server = Server::start(|_| Answer::ok("{}").with_header("warning", "299 - \"v1 is old\"")).await;
    let shown = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = shown.clone();
    let client = Client::new(&server.config()).unwrap().with_warnings(move |text| sink.lock().unwrap().push(text.to_string()));
    get(&client, "/").await.unwrap();
    assert_eq!(*shown.lock().unwrap(), ["v1 is old"]);
}

#[tokio::test]
async fn an_upgrade_leaves_http_and_a_refusal_does_not() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let count = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
            let head = String::from_utf8_lossy(&buffer[..count]).to_lowercase();
            let answer = match head.contains("/no ") {
                true => {
                    "HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"no\",\"reason\":\"Forbidden\",\"code\":403}"
                }
                false => {
                    assert!(head.contains("connection: upgrade") && head.contains("upgrade: spdy/3.1"), "{head}");
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: spdy/3.1\r\nx-thing: 1\r\n\r\nhello"
                }
            };
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
            // Dropping the stream ends the body.
        }
    });
    let client = Client::new(&Config::new(url)).unwrap();
    let request = || Request::new(http::Method::POST, "/yes");
    let mut upgraded = client.upgrade(request(), "SPDY/3.1").await.unwrap();
    assert_eq!(upgraded.headers["x-thing"], "1");
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut upgraded.io, &mut text).await.unwrap();
    assert_eq!(text, "hello");
    let refused = client.upgrade(Request::new(http::Method::POST, "/no"), "SPDY/3.1").await.err().unwrap();
    assert!(refused.is_forbidden(), "{refused:?}");
}
