//! DELETE of a collection. Upstream: registry/generic/registry/store.go (DeleteCollection).

use apimachinery::meta::v1::DeleteOptions;
use apimachinery::status::StatusError;
use component_base::http::{Request, Response};

use super::decode::read_body;
use super::delete::{delete_object, read_options};
use super::list::{answer, find};
use super::list_options::ListOptions;
use super::negotiate::Offer;
use super::selection::Selection;
use super::{Call, output};

pub(super) async fn delete_collection(call: &Call, request: Request) -> Result<Response, StatusError> {
    let output = output::negotiate(call, Offer::Objects { list: true })?;
    let body = read_body(request.into_body()).await?;
    let mut options = read_options(call, &body)?;
    let list_options = ListOptions::read(&call.query, false)?;
    // A collection as of a revision: only objects that are still at it go.
    if !list_options.resource_version.is_empty() {
        options.preconditions.get_or_insert_default().resource_version.get_or_insert_with(|| list_options.resource_version.clone());
    }
    let selection = Selection::of(call)?;
    let found = find(call, &list_options, &selection).await?;
    for entry in &found.entries {
        let one = call.in_namespace(entry.namespace());
        match delete_object(&one, entry.name(), DeleteOptions { ..options.clone() }).await {
            Ok(_) => {}
            // Gone meanwhile is what was wanted.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    answer(call, output, found)
}
