//! Rules of Services and of their status.

use api::core::v1::{Service, ServiceStatus};
use apimachinery::validation::field::ErrorList;
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use super::{cells, updates};
use crate::core::validation::service as validation;

/// Rules of Services.
#[derive(Clone, Copy, Debug)]
pub struct ServiceStrategy;

impl Strategy for ServiceStrategy {
    type Object = Service;

    fn default_object(&self, service: &mut Service) {
        crate::defaults::generated::core_v1_service(service);
    }

    fn prepare_for_create(&self, _: &RequestContext, service: &mut Service) {
        service.status = ServiceStatus::default();
    }

    fn validate(&self, _: &RequestContext, service: &Service) -> ErrorList {
        validation::validate(service)
    }

    fn warnings_on_create(&self, _: &RequestContext, service: &Service) -> Vec<String> {
        validation::warnings(service)
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Service, old: &Service) {
        new.status.clone_from(&old.status);
        updates::drop_unused(new, old);
    }

    fn validate_update(&self, _: &RequestContext, new: &Service, old: &Service) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn warnings_on_update(&self, _: &RequestContext, new: &Service, _: &Service) -> Vec<String> {
        validation::warnings(new)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn selectable_fields(&self, service: &Service) -> Vec<(&'static str, String)> {
        vec![("spec.clusterIP", service.spec.cluster_ip.clone()), ("spec.type", service.spec.type_.clone())]
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::name_is_dns1035_label(name, prefix)
    }

    fn table_cells(&self, service: &Service, now: Time) -> Option<Vec<Value>> {
        Some(cells::cells(service, now))
    }
}

/// Rules of a Service's status.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = Service;

    fn default_object(&self, service: &mut Service) {
        ServiceStrategy.default_object(service);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Service, old: &Service) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_update(&self, _: &RequestContext, new: &Service, old: &Service) -> ErrorList {
        validation::validate_status_update(new, old)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, service: &Service, now: Time) -> Option<Vec<Value>> {
        Some(cells::cells(service, now))
    }
}
