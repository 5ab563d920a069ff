//! `kubectl get`: tables drawn by the server, or documents. Upstream: `kubectl/pkg/cmd/get`.

use std::cmp::Ordering;

use apimachinery::{Quantity, Value};
use client::{ApiResource, Error, Request, ResponseBody};

use crate::context::{Context, Outcome, errln, out, outln, refuse};
use crate::failure::Failure;
use crate::print::jsonpath::{Template, relaxed};
use crate::print::tab::Columns;
use crate::print::table::{self, Column, View};
use crate::print::{self, Format};
use crate::resources::{Ask, Target, Wanted, list_all, qualified_kind};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["kustomize"])?;
    if let Some(path) = line.text_opt("raw") {
        let body = ctx.client()?.fetch(Request::get(path)).await?;
        out(&String::from_utf8_lossy(&body));
        return Ok(());
    }
    let format = Format::of(line)?;
    let ask = Ask { types_mean_all: true, ..Ask::of(ctx) };
    if ask.args.is_empty() && ask.files.is_empty() {
        errln("You must specify the type of resource to get. Use \"kubectl api-resources\" for a complete list of supported resources.\n");
        return Err(Failure::usage("Required resource not specified."));
    }
    let sort = match line.text("sort-by") {
        "" => None,
        "creationTimestamp" => Some(relaxed(".metadata.creationTimestamp").map_err(Failure::text)?),
        text => Some(relaxed(text).map_err(Failure::text)?),
    };
    let wanted = ask.resolve(ctx).await?;
    let get = Get { ctx, ask: &ask, format, sort, subresource: line.text("subresource").to_string() };
    if line.bool("watch") || line.bool("watch-only") {
        return get.watch(&wanted).await;
    }
    match get.format.is_for_people() {
        true => get.tables(&wanted).await,
        false => get.documents(&wanted).await,
    }
}

struct Get<'a> {
    ctx: &'a Context,
    ask: &'a Ask,
    format: Format,
    sort: Option<Template>,
    subresource: String,
}

impl Get<'_> {
    fn view(&self, wanted: &Wanted, several: bool) -> View {
        let line = &self.ctx.line;
        let resource = resource_of(wanted);
        View {
            wide: matches!(self.format, Format::Wide),
            headers: !line.bool("no-headers"),
            namespace: self.ask.all_namespaces && resource.namespaced,
            kind_prefix: if several || line.bool("show-kind") { format!("{}/", qualified_kind(resource)) } else { String::new() },
            labels: line.bool("show-labels"),
            label_columns: line.strings("label-columns"),
            event: None,
        }
    }

    fn request(&self, wanted: &Wanted, continue_: &str) -> Result<Request, Failure> {
        let mut request = match wanted {
            Wanted::Object(target) => Request::get(target.api(self.ctx)?.path().object(&target.name, &self.subresource)?),
            Wanted::Collection { resource, namespace } => {
                let mut request = Request::get(self.ctx.api(resource, namespace)?.path().collection()?);
                if self.ask.chunk > 0 {
                    request = request.query("limit", self.ask.chunk.to_string());
                }
                if let Some(labels) = &self.ask.labels {
                    request = request.query("labelSelector", labels.as_str());
                }
                if let Some(fields) = &self.ask.fields {
                    request = request.query("fieldSelector", fields.as_str());
                }
                if !continue_.is_empty() {
                    request = request.query("continue", continue_);
                }
                request
            }
        };
        if self.sort.is_some() {
            request = request.query("includeObject", "Object");
        }
        if self.ctx.line.bool("server-print") {
            request = request.accept(TABLE);
        }
        Ok(request)
    }

    /// The whole table of one part of what is asked for.
    async fn table(&self, wanted: &Wanted) -> Result<Value, Failure> {
        let mut whole: Option<Value> = None;
        let mut next = String::new();
        loop {
            let body = self.ctx.client()?.fetch(self.request(wanted, &next)?).await?;
            let mut page = Value::parse(&body).map_err(|err| Failure::text(err.to_string()))?;
            next = page.str_at(&["metadata", "continue"]).unwrap_or_default().to_string();
            if page.str_at(&["kind"]) != Some("Table") {
                let version = page.str_at(&["metadata", "resourceVersion"]).unwrap_or_default().to_string();
                page = table::of_objects(&page);
                page.set_at(&["metadata", "resourceVersion"], version);
            }
            match &mut whole {
                None => whole = Some(page),
                Some(whole) => {
                    let more = page.get_mut("rows").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
                    if let Some(rows) = whole.get_mut("rows").and_then(Value::as_array_mut) {
                        rows.extend(more);
                    }
                }
            }
            if next.is_empty() {
                break;
            }
        }
        let mut table = whole.unwrap_or_default();
        if let (Some(sort), Some(rows)) = (&self.sort, table.get_mut("rows").and_then(Value::as_array_mut)) {
            let mut keyed: Vec<(Value, Value)> =
                rows.drain(..).map(|row| (sort_key(sort, row.get("object").unwrap_or(&Value::Null)), row)).collect();
            keyed.sort_by(|a, b| compare(&a.0, &b.0));
            rows.extend(keyed.into_iter().map(|(_, row)| row));
        }
        Ok(table)
    }

    async fn tables(&self, wanted: &[Wanted]) -> Outcome {
        let several = distinct(wanted) > 1;
        let mut failures = Vec::new();
        // Rows of one resource stand together under one header.
        let mut sections: Vec<(ApiResource, Vec<Vec<String>>)> = Vec::new();
        for part in wanted {
            let table = match self.table(part).await {
                Ok(table) => table,
                Err(failure) if failure.is_not_found() && self.ctx.line.bool("ignore-not-found") => continue,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            if table.get("rows").and_then(Value::as_array).unwrap_or_default().is_empty() {
                continue;
            }
            let mut view = self.view(part, several);
            let resource = resource_of(part);
            let continues = sections.last().is_some_and(|(last, _)| last.gvr() == resource.gvr());
            view.headers &= !continues;
            let rows = table::rows(&table, &table::columns(&table), &view);
            match sections.last_mut() {
                Some((_, known)) if continues => known.extend(rows),
                _ => sections.push((resource.clone(), rows)),
            }
        }
        let nothing = sections.is_empty();
        for (index, (_, rows)) in sections.iter().enumerate() {
            if index > 0 {
                outln("");
            }
            out(&Columns::default().rows(rows));
        }
        if nothing && failures.is_empty() && !self.ctx.line.bool("ignore-not-found") {
            self.say_nothing(wanted)?;
        }
        Failure::all(failures)
    }

    fn say_nothing(&self, wanted: &[Wanted]) -> Outcome {
        let namespaced = wanted.iter().any(|part| resource_of(part).namespaced);
        if self.ask.all_namespaces || !namespaced {
            errln("No resources found");
        } else {
            errln(&format!("No resources found in {} namespace.", self.ctx.namespace()?.0));
        }
        Ok(())
    }

    async fn documents(&self, wanted: &[Wanted]) -> Outcome {
        let (mut objects, mut failures) = (Vec::new(), Vec::new());
        let single = matches!(wanted, [Wanted::Object(_)]);
        for part in wanted {
            let found = match part {
                Wanted::Object(target) => self.object(target).await.map(|object| vec![object]),
                Wanted::Collection { resource, namespace } => self.list(resource, namespace).await.map(|(objects, _)| objects),
            };
            match found {
                Ok(found) => objects.extend(found),
                Err(failure) if failure.is_not_found() && self.ctx.line.bool("ignore-not-found") => {}
                Err(failure) => failures.push(failure),
            }
        }
        if let Some(sort) = &self.sort {
            objects.sort_by(|a, b| compare(&sort_key(sort, a), &sort_key(sort, b)));
        }
        let managed = self.ctx.line.bool("show-managed-fields");
        if single {
            for object in &objects {
                self.print_one(object)?;
            }
            return Failure::all(failures);
        }
        match &self.format {
            _ if objects.is_empty() && !failures.is_empty() => {}
            Format::Name => {
                for object in &objects {
                    outln(&print::name_of(object));
                }
            }
            Format::CustomColumns(columns) => {
                let mut rows = Vec::new();
                if !self.ctx.line.bool("no-headers") {
                    rows.push(columns.headers());
                }
                for object in &objects {
                    rows.push(columns.row(object).map_err(Failure::text)?);
                }
                out(&Columns::default().rows(&rows));
            }
            format => out(&print::document(format, &print::list_of(objects), managed)?),
        }
        Failure::all(failures)
    }

    fn print_one(&self, object: &Value) -> Outcome {
        if let Format::CustomColumns(columns) = &self.format {
            let mut rows = vec![columns.row(object).map_err(Failure::text)?];
            if !self.ctx.line.bool("no-headers") {
                rows.insert(0, columns.headers());
            }
            out(&Columns::default().rows(&rows));
            return Ok(());
        }
        out(&print::document(&self.format, object, self.ctx.line.bool("show-managed-fields"))?);
        Ok(())
    }

    async fn object(&self, target: &Target) -> Result<Value, Failure> {
        Ok(target.api(self.ctx)?.get(&target.name, &self.subresource).await?)
    }

    async fn list(&self, resource: &ApiResource, namespace: &str) -> Result<(Vec<Value>, String), Failure> {
        let (targets, version) = list_all(&self.ctx.api(resource, namespace)?, self.ask.list_params(), resource).await?;
        Ok((targets.into_iter().filter_map(|target| target.object).collect(), version))
    }

    /// Prints what is there, then each change.
    async fn watch(&self, wanted: &[Wanted]) -> Outcome {
        let [part] = wanted else {
            return Err(Failure::text(
                "watch is only supported on individual resources and resource collections - more than 1 resource was found",
            ));
        };
        let line = &self.ctx.line;
        let people = self.format.is_for_people();
        let mut view = self.view(part, false);
        let with_events = line.bool("output-watch-events");
        let mut columns: Vec<Column> = Vec::new();
        let mut widths = Columns::default();
        let (version, initial) = if people {
            let table = self.table(part).await?;
            columns = table::columns(&table);
            view.event = with_events.then_some("ADDED");
            (version_of(&table), vec![table])
        } else {
            match part {
                Wanted::Object(target) => {
                    let object = self.object(target).await?;
                    (version_of(&object), vec![object])
                }
                Wanted::Collection { resource, namespace } => {
                    let (objects, version) = self.list(resource, namespace).await?;
                    (version, objects)
                }
            }
        };
        if !line.bool("watch-only") {
            for item in &initial {
                if people {
                    let empty = item.get("rows").and_then(Value::as_array).unwrap_or_default().is_empty();
                    if !empty {
                        out(&widths.rows(&table::rows(item, &columns, &view)));
                        view.headers = false;
                    }
                } else {
                    self.print_one(item)?;
                }
            }
        }
        let mut request = match part {
            Wanted::Object(target) => {
                Request::get(target.api(self.ctx)?.path().collection()?).query("fieldSelector", format!("metadata.name={}", target.name))
            }
            Wanted::Collection { .. } => self.request(part, "")?,
        };
        request = request.query("watch", "true").query("resourceVersion", version).no_timeout();
        if people && matches!(part, Wanted::Object(_)) {
            request = request.accept(TABLE);
        }
        if !people {
            // The collection's request asks for tables; documents are wanted here.
            request = self.plain_watch(part, request)?;
        }
        let mut lines = Lines::new(self.ctx.client()?.send(request).await?.body);
        while let Some(event) = lines.next().await? {
            let Some(object) = event.get("object") else { continue };
            let kind = match event.str_at(&["type"]) {
                Some("ADDED") => "ADDED",
                Some("MODIFIED") => "MODIFIED",
                Some("DELETED") => "DELETED",
                Some("ERROR") => return Err(Failure::text(object.str_at(&["message"]).unwrap_or("watch failed"))),
                _ => continue,
            };
            if people {
                let drawn;
                let table = if object.str_at(&["kind"]) == Some("Table") {
                    object
                } else {
                    drawn = table::of_objects(object);
                    &drawn
                };
                let own = table::columns(table);
                if !own.is_empty() {
                    columns = own;
                }
                view.event = with_events.then_some(kind);
                out(&widths.rows(&table::rows(table, &columns, &view)));
                view.headers = false;
            } else {
                self.print_one(object)?;
            }
        }
        Ok(())
    }

    fn plain_watch(&self, part: &Wanted, table: Request) -> Result<Request, Failure> {
        let version = table.path_and_query();
        let version = version.split("resourceVersion=").nth(1).and_then(|rest| rest.split('&').next()).unwrap_or_default().to_string();
        let (path, fields) = match part {
            Wanted::Object(target) => (target.api(self.ctx)?.path().collection()?, Some(format!("metadata.name={}", target.name))),
            Wanted::Collection { resource, namespace } => {
                (self.ctx.api(resource, namespace)?.path().collection()?, self.ask.fields.clone())
            }
        };
        let mut request = Request::get(path).query("watch", "true").query("resourceVersion", version).no_timeout();
        if let Some(fields) = fields {
            request = request.query("fieldSelector", fields);
        }
        if let Some(labels) = &self.ask.labels {
            request = request.query("labelSelector", labels.as_str());
        }
        Ok(request.accept("application/json"))
    }
}

fn resource_of(wanted: &Wanted) -> &ApiResource {
    match wanted {
        Wanted::Object(target) => &target.resource,
        Wanted::Collection { resource, .. } => resource,
    }
}

fn distinct(wanted: &[Wanted]) -> usize {
    let mut seen: Vec<_> = wanted.iter().map(|part| resource_of(part).gvr().to_string()).collect();
    seen.sort();
    seen.dedup();
    seen.len()
}

fn version_of(object: &Value) -> String {
    // A table of one object carries the version in the object as well.
    object.str_at(&["metadata", "resourceVersion"]).unwrap_or_default().to_string()
}

fn sort_key(sort: &Template, object: &Value) -> Value {
    sort.find(object, true).ok().and_then(|found| found.first().map(|value| (*value).clone())).unwrap_or_default()
}

/// Missing first, numbers by value, texts that are both quantities by value, other texts by letter.
fn compare(a: &Value, b: &Value) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) {
        return a.total_cmp(&b);
    }
    match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => match (a.parse::<Quantity>(), b.parse::<Quantity>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => a.cmp(b),
        },
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        _ => print::plain::go(a).cmp(&print::plain::go(b)),
    }
}

/// The events of a watch, as JSON lines.
pub struct Lines {
    body: ResponseBody,
    buffer: Vec<u8>,
}

impl Lines {
    pub fn new(body: ResponseBody) -> Lines {
        Lines { body, buffer: Vec::new() }
    }

    pub async fn next(&mut self) -> Result<Option<Value>, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let decoded = Value::parse(&line);
                return decoded.map(Some).map_err(|err| Error::Decode { kind: "WatchEvent".into(), source: err.into() });
            }
            match self.body.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
