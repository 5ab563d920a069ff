//! Defaults that depend on other fields. Each function answers to the `SetDefaults_*` of the type upstream; the walk into members is `generated`'s.

use api::apps::v1::{
    DaemonSet, Deployment, RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy,
};
use api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler, MetricSpec, MetricTarget, ResourceMetricSource};
use api::batch::v1::Job;
use api::core::v1::{
    ClientIPConfig, Container, ContainerPort, Endpoints, EphemeralContainer, LimitRangeItem, Namespace, NodeStatus, Pod, PodLogOptions,
    ReplicationController, Service, SessionAffinityConfig, Volume, VolumeSource,
};
use apimachinery::{IntOrString, List, Map, Quantity, Time};

/// `RollingUpdate` of several kinds.
const ROLLING_UPDATE: &str = "RollingUpdate";

fn set_if_empty(field: &mut String, value: &str) {
    if field.is_empty() {
        *field = value.to_owned();
    }
}

/// Copies entries of `from` whose keys `to` lacks.
fn copy_missing(to: &mut Map<Quantity>, from: &Map<Quantity>) {
    for (key, value) in from {
        if !to.contains_key(key) {
            to.insert(key, value.clone());
        }
    }
}

/// Amounts finer than a thousandth are rounded up, as upstream does to every resource list.
fn round_up_to_milli(list: &mut Map<Quantity>) {
    for (_, quantity) in list.iter_mut() {
        quantity.round_up(-3);
    }
}

pub fn apps_v1_daemon_set(x: &mut DaemonSet) {
    let strategy = &mut x.spec.update_strategy;
    set_if_empty(&mut strategy.type_, ROLLING_UPDATE);
    if strategy.type_ == ROLLING_UPDATE {
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
        rolling.max_surge.get_or_insert(IntOrString::Int(0));
    }
    x.spec.revision_history_limit.get_or_insert(10);
}

pub fn apps_v1_deployment(x: &mut Deployment) {
    x.spec.replicas.get_or_insert(1);
    let strategy = &mut x.spec.strategy;
    set_if_empty(&mut strategy.type_, ROLLING_UPDATE);
    if strategy.type_ == ROLLING_UPDATE {
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert_with(|| "25%".into());
        rolling.max_surge.get_or_insert_with(|| "25%".into());
    }
    x.spec.revision_history_limit.get_or_insert(10);
    x.spec.progress_deadline_seconds.get_or_insert(600);
}

pub fn apps_v1_stateful_set(x: &mut StatefulSet) {
    let spec = &mut x.spec;
    set_if_empty(&mut spec.pod_management_policy, "OrderedReady");
    if spec.update_strategy.type_.is_empty() {
        spec.update_strategy.type_ = ROLLING_UPDATE.to_owned();
        spec.update_strategy.rolling_update.get_or_insert_with(|| Box::new(RollingUpdateStatefulSetStrategy::default()));
    }
    if spec.update_strategy.type_ == ROLLING_UPDATE
        && let Some(rolling) = &mut spec.update_strategy.rolling_update
    {
        rolling.partition.get_or_insert(0);
    }
    let retention = spec
        .persistent_volume_claim_retention_policy
        .get_or_insert_with(|| Box::new(StatefulSetPersistentVolumeClaimRetentionPolicy::default()));
    set_if_empty(&mut retention.when_deleted, "Retain");
    set_if_empty(&mut retention.when_scaled, "Retain");
    spec.replicas.get_or_insert(1);
    spec.revision_history_limit.get_or_insert(10);
    for claim in &mut spec.volume_claim_templates {
        // Clients that read templates by reflection want to know what they are.
        set_if_empty(&mut claim.type_meta.kind, "PersistentVolumeClaim");
        set_if_empty(&mut claim.type_meta.api_version, "v1");
    }
}

pub fn autoscaling_v2_horizontal_pod_autoscaler(x: &mut HorizontalPodAutoscaler) {
    x.spec.min_replicas.get_or_insert(1);
    if x.spec.metrics.is_empty() {
        let target = MetricTarget { type_: "Utilization".to_owned(), average_utilization: Some(80), ..MetricTarget::default() };
        let resource = ResourceMetricSource { name: "cpu".to_owned(), target };
        x.spec.metrics =
            List::from(vec![MetricSpec { type_: "Resource".to_owned(), resource: Some(Box::new(resource)), ..MetricSpec::default() }]);
    }
    let Some(behavior) = &mut x.spec.behavior else { return };
    let policy = |kind: &str, value| HPAScalingPolicy { type_: kind.to_owned(), value, period_seconds: 15 };
    let fill = |rules: &mut HPAScalingRules, policies: Vec<HPAScalingPolicy>| {
        rules.select_policy.get_or_insert_with(|| "Max".to_owned());
        if rules.policies.is_nil() {
            rules.policies = policies.into();
        }
    };
    let up = behavior.scale_up.get_or_insert_default();
    up.stabilization_window_seconds.get_or_insert(0);
    fill(up, vec![policy("Pods", 4), policy("Percent", 100)]);
    fill(behavior.scale_down.get_or_insert_default(), vec![policy("Percent", 100)]);
}

pub fn batch_v1_job(x: &mut Job) {
    let spec = &mut x.spec;
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    let per_index = spec.backoff_limit_per_index.is_some();
    spec.backoff_limit.get_or_insert(if per_index { i32::MAX } else { 6 });
    spec.completion_mode.get_or_insert_with(|| "NonIndexed".to_owned());
    spec.suspend.get_or_insert(false);
    spec.manual_selector.get_or_insert(false);
    let policy = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
    spec.pod_replacement_policy.get_or_insert_with(|| policy.to_owned());
    if x.metadata.labels.is_empty() && !x.spec.template.metadata.labels.is_empty() {
        x.metadata.labels = x.spec.template.metadata.labels.clone();
    }
}

/// `Always` for an image without tag and digest or tagged `latest`, else `IfNotPresent`; so also for text that names no image.
fn default_pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, ""), |(name, digest)| (name, digest));
    // A colon before the last slash belongs to the registry's port.
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match name[last..].split_once(':') {
        Some((_, tag)) => (&name[..name.len() - tag.len() - 1], tag),
        None => (name, ""),
    };
    let latest = tag == "latest" || (tag.is_empty() && digest.is_empty());
    if latest && is_repository(repository) { "Always" } else { "IfNotPresent" }
}

/// Whether an image can be kept under this name. Only a registry's host may have capitals.
fn is_repository(name: &str) -> bool {
    let path = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => name,
    };
    !path.is_empty()
        && path.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'/' | b'.' | b'_' | b'-'))
}

pub fn core_v1_container(x: &mut Container) {
    set_if_empty(&mut x.termination_message_path, "/dev/termination-log");
    set_if_empty(&mut x.termination_message_policy, "File");
    set_if_empty(&mut x.image_pull_policy, default_pull_policy(&x.image));
    round_up_to_milli(&mut x.resources.limits);
    round_up_to_milli(&mut x.resources.requests);
}

pub fn core_v1_ephemeral_container(x: &mut EphemeralContainer) {
    let common = &mut x.ephemeral_container_common;
    set_if_empty(&mut common.termination_message_path, "/dev/termination-log");
    set_if_empty(&mut common.termination_message_policy, "File");
    set_if_empty(&mut common.image_pull_policy, default_pull_policy(&common.image));
    round_up_to_milli(&mut common.resources.limits);
    round_up_to_milli(&mut common.resources.requests);
}

pub fn core_v1_endpoints(x: &mut Endpoints) {
    for subset in &mut x.subsets {
        for port in &mut subset.ports {
            set_if_empty(&mut port.protocol, "TCP");
        }
    }
}

pub fn core_v1_limit_range_item(x: &mut LimitRangeItem) {
    if x.type_ != "Container" {
        return;
    }
    for list in [&mut x.max, &mut x.min, &mut x.default, &mut x.default_request, &mut x.max_limit_request_ratio] {
        round_up_to_milli(list);
    }
    // Both end up set, if only to nothing.
    for list in [&mut x.default, &mut x.default_request] {
        if list.is_nil() {
            *list = Map::empty();
        }
    }
    copy_missing(&mut x.default, &x.max);
    copy_missing(&mut x.default_request, &x.default);
    copy_missing(&mut x.default_request, &x.min);
}

pub fn core_v1_namespace(x: &mut Namespace) {
    // A name that is still to be generated gets its label when there is one.
    if !x.metadata.name.is_empty() {
        x.metadata.labels.insert("kubernetes.io/metadata.name", x.metadata.name.clone());
    }
}

pub fn core_v1_node_status(x: &mut NodeStatus) {
    round_up_to_milli(&mut x.capacity);
    round_up_to_milli(&mut x.allocatable);
    if x.allocatable.is_empty() && !x.capacity.is_empty() {
        x.allocatable = x.capacity.clone();
    }
}

pub fn core_v1_pod(x: &mut Pod) {
    let spec = &mut x.spec;
    spec.enable_service_links.get_or_insert(true);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut()) {
        if container.resources.limits.is_nil() {
            continue;
        }
        if container.resources.requests.is_nil() {
            container.resources.requests = Map::empty();
        }
        copy_missing(&mut container.resources.requests, &container.resources.limits);
    }
    default_pod_level_requests(x);
    let spec = &mut x.spec;
    if spec.host_network {
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut()) {
            for port in &mut container.ports {
                host_port_is_container_port(port);
            }
        }
    }
}

fn host_port_is_container_port(port: &mut ContainerPort) {
    if port.host_port == 0 {
        port.host_port = port.container_port;
    }
}

/// Pod-level requests that are not given are what the containers ask for, or else the pod-level limit.
fn default_pod_level_requests(x: &mut Pod) {
    let Some(resources) = &x.spec.resources else { return };
    if resources.limits.is_empty() {
        return;
    }
    let mut asked: Map<Quantity> = Map::empty();
    for container in x.spec.containers.iter() {
        for (name, amount) in &container.resources.requests {
            asked.entry_or_default(name).add(amount);
        }
    }
    let Some(resources) = &mut x.spec.resources else { return };
    let at_pod_level = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    for (name, limit) in resources.limits.clone() {
        if !at_pod_level(&name) || resources.requests.contains_key(&name) {
            continue;
        }
        // Huge pages cannot be overcommitted: their request is their limit.
        let request = asked.get(&name).filter(|_| !name.starts_with("hugepages-")).cloned().unwrap_or(limit);
        resources.requests.insert(name, request);
    }
}

pub fn core_v1_pod_log_options(x: &mut PodLogOptions) {
    x.stream.get_or_insert_with(|| "All".to_owned());
}

pub fn core_v1_replication_controller(x: &mut ReplicationController) {
    let Some(template) = &x.spec.template else { return };
    let labels = &template.metadata.labels;
    if labels.is_empty() {
        return;
    }
    if x.spec.selector.is_empty() {
        x.spec.selector = labels.clone();
    }
    if x.metadata.labels.is_empty() {
        x.metadata.labels = labels.clone();
    }
}

pub fn core_v1_service(x: &mut Service) {
    let spec = &mut x.spec;
    set_if_empty(&mut spec.session_affinity, "None");
    if spec.session_affinity == "None" {
        spec.session_affinity_config = None;
    }
    if spec.session_affinity == "ClientIP" {
        let set = spec
            .session_affinity_config
            .as_ref()
            .and_then(|config| config.client_ip.as_ref())
            .is_some_and(|client| client.timeout_seconds.is_some());
        if !set {
            let client_ip = Some(Box::new(ClientIPConfig { timeout_seconds: Some(10_800) }));
            spec.session_affinity_config = Some(Box::new(SessionAffinityConfig { client_ip }));
        }
    }
    set_if_empty(&mut spec.type_, "ClusterIP");
    for port in &mut spec.ports {
        set_if_empty(&mut port.protocol, "TCP");
        if matches!(&port.target_port, IntOrString::Int(0)) || matches!(&port.target_port, IntOrString::String(text) if text.is_empty()) {
            port.target_port = IntOrString::Int(port.port);
        }
    }
    let exposed = matches!(spec.type_.as_str(), "LoadBalancer" | "NodePort");
    if exposed || (spec.type_ == "ClusterIP" && !spec.external_ips.is_empty()) {
        set_if_empty(&mut spec.external_traffic_policy, "Cluster");
    }
    if exposed || spec.type_ == "ClusterIP" {
        spec.internal_traffic_policy.get_or_insert_with(|| "Cluster".to_owned());
    }
    if spec.type_ == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
        for ingress in &mut x.status.load_balancer.ingress {
            if !ingress.ip.is_empty() {
                ingress.ip_mode.get_or_insert_with(|| "VIP".to_owned());
            }
        }
    }
}

pub fn core_v1_volume(x: &mut Volume) {
    if x.volume_source == VolumeSource::default() {
        x.volume_source.empty_dir = Some(Box::default());
    }
    if let Some(image) = &mut x.volume_source.image
        && image.pull_policy.is_empty()
    {
        image.pull_policy = default_pull_policy(&image.reference).to_owned();
    }
}

pub fn networking_v1_ingress_class(x: &mut api::networking::v1::IngressClass) {
    if let Some(parameters) = &mut x.spec.parameters {
        parameters.scope.get_or_insert_with(|| "Cluster".to_owned());
    }
}

pub fn networking_v1_network_policy(x: &mut api::networking::v1::NetworkPolicy) {
    if x.spec.policy_types.is_empty() {
        let types: &[&str] = if x.spec.egress.is_nil() { &["Ingress"] } else { &["Ingress", "Egress"] };
        x.spec.policy_types = types.iter().map(|kind| (*kind).to_owned()).collect();
    }
}

pub fn rbac_v1_subject(x: &mut api::rbac::v1::Subject) {
    if matches!(x.kind.as_str(), "User" | "Group") {
        set_if_empty(&mut x.api_group, "rbac.authorization.k8s.io");
    }
}

pub fn storage_v1_csi_driver(x: &mut api::storage::v1::CSIDriver) {
    let spec = &mut x.spec;
    spec.attach_required.get_or_insert(true);
    spec.pod_info_on_mount.get_or_insert(false);
    spec.storage_capacity.get_or_insert(false);
    spec.fs_group_policy.get_or_insert_with(|| "ReadWriteOnceWithFSType".to_owned());
    spec.requires_republish.get_or_insert(false);
    spec.se_linux_mount.get_or_insert(false);
    if spec.volume_lifecycle_modes.is_empty() {
        spec.volume_lifecycle_modes = List::from(vec!["Persistent".to_owned()]);
    }
}

pub fn resource_v1_device(x: &mut api::resource::v1::Device) {
    for (_, mapping) in x.node_allocatable_resource_mappings.iter_mut() {
        mapping.allocation_multiplier.get_or_insert_with(|| Quantity::from_value(1, apimachinery::quantity::Format::DecimalSI));
    }
}

pub fn resource_v1_device_sub_request(x: &mut api::resource::v1::DeviceSubRequest) {
    set_if_empty(&mut x.allocation_mode, "ExactCount");
    if x.allocation_mode == "ExactCount" && x.count == 0 {
        x.count = 1;
    }
}

pub fn resource_v1_exact_device_request(x: &mut api::resource::v1::ExactDeviceRequest) {
    set_if_empty(&mut x.allocation_mode, "ExactCount");
    if x.allocation_mode == "ExactCount" && x.count == 0 {
        x.count = 1;
    }
}

pub fn resource_v1_device_taint(x: &mut api::resource::v1::DeviceTaint) {
    x.time_added.get_or_insert_with(Time::now);
}

pub fn apiextensions_v1_custom_resource_definition(x: &mut api::apiextensions::v1::CustomResourceDefinition) {
    if x.status.stored_versions.is_empty() {
        x.status.stored_versions = x.spec.versions.iter().filter(|version| version.storage).map(|version| version.name.clone()).collect();
    }
}

pub fn apiextensions_v1_custom_resource_definition_spec(x: &mut api::apiextensions::v1::CustomResourceDefinitionSpec) {
    if x.names.singular.is_empty() {
        x.names.singular = x.names.kind.to_lowercase();
    }
    if x.names.list_kind.is_empty() && !x.names.kind.is_empty() {
        x.names.list_kind = format!("{}List", x.names.kind);
    }
    let conversion = x.conversion.get_or_insert_default();
    set_if_empty(&mut conversion.strategy, "None");
}
