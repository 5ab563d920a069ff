//! Keeping the record at each write, and applying configurations.

use super::compare::{Comparison, compare};
use super::extract::{TypedError, check, field_set};
use super::managed::{Managed, ManagedEntry, Operation};
use super::merge::merge;
use super::remove::remove;
use super::set::FieldSet;
use super::{last_applied, path::PathElement};
use crate::Time;
use crate::status::{StatusCause, StatusError, cause};
use crate::typed::TypeRef;
use crate::value::Value;

/// The manager of an object's fields from before anybody applied to it.
pub const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Gives an object in another version, with its type, so that fields recorded in that version can be compared.
pub trait Versions {
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, TypeRef<'_>)>;
}

/// What is needed to keep the record for one request.
#[derive(Clone, Copy)]
pub struct FieldManager<'a> {
    pub ty: TypeRef<'a>,
    /// The version of the request's objects: `apps/v1`.
    pub api_version: &'a str,
    /// The subresource that is written, or empty.
    pub subresource: &'a str,
    /// Fields that writes to this endpoint cannot set: `status` of the object itself, `spec` and more of its status.
    pub reset_fields: &'a FieldSet,
    pub now: Time,
    pub versions: Option<&'a dyn Versions>,
}

/// A field that the configuration would change and another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The manager as messages name it.
    pub manager: String,
    /// `.spec.replicas`
    pub field: String,
}

/// Why a configuration was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    #[error("metadata.managedFields must be nil")]
    ManagedFieldsSet,
    #[error("failed to create typed patch object ({object}): {}", typed_message(.errors))]
    Invalid { object: String, errors: Vec<TypedError> },
}

impl ApplyError {
    /// The answer to the client.
    pub fn to_status(&self) -> StatusError {
        match self {
            ApplyError::Conflicts(conflicts) => {
                let causes = conflicts.iter().map(|conflict| StatusCause {
                    reason: cause::FIELD_MANAGER_CONFLICT.into(),
                    message: format!("conflict with {}", conflict.manager),
                    field: conflict.field.clone(),
                });
                StatusError::apply_conflict(causes.collect(), self.to_string())
            }
            ApplyError::ManagedFieldsSet => StatusError::bad_request(self.to_string()),
            ApplyError::Invalid { .. } => StatusError::unknown(self),
        }
    }
}

fn typed_message(errors: &[TypedError]) -> String {
    match errors {
        [error] => error.to_string(),
        errors => format!("errors:\n{}", errors.iter().map(|error| format!("  {error}\n")).collect::<String>()),
    }
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [conflict] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", conflict.manager, conflict.field);
    }
    let mut managers: Vec<&str> = conflicts.iter().map(|conflict| conflict.manager.as_str()).collect();
    managers.sort_unstable();
    managers.dedup();
    let mut lines = Vec::new();
    for manager in managers {
        lines.push(format!("conflicts with {manager}:"));
        lines.extend(conflicts.iter().filter(|conflict| conflict.manager == manager).map(|conflict| format!("- {}", conflict.field)));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

impl FieldManager<'_> {
    /// Notes in `new` which fields a create, update or patch by `manager` changed.
    ///
    /// `live` is the stored object, or, for a create, the empty object of the type as it is encoded. An object whose record is empty is
    /// not tracked until somebody applies to it.
    pub fn update(&self, live: &Value, new: &mut Value, manager: &str) {
        let difference = self.difference(live, new);
        let own = new.remove_at(&["metadata", "managedFields"]).filter(|own| !own.is_null() && self.subresource.is_empty());
        let stored = live.at(&["metadata", "managedFields"]);
        if difference.is_same() && own.as_ref().is_none_or(|own| Some(own) == stored) {
            // Nothing to note: most updates that change only what nobody owns end here, without a look into the record.
            if let Some(stored) = stored {
                new.set_at(&["metadata", "managedFields"], stored.clone());
            }
            return;
        }
        let record = record_of_request(own.as_ref(), stored);
        let exists = live.str_at(&["metadata", "uid"]).is_some_and(|uid| !uid.is_empty());
        if record.entries.is_empty() && exists {
            return;
        }
        let mut record = self.note(live, new, &difference, record, manager);
        record.cap_updates();
        self.store(new, &record);
    }

    /// The record after an update by `manager`, from the record before: what [`FieldManager::update`] does for those who keep the
    /// record elsewhere than in the value.
    pub fn updated(&self, live: &Value, new: &Value, record: Managed, manager: &str) -> Managed {
        let difference = self.difference(live, new);
        let mut record = self.note(live, new, &difference, record, manager);
        record.cap_updates();
        record
    }

    /// Merges a configuration into `live`, as `manager`. Gives back the object with its record; if the configuration changes nothing,
    /// that is the live object, maybe with a changed record.
    pub fn apply(&self, live: &Value, config: &Value, manager: &str, force: bool) -> Result<Value, ApplyError> {
        if config.at(&["metadata", "managedFields"]).is_some_and(|fields| fields.as_array().is_some_and(|fields| !fields.is_empty())) {
            return Err(ApplyError::ManagedFieldsSet);
        }
        let errors = check(config, self.ty);
        if !errors.is_empty() {
            return Err(ApplyError::Invalid { object: describe(config), errors });
        }
        match self.try_apply(live, config, manager, force) {
            Err(conflicts) if manager == last_applied::KUBECTL => {
                // What the client-side apply of the same user set is not somebody else's.
                let allowed = last_applied::fields(live, self.ty);
                let others: Vec<_> = conflicts.into_iter().filter(|(_, path)| !allowed.contains(path)).collect();
                match others.is_empty() {
                    true => self.try_apply(live, config, manager, true),
                    false => Err(others),
                }
            }
            result => result,
        }
        .map(|mut object| {
            if manager == last_applied::KUBECTL {
                last_applied::refresh(live, &mut object, config);
            }
            object
        })
        .map_err(|conflicts| ApplyError::Conflicts(conflicts.into_iter().map(|(conflict, _)| conflict).collect()))
    }

    fn try_apply(&self, live: &Value, config: &Value, manager: &str, force: bool) -> Result<Value, Vec<(Conflict, Vec<PathElement>)>> {
        let mut managed = record(live).unwrap_or_default();
        let mut live = live.clone();
        live.remove_at(&["metadata", "managedFields"]);
        if managed.entries.is_empty() {
            managed = self.updated(&Value::object(), &live, managed, BEFORE_FIRST_APPLY);
        }
        let owned = field_set(config, self.ty).difference(stripped()).recursive_difference(self.reset_fields);
        let me = ManagedEntry {
            manager: manager.into(),
            operation: Operation::Apply,
            api_version: self.api_version.into(),
            subresource: self.subresource.into(),
            time: Some(self.now),
            fields: owned,
        };
        // A manager that moves to another version of the API keeps one entry.
        let mine = |entry: &ManagedEntry| {
            entry.manager == me.manager && entry.operation == Operation::Apply && entry.subresource == me.subresource
        };
        let last = managed.entries.iter().find(|entry| mine(entry) && entry.api_version == self.api_version).cloned();
        let mut others = managed.clone();
        others.entries.retain(|entry| !me.same_manager(entry));

        let merged = merge(&live, config, self.ty);
        let merged = match &last {
            Some(last) if !last.fields.is_empty() => self.prune(merged, &others, &me.fields, &last.fields),
            _ => merged,
        };
        let difference = compare(&live, &merged, self.ty).without(self.reset_fields);
        let conflicts = self.take_from_others(&live, &merged, &difference, &mut others);
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        let unchanged = difference.is_same();
        let mut object = if unchanged { live } else { merged };
        let time = match (&last, unchanged) {
            (Some(last), true) => last.time,
            _ => me.time,
        };
        if !me.fields.is_empty() {
            others.entries.push(ManagedEntry { time, ..me });
        }
        self.store(&mut object, &others);
        Ok(object)
    }

    fn difference(&self, live: &Value, new: &Value) -> Comparison {
        compare(live, new, self.ty).without(the_record()).without(self.reset_fields)
    }

    fn note(&self, live: &Value, new: &Value, difference: &Comparison, mut managed: Managed, manager: &str) -> Managed {
        if difference.is_same() {
            return managed;
        }
        self.take_from_others(live, new, difference, &mut managed);
        let fields = difference.modified.union(&difference.added).difference(stripped());
        if !fields.is_empty() {
            managed.add(ManagedEntry {
                manager: if manager.is_empty() { "unknown".into() } else { manager.into() },
                operation: Operation::Update,
                api_version: self.api_version.into(),
                subresource: self.subresource.into(),
                time: Some(self.now),
                fields,
            });
        }
        managed
    }

    /// Takes changed and removed fields from those who own them; gives back the changed ones that somebody owned.
    fn take_from_others(
        &self,
        live: &Value,
        new: &Value,
        difference: &Comparison,
        managed: &mut Managed,
    ) -> Vec<(Conflict, Vec<PathElement>)> {
        let mut conflicts = Vec::new();
        let changed = difference.modified.union(&difference.added);
        for entry in &mut managed.entries {
            let converted = (entry.api_version != self.api_version).then(|| self.compare_in(&entry.api_version, live, new)).flatten();
            let (changed, removed) = match &converted {
                Some(difference) => (&difference.modified.union(&difference.added), &difference.removed),
                None => (&changed, &difference.removed),
            };
            let lost = entry.fields.intersection(changed);
            if !lost.is_empty() {
                let manager = entry.shown();
                conflicts.extend(lost.elements().into_iter().map(|path| {
                    let field = path.iter().map(ToString::to_string).collect();
                    (Conflict { manager: manager.clone(), field }, path)
                }));
                entry.fields = entry.fields.difference(&lost);
            }
            entry.fields = entry.fields.difference(removed);
        }
        managed.entries.retain(|entry| !entry.fields.is_empty());
        conflicts
    }

    fn compare_in(&self, api_version: &str, live: &Value, new: &Value) -> Option<Comparison> {
        let versions = self.versions?;
        let (live, ty) = versions.convert(live, api_version)?;
        let (new, _) = versions.convert(new, api_version)?;
        Some(compare(&live, &new, ty).without(self.reset_fields))
    }

    /// Removes what the manager's last configuration had, this one lacks and nobody else owns.
    fn prune(&self, merged: Value, others: &Managed, now_owned: &FieldSet, last: &FieldSet) -> Value {
        let last = last.with_named_parents();
        let owned = others.entries.iter().fold(now_owned.clone(), |owned, entry| owned.union(&entry.fields)).with_named_parents();
        let merged_fields = field_set(&merged, self.ty).with_named_parents();

        let pruned = remove(&merged, &last, self.ty);
        let kept = field_set(&pruned, self.ty).with_named_parents();
        // Add back what somebody owns,
        let pruned = remove(&merged, &merged_fields.difference(&kept.union(&owned)), self.ty);
        let kept = field_set(&pruned, self.ty).with_named_parents();
        // and what went along with it but never was the manager's.
        remove(&merged, &merged_fields.difference(&kept).intersection(&last), self.ty)
    }

    fn store(&self, object: &mut Value, managed: &Managed) {
        if managed.entries.is_empty() {
            object.remove_at(&["metadata", "managedFields"]);
        } else {
            object.set_at(&["metadata", "managedFields"], managed.to_value());
        }
    }
}

fn record(object: &Value) -> Option<Managed> {
    Managed::from_value(object.at(&["metadata", "managedFields"])?)
}

/// The record a request starts from: its own if it has one that can be read, else that of the stored object. A client clears the
/// record by sending an empty list, or a list of one empty entry.
fn record_of_request(own: Option<&Value>, stored: Option<&Value>) -> Managed {
    match own {
        Some(Value::Array(entries)) if entries.is_empty() => return Managed::default(),
        Some(Value::Array(entries)) if matches!(&entries[..], [Value::Object(entry)] if entry.is_empty()) => return Managed::default(),
        _ => {}
    }
    let own = own.and_then(Managed::from_value).filter(|own| !own.entries.is_empty());
    own.or_else(|| stored.and_then(Managed::from_value)).unwrap_or_default()
}

/// Where the record is; it is nobody's field.
fn the_record() -> &'static FieldSet {
    static RECORD: std::sync::OnceLock<FieldSet> = std::sync::OnceLock::new();
    RECORD.get_or_init(|| FieldSet::of_fields(&[&["metadata", "managedFields"]]))
}

/// The object in messages: `namespace/name; apps/v1, Kind=Deployment`.
fn describe(config: &Value) -> String {
    let text = |path: &[&str]| config.str_at(path).unwrap_or_default();
    let (api_version, kind) = (text(&["apiVersion"]), text(&["kind"]));
    let (namespace, name) = (text(&["metadata", "namespace"]), text(&["metadata", "name"]));
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{namespace}/{name}; {slash}{api_version}, Kind={kind}")
}

/// Fields nobody owns: they name the object, or the server sets them.
fn stripped() -> &'static FieldSet {
    static STRIPPED: std::sync::OnceLock<FieldSet> = std::sync::OnceLock::new();
    STRIPPED.get_or_init(|| {
        FieldSet::of_fields(&[
            &["apiVersion"],
            &["kind"],
            &["metadata"],
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["metadata", "creationTimestamp"],
            &["metadata", "selfLink"],
            &["metadata", "uid"],
            &["metadata", "clusterName"],
            &["metadata", "generation"],
            &["metadata", "managedFields"],
            &["metadata", "resourceVersion"],
        ])
    })
}
