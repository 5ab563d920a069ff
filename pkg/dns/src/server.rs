//! The sockets: UDP and TCP on one address.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::forward::Forwarder;
use crate::message::{Answer, Asked, Parsed, Transport, encode, parse};
use crate::metrics::Metrics;
use crate::zone::Zone;

/// TCP connections at once, and how long one may be idle.
const CONNECTIONS: usize = 512;
const IDLE: Duration = Duration::from_secs(10);

/// Answers questions: by the zone at once, or by way of the forwarder.
#[derive(Debug)]
pub struct Handler {
    pub zone: Arc<RwLock<Zone>>,
    pub forwarder: Forwarder,
    metrics: Metrics,
    is_synced: AtomicBool,
    /// A name that we ask our upstream servers for. If the question comes back to us, they lead in a circle.
    pub probe: Name,
    pub is_looping: CancellationToken,
    turn: AtomicUsize,
}

/// An answer, or the promise of one.
enum Handled {
    Nothing,
    Reply(Vec<u8>),
    /// Another server has to be asked first.
    Later(Later),
}

enum Later {
    Forward(Asked),
    Chase(Asked, Box<Message>, Query),
}

impl Handler {
    pub fn new(zone: Arc<RwLock<Zone>>, forwarder: Forwarder, metrics: Metrics) -> Self {
        let probe = format!("loop-{:016x}.kube-dns.invalid.", rand::random::<u64>());
        Self {
            zone,
            forwarder,
            metrics,
            is_synced: AtomicBool::new(false),
            probe: Name::from_ascii(&probe).expect("it is made of letters and digits"),
            is_looping: CancellationToken::new(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The zone knows all names: from now on it may also deny some.
    pub fn set_synced(&self) {
        self.is_synced.store(true, Ordering::Relaxed);
    }

    pub fn is_synced(&self) -> bool {
        self.is_synced.load(Ordering::Relaxed)
    }

    /// Asks the upstream servers for a name that only we know. Call it once the server runs: if the question arrives here,
    /// forwarding is switched off, for each question would go round until something gives way.
    pub async fn probe_for_loop(&self) {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.probe.clone(), RecordType::A));
        let Ok(bytes) = message.to_vec() else {
            return;
        };
        if let Parsed::Ask(asked) = parse(&bytes, Transport::Udp) {
            self.forwarder.answer(&asked, &bytes).await;
        }
        if self.is_looping.is_cancelled() {
            tracing::error!(
                "the upstream servers lead back to this server: only names of the cluster are answered; \
                 point --upstream or --resolv-conf at other servers"
            );
        }
    }

    /// Everything that needs no waiting: most questions end here.
    fn handle(&self, bytes: &[u8], transport: Transport) -> Handled {
        self.metrics.asked(transport);
        let asked = match parse(bytes, transport) {
            Parsed::Ignore => {
                self.metrics.malformed.inc();
                return Handled::Nothing;
            }
            Parsed::Refuse(message, _) => {
                self.metrics.malformed.inc();
                return Handled::Reply(encode(message, 512));
            }
            Parsed::Ask(asked) => asked,
        };
        if *asked.query().name() == self.probe {
            self.is_looping.cancel();
            return Handled::Reply(encode(asked.response(ResponseCode::NXDomain), asked.limit()));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let answer = asked.answer(&self.zone.read(), turn);
        match answer {
            // "No such name" would be remembered by clients; a failure makes them ask again, or somebody else.
            Answer::Reply(_) | Answer::Chase(..) if !self.is_synced() => {
                Handled::Reply(encode(asked.response(ResponseCode::ServFail), asked.limit()))
            }
            Answer::Reply(message) => Handled::Reply(encode(message, asked.limit())),
            Answer::Forward if self.is_looping.is_cancelled() => {
                Handled::Reply(encode(asked.response(ResponseCode::ServFail), asked.limit()))
            }
            Answer::Forward => Handled::Later(Later::Forward(asked)),
            Answer::Chase(message, query) => Handled::Later(Later::Chase(asked, Box::new(message), query)),
        }
    }

    async fn finish(&self, later: Later, question: &[u8]) -> Vec<u8> {
        self.metrics.forwarded.inc();
        match later {
            Later::Forward(asked) => match self.forwarder.cached(&asked) {
                Some(bytes) => {
                    self.metrics.cache_hits.inc();
                    bytes
                }
                None => self.forwarder.answer(&asked, question).await,
            },
            Later::Chase(asked, message, query) => encode(self.forwarder.chase(*message, query, asked.transport).await, asked.limit()),
        }
    }
}

/// Both sockets of the server, bound to the same port.
#[derive(Debug)]
pub struct Server {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
}

impl Server {
    /// Binds UDP and TCP. With port 0 the system picks one that is free for both. Where the host has no IPv6, `[::]`
    /// stands for `0.0.0.0`.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        match Self::bind_exactly(address).await {
            Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
                Self::bind_exactly(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port())).await
            }
            outcome => outcome,
        }
    }

    async fn bind_exactly(address: SocketAddr) -> io::Result<Self> {
        let mut attempts = 10;
        loop {
            let tcp = TcpListener::bind(address).await?;
            match UdpSocket::bind(tcp.local_addr()?).await {
                Ok(udp) => return Ok(Self { udp: Arc::new(udp), tcp }),
                Err(error) if address.port() != 0 || attempts == 0 => return Err(error),
                Err(_) => attempts -= 1,
            }
        }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers until `stop` fires, then finishes the questions under way.
    pub async fn run(self, handler: Arc<Handler>, stop: CancellationToken) -> io::Result<()> {
        let tasks = TaskTracker::new();
        let tcp = serve_tcp(self.tcp, handler.clone(), stop.clone(), tasks.clone());
        let udp = serve_udp(self.udp, handler, stop, tasks.clone());
        let (udp, ()) = tokio::join!(udp, tcp);
        tasks.close();
        tasks.wait().await;
        udp
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, handler: Arc<Handler>, stop: CancellationToken, tasks: TaskTracker) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        // Cancel-safe: a datagram is taken whole or not at all.
        let received = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            received = socket.recv_from(&mut buffer) => received,
        };
        let (length, peer) = match received {
            Ok(received) => received,
            // An ICMP error of an earlier answer; the socket goes on.
            Err(error) => {
                tracing::debug!(err = %error, "cannot receive a datagram");
                continue;
            }
        };
        let question = &buffer[..length];
        match handler.handle(question, Transport::Udp) {
            Handled::Nothing => {}
            Handled::Reply(bytes) => {
                handler.metrics.answered(&bytes);
                // A full send buffer loses the answer, as the network might; the client asks again.
                if let Err(error) = socket.try_send_to(&bytes, peer)
                    && error.kind() == io::ErrorKind::WouldBlock
                {
                    let _ = socket.send_to(&bytes, peer).await;
                }
            }
            Handled::Later(later) => {
                let (handler, socket, question) = (handler.clone(), socket.clone(), question.to_vec());
                tasks.spawn(async move {
                    let bytes = handler.finish(later, &question).await;
                    handler.metrics.answered(&bytes);
                    let _ = socket.send_to(&bytes, peer).await;
                });
            }
        }
    }
}

async fn serve_tcp(listener: TcpListener, handler: Arc<Handler>, stop: CancellationToken, tasks: TaskTracker) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        // Cancel-safe: a connection that is not accepted stays in the backlog.
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (handler, stop) = (handler.clone(), stop.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = converse(stream, &handler) => {}
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                // Most likely out of file descriptors: wait for some to be closed.
                tracing::warn!(err = %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers the questions of one connection, one after the other.
async fn converse(mut stream: TcpStream, handler: &Handler) -> io::Result<()> {
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut question = vec![0; usize::from(length)];
        timeout(IDLE, stream.read_exact(&mut question)).await??;
        let bytes = match handler.handle(&question, Transport::Tcp) {
            Handled::Nothing => return Ok(()),
            Handled::Reply(bytes) => bytes,
            Handled::Later(later) => handler.finish(later, &question).await,
        };
        handler.metrics.answered(&bytes);
        let mut framed = u16::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
        framed.extend_from_slice(&bytes);
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}
