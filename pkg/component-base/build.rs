//! Records which compiler builds this, for `/version`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=FERROKUBE_GIT_COMMIT");
    println!("cargo:rerun-if-env-changed=FERROKUBE_BUILD_DATE");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(rustc).arg("--version").output();
    let text = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    // "rustc 1.95.0 (59807616e 2026-04-14)" without what is in parentheses.
    let short = text.split(" (").next().unwrap_or("rustc").trim();
    println!("cargo:rustc-env=FERROKUBE_RUSTC={short}");
}
