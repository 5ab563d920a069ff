//! `kubectl explain`: fields and types from the server's OpenAPI v3 documents. Upstream: `kubectl/pkg/explain/v2`.

use std::fmt::Write;

use apimachinery::Value;
use client::{ApiResource, Request};

use crate::context::{Context, Outcome, out};
use crate::failure::Failure;

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let [word] = line.args.as_slice() else {
        return Err(match line.args.len() {
            0 => Failure::text(
                "You must specify the type of resource to explain. Use \"kubectl api-resources\" for a complete list of supported resources.",
            ),
            _ => Failure::text("We accept only this format: explain RESOURCE"),
        });
    };
    if line.text("output") != "plaintext" {
        return Err(Failure::text(format!("output format {:?} is not supported yet by this build", line.text("output"))));
    }
    let (resource, path) = find(ctx, word).await?;
    let root = match resource.group.is_empty() {
        true => format!("/openapi/v3/api/{}", resource.version),
        false => format!("/openapi/v3/apis/{}/{}", resource.group, resource.version),
    };
    let body = ctx.client()?.fetch(Request::get(root).accept("application/json")).await?;
    let document = Value::parse(&body).map_err(|err| Failure::text(err.to_string()))?;
    let explained = Explainer { document: &document }.explain(&resource, &path, line.bool("recursive"))?;
    out(&explained);
    Ok(())
}

/// `pods.spec.containers`: how much of it is the resource shows in what the server serves.
async fn find(ctx: &Context, word: &str) -> Result<(ApiResource, Vec<String>), Failure> {
    let parts: Vec<&str> = word.trim_end_matches('.').split('.').collect();
    let wanted = ctx.line.text("api-version");
    // `ingresses.networking.k8s.io.spec`: the longest name that is a resource wins.
    let mapper = ctx.mapper().await?;
    for length in (2..=parts.len()).rev() {
        if let Ok(resource) = mapper.resource(&parts[..length].join("."))
            && resource.group.starts_with(parts[1])
        {
            return Ok((resource.clone(), parts[length..].iter().map(|part| part.to_string()).collect()));
        }
    }
    let mut resource = ctx.resource(parts[0]).await?;
    if !wanted.is_empty() {
        resource = ctx.resource_of_kind(wanted, &resource.kind).await?;
    }
    Ok((resource, parts[1..].iter().map(|part| part.to_string()).collect()))
}

struct Explainer<'a> {
    document: &'a Value,
}

impl<'a> Explainer<'a> {
    fn explain(&self, resource: &ApiResource, path: &[String], recursive: bool) -> Result<String, Failure> {
        let mut schema =
            self.of_kind(resource).ok_or_else(|| Failure::text(format!("couldn't find resource for \"{}\"", resource.gvk())))?;
        let mut field = String::new();
        let mut described = schema.str_at(&["description"]).unwrap_or_default().to_string();
        let mut kind = String::new();
        for name in path {
            let fields = self.resolve(schema);
            let Some(next) = fields.at(&["properties", name]) else {
                return Err(Failure::text(format!("field {name:?} does not exist")));
            };
            field = format!("{name} <{}>", self.type_name(next));
            described = next.str_at(&["description"]).unwrap_or_default().to_string();
            kind = self.type_name(next);
            schema = self.element(next);
        }
        let mut text = String::new();
        if !resource.group.is_empty() {
            let _ = writeln!(text, "GROUP:      {}", resource.group);
        }
        let _ = writeln!(text, "KIND:       {}\nVERSION:    {}\n", resource.kind, resource.version);
        if !field.is_empty() {
            let _ = writeln!(text, "FIELD: {field}\n");
        }
        let own = self.resolve(schema).str_at(&["description"]).unwrap_or_default();
        text.push_str("DESCRIPTION:\n");
        match (described.as_str(), own) {
            ("", "") => text.push_str("    <empty>\n"),
            ("", own) => wrap(own, 4, &mut text),
            (described, own) => {
                wrap(described, 4, &mut text);
                if !own.is_empty() && own != described {
                    wrap(own, 4, &mut text);
                }
            }
        }
        text.push_str("    \n");
        let _ = kind;
        let fields = self.resolve(schema);
        if fields.get("properties").is_some() {
            text.push_str("FIELDS:\n");
            self.fields(fields, recursive, 1, &mut Vec::new(), &mut text);
            text.push('\n');
        }
        Ok(text)
    }

    fn of_kind(&self, resource: &ApiResource) -> Option<&'a Value> {
        let schemas = self.document.at(&["components", "schemas"])?.as_object()?;
        let (_, schema) = schemas.iter().find(|(_, schema)| {
            let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array).unwrap_or_default();
            kinds.iter().any(|kind| {
                kind.str_at(&["kind"]) == Some(&resource.kind)
                    && kind.str_at(&["group"]).unwrap_or_default() == resource.group
                    && kind.str_at(&["version"]) == Some(&resource.version)
            })
        })?;
        Some(schema)
    }

    /// What a `$ref` stands for, alone or in an `allOf`.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let reference = schema.str_at(&["$ref"]).or_else(|| match schema.get("allOf").and_then(Value::as_array) {
            Some([one]) => one.str_at(&["$ref"]),
            _ => None,
        });
        let name = reference.and_then(|reference| reference.strip_prefix("#/components/schemas/"));
        match name.and_then(|name| self.document.at(&["components", "schemas", name])) {
            Some(found) => found,
            None => schema,
        }
    }

    /// Inside of lists and maps.
    fn element(&self, schema: &'a Value) -> &'a Value {
        let resolved = self.resolve(schema);
        if let Some(items) = resolved.get("items") {
            return self.element(items);
        }
        match resolved.get("additionalProperties") {
            Some(inner) if inner.as_object().is_some() && resolved.get("properties").is_none() => self.element(inner),
            _ => resolved,
        }
    }

    fn type_name(&self, schema: &'a Value) -> String {
        let reference = schema.str_at(&["$ref"]).or_else(|| schema.get("allOf").and_then(|all| all[0].str_at(&["$ref"])));
        let resolved = self.resolve(schema);
        match resolved.str_at(&["type"]).unwrap_or_default() {
            "array" => format!("[]{}", resolved.get("items").map_or_else(|| "Object".into(), |items| self.type_name(items))),
            "object" => match resolved.get("additionalProperties") {
                Some(inner) if inner.as_object().is_some() && resolved.get("properties").is_none() => {
                    format!("map[string]{}", self.type_name(inner))
                }
                _ => reference.and_then(|reference| reference.rsplit('.').next()).unwrap_or("Object").to_string(),
            },
            "" => reference.and_then(|reference| reference.rsplit('.').next()).unwrap_or("Object").to_string(),
            // A named scalar is shown by its name: Time, Quantity.
            name => match reference.and_then(|reference| reference.rsplit('.').next()) {
                Some(known) => known.to_string(),
                None => name.to_string(),
            },
        }
    }

    fn fields(&self, schema: &'a Value, recursive: bool, depth: usize, above: &mut Vec<*const Value>, text: &mut String) {
        let indent = "  ".repeat(depth);
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).unwrap_or_default().iter().filter_map(Value::as_str).collect();
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        for (name, field) in properties.sorted() {
            let mark = if required.contains(&name) { " -required-" } else { "" };
            let _ = writeln!(text, "{indent}{name}\t<{}>{mark}", self.type_name(field));
            if !recursive {
                let inner = field.str_at(&["description"]).or_else(|| self.resolve(field).str_at(&["description"])).unwrap_or_default();
                let mut described = String::new();
                wrap(if inner.is_empty() { "<no description>" } else { inner }, 2 * depth + 2, &mut described);
                text.push_str(&described);
                text.push('\n');
                continue;
            }
            let inner = self.element(field);
            let at: *const Value = inner;
            // A schema may hold itself.
            if above.contains(&at) {
                continue;
            }
            above.push(at);
            self.fields(inner, recursive, depth + 1, above, text);
            above.pop();
        }
    }
}

/// Lines of at most 80 characters.
fn wrap(words: &str, indent: usize, out: &mut String) {
    let margin = " ".repeat(indent);
    for paragraph in words.split('\n') {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && indent + line.len() + 1 + word.len() > 80 {
                let _ = writeln!(out, "{margin}{line}");
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        let _ = writeln!(out, "{margin}{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_types() {
        let document = Value::parse(
            br##"{"components":{"schemas":{
                "io.Thing":{"type":"object","description":"A thing.","x-kubernetes-group-version-kind":[{"group":"","kind":"Thing","version":"v1"}],
                    "properties":{"spec":{"allOf":[{"$ref":"#/components/schemas/io.Spec"}],"description":"What is wanted."},"labels":{"type":"object","additionalProperties":{"type":"string"}}}},
                "io.Spec":{"type":"object","required":["n"],"properties":{"n":{"type":"integer"},"list":{"type":"array","items":{"$ref":"#/components/schemas/io.Spec"}}}}}}}"##,
        )
        .unwrap();
        let thing = ApiResource { version: "v1".into(), kind: "Thing".into(), ..ApiResource::default() };
        let explainer = Explainer { document: &document };
        let text = explainer.explain(&thing, &["spec".into()], false).unwrap();
        assert_eq!(
            text,
            "KIND:       Thing\nVERSION:    v1\n\nFIELD: spec <Spec>\n\nDESCRIPTION:\n    What is wanted.\n    \nFIELDS:\n  list\t<[]Spec>\n    <no description>\n\n  n\t<integer> -required-\n    <no description>\n\n\n"
        );
        let text = explainer.explain(&thing, &[], true).unwrap();
        assert!(
            text.contains("FIELDS:\n  labels\t<map[string]string>\n  spec\t<Spec>\n    list\t<[]Spec>\n    n\t<integer> -required-\n"),
            "{text}"
        );
        assert!(explainer.explain(&thing, &["x".into()], false).is_err());
    }
}
