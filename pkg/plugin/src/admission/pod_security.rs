//! PodSecurity: the Pod Security Standards, per namespace by its labels. Upstream: pod-security-admission.

use std::sync::Arc;

use api::core::v1::{Capabilities, Namespace, Pod, PodSpec, PodTemplateSpec, SecurityContext};
use apimachinery::Map;
use apimachinery::status::StatusError;
use apiserver::admission::{Operation, Plugin, Review};
use apiserver::objects::Objects;
use async_trait::async_trait;

use super::{Parts, forbidden, object, old};

/// How much a namespace allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// A level and the version of the standards it is held to (`latest` or `v1.N`).
#[derive(Clone, Debug, PartialEq)]
struct Policy {
    level: Level,
    version: String,
    minor: u32,
}

/// The newest version of the standards.
const LATEST_MINOR: u32 = 36;

impl Policy {
    fn of(labels: &Map<String>, mode: &str) -> Result<Self, String> {
        let key = format!("pod-security.kubernetes.io/{mode}");
        let text = labels.get_str(&key);
        let level = match (text, labels.contains_key(&key)) {
            (_, false) => Level::Privileged,
            (text, true) => Level::parse(text)
                .ok_or_else(|| format!("{key}: Invalid value: {text:?}: must be one of privileged, baseline, restricted"))?,
        };
        let version_key = format!("{key}-version");
        let version = labels.get_str(&version_key);
        let version = if version.is_empty() { "latest" } else { version };
        let minor = match version {
            "latest" => LATEST_MINOR,
            text => text
                .strip_prefix("v1.")
                .and_then(|minor| minor.parse().ok())
                .ok_or_else(|| format!("{version_key}: Invalid value: {text:?}: must be \"latest\" or \"v1.x\""))?,
        };
        Ok(Self { level, version: version.to_owned(), minor })
    }
}

/// What a check found: the reason and its detail.
struct Violation {
    reason: &'static str,
    detail: String,
}

type Check = fn(&Map<String>, &PodSpec, u32) -> Option<Violation>;

/// At which levels a check speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// At baseline and above.
    Baseline,
    /// At baseline only: a stricter form of the check speaks at the restricted level.
    OnlyBaseline,
    Restricted,
}

/// Every check, in upstream's order of ids.
const CHECKS: &[(At, Check)] = &[
    (At::Restricted, allow_privilege_escalation),
    (At::Baseline, app_armor),
    (At::OnlyBaseline, capabilities_baseline),
    (At::Restricted, capabilities_restricted),
    (At::Baseline, host_namespaces),
    (At::Baseline, host_path_volumes),
    (At::Baseline, host_ports),
    (At::Baseline, host_probes),
    (At::Baseline, privileged),
    (At::Baseline, proc_mount),
    (At::Restricted, restricted_volumes),
    (At::Restricted, run_as_non_root),
    (At::Restricted, run_as_user),
    (At::Baseline, se_linux_options),
    (At::OnlyBaseline, seccomp_baseline),
    (At::Restricted, seccomp_restricted),
    (At::Baseline, sysctls),
    (At::Baseline, windows_host_process),
];

struct Seen<'a> {
    name: &'a str,
    security: Option<&'a SecurityContext>,
}

/// All containers, ephemeral ones included.
fn containers(spec: &PodSpec) -> Vec<Seen<'_>> {
    let mut all: Vec<Seen<'_>> = spec
        .init_containers
        .iter()
        .chain(spec.containers.iter())
        .map(|container| Seen { name: &container.name, security: container.security_context.as_deref() })
        .collect();
    all.extend(spec.ephemeral_containers.iter().map(|container| Seen {
        name: &container.ephemeral_container_common.name,
        security: container.ephemeral_container_common.security_context.as_deref(),
    }));
    all
}

fn on_windows(spec: &PodSpec) -> bool {
    spec.os.as_ref().is_some_and(|os| os.name == "windows")
}

/// `container "a"` or `containers "a", "b"`.
fn named(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("{} {}", if names.len() == 1 { "container" } else { "containers" }, quoted.join(", "))
}

fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

fn bad_containers<'a>(spec: &'a PodSpec, bad: impl Fn(Option<&SecurityContext>) -> bool) -> Vec<&'a str> {
    containers(spec).into_iter().filter(|seen| bad(seen.security)).map(|seen| seen.name).collect()
}

fn allow_privilege_escalation(_: &Map<String>, spec: &PodSpec, minor: u32) -> Option<Violation> {
    if minor < 8 || (minor >= 25 && on_windows(spec)) {
        return None;
    }
    let bad = bad_containers(spec, |security| security.and_then(|s| s.allow_privilege_escalation) != Some(false));
    (!bad.is_empty()).then(|| Violation {
        reason: "allowPrivilegeEscalation != false",
        detail: format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&bad)),
    })
}

fn app_armor(annotations: &Map<String>, spec: &PodSpec, _: u32) -> Option<Violation> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let mut bad: Vec<String> = annotations
        .iter()
        .filter(|(key, value)| {
            key.starts_with(PREFIX) && !(value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/"))
        })
        .map(|(key, value)| format!("annotation \"{key}={value}\""))
        .collect();
    let allowed = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    if let Some(profile) = spec.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref())
        && !allowed(&profile.type_)
    {
        bad.push(format!("pod must not set AppArmor profile type to {:?}", profile.type_));
    }
    let names = bad_containers(spec, |security| {
        security.and_then(|s| s.app_armor_profile.as_ref()).is_some_and(|profile| !allowed(&profile.type_))
    });
    if !names.is_empty() {
        bad.push(format!("{} must not set AppArmor profile type to \"Unconfined\"", named(&names)));
    }
    let reason = if bad.len() == 1 { "forbidden AppArmor profile" } else { "forbidden AppArmor profiles" };
    (!bad.is_empty()).then(|| Violation { reason, detail: bad.join(", ") })
}

fn added(security: Option<&SecurityContext>) -> &[String] {
    security.and_then(|s| s.capabilities.as_deref()).map_or(&[], |capabilities: &Capabilities| &capabilities.add)
}

fn capabilities_baseline(_: &Map<String>, spec: &PodSpec, minor: u32) -> Option<Violation> {
    const ALLOWED: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    if minor >= 25 && on_windows(spec) {
        return None;
    }
    let bad = bad_containers(spec, |security| added(security).iter().any(|capability| !ALLOWED.contains(&capability.as_str())));
    if bad.is_empty() {
        return None;
    }
    let mut which: Vec<String> = containers(spec)
        .iter()
        .flat_map(|seen| added(seen.security))
        .filter(|capability| !ALLOWED.contains(&capability.as_str()))
        .map(|capability| format!("{capability:?}"))
        .collect();
    which.sort();
    which.dedup();
    Some(Violation {
        reason: "non-default capabilities",
        detail: format!("{} must not include {} in securityContext.capabilities.add", named(&bad), which.join(", ")),
    })
}

fn capabilities_restricted(_: &Map<String>, spec: &PodSpec, minor: u32) -> Option<Violation> {
    if minor < 22 || (minor >= 25 && on_windows(spec)) {
        return None;
    }
    let drops_all = |security: Option<&SecurityContext>| {
        security.and_then(|s| s.capabilities.as_deref()).is_some_and(|capabilities| capabilities.drop.iter().any(|c| c == "ALL"))
    };
    let missing = bad_containers(spec, |security| !drops_all(security));
    let adding = bad_containers(spec, |security| added(security).iter().any(|capability| capability != "NET_BIND_SERVICE"));
    let mut details = Vec::new();
    if !missing.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&missing)));
    }
    if !adding.is_empty() {
        let mut which: Vec<String> = containers(spec)
            .iter()
            .flat_map(|seen| added(seen.security))
            .filter(|c| *c != "NET_BIND_SERVICE")
            .map(|c| format!("{c:?}"))
            .collect();
        which.sort();
        which.dedup();
        details.push(format!("{} must not include {} in securityContext.capabilities.add", named(&adding), which.join(", ")));
    }
    (!details.is_empty()).then(|| Violation { reason: "unrestricted capabilities", detail: details.join("; ") })
}

fn host_namespaces(_: &Map<String>, spec: &PodSpec, _: u32) -> Option<Violation> {
    let set: Vec<&str> = [(spec.host_network, "hostNetwork=true"), (spec.host_pid, "hostPID=true"), (spec.host_ipc, "hostIPC=true")]
        .into_iter()
        .filter(|(on, _)| *on)
        .map(|(_, text)| text)
        .collect();
    (!set.is_empty()).then(|| Violation { reason: "host namespaces", detail: set.join(", ") })
}

fn host_path_volumes(_: &Map<String>, spec: &PodSpec, _: u32) -> Option<Violation> {
    let bad: Vec<String> =
        spec.volumes.iter().filter(|volume| volume.volume_source.host_path.is_some()).map(|volume| format!("{:?}", volume.name)).collect();
    (!bad.is_empty())
        .then(|| Violation { reason: "hostPath volumes", detail: format!("{} {}", plural(bad.len(), "volume", "volumes"), bad.join(", ")) })
}

fn host_ports(_: &Map<String>, spec: &PodSpec, _: u32) -> Option<Violation> {
    let mut bad = Vec::new();
    let mut ports = Vec::new();
    for container in spec.init_containers.iter().chain(spec.containers.iter()) {
        let open: Vec<i32> = container.ports.iter().map(|port| port.host_port).filter(|port| *port != 0).collect();
        if !open.is_empty() {
            bad.push(container.name.as_str());
            ports.extend(open);
        }
    }
    ports.sort_unstable();
    ports.dedup();
    let texts: Vec<String> = ports.iter().map(ToString::to_string).collect();
    (!bad.is_empty()).then(|| Violation {
        reason: "hostPort",
        detail: format!(
            "{} {} {} {}",
            named(&bad),
            plural(bad.len(), "uses", "use"),
            plural(texts.len(), "hostPort", "hostPorts"),
            texts.join(", ")
        ),
    })
}

fn host_probes(_: &Map<String>, spec: &PodSpec, minor: u32) -> Option<Violation> {
    if minor < 34 {
        return None;
    }
    let local = |host: &str| host.is_empty() || host == "127.0.0.1" || host == "::1";
    let mut bad = Vec::new();
    for container in spec.init_containers.iter().chain(spec.containers.iter()) {
        let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe].into_iter().flatten().map(|probe| {
            let handler = &probe.probe_handler;
            (handler.http_get.as_deref().map(|http| http.host.as_str()), handler.tcp_socket.as_deref().map(|tcp| tcp.host.as_str()))
        });
        let hooks =
            container.lifecycle.iter().flat_map(|lifecycle| [&lifecycle.post_start, &lifecycle.pre_stop]).flatten().map(|hook| {
                (hook.http_get.as_deref().map(|http| http.host.as_str()), hook.tcp_socket.as_deref().map(|tcp| tcp.host.as_str()))
            });
        if probes.chain(hooks).any(|(http, tcp)| http.is_some_and(|host| !local(host)) || tcp.is_some_and(|host| !local(host))) {
            bad.push(container.name.as_str());
        }
    }
    (!bad.is_empty()).then(|| Violation {
        reason: "probe or lifecycle host",
        detail: format!("{} {} probe or lifecycle host", named(&bad), plural(bad.len(), "uses", "use")),
    })
}

fn privileged(_: &Map<String>, spec: &PodSpec, _: u32) -> Option<Violation> {
    let bad = bad_containers(spec, |security| security.and_then(|s| s.privileged) == Some(true));
    (!bad.is_empty())
        .then(|| Violation { reason: "privileged", detail: format!("{} must not set securityContext.privileged=true", named(&bad)) })
}

fn proc_mount(_: &Map<String>, spec: &PodSpec, _: u32) -> Option<Violation> {
    let bad = bad_containers(spec, |security| security.and_then(|s| s.proc_mount.as_deref()).is_some_and(|mount| mount != "Default"));
    (!bad.is_empty()).then(|| Violation {
        reason: "procMount",
        detail: format!("{} must not set securityContext.procMount to \"Unmasked\"", named(&bad)),
    })
}

fn restricted_volumes(_: &Map<String>, spec: &PodSpec, _: u32) -> Option<Violation> {
    let mut names = Vec::new();
    let mut kinds = Vec::new();
    for volume in &spec.volumes {
        let source = &volume.volume_source;
        let allowed = source.config_map.is_some()
            || source.csi.is_some()
            || source.downward_api.is_some()
            || source.empty_dir.is_some()
            || source.ephemeral.is_some()
            || source.image.is_some()
            || source.persistent_volume_claim.is_some()
            || source.projected.is_some()
            || source.secret.is_some();
        if !allowed {
            names.push(format!("{:?}", volume.name));
            let kind = apimachinery::Value::parse(&apimachinery::json::part_to_vec(source))
                .ok()
                .and_then(|value| value.as_object()?.keys().next().map(str::to_owned));
            kinds.push(format!("{:?}", kind.unwrap_or_else(|| "unknown".to_owned())));
        }
    }
    kinds.sort();
    kinds.dedup();
    (!names.is_empty()).then(|| Violation {
        reason: "restricted volume types",
        detail: format!(
            "{} {} {} restricted volume {} {}",
            plural(names.len(), "volume", "volumes"),
            names.join(", "),
            plural(names.len(), "uses", "use"),
            plural(kinds.len(), "type", "types"),
            kinds.join(", ")
        ),
    })
}

fn run_as_non_root(_: &Map<String>, spec: &PodSpec, minor: u32) -> Option<Violation> {
    if minor >= 35 && spec.host_users == Some(false) {
        return None; // Root inside a user namespace is nobody outside.
    }
    let pod = spec.security_context.as_ref().and_then(|s| s.run_as_non_root);
    let explicit = bad_containers(spec, |security| security.and_then(|s| s.run_as_non_root) == Some(false));
    let implicit = bad_containers(spec, |security| security.and_then(|s| s.run_as_non_root).is_none() && pod != Some(true));
    let mut details = Vec::new();
    if pod == Some(false) {
        details.push("pod must not set securityContext.runAsNonRoot=false".to_owned());
    }
    if !explicit.is_empty() {
        details.push(format!("{} must not set securityContext.runAsNonRoot=false", named(&explicit)));
    }
    if details.is_empty() && !implicit.is_empty() {
        details.push(format!("pod or {} must set securityContext.runAsNonRoot=true", named(&implicit)));
    }
    (!details.is_empty()).then(|| Violation { reason: "runAsNonRoot != true", detail: details.join(", ") })
}

fn run_as_user(_: &Map<String>, spec: &PodSpec, minor: u32) -> Option<Violation> {
    if minor < 23 || (minor >= 35 && spec.host_users == Some(false)) {
        return None;
    }
    let mut details = Vec::new();
    if spec.security_context.as_ref().and_then(|s| s.run_as_user) == Some(0) {
        details.push("pod must not set runAsUser=0".to_owned());
    }
    let bad = bad_containers(spec, |security| security.and_then(|s| s.run_as_user) == Some(0));
    if !bad.is_empty() {
        details.push(format!("{} must not set runAsUser=0", named(&bad)));
    }
    (!details.is_empty()).then(|| Violation { reason: "runAsUser=0", detail: details.join(", ") })
}

fn se_linux_options(_: &Map<String>, spec: &PodSpec, minor: u32) -> Option<Violation> {
    let allowed_type = |kind: &str| {
        matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t") || (minor >= 31 && kind == "container_engine_t")
    };
    let bad =
        |options: &api::core::v1::SELinuxOptions| !allowed_type(&options.type_) || !options.user.is_empty() || !options.role.is_empty();
    let mut details = Vec::new();
    if spec.security_context.as_ref().and_then(|s| s.se_linux_options.as_ref()).is_some_and(|options| bad(options)) {
        details.push("pod".to_owned());
    }
    let names = bad_containers(spec, |security| security.and_then(|s| s.se_linux_options.as_ref()).is_some_and(|options| bad(options)));
    if !names.is_empty() {
        details.push(named(&names));
    }
    (!details.is_empty()).then(|| Violation {
        reason: "seLinuxOptions",
        detail: format!("{} set forbidden securityContext.seLinuxOptions", details.join(" and ")),
    })
}

fn seccomp_type(security: Option<&SecurityContext>) -> Option<&str> {
    security.and_then(|s| s.seccomp_profile.as_ref()).map(|profile| profile.type_.as_str())
}

fn seccomp_baseline(_: &Map<String>, spec: &PodSpec, minor: u32) -> Option<Violation> {
    if minor < 19 {
        return None;
    }
    let allowed = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let mut details = Vec::new();
    if let Some(profile) = spec.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref())
        && !allowed(&profile.type_)
    {
        details.push(format!("pod must not set securityContext.seccompProfile.type to {:?}", profile.type_));
    }
    let bad = bad_containers(spec, |security| seccomp_type(security).is_some_and(|kind| !allowed(kind)));
    if !bad.is_empty() {
        details.push(format!("{} must not set securityContext.seccompProfile.type to \"Unconfined\"", named(&bad)));
    }
    (!details.is_empty()).then(|| Violation { reason: "seccompProfile", detail: details.join(", ") })
}

fn seccomp_restricted(_: &Map<String>, spec: &PodSpec, minor: u32) -> Option<Violation> {
    if minor < 19 || (minor >= 25 && on_windows(spec)) {
        return None;
    }
    let allowed = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let pod = spec.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref()).map(|profile| profile.type_.as_str());
    let mut details = Vec::new();
    if let Some(kind) = pod.filter(|kind| !allowed(kind)) {
        details.push(format!("pod must not set securityContext.seccompProfile.type to {kind:?}"));
    }
    let explicit = bad_containers(spec, |security| seccomp_type(security).is_some_and(|kind| !allowed(kind)));
    if !explicit.is_empty() {
        details.push(format!("{} must not set securityContext.seccompProfile.type to \"Unconfined\"", named(&explicit)));
    }
    let implicit = bad_containers(spec, |security| seccomp_type(security).is_none());
    if details.is_empty() && pod.is_none() && !implicit.is_empty() {
        details.push(format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            named(&implicit)
        ));
    }
    (!details.is_empty()).then(|| Violation { reason: "seccompProfile", detail: details.join(", ") })
}

fn sysctls(_: &Map<String>, spec: &PodSpec, minor: u32) -> Option<Violation> {
    const ALLOWED: [(&str, u32); 11] = [
        ("kernel.shm_rmid_forced", 0),
        ("net.ipv4.ip_local_port_range", 0),
        ("net.ipv4.tcp_syncookies", 0),
        ("net.ipv4.ping_group_range", 0),
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_fin_timeout", 29),
        ("net.ipv4.tcp_keepalive_intvl", 29),
        ("net.ipv4.tcp_keepalive_probes", 29),
        ("net.ipv4.tcp_rmem", 32),
    ];
    let allowed =
        |name: &str| ALLOWED.iter().any(|(known, since)| *known == name && minor >= *since) || (name == "net.ipv4.tcp_wmem" && minor >= 32);
    let bad: Vec<&str> = spec
        .security_context
        .iter()
        .flat_map(|s| s.sysctls.iter())
        .map(|sysctl| sysctl.name.as_str())
        .filter(|name| !allowed(name))
        .collect();
    (!bad.is_empty()).then(|| Violation { reason: "forbidden sysctls", detail: bad.join(", ") })
}

fn windows_host_process(_: &Map<String>, spec: &PodSpec, _: u32) -> Option<Violation> {
    let mut details = Vec::new();
    if spec.security_context.as_ref().and_then(|s| s.windows_options.as_ref()).and_then(|options| options.host_process) == Some(true) {
        details.push("pod".to_owned());
    }
    let bad = bad_containers(spec, |security| {
        security.and_then(|s| s.windows_options.as_ref()).and_then(|options| options.host_process) == Some(true)
    });
    if !bad.is_empty() {
        details.push(named(&bad));
    }
    (!details.is_empty()).then(|| Violation {
        reason: "hostProcess",
        detail: format!("{} must not set securityContext.windowsOptions.hostProcess=true", details.join(" and ")),
    })
}

/// What the policy forbids about a pod, as upstream's message has it; `None` if nothing.
fn evaluate(policy: &Policy, annotations: &Map<String>, spec: &PodSpec) -> Option<String> {
    let speaks = |at: At| match policy.level {
        Level::Privileged => false,
        Level::Baseline => at != At::Restricted,
        Level::Restricted => at != At::OnlyBaseline,
    };
    let mut found = Vec::new();
    for (_, check) in CHECKS.iter().filter(|(at, _)| speaks(*at)) {
        if let Some(violation) = check(annotations, spec, policy.minor) {
            found.push(format!("{} ({})", violation.reason, violation.detail));
        }
    }
    (!found.is_empty()).then(|| found.join(", "))
}

pub struct PodSecurity {
    objects: Arc<dyn Objects>,
}

impl PodSecurity {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }

    async fn labels(&self, namespace: &str) -> Result<Map<String>, StatusError> {
        Ok(self
            .objects
            .get("", "namespaces", "", namespace)
            .await?
            .map(|namespace| namespace.metadata().labels.clone())
            .unwrap_or_default())
    }
}

/// The pod template of a workload.
fn template<'r>(review: &'r Review<'_>) -> Option<&'r PodTemplateSpec> {
    use api::{apps, batch, core};
    match (review.group, review.resource) {
        ("apps", "deployments") => object::<apps::v1::Deployment>(review).map(|o| &o.spec.template),
        ("apps", "replicasets") => object::<apps::v1::ReplicaSet>(review).map(|o| &o.spec.template),
        ("apps", "statefulsets") => object::<apps::v1::StatefulSet>(review).map(|o| &o.spec.template),
        ("apps", "daemonsets") => object::<apps::v1::DaemonSet>(review).map(|o| &o.spec.template),
        ("batch", "jobs") => object::<batch::v1::Job>(review).map(|o| &o.spec.template),
        ("batch", "cronjobs") => object::<batch::v1::CronJob>(review).map(|o| &o.spec.job_template.spec.template),
        ("", "replicationcontrollers") => object::<core::v1::ReplicationController>(review).and_then(|o| o.spec.template.as_deref()),
        ("", "podtemplates") => object::<core::v1::PodTemplate>(review).map(|o| &o.template),
        _ => None,
    }
}

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        if review.group.is_empty() && review.resource == "namespaces" && review.subresource.is_empty() {
            let Some(namespace) = object::<Namespace>(review) else { return Ok(()) };
            let errors: Vec<String> =
                ["enforce", "audit", "warn"].iter().filter_map(|mode| Policy::of(&namespace.metadata.labels, mode).err()).collect();
            // What is wrong already may stay until it is touched.
            let before = old::<Namespace>(review).map(|before| &before.metadata.labels);
            if !errors.is_empty() && before != Some(&namespace.metadata.labels) {
                return Err(forbidden(review, super::limit_ranger::aggregate(&errors)));
            }
            return Ok(());
        }
        let is_pod = review.group.is_empty() && review.resource == "pods";
        let pod = if is_pod && matches!(review.subresource, "" | "ephemeralcontainers") { object::<Pod>(review) } else { None };
        let (meta_annotations, spec) = match (pod, review.subresource.is_empty().then(|| template(review)).flatten()) {
            (Some(pod), _) => (&pod.metadata.annotations, &pod.spec),
            (None, Some(template)) => (&template.metadata.annotations, &template.spec),
            (None, None) => return Ok(()),
        };
        if pod.is_some()
            && old::<Pod>(review).is_some_and(|before| before.spec == *spec && before.metadata.annotations == *meta_annotations)
        {
            return Ok(());
        }
        let labels = self.labels(review.namespace).await?;
        // A namespace with bad labels is held to the strictest level.
        let policy = |mode| {
            Policy::of(&labels, mode).unwrap_or(Policy { level: Level::Restricted, version: "latest".to_owned(), minor: LATEST_MINOR })
        };
        let enforce = policy("enforce");
        if pod.is_some()
            && let Some(found) = evaluate(&enforce, meta_annotations, spec)
        {
            return Err(forbidden(review, format!("violates PodSecurity \"{}:{}\": {found}", enforce.level.name(), enforce.version)));
        }
        let warn = policy("warn");
        if let Some(found) = evaluate(&warn, meta_annotations, spec) {
            review.context.warn(format!("would violate PodSecurity \"{}:{}\": {found}", warn.level.name(), warn.version));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::json;

    fn found(level: Level, spec: &str) -> Option<String> {
        let policy = Policy { level, version: "latest".to_owned(), minor: LATEST_MINOR };
        evaluate(&policy, &Map::nil(), &json::from_slice(spec.as_bytes()).unwrap())
    }

    #[test]
    fn baseline_forbids_what_reaches_the_host() {
        assert_eq!(found(Level::Baseline, r#"{"containers":[{"name":"a"}]}"#), None);
        assert_eq!(
            found(Level::Baseline, r#"{"hostNetwork":true,"containers":[{"name":"a"}]}"#).unwrap(),
            "host namespaces (hostNetwork=true)"
        );
        assert_eq!(
            found(Level::Baseline, r#"{"containers":[{"name":"a","securityContext":{"privileged":true}}]}"#).unwrap(),
            "privileged (container \"a\" must not set securityContext.privileged=true)"
        );
    }

    #[test]
    fn restricted_wants_four_things_set() {
        let message = found(Level::Restricted, r#"{"containers":[{"name":"a"}]}"#).unwrap();
        assert_eq!(
            message,
            "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"a\" must set \
             securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or \
             container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        );
        let good = r#"{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},"containers":[{"name":"a","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}"#;
        assert_eq!(found(Level::Restricted, good), None);
    }
}
