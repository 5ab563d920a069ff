//! Changing a stored object: the steps PUT, PATCH and scale share. Upstream: registry/generic/registry/store.go (Update), registry/rest/update.go.
//!
//! An update starts from the cached object. Whatever is refused, or found to change nothing, on a cached object is computed once more on a live read.

use apimachinery::gvk::GroupKind;
use apimachinery::status::StatusError;
use apimachinery::{Object, gotext};

use super::Call;
use super::query::parse_revision;
use crate::admission::Operation;
use crate::managed_fields;
use crate::rest::hooks::nothing_to_finish;
use crate::store::{Current, Written};

/// The text of every conflict with another writer.
pub(crate) const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";

/// How often an unconditional change is tried against quicker writers.
const TRIES: usize = 100;

/// Makes the new object (hub version) from the current one; `None` is an object that does not exist. Run again after a conflict.
pub(crate) type Make<'a> = &'a (dyn Fn(Option<&dyn Object>) -> Result<Box<dyn Object>, StatusError> + Send + Sync);

/// How a change is made.
pub(crate) struct Change<'a> {
    pub make: Make<'a>,
    /// The manager whose fields these are; `None` if `make` has taken care of that (apply).
    pub track: bool,
    /// Creates what does not exist.
    pub create: bool,
    /// The caller named no resource version, so a conflict may be tried again.
    pub retry: bool,
    /// A uid in the new object is a condition, not a change.
    pub same_uid: bool,
}

/// What became of a change.
pub(crate) struct Changed {
    pub object: Box<dyn Object>,
    pub created: bool,
}

enum Step {
    Done(Box<dyn Object>),
    /// The object had changed; this is how it is now.
    Again(Option<Current>),
}

pub(crate) async fn change(call: &Call, how: &Change<'_>) -> Result<Changed, StatusError> {
    let objects = call.server.objects();
    let mut live = !objects.caches().is_filled();
    let mut current = if live { None } else { objects.cached(&call.kind, call.namespace(), call.name())? };
    if current.is_none() {
        live = true;
        current = objects.read(&call.kind, call.namespace(), call.name()).await?;
    }
    for _ in 0..TRIES {
        let Some(found) = &current else {
            if !how.create {
                return Err(call.not_found());
            }
            let object = (how.make)(None)?;
            let object = super::create::create_made(call, object, how.track).await?;
            return Ok(Changed { object, created: true });
        };
        match attempt(call, how, found, live).await {
            Ok(Some(Step::Done(object))) => return Ok(Changed { object, created: false }),
            Ok(Some(Step::Again(fresh))) => {
                if !how.retry {
                    return Err(StatusError::conflict(&call.resource(), call.name(), MODIFIED));
                }
                live = true;
                current = fresh;
            }
            // A no-op or a refusal, computed on what may be old.
            Ok(None) | Err(_) if !live => {
                live = true;
                current = objects.read(&call.kind, call.namespace(), call.name()).await?;
            }
            Ok(None) => return Ok(Changed { object: current.map(|found| found.object).ok_or_else(|| call.not_found())?, created: false }),
            Err(error) => return Err(error),
        }
    }
    Err(StatusError::conflict(&call.resource(), call.name(), MODIFIED))
}

/// One try. `None`: nothing would change.
async fn attempt(call: &Call, how: &Change<'_>, current: &Current, live: bool) -> Result<Option<Step>, StatusError> {
    let context = &call.context;
    let old = current.object.as_ref();
    let mut new = (how.make)(Some(old))?;
    check_preconditions(call, how, new.as_ref(), old)?;
    if how.track {
        managed_fields::on_update(call, new.as_mut(), old);
    }
    let name = call.name().to_owned();
    let mut review = call.review(Operation::Update, &name, Some(new.as_mut()), Some(old), b"{}");
    call.admit(&mut review).await?;
    let strategy = call.strategy();
    strategy.default_object(new.as_mut());

    keep_system_fields(new.as_mut(), old);
    let finish = match &call.kind.def.hooks {
        Some(hooks) if context.info.subresource.is_empty() => hooks.begin_update(context, new.as_mut(), old).await?,
        _ => nothing_to_finish(),
    };
    let outcome = store(call, strategy, new, current, live).await;
    let done = matches!(outcome, Ok(Some(Step::Done(_)))) && !context.dry_run;
    finish(done).await;
    outcome
}

async fn store(
    call: &Call,
    strategy: &dyn crate::rest::ErasedStrategy,
    mut new: Box<dyn Object>,
    current: &Current,
    live: bool,
) -> Result<Option<Step>, StatusError> {
    let context = &call.context;
    let old = current.object.as_ref();
    strategy.prepare_for_update(context, new.as_mut(), old);
    let errors = strategy.validate_update(context, new.as_ref(), old);
    if !errors.is_empty() {
        return Err(StatusError::invalid(&call.group_kind(), call.name(), &errors));
    }
    let warnings = strategy.warnings_on_update(context, new.as_ref(), old);
    strategy.canonicalize(new.as_mut());
    let name = call.name().to_owned();
    let review = call.review(Operation::Update, &name, Some(new.as_mut()), Some(old), b"{}");
    call.admission_validate(&review).await?;
    for warning in warnings {
        context.warn(warning);
    }

    managed_fields::keep_time_if_nothing_changed(new.as_mut(), old);
    let objects = call.server.objects();
    let value = call.kind.encode_stored(new.as_ref());
    if value == current.value {
        return Ok(None);
    }
    if context.dry_run {
        // Only the store could say more; a stale start is tried again on a live one.
        new.metadata_mut().resource_version = current.revision.to_string();
        return Ok(live.then_some(Step::Done(new)));
    }
    if is_finished(strategy, new.as_ref()) {
        return match objects.remove(&call.kind, call.namespace(), call.name(), current.revision).await? {
            Written::At(revision) => {
                new.metadata_mut().resource_version = revision.to_string();
                if let Some(hooks) = &call.kind.def.hooks {
                    hooks.after_delete(context, new.as_ref()).await;
                }
                Ok(Some(Step::Done(new)))
            }
            Written::Conflict(fresh) => Ok(Some(Step::Again(fresh))),
        };
    }
    match objects.replace(&call.kind, current.revision, new.as_ref(), value).await? {
        Written::At(revision) => {
            new.metadata_mut().resource_version = revision.to_string();
            Ok(Some(Step::Done(new)))
        }
        Written::Conflict(fresh) => Ok(Some(Step::Again(fresh))),
    }
}

/// An object on its way out goes with its last finalizer.
fn is_finished(strategy: &dyn crate::rest::ErasedStrategy, object: &dyn Object) -> bool {
    let metadata = object.metadata();
    metadata.deletion_timestamp.is_some()
        && metadata.finalizers.is_empty()
        && metadata.deletion_grace_period_seconds.unwrap_or_default() == 0
        && !strategy.has_own_finalizers(object)
}

/// The client's resource version and uid, if it sent any, must be those of the stored object.
fn check_preconditions(call: &Call, how: &Change<'_>, new: &dyn Object, old: &dyn Object) -> Result<(), StatusError> {
    let (new, old) = (new.metadata(), old.metadata());
    if how.same_uid && !new.uid.is_empty() && new.uid != old.uid {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {}, UID in object meta: {}",
            String::from_utf8_lossy(&call.kind.store_key(call.namespace(), call.name())),
            new.uid,
            old.uid
        );
        return Err(StatusError::conflict(&call.resource(), call.name(), why));
    }
    if new.resource_version.is_empty() || new.resource_version == "0" {
        if call.strategy().allow_unconditional_update() {
            return Ok(());
        }
        let path = apimachinery::validation::Path::new("metadata");
        let error = apimachinery::validation::Error::invalid(
            &path.child("resourceVersion"),
            apimachinery::validation::BadValue::json(if new.resource_version.is_empty() {
                "0".to_owned()
            } else {
                gotext::quote(&new.resource_version)
            }),
            "must be specified for an update",
        );
        let resource = call.resource();
        return Err(StatusError::invalid(&GroupKind::new(resource.group, resource.resource), call.name(), &[error]));
    }
    if let Err(why) = parse_revision(&new.resource_version) {
        // The part behind the field's name is all upstream tells here.
        let why = why.split_once("strconv").map_or(why.clone(), |(_, rest)| format!("strconv{rest}"));
        return Err(StatusError::unknown(why));
    }
    if new.resource_version != old.resource_version {
        return Err(StatusError::conflict(&call.resource(), call.name(), MODIFIED));
    }
    Ok(())
}

/// What only the server decides stays as it is.
fn keep_system_fields(new: &mut dyn Object, old: &dyn Object) {
    let old = old.metadata();
    let new = new.metadata_mut();
    new.namespace.clone_from(&old.namespace);
    if new.uid.is_empty() {
        new.uid.clone_from(&old.uid);
    }
    new.creation_timestamp = old.creation_timestamp;
    if old.deletion_timestamp.is_some() {
        new.deletion_timestamp = old.deletion_timestamp;
    }
    if new.deletion_grace_period_seconds.is_none() {
        new.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    }
    new.generation = old.generation;
    new.self_link.clear();
    new.resource_version.clone_from(&old.resource_version);
    // A finalizer cannot be added to what is on its way out; validation says so.
}

/// The name and namespace of a body must be the URL's.
pub(crate) fn check_name(call: &Call, object: &mut dyn Object) -> Result<(), StatusError> {
    let name = call.name();
    let namespace = call.namespace().to_owned();
    let metadata = object.metadata_mut();
    if metadata.name.is_empty() {
        return Err(StatusError::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if metadata.name != name {
        return Err(StatusError::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            metadata.name
        )));
    }
    if !call.facts.namespaced {
        metadata.namespace.clear();
    } else {
        if metadata.namespace.is_empty() {
            metadata.namespace = namespace;
        } else if metadata.namespace != namespace {
            return Err(StatusError::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
        }
    }
    Ok(())
}
