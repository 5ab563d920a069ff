//! What is answered by somebody else than the store: POSTs of other kinds, and connections.

use apimachinery::status::StatusError;
use component_base::http::{Request, Response};

use super::decode::{decode, read_body};
use super::negotiate::Offer;
use super::{Call, method_not_allowed, output, respond};
use crate::admission::Operation;
use crate::managed_fields;
use crate::rest::{Answer, Connecter, Creater, Serving};

/// A resource of which nothing is kept.
pub(super) async fn answered(call: &Call, request: Request) -> Result<Response, StatusError> {
    match &call.kind.def.serving {
        Serving::Answered(creater) if call.context.info.verb == "create" => {
            let info = call.kind.versions[call.version].info;
            post(call, creater.as_ref(), &info, request).await
        }
        _ => Err(method_not_allowed()),
    }
}

/// A POST below an object.
pub(super) async fn create(call: &Call, creater: &dyn Creater, request: Request) -> Result<Response, StatusError> {
    let sub = call.facts.subresource(&call.context.info.subresource).ok_or_else(super::no_such_resource)?;
    let (group, version) = if sub.version.is_empty() { (call.facts.group, call.facts.version) } else { (sub.group, sub.version) };
    let info = api::type_info(group, version, sub.kind)
        .ok_or_else(|| StatusError::internal(format!("nothing is known of kind {}/{version} {}", group, sub.kind)))?;
    post(call, creater, info, request).await
}

async fn post(call: &Call, creater: &dyn Creater, info: &apimachinery::wire::TypeInfo, request: Request) -> Result<Response, StatusError> {
    let output = output::negotiate(call, Offer::Plain)?;
    let validation = call.query.field_validation("CreateOptions")?;
    let body = read_body(request.into_body()).await?;
    let mut object = decode(&call.context, &call.headers, &body, info, validation)?;
    if call.facts.namespaced {
        let metadata = object.metadata_mut();
        if !metadata.namespace.is_empty() && metadata.namespace != call.namespace() {
            return Err(StatusError::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
        }
        call.namespace().clone_into(&mut metadata.namespace);
    }
    managed_fields::on_answered(call, info, object.as_mut());
    let name = if call.name().is_empty() { object.metadata().name.clone() } else { call.name().to_owned() };
    let mut review = call.review(Operation::Create, &name, Some(object.as_mut()), None, b"{}");
    (review.kind, review.group, review.version) = (info.kind, info.group, info.version);
    call.admit(&mut review).await?;
    call.admission_validate(&review).await?;
    Ok(match creater.create(&call.context, object).await? {
        Answer::Object(status, object) => respond::object(status, output.format, object.as_ref()),
        Answer::Success(status) => respond::success(status, output.format, None),
    })
}

/// Streams and proxies.
pub(super) async fn connect(call: &Call, connecter: &dyn Connecter, request: Request) -> Result<Response, StatusError> {
    let name = call.name().to_owned();
    // Reading logs is a plain GET upstream; all others go through admission.
    if call.context.info.subresource != "log" {
        let mut review = call.review(Operation::Connect, &name, None, None, b"{}");
        call.admit(&mut review).await?;
        call.admission_validate(&review).await?;
    }
    connecter.connect(call.context.clone(), request).await
}
