//! A fake runtime behind the generated server, called through the generated client over a real unix socket.

use cri_api::{Code, RuntimeService, RuntimeServiceClient, RuntimeServiceServer, Status, v1};
use std::sync::Arc;
use tokio::net::UnixListener;

struct Fake;

#[tonic::async_trait]
impl RuntimeService for Fake {
    async fn version(&self, request: v1::VersionRequest) -> Result<v1::VersionResponse, Status> {
        Ok(v1::VersionResponse { version: request.version, runtime_name: "fake".into(), ..Default::default() })
    }

    async fn get_container_events(
        &self,
        _request: v1::GetEventsRequest,
    ) -> Result<cri_api::call::BoxStream<v1::ContainerEventResponse>, Status> {
        let event = |id: &str| Ok(v1::ContainerEventResponse { container_id: id.into(), ..Default::default() });
        Ok(Box::pin(tokio_stream::iter([event("a"), event("b")])))
    }
}

#[tokio::test]
async fn client_and_server_speak_to_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("fake.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server = tonic::transport::Server::builder();
    let serving = tokio::spawn(server.serve_with_incoming(RuntimeServiceServer::new(Arc::new(Fake)), incoming));

    let client = RuntimeServiceClient::new(cri_api::connect(&socket));
    let version = client.version(v1::VersionRequest { version: "0.1.0".into() }).await.unwrap();
    assert_eq!((version.version.as_str(), version.runtime_name.as_str()), ("0.1.0", "fake"));

    let refused = client.status(v1::StatusRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unimplemented, "method Status not implemented"));

    let mut events = client.get_container_events(v1::GetEventsRequest {}).await.unwrap();
    let mut ids = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        ids.push(event.container_id);
    }
    assert_eq!(ids, ["a", "b"]);
    serving.abort();
}

#[tokio::test]
async fn a_missing_socket_is_named_in_the_error() {
    let client = RuntimeServiceClient::new(cri_api::connect(std::path::Path::new("/nonexistent/runtime.sock")));
    let err = client.version(v1::VersionRequest::default()).await.unwrap_err();
    assert_eq!(err.code(), Code::Unavailable);
    assert!(err.message().contains("No such file"), "{err:?}");
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let auth = v1::AuthConfig { username: "me".into(), password: "hunter2".into(), ..Default::default() };
    let text = format!("{auth:?}");
    assert!(text.contains("me") && !text.contains("hunter2"), "{text}");
}
