//! `/containerLogs/NAMESPACE/POD/CONTAINER`.

use super::Context;
use crate::clock;
use crate::kuberuntime::{find_any_container, status::State};
use crate::logs::read::{self, Options, Sink, SinkClosed, Stream};
use api::core::v1::Pod;
use component_base::http::{BoxError, Response, channel, query_value, text};
use http::StatusCode;
use std::path::PathBuf;
use std::sync::Arc;

/// Chunks that may wait for a slow reader.
const PENDING: usize = 16;

struct ChannelSink(tokio::sync::mpsc::Sender<Result<bytes::Bytes, BoxError>>);

impl Sink for ChannelSink {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), SinkClosed> {
        self.0.send(Ok(bytes.into())).await.map_err(|_| SinkClosed)
    }
}

/// What the query asks for, and whether it is about the container before this one.
fn options(query: Option<&str>) -> Result<(Options, bool), String> {
    let value = |name: &str| query_value(query, name).filter(|text| !text.is_empty());
    let flag = |name: &str| match value(name).as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(format!("invalid value for {name}: {other:?}")),
    };
    let number = |name: &str| match value(name) {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("{name} must be a positive integer, got {text:?}")),
    };
    let since = match (value("sinceTime"), number("sinceSeconds")?) {
        (Some(_), Some(_)) => return Err("at most one of `sinceTime` or `sinceSeconds` may be specified".to_owned()),
        (Some(time), None) => Some(clock::parse_rfc3339(&time).ok_or_else(|| format!("invalid sinceTime {time:?}"))?),
        (None, Some(seconds)) => Some(clock::now_nanos() - (seconds as i64).saturating_mul(1_000_000_000)),
        (None, None) => None,
    };
    let stream = match value("stream").as_deref() {
        None | Some("All") => Stream::All,
        Some("Stdout") => Stream::Stdout,
        Some("Stderr") => Stream::Stderr,
        Some(other) => return Err(format!("invalid stream {other:?}: must be one of All, Stdout, Stderr")),
    };
    let options = Options {
        follow: flag("follow")?,
        tail: number("tailLines")?,
        since,
        timestamps: flag("timestamps")?,
        limit_bytes: number("limitBytes")?,
        stream,
    };
    Ok((options, flag("previous")?))
}

/// The log file and id of the container asked for, or the status code and text of a refusal.
fn find(context: &Context, pod: &Pod, container: &str, previous: bool) -> Result<(PathBuf, String), (StatusCode, String)> {
    let bad = |text: String| Err((StatusCode::BAD_REQUEST, text));
    let name = &pod.metadata.name;
    let Some(status) = context.node.cache.get(&pod.metadata.uid) else {
        return bad(format!("container {container:?} in pod {name:?} is waiting to start: ContainerCreating"));
    };
    let mut found = status.containers.iter().filter(|status| status.name == container);
    let newest = found.next();
    let chosen = if previous { found.next() } else { newest };
    match chosen {
        Some(status) => Ok((PathBuf::from(&status.log_path), status.id.clone())),
        None if previous => bad(format!("previous terminated container {container:?} in pod {name:?} not found")),
        None => {
            let api = context.node.statuses.get(&pod.metadata.uid).unwrap_or_default();
            let waiting = api
                .container_statuses
                .iter()
                .chain(api.init_container_statuses.iter())
                .find(|status| status.name == container)
                .and_then(|status| status.state.waiting.as_ref());
            match waiting {
                Some(waiting)
                    if matches!(
                        waiting.reason.as_str(),
                        "ErrImagePull" | "ImagePullBackOff" | "CreateContainerConfigError" | "ErrImageNeverPull"
                    ) =>
                {
                    bad(format!("container {container:?} in pod {name:?} is waiting to start: {}", waiting.message))
                }
                Some(waiting) => bad(format!("container {container:?} in pod {name:?} is waiting to start: {}", waiting.reason)),
                None => bad(format!("container {container:?} in pod {name:?} is not available")),
            }
        }
    }
}

pub async fn container(context: &Arc<Context>, namespace: &str, pod: &str, container: &str, query: Option<&str>) -> Response {
    let (options, previous) = match options(query) {
        Ok(parsed) => parsed,
        Err(err) => return text(StatusCode::UNPROCESSABLE_ENTITY, err),
    };
    let pods = context.workers.pods();
    let Some(pod) = pods.iter().find(|known| known.metadata.namespace == namespace && known.metadata.name == pod) else {
        return text(StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist\n"));
    };
    if find_any_container(pod, container).is_none() {
        return text(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {:?}\n", pod.metadata.name));
    }
    let (path, id) = match find(context, pod, container, previous) {
        Ok(found) => found,
        Err((code, message)) => return text(code, message),
    };
    if let Err(err) = tokio::fs::metadata(&path).await {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to try resolving symlinks in path {:?}: {err}", path.display()));
    }
    let (sender, body) = channel(PENDING);
    let (context, uid) = (context.clone(), pod.metadata.uid.clone());
    // Ends with the reader, or with the container.
    tokio::spawn(async move {
        let closed = sender.clone();
        let mut sink = ChannelSink(sender);
        let running = || {
            let status = context.node.cache.get(&uid);
            let runs = status
                .is_some_and(|status| status.containers.iter().any(|c| c.id == id && matches!(c.state, State::Running | State::Created)));
            std::future::ready(runs)
        };
        // A reader that leaves while nothing is written is seen by the channel alone.
        tokio::select! {
            result = read::read(&path, &options, &mut sink, running) => {
                if let Err(err) = result {
                    tracing::debug!(path = %path.display(), err = %err, "log not read to its end");
                }
            }
            () = closed.closed() => {}
        }
    });
    let mut response = text(StatusCode::OK, "");
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    *response.body_mut() = body;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let (parsed, previous) =
            options(Some("follow=true&tailLines=5&timestamps=1&previous=true&limitBytes=9&sinceTime=1970-01-01T00:00:01Z")).unwrap();
        assert_eq!(
            parsed,
            Options {
                follow: true,
                tail: Some(5),
                since: Some(1_000_000_000),
                timestamps: true,
                limit_bytes: Some(9),
                stream: Stream::All
            }
        );
        assert!(previous);
        for bad in ["tailLines=-1", "follow=maybe", "sinceTime=now", "sinceTime=1970-01-01T00:00:01Z&sinceSeconds=1", "stream=Both"] {
            assert!(options(Some(bad)).is_err(), "{bad}");
        }
    }
}
