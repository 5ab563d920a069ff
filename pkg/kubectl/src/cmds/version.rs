//! `kubectl version`.

use apimachinery::Value;
use client::Request;
use component_base::version;

use crate::context::{Context, Outcome, out, outln};
use crate::failure::Failure;
use crate::print;

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    if !line.args.is_empty() {
        return Err(Failure::text(format!("extra arguments: [{}]", line.args.join(" "))));
    }
    let own = Value::parse(version::json().as_bytes()).map_err(|err| Failure::text(err.to_string()))?;
    let mut told = Value::object();
    told.set_at(&["clientVersion"], own.clone());
    let mut failure = None;
    if !line.bool("client") {
        match ctx.client()?.fetch(Request::get("/version")).await {
            Ok(body) => told.set_at(&["serverVersion"], Value::parse(&body).map_err(|err| Failure::text(err.to_string()))?),
            Err(error) => failure = Some(error),
        }
    }
    match line.text("output") {
        "" => {
            outln(&format!("Client Version: {}", own.str_at(&["gitVersion"]).unwrap_or_default()));
            if let Some(server) = told.str_at(&["serverVersion", "gitVersion"]) {
                outln(&format!("Server Version: {server}"));
            }
        }
        "json" => out(&print::json(&told)),
        "yaml" => out(&apimachinery::yaml::to_string(&print::shown(&told, true))),
        _ => return Err(Failure::text("--output must be 'yaml' or 'json'")),
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}
