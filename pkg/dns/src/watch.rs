//! From the informers' events to the zone.

use std::sync::Arc;

use api::core::v1::{Namespace, Service};
use api::discovery::v1::EndpointSlice;
use client::{Api, Client};
use informer::{Event, Informer, InformerOptions};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::convert;
use crate::zone::Zone;

/// The informers that the zone needs.
pub struct Watches {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    namespaces: Informer<Namespace>,
}

impl Watches {
    /// Connects the informers with the zone.
    pub fn new(client: &Client, zone: &Arc<RwLock<Zone>>) -> Self {
        let services = Informer::with(
            Api::<Service>::all(client),
            InformerOptions {
                transform: Some(Box::new(|service| {
                    service.metadata.managed_fields.clear();
                    service.metadata.annotations.clear();
                    service.metadata.labels.clear();
                    service.metadata.owner_references.clear();
                    service.spec.selector.clear();
                })),
                ..InformerOptions::default()
            },
        );
        let slices = Informer::with(
            Api::<EndpointSlice>::all(client),
            InformerOptions {
                transform: Some(Box::new(|slice| {
                    slice.metadata.managed_fields.clear();
                    slice.metadata.annotations.clear();
                    slice.metadata.owner_references.clear();
                    slice.endpoints.iter_mut().for_each(|endpoint| endpoint.target_ref = None);
                })),
                ..InformerOptions::default()
            },
        );
        let namespaces = Informer::with(
            Api::<Namespace>::all(client),
            InformerOptions {
                transform: Some(Box::new(|namespace| {
                    namespace.metadata.managed_fields.clear();
                    namespace.metadata.annotations.clear();
                    namespace.metadata.labels.clear();
                })),
                ..InformerOptions::default()
            },
        );

        let to = zone.clone();
        services.on_event(move |event| {
            let object = event.object();
            let record = match event {
                Event::Deleted(_) => None,
                _ => convert::service(object),
            };
            to.write().set_service(&object.metadata.namespace, &object.metadata.name, record);
        });
        let to = zone.clone();
        slices.on_event(move |event| {
            let object = event.object();
            let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
            let new = match event {
                Event::Deleted(_) => None,
                _ => convert::slice(object),
            };
            // A slice may be given to another Service, or taken from its own.
            let old = match event {
                Event::Updated { old, .. } | Event::Deleted(old) => convert::slice(old).map(|(service, _)| service),
                Event::Added(_) => None,
            };
            let mut zone = to.write();
            if let Some(service) = old.filter(|old| new.as_ref().is_none_or(|(service, _)| service != old)) {
                zone.set_slice(namespace, service, name, None);
            }
            if let Some((service, record)) = new {
                zone.set_slice(namespace, service, name, Some(record));
            }
        });
        let to = zone.clone();
        namespaces.on_event(move |event| {
            let exists = !matches!(event, Event::Deleted(_));
            to.write().set_namespace(&event.object().metadata.name, exists);
        });
        Self { services, slices, namespaces }
    }

    /// Follows the API server until `stop` fires.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.services.run(stop.clone()), self.slices.run(stop.clone()), self.namespaces.run(stop));
    }

    /// Waits until the zone has everything that there is. Cancel-safe.
    pub async fn wait_for_sync(&self) {
        self.services.wait_for_sync().await;
        self.slices.wait_for_sync().await;
        self.namespaces.wait_for_sync().await;
    }
}
