//! Exec, attach and port-forward: asks the runtime for a URL and carries the session on to it.

use super::Context;
use crate::kuberuntime::find_any_container;
use component_base::http::{Request, Response, full, query_value, query_values, text};
use cri_api::{Code, Status, v1};
use http::StatusCode;
use std::sync::Arc;
use streaming::gateway::{self, Backend};
use streaming::remotecommand::Options;
use streaming::{BoxIo, Error, KeepAlive};

fn refused(err: &Status) -> Response {
    let code = if err.code() == Code::NotFound { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
    text(code, err.message().to_owned())
}

/// The runtime's streaming server, as its URL names it.
fn backend(method: http::Method, url: &str) -> Result<Backend, String> {
    let uri: http::Uri = url.parse().map_err(|err| format!("the runtime's streaming URL {url:?} cannot be used: {err}"))?;
    let authority = uri.authority().ok_or_else(|| format!("the runtime's streaming URL {url:?} names no server"))?.clone();
    if uri.scheme_str() == Some("https") {
        return Err("the runtime serves its streams over TLS, which is not supported by this kubelet".to_owned());
    }
    let address = match authority.port_u16() {
        Some(_) => authority.to_string(),
        None => format!("{authority}:80"),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request =
        http::Request::builder().method(method).uri(path).header("Host", authority.as_str()).body(()).map_err(|err| err.to_string())?;
    let dial = async move {
        let stream = tokio::net::TcpStream::connect(&address).await.map_err(|err| Error::Lost(err.to_string()))?;
        let _ = stream.set_nodelay(true);
        Ok(Box::new(stream) as BoxIo)
    };
    Ok(Backend { dial: Box::pin(dial), request })
}

fn answer(result: Result<http::Response<bytes::Bytes>, Error>) -> Response {
    match result {
        Ok(response) => response.map(full),
        Err(err) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot reach the runtime's streaming server: {err}")),
    }
}

/// Credentials end here: the runtime has no use for them.
fn strip(request: &mut Request) {
    for name in ["authorization", "cookie", "impersonate-user", "impersonate-group", "impersonate-uid"] {
        request.headers_mut().remove(name);
    }
}

/// The id of the running container, or an answer that says what is missing.
fn container_id(context: &Context, namespace: &str, pod: &str, container: &str) -> Result<String, Box<Response>> {
    let pods = context.workers.pods();
    let Some(known) = pods.iter().find(|known| known.metadata.namespace == namespace && known.metadata.name == pod) else {
        return Err(Box::new(text(StatusCode::NOT_FOUND, "pod does not exist")));
    };
    if find_any_container(known, container).is_none() {
        return Err(Box::new(text(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {pod:?}"))));
    }
    let status = context.node.cache.get(&known.metadata.uid);
    match status.as_ref().and_then(|status| status.container(container)) {
        Some(status) if status.is_running() => Ok(status.id.clone()),
        _ => Err(Box::new(text(StatusCode::NOT_FOUND, format!("container not found ({container:?})")))),
    }
}

pub async fn remote_command(
    context: &Arc<Context>,
    verb: &str,
    namespace: &str,
    pod: &str,
    container: &str,
    mut request: Request,
) -> Response {
    let query = request.uri().query().map(str::to_owned);
    let options = match options(query.as_deref()) {
        Ok(options) => options,
        Err(err) => return text(StatusCode::BAD_REQUEST, err),
    };
    let id = match container_id(context, namespace, pod, container) {
        Ok(id) => id,
        Err(response) => return *response,
    };
    let runtime = &context.node.runtime;
    let url = if verb == "exec" {
        let cmd = query_values(query.as_deref(), "command");
        if cmd.is_empty() {
            return text(StatusCode::BAD_REQUEST, "you must specify at least 1 command for the container");
        }
        let ask = v1::ExecRequest {
            container_id: id,
            cmd,
            tty: options.tty,
            stdin: options.stdin,
            stdout: options.stdout,
            stderr: options.stderr,
        };
        runtime.exec(ask).await.map(|answer| answer.url)
    } else {
        let ask =
            v1::AttachRequest { container_id: id, tty: options.tty, stdin: options.stdin, stdout: options.stdout, stderr: options.stderr };
        runtime.attach(ask).await.map(|answer| answer.url)
    };
    let backend = match url {
        Ok(url) => backend(request.method().clone(), &url),
        Err(err) => return refused(&err),
    };
    let backend = match backend {
        Ok(backend) => backend,
        Err(err) => return text(StatusCode::INTERNAL_SERVER_ERROR, err),
    };
    strip(&mut request);
    let keep = KeepAlive { idle: Some(context.stream_idle), ..Default::default() };
    answer(gateway::remote_command(request, options, backend, keep).await)
}

/// Upstream's kubelet takes `input`, `output` and `error`; the API server sends those, others the names without.
fn options(query: Option<&str>) -> Result<Options, String> {
    let on = |names: [&str; 2]| names.iter().any(|name| matches!(query_value(query, name).as_deref(), Some("1" | "true")));
    let tty = on(["tty", "tty"]);
    let options = Options {
        stdin: on(["input", "stdin"]),
        stdout: on(["output", "stdout"]),
        // With a terminal there is one output stream.
        stderr: on(["error", "stderr"]) && !tty,
        tty,
    };
    if !options.stdin && !options.stdout && !options.stderr {
        return Err("you must specify at least 1 of stdin, stdout, stderr".to_owned());
    }
    Ok(options)
}

pub async fn port_forward(context: &Arc<Context>, namespace: &str, pod: &str, mut request: Request) -> Response {
    let pods = context.workers.pods();
    let Some(known) = pods.iter().find(|known| known.metadata.namespace == namespace && known.metadata.name == pod) else {
        return text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let status = context.node.cache.get(&known.metadata.uid);
    let Some(sandbox) = status.as_ref().and_then(|status| status.ready_sandbox()) else {
        return text(StatusCode::NOT_FOUND, format!("pod not found ({:?})", known.metadata.uid));
    };
    let ask = v1::PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port: Vec::new() };
    let backend = match context.node.runtime.port_forward(ask).await {
        Ok(answer) => backend(request.method().clone(), &answer.url).map_err(|err| text(StatusCode::INTERNAL_SERVER_ERROR, err)),
        Err(err) => Err(refused(&err)),
    };
    let backend = match backend {
        Ok(backend) => backend,
        Err(response) => return response,
    };
    strip(&mut request);
    let keep = KeepAlive { idle: Some(context.stream_idle), ..Default::default() };
    answer(gateway::port_forward(request, backend, keep).await)
}
