//! Servers on loopback, spoken to in HTTP/1.1 and HTTP/2, plain and over TLS.

use std::time::SystemTime;

use hyper::client::conn::{http1, http2};
use hyper::{Method, StatusCode, Version};
use pki::cert::{CA_VALIDITY, CERTIFICATE_VALIDITY};
use pki::{Ca, San, Subject, Template, Usages};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::peer::{CaBundle, VerifyError, verify_client_chain};
use super::tls::{CertSource, SniCert};
use super::*;
use crate::http::{Body, empty, full, handler, read_all};

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn start(config: ServingConfig, answer: Handler) -> Running {
    let server = Server::bind(config).unwrap();
    let address = server.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.run(answer, stop.clone()));
    Running { address, stop, task }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A serving certificate for a host, and the authority behind it.
fn serving(ca: &Ca, host: &str) -> CertSource {
    let template =
        Template::new(Subject::new(host, &[]), vec![San::parse(host)], Usages::server(), SystemTime::now(), CERTIFICATE_VALIDITY);
    let (cert, key) = ca.issue_with_key(&template).unwrap();
    CertSource::Pem { cert, key: key.pem().to_owned() }
}

fn authority(name: &str) -> Ca {
    Ca::create(name, SystemTime::now(), CA_VALIDITY).unwrap()
}

/// A client certificate and key of a user.
fn client_cert(ca: &Ca, subject: Subject) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let template = Template::new(subject, Vec::new(), Usages::client(), SystemTime::now(), CERTIFICATE_VALIDITY);
    let (cert, key) = ca.issue_with_key(&template).unwrap();
    (CertificateDer::from_pem_slice(cert.as_bytes()).unwrap(), PrivateKeyDer::from_pem_slice(key.pem().as_bytes()).unwrap())
}

type Identity = Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>;

async fn connect(address: SocketAddr, host: &str, ca: &Ca, identity: Identity, alpn: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = match identity {
        Some((cert, key)) => builder.with_client_auth_cert(vec![cert], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
}

fn get(path: &str) -> hyper::Request<Body> {
    hyper::Request::builder().uri(path).header("host", "test").body(empty()).unwrap()
}

async fn body_of<B>(response: hyper::Response<B>) -> String
where
    B: hyper::body::Body<Data = bytes::Bytes> + Unpin,
    B::Error: Into<crate::http::BoxError>,
{
    String::from_utf8(read_all(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

/// Tells the version, the user in the client's certificate, and the body.
fn mirror(ca: &Ca) -> Handler {
    let bundle = Arc::new(CaBundle::from_pem(ca.certificate_pem().as_bytes()).unwrap());
    handler(move |request: Request| {
        let bundle = bundle.clone();
        async move {
            let user = match request.extensions().get::<PeerCertificates>() {
                None => "nobody".to_owned(),
                Some(peer) => match peer.verify(&bundle, SystemTime::now()) {
                    Ok(verified) => format!("{} of {}", verified.cn, verified.orgs.join("+")),
                    Err(error) => error.to_string(),
                },
            };
            assert!(request.extensions().get::<RemoteAddr>().unwrap().0.ip().is_loopback());
            let version = request.version();
            let sent = read_all(request.into_body(), 100).await.unwrap();
            Response::new(full(format!("{version:?} {user} {}", String::from_utf8_lossy(&sent))))
        }
    })
}

#[tokio::test]
async fn both_versions_are_spoken_over_tls_and_tell_who_calls() {
    let (server_ca, client_ca, stranger) = (authority("servers"), authority("clients"), authority("strangers"));
    let running = start(ServingConfig::secure(loopback(), TlsOptions::new(serving(&server_ca, "localhost"))), mirror(&client_ca));
    let alice = Subject::new("alice", &["admins", "devs"]);
    for (identity, expected) in [
        (None, "nobody"),
        (Some(client_cert(&client_ca, alice.clone())), "alice of devs+admins"),
        // (DER sorts a set: the shorter group comes first.) A bad certificate is the handler's affair: the connection stands.
        (Some(client_cert(&stranger, alice)), "x509: certificate signed by unknown authority"),
    ] {
        let clone = identity.as_ref().map(|(cert, key)| (cert.clone(), key.clone_key()));
        let socket = connect(running.address, "localhost", &server_ca, clone, "http/1.1").await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let mut request = get("/");
        *request.method_mut() = Method::POST;
        *request.body_mut() = full("ping");
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(body_of(response).await, format!("HTTP/1.1 {expected} ping"));

        let socket = connect(running.address, "localhost", &server_ca, identity, "h2").await;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..2 {
            let response = sender.send_request(get("https://localhost/")).await.unwrap();
            assert_eq!(response.version(), Version::HTTP_2);
            assert_eq!(body_of(response).await, format!("HTTP/2.0 {expected} "));
        }
    }
    running.end().await;
}

#[tokio::test]
async fn the_certificate_follows_the_name_and_the_files() {
    let ca = authority("servers");
    let folder = tempfile::tempdir().unwrap();
    let (cert_path, key_path) = (folder.path().join("a.crt"), folder.path().join("a.key"));
    let put = |source: CertSource| {
        let CertSource::Pem { cert, key } = source else { unreachable!() };
        std::fs::write(&cert_path, cert).unwrap();
        std::fs::write(&key_path, key).unwrap();
    };
    put(serving(&ca, "first.example"));
    let mut tls = TlsOptions::new(CertSource::Files { cert: cert_path.clone(), key: key_path.clone() });
    tls.sni.push(SniCert { source: serving(&ca, "*.wild.example"), names: Vec::new() });
    tls.sni.push(SniCert { source: serving(&ca, "named.example"), names: vec!["Named.Example".to_owned()] });
    let server = Server::bind(ServingConfig::secure(loopback(), tls)).unwrap();
    let certificates = server.certificates().unwrap().clone();
    let address = server.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.run(mirror(&ca), stop.clone()));

    let leaf = async |host: &str| {
        let socket = connect(address, host, &ca, None, "h2").await;
        let certificate = socket.get_ref().1.peer_certificates().unwrap()[0].clone();
        pki::cert::sans(&certificate).unwrap().remove(0)
    };
    assert_eq!(leaf("first.example").await, San::parse("first.example"));
    assert_eq!(leaf("a.wild.example").await, San::parse("*.wild.example"));
    assert_eq!(leaf("named.example").await, San::parse("named.example"));
    put(serving(&ca, "second.example"));
    for files in certificates.reloaders() {
        assert!(files.check().unwrap());
    }
    assert_eq!(leaf("second.example").await, San::parse("second.example"));
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_request_in_flight_may_finish_before_the_server_goes() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, wait) = (entered.clone(), leave.clone());
    let answer = handler(move |_| {
        let (enter, wait) = (enter.clone(), wait.clone());
        async move {
            enter.notify_one();
            wait.notified().await;
            Response::new(full("late"))
        }
    });
    for http2 in [false, true] {
        let running = start(ServingConfig::plain(loopback()), answer.clone());
        let socket = TokioIo::new(TcpStream::connect(running.address).await.unwrap());
        let request = get("http://test/");
        let asked = if http2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), socket).await.unwrap();
            tokio::spawn(connection);
            tokio::spawn(async move { body_of(sender.send_request(request).await.unwrap()).await })
        } else {
            let (mut sender, connection) = http1::handshake(socket).await.unwrap();
            tokio::spawn(connection);
            tokio::spawn(async move { body_of(sender.send_request(request).await.unwrap()).await })
        };
        entered.notified().await;
        let address = running.address;
        running.stop.cancel();
        // The port is free as soon as the server was told.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        leave.notify_one();
        assert_eq!(asked.await.unwrap(), "late");
        running.task.await.unwrap();
    }
}

#[tokio::test]
async fn what_does_not_drain_is_cut() {
    let answer = handler(|_| std::future::pending());
    let running = start(ServingConfig { shutdown_grace: Duration::ZERO, ..ServingConfig::plain(loopback()) }, answer);
    let socket = TokioIo::new(TcpStream::connect(running.address).await.unwrap());
    let (mut sender, connection) = http1::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let asked = tokio::spawn(async move { sender.send_request(get("/")).await.is_err() });
    tokio::task::yield_now().await;
    running.end().await;
    assert!(asked.await.unwrap());
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let running = start(ServingConfig::plain(loopback()), handler(|_| async { panic!("on purpose") }));
    let socket = TokioIo::new(TcpStream::connect(running.address).await.unwrap());
    let (mut sender, connection) = http1::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    drop(sender);
    running.end().await;
}

#[tokio::test]
async fn connections_can_be_upgraded_over_tls() {
    let ca = authority("servers");
    let answer = handler(|mut request: Request| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        response.headers_mut().insert("upgrade", "SPDY/3.1".parse().unwrap());
        response
    });
    let running = start(ServingConfig::secure(loopback(), TlsOptions::new(serving(&ca, "localhost"))), answer);
    let socket = connect(running.address, "localhost", &ca, None, "http/1.1").await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
    let (done, ended) = oneshot::channel();
    tokio::spawn(async move {
        connection.with_upgrades().await.unwrap();
        let _ = done.send(());
    });
    let mut request = get("/");
    request.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "SPDY/3.1".parse().unwrap());
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    ended.await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut echoed = String::new();
    stream.read_to_string(&mut echoed).await.unwrap();
    assert_eq!(echoed, "ping");
    running.end().await;
}

#[tokio::test]
async fn a_taken_port_and_missing_files_are_named() {
    let running = start(ServingConfig::plain(loopback()), handler(|_| std::future::pending()));
    let error = Server::bind(ServingConfig::plain(running.address)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("failed to create listener: failed to listen on {}: ", running.address)), "{error}");
    running.end().await;
    let files = CertSource::Files { cert: "/nowhere/a.crt".into(), key: "/nowhere/a.key".into() };
    let error = Server::bind(ServingConfig::secure(loopback(), TlsOptions::new(files))).unwrap_err().to_string();
    assert!(error.starts_with("open /nowhere/a.crt: "), "{error}");
}

#[test]
fn chains_are_verified_for_clients_at_a_time() {
    let ca = authority("clients");
    let bundle = CaBundle::from_pem(ca.certificate_pem().as_bytes()).unwrap();
    let (cert, _) = client_cert(&ca, Subject::new("bob", &["g"]));
    let now = SystemTime::now();
    let verified = verify_client_chain(std::slice::from_ref(&cert), &bundle, now).unwrap();
    assert_eq!((verified.cn.as_str(), verified.orgs.as_slice()), ("bob", ["g".to_owned()].as_slice()));
    assert_eq!(verified.sha256.len(), 64);

    let later = now + CERTIFICATE_VALIDITY * 2;
    let cases: [(&[CertificateDer<'_>], &CaBundle, SystemTime, fn(&VerifyError) -> bool); 5] = [
        (&[], &bundle, now, |error| matches!(error, VerifyError::Missing)),
        (std::slice::from_ref(&cert), &bundle, later, |error| matches!(error, VerifyError::Expired)),
        (&[CertificateDer::from(vec![1, 2, 3])], &bundle, now, |error| matches!(error, VerifyError::Malformed)),
        (&[server_leaf(&ca)], &bundle, now, |error| matches!(error, VerifyError::Usage)),
        (&[client_cert(&authority("clients"), Subject::default()).0], &bundle, now, |error| matches!(error, VerifyError::UnknownAuthority)),
    ];
    for (index, (chain, bundle, now, expected)) in cases.iter().enumerate() {
        let error = verify_client_chain(chain, bundle, *now).unwrap_err();
        assert!(expected(&error), "case {index}: {error}");
    }
    assert!(CaBundle::from_pem(b"").is_err());
}

fn server_leaf(ca: &Ca) -> CertificateDer<'static> {
    let CertSource::Pem { cert, .. } = serving(ca, "x") else { unreachable!() };
    CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()
}
