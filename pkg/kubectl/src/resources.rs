//! From words and files to objects: `deploy/web`, `pods a b`, `all`, `-f dir -R`, `-l app=x`.
//!
//! Upstream: `k8s.io/cli-runtime/pkg/resource` (Builder, Visitor, Info).

use std::io::Read;
use std::path::Path;

use apimachinery::{Value, yaml};
use client::{ApiResource, DynamicApi, ListParams};

use crate::context::{Context, Outcome};
use crate::failure::Failure;

/// What a command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub args: Vec<String>,
    pub files: Vec<String>,
    pub recursive: bool,
    pub labels: Option<String>,
    pub fields: Option<String>,
    pub all: bool,
    pub all_namespaces: bool,
    /// What `kubectl exec web` means.
    pub default_type: Option<&'static str>,
    /// Names of types without names mean all of them: `get pods`.
    pub types_mean_all: bool,
    pub chunk: u32,
}

/// One object, by name; with its text if it came from a file, with its state if it was read.
#[derive(Clone, Debug)]
pub struct Target {
    pub resource: ApiResource,
    pub namespace: String,
    pub name: String,
    /// The file it stands in.
    pub source: String,
    pub object: Option<Value>,
}

/// A part of what was asked for.
#[derive(Clone, Debug)]
pub enum Wanted {
    Object(Target),
    Collection { resource: ApiResource, namespace: String },
}

impl Ask {
    /// What the command's words and its usual flags say.
    pub fn of(ctx: &Context) -> Ask {
        let line = &ctx.line;
        Ask {
            args: line.args.clone(),
            files: line.array("filename"),
            recursive: line.bool("recursive"),
            labels: line.text_opt("selector").map(str::to_string),
            fields: line.text_opt("field-selector").map(str::to_string),
            all: line.bool("all"),
            all_namespaces: line.bool("all-namespaces"),
            chunk: u32::try_from(line.int("chunk-size")).unwrap_or(0),
            ..Ask::default()
        }
    }

    fn has_selector(&self) -> bool {
        self.labels.is_some() || self.fields.is_some()
    }

    /// Finds out what is meant. Asks the server for nothing but what it serves.
    pub async fn resolve(&self, ctx: &Context) -> Result<Vec<Wanted>, Failure> {
        if ctx.line.changed("kustomize") {
            return Err(Failure::text("flag --kustomize is not supported yet by this build"));
        }
        if let Some(selector) = &self.labels {
            apimachinery::labels::Selector::parse(selector).map_err(|err| Failure::text(err.to_string()))?;
        }
        if !self.files.is_empty() {
            if !self.args.is_empty() {
                return Err(Failure::text(
                    "when paths, URLs, or stdin is provided as resource input, you may not specify resource arguments as well",
                ));
            }
            let targets = from_files(ctx, &self.files, self.recursive).await?;
            return Ok(targets.into_iter().map(Wanted::Object).collect());
        }
        let (namespace, _) = if self.all_namespaces { (String::new(), true) } else { ctx.namespace()? };
        let mut wanted = Vec::new();
        for words in parse_words(&self.args, self.default_type)? {
            let resources = types_of(ctx, &words.types).await?;
            let several = resources.len() > 1;
            for resource in resources {
                let namespace = if resource.namespaced { namespace.clone() } else { String::new() };
                if words.names.is_empty() {
                    if !(self.types_mean_all || self.has_selector() || self.all) {
                        return Err(Failure::text("resource(s) were provided, but no name was specified"));
                    }
                    wanted.push(Wanted::Collection { resource, namespace });
                    continue;
                }
                if self.has_selector() {
                    return Err(Failure::text("name cannot be provided when a selector is specified"));
                }
                if self.all {
                    return Err(Failure::text("name cannot be provided when the --all flag is specified"));
                }
                if self.all_namespaces && resource.namespaced {
                    return Err(Failure::text("a resource cannot be retrieved by name across all namespaces"));
                }
                let _ = several;
                for name in &words.names {
                    wanted.push(Wanted::Object(Target {
                        resource: resource.clone(),
                        namespace: namespace.clone(),
                        name: name.clone(),
                        source: String::new(),
                        object: None,
                    }));
                }
            }
        }
        Ok(wanted)
    }

    /// The objects, read from the server unless they stand in files. What fails comes along, so that the rest can be dealt with.
    pub async fn objects(&self, ctx: &Context) -> Result<(Vec<Target>, Vec<Failure>), Failure> {
        let (mut targets, mut failures) = (Vec::new(), Vec::new());
        for wanted in self.resolve(ctx).await? {
            match wanted {
                Wanted::Object(target) if target.object.is_some() => targets.push(target),
                Wanted::Object(mut target) => match target.read(ctx).await {
                    Ok(object) => {
                        target.object = Some(object);
                        targets.push(target);
                    }
                    Err(failure) => failures.push(failure),
                },
                Wanted::Collection { resource, namespace } => match self.list(ctx, &resource, &namespace).await {
                    Ok(found) => targets.extend(found),
                    Err(failure) => failures.push(failure),
                },
            }
        }
        Ok((targets, failures))
    }

    /// The objects as the server has them: those of files are read afresh.
    pub async fn current(&self, ctx: &Context) -> Result<(Vec<Target>, Vec<Failure>), Failure> {
        let (targets, mut failures) = self.objects(ctx).await?;
        let mut read = Vec::new();
        for mut target in targets {
            if !target.source.is_empty() {
                match target.read(ctx).await {
                    Ok(object) => target.object = Some(object),
                    Err(failure) => {
                        failures.push(failure);
                        continue;
                    }
                }
            }
            read.push(target);
        }
        Ok((read, failures))
    }

    pub fn list_params(&self) -> ListParams {
        ListParams { label_selector: self.labels.clone(), field_selector: self.fields.clone(), limit: self.chunk, ..ListParams::default() }
    }

    async fn list(&self, ctx: &Context, resource: &ApiResource, namespace: &str) -> Result<Vec<Target>, Failure> {
        Ok(list_all(&ctx.api(resource, namespace)?, self.list_params(), resource).await?.0)
    }
}

/// Every object of a collection, and the resource version it was listed at.
pub async fn list_all(api: &DynamicApi, mut params: ListParams, resource: &ApiResource) -> Result<(Vec<Target>, String), Failure> {
    let mut targets = Vec::new();
    loop {
        let mut list = api.list(&params).await?;
        let api_version = resource.group_version().to_string();
        let version = list.str_at(&["metadata", "resourceVersion"]).unwrap_or_default().to_string();
        for mut object in list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default() {
            object.set_at(&["apiVersion"], api_version.clone());
            object.set_at(&["kind"], resource.kind.clone());
            targets.push(Target::of_object(resource.clone(), object));
        }
        params.continue_ = list.str_at(&["metadata", "continue"]).unwrap_or_default().to_string();
        if params.continue_.is_empty() {
            return Ok((targets, version));
        }
    }
}

impl Target {
    pub fn of_object(resource: ApiResource, object: Value) -> Target {
        Target {
            resource,
            namespace: object.str_at(&["metadata", "namespace"]).unwrap_or_default().to_string(),
            name: object.str_at(&["metadata", "name"]).unwrap_or_default().to_string(),
            source: String::new(),
            object: Some(object),
        }
    }

    pub fn api(&self, ctx: &Context) -> Result<DynamicApi, Failure> {
        ctx.api(&self.resource, &self.namespace)
    }

    pub async fn read(&self, ctx: &Context) -> Result<Value, Failure> {
        Ok(self.api(ctx)?.get(&self.name, "").await?)
    }

    /// `deployment.apps/web`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", qualified_kind(&self.resource), self.name)
    }

    pub fn value(&self) -> &Value {
        static NOTHING: Value = Value::Null;
        self.object.as_ref().unwrap_or(&NOTHING)
    }

    pub fn schema(&self) -> Option<&'static apimachinery::schema::Schema> {
        let resource = &self.resource;
        api::type_info(&resource.group, &resource.version, &resource.kind).map(|info| info.schema)
    }
}

/// `deployment.apps`, `pod`.
pub fn qualified_kind(resource: &ApiResource) -> String {
    let kind = resource.kind.to_lowercase();
    if resource.group.is_empty() { kind } else { format!("{kind}.{}", resource.group) }
}

/// Words that belong together: types, and names for each of them.
#[derive(Debug, Default, PartialEq)]
pub struct Words {
    pub types: Vec<String>,
    pub names: Vec<String>,
}

/// Reads `TYPE NAME...`, `TYPE,TYPE NAME...` or `TYPE/NAME...`.
pub fn parse_words(args: &[String], default_type: Option<&str>) -> Result<Vec<Words>, Failure> {
    if args.iter().any(|arg| arg.contains('/')) {
        let mut all = Vec::new();
        for arg in args {
            let parts: Vec<&str> = arg.split('/').collect();
            match parts.as_slice() {
                [types, name] if !types.is_empty() && !name.is_empty() => {
                    if types.contains(',') {
                        return Err(Failure::text("arguments in resource/name form may not have more than one resource"));
                    }
                    all.push(Words { types: vec![types.to_string()], names: vec![name.to_string()] });
                }
                [word] if default_type.is_some() => {
                    all.push(Words { types: vec![default_type.unwrap_or_default().to_string()], names: vec![word.to_string()] });
                }
                [_] => {
                    let verb = "get";
                    return Err(Failure::text(format!(
                        "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl {verb} resource/<resource_name>' instead of 'kubectl {verb} resource resource/<resource_name>'"
                    )));
                }
                _ => return Err(Failure::text(format!("arguments in resource/name form must have a single resource and name"))),
            }
        }
        return Ok(all);
    }
    let words = match (args, default_type) {
        ([], _) => return Ok(Vec::new()),
        (names, Some(default)) => Words { types: vec![default.to_string()], names: names.to_vec() },
        ([types, names @ ..], None) => {
            let types: Vec<String> = types.split(',').map(str::to_string).collect();
            if types.iter().any(String::is_empty) {
                return Err(Failure::text("arguments in resource/name form must have a single resource and name"));
            }
            Words { types, names: names.to_vec() }
        }
    };
    Ok(vec![words])
}

/// The resources of some words, categories such as `all` opened up.
async fn types_of(ctx: &Context, words: &[String]) -> Result<Vec<ApiResource>, Failure> {
    let mut resources: Vec<ApiResource> = Vec::new();
    for word in words {
        let mapper = ctx.mapper().await?;
        let category = mapper.category(word);
        if category.is_empty() {
            resources.push(ctx.resource(word).await?);
        } else {
            resources.extend(category.into_iter().filter(|resource| resource.can("list")).cloned());
        }
    }
    let mut seen = std::collections::HashSet::new();
    resources.retain(|resource| seen.insert((resource.group.clone(), resource.resource.clone())));
    Ok(resources)
}

/// A document and the file it stands in.
pub struct Document {
    pub source: String,
    pub value: Value,
}

/// Reads files, folders and standard input. Lists are taken apart.
pub fn read_documents(files: &[String], recursive: bool) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    for file in files {
        if file == "-" {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).map_err(|err| Failure::text(err.to_string()))?;
            parse_documents("STDIN", &text, &mut documents)?;
        } else if file.starts_with("http://") || file.starts_with("https://") {
            return Err(Failure::text(format!("reading {file:?}: URLs are not supported yet by this build")));
        } else {
            let path = Path::new(file);
            match std::fs::metadata(path) {
                Err(_) => return Err(Failure::text(format!("the path {file:?} does not exist"))),
                Ok(meta) if meta.is_dir() => {
                    let mut found = Vec::new();
                    collect_files(path, recursive, &mut found)?;
                    if found.is_empty() {
                        return Err(Failure::text(
                            format!("error reading {files:?}: recognized file extensions are [.json .yaml .yml]").replace('"', ""),
                        ));
                    }
                    for path in found {
                        read_file(&path, &mut documents)?;
                    }
                }
                Ok(_) => read_file(path, &mut documents)?,
            }
        }
    }
    Ok(documents)
}

fn collect_files(dir: &Path, recursive: bool, found: &mut Vec<std::path::PathBuf>) -> Outcome {
    let failed = |err: std::io::Error| Failure::text(format!("{}: {err}", dir.display()));
    let mut entries: Vec<_> = std::fs::read_dir(dir).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            if recursive {
                collect_files(&path, recursive, found)?;
            }
        } else if path.extension().is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known)) {
            found.push(path);
        }
    }
    Ok(())
}

fn read_file(path: &Path, documents: &mut Vec<Document>) -> Outcome {
    let text = std::fs::read(path).map_err(|err| Failure::text(format!("open {}: {err}", path.display())))?;
    parse_documents(&path.display().to_string(), &text, documents)
}

fn parse_documents(source: &str, text: &[u8], documents: &mut Vec<Document>) -> Outcome {
    let values = yaml::parse_documents(text).map_err(|err| Failure::text(format!("error parsing {source}: {err}")))?;
    for value in values {
        if !value.is_null() {
            flatten(source, value, documents)?;
        }
    }
    Ok(())
}

fn flatten(source: &str, mut value: Value, documents: &mut Vec<Document>) -> Outcome {
    if value.as_object().is_none() {
        return Err(Failure::text(format!(
            "error parsing {source}: error converting YAML to JSON: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            value.kind_name()
        )));
    }
    let kind = value.str_at(&["kind"]).unwrap_or_default();
    if kind.is_empty() {
        return Err(Failure::text(format!("unable to decode {source:?}: Object 'Kind' is missing in '{value}'", value = text(&value))));
    }
    if value.str_at(&["apiVersion"]).unwrap_or_default().is_empty() {
        return Err(Failure::text(format!(
            "unable to decode {source:?}: Object 'apiVersion' is missing in '{value}'",
            value = text(&value)
        )));
    }
    let is_list = kind.ends_with("List") && value.get("items").is_some_and(|items| items.as_array().is_some());
    if !is_list {
        documents.push(Document { source: source.to_string(), value });
        return Ok(());
    }
    let item_kind = kind.strip_suffix("List").unwrap_or_default().to_string();
    let api_version = value.str_at(&["apiVersion"]).unwrap_or_default().to_string();
    for mut item in value.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default() {
        if !item_kind.is_empty() && item.get("kind").is_none() {
            item.set_at(&["kind"], item_kind.clone());
            item.set_at(&["apiVersion"], api_version.clone());
        }
        flatten(source, item, documents)?;
    }
    Ok(())
}

pub fn text(value: &Value) -> String {
    String::from_utf8_lossy(&value.to_vec()).into_owned()
}

/// The objects of files, each with the namespace it is meant for.
pub async fn from_files(ctx: &Context, files: &[String], recursive: bool) -> Result<Vec<Target>, Failure> {
    let mut targets = Vec::new();
    for Document { source, value } in read_documents(files, recursive)? {
        targets.push(target_of(ctx, source, value).await?);
    }
    Ok(targets)
}

/// An object of a file or of the command's own making, put into its namespace.
pub async fn target_of(ctx: &Context, source: String, mut value: Value) -> Result<Target, Failure> {
    let (api_version, kind) =
        (value.str_at(&["apiVersion"]).unwrap_or_default().to_string(), value.str_at(&["kind"]).unwrap_or_default().to_string());
    let name = value.str_at(&["metadata", "name"]).unwrap_or_default().to_string();
    let own = value.str_at(&["metadata", "namespace"]).unwrap_or_default().to_string();
    let resource = match ctx.resource_of_kind(&api_version, &kind).await {
        Ok(resource) => resource,
        Err(Failure::Text(problem)) if problem.starts_with("no matches") => {
            return Err(Failure::text(format!(
                "resource mapping not found for name: {name:?} namespace: {own:?} from {source:?}: {problem}\nensure CRDs are installed first"
            )));
        }
        Err(other) => return Err(other),
    };
    let mut namespace = String::new();
    if resource.namespaced {
        let (wanted, explicit) = ctx.namespace()?;
        namespace = if own.is_empty() { wanted.clone() } else { own.clone() };
        if explicit && namespace != wanted {
            return Err(Failure::text(format!(
                "the namespace from the provided object {own:?} does not match the namespace {wanted:?}. You must pass '--namespace={own}' to perform this operation."
            )));
        }
        value.set_at(&["metadata", "namespace"], namespace.clone());
    }
    Ok(Target { resource, namespace, name, source, object: Some(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, default: Option<&str>) -> Result<Vec<(String, String)>, String> {
        let args: Vec<String> = text.split_whitespace().map(str::to_string).collect();
        match parse_words(&args, default) {
            Ok(all) => Ok(all.into_iter().map(|words| (words.types.join(","), words.names.join(","))).collect()),
            Err(failure) => Err(failure.report("get").0),
        }
    }

    #[test]
    fn words_are_types_and_names() {
        let pair = |types: &str, names: &str| (types.to_string(), names.to_string());
        assert_eq!(words("pods", None), Ok(vec![pair("pods", "")]));
        assert_eq!(words("pods a b", None), Ok(vec![pair("pods", "a,b")]));
        assert_eq!(words("pods,svc", None), Ok(vec![pair("pods,svc", "")]));
        assert_eq!(words("deploy/web svc/web", None), Ok(vec![pair("deploy", "web"), pair("svc", "web")]));
        assert_eq!(words("deployments.v1.apps a", None), Ok(vec![pair("deployments.v1.apps", "a")]));
        assert_eq!(words("web", Some("pods")), Ok(vec![pair("pods", "web")]));
        assert_eq!(words("deploy/web", Some("pods")), Ok(vec![pair("deploy", "web")]));
        assert!(words("pods pods/a", None).unwrap_err().starts_with("error: there is no need to specify a resource type"));
        assert!(words("a/b/c", None).is_err());
    }

    #[test]
    fn files_are_documents_and_lists_are_opened() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n";
        let mut documents = Vec::new();
        parse_documents("x.yaml", text.as_bytes(), &mut documents).unwrap();
        let kinds: Vec<&str> = documents.iter().filter_map(|document| document.value.str_at(&["kind"])).collect();
        assert_eq!(kinds, ["ConfigMap", "Secret"]);
        let failure = parse_documents("x.yaml", b"a: 1", &mut documents).unwrap_err();
        assert_eq!(failure.report("apply").0, "error: unable to decode \"x.yaml\": Object 'Kind' is missing in '{\"a\":1}'\n");
    }
}
