//! One family's table, kept as the Services want it.

use std::time::{Duration, Instant};

use super::base::base;
use super::exec::{Nft, NftError};
use super::fragment::Fragment;
use super::rules::{View, fragment};
use super::slots::Slots;
use super::table::{Existing, Table};
use crate::config::NodePortAddresses;
use crate::service::{PortEndpoints, Service, ServiceName};

/// What one [`Proxier::sync`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synced {
    /// Whether there was anything to do.
    pub is_changed: bool,
    /// The table was built anew.
    pub is_full: bool,
    pub elapsed: Duration,
}

/// The table of one family: takes changed Services, hands transactions to nft.
#[derive(Debug)]
pub struct Proxier {
    view: View,
    node_ports: NodePortAddresses,
    masquerade_bit: u32,
    slots: Slots,
    table: Table,
    nft: Nft,
    is_unusable: bool,
}

impl Proxier {
    /// Opens nothing; the first [`Proxier::sync`] makes the table.
    pub fn new(view: View, node_ports: NodePortAddresses, masquerade_bit: u32, nft: Nft) -> Self {
        let table = Table::new(view.ip(), base(&view, &node_ports, masquerade_bit));
        Self { view, node_ports, masquerade_bit, slots: Slots::default(), table, nft, is_unusable: false }
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    /// The node has changed (zone, addresses, pod CIDR). Every Service must be set again afterwards.
    pub fn set_view(&mut self, view: View) {
        self.table.set_base(base(&view, &self.node_ports, self.masquerade_bit));
        self.view = view;
    }

    /// Builds the table anew at the next sync.
    pub fn forget(&mut self) {
        self.table.forget();
    }

    /// Sets what a Service and its endpoints are now; `None` for a Service that is gone.
    pub fn set(&mut self, name: &ServiceName, service: Option<(&Service, &PortEndpoints)>) {
        let fragment = match service {
            Some((service, endpoints)) => fragment(service, endpoints, &self.view, &mut self.slots),
            None => {
                self.slots.keep_only(name, &[]);
                Fragment::default()
            }
        };
        self.table.set(name, fragment);
    }

    /// Brings the kernel up to date. After an error the next call builds the table anew.
    pub async fn sync(&mut self) -> Result<Synced, NftError> {
        let started = Instant::now();
        let done = |is_changed, is_full| Synced { is_changed, is_full, elapsed: started.elapsed() };
        // What is there matters only for building it anew, and costs runs of nft.
        let existing = match (self.table.is_known(), self.is_unusable) {
            (true, _) => Existing::Nothing,
            (false, true) => Existing::Unusable,
            (false, false) => self.nft.existing(self.view.family).await?,
        };
        let Some(transaction) = self.table.transaction(&existing) else {
            return Ok(done(false, false));
        };
        for script in &transaction.scripts {
            if let Err(error) = self.nft.apply(script).await {
                // If it cannot be refilled, perhaps since another version has made it, it has to go.
                self.is_unusable = transaction.is_full;
                self.table.forget();
                return Err(error);
            }
        }
        self.is_unusable = false;
        let is_full = transaction.is_full;
        self.table.commit(transaction);
        Ok(done(true, is_full))
    }

    /// Builds the table anew at the next sync if it is no longer in the kernel.
    pub async fn verify(&mut self) -> Result<(), NftError> {
        if !self.nft.table_exists(self.view.family).await? {
            self.table.forget();
        }
        Ok(())
    }

    /// Deletes chains and sets that are no longer in use; false if there are none.
    pub async fn cleanup(&mut self) -> Result<bool, NftError> {
        let Some(script) = self.table.cleanup() else {
            return Ok(false);
        };
        if let Err(error) = self.nft.apply(&script).await {
            // Somebody else has changed the table, so the mirror is not to be trusted, nor what is left of the table.
            self.is_unusable = true;
            self.table.forget();
            return Err(error);
        }
        self.table.commit_cleanup();
        Ok(true)
    }

    /// Is there something for [`Proxier::cleanup`] to do?
    pub fn has_stale(&self) -> bool {
        self.table.cleanup().is_some()
    }
}
