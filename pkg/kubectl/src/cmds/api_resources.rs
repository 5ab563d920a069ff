//! `kubectl api-resources` and `kubectl api-versions`.

use client::ApiResource;

use crate::context::{Context, Outcome, out, outln, refuse};
use crate::failure::Failure;
use crate::print::tab::Columns;

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    if !line.args.is_empty() {
        return Err(Failure::usage(format!("unexpected arguments: [{}]", line.args.join(" "))));
    }
    let wide = match line.text("output") {
        "" => false,
        "wide" => true,
        "name" => false,
        other => return Err(Failure::text(format!("--output {other} is not available for api-resources in this build"))),
    };
    refuse(line, &["show-managed-fields"])?;
    let mapper = if line.bool("cached") { ctx.mapper().await? } else { ctx.fresh_mapper().await? };
    let (verbs, categories) = (line.strings("verbs"), line.strings("categories"));
    let mut resources: Vec<&ApiResource> = mapper
        .discovery()
        .preferred()
        .into_iter()
        .filter(|resource| !resource.verbs.is_empty())
        .filter(|resource| !line.changed("namespaced") || resource.namespaced == line.bool("namespaced"))
        .filter(|resource| !line.changed("api-group") || resource.group == line.text("api-group"))
        .filter(|resource| verbs.iter().all(|verb| resource.can(verb)))
        .filter(|resource| categories.iter().all(|category| resource.categories.contains(category)))
        .collect();
    match line.text("sort-by") {
        "" => resources.sort_by(|a, b| (&a.group, &a.resource).cmp(&(&b.group, &b.resource))),
        "name" => resources.sort_by(|a, b| a.resource.cmp(&b.resource)),
        "kind" => resources.sort_by(|a, b| a.kind.cmp(&b.kind)),
        _ => return Err(Failure::text("--sort-by accepts only name or kind")),
    }
    if line.text("output") == "name" {
        for resource in resources {
            outln(&full_name(resource));
        }
        return Ok(());
    }
    let mut rows = Vec::new();
    if !line.bool("no-headers") {
        let mut header = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
        if wide {
            header.extend(["VERBS", "CATEGORIES"]);
        }
        rows.push(header.into_iter().map(str::to_string).collect());
    }
    for resource in resources {
        let mut row = vec![
            resource.resource.clone(),
            resource.short_names.join(","),
            resource.group_version().to_string(),
            resource.namespaced.to_string(),
            resource.kind.clone(),
        ];
        if wide {
            row.extend([resource.verbs.join(","), resource.categories.join(",")]);
        }
        rows.push(row);
    }
    out(&Columns::default().rows(&rows));
    Ok(())
}

fn full_name(resource: &ApiResource) -> String {
    if resource.group.is_empty() { resource.resource.clone() } else { format!("{}.{}", resource.resource, resource.group) }
}

pub async fn versions(ctx: &Context) -> Outcome {
    let mapper = ctx.fresh_mapper().await?;
    let mut versions: Vec<String> = Vec::new();
    for group in &mapper.discovery().groups {
        for version in &group.versions {
            versions.push(if group.name.is_empty() { version.version.clone() } else { format!("{}/{}", group.name, version.version) });
        }
    }
    versions.sort();
    for version in versions {
        outln(&version);
    }
    Ok(())
}
