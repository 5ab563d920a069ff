//! Pods: what is new, what may change.

use api::core::v1::{Container, ContainerStatus, Pod, PodSpec, Toleration};
use apimachinery::List;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;

use component_helpers::qos;
use component_helpers::resource::is_sidecar;

use super::affinity::tolerations;
use super::pod_spec::pod_spec;
use crate::validation::fields::same;
use crate::validation::{object_meta, object_meta_update};

/// A new Pod.
pub fn validate(pod: &Pod) -> ErrorList {
    let mut errors = metadata_and_spec(pod);
    let spec = Path::new("spec");
    if !pod.spec.ephemeral_containers.is_empty() {
        errors.push(Error::forbidden(&spec.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !pod.spec.node_name.is_empty() && !pod.spec.scheduling_gates.is_empty() {
        errors.push(Error::forbidden(&spec.child("nodeName"), "cannot be set until all schedulingGates have been cleared"));
    }
    errors
}

fn metadata_and_spec(pod: &Pod) -> ErrorList {
    let mut errors = object_meta(&pod.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
    errors.extend(pod_spec(&pod.spec, true, &Path::new("spec")));
    errors
}

/// No container of a new Pod is privileged: what a cluster without `--allow-privileged` asks.
pub fn no_privileged(spec: &PodSpec) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    for (field, containers) in [("containers", &spec.containers), ("initContainers", &spec.init_containers)] {
        let list = path.child(field);
        for (index, container) in containers.iter().enumerate() {
            if container.security_context.as_ref().is_some_and(|context| context.privileged == Some(true)) {
                let item = list.index(index);
                let context = item.child("securityContext");
                errors.push(Error::forbidden(&context.child("privileged"), "disallowed by cluster policy"));
            }
        }
    }
    errors
}

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
                       `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
                       `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A changed Pod.
pub fn validate_update(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
    errors.extend(metadata_and_spec(new));
    let path = Path::new("spec");
    for (name, new, old) in [
        ("containers", &new.spec.containers, &old.spec.containers),
        ("initContainers", &new.spec.init_containers, &old.spec.init_containers),
    ] {
        let (wrong, stop) = container_updates(new, old, &path.child(name));
        errors.extend(wrong);
        if stop {
            return errors;
        }
    }
    if let Some(error) =
        deadline_update(new.spec.active_deadline_seconds, old.spec.active_deadline_seconds, &path.child("activeDeadlineSeconds"))
    {
        errors.push(error);
        return errors;
    }
    errors.extend(only_added_tolerations(&new.spec.tolerations, &old.spec.tolerations, &path.child("tolerations")));
    let gates = path.child("schedulingGates");
    for (index, gate) in new.spec.scheduling_gates.iter().enumerate() {
        if !old.spec.scheduling_gates.iter().any(|before| before.name == gate.name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
            errors.push(Error::forbidden(&gates.index(index).child("name"), detail));
        }
    }
    let munged = without_mutable(&new.spec, &old.spec);
    if !same(&munged, &old.spec) {
        errors.push(Error::forbidden(&path, MUTABLE));
    }
    errors
}

/// The new spec with everything that may change put back to what it was.
fn without_mutable(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut munged = new.clone();
    let images = |new: &mut [Container], old: &[Container]| {
        for (new, old) in new.iter_mut().zip(old) {
            new.image.clone_from(&old.image);
        }
    };
    images(&mut munged.containers, &old.containers);
    images(&mut munged.init_containers, &old.init_containers);
    munged.active_deadline_seconds = old.active_deadline_seconds;
    munged.tolerations.clone_from(&old.tolerations);
    munged.scheduling_gates.clone_from(&old.scheduling_gates);
    // A Pod that waits at a gate may still be told better where to go.
    if !old.scheduling_gates.is_empty() {
        let only_added = old.node_selector.iter().all(|(key, value)| new.node_selector.get(key) == Some(value));
        if only_added {
            munged.node_selector.clone_from(&old.node_selector);
        }
        let affinity = |spec: &PodSpec| spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
        if affinity(old).is_none_or(|affinity| affinity.required_during_scheduling_ignored_during_execution.is_none()) {
            if let (Some(found), before) = (&mut munged.affinity, affinity(old)) {
                found.node_affinity = before
            }
            if old.affinity.is_none() && munged.affinity.as_deref() == Some(&Default::default()) {
                munged.affinity = None;
            }
        }
    }
    munged
}

fn container_updates(new: &[Container], old: &[Container], path: &Path<'_>) -> (ErrorList, bool) {
    if new.len() != old.len() {
        return (vec![Error::forbidden(path, "pod updates may not add or remove containers")], true);
    }
    let blank = new.iter().enumerate().filter(|(_, container)| container.image.trim().is_empty());
    (blank.map(|(index, _)| Error::required(&path.index(index).child("image"), "")).collect(), false)
}

/// A deadline may be set once and then only come closer.
fn deadline_update(new: Option<i64>, old: Option<i64>, path: &Path<'_>) -> Option<Error> {
    match (new, old) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            Some(Error::invalid(path, new, names::inclusive_range_error(0, i64::from(i32::MAX))))
        }
        (Some(new), Some(old)) if old < new => Some(Error::invalid(path, new, "must be less than or equal to previous value")),
        (None, Some(_)) => Some(Error::invalid(path, None::<i64>, "must not update from a positive integer to nil value")),
        _ => None,
    }
}

fn only_added_tolerations(new: &[Toleration], old: &[Toleration], path: &Path<'_>) -> ErrorList {
    for before in old {
        let kept =
            new.iter().any(|toleration| Toleration { toleration_seconds: toleration.toleration_seconds, ..before.clone() } == *toleration);
        if !kept {
            return vec![Error::forbidden(path, "existing toleration can not be modified except its tolerationSeconds")];
        }
    }
    tolerations(new, path)
}

/// A changed status.
pub fn validate_status_update(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
    let path = Path::new("status");
    if new.spec.node_name != old.spec.node_name {
        errors.push(Error::forbidden(&path.child("nodeName"), "may not be changed directly"));
    }
    if !new.status.nominated_node_name.is_empty() {
        let name = &new.status.nominated_node_name;
        let messages = names::is_dns1123_subdomain(name);
        crate::validation::extend_invalid(&mut errors, &path.child("nominatedNodeName"), name, messages);
    }
    // A container that has ended for good does not run again.
    let lists: [(&str, &List<ContainerStatus>, &List<ContainerStatus>); 2] = [
        ("containerStatuses", &new.status.container_statuses, &old.status.container_statuses),
        ("initContainerStatuses", &new.status.init_container_statuses, &old.status.init_container_statuses),
    ];
    for (name, new_list, old_list) in lists {
        if name == "containerStatuses" && new.spec.restart_policy == "Always" {
            continue;
        }
        errors.extend(no_resurrection(new, name, new_list, old_list, &path));
    }
    if !old.status.qos_class.is_empty() && new.status.qos_class != old.status.qos_class {
        errors.push(Error::invalid(&path.child("qosClass"), &new.status.qos_class, "field is immutable"));
    }
    let ips = path.child("podIPs");
    for (index, ip) in new.status.pod_ips.iter().enumerate() {
        errors.extend(apimachinery::validation::net::is_ip(&ips.index(index), &ip.ip));
    }
    errors
}

fn no_resurrection(pod: &Pod, name: &str, new: &[ContainerStatus], old: &[ContainerStatus], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let list = path.child(name);
    for (index, before) in old.iter().enumerate() {
        let Some(ended) = &before.state.terminated else { continue };
        let containers = pod.spec.containers.iter().chain(pod.spec.init_containers.iter());
        let own = containers.into_iter().find(|container| container.name == before.name);
        let own_rules = own.is_some_and(|container| container.restart_policy.is_some() || !container.restart_policy_rules.is_empty());
        if own_rules || ended.exit_code != 0 && pod.spec.restart_policy != "Never" {
            continue;
        }
        let now = new.iter().find(|status| status.name == before.name);
        if now.is_some_and(|status| status.state.terminated.is_none()) {
            let detail = "may not be transitioned to non-terminated state";
            errors.push(Error::forbidden(&list.index(index).child("state"), detail));
        }
    }
    errors
}

/// Changed resources: of cpu and memory, for containers that run on, and without changing the Pod's class of service.
pub fn validate_resize(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
    errors.extend(metadata_and_spec(new));
    let path = Path::new("spec");
    let before = if old.status.qos_class.is_empty() { qos::class(old) } else { old.status.qos_class.as_str() };
    let after = qos::class(new);
    if before != after {
        errors.push(Error::invalid(&path, after, "Pod QOS Class may not change as a result of resizing"));
    }
    let lists = [
        ("containers", &new.spec.containers, &old.spec.containers),
        ("initContainers", &new.spec.init_containers, &old.spec.init_containers),
    ];
    for (field, new, old) in lists {
        let list = path.child(field);
        for (index, (new, old)) in new.iter().zip(old.iter()).enumerate() {
            if same(&new.resources, &old.resources) {
                continue;
            }
            let item = list.index(index);
            let resources = item.child("resources");
            if field == "initContainers" && !is_sidecar(new) {
                errors.push(Error::forbidden(&resources, "resources of non-restartable init containers may not be resized"));
            }
            for (kind, new, old) in
                [("limits", &new.resources.limits, &old.resources.limits), ("requests", &new.resources.requests, &old.resources.requests)]
            {
                let path = resources.child(kind);
                let names = new.keys().chain(old.keys()).filter(|name| !matches!(*name, "cpu" | "memory"));
                let mut changed: Vec<&str> = names.filter(|name| new.get(name) != old.get(name)).collect();
                changed.dedup();
                for name in changed {
                    errors.push(Error::forbidden(&path.key(name), "only cpu and memory resources are mutable"));
                }
                for name in old.keys().filter(|name| matches!(*name, "cpu" | "memory") && !new.contains_key(name)) {
                    errors.push(Error::forbidden(&path.key(name), format!("resource {kind} cannot be removed")));
                }
            }
        }
    }
    errors
}

/// Changed ephemeral containers: they are added and stay as they are.
pub fn validate_ephemeral_containers_update(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
    errors.extend(metadata_and_spec(new));
    let spec = Path::new("spec");
    let path = spec.child("ephemeralContainers");
    for before in &old.spec.ephemeral_containers {
        let name = &before.ephemeral_container_common.name;
        let now =
            new.spec.ephemeral_containers.iter().enumerate().find(|(_, container)| container.ephemeral_container_common.name == *name);
        match now {
            None => errors.push(Error::forbidden(
                &path,
                format!("existing ephemeral containers {} may not be removed\n", apimachinery::gotext::quote(name)),
            )),
            Some((_, container)) if !same(container, before) => {
                errors.push(Error::forbidden(
                    &path,
                    format!("existing ephemeral containers {} may not be changed\n", apimachinery::gotext::quote(name)),
                ));
            }
            Some(_) => {}
        }
    }
    errors
}
