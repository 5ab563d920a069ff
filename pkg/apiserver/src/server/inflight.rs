//! How many requests run at a time. Upstream: apiserver/pkg/server/filters/maxinflight.go.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::request::RequestInfo;

/// Two limits: one for reads, one for writes. Long-running requests count in neither.
#[derive(Debug)]
pub(super) struct Limits {
    reading: Option<Arc<Semaphore>>,
    writing: Option<Arc<Semaphore>>,
}

/// Too many requests are running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Limits {
    pub fn new(reading: usize, writing: usize) -> Limits {
        let limit = |count: usize| (count > 0).then(|| Arc::new(Semaphore::new(count)));
        Limits { reading: limit(reading), writing: limit(writing) }
    }

    /// A place for a request, given back when it is dropped.
    pub fn enter(&self, info: &RequestInfo) -> Result<Option<OwnedSemaphorePermit>, TooMany> {
        if is_long_running(info) {
            return Ok(None);
        }
        let limit = if is_mutating(info) { &self.writing } else { &self.reading };
        match limit {
            None => Ok(None),
            Some(limit) => limit.clone().try_acquire_owned().map(Some).map_err(|_| TooMany),
        }
    }
}

/// Whether a request may take as long as it likes. Upstream: `BasicLongRunningRequestCheck` with kube-apiserver's settings.
pub(super) fn is_long_running(info: &RequestInfo) -> bool {
    if !info.is_resource {
        return info.path.starts_with("/debug/pprof/");
    }
    matches!(info.verb, "watch" | "proxy") || matches!(info.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
}

pub(super) fn is_mutating(info: &RequestInfo) -> bool {
    !matches!(info.verb, "get" | "list" | "watch" | "head" | "options")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_are_limited_apart() {
        let limits = Limits::new(1, 1);
        let of = |verb: &'static str| RequestInfo { is_resource: true, verb, ..RequestInfo::default() };
        let read = limits.enter(&of("list")).unwrap();
        assert_eq!(limits.enter(&of("get")).unwrap_err(), TooMany);
        assert!(limits.enter(&of("watch")).unwrap().is_none());
        let _write = limits.enter(&of("create")).unwrap();
        assert!(limits.enter(&of("patch")).is_err());
        drop(read);
        assert!(limits.enter(&of("get")).is_ok());
    }
}
