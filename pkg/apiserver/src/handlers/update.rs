//! PUT. Upstream: endpoints/handlers/update.go.

use apimachinery::Object;
use apimachinery::status::StatusError;
use component_base::http::{Request, Response};
use http::StatusCode;

use super::decode::{decode, read_body};
use super::negotiate::Offer;
use super::write::{Change, change, check_name};
use super::{Call, output};

pub(super) async fn update(call: &Call, request: Request) -> Result<Response, StatusError> {
    let output = output::negotiate(call, Offer::Objects { list: false })?;
    let validation = call.query.field_validation("UpdateOptions")?;
    let body = read_body(request.into_body()).await?;
    let info = call.kind.versions[call.version].info;
    let mut object = decode(&call.context, &call.headers, &body, &info, validation)?;
    check_name(call, object.as_mut())?;
    let object = call.kind.to_hub(object, call.version);

    let retry = matches!(object.metadata().resource_version.as_str(), "" | "0");
    let make = |_: Option<&dyn Object>| Ok(object.clone_object());
    let create = call.strategy().allow_create_on_update() && call.context.info.subresource.is_empty();
    let changed = change(call, &Change { make: &make, track: true, create, retry, same_uid: true }).await?;
    let status = if changed.created { StatusCode::CREATED } else { StatusCode::OK };
    output::object(call, output, status, changed.object)
}
