//! POST. Upstream: endpoints/handlers/create.go, registry/rest/create.go.

use apimachinery::meta::v1::ObjectMeta;
use apimachinery::status::StatusError;
use apimachinery::validation::field::{self, Path};
use apimachinery::validation::names::is_path_segment_name;
use apimachinery::{Object, Time, names};
use component_base::http::{Request, Response};
use http::StatusCode;

use super::decode::{decode, read_body};
use super::negotiate::Offer;
use super::{Call, output};
use crate::admission::Operation;
use crate::managed_fields;

/// How many names are made from a generateName before giving up. Upstream's number.
const NAME_TRIES: usize = 8;

pub(super) async fn create(call: &Call, request: Request) -> Result<Response, StatusError> {
    let output = output::negotiate(call, Offer::Objects { list: false })?;
    let validation = call.query.field_validation("CreateOptions")?;
    let body = read_body(request.into_body()).await?;
    let info = call.kind.versions[call.version].info;
    let object = decode(&call.context, &call.headers, &body, &info, validation)?;
    let created = create_object(call, object).await?;
    output::object(call, output, StatusCode::CREATED, created)
}

/// Defaults, admits, validates and stores a decoded object of the URL's version. Gives the stored object in the hub version.
pub(super) async fn create_object(call: &Call, object: Box<dyn Object>) -> Result<Box<dyn Object>, StatusError> {
    let object = call.kind.to_hub(object, call.version);
    create_made(call, object, true).await
}

/// The same for an object of the hub version. `track`: whether its fields are yet to be entered as the caller's.
pub(super) async fn create_made(call: &Call, object: Box<dyn Object>, track: bool) -> Result<Box<dyn Object>, StatusError> {
    check_namespace(call, object.metadata())?;
    let generated = object.metadata().name.is_empty() && !object.metadata().generate_name.is_empty();
    let tries = if generated { NAME_TRIES } else { 1 };
    let mut last = None;
    for _ in 0..tries {
        match create_once(call, object.clone_object(), track).await {
            Err(error) if generated && error.is_already_exists() => last = Some(error),
            answer => return answer,
        }
    }
    let error = last.expect("only a name that was taken is tried again");
    let name = error.details.as_ref().map(|details| details.name.clone()).unwrap_or_default();
    Err(StatusError::generate_name_conflict(&call.resource(), &name, 1))
}

async fn create_once(call: &Call, mut object: Box<dyn Object>, track: bool) -> Result<Box<dyn Object>, StatusError> {
    let metadata = object.metadata_mut();
    call.namespace().clone_into(&mut metadata.namespace);
    wipe(metadata);
    if track {
        managed_fields::on_create(call, object.as_mut());
    }
    let requested = object.metadata().name.clone();
    let mut review = call.review(Operation::Create, &requested, Some(object.as_mut()), None, b"{}");
    call.admit(&mut review).await?;
    // What a plugin added has defaults too.
    call.kind.strategy().default_object(object.as_mut());

    fill_metadata(object.as_mut());
    let strategy = call.kind.strategy();
    let finish = match &call.kind.def.hooks {
        Some(hooks) => Some(hooks.begin_create(&call.context, object.as_mut()).await?),
        None => None,
    };
    let stored = store(call, strategy, object).await;
    if let Some(finish) = finish {
        finish(stored.is_ok() && !call.context.dry_run).await;
    }
    stored
}

async fn store(
    call: &Call,
    strategy: &dyn crate::rest::ErasedStrategy,
    mut object: Box<dyn Object>,
) -> Result<Box<dyn Object>, StatusError> {
    let context = &call.context;
    strategy.prepare_for_create(context, object.as_mut());
    let errors = validate(call, strategy, object.as_ref());
    let name = object.metadata().name.clone();
    if !errors.is_empty() {
        return Err(StatusError::invalid(&call.group_kind(), &name, &errors));
    }
    for warning in strategy.warnings_on_create(context, object.as_ref()) {
        context.warn(warning);
    }
    strategy.canonicalize(object.as_mut());
    let review = call.review(Operation::Create, &name, Some(object.as_mut()), None, b"{}");
    call.admission_validate(&review).await?;

    if !matches!(object.metadata().resource_version.as_str(), "" | "0") && !context.dry_run {
        return Err(StatusError::internal("resourceVersion should not be set on objects to be created"));
    }
    let objects = call.server.objects();
    if context.dry_run {
        let namespace = call.namespace();
        if objects.read(&call.kind, namespace, &name).await?.is_some() {
            return Err(StatusError::already_exists(&call.resource(), &name));
        }
        return Ok(object);
    }
    match objects.insert(&call.kind, object.as_ref()).await? {
        Some(revision) => {
            object.metadata_mut().resource_version = revision.to_string();
            Ok(object)
        }
        None => Err(StatusError::already_exists(&call.resource(), &name)),
    }
}

fn validate(call: &Call, strategy: &dyn crate::rest::ErasedStrategy, object: &dyn Object) -> field::ErrorList {
    let mut errors = strategy.validate(&call.context, object);
    if !errors.is_empty() {
        return errors;
    }
    // Whatever the strategy thinks of names, they have to fit into a URL.
    let metadata = object.metadata();
    let path = Path::new("metadata");
    if !metadata.name.is_empty() {
        for message in is_path_segment_name(&metadata.name) {
            errors.push(field::Error::invalid(&path.child("name"), metadata.name.as_str(), message));
        }
    }
    errors
}

/// The namespace of the body must be the URL's, or empty.
fn check_namespace(call: &Call, metadata: &ObjectMeta) -> Result<(), StatusError> {
    if call.facts.namespaced && !metadata.namespace.is_empty() && metadata.namespace != call.namespace() {
        return Err(StatusError::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
    }
    Ok(())
}

/// Clears what only the server sets.
fn wipe(metadata: &mut ObjectMeta) {
    metadata.creation_timestamp = Time::default();
    metadata.uid.clear();
    metadata.self_link.clear();
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
}

/// What the server decides about a new object: uid, time, name.
pub fn fill_metadata(object: &mut dyn Object) {
    let metadata = object.metadata_mut();
    wipe(metadata);
    metadata.creation_timestamp = Time::now();
    metadata.uid = new_uid();
    if metadata.name.is_empty() && !metadata.generate_name.is_empty() {
        metadata.name = names::generate_name(&metadata.generate_name);
    }
}

/// A random UUID, version 4.
pub fn new_uid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
