//! certificatesigningrequest-cleaner-controller: deletes requests that nobody will look at again.

use std::sync::Arc;
use std::time::Duration;

use api::certificates::v1::CertificateSigningRequest;
use apimachinery::Time;
use client::{Api, DeleteParams};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use informer::{Event, ObjectKey, Reconcile, Requeue, Store, WorkQueue};

use super::ACCOUNT;
use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const CLEANER: Registration =
    Registration { name: "certificatesigningrequest-cleaner-controller", alias: Some("csrcleaner"), default_on: true, start };

const HOUR: i64 = 3600;
/// How long decided requests stay, and how long undecided ones; upstream's numbers.
const DECIDED: i64 = HOUR;
const PENDING: i64 = 24 * HOUR;

/// In how many seconds the request is over.
pub fn expires_in(request: &CertificateSigningRequest, now: Time) -> i64 {
    let since = |time: Time, limit: i64| limit - now.seconds_since(time);
    let decided = request.status.conditions.iter().filter(|condition| matches!(condition.type_.as_str(), "Approved" | "Denied" | "Failed"));
    let by_condition = decided.map(|condition| since(condition.last_update_time, DECIDED)).min();
    let by_certificate = not_after(request).map(|end| end.seconds_since(now));
    let pending = || since(request.metadata.creation_timestamp, PENDING);
    by_condition.into_iter().chain(by_certificate).min().unwrap_or_else(pending)
}

fn not_after(request: &CertificateSigningRequest) -> Option<Time> {
    let certificates = pki::pem::certificates(request.status.certificate.as_ref()).ok()?;
    pki::cert::validity(certificates.first()?).ok().map(|(_, end)| Time::from(end))
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let requests = sources.of::<CertificateSigningRequest>();
    let queue = WorkQueue::new("certificate_cleaner");
    let changed = queue.clone();
    requests.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) {
            changed.add(event.key());
        }
    });
    let client = context.client(ACCOUNT)?;
    let reconciler = Cleaner { requests: requests.store(), api: Api::all(&client), clock: context.clock.clone() };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, 1);
    Ok(Started::Running)
}

struct Cleaner {
    requests: Arc<Store<CertificateSigningRequest>>,
    api: Api<CertificateSigningRequest>,
    clock: Arc<dyn Clock>,
}

impl Reconcile for Cleaner {
    const NAME: &'static str = "certificatesigningrequest-cleaner-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(request) = self.requests.get(key) else { return Ok(Requeue::OnChange) };
        let left = expires_in(&request, Time::from(self.clock.now()));
        if left > 0 {
            return Ok(Requeue::After(Duration::from_secs(u64::try_from(left).unwrap_or(1))));
        }
        match self.api.delete(key.name(), &DeleteParams::of_uid(request.metadata.uid.clone())).await {
            Err(err) if !err.is_not_found() => Err(WriteError::new("delete", format!("certificate signing request \"{key}\""), err)),
            _ => Ok(Requeue::OnChange),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::new_condition;
    use super::*;

    #[test]
    fn decided_requests_stay_for_an_hour_and_others_for_a_day() {
        let mut request = CertificateSigningRequest::default();
        request.metadata.creation_timestamp = Time::from_unix(0);
        assert_eq!(expires_in(&request, Time::from_unix(HOUR)), 23 * HOUR);
        request.status.conditions.push(new_condition("Denied", "No", "", Time::from_unix(HOUR)));
        assert_eq!(expires_in(&request, Time::from_unix(HOUR + 60)), HOUR - 60);
        assert!(expires_in(&request, Time::from_unix(3 * HOUR)) <= 0);
    }
}
