//! Asks other servers what the zone does not know.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::Name;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cache::Cache;
use crate::message::{Asked, Transport, encode, is_answer_to};

/// Patience with one server: the first attempt is short because a datagram may be lost.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// Patience with all of them: clients wait for five seconds as a rule.
const DEADLINE: Duration = Duration::from_secs(4);

/// Questions under way at once; more would only queue up at the upstream.
const CONCURRENT: usize = 1000;

#[derive(Debug, Error)]
pub enum ForwardError {
    #[error("no upstream server is configured")]
    NoUpstream,
    #[error("too many questions are under way")]
    Busy,
    #[error("no upstream server has answered")]
    Silence,
}

/// Servers that are asked for the names under `suffix`; the root takes everything.
#[derive(Clone, Debug)]
pub struct Route {
    pub suffix: Name,
    pub servers: Vec<SocketAddr>,
}

/// Forwards questions to upstream servers and keeps their answers for a moment.
#[derive(Debug)]
pub struct Forwarder {
    /// Longest suffix first.
    routes: Vec<(Route, AtomicUsize)>,
    cache: Cache,
    slots: Semaphore,
}

impl Forwarder {
    pub fn new(routes: Vec<Route>) -> Self {
        let mut routes: Vec<_> =
            routes.into_iter().filter(|route| !route.servers.is_empty()).map(|route| (route, AtomicUsize::new(0))).collect();
        routes.sort_by_key(|(route, _)| std::cmp::Reverse(route.suffix.num_labels()));
        Self { routes, cache: Cache::default(), slots: Semaphore::new(CONCURRENT) }
    }

    /// The answer if it is still known.
    pub fn cached(&self, asked: &Asked) -> Option<Vec<u8>> {
        let response = self.cache.get(asked, Instant::now())?;
        Some(encode(response, asked.limit()))
    }

    /// Answers a client's question in bytes, with SERVFAIL if nobody else can. `question` is what the client sent.
    pub async fn answer(&self, asked: &Asked, question: &[u8]) -> Vec<u8> {
        match self.ask(asked.query(), question, asked.transport).await {
            Ok((response, mut bytes)) => {
                self.cache.put(asked, response.clone(), Instant::now());
                if bytes.len() > usize::from(asked.limit()) {
                    let mut response = response;
                    response.metadata.id = asked.message.metadata.id;
                    return encode(response, asked.limit());
                }
                // Passed on as it came: records of types that nobody here knows stay whole.
                bytes[..2].copy_from_slice(&asked.message.metadata.id.to_be_bytes());
                bytes
            }
            Err(error) => {
                tracing::debug!(name = %asked.query().name(), err = %error, "cannot forward a question");
                encode(asked.response(ResponseCode::ServFail), asked.limit())
            }
        }
    }

    /// Completes an answer that ends with an alias of a name elsewhere.
    pub async fn chase(&self, mut response: Message, query: Query, transport: Transport) -> Message {
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.add_query(query.clone());
        let answered = match question.to_vec() {
            Ok(bytes) => self.ask(&query, &bytes, transport).await,
            Err(_) => return response,
        };
        match answered {
            Ok((rest, _)) => {
                response.metadata.authoritative = false;
                response.metadata.response_code = rest.metadata.response_code;
                response.metadata.truncation |= rest.metadata.truncation;
                response.add_answers(rest.answers);
                response.add_authorities(rest.authorities);
            }
            // The alias itself is true also if its target cannot be had now.
            Err(error) => tracing::debug!(name = %query.name(), err = %error, "cannot follow an alias"),
        }
        response
    }

    async fn ask(&self, query: &Query, question: &[u8], transport: Transport) -> Result<(Message, Vec<u8>), ForwardError> {
        let answered = timeout(DEADLINE, self.ask_in_turn(query, question, transport)).await;
        answered.unwrap_or(Err(ForwardError::Silence))
    }

    /// Asks one server after another, beginning with the one that answered last.
    async fn ask_in_turn(&self, query: &Query, question: &[u8], transport: Transport) -> Result<(Message, Vec<u8>), ForwardError> {
        let fits = |(route, _): &&(Route, AtomicUsize)| route.suffix.zone_of(query.name());
        let (route, preferred) = self.routes.iter().find(fits).ok_or(ForwardError::NoUpstream)?;
        let _slot = self.slots.try_acquire().map_err(|_| ForwardError::Busy)?;
        let count = route.servers.len();
        let first = preferred.load(Ordering::Relaxed);
        let mut failure = None;
        for patience in PATIENCE {
            for offset in 0..count {
                let index = (first + offset) % count;
                let exchange = exchange(route.servers[index], query, question, transport);
                match timeout(patience, exchange).await {
                    Ok(Ok((response, bytes))) if is_failure(&response) => failure = Some((response, bytes)),
                    Ok(Ok(answer)) => {
                        preferred.store(index, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(server = %route.servers[index], err = %error, "an upstream server failed");
                    }
                    Err(_) => tracing::debug!(server = %route.servers[index], "an upstream server is silent"),
                }
            }
            // All have answered that they cannot: asking again makes it no better.
            if failure.is_some() {
                break;
            }
        }
        failure.ok_or(ForwardError::Silence)
    }
}

/// Another server may do better.
fn is_failure(response: &Message) -> bool {
    matches!(response.metadata.response_code, ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp)
}

/// One question and its answer over a socket of its own: the random port is as good as sixteen more bits of id.
async fn exchange(server: SocketAddr, query: &Query, question: &[u8], transport: Transport) -> io::Result<(Message, Vec<u8>)> {
    let id: u16 = rand::random();
    let mut question = question.to_vec();
    question[..2].copy_from_slice(&id.to_be_bytes());
    match transport {
        Transport::Udp => over_udp(server, query, &question, id).await,
        Transport::Tcp => over_tcp(server, query, &question, id).await,
    }
}

async fn over_udp(server: SocketAddr, query: &Query, question: &[u8], id: u16) -> io::Result<(Message, Vec<u8>)> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // A connected socket takes datagrams of that server only.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Ok(response) = Message::from_vec(&buffer[..length])
            && is_answer_to(&response, id, query)
        {
            buffer.truncate(length);
            return Ok((response, buffer));
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &Query, question: &[u8], id: u16) -> io::Result<(Message, Vec<u8>)> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(question);
    stream.write_all(&framed).await?;
    let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut bytes).await?;
    match Message::from_vec(&bytes) {
        Ok(response) if is_answer_to(&response, id, query) => Ok((response, bytes)),
        Ok(_) => Err(io::Error::other("the answer is to another question")),
        Err(error) => Err(io::Error::other(error)),
    }
}
