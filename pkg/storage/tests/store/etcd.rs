//! The etcd engine, on servers of our own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use storage::etcd::{Config, EtcdStore};
use storage::{Expect, KeyRange, Range, Store, Watched};
use tempfile::TempDir;

use crate::contract::{self, next, put};
use crate::model;

/// An etcd that ends with its owner.
struct Etcd {
    folder: TempDir,
    client_port: u16,
    peer_port: u16,
    process: Child,
}

/// Ports that were free a moment ago. etcd cannot be told to choose for itself.
fn free_ports() -> (u16, u16) {
    let (one, two) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    (one.local_addr().unwrap().port(), two.local_addr().unwrap().port())
}

impl Etcd {
    /// `None` where there is no etcd to run.
    fn start() -> Option<Etcd> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("skipped: there is no etcd on this machine (Debian: etcd-server)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (client_port, peer_port) = free_ports();
        let process = run(&folder, client_port, peer_port, None);
        Some(Etcd { folder, client_port, peer_port, process })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    async fn connect(&self) -> EtcdStore {
        self.connect_with(None).await
    }

    async fn connect_with(&self, compaction_interval: Option<Duration>) -> EtcdStore {
        connect(Config { compaction_interval, ..Config::new(vec![self.url()]) }).await
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.process = run(&self.folder, self.client_port, self.peer_port, None);
    }
}

/// Waits until the server is up.
async fn connect(config: Config) -> EtcdStore {
    for _ in 0..1500 {
        match EtcdStore::connect(config.clone()).await {
            Ok(store) => return store,
            Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("etcd does not come up");
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// With `certificates`, a folder of ca.crt, server.crt and server.key, only clients with a certificate get in.
fn run(folder: &TempDir, client_port: u16, peer_port: u16, certificates: Option<&Path>) -> Child {
    let scheme = if certificates.is_some() { "https" } else { "http" };
    let (client, peer) = (format!("{scheme}://127.0.0.1:{client_port}"), format!("http://127.0.0.1:{peer_port}"));
    let mut command = Command::new("etcd");
    if let Some(folder) = certificates {
        command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(folder.join("ca.crt"));
        command.arg("--cert-file").arg(folder.join("server.crt")).arg("--key-file").arg(folder.join("server.key"));
    }
    command
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--name", "one", "--initial-cluster", &format!("one={peer}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let Some(etcd) = Etcd::start() else { return };
    let store = Arc::new(etcd.connect().await);
    assert!(store.supports_watermark());
    contract::run_all(store).await;
}

#[tokio::test]
async fn random_histories_agree_with_the_model() {
    let Some(etcd) = Etcd::start() else { return };
    let store = Arc::new(etcd.connect().await);
    for seed in 0..2 {
        model::run(store.clone(), &format!("/registry/model{seed}/"), seed, 150).await;
    }
}

/// Kills the server under a watch and writes through another connection meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_survives_a_restart_without_gap_or_repetition() {
    let Some(mut etcd) = Etcd::start() else { return };
    let store = etcd.connect().await;
    let start = store.current_revision().await.unwrap();
    let mut watch = store.watch(KeyRange::prefix("/registry/"), start).await.unwrap();
    assert_eq!(next(&mut watch).await, Watched::Watermark(start));
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in 0..5 {
            expected.push(put(&store, Bytes::from(format!("/registry/{number}")), &round.to_string()).await);
        }
        // Some of the events have been delivered at this point, and some have not.
        for revision in expected.drain(..round + 1) {
            assert!(matches!(next(&mut watch).await, Watched::Events(events) if events.revision == revision));
        }
        etcd.kill();
        etcd.start_again();
        let other = etcd.connect().await;
        expected.push(put(&other, Bytes::from("/registry/other"), &round.to_string()).await);
        while let Err(error) = store.current_revision().await {
            assert!(error.is_transient(), "{error:?}");
        }
    }
    for revision in expected {
        match next(&mut watch).await {
            Watched::Events(events) => assert_eq!(events.revision, revision),
            other => panic!("{other:?} instead of revision {revision}"),
        }
    }
}

/// Two servers share an etcd: both keep compacting, together once per round.
#[tokio::test]
async fn servers_agree_on_compaction() {
    let Some(etcd) = Etcd::start() else { return };
    let interval = Some(Duration::from_millis(200));
    let (one, _two) = (etcd.connect_with(interval).await, etcd.connect_with(interval).await);
    let first = put(&one, Bytes::from("/registry/a"), "1").await;
    put(&one, Bytes::from("/registry/a"), "2").await;
    let compacted = async {
        while one.range(Range::of(KeyRange::all()).at(first)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), compacted).await.expect("old history goes away");
    let round = one.get(Bytes::from("compact_rev_key")).await.unwrap().expect("the rounds are counted in upstream's key");
    assert!(std::str::from_utf8(&round.value).unwrap().parse::<u64>().is_ok());
    assert_eq!(one.get(Bytes::from("/registry/a")).await.unwrap().unwrap().value, "2");
}

#[tokio::test]
async fn keys_that_expire_at_about_the_same_time_share_a_lease() {
    let Some(etcd) = Etcd::start() else { return };
    let store = etcd.connect().await;
    let mut leases = Vec::new();
    for (name, seconds) in [("a", 3600), ("b", 3600), ("c", 60)] {
        let key = Bytes::from(format!("/registry/{name}"));
        let ttl = Some(Duration::from_secs(seconds));
        store.put(key.clone(), Expect::Absent, Bytes::new(), ttl).await.unwrap();
        leases.push(store.get(key).await.unwrap().unwrap().lease.expect("it expires"));
    }
    assert_eq!(leases[0], leases[1]);
    assert_ne!(leases[0], leases[2]);
}

#[tokio::test]
async fn an_etcd_that_is_down_is_a_clear_error() {
    let (port, _) = free_ports();
    let config = Config { request_timeout: Duration::from_millis(300), ..Config::new(vec![format!("http://127.0.0.1:{port}")]) };
    let error = EtcdStore::connect(config).await.err().expect("nobody listens");
    assert!(matches!(error, storage::Error::Unavailable { .. }), "{error:?}");
    for (config, says) in [
        (Config::new(vec![]), "no etcd endpoint"),
        (Config::new(vec!["https://127.0.0.1:1".to_owned()]), "certificate authority"),
        (Config { ca_file: Some("x".into()), ..Config::new(vec!["http://127.0.0.1:1".to_owned()]) }, "https://"),
    ] {
        let error = EtcdStore::connect(config).await.err().expect("the configuration makes no sense");
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// What others keep in the same etcd moves watermarks and shows up nowhere.
#[tokio::test]
async fn foreign_keys_stay_out_of_a_watch() {
    let Some(etcd) = Etcd::start() else { return };
    let store = etcd.connect().await;
    let start = store.current_revision().await.unwrap();
    let mut watch = store.watch(KeyRange::prefix("/registry/"), start).await.unwrap();
    let foreign = put(&store, Bytes::from("somebody/else"), "1").await;
    loop {
        match watch.next().await.unwrap().unwrap() {
            Watched::Watermark(revision) if revision == foreign => break,
            Watched::Watermark(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_member_that_is_down_is_passed_over() {
    let Some(etcd) = Etcd::start() else { return };
    drop(etcd.connect().await);
    let (nobody, _) = free_ports();
    let store = connect(Config::new(vec![format!("http://127.0.0.1:{nobody}"), etcd.url()])).await;
    for number in 0..20 {
        put(&store, Bytes::from("/registry/a"), &number.to_string()).await;
    }
    let mut watch = store.watch(KeyRange::prefix("/registry/"), storage::Revision(1)).await.unwrap();
    for _ in 0..20 {
        assert!(matches!(next(&mut watch).await, Watched::Events(_)));
    }
}

/// Writes ca.crt, and server and client certificates with their keys.
fn make_certificates(folder: &Path) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "etcd-ca");
    let ca = params.self_signed(&ca_key).unwrap();
    std::fs::write(folder.join("ca.crt"), ca.pem()).unwrap();
    let issuer = rcgen::Issuer::new(params, ca_key);
    for (name, usage) in [("server", rcgen::ExtendedKeyUsagePurpose::ServerAuth), ("client", rcgen::ExtendedKeyUsagePurpose::ClientAuth)] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        // The server calls itself too, as a client.
        params.extended_key_usages = vec![usage, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn certificates_are_presented_and_checked() {
    let Some(mut etcd) = Etcd::start() else { return };
    etcd.kill();
    let folder = tempfile::tempdir().unwrap();
    make_certificates(folder.path());
    etcd.process = run(&folder, etcd.client_port, etcd.peer_port, Some(folder.path()));
    let file = |name: &str| Some(folder.path().join(name));
    let config = Config {
        ca_file: file("ca.crt"),
        cert_file: file("client.crt"),
        key_file: file("client.key"),
        request_timeout: Duration::from_secs(2),
        ..Config::new(vec![format!("https://127.0.0.1:{}", etcd.client_port)])
    };
    let store = connect(config.clone()).await;
    put(&store, Bytes::from("/registry/a"), "1").await;
    let nameless = Config { cert_file: None, key_file: None, ..config.clone() };
    assert!(EtcdStore::connect(nameless).await.is_err(), "who has no certificate does not get in");
    let half = Config { key_file: None, ..config };
    assert!(matches!(EtcdStore::connect(half).await, Err(storage::Error::Config(_))));
}
