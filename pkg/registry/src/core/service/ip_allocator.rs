//! Cluster IPs: an address is taken by creating an IPAddress object of its name, and given back by deleting that. Upstream: ipallocator.

use std::net::IpAddr;
use std::sync::Arc;

use api::core::v1::Service;
use api::networking::v1::{IPAddress, ParentReference, ServiceCIDR};
use apimachinery::Map;
use apimachinery::meta::v1::ObjectMeta;
use apimachinery::names::random_u64;
use apimachinery::status::StatusError;
use apiserver::objects::Objects;
use storage::{Expect, Store};

use super::IpRange;
use super::ip_range::family;
use crate::config::LateObjects;

const GROUP: &str = "networking.k8s.io";
const RESOURCE: &str = "ipaddresses";
const FAMILY_LABEL: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY_LABEL: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";

/// Why an address cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IpError {
    #[error("provided IP is already allocated")]
    Allocated,
    #[error("the provided network does not match the current range")]
    OutOfRange,
    #[error("range is full")]
    Full,
    #[error("{0}")]
    Store(StatusError),
}

/// Gives out cluster IPs.
#[derive(Clone)]
pub struct IpAllocator {
    objects: Arc<LateObjects>,
    store: Option<Arc<dyn Store>>,
    prefix: String,
    ranges: Vec<IpRange>,
}

/// How many addresses are tried at random before the range is walked.
const RANDOM_TRIES: u64 = 16;

impl IpAllocator {
    pub fn new(objects: Arc<LateObjects>, store: Option<Arc<dyn Store>>, prefix: &str, ranges: Vec<IpRange>) -> Self {
        Self { objects, store, prefix: prefix.to_owned(), ranges }
    }

    /// The families of the configured ranges, the default first.
    pub fn families(&self) -> Vec<&'static str> {
        self.ranges.iter().map(IpRange::family).collect()
    }

    /// The configured ranges of a family, and those that ServiceCIDR objects add.
    async fn ranges_of(&self, wanted: &str) -> Vec<IpRange> {
        let mut ranges: Vec<IpRange> = self.ranges.iter().copied().filter(|range| range.family() == wanted).collect();
        let added = self.objects.list(GROUP, "servicecidrs", "").await.unwrap_or_default();
        for object in &added {
            let Some(cidr) = object.downcast_ref::<ServiceCIDR>() else { continue };
            let ready = cidr.status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
            if !ready || cidr.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let parsed = cidr.spec.cidrs.iter().filter_map(|cidr| cidr.parse::<IpRange>().ok());
            for range in parsed.filter(|range| range.family() == wanted) {
                if !ranges.contains(&range) {
                    ranges.push(range);
                }
            }
        }
        ranges
    }

    /// Takes the address a Service asks for.
    pub async fn allocate(&self, service: &Service, address: IpAddr, dry_run: bool) -> Result<(), IpError> {
        if !self.ranges_of(family(address)).await.iter().any(|range| range.contains(address)) {
            return Err(IpError::OutOfRange);
        }
        self.take(service, address, dry_run).await
    }

    /// Takes any free address of a family.
    pub async fn allocate_next(&self, service: &Service, wanted: &str, dry_run: bool) -> Result<IpAddr, IpError> {
        for range in self.ranges_of(wanted).await {
            let (size, band) = (range.size(), range.static_band());
            let tries = (0..RANDOM_TRIES).map(|_| band + random_u64() % (size - band).max(1)).filter(|offset| *offset < size);
            for offset in tries.collect::<Vec<_>>() {
                match self.take(service, range.address(offset), dry_run).await {
                    Err(IpError::Allocated) => {}
                    other => return other.map(|()| range.address(offset)),
                }
            }
            // Nearly full: from a random place on through everything above the static band, then through the band.
            let start = random_u64() % (size - band).max(1);
            let upper = (0..size - band).map(|step| band + (start + step) % (size - band));
            for offset in upper.chain(0..band) {
                match self.take(service, range.address(offset), dry_run).await {
                    Err(IpError::Allocated) => {}
                    other => return other.map(|()| range.address(offset)),
                }
            }
        }
        Err(IpError::Full)
    }

    async fn take(&self, service: &Service, address: IpAddr, dry_run: bool) -> Result<(), IpError> {
        let name = address.to_string();
        let known = self.objects.get(GROUP, RESOURCE, "", &name).await.map_err(IpError::Store)?;
        if known.is_some() {
            return Err(IpError::Allocated);
        }
        if dry_run {
            return Ok(());
        }
        let labels = Map::from([(FAMILY_LABEL, family(address).to_owned()), (MANAGED_BY_LABEL, MANAGER.to_owned())]);
        let parent = ParentReference {
            group: String::new(),
            resource: "services".to_owned(),
            namespace: service.metadata.namespace.clone(),
            name: service.metadata.name.clone(),
        };
        let mut object = IPAddress { metadata: ObjectMeta { name, labels, ..ObjectMeta::default() }, ..IPAddress::default() };
        object.spec.parent_ref = Some(Box::new(parent));
        match self.objects.create(Box::new(object)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_already_exists() => Err(IpError::Allocated),
            Err(error) => Err(IpError::Store(error)),
        }
    }

    /// Gives an address back. One that is not given back stays taken until it is repaired: no more can be done about it here.
    pub async fn release(&self, address: &str) {
        let Some(store) = &self.store else { return };
        let key = format!("{}/{RESOURCE}/{address}", self.prefix);
        if let Err(error) = store.delete(key.into(), Expect::Any).await {
            tracing::warn!(err = %error, address, "cannot release a cluster IP");
        }
    }
}
