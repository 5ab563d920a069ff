//! The I/O around the plan: what wakes a set, and how a plan is carried out.

use std::sync::Arc;
use std::time::Duration;

use api::core::v1::Pod;
use apimachinery::Time;
use client::{Api, Client};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use component_helpers::owners::{controller_of, controller_reference};
use informer::{Expectations, ObjectKey, Reconcile, Requeue, Store, WorkQueue};

use super::{Observed, Plan, Replicated, next_availability_change, next_status, plan};
use crate::context::{ControllerContext, StartError, Started};
use crate::owned;
use crate::pods::{self, PodControl};
use crate::shell::{WriteError, unless_stale};
use crate::wake;

pub(super) fn start<K: Replicated>(context: &ControllerContext, tasks: &mut Tasks, workers: usize) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let (sets, pods) = (sources.of::<K>(), sources.of::<Pod>());
    owned::index(&sets.store());
    owned::index(&pods.store());
    let queue = WorkQueue::new(K::CONTROLLER);
    let expectations = Arc::new(Expectations::new());
    sets.enqueue(&queue);
    wake::by_pods(&pods, sets.store(), |set: &K| set.selector().ok(), &queue, &expectations);
    let reconciler = ReplicaController::<K> {
        sets: sets.store(),
        pods: pods.store(),
        control: PodControl { client: context.client(K::ACCOUNT)?, recorder: context.recorder(K::CONTROLLER) },
        // Not held up by a burst of pods.
        statuses: context.client(K::ACCOUNT)?,
        expectations,
        clock: context.clock.clone(),
    };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, workers);
    Ok(Started::Running)
}

struct ReplicaController<K> {
    sets: Arc<Store<K>>,
    pods: Arc<Store<Pod>>,
    control: PodControl,
    statuses: Client,
    expectations: Arc<Expectations>,
    clock: Arc<dyn Clock>,
}

impl<K: Replicated> Reconcile for ReplicaController<K> {
    const NAME: &'static str = K::CONTROLLER;
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        unless_stale(key, &["update status of"], self.look(key).await)
    }
}

impl<K: Replicated> ReplicaController<K> {
    /// Look, plan, carry out. An error puts the key back with backoff; nothing is retried here.
    async fn look(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(set) = self.sets.get(key) else {
            self.expectations.forget(key); // Deleted while it was queued.
            return Ok(Requeue::OnChange);
        };
        // Asked before the caches are read: what is seen between the two would be counted twice.
        let may_write = self.expectations.met(key);
        let selector = match set.selector() {
            Ok(selector) => selector,
            Err(err) => {
                tracing::error!(object = %key, kind = K::KIND, err = %err, "error converting pod selector to selector");
                return Ok(Requeue::OnChange);
            }
        };
        let mut candidates = owned::owned_by(&self.pods, &set.metadata().uid);
        candidates.extend(owned::orphans(&self.pods, key.namespace()).into_iter().filter(|pod| component_helpers::pod::is_active(pod)));
        let claims = owned::claims(set.metadata(), &selector, candidates, |_| true);
        let pods = owned::settle(&self.control.client, &*set, claims).await?;
        let seen = Observed { set: &*set, pods: &pods, crowds: self.crowds(&set), now: Time::from(self.clock.now()) };

        // Until our own last writes show up in the cache, a plan would repeat them.
        let plan = if may_write { plan(&seen) } else { Plan::default() };
        let written = self.carry_out(key, &set, &plan).await;
        // A refused write becomes a condition, so the status is written in either case.
        let refused = written.as_ref().err().and_then(WriteError::client_error).map(ToString::to_string);
        if let Some(status) = next_status(&seen, &plan, refused.as_deref()) {
            let mut changed = (*set).clone();
            changed.set_status(status);
            let api = Api::<K>::namespaced(&self.statuses, key.namespace());
            api.update_status(&changed).await.map_err(|err| WriteError::new("update status of", owned::describe(&*set), err))?;
        }
        written?;
        Ok(next_availability_change(&seen).map_or(Requeue::OnChange, |seconds| Requeue::After(Duration::from_secs(seconds.unsigned_abs()))))
    }

    /// Live pods per node of this set and its siblings (of one Deployment, say).
    fn crowds(&self, set: &K) -> std::collections::HashMap<String, usize> {
        let related = match controller_of(set.metadata()) {
            Some(owner) => owned::owned_by(&self.sets, &owner.uid),
            None => Vec::new(),
        };
        let uids = related.iter().map(|sibling| &sibling.metadata().uid).filter(|uid| **uid != set.metadata().uid);
        let pods: Vec<_> = uids.chain([&set.metadata().uid]).flat_map(|uid| owned::owned_by(&self.pods, uid)).collect();
        pods::crowds(pods.iter())
    }

    async fn carry_out(&self, key: &ObjectKey, set: &Arc<K>, plan: &Plan) -> Result<(), WriteError> {
        if plan.create > 0 {
            return self.create(key, set, plan.create).await;
        }
        if plan.delete.is_empty() {
            return Ok(());
        }
        self.expectations.expect_deletions(key, plan.delete.iter().map(|(_, uid)| uid.clone()));
        let deletions = plan.delete.iter().cloned().map(|(name, uid)| {
            let (control, set, key, expectations) = (self.control.clone(), set.clone(), key.clone(), self.expectations.clone());
            async move {
                let deleted = control.delete(key.namespace(), &name, &uid, &*set).await;
                if deleted.is_err() {
                    expectations.deletion_observed(&key, &uid);
                }
                deleted.map_err(|err| WriteError::new("delete", format!("Pod {name:?}"), err))
            }
        });
        let (_, failed) = pods::all_at_once(deletions).await;
        failed.map_or(Ok(()), Err)
    }

    async fn create(&self, key: &ObjectKey, set: &Arc<K>, count: usize) -> Result<(), WriteError> {
        let Some(template) = set.template() else {
            return Err(WriteError::Invalid(format!("{} has no pod template", owned::describe(&**set))));
        };
        let pod = Arc::new(pods::from_template(template, key.namespace(), controller_reference(&**set)));
        self.expectations.expect_creations(key, count);
        let tried = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (_, failed) = pods::slow_start(count, |_| {
            let (control, pod, set, key) = (self.control.clone(), pod.clone(), set.clone(), key.clone());
            let (expectations, tried) = (self.expectations.clone(), tried.clone());
            async move {
                tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let made = control.create(&pod, &*set).await;
                if made.is_err() {
                    expectations.creation_observed(&key);
                }
                match made {
                    // All pods of a dying namespace are going; there is nothing to retry.
                    Err(err) if !err.is_namespace_terminating() => Err(WriteError::new("create", "Pod".to_string(), err)),
                    _ => Ok(()),
                }
            }
        })
        .await;
        self.expectations.creations_skipped(key, count - tried.load(std::sync::atomic::Ordering::Relaxed));
        failed.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use api::apps::v1::ReplicaSet;
    use apimachinery::json;
    use client::testing::{Answer, Seen, Server};
    use component_base::clock::SystemClock;
    use informer::Recorder;

    use super::*;

    fn set(replicas: i32) -> Arc<ReplicaSet> {
        let text = format!(
            r#"{{"metadata":{{"name":"web","namespace":"ns","uid":"u"}},"spec":{{"replicas":{replicas},
            "selector":{{"matchLabels":{{"app":"web"}}}},"template":{{"metadata":{{"labels":{{"app":"web"}}}}}}}}}}"#
        );
        Arc::new(json::from_slice(text.as_bytes()).unwrap())
    }

    /// A controller whose caches hold one set of 3, before a server that answers the creation of Pods with `pods`.
    async fn controller(pods: fn() -> Answer) -> (Server, ReplicaController<ReplicaSet>) {
        let server = Server::start(move |seen: &Seen| match seen.line().as_str() {
            "POST /api/v1/namespaces/ns/pods" => pods(),
            "PUT /apis/apps/v1/namespaces/ns/replicasets/web/status" => Answer::ok(seen.body.clone()),
            other => panic!("{other}"),
        })
        .await;
        let client = Client::new(&server.config()).unwrap();
        let (recorder, _) = Recorder::for_test();
        let controller = ReplicaController {
            sets: Store::new(),
            pods: Store::new(),
            control: PodControl { client: client.clone(), recorder },
            statuses: client,
            expectations: Arc::default(),
            clock: Arc::new(SystemClock),
        };
        owned::index(&controller.sets);
        owned::index(&controller.pods);
        controller.sets.put(set(3));
        (server, controller)
    }

    fn posts(server: &Server) -> usize {
        server.lines().iter().filter(|line| line.starts_with("POST")).count()
    }

    #[tokio::test]
    async fn a_stale_cache_makes_no_pod_twice() {
        let made = || Answer::json(201, r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-x","namespace":"ns","uid":"p"}}"#);
        let (server, controller) = controller(made).await;
        let key: ObjectKey = "ns/web".parse().unwrap();
        controller.reconcile(&key).await.unwrap();
        assert_eq!(posts(&server), 3);
        // The cache shows none of them yet.
        controller.reconcile(&key).await.unwrap();
        assert_eq!(posts(&server), 3);
        (0..3).for_each(|_| controller.expectations.creation_observed(&key));
        controller.reconcile(&key).await.unwrap();
        assert_eq!(posts(&server), 6);
    }

    #[tokio::test]
    async fn a_refused_pod_becomes_a_condition_and_is_tried_again() {
        let (server, controller) = controller(|| Answer::failure(403, "Forbidden", "exceeded quota")).await;
        let key: ObjectKey = "ns/web".parse().unwrap();
        assert!(controller.reconcile(&key).await.is_err());
        // One try in the first batch, and none after it failed.
        assert_eq!(posts(&server), 1);
        let seen = server.seen();
        let status = seen.iter().find(|seen| seen.path.ends_with("/status")).unwrap();
        let written: ReplicaSet = json::from_slice(&status.body).unwrap();
        assert_eq!(
            (written.status.conditions[0].reason.as_str(), written.status.conditions[0].message.as_str()),
            ("FailedCreate", "exceeded quota")
        );
        assert!(controller.expectations.met(&key));
    }

    #[tokio::test]
    async fn a_set_that_vanished_is_forgotten() {
        let (server, controller) = controller(|| Answer::failure(500, "InternalError", "unused")).await;
        let key: ObjectKey = "ns/web".parse().unwrap();
        controller.sets.remove(&key);
        controller.expectations.expect_creations(&key, 1);
        controller.reconcile(&key).await.unwrap();
        assert!(controller.expectations.met(&key) && server.lines().is_empty());
    }
}
