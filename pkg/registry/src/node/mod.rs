//! The node.k8s.io group. Upstream: pkg/registry/node, pkg/apis/node.

use api::node::v1::RuntimeClass;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::{ResourceDef, Strategy};

use crate::printers::age;
use crate::validation::{immutable, object_meta, object_meta_update};

/// The group's resources.
pub fn resources() -> Vec<ResourceDef> {
    vec![ResourceDef::stored(RuntimeClassStrategy)]
}

/// Rules of RuntimeClasses.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeClassStrategy;

impl Strategy for RuntimeClassStrategy {
    type Object = RuntimeClass;

    fn default_object(&self, class: &mut RuntimeClass) {
        if let Some(scheduling) = &mut class.scheduling {
            scheduling.tolerations.normalize_empty();
        }
    }

    fn validate(&self, _: &RequestContext, class: &RuntimeClass) -> ErrorList {
        let mut errors = object_meta(&class.metadata, false, names::name_is_dns_subdomain, &Path::new("metadata"));
        let handler = Path::new("handler");
        errors.extend(
            names::name_is_dns_label(&class.handler, false).into_iter().map(|message| Error::invalid(&handler, &class.handler, message)),
        );
        if let Some(overhead) = &class.overhead {
            let path = Path::new("overhead");
            let fixed = path.child("podFixed");
            for (name, amount) in &overhead.pod_fixed {
                if amount.is_negative() {
                    errors.push(Error::invalid(&fixed.key(name), amount.to_string(), "must be greater than or equal to 0"));
                }
            }
        }
        if let Some(scheduling) = &class.scheduling {
            let path = Path::new("scheduling");
            errors.extend(crate::validation::labels(&scheduling.node_selector, &path.child("nodeSelector")));
        }
        errors
    }

    fn validate_update(&self, _: &RequestContext, new: &RuntimeClass, old: &RuntimeClass) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(immutable(&new.handler, &old.handler, &Path::new("handler"), &new.handler));
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn table_cells(&self, class: &RuntimeClass, now: Time) -> Option<Vec<Value>> {
        Some(vec![class.metadata.name.clone().into(), class.handler.clone().into(), age(class.metadata.creation_timestamp, now)])
    }
}
