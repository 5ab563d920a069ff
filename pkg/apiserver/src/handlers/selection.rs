//! Which objects a list or watch is about. Upstream: apiserver/pkg/storage/selection_predicate.go.

use apimachinery::status::StatusError;
use apimachinery::{fields, labels};

use super::Call;
use crate::cache::{Entry, Route};

/// Namespace, label selector and field selector of a request.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub namespace: String,
    pub labels: labels::Selector,
    pub fields: fields::Selector,
}

impl Selection {
    /// Reads the selectors of a request, with field labels as the strategy's kind names them.
    pub fn of(call: &Call) -> Result<Selection, StatusError> {
        let labels =
            labels::Selector::parse(call.query.get("labelSelector")).map_err(|error| StatusError::bad_request(error.to_string()))?;
        let asked =
            fields::Selector::parse(call.query.get("fieldSelector")).map_err(|error| StatusError::bad_request(error.to_string()))?;
        let mut fields = asked.transform(|label, value| match call.facts.field_label(label) {
            Some(known) => Ok((known.to_owned(), value.to_owned())),
            None => Err(StatusError::bad_request(unknown_label(call, label))),
        })?;
        // `/watch/.../name`, and single objects by name.
        let name = call.name();
        if !name.is_empty() {
            match fields.requires_exact_match("metadata.name") {
                Some(found) if found != name => {
                    return Err(StatusError::bad_request("both a name and a field selector provided; please provide one or the other"));
                }
                Some(_) => {}
                None => fields = fields::Selector::equal("metadata.name", name),
            }
        }
        Ok(Selection { namespace: call.namespace().to_owned(), labels, fields })
    }

    /// Whether every object of the namespace is meant.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object is meant. Its namespace has been looked at.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.labels.matches(&entry.labels) && self.fields.matches(|label| entry.field(label))
    }

    /// The only name that can match.
    pub fn name(&self) -> Option<&str> {
        self.fields.requires_exact_match("metadata.name")
    }

    /// Where events for this selection can come from.
    pub fn route(&self, index_field: Option<&'static str>) -> Route {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Route {
            namespace: some(&self.namespace).or_else(|| self.fields.requires_exact_match("metadata.namespace").and_then(some)),
            name: self.name().map(str::to_owned),
            index: index_field.and_then(|field| self.fields.requires_exact_match(field)).map(str::to_owned),
        }
    }
}

/// Kinds with field labels of their own name the bad one; all others list what they have.
fn unknown_label(call: &Call, label: &str) -> String {
    if call.facts.group == "resource.k8s.io" && call.facts.has_own_field_labels() {
        return format!("field label not supported for {}, Kind={}: {label}", call.facts.group_version(), call.facts.kind);
    }
    if call.facts.has_own_field_labels() {
        return format!("field label not supported: {label}");
    }
    let known = "\"metadata.name\", \"metadata.namespace\"";
    format!("{} is not a known field selector: only {known}", apimachinery::gotext::quote(label))
}
