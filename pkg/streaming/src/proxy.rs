//! Joining two stream connections: bytes for bytes, or one protocol's session to another's.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::portforward::{Client, Forward, Server};
use crate::remotecommand::{ClientSession, ServerSession};
use crate::{BoxIo, Error, Io, Outcome, Status, upgrade};

/// Bytes in flight per direction.
const BUFFER: usize = 16 * 1024;
/// How long the second direction may go on, without moving a byte, after the first has ended.
const LINGER: Duration = Duration::from_secs(60);

type ReadSide = tokio::io::ReadHalf<BoxIo>;
type WriteSide = tokio::io::WriteHalf<BoxIo>;

/// Copies both ways until both directions have ended. The end of one is passed on as a half-close; after it the other one goes on
/// for as long as it moves.
pub async fn proxy_upgrade(a: impl Io, b: impl Io) {
    join(Box::new(a), Box::new(b), LINGER).await;
}

async fn join(a: BoxIo, b: BoxIo, linger: Duration) {
    let (a_read, a_write) = tokio::io::split(a);
    let (b_read, b_write) = tokio::io::split(b);
    let ended = tokio::sync::Notify::new();
    let one = async {
        copy(a_read, b_write, &ended, linger).await;
    };
    let two = async {
        copy(b_read, a_write, &ended, linger).await;
    };
    tokio::join!(one, two);
}

/// Copies one direction to its end and shuts the receiver down. Once the other direction is over (`ended`), silence for as long as
/// `linger` ends it too.
async fn copy(mut from: ReadSide, mut to: WriteSide, ended: &tokio::sync::Notify, linger: Duration) {
    let mut buffer = vec![0; BUFFER];
    let mut alone = false;
    loop {
        let step = async {
            let count = from.read(&mut buffer).await?;
            if count > 0 {
                to.write_all(&buffer[..count]).await?;
                to.flush().await?;
            }
            Ok::<usize, std::io::Error>(count)
        };
        tokio::pin!(step);
        let moved = loop {
            if alone {
                break tokio::time::timeout(linger, &mut step).await.unwrap_or(Ok(0));
            }
            // `step` is polled on after the other arm, so nothing it has read is lost.
            tokio::select! {
                moved = &mut step => break moved,
                () = ended.notified() => alone = true,
            }
        };
        match moved {
            Ok(0) | Err(_) => break, // Whatever ended it, the other side learns by the end of its bytes.
            Ok(_) => {}
        }
    }
    let _ = tokio::time::timeout(linger, to.shutdown()).await;
    ended.notify_one();
}

/// Passes an upgrade request on to a backend and returns the backend's answer for the client. `target` brings the URI, and headers
/// that replace the client's. If the answer is a 101, both connections are joined in a task of their own once it has been sent. What the kubelet does with a runtime's
/// streaming URL, and the API server with a kubelet that speaks the client's protocol. Headers go along: the caller has removed the
/// client's credentials, and added its own.
pub async fn forward<B>(mut request: Request<B>, backend: BoxIo, target: Request<()>) -> Result<Response<Bytes>, Error> {
    let client = hyper::upgrade::on(&mut request);
    let mut outgoing = Request::new(());
    *outgoing.method_mut() = request.method().clone();
    *outgoing.uri_mut() = target.uri().clone();
    let mut headers = std::mem::take(request.headers_mut());
    for name in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    for name in target.headers().keys() {
        headers.remove(name);
    }
    headers.extend(target.into_parts().0.headers);
    *outgoing.headers_mut() = headers;
    let response = upgrade::exchange(backend, outgoing).await?;
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Ends with the two connections.
        tokio::spawn(async move {
            match tokio::join!(client, hyper::upgrade::on(response)) {
                (Ok(client), Ok(backend)) => proxy_upgrade(TokioIo::new(client), TokioIo::new(backend)).await,
                (Err(err), _) | (_, Err(err)) => tracing::debug!(%err, "upgrade was not completed"),
            }
        });
    } else {
        answer.headers_mut().remove(TRANSFER_ENCODING);
        answer.headers_mut().remove(CONTENT_LENGTH);
        *answer.body_mut() = upgrade::body(response).await;
    }
    Ok(answer)
}

/// Joins an exec or attach session of a client to one of a backend, whatever protocol each speaks, and tells the client the
/// outcome. Returns it, or why the session broke; the client has been told then too, if it is still there.
pub async fn translate(mut client: ServerSession, mut backend: ClientSession) -> Result<Outcome, Error> {
    let mut stdin = client.stdin.take();
    let mut to_backend = backend.stdin.take();
    let mut sizes = client.resize.take();
    let input = async {
        if let (Some(from), Some(to)) = (&mut stdin, &mut to_backend) {
            // A broken client shows at `closed`; a backend that takes no more input may still have output.
            let _ = pump(from, to).await;
        }
        to_backend.take();
        if let Some(stdin) = &mut stdin {
            let _ = tokio::io::copy(stdin, &mut tokio::io::sink()).await;
        }
    };
    let resize = async {
        if let (Some(from), Some(to)) = (&mut sizes, &mut backend.resize) {
            while let Some(size) = from.next().await {
                if to.send(size).await.is_err() {
                    break;
                }
            }
        }
    };
    let (mut stdout, mut stderr) = (client.stdout.take(), client.stderr.take());
    let out = async {
        if let (Some(from), Some(to)) = (&mut backend.stdout, &mut stdout) {
            let _ = pump(from, to).await;
        }
        stdout.take();
    };
    let err = async {
        if let (Some(from), Some(to)) = (&mut backend.stderr, &mut stderr) {
            let _ = pump(from, to).await;
        }
        stderr.take();
    };
    let status = backend.status;
    let output = async { tokio::join!(out, err, status.wait()).2 };
    let inputs = async {
        tokio::join!(input, resize);
        std::future::pending::<()>().await
    };
    // The end of the output is the end of the session; dropping the inputs then is what we want.
    let outcome = tokio::select! {
        outcome = output => outcome,
        why = client.closed() => Err(why),
        () = inputs => unreachable!("inputs never end the session"),
    };
    let status = match &outcome {
        Ok(outcome) => Status::of(outcome),
        Err(err) => Status::internal_error(err),
    };
    // A client that has gone needs no status.
    let _ = client.finish(&status).await;
    outcome
}

/// Copies to the end of `from`.
async fn pump(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// Joins a client's port-forward session to a backend's, whatever protocol each speaks, until one of them ends.
pub async fn translate_port_forward(mut client: Server, backend: Client) -> Error {
    let mut connections = tokio::task::JoinSet::new();
    let backend = std::sync::Arc::new(backend);
    let why = loop {
        // Both `accept` arms are cancel-safe, and finished connections only need to be collected.
        let forward = tokio::select! {
            forward = client.accept() => forward,
            why = backend.closed() => break why,
            Some(_) = connections.join_next() => continue,
        };
        match forward {
            Ok(forward) => {
                connections.spawn(relay(forward, backend.clone()));
            }
            Err(why) => break why,
        }
    };
    client.close();
    backend.close();
    why
}

/// Relays one connection and the word on how it went.
async fn relay(forward: Forward, backend: std::sync::Arc<Client>) {
    let remote = match backend.open(forward.port).await {
        Ok(remote) => remote,
        Err(err) => {
            let _ = forward.error.fail(&format!("error forwarding port {}: {err}", forward.port)).await;
            return;
        }
    };
    // Half-closed for as long as the two ends like; the session's end aborts this task.
    let bytes = join(Box::new(forward.data), Box::new(remote.data), Duration::MAX);
    let error = async {
        if let Ok(Some(message)) = remote.error.message().await {
            // The client may be gone; then nobody asks.
            let _ = forward.error.fail(&message).await;
        }
    };
    tokio::join!(bytes, error);
}
