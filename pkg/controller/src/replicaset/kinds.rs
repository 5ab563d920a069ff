//! The two kinds, and their lines in the list of controllers.

use api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use api::core::v1::{PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus};
use apimachinery::labels::{Selector, SelectorError};

use super::shell::start;
use super::{Condition, Replicated, Status};
use crate::context::Registration;

pub const REPLICA_SET: Registration = Registration {
    name: "replicaset-controller",
    alias: Some("replicaset"),
    default_on: true,
    start: |context, tasks| start::<ReplicaSet>(context, tasks, context.settings.workers.replicaset),
};

pub const REPLICATION_CONTROLLER: Registration = Registration {
    name: "replicationcontroller-controller",
    alias: Some("replicationcontroller"),
    default_on: true,
    start: |context, tasks| start::<ReplicationController>(context, tasks, context.settings.workers.replicationcontroller),
};

impl Replicated for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";
    const ACCOUNT: &'static str = "replicaset-controller";

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn selector(&self) -> Result<Selector, SelectorError> {
        Selector::of_option(self.spec.selector.as_deref())
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        Some(&self.spec.template)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds
    }

    fn status(&self) -> Status {
        let ReplicaSetStatus {
            replicas,
            fully_labeled_replicas,
            ready_replicas,
            available_replicas,
            terminating_replicas,
            observed_generation,
            conditions,
        } = self.status.clone();
        let conditions = conditions.into_vec().into_iter().map(|it| Condition {
            type_: it.type_,
            status: it.status,
            last_transition_time: it.last_transition_time,
            reason: it.reason,
            message: it.message,
        });
        Status {
            replicas,
            fully_labeled_replicas,
            ready_replicas,
            available_replicas,
            terminating_replicas,
            observed_generation,
            conditions: conditions.collect(),
        }
    }

    fn set_status(&mut self, status: Status) {
        let conditions = status.conditions.into_iter().map(|it| ReplicaSetCondition {
            type_: it.type_,
            status: it.status,
            last_transition_time: it.last_transition_time,
            reason: it.reason,
            message: it.message,
        });
        self.status = ReplicaSetStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            terminating_replicas: status.terminating_replicas,
            observed_generation: status.observed_generation,
            conditions: conditions.collect(),
        };
    }
}

impl Replicated for ReplicationController {
    const CONTROLLER: &'static str = "replicationcontroller-controller";
    const ACCOUNT: &'static str = "replication-controller";

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn selector(&self) -> Result<Selector, SelectorError> {
        if self.spec.selector.is_empty() {
            return Ok(Selector::nothing());
        }
        Ok(Selector::from_set(self.spec.selector.iter().map(|(key, value)| (key, value.as_str()))))
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.template.as_deref()
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds
    }

    fn status(&self) -> Status {
        let ReplicationControllerStatus {
            replicas,
            fully_labeled_replicas,
            ready_replicas,
            available_replicas,
            observed_generation,
            conditions,
        } = self.status.clone();
        let conditions = conditions.into_vec().into_iter().map(|it| Condition {
            type_: it.type_,
            status: it.status,
            last_transition_time: it.last_transition_time,
            reason: it.reason,
            message: it.message,
        });
        Status {
            replicas,
            fully_labeled_replicas,
            ready_replicas,
            available_replicas,
            terminating_replicas: None,
            observed_generation,
            conditions: conditions.collect(),
        }
    }

    fn set_status(&mut self, status: Status) {
        let conditions = status.conditions.into_iter().map(|it| ReplicationControllerCondition {
            type_: it.type_,
            status: it.status,
            last_transition_time: it.last_transition_time,
            reason: it.reason,
            message: it.message,
        });
        self.status = ReplicationControllerStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions: conditions.collect(),
        };
    }
}
