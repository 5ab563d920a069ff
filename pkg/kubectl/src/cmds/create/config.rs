//! `create configmap` and `create secret`: objects that carry files.

use std::path::Path;

use apimachinery::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{create_one, name_arg, required, skeleton};
use crate::context::{Context, Outcome, refuse};
use crate::failure::Failure;

/// Keys and contents in the order they were given.
type Entries = Vec<(String, Vec<u8>)>;

pub async fn configmap(ctx: &Context) -> Outcome {
    refuse(&ctx.line, &["append-hash"])?;
    let mut object = skeleton("v1", "ConfigMap", &name_arg(ctx)?);
    for (key, bytes) in entries(ctx)? {
        match String::from_utf8(bytes) {
            Ok(text) => object.set_at(&["data", &key], text),
            Err(err) => object.set_at(&["binaryData", &key], STANDARD.encode(err.as_bytes())),
        }
    }
    create_one(ctx, object).await
}

pub async fn secret_generic(ctx: &Context) -> Outcome {
    refuse(&ctx.line, &["append-hash"])?;
    let kind = ctx.line.text("type").to_string();
    let entries = entries(ctx)?;
    secret(ctx, &kind, entries).await
}

pub async fn secret_tls(ctx: &Context) -> Outcome {
    refuse(&ctx.line, &["append-hash"])?;
    required(ctx, &["cert", "key"])?;
    let entries = vec![
        ("tls.crt".to_string(), read(Path::new(ctx.line.text("cert")))?),
        ("tls.key".to_string(), read(Path::new(ctx.line.text("key")))?),
    ];
    secret(ctx, "kubernetes.io/tls", entries).await
}

pub async fn secret_docker_registry(ctx: &Context) -> Outcome {
    refuse(&ctx.line, &["append-hash"])?;
    const KEY: &str = ".dockerconfigjson";
    let line = &ctx.line;
    let entries = if line.changed("from-file") {
        entries(ctx)?.into_iter().map(|(key, bytes)| (if key == "config.json" { KEY.to_string() } else { key }, bytes)).collect()
    } else {
        for name in ["docker-username", "docker-password"] {
            if line.text(name).is_empty() {
                return Err(Failure::text(format!(
                    "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required ({name} is missing)"
                )));
            }
        }
        let (user, password) = (line.text("docker-username"), line.text("docker-password"));
        let mut config = Value::object();
        let server = line.text("docker-server");
        config.set_at(&["auths", server, "username"], user);
        config.set_at(&["auths", server, "password"], password);
        if let Some(email) = line.text_opt("docker-email") {
            config.set_at(&["auths", server, "email"], email);
        }
        config.set_at(&["auths", server, "auth"], STANDARD.encode(format!("{user}:{password}")));
        vec![(KEY.to_string(), config.to_vec())]
    };
    secret(ctx, "kubernetes.io/dockerconfigjson", entries).await
}

async fn secret(ctx: &Context, kind: &str, entries: Entries) -> Outcome {
    let mut object = skeleton("v1", "Secret", &name_arg(ctx)?);
    for (key, bytes) in entries {
        object.set_at(&["data", &key], STANDARD.encode(bytes));
    }
    if !kind.is_empty() {
        object.set_at(&["type"], kind);
    }
    create_one(ctx, object).await
}

/// What `--from-file`, `--from-literal` and `--from-env-file` name.
fn entries(ctx: &Context) -> Result<Entries, Failure> {
    let line = &ctx.line;
    let mut entries: Entries = Vec::new();
    let mut add = |key: String, bytes: Vec<u8>| {
        if key.is_empty() || key == "." || key == ".." || !key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Err(Failure::text(format!(
                "{key:?} is not a valid key name: a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
            )));
        }
        if entries.iter().any(|(known, _)| *known == key) {
            return Err(Failure::text(format!("cannot add key {key:?}, another key by that name already exists in Data")));
        }
        entries.push((key, bytes));
        Ok(())
    };
    for source in line.array("from-file") {
        let (key, path) = match source.split_once('=') {
            Some((key, path)) if key.is_empty() || path.is_empty() => {
                return Err(Failure::text(format!("key name or file path missing in {source:?}")));
            }
            Some((key, path)) => (Some(key.to_string()), path.to_string()),
            None => (None, source),
        };
        let path = Path::new(&path);
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if key.is_some() {
                return Err(Failure::text("cannot give a key name for a directory path"));
            }
            let failed = |err: std::io::Error| Failure::text(format!("error listing files in {}: {err}", path.display()));
            let mut files: Vec<_> = std::fs::read_dir(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
            files.sort_by_key(|entry| entry.file_name());
            for file in files.iter().map(|entry| entry.path()).filter(|path| path.is_file()) {
                add(name(&file), read(&file)?)?;
            }
        } else {
            add(key.unwrap_or_else(|| name(path)), read(path)?)?;
        }
    }
    for literal in line.array("from-literal") {
        let (key, value) =
            literal.split_once('=').ok_or_else(|| Failure::text(format!("invalid literal source {literal}, expected key=value")))?;
        // Quotes that a script left around the value, as upstream.
        let quoted = value.len() > 1 && ['"', '\''].iter().any(|quote| value.starts_with(*quote) && value.ends_with(*quote));
        let value = if quoted { &value[1..value.len() - 1] } else { value };
        add(key.to_string(), value.as_bytes().to_vec())?;
    }
    for path in line.array("from-env-file") {
        let text = read(Path::new(&path))?;
        for (key, value) in env_pairs(&String::from_utf8_lossy(&text))? {
            add(key, value.into_bytes())?;
        }
    }
    Ok(entries)
}

/// `KEY=value` lines; comments and empty lines are passed over.
fn env_pairs(text: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, value.to_string()),
            // A name alone takes the value of kubectl's own environment.
            None => match std::env::var(line) {
                Ok(value) => (line, value),
                Err(_) => continue,
            },
        };
        if key.is_empty() || key.chars().any(char::is_whitespace) {
            return Err(Failure::text(format!("{key:?} is not a valid key name")));
        }
        pairs.push((key.to_string(), value));
    }
    Ok(pairs)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|err| match err.kind() {
        std::io::ErrorKind::NotFound => Failure::text(format!("error reading {}: no such file or directory", path.display())),
        _ => Failure::text(format!("error reading {}: {err}", path.display())),
    })
}
