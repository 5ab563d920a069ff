//! The etcd engine: a store shared with other API servers, upstream's included.
//!
//! Keys and values go to etcd as they are. Leases are shared by keys (`lease`), compaction is agreed upon through
//! upstream's compaction key (`compact`).
//!
//! **Watermarks.** Upstream asks etcd for progress notifications, which are only right from 3.4.31 and 3.5.13 on: older
//! servers send them before the events they stand for. So a watch here (`watch`) follows *all* keys of the etcd and drops
//! what is outside of its range. Every revision has at least one change, so that having received a change of revision R
//! proves, on every version, that nothing up to R is still to come; and it arrives by itself, without polling. The price is
//! that a watch receives what others write into the same etcd; the API server needs only one watch. Where the account may
//! not read all keys, watches follow their range only and there are no watermarks.

mod compact;
mod fault;
mod lease;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Certificate, CompareOp, ConnectOptions, DeleteOptions, GetOptions, GetResponse, Identity, KvClient, PutOptions, TlsOptions, TxnOp,
    TxnOpResponse,
};
use tokio::task::JoinHandle;

use crate::{
    Error, Expect, KeyRange, KeyValue, LeaseId, Op, Range, RangeResponse, Result, Revision, Stats, Store, Txn, TxnOutcome, WatchStream,
};
use fault::Kind;
use lease::Leases;

/// What a transaction may carry. etcd has a limit of its own, by default 1.5 MiB, and says so itself.
const MAX_TXN_BYTES: usize = 8 << 20;

/// Answers may be as large as etcd makes them: a list is one message.
const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;

const PAUSE_BETWEEN_MEMBERS: Duration = Duration::from_millis(20);

/// How to reach an etcd.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http://host:port` or `https://host:port`, any number of members of one cluster.
    pub endpoints: Vec<String>,
    /// The certificate authority of the servers' certificates (PEM). Needed for `https`.
    pub ca_file: Option<PathBuf>,
    /// This client's certificate and key (PEM): both or none.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// How often this server and the others that share the etcd compact its history; `None` leaves that to them.
    pub compaction_interval: Option<Duration>,
    /// The longest a single request may take.
    pub request_timeout: Duration,
}

impl Config {
    pub fn new(endpoints: Vec<String>) -> Config {
        Config {
            endpoints,
            ca_file: None,
            cert_file: None,
            key_file: None,
            compaction_interval: Some(Duration::from_secs(5 * 60)),
            request_timeout: Duration::from_secs(10),
        }
    }
}

/// A [`Store`] in an etcd cluster.
pub struct EtcdStore {
    client: Arc<Client>,
    leases: Leases,
    compactor: Option<JoinHandle<()>>,
    /// Whether watches may follow all keys.
    sees_all_keys: bool,
    writes: AtomicU64,
}

/// The connection, shared with watches and the compactor.
struct Client {
    etcd: etcd_client::Client,
    timeout: Duration,
    /// How often a request is tried until it reaches a member that is up. The member is picked at random each time.
    attempts: usize,
    /// History up to here is known to be gone.
    compacted: AtomicU64,
    watches: AtomicU64,
}

impl EtcdStore {
    /// Connects and makes sure that the cluster answers.
    ///
    /// Must be called within a tokio runtime, which also runs the compaction until the store is dropped.
    /// Errors: [`Error::Config`] if the endpoints or files cannot be used, [`Error::Unavailable`] if nobody answers.
    pub async fn connect(config: Config) -> Result<EtcdStore> {
        let options = connect_options(&config)?;
        let etcd = etcd_client::Client::connect(&config.endpoints, Some(options))
            .await
            .map_err(|error| Error::Config(format!("etcd endpoints {:?}: {error}", config.endpoints)))?;
        let client = Arc::new(Client {
            etcd,
            timeout: config.request_timeout,
            attempts: 3 * config.endpoints.len() - 2,
            compacted: AtomicU64::new(0),
            watches: AtomicU64::new(0),
        });
        let everything = Range::of(KeyRange::all()).keys_only().limit(1);
        let sees_all_keys = match client.range(&everything).await {
            Ok(_) => true,
            Err(Error::PermissionDenied { .. }) => false,
            Err(error) => return Err(error),
        };
        let compactor = config.compaction_interval.map(|interval| tokio::spawn(compact::run(client.clone(), interval)));
        Ok(EtcdStore { leases: Leases::new(client.clone()), client, compactor, sees_all_keys, writes: AtomicU64::new(0) })
    }

    async fn txn_once(&self, txn: &Txn) -> Result<TxnOutcome> {
        let mut compares = Vec::with_capacity(txn.compares.len());
        let mut reads = Vec::with_capacity(txn.compares.len());
        for compare in &txn.compares {
            let key = compare.key.to_vec();
            match compare.expect {
                Expect::Absent => compares.push(etcd_client::Compare::mod_revision(key.clone(), CompareOp::Equal, 0)),
                Expect::ModRevision(Revision(revision)) => {
                    compares.push(etcd_client::Compare::mod_revision(key.clone(), CompareOp::Equal, revision as i64));
                }
                Expect::Any => {}
            }
            reads.push(TxnOp::get(key, None));
        }
        let mut ops = Vec::with_capacity(txn.ops.len());
        for op in &txn.ops {
            ops.push(match op {
                Op::Put { key, value, ttl } => {
                    let options = match ttl {
                        None => None,
                        Some(ttl) => Some(PutOptions::new().with_lease(self.leases.for_ttl(*ttl).await?)),
                    };
                    TxnOp::put(key.to_vec(), value.to_vec(), options)
                }
                Op::Delete { key } => TxnOp::delete(key.to_vec(), Some(DeleteOptions::new().with_prev_key())),
            });
        }
        let request = etcd_client::Txn::new().when(compares).and_then(ops).or_else(reads);
        let kv = self.client.kv();
        let write = || {
            let (mut kv, request) = (kv.clone(), request.clone());
            async move { kv.txn(request).await }
        };
        let answer = self.client.call(Kind::Write, "write to etcd", write).await?;
        let revision = revision_of(answer.header().map(|header| header.revision()))?;
        let responses = answer.op_responses();
        if !answer.succeeded() {
            let current = responses.into_iter().map(|response| match response {
                TxnOpResponse::Get(mut get) => get.take_kvs().into_iter().next().map(|kv| key_value(&kv)),
                _ => None,
            });
            return Ok(TxnOutcome::Conflict { revision, current: current.collect() });
        }
        let deleted = responses.into_iter().map(|response| match response {
            TxnOpResponse::Delete(mut delete) => delete.take_prev_kvs().into_iter().next().map(|kv| key_value(&kv)),
            _ => None,
        });
        Ok(TxnOutcome::Committed { revision, deleted: deleted.collect() })
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        if let Some(compactor) = &self.compactor {
            compactor.abort();
        }
    }
}

fn connect_options(config: &Config) -> Result<ConnectOptions> {
    if config.endpoints.is_empty() {
        return Err(Error::Config("no etcd endpoint is given".to_owned()));
    }
    // A member that is cut off from the others must end its watches, for it will not learn of changes.
    let options = ConnectOptions::new()
        .with_require_leader(true)
        .with_connect_timeout(Duration::from_secs(5))
        .with_keep_alive(Duration::from_secs(30), Duration::from_secs(10));
    let secure = config.endpoints.iter().filter(|endpoint| endpoint.starts_with("https://")).count();
    if secure == 0 {
        if config.ca_file.is_some() || config.cert_file.is_some() || config.key_file.is_some() {
            return Err(Error::Config("certificates are given, but no etcd endpoint begins with https://".to_owned()));
        }
        return Ok(options);
    }
    if secure < config.endpoints.len() {
        return Err(Error::Config("etcd endpoints with and without https:// cannot be mixed".to_owned()));
    }
    let Some(ca_file) = &config.ca_file else {
        return Err(Error::Config("an https:// etcd endpoint needs the file of its certificate authority".to_owned()));
    };
    let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read_file(ca_file)?));
    tls = match (&config.cert_file, &config.key_file) {
        (Some(cert), Some(key)) => tls.identity(Identity::from_pem(read_file(cert)?, read_file(key)?)),
        (None, None) => tls,
        _ => return Err(Error::Config("a client certificate for etcd needs its key, and a key its certificate".to_owned())),
    };
    Ok(options.with_tls(tls))
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Open { path: path.to_owned(), source: Box::new(source) })
}

impl Client {
    fn kv(&self) -> KvClient {
        self.etcd.kv_client().max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Makes one request, within the time a request may take.
    ///
    /// With several members it may be made more than once: what a member that is down never received goes to another.
    async fn call<T, F>(&self, kind: Kind, attempted: &'static str, mut request: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, etcd_client::Error>>,
    {
        let attempts = async {
            for _ in 1..self.attempts {
                match request().await {
                    Err(error) if fault::is_unsent(&error) => tokio::time::sleep(PAUSE_BETWEEN_MEMBERS).await,
                    outcome => return outcome,
                }
            }
            request().await
        };
        match tokio::time::timeout(self.timeout, attempts).await {
            Ok(outcome) => outcome.map_err(|error| fault::error(kind, attempted, error)),
            Err(_) => Err(fault::no_answer(kind, attempted)),
        }
    }

    async fn range(&self, range: &Range) -> Result<RangeResponse> {
        let mut options = GetOptions::new().with_limit(range.limit as i64);
        if let Some(at) = range.at {
            options = options.with_revision(at.0 as i64);
        }
        if range.keys_only {
            options = options.with_keys_only();
        }
        if range.count_only || range.keys.is_empty() {
            options = options.with_count_only();
        }
        let (start, end) = bounds(&range.keys);
        let (kv, options) = (self.kv(), options.with_range(end));
        let read = || {
            let (mut kv, start, options) = (kv.clone(), start.clone(), options.clone());
            async move { kv.get(start, Some(options)).await }
        };
        let asked = self.call(Kind::Read, "read from etcd", read).await;
        let mut answer: GetResponse = match asked {
            Ok(answer) => answer,
            Err(error) => return Err(self.explain(error, range.at).await),
        };
        let revision = revision_of(answer.header().map(|header| header.revision()))?;
        if range.keys.is_empty() {
            return Ok(RangeResponse { revision, items: Vec::new(), count: 0, more: false });
        }
        let items: Vec<KeyValue> = answer.take_kvs().iter().map(key_value).collect();
        Ok(RangeResponse { revision, items, count: answer.count() as u64, more: answer.more() })
    }

    async fn current_revision(&self) -> Result<Revision> {
        // Any key will do: what matters is that the read is linearizable.
        let any = Range::of(KeyRange::single(compact::KEY)).count_only();
        Ok(self.range(&any).await?.revision)
    }

    /// Puts numbers that etcd does not tell into an error about revisions.
    async fn explain(&self, error: Error, requested: Option<Revision>) -> Error {
        let requested = requested.unwrap_or_default();
        match error {
            Error::Compacted { .. } => {
                let known = Revision(self.compacted.load(Ordering::Relaxed));
                Error::Compacted { requested, compacted: known.max(requested.next()) }
            }
            Error::FutureRevision { .. } => {
                // Not at a revision, so that it cannot fail like this itself.
                let current = Box::pin(self.current_revision()).await.unwrap_or_default();
                Error::FutureRevision { requested, current }
            }
            other => other,
        }
    }

    fn note_compacted(&self, revision: Revision) {
        self.compacted.fetch_max(revision.0, Ordering::Relaxed);
    }
}

/// A range as etcd wants it: no key is empty, and an end of one zero byte is no end.
fn bounds(keys: &KeyRange) -> (Vec<u8>, Vec<u8>) {
    let start = if keys.start.is_empty() { vec![0] } else { keys.start.to_vec() };
    let end = keys.end.as_ref().filter(|_| !keys.is_empty()).map_or(vec![0], |end| end.to_vec());
    (start, end)
}

fn revision_of(header: Option<i64>) -> Result<Revision> {
    let revision = header.and_then(|revision| u64::try_from(revision).ok());
    revision.map(Revision).ok_or_else(|| Error::Corrupt { place: "etcd".to_owned(), detail: "an answer has no revision".to_owned() })
}

fn key_value(kv: &etcd_client::KeyValue) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(kv.key()),
        value: Bytes::copy_from_slice(kv.value()),
        create_revision: Revision(kv.create_revision() as u64),
        mod_revision: Revision(kv.mod_revision() as u64),
        version: kv.version() as u64,
        lease: (kv.lease() != 0).then_some(LeaseId(kv.lease() as u64)),
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        let size = txn.checked_size(MAX_TXN_BYTES)?;
        let outcome = match self.txn_once(&txn).await {
            // A lease that was to be shared has ended. Nothing was written; a fresh one will do.
            Err(error) if fault::is_lease_lost(&error) => {
                self.leases.forget().await;
                self.txn_once(&txn).await
            }
            Err(Error::TooLarge { limit, .. }) => Err(Error::TooLarge { size, limit }),
            outcome => outcome,
        };
        if matches!(outcome, Ok(TxnOutcome::Committed { .. })) {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    async fn range(&self, range: Range) -> Result<RangeResponse> {
        self.client.range(&range).await
    }

    async fn watch(&self, keys: KeyRange, after: Revision) -> Result<WatchStream> {
        watch::start(self.client.clone(), keys, after, self.sees_all_keys).await
    }

    async fn current_revision(&self) -> Result<Revision> {
        self.client.current_revision().await
    }

    fn supports_watermark(&self) -> bool {
        self.sees_all_keys
    }

    async fn time_to_live(&self, item: &KeyValue) -> Result<Option<Duration>> {
        match item.lease {
            None => Ok(None),
            Some(lease) => self.leases.time_to_live(lease).await.map(Some),
        }
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        compact::compact(&self.client, revision).await
    }

    async fn raise_revision(&self, revision: Revision) -> Result<bool> {
        Ok(self.client.current_revision().await? >= revision)
    }

    async fn stats(&self) -> Result<Stats> {
        let ask = || {
            let mut maintenance = self.client.etcd.maintenance_client();
            async move { maintenance.status().await }
        };
        let status = self.client.call(Kind::Read, "ask etcd for its status", ask).await?;
        let writes = self.writes.load(Ordering::Relaxed);
        Ok(Stats {
            revision: revision_of(status.header().map(|header| header.revision()))?,
            compacted: Revision(self.client.compacted.load(Ordering::Relaxed)),
            size_bytes: status.db_size() as u64,
            syncs: 0,
            commits: writes,
            writes,
            watches: self.client.watches.load(Ordering::Relaxed),
        })
    }
}
