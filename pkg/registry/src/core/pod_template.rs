//! PodTemplates.

use api::core::v1::PodTemplate;
use apimachinery::validation::field::{ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use super::pod::normalize;
use crate::printers::labels_text;
use crate::validation::pod_template::validate as pod_template_spec;
use crate::validation::{object_meta, object_meta_update};
use crate::workloads::containers_and_images;

/// Rules of PodTemplates.
#[derive(Clone, Copy, Debug)]
pub struct PodTemplateStrategy;

impl Strategy for PodTemplateStrategy {
    type Object = PodTemplate;

    fn default_object(&self, template: &mut PodTemplate) {
        crate::defaults::generated::core_v1_pod_template(template);
        normalize::pod_spec(&mut template.template.spec);
    }

    fn prepare_for_create(&self, _: &RequestContext, template: &mut PodTemplate) {
        template.metadata.generation = 1;
    }

    fn validate(&self, _: &RequestContext, template: &PodTemplate) -> ErrorList {
        validate(template)
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut PodTemplate, old: &PodTemplate) {
        if new.template != old.template {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &PodTemplate, old: &PodTemplate) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(pod_template_spec(&new.template, &Path::new("template")));
        errors
    }

    fn table_cells(&self, template: &PodTemplate, _: Time) -> Option<Vec<Value>> {
        let (containers, images) = containers_and_images(&template.template.spec);
        let labels = labels_text(&template.template.metadata.labels);
        Some(vec![template.metadata.name.clone().into(), containers.into(), images.into(), labels.into()])
    }
}

fn validate(template: &PodTemplate) -> ErrorList {
    let mut errors = object_meta(&template.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
    errors.extend(pod_template_spec(&template.template, &Path::new("template")));
    errors
}
