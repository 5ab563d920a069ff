//! The node agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    component_base::daemon::main(kubelet::options::command(), kubelet::kubelet::run)
}
