//! The scheduling.k8s.io group. Upstream: pkg/registry/scheduling, pkg/apis/scheduling.

use api::scheduling::v1::PriorityClass;
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::{ResourceDef, Strategy};

use crate::printers::age;
use crate::validation::{immutable, object_meta, object_meta_update};

/// The group's resources.
pub fn resources() -> Vec<ResourceDef> {
    vec![ResourceDef::stored(PriorityClassStrategy)]
}

/// Classes that every cluster has: name and value.
pub const SYSTEM_CLASSES: [(&str, i32); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// Users' classes stay at or below this value.
const HIGHEST_USER_VALUE: i32 = 1_000_000_000;

/// Rules of PriorityClasses.
#[derive(Clone, Copy, Debug)]
pub struct PriorityClassStrategy;

impl Strategy for PriorityClassStrategy {
    type Object = PriorityClass;

    fn default_object(&self, class: &mut PriorityClass) {
        crate::defaults::generated::scheduling_v1_priority_class(class);
    }

    fn prepare_for_create(&self, _: &RequestContext, class: &mut PriorityClass) {
        class.metadata.generation = 1;
    }

    fn validate(&self, _: &RequestContext, class: &PriorityClass) -> ErrorList {
        let meta = Path::new("metadata");
        let mut errors = object_meta(&class.metadata, false, names::name_is_dns_subdomain, &meta);
        let name = &class.metadata.name;
        if name.starts_with("system-") {
            let known = SYSTEM_CLASSES.iter().any(|(system, value)| system == name && *value == class.value && !class.global_default);
            if !known {
                errors.push(Error::forbidden(
                    &meta.child("name"),
                    "priority class names with 'system-' prefix are reserved for system use only. error: ".to_owned() + &problem(class),
                ));
            }
        } else if class.value > HIGHEST_USER_VALUE {
            errors.push(Error::forbidden(
                &Path::new("value"),
                format!("maximum allowed value of a user defined priority is {HIGHEST_USER_VALUE}"),
            ));
        }
        if let Some(policy) = &class.preemption_policy {
            errors.extend(preemption_policy(policy));
        }
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, _: &mut PriorityClass, _: &PriorityClass) {}

    fn validate_update(&self, _: &RequestContext, new: &PriorityClass, old: &PriorityClass) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        if new.value != old.value {
            errors.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        let shown = BadValue::from(new.preemption_policy.clone());
        errors.extend(immutable(&new.preemption_policy, &old.preemption_policy, &Path::new("preemptionPolicy"), shown));
        errors
    }

    fn table_cells(&self, class: &PriorityClass, now: Time) -> Option<Vec<Value>> {
        Some(vec![
            class.metadata.name.clone().into(),
            i64::from(class.value).into(),
            Value::Bool(class.global_default),
            age(class.metadata.creation_timestamp, now),
            class.preemption_policy.clone().unwrap_or_default().into(),
        ])
    }
}

/// Why a class with a reserved name is not the system's own.
fn problem(class: &PriorityClass) -> String {
    match SYSTEM_CLASSES.iter().find(|(name, _)| *name == class.metadata.name) {
        None => format!("{} is not a known system priority class", class.metadata.name),
        Some((name, value)) if *value != class.value => format!("value of {name} PriorityClass must be {value}"),
        Some((name, _)) => format!("globalDefault of {name} PriorityClass must be false"),
    }
}

fn preemption_policy(policy: &str) -> ErrorList {
    let path = Path::new("preemptionPolicy");
    match policy {
        "PreemptLowerPriority" | "Never" => ErrorList::new(),
        "" => vec![Error::required(&path, "")],
        other => vec![Error::not_supported(&path, other, &["Never", "PreemptLowerPriority"])],
    }
}
