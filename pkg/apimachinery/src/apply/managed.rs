//! `metadata.managedFields`: who set which fields, when and how.

use super::set::FieldSet;
use crate::meta::v1::ManagedFieldsEntry;
use crate::value::{Object, Value};
use crate::{List, RawJson, Time};

/// More managers that merely updated than this are merged into one.
pub const MAX_UPDATE_MANAGERS: usize = 10;

/// The manager that holds the fields of the oldest updates.
pub const ANCIENT_CHANGES: &str = "ancient-changes";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// The fields of one manager.
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedEntry {
    pub manager: String,
    pub operation: Operation,
    pub api_version: String,
    pub subresource: String,
    pub time: Option<Time>,
    pub fields: FieldSet,
}

impl ManagedEntry {
    /// Same manager in the same role: its fields go into one entry.
    pub fn same_manager(&self, other: &ManagedEntry) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && self.api_version == other.api_version
    }

    /// The manager as messages name it.
    pub fn shown(&self) -> String {
        let mut text = crate::gotext::quote(&self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {}", crate::gotext::quote(&self.subresource)));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managed {
    pub entries: Vec<ManagedEntry>,
}

impl Managed {
    /// Reads `metadata.managedFields`; none if an entry is not understood, which is then best treated as if there were none.
    pub fn from_value(fields: &Value) -> Option<Self> {
        let entries = match fields {
            Value::Null => &[][..],
            Value::Array(entries) => entries,
            _ => return None,
        };
        let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut managed = Managed::default();
        for entry in entries {
            let time = match entry.get("time").and_then(Value::as_str) {
                Some(time) => Some(time.parse().ok()?),
                None => None,
            };
            managed.push(ManagedEntry {
                manager: text(entry, "manager"),
                operation: operation(&text(entry, "operation"))?,
                api_version: text(entry, "apiVersion"),
                subresource: text(entry, "subresource"),
                time,
                fields: supported(&text(entry, "fieldsType"))?.then(|| FieldSet::from_value(&entry["fieldsV1"]))?,
            });
        }
        Some(managed)
    }

    /// As [`Managed::from_value`], from a typed object's metadata.
    pub fn from_meta(fields: &[ManagedFieldsEntry]) -> Option<Self> {
        let mut managed = Managed::default();
        for entry in fields {
            let set = match &entry.fields_v1 {
                Some(json) => FieldSet::from_json(json.as_bytes()).ok()?,
                None => FieldSet::default(),
            };
            supported(&entry.fields_type)?;
            managed.push(ManagedEntry {
                manager: entry.manager.clone(),
                operation: operation(&entry.operation)?,
                api_version: entry.api_version.clone(),
                subresource: entry.subresource.clone(),
                time: entry.time,
                fields: set,
            });
        }
        Some(managed)
    }

    fn push(&mut self, entry: ManagedEntry) {
        match self.entries.iter_mut().find(|other| other.same_manager(&entry)) {
            Some(other) => *other = entry,
            None => self.entries.push(entry),
        }
    }

    /// Sorts as upstream: by operation, time, manager, version, subresource.
    fn sorted(&self) -> Vec<&ManagedEntry> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by(|a, b| {
            let seconds = |entry: &ManagedEntry| entry.time.map_or(0, Time::unix);
            (a.operation, seconds(a), &a.manager, &a.api_version, &a.subresource).cmp(&(
                b.operation,
                seconds(b),
                &b.manager,
                &b.api_version,
                &b.subresource,
            ))
        });
        entries
    }

    pub fn to_value(&self) -> Value {
        let entries = self.sorted().into_iter().map(|entry| {
            let mut object = Object::with_capacity(7);
            object.insert("manager", entry.manager.as_str());
            object.insert("operation", entry.operation.as_str());
            object.insert("apiVersion", entry.api_version.as_str());
            if let Some(time) = &entry.time {
                object.insert("time", time.to_string());
            }
            object.insert("fieldsType", "FieldsV1");
            object.insert("fieldsV1", entry.fields.to_value());
            if !entry.subresource.is_empty() {
                object.insert("subresource", entry.subresource.as_str());
            }
            object
        });
        entries.collect()
    }

    pub fn to_meta(&self) -> List<ManagedFieldsEntry> {
        let entries = self.sorted().into_iter().map(|entry| ManagedFieldsEntry {
            manager: entry.manager.clone(),
            operation: entry.operation.as_str().into(),
            api_version: entry.api_version.clone(),
            time: entry.time,
            fields_type: "FieldsV1".into(),
            fields_v1: Some(RawJson::new(entry.fields.to_json())),
            subresource: entry.subresource.clone(),
        });
        entries.collect::<Vec<_>>().into()
    }

    /// Adds fields to a manager's entry.
    pub(super) fn add(&mut self, entry: ManagedEntry) {
        match self.entries.iter_mut().find(|other| other.same_manager(&entry)) {
            Some(other) => {
                other.fields = other.fields.union(&entry.fields);
                other.time = entry.time;
            }
            None => self.entries.push(entry),
        }
    }

    /// Merges the oldest updates of a version into one entry, until few enough are left.
    pub(super) fn cap_updates(&mut self) {
        let mut updates: Vec<ManagedEntry> = self.entries.iter().filter(|entry| entry.operation == Operation::Update).cloned().collect();
        let mut count = updates.len();
        if count <= MAX_UPDATE_MANAGERS {
            return;
        }
        updates.sort_by(|a, b| {
            let seconds = |entry: &ManagedEntry| entry.time.map_or(i64::MIN, Time::unix);
            (seconds(a), &a.manager).cmp(&(seconds(b), &b.manager))
        });
        let mut first_of_version: Vec<ManagedEntry> = Vec::new();
        for update in updates {
            if count <= MAX_UPDATE_MANAGERS {
                return;
            }
            let Some(first) = first_of_version.iter().find(|first| first.api_version == update.api_version) else {
                first_of_version.push(update);
                continue;
            };
            let bucket = ManagedEntry { manager: ANCIENT_CHANGES.into(), subresource: String::new(), ..update.clone() };
            if !self.entries.iter().any(|entry| entry.same_manager(&bucket)) {
                self.entries.retain(|entry| !entry.same_manager(first));
                self.entries.push(ManagedEntry { fields: first.fields.clone(), ..bucket.clone() });
            }
            self.entries.retain(|entry| !entry.same_manager(&update) || entry.same_manager(&bucket));
            self.add(bucket);
            count -= 1;
        }
    }
}

fn operation(text: &str) -> Option<Operation> {
    match text {
        "Apply" => Some(Operation::Apply),
        "Update" => Some(Operation::Update),
        _ => None,
    }
}

fn supported(fields_type: &str) -> Option<bool> {
    (fields_type == "FieldsV1" || fields_type.is_empty()).then_some(true)
}
