//! kubectl, as a program: reads the environment, decides the exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use kubectl::context::Environment;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let environment = Environment {
        kubeconfig: var("KUBECONFIG"),
        home: var("HOME").map(PathBuf::from),
        editor: var("KUBE_EDITOR").or_else(|| var("EDITOR")),
    };
    ExitCode::from(kubectl::app::run(&arguments, environment))
}
