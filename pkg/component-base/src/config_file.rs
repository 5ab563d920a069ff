//! Config files (`--config`): YAML or JSON of a versioned kind, decoded strictly, with upstream's defaults filled in.
//!
//! As with flags, a component names the fields it honours; any other field may only say what holds anyway. The plain
//! default rules come from `api/component-config.json` by way of `config_file/defaults.txt`, which a test keeps equal
//! to it. Rules that depend on other fields or on gates stay with the component.

use std::path::{Path, PathBuf};

use apimachinery::Value;
use apimachinery::json;
use apimachinery::schema::{Field, Schema, Type};
use apimachinery::wire::Message;
use apimachinery::yaml;

use crate::duration;
use crate::problems::Problems;

const TABLE: &str = include_str!("config_file/defaults.txt");

/// A kind of config file, as one component reads it.
#[derive(Clone, Copy, Debug)]
pub struct ConfigFile<'a> {
    /// `kubelet.config.k8s.io/v1beta1`.
    pub api_version: &'a str,
    pub kind: &'a str,
    /// Paths of fields that the component acts upon (`authentication.webhook`); what lies below them included.
    pub honoured: &'a [&'a str],
    /// Defaults besides the table's: path and JSON.
    pub more_defaults: &'a [(&'a str, &'a str)],
}

impl ConfigFile<'_> {
    /// The config of a component that was given no file.
    pub fn defaults<M: Message>(&self) -> M {
        let mut value = Value::object();
        self.fill_in(M::SCHEMA, &mut value);
        json::from_slice(&value.to_vec()).expect("the defaults fit their type")
    }

    /// Reads a file.
    pub fn load<M: Message>(&self, path: &Path) -> Result<M, Problems> {
        let text = std::fs::read(path).map_err(|error| Problems::one(format_args!("open {}: {error}", path.display())))?;
        self.read(&text).map_err(|problems| {
            let mut named = Problems::new();
            problems.iter().for_each(|problem| named.push(format_args!("{}: {problem}", path.display())));
            named
        })
    }

    /// Reads the text of a file.
    pub fn read<M: Message>(&self, text: &[u8]) -> Result<M, Problems> {
        let mut problems = Problems::new();
        let parsed = yaml::parse_strict(text).map_err(Problems::one)?;
        let mut value = parsed.value;
        self.check_kind(&mut value)?;
        // Read once as it is, for complaints about what was written; then again with the defaults.
        let (_, unknown) = json::from_slice_strict::<M>(&value.to_vec()).map_err(Problems::one)?;
        let faults: Vec<String> = parsed.duplicates.into_iter().chain(unknown).collect();
        if !faults.is_empty() {
            problems.push(format_args!("strict decoding error: {}", faults.join(", ")));
        }
        let mut changed = Vec::new();
        self.find_unsupported(M::SCHEMA, &mut Vec::new(), &value, &mut changed);
        for path in changed {
            problems.push(format_args!("field {path} of {} is not supported yet by this build", self.kind));
        }
        self.fill_in(M::SCHEMA, &mut value);
        let config = problems.take(json::from_slice(&value.to_vec()));
        problems.finish(config)
    }

    /// Takes `apiVersion` and `kind` out, if they are the right ones.
    fn check_kind(&self, value: &mut Value) -> Result<(), Problems> {
        let Some(object) = value.as_object_mut() else {
            return Err(Problems::one(format_args!("couldn't get version/kind; want {} {}", self.api_version, self.kind)));
        };
        let mut take = |key: &str| object.remove(key).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
        let (kind, version) = (take("kind"), take("apiVersion"));
        if kind.is_empty() || version.is_empty() {
            let missing = if kind.is_empty() { "Kind" } else { "apiVersion" };
            return Err(Problems::one(format_args!("Object '{missing}' is missing; want {} {}", self.api_version, self.kind)));
        }
        if kind != self.kind || version != self.api_version {
            let problem = format_args!("no kind {kind:?} is registered for version {version:?}; want {} {}", self.api_version, self.kind);
            return Err(Problems::one(problem));
        }
        Ok(())
    }

    fn rules<'s>(&'s self, schema: &'static Schema) -> impl Iterator<Item = (&'s str, &'s str)> {
        let of_table = TABLE.lines().skip_while(|line| line.strip_prefix("# ") != Some(schema.full_name)).skip(1);
        let of_table = of_table.take_while(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'));
        of_table.chain(self.more_defaults.iter().copied())
    }

    fn fill_in(&self, schema: &'static Schema, value: &mut Value) {
        for (path, json) in self.rules(schema) {
            let path: Vec<&str> = path.split('.').collect();
            let field = field_at(schema, &path);
            let unset = value.at(&path).is_none_or(|value| is_unset(field, value));
            if unset {
                value.set_at(&path, Value::parse(json.as_bytes()).expect("a test reads every rule"));
            }
        }
    }

    /// Collects the paths of fields that are set, differ from their default and are not honoured.
    fn find_unsupported(&self, schema: &'static Schema, path: &mut Vec<String>, value: &Value, found: &mut Vec<String>) {
        let here = path.join(".");
        let below = |honoured: &str| here.strip_prefix(honoured).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if self.honoured.iter().any(|honoured| below(honoured)) {
            return;
        }
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let field = field_at(schema, &names);
        if let Some(object) = value.as_object()
            && (path.is_empty() || matches!(field.map(|field| field.ty), Some(Type::Struct(_))))
        {
            for (key, value) in object.iter() {
                path.push(key.to_owned());
                self.find_unsupported(schema, path, value, found);
                path.pop();
            }
            return;
        }
        // An unknown field has been complained of already.
        let Some(field) = field else { return };
        let default = self.rules(schema).find(|(rule, _)| *rule == here).and_then(|(_, json)| Value::parse(json.as_bytes()).ok());
        let same = match default {
            Some(default) => is_unset(Some(field), value) || equal(field, value, &default),
            None => value.is_null() || is_zero(value),
        };
        if !same {
            found.push(here);
        }
    }
}

/// The field behind a path of member names, through structs only.
fn field_at(schema: &'static Schema, path: &[&str]) -> Option<&'static Field> {
    let (last, parents) = path.split_last()?;
    let owner = parents.iter().try_fold(schema, |schema, name| match schema.field(name)?.ty {
        Type::Struct(inner) => Some(inner),
        _ => None,
    })?;
    owner.field(last)
}

/// Whether Go would take the value for unset: null, or a zero that no pointer tells from nothing.
fn is_unset(field: Option<&Field>, value: &Value) -> bool {
    value.is_null() || (field.is_some_and(|field| !field.pointer && !matches!(field.ty, Type::List(_) | Type::Map(_))) && is_zero(value))
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Int(number) => *number == 0,
        Value::Float(number) => *number == 0.0,
        Value::String(text) => text.is_empty() || duration::parse_nanos(text) == Ok(0),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}

fn equal(field: &Field, left: &Value, right: &Value) -> bool {
    if let (Type::Duration, Some(left), Some(right)) = (field.ty, left.as_str(), right.as_str()) {
        return duration::parse_nanos(left) == duration::parse_nanos(right);
    }
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

/// A path in a config file, which is relative to the folder of that file.
pub fn resolve(config: &Path, path: &str) -> PathBuf {
    match config.parent() {
        Some(folder) => folder.join(path),
        None => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests;
