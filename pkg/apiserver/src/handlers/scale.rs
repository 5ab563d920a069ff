//! `scale`: the number of replicas of anything that has one. Upstream: registry/*/storage (ScaleREST).

use std::sync::Arc;

use api::autoscaling::v1::Scale;
use apimachinery::Object;
use apimachinery::status::StatusError;
use apimachinery::validation::field::{self, Path};
use apimachinery::wire::TypeInfo;
use component_base::http::{Request, Response};
use http::StatusCode;

use super::decode::{content_type, decode, read_body};
use super::negotiate::Offer;
use super::write::{Change, change, check_name};
use super::{Call, method_not_allowed, output, respond};
use crate::rest::ScaleAccess;

pub(super) async fn scale(call: &Call, access: &ScaleAccess, request: Request) -> Result<Response, StatusError> {
    let output = output::negotiate(call, Offer::Plain)?;
    let (object, status) = match call.context.info.verb {
        "get" => {
            let objects = call.server.objects();
            let current = objects.read(&call.kind, call.namespace(), call.name()).await?.ok_or_else(|| call.not_found())?;
            (current.object, StatusCode::OK)
        }
        "update" | "patch" => (write(call, access, request).await?, StatusCode::OK),
        _ => return Err(method_not_allowed()),
    };
    Ok(respond::object(status, output.format, &of(access, object.as_ref())))
}

/// The Scale that shows an object.
fn of(access: &ScaleAccess, object: &dyn Object) -> Scale {
    let replicas = access.read(object);
    let metadata = object.metadata();
    let mut scale = Scale::default();
    scale.metadata.name.clone_from(&metadata.name);
    scale.metadata.namespace.clone_from(&metadata.namespace);
    scale.metadata.uid.clone_from(&metadata.uid);
    scale.metadata.resource_version.clone_from(&metadata.resource_version);
    scale.metadata.creation_timestamp = metadata.creation_timestamp;
    scale.spec.replicas = replicas.wanted;
    scale.status.replicas = replicas.current;
    scale.status.selector = replicas.selector;
    scale
}

async fn write(call: &Call, access: &ScaleAccess, request: Request) -> Result<Box<dyn Object>, StatusError> {
    let is_patch = call.context.info.verb == "patch";
    let validation = call.query.field_validation(if is_patch { "PatchOptions" } else { "UpdateOptions" })?;
    let body = read_body(request.into_body()).await?;
    let info = TypeInfo::of::<Scale>();
    let sent: Option<Arc<dyn Object>> =
        if is_patch { None } else { Some(decode(&call.context, &call.headers, &body, &info, validation)?.into()) };
    let media_type = content_type(&call.headers).to_owned();

    let make = |current: Option<&dyn Object>| {
        let current = current.ok_or_else(|| call.not_found())?;
        let mut scale: Box<dyn Object> = match &sent {
            Some(sent) => sent.clone_object(),
            None => super::patch::patch_other(call, &media_type, &body, &of(access, current), &info, validation)?,
        };
        check_name(call, scale.as_mut())?;
        let scale: &Scale = scale.downcast_ref().ok_or_else(|| StatusError::internal("a Scale was decoded as something else"))?;
        if scale.spec.replicas < 0 {
            let path = Path::new("spec");
            let error =
                field::Error::invalid(&path.child("replicas"), i64::from(scale.spec.replicas), "must be greater than or equal to 0");
            return Err(StatusError::invalid(&apimachinery::gvk::GroupKind::new("autoscaling", "Scale"), call.name(), &[error]));
        }
        let mut object = current.clone_object();
        let metadata = object.metadata_mut();
        metadata.resource_version.clone_from(&scale.metadata.resource_version);
        if !scale.metadata.uid.is_empty() {
            metadata.uid.clone_from(&scale.metadata.uid);
        }
        access.write(object.as_mut(), scale.spec.replicas);
        Ok(object)
    };
    let conditional = sent.as_ref().is_some_and(|sent| !sent.metadata().resource_version.is_empty());
    let changed = change(call, &Change { make: &make, track: true, create: false, retry: !conditional, same_uid: true }).await?;
    Ok(changed.object)
}
