//! The code generator: fact tables in `api/` -> checked-in Rust. `hack/update-codegen` runs it.

use std::path::Path;
use std::process::ExitCode;

mod defaults;
mod grpc;
mod rbac;
mod resources;
mod types;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let result = match std::env::args().nth(1).as_deref() {
        Some("grpc") => grpc::run(&root),
        Some("defaults") => defaults::run(&root),
        Some("resources") => resources::run(&root),
        Some("rbac") => rbac::run(&root),
        Some("types") => types::run(&root),
        _ => Err("usage: codegen defaults | grpc | rbac | resources | types".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("codegen: {err}");
            ExitCode::FAILURE
        }
    }
}
