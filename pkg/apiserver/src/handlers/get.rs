//! GET of one object. Upstream: endpoints/handlers/get.go.

use apimachinery::status::StatusError;
use component_base::http::Response;
use http::StatusCode;

use super::negotiate::Offer;
use super::query::parse_revision;
use super::{Call, output};

pub(super) async fn get(call: &Call) -> Result<Response, StatusError> {
    let output = output::negotiate(call, Offer::Objects { list: false })?;
    let asked = call.query.get("resourceVersion");
    let revision = parse_revision(asked).map_err(StatusError::unknown)?;
    let objects = call.server.objects();
    let caches = objects.caches();

    let wanted = match asked {
        "" if caches.proves_freshness() => objects.current_revision().await?,
        // Without proof of freshness only the store itself can tell.
        "" => {
            let current = objects.read(&call.kind, call.namespace(), call.name()).await?.ok_or_else(|| call.not_found())?;
            return output::object(call, output, StatusCode::OK, current.object);
        }
        _ => revision,
    };
    caches.filled().await;
    caches.wait_for(wanted).await?;
    let snapshot = objects.cache(&call.kind).snapshot();
    let entry = snapshot.entries.get(call.kind.key_of(call.namespace(), call.name()).as_bytes()).ok_or_else(|| call.not_found())?;
    output::entry(call, output, entry)
}
