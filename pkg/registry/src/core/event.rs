//! Events. events.k8s.io shows the same objects with other names of their fields. Upstream: pkg/registry/core/event, pkg/apis/core/validation/events.go.

use api::core::v1::{Event, EventSeries};
use api::events::v1 as newer;
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::convert::Functions;
use apiserver::rest::{ResourceDef, Strategy};

use crate::printers::{UNKNOWN, age_text};
use crate::validation::fields::{IMMUTABLE, extend_invalid, json_value};
use crate::validation::meta::generic_object_meta;
use crate::validation::{go_value, object_meta_update};

/// Events, kept for so many seconds.
pub fn resource(ttl_seconds: u64) -> ResourceDef {
    let convert = Functions { default_object: |_: &mut newer::Event| {}, to_hub, from_hub };
    ResourceDef::stored(EventStrategy { ttl_seconds }).version(convert)
}

/// Rules of Events.
#[derive(Clone, Copy, Debug)]
pub struct EventStrategy {
    ttl_seconds: u64,
}

impl Strategy for EventStrategy {
    type Object = Event;

    fn validate(&self, context: &RequestContext, event: &Event) -> ErrorList {
        let newer = is_newer(context);
        let mut errors = legacy(event, newer);
        if newer {
            errors.extend(created_by_newer(event));
        }
        if errors.is_empty() {
            errors = generic_object_meta(&event.metadata, true, names::name_is_path_segment, &Path::new("metadata"));
        }
        errors
    }

    fn validate_update(&self, context: &RequestContext, new: &Event, old: &Event) -> ErrorList {
        let newer = is_newer(context);
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(legacy(new, newer));
        if newer {
            errors.extend(updated_by_newer(new, old));
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn selectable_fields(&self, event: &Event) -> Vec<(&'static str, String)> {
        let about = &event.involved_object;
        let source = if event.source.component.is_empty() { &event.reporting_component } else { &event.source.component };
        vec![
            ("involvedObject.kind", about.kind.clone()),
            ("involvedObject.namespace", about.namespace.clone()),
            ("involvedObject.name", about.name.clone()),
            ("involvedObject.uid", about.uid.clone()),
            ("involvedObject.apiVersion", about.api_version.clone()),
            ("involvedObject.resourceVersion", about.resource_version.clone()),
            ("involvedObject.fieldPath", about.field_path.clone()),
            ("reason", event.reason.clone()),
            ("reportingComponent", event.reporting_component.clone()),
            ("source", source.clone()),
            ("type", event.type_.clone()),
        ]
    }

    fn ttl_seconds(&self, _: &Event) -> Option<u64> {
        Some(self.ttl_seconds)
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::name_is_path_segment(name, prefix)
    }

    fn table_cells(&self, event: &Event, now: Time) -> Option<Vec<Value>> {
        Some(cells(event, now))
    }
}

fn is_newer(context: &RequestContext) -> bool {
    context.info.group == "events.k8s.io"
}

/// What both versions ask of an event; strict only for one that has an event time.
fn legacy(event: &Event, newer: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let about = &event.involved_object.namespace;
    let involved = Path::new("involvedObject");
    let mut mismatch = |wrong: bool| {
        if wrong {
            errors.push(Error::invalid(&involved.child("namespace"), about, "does not match event.namespace"));
        }
    };
    if event.event_time.is_zero() {
        mismatch(match about.as_str() {
            "" => !matches!(event.metadata.namespace.as_str(), "" | "default"),
            about => about != event.metadata.namespace,
        });
    } else {
        mismatch(about.is_empty() && !matches!(event.metadata.namespace.as_str(), "default" | "kube-system"));
        let component = Path::new(if newer { "reportingController" } else { "reportingComponent" });
        if event.reporting_component.is_empty() {
            errors.push(Error::required(&component, ""));
        }
        extend_invalid(&mut errors, &component, &event.reporting_component, names::is_qualified_name(&event.reporting_component));
        for (name, value) in [("reportingInstance", &event.reporting_instance), ("action", &event.action), ("reason", &event.reason)] {
            let path = Path::new(name);
            if value.is_empty() {
                errors.push(Error::required(&path, ""));
            }
            errors.extend(at_most(value, 128, &path));
        }
        errors.extend(at_most(&event.message, 1024, &Path::new("message")));
    }
    extend_invalid(&mut errors, &Path::new("namespace"), &event.metadata.namespace, names::is_dns1123_subdomain(&event.metadata.namespace));
    errors
}

fn at_most(value: &str, max: usize, path: &Path<'_>) -> Option<Error> {
    (value.len() > max).then(|| Error::invalid(path, "", format!("can have at most {max} characters")))
}

/// What events.k8s.io asks of a new event besides.
fn created_by_newer(event: &Event) -> ErrorList {
    let mut errors = ErrorList::new();
    if event.event_time.is_zero() {
        errors.push(Error::required(&Path::new("eventTime"), ""));
    }
    if let Some(series) = &event.series {
        errors.extend(series_errors(series));
    }
    if !matches!(event.type_.as_str(), "Normal" | "Warning") {
        errors.push(Error::invalid(&Path::new("type"), "", format!("has invalid value: {}", event.type_)));
    }
    for (name, set) in [
        ("firstTimestamp", !event.first_timestamp.is_zero()),
        ("lastTimestamp", !event.last_timestamp.is_zero()),
        ("count", event.count != 0),
        ("source", !event.source.component.is_empty() || !event.source.host.is_empty()),
    ] {
        if set {
            errors.push(Error::invalid(&Path::new(name), "", "needs to be unset"));
        }
    }
    errors
}

fn series_errors(series: &EventSeries) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("series");
    if series.count < 2 {
        errors.push(Error::invalid(&path.child("count"), "", "should be at least 2"));
    }
    if series.last_observed_time.is_zero() {
        errors.push(Error::required(&path.child("lastObservedTime"), ""));
    }
    errors
}

/// Through events.k8s.io only the series of an event changes.
fn updated_by_newer(new: &Event, old: &Event) -> ErrorList {
    let mut errors = ErrorList::new();
    if new.series != old.series
        && let Some(series) = &new.series
    {
        errors.extend(series_errors(series));
    }
    let time = |time: Time| if time.is_zero() { BadValue::json("null") } else { time.to_string().into() };
    let mut fixed = |name: &str, same: bool, shown: BadValue| {
        if !same {
            errors.push(Error::invalid(&Path::new(name), shown, IMMUTABLE));
        }
    };
    fixed("involvedObject", new.involved_object == old.involved_object, go_value(&new.involved_object));
    fixed("reason", new.reason == old.reason, (&new.reason).into());
    fixed("message", new.message == old.message, (&new.message).into());
    fixed("source", new.source == old.source, go_value(&new.source));
    fixed("firstTimestamp", new.first_timestamp == old.first_timestamp, time(new.first_timestamp));
    fixed("lastTimestamp", new.last_timestamp == old.last_timestamp, time(new.last_timestamp));
    fixed("count", new.count == old.count, new.count.into());
    fixed("type", new.type_ == old.type_, (&new.type_).into());
    let shown = if new.event_time.is_zero() { BadValue::json("null") } else { new.event_time.to_string().into() };
    fixed("eventTime", new.event_time == old.event_time, shown);
    fixed("action", new.action == old.action, (&new.action).into());
    let related = new.related.as_deref().map_or(BadValue::json("null"), json_value);
    fixed("related", new.related == old.related, related);
    fixed("reportingController", new.reporting_component == old.reporting_component, (&new.reporting_component).into());
    fixed("reportingInstance", new.reporting_instance == old.reporting_instance, (&new.reporting_instance).into());
    errors
}

fn cells(event: &Event, now: Time) -> Vec<Value> {
    let since = |time: Time| age_text(time, now);
    let since_micro = |micros: i64| age_text(Time::from_unix(micros.div_euclid(1_000_000)), now);
    let mut first_seen = since(event.first_timestamp);
    if event.first_timestamp.is_zero() && !event.event_time.is_zero() {
        first_seen = since_micro(event.event_time.unix_micros());
    }
    let mut last_seen = since(event.last_timestamp);
    if event.last_timestamp.is_zero() {
        last_seen.clone_from(&first_seen);
    }
    let mut count = i64::from(event.count);
    if let Some(series) = &event.series {
        last_seen = match series.last_observed_time.is_zero() {
            true => UNKNOWN.to_owned(),
            false => since_micro(series.last_observed_time.unix_micros()),
        };
        count = i64::from(series.count);
    } else if count == 0 {
        // An event of events.k8s.io that was seen once has no series.
        count = 1;
    }
    let about = &event.involved_object;
    let target = match about.name.is_empty() {
        true => about.kind.to_lowercase(),
        false => format!("{}/{}", about.kind.to_lowercase(), about.name),
    };
    vec![
        last_seen.into(),
        event.type_.clone().into(),
        event.reason.clone().into(),
        target.into(),
        about.field_path.clone().into(),
        source_text(event).into(),
        event.message.trim().into(),
        first_seen.into(),
        count.into(),
        event.metadata.name.clone().into(),
    ]
}

fn source_text(event: &Event) -> String {
    let component = if event.source.component.is_empty() { &event.reporting_component } else { &event.source.component };
    let host = if event.source.host.is_empty() { &event.reporting_instance } else { &event.source.host };
    if host.is_empty() { component.clone() } else { format!("{component}, {host}") }
}

fn to_hub(event: newer::Event) -> Event {
    let series = event.series.map(|series| Box::new(EventSeries { count: series.count, last_observed_time: series.last_observed_time }));
    Event {
        metadata: event.metadata,
        involved_object: event.regarding,
        reason: event.reason,
        message: event.note,
        source: event.deprecated_source,
        first_timestamp: event.deprecated_first_timestamp,
        last_timestamp: event.deprecated_last_timestamp,
        count: event.deprecated_count,
        type_: event.type_,
        event_time: event.event_time,
        series,
        action: event.action,
        related: event.related,
        reporting_component: event.reporting_controller,
        reporting_instance: event.reporting_instance,
        ..Event::default()
    }
}

fn from_hub(event: Event) -> newer::Event {
    let series =
        event.series.map(|series| Box::new(newer::EventSeries { count: series.count, last_observed_time: series.last_observed_time }));
    newer::Event {
        metadata: event.metadata,
        event_time: event.event_time,
        series,
        reporting_controller: event.reporting_component,
        reporting_instance: event.reporting_instance,
        action: event.action,
        reason: event.reason,
        regarding: event.involved_object,
        related: event.related,
        note: event.message,
        type_: event.type_,
        deprecated_source: event.source,
        deprecated_first_timestamp: event.first_timestamp,
        deprecated_last_timestamp: event.last_timestamp,
        deprecated_count: event.count,
        ..newer::Event::default()
    }
}
