//! A pod with what the cycle wants to know of it worked out once. Upstream: `PodInfo` of pkg/scheduler/framework.

use std::sync::Arc;

use api::core::v1::{Pod, PodAffinityTerm};
use apimachinery::Map;
use apimachinery::labels::{Operator, Requirement, Selector};
use apimachinery::meta::v1::LabelSelector;
use component_helpers::node_ports::{self, HostPort};

use crate::resources::{Amounts, nonzero_requests};

/// A pod and what follows from its spec. Never changes; a changed pod is a new one.
#[derive(Debug)]
pub struct PodInfo {
    pub pod: Arc<Pod>,
    pub requests: Amounts,
    /// Cpu and memory as scoring counts them.
    pub nonzero: (i64, i64),
    pub host_ports: Vec<HostPort>,
    pub required_affinity: Vec<AffinityTerm>,
    pub required_anti_affinity: Vec<AffinityTerm>,
    pub preferred_affinity: Vec<WeightedTerm>,
    pub preferred_anti_affinity: Vec<WeightedTerm>,
}

/// A term of pod affinity with its selectors parsed.
#[derive(Clone, Debug)]
pub struct AffinityTerm {
    pub namespaces: Vec<String>,
    pub namespace_selector: Selector,
    pub selector: Selector,
    pub topology_key: String,
}

#[derive(Clone, Debug)]
pub struct WeightedTerm {
    pub term: AffinityTerm,
    pub weight: i64,
}

impl PodInfo {
    pub fn new(pod: Arc<Pod>) -> Arc<PodInfo> {
        let affinity = pod.spec.affinity.as_ref();
        let with = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let against = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let required = |terms: Option<&[PodAffinityTerm]>| -> Vec<AffinityTerm> {
            terms.unwrap_or_default().iter().map(|term| AffinityTerm::of(term, &pod)).collect()
        };
        let preferred = |terms: Option<&[api::core::v1::WeightedPodAffinityTerm]>| -> Vec<WeightedTerm> {
            let weighted = |term: &api::core::v1::WeightedPodAffinityTerm| WeightedTerm {
                term: AffinityTerm::of(&term.pod_affinity_term, &pod),
                weight: i64::from(term.weight),
            };
            terms.unwrap_or_default().iter().map(weighted).collect()
        };
        Arc::new(PodInfo {
            requests: Amounts::requested_by(&pod),
            nonzero: nonzero_requests(&pod),
            host_ports: node_ports::host_ports(&pod),
            required_affinity: required(with.map(|with| &*with.required_during_scheduling_ignored_during_execution)),
            required_anti_affinity: required(against.map(|against| &*against.required_during_scheduling_ignored_during_execution)),
            preferred_affinity: preferred(with.map(|with| &*with.preferred_during_scheduling_ignored_during_execution)),
            preferred_anti_affinity: preferred(against.map(|against| &*against.preferred_during_scheduling_ignored_during_execution)),
            pod,
        })
    }

    pub fn uid(&self) -> &str {
        &self.pod.metadata.uid
    }

    pub fn namespace(&self) -> &str {
        &self.pod.metadata.namespace
    }

    pub fn labels(&self) -> &Map<String> {
        &self.pod.metadata.labels
    }

    pub fn priority(&self) -> i32 {
        component_helpers::pod::priority(&self.pod)
    }

    /// `namespace/name`, for people.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.pod.metadata.namespace, self.pod.metadata.name)
    }

    pub fn is_being_deleted(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// True if the pod has any term of pod affinity or anti-affinity.
    pub fn has_affinity(&self) -> bool {
        !(self.required_affinity.is_empty()
            && self.required_anti_affinity.is_empty()
            && self.preferred_affinity.is_empty()
            && self.preferred_anti_affinity.is_empty())
    }

    /// The names of the claims that the pod's volumes use, those made for its ephemeral volumes included.
    pub fn claim_names(&self) -> impl Iterator<Item = ClaimName> {
        self.pod.spec.volumes.iter().filter_map(|volume| {
            let source = &volume.volume_source;
            match (&source.persistent_volume_claim, &source.ephemeral) {
                (Some(claim), _) => Some(ClaimName { name: claim.claim_name.clone(), ephemeral: false }),
                (None, Some(_)) => Some(ClaimName { name: format!("{}-{}", self.pod.metadata.name, volume.name), ephemeral: true }),
                (None, None) => None,
            }
        })
    }
}

/// A claim that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName {
    pub name: String,
    /// Made for this pod alone, which must own it.
    pub ephemeral: bool,
}

impl AffinityTerm {
    /// `pod` is whose term it is. A selector that cannot be parsed selects nothing.
    pub fn of(term: &PodAffinityTerm, pod: &Pod) -> AffinityTerm {
        let namespaces: Vec<String> = term.namespaces.to_vec();
        let namespaces = match namespaces.is_empty() && term.namespace_selector.is_none() {
            true => vec![pod.metadata.namespace.clone()],
            false => namespaces,
        };
        let labels = &pod.metadata.labels;
        let mut selector = selector_of(term.label_selector.as_deref());
        if term.label_selector.is_some() {
            selector = with_label_keys(selector, &term.match_label_keys, labels, Operator::In);
            selector = with_label_keys(selector, &term.mismatch_label_keys, labels, Operator::NotIn);
        }
        AffinityTerm {
            namespaces,
            namespace_selector: selector_of(term.namespace_selector.as_deref()),
            selector,
            topology_key: term.topology_key.clone(),
        }
    }

    /// True if `pod`, whose namespace has these labels, is one that the term speaks of.
    pub fn matches(&self, pod: &PodInfo, namespace_labels: &Map<String>) -> bool {
        let namespace =
            self.namespaces.iter().any(|namespace| namespace == pod.namespace()) || self.namespace_selector.matches(namespace_labels);
        namespace && self.selector.matches(pod.labels())
    }
}

/// The selector as parsed; nothing if there is none or it is invalid.
pub fn selector_of(selector: Option<&LabelSelector>) -> Selector {
    Selector::of_option(selector).unwrap_or_else(|_| Selector::nothing())
}

/// Demands (or, with `NotIn`, forbids) the values that `labels` has for `keys`. The API server has mostly done so already;
/// demanding twice changes nothing.
pub fn with_label_keys(selector: Selector, keys: &[String], labels: &Map<String>, operator: Operator) -> Selector {
    if keys.is_empty() || selector.is_nothing() {
        return selector;
    }
    let mut requirements = selector.requirements().to_vec();
    for key in keys {
        if let Some(value) = labels.get(key)
            && let Ok(requirement) = Requirement::new(key.clone(), operator, vec![value.clone()])
        {
            requirements.push(requirement);
        }
    }
    Selector::new(requirements)
}
