//! Rules of Pods and of the subresources that write the Pod itself.

use api::core::v1::{Container, Pod, PodCondition, PodStatus};
use apimachinery::meta::v1::DeleteOptions;
use apimachinery::validation::field::ErrorList;
use apimachinery::{List, Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::{Graceful, Strategy};
use component_helpers::{pod as pods, qos};

use super::{cells, disabled, normalize, warnings};
use crate::core::validation::pod as validation;
use crate::validation::fields::same;

/// Rules of Pods.
#[derive(Clone, Copy, Debug, Default)]
pub struct PodStrategy {
    /// Containers may be privileged.
    pub allow_privileged: bool,
}

impl Strategy for PodStrategy {
    type Object = Pod;

    fn default_object(&self, pod: &mut Pod) {
        crate::defaults::generated::core_v1_pod(pod);
        normalize::pod(pod);
    }

    fn prepare_for_create(&self, _: &RequestContext, pod: &mut Pod) {
        normalize::pod(pod);
        disabled::drop_disabled(&mut pod.spec, None);
        pod.metadata.generation = 1;
        pod.status = PodStatus { phase: "Pending".to_owned(), qos_class: qos::class(pod).to_owned(), ..PodStatus::default() };
        if !pod.spec.scheduling_gates.is_empty() {
            pod.status.conditions = List::from(vec![PodCondition {
                type_: "PodScheduled".to_owned(),
                status: "False".to_owned(),
                reason: "SchedulingGated".to_owned(),
                message: "Scheduling is blocked due to non-empty scheduling gates".to_owned(),
                last_transition_time: Time::now(),
                ..PodCondition::default()
            }]);
        }
    }

    fn validate(&self, _: &RequestContext, pod: &Pod) -> ErrorList {
        let mut errors = validation::validate(pod);
        if !self.allow_privileged {
            errors.extend(validation::no_privileged(&pod.spec));
        }
        errors
    }

    fn warnings_on_create(&self, _: &RequestContext, pod: &Pod) -> Vec<String> {
        warnings::pod(pod)
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Pod, old: &Pod) {
        normalize::pod(new);
        disabled::drop_disabled(&mut new.spec, Some(&old.spec));
        new.status.clone_from(&old.status);
        if !same(&new.spec, &old.spec) {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &Pod, old: &Pod) -> ErrorList {
        validation::validate_update(new, old)
    }

    /// Seconds the kubelet has for it: what the delete says, else what the Pod says; none for a Pod that runs nowhere.
    fn graceful_deletion(&self, pod: &Pod, options: &DeleteOptions) -> Graceful {
        let asked = options.grace_period_seconds.or(pod.spec.termination_grace_period_seconds).unwrap_or(0);
        // Nobody would wait for it, or nothing is left to wait for.
        if pod.spec.node_name.is_empty() || pods::is_terminal(pod) {
            return Graceful::Seconds(0);
        }
        Graceful::Seconds(if asked < 0 { 1 } else { asked })
    }

    fn selectable_fields(&self, pod: &Pod) -> Vec<(&'static str, String)> {
        vec![
            ("spec.nodeName", pod.spec.node_name.clone()),
            ("spec.restartPolicy", pod.spec.restart_policy.clone()),
            ("spec.schedulerName", pod.spec.scheduler_name.clone()),
            ("spec.serviceAccountName", pod.spec.service_account_name.clone()),
            ("spec.hostNetwork", pod.spec.host_network.to_string()),
            ("status.phase", pod.status.phase.clone()),
            ("status.podIP", pod.status.pod_ips.first().map(|ip| ip.ip.clone()).unwrap_or_default()),
            ("status.nominatedNodeName", pod.status.nominated_node_name.clone()),
        ]
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, pod: &Pod, now: Time) -> Option<Vec<Value>> {
        Some(cells::cells(pod, now))
    }
}

/// Rules of a Pod's `status`.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = Pod;

    fn default_object(&self, pod: &mut Pod) {
        PodStrategy::default().default_object(pod);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Pod, old: &Pod) {
        normalize::pod(new);
        new.spec.clone_from(&old.spec);
        new.metadata.deletion_timestamp = old.metadata.deletion_timestamp;
        // Owners come and go through the Pod itself.
        new.metadata.owner_references.clone_from(&old.metadata.owner_references);
        if new.status.qos_class.is_empty() {
            new.status.qos_class.clone_from(&old.status.qos_class);
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &Pod, old: &Pod) -> ErrorList {
        validation::validate_status_update(new, old)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"]
    }

    fn table_cells(&self, pod: &Pod, now: Time) -> Option<Vec<Value>> {
        Some(cells::cells(pod, now))
    }
}

/// Rules of `ephemeralcontainers`, which changes nothing else.
#[derive(Clone, Copy, Debug)]
pub struct EphemeralContainersStrategy;

impl Strategy for EphemeralContainersStrategy {
    type Object = Pod;

    fn default_object(&self, pod: &mut Pod) {
        PodStrategy::default().default_object(pod);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Pod, old: &Pod) {
        let wanted = std::mem::take(&mut new.spec.ephemeral_containers);
        let meta = std::mem::take(&mut new.metadata);
        *new = old.clone();
        new.spec.ephemeral_containers = wanted;
        // Precondition and field ownership are the request's.
        new.metadata.resource_version = meta.resource_version;
        new.metadata.managed_fields = meta.managed_fields;
        if !same(&new.spec, &old.spec) {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &Pod, old: &Pod) -> ErrorList {
        validation::validate_ephemeral_containers_update(new, old)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, pod: &Pod, now: Time) -> Option<Vec<Value>> {
        Some(cells::cells(pod, now))
    }
}

/// Rules of `resize`, which changes what containers ask for and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct ResizeStrategy;

impl Strategy for ResizeStrategy {
    type Object = Pod;

    fn default_object(&self, pod: &mut Pod) {
        PodStrategy::default().default_object(pod);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Pod, old: &Pod) {
        let wanted = std::mem::replace(&mut new.spec, old.spec.clone());
        let meta = std::mem::replace(&mut new.metadata, old.metadata.clone());
        new.status.clone_from(&old.status);
        new.metadata.resource_version = meta.resource_version;
        new.metadata.managed_fields = meta.managed_fields;
        let take = |kept: &mut [Container], wanted: &[Container]| {
            for (kept, wanted) in kept.iter_mut().zip(wanted).filter(|(kept, wanted)| kept.name == wanted.name) {
                kept.resources.clone_from(&wanted.resources);
                kept.resize_policy.clone_from(&wanted.resize_policy);
            }
        };
        take(&mut new.spec.containers, &wanted.containers);
        take(&mut new.spec.init_containers, &wanted.init_containers);
        if !same(&new.spec, &old.spec) {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &Pod, old: &Pod) -> ErrorList {
        validation::validate_resize(new, old)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, pod: &Pod, now: Time) -> Option<Vec<Value>> {
        Some(cells::cells(pod, now))
    }
}
