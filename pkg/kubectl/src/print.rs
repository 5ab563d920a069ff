//! What commands print: tables, documents, names, templates. Upstream: `k8s.io/cli-runtime/pkg/{genericclioptions,printers}`.

pub mod age;
pub mod columns;
pub mod jsonpath;
pub mod plain;
pub mod tab;
pub mod table;

use std::cell::Cell;

use apimachinery::value::Object;
use apimachinery::{Value, yaml};

use crate::context::{Context, out, outln};
use crate::failure::Failure;
use crate::flags::Line;
use columns::CustomColumns;
use jsonpath::Template;

/// What `-o` asks for.
#[derive(Clone, Debug)]
pub enum Format {
    /// Whatever the command prints for people.
    Human,
    Wide,
    Json,
    Yaml,
    Name,
    JsonPath {
        template: Template,
        lenient: bool,
    },
    /// The values found, each as JSON in one array.
    JsonPathAsJson {
        template: Template,
        lenient: bool,
    },
    CustomColumns(CustomColumns),
}

const FORMATS: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,template,templatefile,wide,yaml";

impl Format {
    pub fn of(line: &Line) -> Result<Format, Failure> {
        let text = line.text("output");
        let (name, argument) = text.split_once('=').unwrap_or((text, ""));
        let argument = if argument.is_empty() { line.text("template") } else { argument };
        let lenient = !line.has("allow-missing-template-keys") || line.bool("allow-missing-template-keys");
        let read =
            |path: &str| std::fs::read_to_string(path).map_err(|err| Failure::text(format!("error reading --template {path}, {err}")));
        let template = |text: &str| {
            if text.is_empty() {
                return Err(Failure::text("template format specified but no template given"));
            }
            Template::parse(text).map_err(|err| Failure::text(format!("error parsing jsonpath {text}, {err}")))
        };
        let columns = |result: Result<CustomColumns, String>| result.map(Format::CustomColumns).map_err(Failure::text);
        Ok(match name {
            "" => Format::Human,
            "wide" => Format::Wide,
            "json" => Format::Json,
            "yaml" => Format::Yaml,
            "name" => Format::Name,
            "jsonpath" => Format::JsonPath { template: template(argument)?, lenient },
            "jsonpath-as-json" => Format::JsonPathAsJson { template: template(argument)?, lenient },
            "jsonpath-file" => Format::JsonPath { template: template(&read(argument)?)?, lenient },
            "custom-columns" => columns(CustomColumns::parse(argument))?,
            "custom-columns-file" => columns(CustomColumns::parse_file(&read(argument)?))?,
            "go-template" | "go-template-file" | "template" | "templatefile" => {
                return Err(Failure::text(format!("output format {name:?} is not supported yet by this build")));
            }
            other => {
                return Err(Failure::text(format!(
                    "unable to match a printer suitable for the output format {other:?}, allowed formats are: {FORMATS}"
                )));
            }
        })
    }

    pub fn is_for_people(&self) -> bool {
        matches!(self, Format::Human | Format::Wide)
    }
}

/// JSON as kubectl prints it.
pub fn json(value: &Value) -> String {
    let mut text = value.to_vec_indented("    ");
    text.push(b'\n');
    String::from_utf8_lossy(&text).into_owned()
}

/// `kind/name` of any object.
pub fn name_of(object: &Value) -> String {
    let group = object.str_at(&["apiVersion"]).and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
    let kind = object.str_at(&["kind"]).unwrap_or_default().to_lowercase();
    let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
    if group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{group}/{name}") }
}

/// The object as documents show it: keys in order, without the record of field owners unless it is asked for.
pub fn shown(object: &Value, managed_fields: bool) -> Value {
    let mut object = object.clone();
    if !managed_fields {
        object.remove_at(&["metadata", "managedFields"]);
        for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            item.remove_at(&["metadata", "managedFields"]);
        }
    }
    object.sort_keys();
    object
}

/// The `List` that several objects are printed as.
pub fn list_of(items: Vec<Value>) -> Value {
    let mut list = Object::new();
    list.insert("apiVersion", "v1");
    list.insert("items", Value::Array(items));
    list.insert("kind", "List");
    let mut list = Value::from(list);
    list.set_at(&["metadata", "resourceVersion"], "");
    list
}

/// `--dry-run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    None,
    Client,
    Server,
}

impl DryRun {
    pub fn of(line: &Line) -> Result<DryRun, Failure> {
        match line.text("dry-run") {
            "" | "none" => Ok(DryRun::None),
            "client" => Ok(DryRun::Client),
            "server" => Ok(DryRun::Server),
            "unchanged" => {
                crate::context::warn("--dry-run is deprecated and can be replaced with --dry-run=client.");
                Ok(DryRun::Client)
            }
            other => Err(Failure::text(format!("Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."))),
        }
    }

    pub fn suffix(self) -> &'static str {
        match self {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }
}

/// Tells what a command did to each object, in the form that `-o` asks for.
pub struct Printer {
    format: Format,
    pub dry_run: DryRun,
    managed_fields: bool,
    printed: Cell<bool>,
}

impl Printer {
    pub fn of(ctx: &Context) -> Result<Printer, Failure> {
        let format = Format::of(&ctx.line)?;
        if matches!(format, Format::Wide | Format::CustomColumns(_)) {
            return Err(Failure::text(format!(
                "unable to match a printer suitable for the output format {:?}, allowed formats are: go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,template,templatefile,yaml",
                ctx.line.text("output")
            )));
        }
        Ok(Printer {
            format,
            dry_run: DryRun::of(&ctx.line)?,
            managed_fields: ctx.line.bool("show-managed-fields"),
            printed: Cell::new(false),
        })
    }

    /// Whether words are wanted, not documents.
    pub fn in_words(&self) -> bool {
        matches!(self.format, Format::Human)
    }

    /// `deployment.apps/web created`, or the object.
    pub fn done(&self, object: &Value, operation: &str) -> Result<(), Failure> {
        match &self.format {
            Format::Human => outln(&format!("{} {operation}{}", name_of(object), self.dry_run.suffix())),
            format => self.document(format, object)?,
        }
        Ok(())
    }

    /// A sentence of the command's own, or the object.
    pub fn said(&self, object: &Value, sentence: &str) -> Result<(), Failure> {
        match &self.format {
            Format::Human => outln(&format!("{sentence}{}", self.dry_run.suffix())),
            format => self.document(format, object)?,
        }
        Ok(())
    }

    /// The object as a document; YAML documents are set apart.
    pub fn show(&self, object: &Value) -> Result<(), Failure> {
        self.document(&self.format, object)
    }

    fn document(&self, format: &Format, object: &Value) -> Result<(), Failure> {
        if matches!(format, Format::Yaml) && self.printed.replace(true) {
            outln("---");
        }
        out(&document(format, object, self.managed_fields)?);
        Ok(())
    }
}

/// One object, or a list, in a format that is not a table.
pub fn document(format: &Format, object: &Value, managed_fields: bool) -> Result<String, Failure> {
    Ok(match format {
        Format::Json => json(&shown(object, managed_fields)),
        Format::Yaml => yaml::to_string(&shown(object, managed_fields)),
        Format::Name => format!("{}\n", name_of(object)),
        Format::JsonPath { template, lenient } => {
            template.render(&shown(object, managed_fields), *lenient).map_err(|err| template_failure(&err))?
        }
        Format::JsonPathAsJson { template, lenient } => {
            let object = shown(object, managed_fields);
            let found = template.find(&object, *lenient).map_err(|err| template_failure(&err))?;
            json(&Value::Array(found.into_iter().cloned().collect()))
        }
        Format::CustomColumns(columns) => {
            let row = columns.row(&shown(object, managed_fields)).map_err(Failure::text)?;
            tab::Columns::default().rows(&[columns.headers(), row])
        }
        Format::Human | Format::Wide => format!("{}\n", name_of(object)),
    })
}

fn template_failure(problem: &str) -> Failure {
    Failure::text(format!("error executing jsonpath: {problem}"))
}
