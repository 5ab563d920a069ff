//! A Lease in kube-system tells who serves the API. Upstream: pkg/controlplane/apiserver/server.go, component-helpers/apimachinery/lease.

use std::sync::Arc;
use std::time::Duration;

use api::coordination::v1::Lease;
use apimachinery::status::StatusError;
use apimachinery::{MicroTime, Object};
use apiserver::objects::Objects;
use apiserver::server::Server;
use component_base::http::BoxError;
use tokio_util::sync::CancellationToken;

use super::ensure;

const NAMESPACE: &str = "kube-system";
/// Upstream's numbers.
const DURATION_SECONDS: i32 = 3600;
const RENEW: Duration = Duration::from_secs(10);

pub(super) async fn keep(server: Arc<Server>, stop: CancellationToken) -> Result<(), BoxError> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let name = lease_name(&host);
    let identity = format!("{name}_{}", apiserver::handlers::create::new_uid());
    renew(&server, &name, &identity, &host).await?;
    tokio::spawn(async move {
        // Both arms are cancel-safe.
        while tokio::select! { () = stop.cancelled() => false, () = tokio::time::sleep(RENEW) => true } {
            if let Err(error) = renew(&server, &name, &identity, &host).await {
                tracing::warn!(err = %error, "Cannot renew the server's identity lease");
            }
        }
    });
    Ok(())
}

/// `apiserver-` and a hash of the host's name.
fn lease_name(host: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, host.as_bytes());
    let mut name = "apiserver-".to_owned();
    // Base 32 in lower case of the first 16 bytes: 26 characters.
    let mut bits: u32 = 0;
    let mut held = 0;
    for byte in &digest.as_ref()[..16] {
        bits = (bits << 8) | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            name.push(char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(bits >> held) as usize & 31]));
        }
    }
    name.push(char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(bits << (5 - held)) as usize & 31]));
    name
}

async fn renew(server: &Server, name: &str, identity: &str, host: &str) -> Result<(), StatusError> {
    let objects = server.objects();
    if objects.get("coordination.k8s.io", "leases", NAMESPACE, name).await?.is_none() {
        let mut lease = Lease::default();
        name.clone_into(&mut lease.metadata.name);
        NAMESPACE.clone_into(&mut lease.metadata.namespace);
        lease.metadata.labels.insert("apiserver.kubernetes.io/identity", "kube-apiserver".to_owned());
        lease.metadata.labels.insert("kubernetes.io/hostname", host.to_owned());
        lease.spec.holder_identity = Some(identity.to_owned());
        lease.spec.lease_duration_seconds = Some(DURATION_SECONDS);
        lease.spec.renew_time = Some(MicroTime::now());
        return ensure(objects.as_ref(), Box::new(lease)).await;
    }
    objects
        .update("coordination.k8s.io", "leases", NAMESPACE, name, &|current| {
            let mut lease = current.downcast_ref::<Lease>().cloned().unwrap_or_default();
            lease.spec.holder_identity = Some(identity.to_owned());
            lease.spec.renew_time = Some(MicroTime::now());
            Ok(Some(Box::new(lease) as Box<dyn Object>))
        })
        .await?;
    Ok(())
}
