//! From the informers' events to the [`Collector`].

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use api::core::v1::{Node, Service};
use api::discovery::v1::EndpointSlice;
use api::networking::v1::ServiceCIDR;
use apimachinery::MicroTime;
use client::{Api, Client, ListParams};
use informer::{Event, Informer, InformerOptions};
use ipnetwork::IpNetwork;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::changes::Collector;
use crate::convert;
use crate::service::{Family, NodeInfo, ServiceName};

/// Neither for another proxy nor without a cluster IP: the server need not even send those.
const SELECTOR: &str = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";

/// When the cause of a change of endpoints happened.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Rest before a server that has no ServiceCIDRs is asked again.
const NEXT_LOOK: Duration = Duration::from_secs(300);

/// The informers that the proxy needs.
pub struct Watches {
    client: Client,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    node: Informer<Node>,
    service_cidrs: Informer<ServiceCIDR>,
    /// Whether it is known if the server has ServiceCIDRs, and then which.
    has_looked: watch::Sender<bool>,
}

impl Watches {
    /// Connects the informers with the collector. `bind_address` comes before the node's other addresses.
    pub fn new(client: &Client, node_name: &str, bind_address: Option<IpAddr>, collector: &Collector) -> Self {
        let services = Informer::with(
            Api::<Service>::all(client),
            InformerOptions {
                label_selector: Some(SELECTOR.to_owned()),
                transform: Some(Box::new(|service| {
                    service.metadata.managed_fields.clear();
                    service.metadata.annotations.clear();
                    service.metadata.owner_references.clear();
                })),
                ..InformerOptions::default()
            },
        );
        let slices = Informer::with(
            Api::<EndpointSlice>::all(client),
            InformerOptions {
                label_selector: Some(SELECTOR.to_owned()),
                transform: Some(Box::new(|slice| {
                    slice.metadata.managed_fields.clear();
                    slice.metadata.annotations.retain(|name, _| name == TRIGGER_TIME);
                    slice.metadata.owner_references.clear();
                    // Who an endpoint is does not matter to a packet.
                    slice.endpoints.iter_mut().for_each(|endpoint| endpoint.target_ref = None);
                })),
                ..InformerOptions::default()
            },
        );
        let node = Informer::with(
            Api::<Node>::all(client),
            InformerOptions {
                field_selector: Some(format!("metadata.name={node_name}")),
                transform: Some(Box::new(|node| {
                    node.metadata.managed_fields.clear();
                    node.metadata.annotations.clear();
                    node.status.images.clear();
                })),
                ..InformerOptions::default()
            },
        );

        let to = collector.clone();
        services.on_event(move |event| {
            let object = event.object();
            let name = ServiceName::new(&object.metadata.namespace, &object.metadata.name);
            let service = match event {
                Event::Deleted(_) => None,
                _ => convert::service(object),
            };
            to.service(name, service);
        });
        let (to, own_name) = (collector.clone(), node_name.to_owned());
        slices.on_event(move |event| {
            let object = event.object();
            let name = (object.metadata.namespace.clone(), object.metadata.name.clone());
            match event {
                Event::Deleted(_) => to.slice(name, None, None),
                Event::Updated { old, new } if old.endpoints == new.endpoints && old.ports == new.ports => {}
                _ => to.slice(name, convert::slice(object, &own_name), trigger_time(object)),
            }
        });
        let (to, own_name) = (collector.clone(), node_name.to_owned());
        node.on_event(move |event| match event {
            // Its rules stay, but load balancers should send nothing more.
            Event::Deleted(node) => to.node(NodeInfo { is_leaving: true, ..node_info(node, bind_address) }),
            _ if event.object().metadata.name == own_name => to.node(node_info(event.object(), bind_address)),
            _ => {}
        });
        let service_cidrs = Informer::new(Api::<ServiceCIDR>::all(client));
        let (to, store) = (collector.clone(), service_cidrs.store());
        service_cidrs.on_event(move |_| {
            let all = store.list();
            let cidrs = all.iter().flat_map(|object| object.spec.cidrs.iter());
            let mut cidrs: Vec<IpNetwork> = cidrs.filter_map(|cidr| cidr.parse().ok()).collect();
            cidrs.sort();
            to.service_cidrs(cidrs);
        });
        Self { client: client.clone(), services, slices, node, service_cidrs, has_looked: watch::Sender::new(false) }
    }

    /// Follows the API server until `stop` fires.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(
            self.services.run(stop.clone()),
            self.slices.run(stop.clone()),
            self.node.run(stop.clone()),
            self.follow_service_cidrs(stop),
        );
    }

    /// A server may have no ServiceCIDRs, and Services work without. So this looks first, and again later.
    async fn follow_service_cidrs(&self, stop: CancellationToken) {
        let api = Api::<ServiceCIDR>::all(&self.client);
        let look = async {
            while let Err(error) = api.list(&ListParams { limit: 1, ..ListParams::default() }).await {
                tracing::debug!(err = %error, "Cannot list ServiceCIDRs");
                self.has_looked.send_replace(true);
                tokio::time::sleep(NEXT_LOOK).await;
            }
        };
        // Both arms are cancel-safe.
        tokio::select! {
            () = stop.cancelled() => return,
            () = look => {}
        }
        let synced = async {
            self.service_cidrs.wait_for_sync().await;
            self.has_looked.send_replace(true);
        };
        tokio::join!(self.service_cidrs.run(stop.clone()), async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = synced => {}
            }
        });
    }

    /// Waits until the collector has everything that there is. Cancel-safe.
    pub async fn wait_for_sync(&self) {
        self.services.wait_for_sync().await;
        self.slices.wait_for_sync().await;
        self.node.wait_for_sync().await;
        // The sender lives as long as `self`.
        drop(self.has_looked.subscribe().wait_for(|has_looked| *has_looked).await);
    }
}

fn trigger_time(slice: &EndpointSlice) -> Option<SystemTime> {
    let text = slice.metadata.annotations.get(TRIGGER_TIME)?;
    let micros = text.parse::<MicroTime>().ok()?.unix_micros();
    Some(SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).ok()?))
}

fn node_info(node: &Node, bind_address: Option<IpAddr>) -> NodeInfo {
    let mut info = convert::node(node);
    override_primary(&mut info, bind_address);
    info
}

/// Makes `address` the primary one of its family.
pub fn override_primary(info: &mut NodeInfo, address: Option<IpAddr>) {
    if let Some(address) = address {
        info.ips.retain(|ip| Family::of(*ip) != Family::of(address));
        info.ips.insert(0, address);
    }
}
