//! Probes, lifecycle hooks and what both call.

use api::core::v1::{ExecAction, GRPCAction, HTTPGetAction, Lifecycle, LifecycleHandler, Probe, SleepAction, TCPSocketAction};
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;

use super::ports::{port_number, port_number_or_name};
use crate::validation::fields::{extend_invalid, supported};
use crate::validation::non_negative;

/// What a probe or hook does: exactly one of these.
#[derive(Default)]
struct Handler<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

impl Handler<'_> {
    fn validate(&self, grace: i64, path: &Path<'_>) -> ErrorList {
        let mut errors = ErrorList::new();
        let found: [(&str, Option<ErrorList>); 5] = [
            ("exec", self.exec.map(|exec| command(exec, &path.child("exec")))),
            ("httpGet", self.http_get.map(|get| http_get(get, &path.child("httpGet")))),
            ("tcpSocket", self.tcp_socket.map(|socket| port_number_or_name(&socket.port, &path.child("tcpSocket").child("port")))),
            ("grpc", self.grpc.map(|grpc| port_number(grpc.port, &path.child("grpc").child("port")))),
            ("sleep", self.sleep.map(|action| sleep(action, grace, &path.child("sleep")))),
        ];
        let mut count = 0;
        for (name, wrong) in found {
            let Some(wrong) = wrong else { continue };
            match count {
                0 => errors.extend(wrong),
                _ => errors.push(Error::forbidden(&path.child(name), "may not specify more than 1 handler type")),
            }
            count += 1;
        }
        if count == 0 {
            errors.push(Error::required(path, "must specify a handler type"));
        }
        errors
    }
}

fn command(exec: &ExecAction, path: &Path<'_>) -> ErrorList {
    if exec.command.is_empty() { vec![Error::required(&path.child("command"), "")] } else { ErrorList::new() }
}

fn http_get(get: &HTTPGetAction, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if get.path.is_empty() {
        errors.push(Error::required(&path.child("path"), ""));
    }
    errors.extend(port_number_or_name(&get.port, &path.child("port")));
    errors.extend(supported(&get.scheme, &["HTTP", "HTTPS"], &path.child("scheme")));
    for header in &get.http_headers {
        extend_invalid(&mut errors, &path.child("httpHeaders"), &header.name, names::is_http_header_name(&header.name));
    }
    errors
}

fn sleep(action: &SleepAction, grace: i64, path: &Path<'_>) -> ErrorList {
    if (0..=grace).contains(&action.seconds) {
        return ErrorList::new();
    }
    let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
    vec![Error::invalid(path, action.seconds, detail)]
}

/// Which of a container's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    Liveness,
    Readiness,
    Startup,
}

pub fn probe(kind: ProbeKind, probe: &Probe, grace: i64, path: &Path<'_>) -> ErrorList {
    let handler = &probe.probe_handler;
    let handler = Handler {
        exec: handler.exec.as_deref(),
        http_get: handler.http_get.as_deref(),
        tcp_socket: handler.tcp_socket.as_deref(),
        grpc: handler.grpc.as_deref(),
        sleep: None,
    };
    let mut errors = handler.validate(grace, path);
    for (name, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        errors.extend(non_negative(value.into(), &path.child(name)));
    }
    let grace_path = path.child("terminationGracePeriodSeconds");
    if let Some(seconds) = probe.termination_grace_period_seconds {
        if seconds <= 0 {
            errors.push(Error::invalid(&grace_path, seconds, "must be greater than 0"));
        }
        if kind == ProbeKind::Readiness {
            errors.push(Error::invalid(&grace_path, seconds, "must not be set for readinessProbes"));
        }
    }
    if kind != ProbeKind::Readiness && probe.success_threshold != 1 {
        errors.push(Error::invalid(&path.child("successThreshold"), probe.success_threshold, "must be 1"));
    }
    errors
}

pub fn lifecycle(lifecycle: &Lifecycle, grace: i64, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut hook = |name: &str, handler: &Option<Box<LifecycleHandler>>| {
        let Some(handler) = handler else { return };
        let handler = Handler {
            exec: handler.exec.as_deref(),
            http_get: handler.http_get.as_deref(),
            tcp_socket: handler.tcp_socket.as_deref(),
            grpc: None,
            sleep: handler.sleep.as_deref(),
        };
        errors.extend(handler.validate(grace, &path.child(name)));
    };
    hook("postStart", &lifecycle.post_start);
    hook("preStop", &lifecycle.pre_stop);
    errors
}
