//! A channel to a runtime's unix socket.

use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// Why an endpoint was refused.
#[derive(Debug, PartialEq, Eq)]
pub struct ParseEndpointError(String);

impl std::fmt::Display for ParseEndpointError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseEndpointError {}

/// The socket behind an endpoint as users write it: `unix:///run/containerd/containerd.sock`, or the bare path.
pub fn socket_path(endpoint: &str) -> Result<PathBuf, ParseEndpointError> {
    let path = match endpoint.split_once("://") {
        Some(("unix", path)) => path,
        Some((scheme, _)) => {
            return Err(ParseEndpointError(format!("protocol \"{scheme}\" not supported")));
        }
        None => endpoint,
    };
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(ParseEndpointError(format!("endpoint {endpoint:?} is not an absolute path of a unix socket")))
    }
}

/// A channel that connects on first use and again after the runtime went away: a restarted runtime needs no new channel.
pub fn connect(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    // The authority never reaches a resolver; runtimes only ask that it be there.
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(&socket).await.map(TokioIo::new) }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_unix_sockets() {
        for (endpoint, expected) in [
            ("unix:///run/a.sock", Some("/run/a.sock")),
            ("/run/a.sock", Some("/run/a.sock")),
            ("tcp://127.0.0.1:1", None),
            ("a.sock", None),
        ] {
            assert_eq!(socket_path(endpoint).ok(), expected.map(PathBuf::from), "{endpoint}");
        }
    }
}
