//! DELETE of one object. Upstream: endpoints/handlers/delete.go, registry/rest/delete.go, registry/generic/registry/store.go.

use apimachinery::gvk::{GroupKind, GroupResource};
use apimachinery::meta::v1::{DeleteOptions, StatusDetails};
use apimachinery::status::StatusError;
use apimachinery::validation::field::{self, Path};
use apimachinery::{List, Object, Time, gotext, json, proto};
use component_base::http::{Request, Response};
use http::StatusCode;

use super::decode::{content_type, peek_type, read_body};
use super::negotiate::Offer;
use super::query::{Query, not_dry_run};
use super::{Call, output, respond};
use crate::admission::Operation;
use crate::rest::Graceful;
use crate::store::{Current, Written};

/// Finalizers of the garbage collector.
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a delete did.
pub(super) struct Deleted {
    /// The object as it was last, or as it is while it waits to go.
    pub object: Box<dyn Object>,
    /// It is gone.
    pub gone: bool,
}

pub(super) async fn delete(call: &Call, request: Request) -> Result<Response, StatusError> {
    let output = output::negotiate(call, Offer::Objects { list: false })?;
    let body = read_body(request.into_body()).await?;
    let options = read_options(call, &body)?;
    let deleted = delete_object(call, call.name(), options.clone()).await?;
    // Only the old way to ask for cascading deletion is told that it is yet to come.
    let status = if !deleted.gone && options.orphan_dependents == Some(false) { StatusCode::ACCEPTED } else { StatusCode::OK };
    if deleted.gone && !call.kind.returns_deleted() {
        let details = StatusDetails {
            name: call.name().to_owned(),
            group: call.facts.group.to_owned(),
            kind: call.facts.resource.to_owned(),
            uid: deleted.object.metadata().uid.clone(),
            ..StatusDetails::default()
        };
        return Ok(respond::success(status, output.format, Some(details)));
    }
    output::object(call, output, status, deleted.object)
}

/// DeleteOptions from the body, or from parameters if there is no body.
pub(super) fn read_options(call: &Call, body: &[u8]) -> Result<DeleteOptions, StatusError> {
    let mut options = if body.is_empty() { options_from_query(&call.query)? } else { decode_options(call, body)? };
    let mut errors = field::ErrorList::new();
    if options.orphan_dependents.is_some() && options.propagation_policy.is_some() {
        errors.push(field::Error::invalid(
            &Path::new("propagationPolicy"),
            options.propagation_policy.as_deref().unwrap_or_default(),
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    if let Some(policy) = &options.propagation_policy
        && !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan")
    {
        errors.push(field::Error::not_supported(
            &Path::new("propagationPolicy"),
            policy.as_str(),
            &["Foreground", "Background", "Orphan", "nil"],
        ));
    }
    if options.dry_run.iter().any(|value| value != "All") {
        errors.push(not_dry_run(options.dry_run.iter().map(String::as_str)));
    }
    if !errors.is_empty() {
        return Err(StatusError::invalid(&GroupKind::new("meta.k8s.io", "DeleteOptions"), "", &errors));
    }
    if call.context.dry_run && options.dry_run.is_empty() {
        options.dry_run = List::from(vec!["All".to_owned()]);
    }
    Ok(options)
}

fn options_from_query(query: &Query) -> Result<DeleteOptions, StatusError> {
    Ok(DeleteOptions {
        grace_period_seconds: query.int("gracePeriodSeconds")?,
        orphan_dependents: query.bool("orphanDependents"),
        propagation_policy: query.opt("propagationPolicy").filter(|policy| !policy.is_empty()).map(str::to_owned),
        ..DeleteOptions::default()
    })
}

fn decode_options(call: &Call, body: &[u8]) -> Result<DeleteOptions, StatusError> {
    let bad = |why: String| StatusError::bad_request(why);
    let text;
    let body = match content_type(&call.headers) {
        "application/vnd.kubernetes.protobuf" => {
            let envelope = proto::decode_envelope(body).map_err(|error| bad(error.to_string()))?;
            return proto::from_slice(envelope.raw).map_err(|error| bad(error.to_string()));
        }
        "application/yaml" => {
            text = apimachinery::yaml::parse(body).map_err(|error| bad(error.to_string()))?.to_vec();
            &text[..]
        }
        _ => body,
    };
    let (kind, api_version) = peek_type(body);
    if !kind.is_empty() && kind != "DeleteOptions" {
        let version = if api_version.is_empty() { "meta.k8s.io/v1" } else { &api_version };
        return Err(bad(format!(
            "no kind {} is registered for version {} in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\"",
            gotext::quote(&kind),
            gotext::quote(version)
        )));
    }
    let mut options: DeleteOptions = json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    options.type_meta = Default::default();
    Ok(options)
}

/// Deletes an object of this call's namespace: now, or by marking it for those who have something to do first.
pub(super) async fn delete_object(call: &Call, name: &str, options: DeleteOptions) -> Result<Deleted, StatusError> {
    let objects = call.server.objects();
    let dry_run = call.context.dry_run || !options.dry_run.is_empty();
    let not_found = || StatusError::not_found(&call.resource(), name);
    let encoded = json::to_vec(&options);
    let mut live = !objects.caches().is_filled();
    let mut current = if live { None } else { objects.cached(&call.kind, call.namespace(), name)? };
    loop {
        let found = match current.take() {
            Some(found) => found,
            None => {
                live = true;
                objects.read(&call.kind, call.namespace(), name).await?.ok_or_else(not_found)?
            }
        };
        let step = match check(call, &found, &options) {
            Ok(()) => attempt(call, name, found, &options, &encoded, dry_run).await,
            Err(error) => Err(error),
        };
        match step {
            Ok(Step::Done(deleted)) if live || !deleted.is_noop => return Ok(deleted.deleted),
            Ok(Step::Again(fresh)) => {
                live = true;
                current = Some(fresh.ok_or_else(not_found)?);
            }
            Err(error) if live => return Err(error),
            // Refused, or nothing to do, by what may be old: look once more.
            Ok(Step::Done(_)) | Err(_) => live = true,
        }
    }
}

struct Finished {
    deleted: Deleted,
    /// Nothing was written.
    is_noop: bool,
}

enum Step {
    Done(Finished),
    Again(Option<Current>),
}

/// Preconditions.
fn check(call: &Call, found: &Current, options: &DeleteOptions) -> Result<(), StatusError> {
    let Some(wanted) = &options.preconditions else { return Ok(()) };
    let metadata = found.object.metadata();
    let conflict = |what: &str, wanted: &str, is: &str, hint: &str| {
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({is}). The object might have been {hint}"
        );
        Err(StatusError::conflict(&GroupResource::new(call.facts.group, call.facts.kind), &metadata.name, why))
    };
    if let Some(uid) = &wanted.uid
        && *uid != metadata.uid
    {
        return conflict("UID", uid, &metadata.uid, "deleted and then recreated");
    }
    if let Some(version) = &wanted.resource_version
        && *version != metadata.resource_version
    {
        return conflict("ResourceVersion", version, &metadata.resource_version, "modified");
    }
    Ok(())
}

async fn attempt(
    call: &Call,
    name: &str,
    found: Current,
    options: &DeleteOptions,
    encoded: &[u8],
    dry_run: bool,
) -> Result<Step, StatusError> {
    let objects = call.server.objects();
    let strategy = call.kind.strategy();
    let mut review = call.review(Operation::Delete, name, None, Some(found.object.as_ref()), encoded);
    call.admit(&mut review).await?;
    call.admission_validate(&review).await?;

    let mut object = found.object.clone_object();
    let now = Time::now();
    let graceful = strategy.graceful_deletion(object.as_ref(), options);
    // Events are not the garbage collector's.
    if call.kind.def.resource != "events" {
        let finalizers = finalizers_after(object.as_ref(), options, strategy.orphans_by_default());
        object.metadata_mut().finalizers = finalizers;
    }
    let waits = !object.metadata().finalizers.is_empty() || strategy.has_own_finalizers(object.as_ref());

    let already = object.metadata().deletion_timestamp;
    let mut grace = match graceful {
        Graceful::No => 0,
        Graceful::Seconds(seconds) => seconds.max(0),
    };
    if let Some(before) = already {
        // A further delete may only shorten what is left.
        let left = object.metadata().deletion_grace_period_seconds.unwrap_or_default();
        if matches!(graceful, Graceful::Seconds(_)) && options.grace_period_seconds.is_none() {
            grace = left;
        }
        if grace >= left && (grace > 0 || waits) {
            // Nothing new, but perhaps finalizers.
            let value = call.kind.encode_stored(object.as_ref());
            if value == found.value {
                return Ok(Step::Done(Finished { deleted: Deleted { object, gone: false }, is_noop: true }));
            }
        } else {
            let metadata = object.metadata_mut();
            metadata.deletion_timestamp = Some(before.add_seconds(grace - left));
            metadata.deletion_grace_period_seconds = Some(grace);
        }
    } else if grace > 0 || waits {
        // Namespaces, which wait for their own finalizers, have no grace period and no generation.
        let own = strategy.has_own_finalizers(object.as_ref());
        let metadata = object.metadata_mut();
        metadata.deletion_timestamp = Some(now.add_seconds(grace));
        metadata.deletion_grace_period_seconds = (!own).then_some(grace);
        // The spec's generation tells observers that something changed.
        if metadata.generation > 0 {
            metadata.generation += 1;
        }
        strategy.begin_deletion(object.as_mut());
    }

    if grace == 0 && !waits && already.is_none() && graceful != Graceful::No {
        // Gone at once, but by way of a grace period: the answer shows it.
        let metadata = object.metadata_mut();
        metadata.deletion_timestamp = Some(now);
        metadata.deletion_grace_period_seconds = Some(0);
        if metadata.generation > 0 {
            metadata.generation += 1;
        }
    }
    if grace > 0 || waits {
        if dry_run {
            return Ok(Step::Done(Finished { deleted: Deleted { object, gone: false }, is_noop: false }));
        }
        let value = call.kind.encode_stored(object.as_ref());
        return match objects.replace(&call.kind, found.revision, object.as_ref(), value).await? {
            Written::At(revision) => {
                object.metadata_mut().resource_version = revision.to_string();
                Ok(Step::Done(Finished { deleted: Deleted { object, gone: false }, is_noop: false }))
            }
            Written::Conflict(fresh) => Ok(Step::Again(fresh)),
        };
    }
    if dry_run {
        return Ok(Step::Done(Finished { deleted: Deleted { object, gone: true }, is_noop: false }));
    }
    match objects.remove(&call.kind, call.namespace(), name, found.revision).await? {
        Written::At(revision) => {
            object.metadata_mut().resource_version = revision.to_string();
            if let Some(hooks) = &call.kind.def.hooks {
                hooks.after_delete(&call.context, object.as_ref()).await;
            }
            Ok(Step::Done(Finished { deleted: Deleted { object, gone: true }, is_noop: false }))
        }
        Written::Conflict(fresh) => Ok(Step::Again(fresh)),
    }
}

/// The garbage collector's finalizers as the delete's policy wants them; all others stay.
fn finalizers_after(object: &dyn Object, options: &DeleteOptions, orphans_by_default: bool) -> List<String> {
    let existing = &object.metadata().finalizers;
    let has = |name: &str| existing.iter().any(|finalizer| finalizer == name);
    let (orphan, foreground) = match (options.orphan_dependents, options.propagation_policy.as_deref()) {
        (Some(orphan), _) => (orphan, false),
        (_, Some("Orphan")) => (true, false),
        (_, Some("Foreground")) => (false, true),
        (_, Some(_)) => (false, false),
        // No wish: what an earlier delete decided stays.
        (None, None) => (has(ORPHAN) || (orphans_by_default && !has(FOREGROUND)), has(FOREGROUND)),
    };
    let mut after: Vec<String> = existing.iter().filter(|name| *name != ORPHAN && *name != FOREGROUND).cloned().collect();
    if orphan {
        after.push(ORPHAN.to_owned());
    }
    if foreground {
        after.push(FOREGROUND.to_owned());
    }
    if after.is_empty() && existing.is_nil() { List::nil() } else { List::from(after) }
}
