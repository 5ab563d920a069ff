//! What the server counts, under CoreDNS' names so that its dashboards work.

use std::sync::Arc;

use component_base::metrics::{Counter, CounterFamily, Registry, Stability};

use crate::message::Transport;

/// The counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    udp: Arc<Counter>,
    tcp: Arc<Counter>,
    responses: CounterFamily,
    no_error: Arc<Counter>,
    no_such_name: Arc<Counter>,
    /// Questions handed to other servers.
    pub forwarded: Arc<Counter>,
    /// Of those, answered by the cache.
    pub cache_hits: Arc<Counter>,
    /// Messages that are no questions, or not well-formed ones.
    pub malformed: Arc<Counter>,
}

impl Metrics {
    /// Declares the counters in `registry`.
    pub fn new(registry: &Registry) -> Self {
        let family = |name: &str, help: &str, labels| registry.counter(name, help, Stability::Alpha, labels);
        let requests = family("coredns_dns_requests_total", "Questions by transport", &["proto"]);
        let responses = family("coredns_dns_responses_total", "Answers by code", &["rcode"]);
        Self {
            udp: requests.with(&["udp"]),
            tcp: requests.with(&["tcp"]),
            no_error: responses.with(&["NOERROR"]),
            no_such_name: responses.with(&["NXDOMAIN"]),
            responses,
            forwarded: family("coredns_forward_requests_total", "Questions for other servers", &[]).with(&[]),
            cache_hits: family("coredns_cache_hits_total", "Questions answered by the cache", &[]).with(&[]),
            malformed: family("coredns_dns_malformed_total", "Messages that are no proper questions", &[]).with(&[]),
        }
    }

    pub fn asked(&self, transport: Transport) {
        match transport {
            Transport::Udp => self.udp.inc(),
            Transport::Tcp => self.tcp.inc(),
        }
    }

    /// Counts an answer, as it goes out, by its code.
    pub fn answered(&self, bytes: &[u8]) {
        let other = match bytes.get(3).map(|flags| flags & 0x0f) {
            Some(0) => return self.no_error.inc(),
            Some(3) => return self.no_such_name.inc(),
            Some(1) => "FORMERR",
            Some(2) => "SERVFAIL",
            Some(4) => "NOTIMP",
            Some(5) => "REFUSED",
            _ => "other",
        };
        self.responses.with(&[other]).inc();
    }
}
