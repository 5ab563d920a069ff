//! Reads a `KubeProxyConfiguration` (`kubeproxy.config.k8s.io/v1alpha1`), strictly: what is not known is an error, and
//! so is what is known but has no effect here, unless it says what would be the case anyway.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use apimachinery::Value;
use apimachinery::value::Object;
use apimachinery::yaml;
use component_base::duration;
use component_base::features::FeatureGates;
use component_base::problems::Problems;

use super::{ConntrackSettings, Settings};

const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

/// Reads the file. Problems are entered with the file's name.
pub(super) fn read(path: &Path, problems: &mut Problems) -> Option<Settings> {
    let shown = path.display();
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(format_args!("cannot read the configuration file {shown}: {error}"));
            return None;
        }
    };
    let parsed = yaml::parse_strict(&text).and_then(yaml::Parsed::into_unique);
    match parsed {
        Ok(value) => parse(&value, problems, &shown.to_string()),
        Err(error) => {
            problems.push(format_args!("cannot read the configuration file {shown}: {error}"));
            None
        }
    }
}

/// Reads a document. `source` names it in problems.
pub(super) fn parse(value: &Value, problems: &mut Problems, source: &str) -> Option<Settings> {
    let Some(object) = value.as_object() else {
        problems.push(format_args!("{source}: not a {KIND}"));
        return None;
    };
    let (version, kind) = (object.get("apiVersion"), object.get("kind"));
    if version.and_then(Value::as_str) != Some(API_VERSION) || kind.and_then(Value::as_str) != Some(KIND) {
        problems.push(format_args!("{source}: apiVersion and kind must be {API_VERSION} and {KIND}"));
        return None;
    }
    let before = problems.iter().count();
    let mut root = Section::new(Some(object), String::new(), source, problems);
    root.known(&["apiVersion", "kind"]);
    let mut settings = Settings::default();
    root.text("hostnameOverride", &mut settings.hostname_override);
    root.text("bindAddress", &mut settings.bind_address);
    root.text("healthzBindAddress", &mut settings.healthz_bind_address);
    root.text("metricsBindAddress", &mut settings.metrics_bind_address);
    root.bool("bindAddressHardFail", &mut settings.bind_address_hard_fail);
    root.text("mode", &mut settings.mode);
    root.text("detectLocalMode", &mut settings.detect_local_mode);
    root.text("clusterCIDR", &mut settings.cluster_cidr);
    root.texts("nodePortAddresses", &mut settings.node_port_addresses);
    root.int("oomScoreAdj", &mut settings.oom_score_adj);
    root.gates("featureGates");
    root.inert("configSyncPeriod", &["0s", "15m0s", "15m"]);
    for name in ["enableProfiling", "showHiddenMetricsForVersion", "portRange", "windowsRunAsService"] {
        root.inert(name, &[]);
    }
    root.section("clientConnection", |section| {
        section.text("kubeconfig", &mut settings.kubeconfig);
        section.text("contentType", &mut settings.content_type);
        section.float("qps", &mut settings.qps);
        section.int("burst", &mut settings.burst);
        section.inert("acceptContentTypes", &[]);
    });
    root.section("detectLocal", |section| {
        section.text("bridgeInterface", &mut settings.bridge_interface);
        section.text("interfaceNamePrefix", &mut settings.interface_name_prefix);
    });
    root.section("nftables", |section| {
        section.bool("masqueradeAll", &mut settings.masquerade_all);
        section.int("masqueradeBit", &mut settings.masquerade_bit);
        section.duration("syncPeriod", &mut settings.sync_period);
        section.duration("minSyncPeriod", &mut settings.min_sync_period);
    });
    root.section("conntrack", |section| conntrack(section, &mut settings.conntrack));
    root.section("logging", |section| {
        section.inert("format", &["text"]);
        section.inert("flushFrequency", &["5s", "5000000000"]);
        section.inert("verbosity", &[]);
        section.inert("vmodule", &[]);
        section.section("options", |options| {
            for format in ["json", "text"] {
                options.section(format, |format| {
                    format.inert("infoBufferSize", &["0"]);
                    format.inert("splitStream", &[]);
                });
            }
        });
    });
    // The other modes' settings: what kubeadm writes for them (nothing, or upstream's defaults) is accepted.
    root.section("iptables", |section| {
        section.inert("masqueradeBit", &["14"]);
        section.inert("localhostNodePorts", &["true"]);
        section.inert("masqueradeAll", &[]);
        section.inert("syncPeriod", &["0s", "30s"]);
        section.inert("minSyncPeriod", &["0s", "1s"]);
    });
    root.section("ipvs", |section| {
        section.inert("syncPeriod", &["0s", "30s"]);
        section.inert("minSyncPeriod", &["0s", "1s"]);
        section.inert("scheduler", &[]);
        section.inert("excludeCIDRs", &[]);
        section.inert("strictARP", &[]);
        for name in ["tcpTimeout", "tcpFinTimeout", "udpTimeout"] {
            section.inert(name, &["0s"]);
        }
    });
    root.section("winkernel", |section| {
        for name in ["networkName", "sourceVip", "enableDSR", "rootHnsEndpointName", "forwardHealthCheckVip"] {
            section.inert(name, &[]);
        }
    });
    root.finish();
    (problems.iter().count() == before).then_some(settings)
}

fn conntrack(section: &mut Section<'_>, settings: &mut ConntrackSettings) {
    section.int("maxPerCore", &mut settings.max_per_core);
    section.int("min", &mut settings.min);
    section.duration("tcpEstablishedTimeout", &mut settings.tcp_established_timeout);
    section.duration("tcpCloseWaitTimeout", &mut settings.tcp_close_wait_timeout);
    section.bool("tcpBeLiberal", &mut settings.tcp_be_liberal);
    section.duration("udpTimeout", &mut settings.udp_timeout);
    section.duration("udpStreamTimeout", &mut settings.udp_stream_timeout);
}

/// One object of the document. A field that is absent or null leaves its default.
struct Section<'a> {
    object: Option<&'a Object>,
    path: String,
    source: &'a str,
    problems: &'a mut Problems,
    known: BTreeSet<&'static str>,
}

impl<'a> Section<'a> {
    fn new(object: Option<&'a Object>, path: String, source: &'a str, problems: &'a mut Problems) -> Self {
        Self { object, path, source, problems, known: BTreeSet::new() }
    }

    fn known(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    fn field(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.insert(name);
        self.object?.get(name).filter(|value| !value.is_null())
    }

    fn problem(&mut self, name: &str, what: impl fmt::Display) {
        let (source, path) = (self.source, &self.path);
        self.problems.push(format_args!("{source}: {path}{name}: {what}"));
    }

    fn take<T>(&mut self, name: &'static str, into: &mut T, what: &str, read: impl FnOnce(&Value) -> Option<T>) {
        if let Some(value) = self.field(name) {
            match read(value) {
                Some(read) => *into = read,
                None => self.problem(name, format_args!("must be {what}, not {}", value.kind_name())),
            }
        }
    }

    fn text(&mut self, name: &'static str, into: &mut String) {
        self.take(name, into, "a string", |value| value.as_str().map(str::to_owned));
    }

    fn bool(&mut self, name: &'static str, into: &mut bool) {
        self.take(name, into, "a boolean", Value::as_bool);
    }

    fn int(&mut self, name: &'static str, into: &mut i64) {
        self.take(name, into, "a whole number", Value::as_i64);
    }

    fn float(&mut self, name: &'static str, into: &mut f64) {
        self.take(name, into, "a number", Value::as_f64);
    }

    fn texts(&mut self, name: &'static str, into: &mut Vec<String>) {
        self.take(name, into, "a list of strings", |value| value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect());
    }

    fn duration(&mut self, name: &'static str, into: &mut Duration) {
        self.take(name, into, "a duration such as 30s", |value| duration::parse(value.as_str()?).ok());
    }

    fn gates(&mut self, name: &'static str) {
        let Some(value) = self.field(name) else {
            return;
        };
        let Some(object) = value.as_object() else {
            self.problem(name, "must be an object");
            return;
        };
        for (gate, on) in object.iter() {
            let Some(on) = on.as_bool() else {
                self.problem(name, format_args!("{gate} must be a boolean"));
                continue;
            };
            if let Err(problems) = FeatureGates::default().set([(gate, if on { "true" } else { "false" })], &[]) {
                self.problems.extend(problems);
            }
        }
    }

    /// A field without effect in this build: it may be zero or have one of the given values.
    fn inert(&mut self, name: &'static str, allowed: &[&str]) {
        let Some(value) = self.field(name) else {
            return;
        };
        let text = match value {
            Value::String(text) => text.to_string(),
            other => String::from_utf8_lossy(&other.to_vec()).into_owned(),
        };
        if !matches!(text.as_str(), "" | "0" | "false" | "[]" | "{}") && !allowed.contains(&text.as_str()) {
            self.problem(name, format_args!("{text} is not supported by this build"));
        }
    }

    fn section(&mut self, name: &'static str, read: impl FnOnce(&mut Section<'_>)) {
        let value = self.field(name);
        if value.is_some_and(|value| value.as_object().is_none()) {
            self.problem(name, "must be an object");
            return;
        }
        let (object, path) = (value.and_then(Value::as_object), format!("{}{name}.", self.path));
        let mut inner = Section::new(object, path, self.source, self.problems);
        read(&mut inner);
        inner.finish();
    }

    fn finish(&mut self) {
        let unknown = self.object.into_iter().flat_map(Object::keys).filter(|name| !self.known.contains(name));
        for name in unknown.collect::<Vec<_>>() {
            let (source, path) = (self.source, &self.path);
            self.problems.push(format_args!("{source}: strict decoding error: unknown field \"{path}{name}\""));
        }
    }
}
