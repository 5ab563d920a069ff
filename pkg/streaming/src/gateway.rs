//! What an API server does with a client's exec, attach or port-forward request: answer it and carry the session on to a backend
//! that speaks SPDY, as every kubelet and runtime does.
//!
//! A SPDY client's bytes are passed on as they are, and so is the backend's answer. A WebSocket ends here: its session is
//! translated (exec, attach, the old port-forward), or its payload is the backend's SPDY connection (the tunnel).

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::portforward::{self, Client, Server};
use crate::remotecommand::{self, ClientSession, Options, ServerSession};
use crate::upgrade::{self, Kind, Pending, Refusal};
use crate::websocket::{self, Role};
use crate::{BoxIo, Error, KeepAlive, Status, proxy};

/// Where a session goes on.
pub struct Backend {
    /// Connects; awaited once.
    pub dial: Pin<Box<dyn Future<Output = Result<BoxIo, Error>> + Send>>,
    /// What to send there: method, URI and credentials.
    pub request: Request<()>,
}

fn plain(refusal: Refusal) -> Response<Bytes> {
    refusal.into_response().map(Bytes::from)
}

/// Answers a request for exec or attach. `request` no longer holds the client's credentials. An error is for the client too: a SPDY
/// client could not be connected. What goes wrong for a WebSocket client is told in its session's status.
pub async fn remote_command<B>(
    mut request: Request<B>,
    options: Options,
    backend: Backend,
    keep: KeepAlive,
) -> Result<Response<Bytes>, Error> {
    if upgrade::requested(request.headers()) != Some(Kind::WebSocket) {
        return pass_on(request, backend).await;
    }
    let (response, pending) = match upgrade::accept(&mut request, &[], remotecommand::WEBSOCKET_PROTOCOLS) {
        Ok(accepted) => accepted,
        Err(refusal) => return Ok(plain(refusal)),
    };
    // Ends with the session.
    tokio::spawn(async move {
        match translate(pending, options, backend, keep).await {
            Ok(outcome) => tracing::debug!(?outcome, "remote command ended"),
            Err(err) => tracing::debug!(%err, "remote command broke off"),
        }
    });
    Ok(response.map(|()| Bytes::new()))
}

async fn translate(pending: Pending, options: Options, backend: Backend, keep: KeepAlive) -> Result<crate::Outcome, Error> {
    let client = ServerSession::accept(pending, options, keep).await?;
    let connecting = async {
        let io = backend.dial.await?;
        let upgraded = upgrade::connect(io, backend.request, Kind::Spdy, remotecommand::SPDY_PROTOCOLS).await?;
        ClientSession::start(upgraded, Kind::Spdy, options, KeepAlive::default()).await
    };
    // A client that leaves while the backend is slow need not be waited for.
    let connected = tokio::select! {
        connected = connecting => connected,
        why = client.closed() => return Err(why),
    };
    match connected {
        Ok(backend) => proxy::translate(client, backend).await,
        Err(err) => {
            // A client that has gone needs no status.
            let _ = client.finish(&Status::internal_error(&err)).await;
            Err(err)
        }
    }
}

/// Answers a request for port-forward. Errors and credentials are as in [`remote_command`].
pub async fn port_forward<B>(mut request: Request<B>, backend: Backend, keep: KeepAlive) -> Result<Response<Bytes>, Error> {
    if upgrade::requested(request.headers()) != Some(Kind::WebSocket) {
        return pass_on(request, backend).await;
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (response, pending) = match upgrade::accept(&mut request, &[], portforward::WEBSOCKET_PROTOCOLS) {
        Ok(accepted) => accepted,
        Err(refusal) => return Ok(plain(refusal)),
    };
    let tunnel = pending.protocol == portforward::TUNNEL_PROTOCOL;
    let ports = match portforward::ports_from_query(&query) {
        Ok(ports) => ports,
        Err(_) if tunnel => Vec::new(), // There the streams name their ports.
        Err(message) => return Ok(plain(Refusal::bad_request(message))),
    };
    // The backend comes before the answer, so that its refusal can still be one.
    let io = backend.dial.await?;
    let upgraded = upgrade::connect(io, backend.request, Kind::Spdy, portforward::SPDY_PROTOCOLS).await;
    let upgraded = match upgraded {
        Ok(upgraded) => upgraded,
        Err(Error::Refused { code, body }) => {
            let mut refusal = Response::new(Bytes::from(body));
            *refusal.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY);
            return Ok(refusal);
        }
        Err(err) => return Err(err),
    };
    // Ends with the session.
    tokio::spawn(async move {
        let ended = async {
            if tunnel {
                let client = websocket::tunnel(pending.connect().await?, Role::Server, keep);
                proxy::proxy_upgrade(client, upgraded.io).await;
                return Ok(Error::Finished);
            }
            let client = Server::accept_upgrade(pending, &ports, keep).await?;
            Ok::<_, Error>(proxy::translate_port_forward(client, Client::over_spdy(upgraded.io, KeepAlive::default())).await)
        };
        let (Ok(why) | Err(why)) = ended.await;
        tracing::debug!(%why, "port-forward ended");
    });
    Ok(response.map(|()| Bytes::new()))
}

/// A SPDY client speaks with the backend itself. Nothing else can be upgraded.
async fn pass_on<B>(request: Request<B>, backend: Backend) -> Result<Response<Bytes>, Error> {
    if upgrade::requested(request.headers()).is_none() {
        return Ok(plain(Refusal::bad_request("Upgrade request required")));
    }
    proxy::forward(request, backend.dial.await?, backend.request).await
}
