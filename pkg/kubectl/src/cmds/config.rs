//! `kubectl config`: kubeconfig files, looked at and changed. Upstream: `kubectl/pkg/cmd/config`.

use std::path::{Path, PathBuf};

use apimachinery::{Value, yaml};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::kubeconfig::{File, Section};

use crate::context::{Context, Outcome, out, outln, refuse};
use crate::failure::Failure;
use crate::print::tab::Columns;
use crate::print::{self, Format};

/// The file a change goes to: where the entry is, or else where new entries go.
fn file_with(ctx: &Context, holds: impl Fn(&File) -> bool) -> Result<File, Failure> {
    let sources = ctx.sources();
    for path in sources.paths() {
        let file = File::open(&path)?;
        if holds(&file) {
            return Ok(file);
        }
    }
    let path =
        sources.file_for_new().ok_or_else(|| Failure::text("no kubeconfig file: neither --kubeconfig, KUBECONFIG nor HOME is set"))?;
    Ok(File::open(&path)?)
}

fn one_arg<'a>(ctx: &'a Context, what: &str) -> Result<&'a str, Failure> {
    match ctx.line.args.as_slice() {
        [name] if !name.is_empty() => Ok(name),
        [] => Err(Failure::usage(format!("you must specify a {what}"))),
        args => Err(Failure::usage(format!("Unexpected args: [{}]", args.join(" ")))),
    }
}

fn no_args(ctx: &Context) -> Outcome {
    match ctx.line.args.as_slice() {
        [] => Ok(()),
        args => Err(Failure::usage(format!("unexpected arguments: [{}]", args.join(" ")))),
    }
}

pub async fn current_context(ctx: &Context) -> Outcome {
    let current = ctx.sources().load()?.current_context;
    if current.is_empty() {
        return Err(Failure::text("current-context is not set"));
    }
    outln(&current);
    Ok(())
}

pub async fn use_context(ctx: &Context) -> Outcome {
    let name = one_arg(ctx, "context name")?;
    if ctx.sources().load()?.context(name).is_none() {
        return Err(Failure::text(format!("no context exists with the name: {name:?}")));
    }
    let mut file = file_with(ctx, |file| !file.current_context().is_empty())?;
    file.set_current_context(name);
    file.save()?;
    outln(&format!("Switched to context {name:?}."));
    Ok(())
}

pub async fn get_contexts(ctx: &Context) -> Outcome {
    let config = ctx.sources().load()?;
    let names = match ctx.line.text("output") {
        "" => false,
        "name" => true,
        other => {
            return Err(Failure::text(format!(
                "--output {other} is not available in kubectl config get-contexts; resetting to default output format"
            )));
        }
    };
    let mut contexts: Vec<_> = config.contexts.iter().collect();
    contexts.sort_by(|a, b| a.0.cmp(&b.0));
    for wanted in &ctx.line.args {
        if config.context(wanted).is_none() {
            return Err(Failure::text(format!("context {wanted} not found")));
        }
    }
    if !ctx.line.args.is_empty() {
        contexts.retain(|(name, _)| ctx.line.args.contains(name));
    }
    let mut rows = Vec::new();
    if !ctx.line.bool("no-headers") && !names {
        rows.push(["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"].map(str::to_string).to_vec());
    }
    for (name, context) in contexts {
        if names {
            outln(name);
            continue;
        }
        let current = if *name == config.current_context { "*" } else { "" };
        rows.push(vec![current.to_string(), name.clone(), context.cluster.clone(), context.user.clone(), context.namespace.clone()]);
    }
    out(&Columns::default().rows(&rows));
    Ok(())
}

pub async fn get_clusters(ctx: &Context) -> Outcome {
    no_args(ctx)?;
    outln("NAME");
    let mut names: Vec<String> = ctx.sources().load()?.clusters.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names.iter().for_each(|name| outln(name));
    Ok(())
}

pub async fn get_users(ctx: &Context) -> Outcome {
    no_args(ctx)?;
    outln("NAME");
    let mut names: Vec<String> = ctx.sources().load()?.users.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names.iter().for_each(|name| outln(name));
    Ok(())
}

async fn delete(ctx: &Context, section: Section, what: &str) -> Outcome {
    let name = one_arg(ctx, &format!("{what} name"))?;
    let mut file = file_with(ctx, |file| file.entry(section, name).is_some())?;
    if !file.remove(section, name) {
        return Err(Failure::text(format!("cannot delete {what} {name}, not in {}", file.path.display())));
    }
    if section == Section::Contexts && file.current_context() == name {
        crate::context::errln("warning: this removed your active context, use \"kubectl config use-context\" to select a different one");
    }
    file.save()?;
    outln(&format!("deleted {what} {name} from {}", file.path.display()));
    Ok(())
}

pub async fn delete_context(ctx: &Context) -> Outcome {
    delete(ctx, Section::Contexts, "context").await
}

pub async fn delete_cluster(ctx: &Context) -> Outcome {
    delete(ctx, Section::Clusters, "cluster").await
}

pub async fn delete_user(ctx: &Context) -> Outcome {
    delete(ctx, Section::Users, "user").await
}

pub async fn rename_context(ctx: &Context) -> Outcome {
    let [from, to] = ctx.line.args.as_slice() else { return Err(Failure::usage("you must specify the old and the new context name")) };
    let mut file = file_with(ctx, |file| file.entry(Section::Contexts, from).is_some())?;
    if file.entry(Section::Contexts, to).is_some() {
        return Err(Failure::text(format!(
            "cannot rename the context {from:?}, the context {to:?} already exists in {}",
            file.path.display()
        )));
    }
    if !file.rename(Section::Contexts, from, to) {
        return Err(Failure::text(format!("cannot rename the context {from:?}, it's not in {}", file.path.display())));
    }
    if file.current_context() == from {
        file.set_current_context(to);
    }
    file.save()?;
    outln(&format!("Context {from:?} renamed to {to:?}."));
    Ok(())
}

/// A change of one entry, told as upstream tells it.
fn change(ctx: &Context, section: Section, name: &str, what: &str, set: impl FnOnce(&mut Value, &Path) -> Outcome) -> Outcome {
    let mut file = file_with(ctx, |file| file.entry(section, name).is_some())?;
    let existed = file.entry(section, name).is_some();
    let path = file.path.clone();
    set(file.entry_mut(section, name), &path)?;
    file.save()?;
    match section {
        Section::Contexts => outln(&format!("Context {name:?} {}.", if existed { "modified" } else { "created" })),
        _ => outln(&format!("{what} {name:?} set.")),
    }
    Ok(())
}

pub async fn set_context(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let name = if line.bool("current") {
        no_args(ctx)?;
        let current = ctx.sources().load()?.current_context;
        if current.is_empty() {
            return Err(Failure::text("no current context is set"));
        }
        current
    } else {
        one_arg(ctx, "non-empty context name or --current")?.to_string()
    };
    change(ctx, Section::Contexts, &name, "Context", |entry, _| {
        for flag in ["cluster", "user", "namespace"] {
            if line.changed(flag) {
                entry.set_at(&[flag], line.text(flag));
            }
        }
        Ok(())
    })
}

/// A file's path as the entry has it: absolute.
fn absolute(path: &str) -> Result<String, Failure> {
    let path = std::path::absolute(PathBuf::from(path)).map_err(|err| Failure::text(err.to_string()))?;
    Ok(path.display().to_string())
}

/// Puts a file into the entry, by its content or by its path.
fn set_file(ctx: &Context, entry: &mut Value, key: &str) -> Outcome {
    if !ctx.line.changed(key) {
        return Ok(());
    }
    let (data, path) = (format!("{key}-data"), ctx.line.text(key));
    if ctx.line.bool("embed-certs") {
        let bytes = std::fs::read(path).map_err(|err| Failure::text(format!("could not read {key} data from {path}: {err}")))?;
        entry.set_at(&[&data], STANDARD.encode(bytes));
        entry.remove_at(&[key]);
    } else {
        entry.set_at(&[key], absolute(path)?);
        entry.remove_at(&[&data]);
    }
    Ok(())
}

pub async fn set_cluster(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let name = one_arg(ctx, "cluster name")?;
    change(ctx, Section::Clusters, name, "Cluster", |entry, _| {
        for flag in ["server", "tls-server-name", "proxy-url"] {
            if line.changed(flag) {
                entry.set_at(&[flag], line.text(flag).trim_end_matches('/'));
            }
        }
        set_file(ctx, entry, "certificate-authority")?;
        if line.changed("insecure-skip-tls-verify") {
            entry.remove_at(&["insecure-skip-tls-verify"]);
            if line.bool("insecure-skip-tls-verify") {
                entry.set_at(&["insecure-skip-tls-verify"], true);
                entry.remove_at(&["certificate-authority"]);
                entry.remove_at(&["certificate-authority-data"]);
            }
        }
        Ok(())
    })
}

pub async fn set_credentials(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["auth-provider", "auth-provider-arg"])?;
    let name = one_arg(ctx, "user name")?;
    change(ctx, Section::Users, name, "User", |entry, _| {
        for flag in ["token", "username", "password"] {
            if line.changed(flag) {
                entry.set_at(&[flag], line.text(flag));
            }
        }
        set_file(ctx, entry, "client-certificate")?;
        set_file(ctx, entry, "client-key")?;
        for (flag, field) in [("exec-command", "command"), ("exec-api-version", "apiVersion"), ("exec-interactive-mode", "interactiveMode")]
        {
            if line.changed(flag) {
                entry.set_at(&["exec", field], line.text(flag));
            }
        }
        if line.changed("exec-arg") {
            entry.set_at(&["exec", "args"], line.strings("exec-arg"));
        }
        if line.changed("exec-provide-cluster-info") {
            entry.set_at(&["exec", "provideClusterInfo"], line.bool("exec-provide-cluster-info"));
        }
        let mut environment = Vec::new();
        for pair in line.strings("exec-env") {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| Failure::text(format!("invalid --exec-env {pair:?}: expected name=value")))?;
            environment.push(super::create::object_of([("name", name.into()), ("value", value.into())]));
        }
        if !environment.is_empty() {
            entry.set_at(&["exec", "env"], Value::Array(environment));
        }
        Ok(())
    })
}

/// `clusters.NAME.server`: the section, the entry, the field. A name may have dots.
fn property(name: &str) -> Result<(Option<(Section, String)>, Vec<String>), Failure> {
    let (head, rest) = name.split_once('.').unwrap_or((name, ""));
    let section = match head {
        "contexts" => Section::Contexts,
        "clusters" => Section::Clusters,
        "users" => Section::Users,
        _ => return Ok((None, name.split('.').map(str::to_string).collect())),
    };
    let (entry, field) = rest.rsplit_once('.').unwrap_or((rest, ""));
    if entry.is_empty() {
        return Err(Failure::text(format!("invalid property name {name:?}: expected {head}.NAME.FIELD")));
    }
    Ok((Some((section, entry.to_string())), vec![field.to_string()]))
}

pub async fn set(ctx: &Context) -> Outcome {
    let [name, value] = ctx.line.args.as_slice() else { return Err(Failure::usage("you must specify a property name and a value")) };
    let (place, path) = property(name)?;
    let field = path.last().cloned().unwrap_or_default();
    let value = match value.as_str() {
        "true" | "false" if field == "insecure-skip-tls-verify" || field == "disable-compression" => Value::Bool(value == "true"),
        // `--set-raw-bytes` says that the value is not encoded yet.
        text if field.ends_with("-data") && ctx.line.bool("set-raw-bytes") => STANDARD.encode(text).into(),
        text => text.into(),
    };
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match &place {
        Some((section, entry)) => {
            let mut file = file_with(ctx, |file| file.entry(*section, entry).is_some())?;
            file.entry_mut(*section, entry).set_at(&path, value);
            file.save()?;
        }
        None => {
            let mut file = file_with(ctx, |file| !file.current_context().is_empty())?;
            file.document.set_at(&path, value);
            file.save()?;
        }
    }
    outln(&format!("Property {name:?} set."));
    Ok(())
}

pub async fn unset(ctx: &Context) -> Outcome {
    let name = one_arg(ctx, "property name")?;
    let (place, path) = property(name)?;
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let mut file = match &place {
        Some((section, entry)) => file_with(ctx, |file| file.entry(*section, entry).is_some())?,
        None => file_with(ctx, |file| !file.current_context().is_empty())?,
    };
    match &place {
        Some((section, entry)) if names == [""] => drop(file.remove(*section, entry)),
        Some((section, entry)) => {
            // `users.NAME`: the last part is the name's own.
            let whole = format!("{entry}.{}", names.join("."));
            if file.entry(*section, entry).is_none() && file.remove(*section, &whole) {
                file.save()?;
                outln(&format!("Property {name:?} unset."));
                return Ok(());
            }
            file.entry_mut(*section, entry).remove_at(&names);
        }
        None => drop(file.document.remove_at(&names)),
    }
    file.save()?;
    outln(&format!("Property {name:?} unset."));
    Ok(())
}

/// Everything merged, secrets hidden unless `--raw`.
pub async fn view(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    no_args(ctx)?;
    let sources = ctx.sources();
    let mut merged = Value::object();
    for list in ["clusters", "contexts"] {
        merged.set_at(&[list], Value::Array(Vec::new()));
    }
    merged.set_at(&["apiVersion"], "v1");
    merged.set_at(&["kind"], "Config");
    merged.set_at(&["current-context"], line.text("context"));
    merged.set_at(&["users"], Value::Array(Vec::new()));
    for path in sources.paths() {
        if !path.exists() {
            continue;
        }
        let file = File::open(&path)?;
        if merged.str_at(&["current-context"]).unwrap_or_default().is_empty() {
            merged.set_at(&["current-context"], file.current_context());
        }
        for list in ["clusters", "contexts", "users"] {
            let mut known = merged.get(list).and_then(Value::as_array).unwrap_or_default().to_vec();
            for entry in file.document.get(list).and_then(Value::as_array).unwrap_or_default() {
                if !known.iter().any(|other| other.str_at(&["name"]) == entry.str_at(&["name"])) {
                    known.push(entry.clone());
                }
            }
            merged.set_at(&[list], Value::Array(known));
        }
        if !line.bool("merge") {
            break;
        }
    }
    if line.bool("minify") {
        minify(&mut merged)?;
    }
    if line.bool("flatten") {
        flatten(&mut merged, &sources.paths())?;
    }
    for list in ["clusters", "contexts", "users"] {
        if let Some(entries) = merged.get_mut(list).and_then(Value::as_array_mut) {
            entries.sort_by(|a, b| a.str_at(&["name"]).cmp(&b.str_at(&["name"])));
        }
    }
    if !line.bool("raw") {
        hide(&mut merged);
    }
    for list in ["clusters", "contexts", "users"] {
        if merged.get(list).and_then(Value::as_array).is_some_and(<[Value]>::is_empty) {
            merged.set_at(&[list], Value::Null);
        }
    }
    match Format::of(line)? {
        Format::Yaml | Format::Human => out(&yaml::to_string(&print::shown(&merged, true))),
        format => out(&print::document(&format, &merged, true)?),
    }
    Ok(())
}

fn minify(merged: &mut Value) -> Outcome {
    let current = merged.str_at(&["current-context"]).unwrap_or_default().to_string();
    if current.is_empty() {
        return Err(Failure::text("current-context must exist in order to minify"));
    }
    let entries = |list: &str, name: &str| -> Vec<Value> {
        let all = merged.get(list).and_then(Value::as_array).unwrap_or_default();
        all.iter().filter(|entry| entry.str_at(&["name"]) == Some(name)).cloned().collect()
    };
    let contexts = entries("contexts", &current);
    let context = contexts.first().ok_or_else(|| Failure::text(format!("cannot locate context {current}")))?.clone();
    let clusters = entries("clusters", context.str_at(&["context", "cluster"]).unwrap_or_default());
    let users = entries("users", context.str_at(&["context", "user"]).unwrap_or_default());
    merged.set_at(&["contexts"], Value::Array(contexts));
    merged.set_at(&["clusters"], Value::Array(clusters));
    merged.set_at(&["users"], Value::Array(users));
    Ok(())
}

/// Takes the content of named files in. A relative path starts at the file that names it.
fn flatten(merged: &mut Value, paths: &[PathBuf]) -> Outcome {
    for (list, member, keys) in
        [("clusters", "cluster", &["certificate-authority"][..]), ("users", "user", &["client-certificate", "client-key"])]
    {
        for entry in merged.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            for key in keys {
                let Some(path) = entry.str_at(&[member, key]).map(PathBuf::from) else { continue };
                let places: Vec<PathBuf> = paths.iter().map(|file| file.parent().unwrap_or(Path::new("")).join(&path)).collect();
                let found = places.iter().find(|place| place.exists()).unwrap_or(&path);
                let bytes = std::fs::read(found).map_err(|err| Failure::text(format!("{}: {err}", found.display())))?;
                entry.remove_at(&[member, key]);
                entry.set_at(&[member, &format!("{key}-data")], STANDARD.encode(bytes));
            }
        }
    }
    Ok(())
}

fn hide(merged: &mut Value) {
    for entry in merged.get_mut("users").and_then(Value::as_array_mut).into_iter().flatten() {
        for (key, text) in [
            ("client-certificate-data", "DATA+OMITTED"),
            ("client-key-data", "DATA+OMITTED"),
            ("token", "REDACTED"),
            ("password", "REDACTED"),
        ] {
            if entry.str_at(&["user", key]).is_some_and(|value| !value.is_empty()) {
                entry.set_at(&["user", key], text);
            }
        }
    }
    for entry in merged.get_mut("clusters").and_then(Value::as_array_mut).into_iter().flatten() {
        if entry.str_at(&["cluster", "certificate-authority-data"]).is_some_and(|value| !value.is_empty()) {
            entry.set_at(&["cluster", "certificate-authority-data"], "DATA+OMITTED");
        }
    }
}
