//! resourcequota-controller: counts what a namespace uses of what its ResourceQuotas limit.
//!
//! Admission charges every change to a quota's status as it happens; this controller fills that status in the first place and
//! gives back what was deleted. Reads Pods, Services, PersistentVolumeClaims and the metadata of whatever else quotas count;
//! writes ResourceQuota status. Upstream: pkg/controller/resourcequota, pkg/quota/v1.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use apimachinery::gvk::GroupVersionResource;
use apimachinery::meta::v1::PartialObjectMetadata;
use apimachinery::{Map, Object, Quantity, Resource};
use client::{Api, Client, Discovery};
use component_base::tasks::Tasks;
use component_helpers::quota::{Usage, in_scope, usage};
use informer::{Event, Informer, Informers, ObjectKey, Reconcile, Requeue, Store, WorkQueue};
use parking_lot::Mutex;

use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const REGISTRATION: Registration =
    Registration { name: "resourcequota-controller", alias: Some("resourcequota"), default_on: true, start };

/// How soon to look again at a quota whose kinds are still being listed.
const NOT_SYNCED: Duration = Duration::from_millis(500);

/// The kinds a quota counts of which only the number matters, and which nobody else caches whole.
pub fn counted_kinds(quota: &ResourceQuota) -> BTreeSet<(String, String)> {
    let kind = |name: &str| match name {
        "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => Some((String::new(), name.to_string())),
        _ => {
            let counted = name.strip_prefix("count/")?;
            let (resource, group) = counted.split_once('.').unwrap_or((counted, ""));
            let cached = group.is_empty() && matches!(resource, "pods" | "services" | "persistentvolumeclaims");
            (!cached).then(|| (group.to_string(), resource.to_string()))
        }
    };
    quota.spec.hard.keys().filter_map(kind).collect()
}

/// Sums up, for the names the quota limits, what objects in its scope use.
#[derive(Debug)]
pub struct Sum<'a> {
    quota: &'a ResourceQuota,
    used: Map<Quantity>,
}

impl<'a> Sum<'a> {
    pub fn of(quota: &'a ResourceQuota) -> Sum<'a> {
        Sum { quota, used: quota.spec.hard.keys().map(|name| (name, Quantity::default())).collect() }
    }

    pub fn add(&mut self, group: &str, resource: &str, object: &dyn Object) {
        if !in_scope(self.quota, object) {
            return;
        }
        let amounts: Usage = usage(group, resource, object);
        for (name, amount) in amounts {
            if let Some(sum) = self.used.get_mut(&name) {
                sum.add(&amount);
            }
        }
    }

    /// The quota with its status put right; `None` if it is.
    pub fn next(self) -> Option<ResourceQuota> {
        let status = &self.quota.status;
        let same = |left: &Map<Quantity>, right: &Map<Quantity>| {
            left.len() == right.len() && left.iter().all(|(name, amount)| right.get(name).is_some_and(|other| amount.cmp(other).is_eq()))
        };
        if same(&status.hard, &self.quota.spec.hard) && same(&status.used, &self.used) {
            return None;
        }
        let mut next = self.quota.clone();
        next.status.hard = self.quota.spec.hard.clone();
        next.status.used = self.used;
        Some(next)
    }
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let quotas = sources.of::<ResourceQuota>();
    let pods = sources.of::<Pod>();
    let services = sources.of::<Service>();
    let claims = sources.of::<PersistentVolumeClaim>();
    let queue = WorkQueue::new("resourcequota_primary");
    let changed = queue.clone();
    quotas.on_event(move |event| {
        // Also where admission charged something: it may have charged for what was refused later.
        let unchanged = matches!(event, Event::Updated { old, new } if old.spec == new.spec && old.status == new.status);
        if !unchanged {
            changed.add(event.key());
        }
    });
    replenish(&pods, quotas.store(), queue.clone(), "pods");
    replenish(&services, quotas.store(), queue.clone(), "services");
    replenish(&claims, quotas.store(), queue.clone(), "persistentvolumeclaims");
    let client = context.client("resourcequota-controller")?;
    let reconciler = Quotas {
        quotas: quotas.store(),
        pods: pods.store(),
        services: services.store(),
        claims: claims.store(),
        counted: Mutex::default(),
        informers: context.informers().clone(),
        queue: queue.clone(),
        api: Api::all(&client),
        client,
        period: context.settings.resource_quota_sync_period,
    };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, context.settings.workers.resource_quota);
    Ok(Started::Running)
}

/// Looks at a namespace's quotas when an object there goes or uses another amount. What is new, admission has charged.
fn replenish<K: Resource>(informer: &Informer<K>, quotas: Arc<Store<ResourceQuota>>, queue: WorkQueue, resource: &'static str) {
    informer.on_event(move |event| {
        let counts = match event {
            Event::Deleted(_) => true,
            Event::Updated { old, new } => usage("", resource, old.as_ref()) != usage("", resource, new.as_ref()),
            Event::Added(_) => false,
        };
        if counts {
            for quota in quotas.in_namespace(&event.object().metadata().namespace) {
                queue.add(ObjectKey::of_metadata(&quota.metadata));
            }
        }
    });
}

type Counted = HashMap<(String, String), Informer<PartialObjectMetadata>>;

struct Quotas {
    quotas: Arc<Store<ResourceQuota>>,
    pods: Arc<Store<Pod>>,
    services: Arc<Store<Service>>,
    claims: Arc<Store<PersistentVolumeClaim>>,
    /// Watches of further kinds, opened when the first quota asks for one.
    counted: Mutex<Counted>,
    informers: Informers,
    queue: WorkQueue,
    api: Api<ResourceQuota>,
    client: Client,
    period: Duration,
}

impl Quotas {
    /// Watches of these kinds. A kind that is not served has no objects, and may have some later.
    async fn watches(&self, kinds: &BTreeSet<(String, String)>) -> Result<Counted, WriteError> {
        let missing: Vec<&(String, String)> = {
            let counted = self.counted.lock();
            kinds.iter().filter(|kind| !counted.contains_key(*kind)).collect()
        };
        if !missing.is_empty() {
            let discovery = Discovery::fetch(&self.client).await;
            let discovery = discovery.map_err(|err| WriteError::new("list", "the server's kinds", err))?;
            for kind in missing {
                let served = discovery.preferred().into_iter().find(|known| known.group == kind.0 && known.resource == kind.1);
                if let Some(known) = served.filter(|known| known.namespaced && known.can("list") && known.can("watch")) {
                    self.open(kind, &known.gvr());
                }
            }
        }
        let counted = self.counted.lock();
        Ok(kinds.iter().filter_map(|kind| Some((kind.clone(), counted.get(kind)?.clone()))).collect())
    }

    fn open(&self, kind: &(String, String), resource: &GroupVersionResource) {
        let mut counted = self.counted.lock();
        if counted.contains_key(kind) {
            return;
        }
        let informer = self.informers.metadata(resource);
        let (quotas, queue, kind) = (self.quotas.clone(), self.queue.clone(), kind.clone());
        let counts = kind.clone();
        informer.on_event(move |event| {
            if matches!(event, Event::Deleted(_)) {
                let concerned = |quota: &&Arc<ResourceQuota>| counted_kinds(quota).contains(&counts);
                for quota in quotas.in_namespace(&event.object().metadata.namespace).iter().filter(concerned) {
                    queue.add(ObjectKey::of_metadata(&quota.metadata));
                }
            }
        });
        counted.insert(kind, informer);
    }
}

impl Reconcile for Quotas {
    const NAME: &'static str = "resourcequota-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(quota) = self.quotas.get(key) else { return Ok(Requeue::OnChange) };
        let watches = self.watches(&counted_kinds(&quota)).await?;
        if !watches.values().all(Informer::has_synced) {
            return Ok(Requeue::After(NOT_SYNCED));
        }
        let next = {
            let mut sum = Sum::of(&quota);
            let namespace = key.namespace();
            self.pods.in_namespace(namespace).iter().for_each(|pod| sum.add("", "pods", pod.as_ref()));
            self.services.in_namespace(namespace).iter().for_each(|service| sum.add("", "services", service.as_ref()));
            self.claims.in_namespace(namespace).iter().for_each(|claim| sum.add("", "persistentvolumeclaims", claim.as_ref()));
            for ((group, resource), informer) in &watches {
                for object in informer.store().in_namespace(namespace) {
                    sum.add(group, resource, object.as_ref());
                }
            }
            sum.next()
        };
        if let Some(next) = next {
            match self.api.within(key.namespace()).update_status(&next).await {
                Err(err) if !err.is_not_found() => {
                    return Err(WriteError::new("update the status of", format!("resource quota \"{key}\""), err));
                }
                _ => {}
            }
        }
        Ok(Requeue::After(self.period))
    }
}

#[cfg(test)]
mod tests {
    use api::core::v1::Container;
    use apimachinery::meta::v1::PartialObjectMetadata;

    use super::*;

    fn quota(hard: &[(&str, &str)]) -> ResourceQuota {
        let mut quota = ResourceQuota::default();
        quota.spec.hard = hard.iter().map(|(name, amount)| (*name, amount.parse().unwrap())).collect();
        quota
    }

    fn pod(cpu: &str, phase: &str) -> Pod {
        let mut pod = Pod::default();
        let mut container = Container::default();
        container.resources.requests.insert("cpu", cpu.parse().unwrap());
        pod.spec.containers.push(container);
        pod.status.phase = phase.into();
        pod
    }

    #[test]
    fn what_is_limited_is_summed() {
        let quota = quota(&[("pods", "5"), ("requests.cpu", "2"), ("services", "1"), ("count/deployments.apps", "3"), ("secrets", "1")]);
        let mut sum = Sum::of(&quota);
        sum.add("", "pods", &pod("250m", "Running"));
        sum.add("", "pods", &pod("500m", "Pending"));
        sum.add("", "pods", &pod("500m", "Succeeded"));
        sum.add("apps", "deployments", &PartialObjectMetadata::default());
        let next = sum.next().unwrap();
        let used: Vec<String> = next.status.used.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        assert_eq!(used, ["count/deployments.apps=1", "pods=2", "requests.cpu=750m", "secrets=0", "services=0"]);
        assert_eq!(next.status.hard, quota.spec.hard);

        let mut again = Sum::of(&next);
        again.add("", "pods", &pod("250m", "Running"));
        again.add("", "pods", &pod("500m", "Pending"));
        again.add("apps", "deployments", &PartialObjectMetadata::default());
        assert_eq!(again.next(), None, "counting again changes nothing");
    }

    #[test]
    fn scopes_leave_objects_out() {
        let mut quota = quota(&[("pods", "5")]);
        quota.spec.scopes.push("BestEffort".to_string());
        let mut sum = Sum::of(&quota);
        sum.add("", "pods", &pod("250m", "Running"));
        sum.add("", "pods", &Pod::default());
        assert_eq!(sum.next().unwrap().status.used.get("pods").map(Quantity::value), Some(1));
    }

    #[test]
    fn kinds_that_nobody_caches_are_found_in_the_limits() {
        let quota = quota(&[("count/deployments.apps", "1"), ("count/pods", "1"), ("secrets", "1"), ("cpu", "1")]);
        let kinds: Vec<String> = counted_kinds(&quota).iter().map(|(group, resource)| format!("{group}/{resource}")).collect();
        assert_eq!(kinds, ["/secrets", "apps/deployments"]);
    }
}
