//! Both ends against each other, and against a WebSocket implementation of somebody else.

mod gateway;
mod hostile;
mod kubectl;
mod portforward;
mod remotecommand;
mod spdy;
mod translate;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::BoxIo;

/// Nothing here takes seconds; what does is stuck.
async fn bounded<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("stuck")
}

/// A connected pair whose pipe holds `buffer` bytes.
fn pair(buffer: usize) -> (BoxIo, BoxIo) {
    let (a, b) = tokio::io::duplex(buffer);
    (Box::new(a), Box::new(b))
}

/// `length` bytes that differ from place to place, and their sum.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

/// Where a server of this test listens.
#[derive(Clone, Copy)]
struct Dial(std::net::SocketAddr);

impl Dial {
    async fn io(self) -> BoxIo {
        Box::new(TcpStream::connect(self.0).await.unwrap())
    }
}

/// Serves every connection with `handle` on a loopback port; returns a dialler for it.
async fn serve<F, R>(handle: F) -> Dial
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let handle = handle.clone();
            let service = service_fn(move |request| {
                let answer = handle(request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).with_upgrades());
        }
    });
    Dial(address)
}

/// A 101 or refusal as a hyper answer.
fn full(response: Response<impl Into<Bytes>>) -> Response<Full<Bytes>> {
    response.map(|body| Full::new(body.into()))
}
