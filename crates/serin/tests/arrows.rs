//! The dependency arrows between packages point one way, and only the shell names clients and runtimes.
//!
//! The table below is the one of ARCHITECTURE.md; a new arrow is added here on purpose or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// What a package's normal and build dependencies may name inside the workspace. `tests/*` may name anything.
const ARROWS: &[(&str, &[&str])] = &[
    ("serin-api", &[]),
    ("serin-model", &["serin-api"]),
    ("serin-expr", &[]),
    ("serin-planner", &["serin-api", "serin-model"]),
    ("serin-analysis", &["serin-api", "serin-expr", "serin-model"]),
    ("serin-audit", &["serin-api", "serin-model"]),
    ("serin-traffic", &["serin-api", "serin-model"]),
    ("serin-providers", &["serin-api", "serin-model"]),
    (
        "serin-controller",
        &[
            "serin-analysis",
            "serin-api",
            "serin-audit",
            "serin-expr",
            "serin-model",
            "serin-planner",
            "serin-providers",
            "serin-traffic",
        ],
    ),
    ("serin-kubesim", &[]),
    ("serin-promql", &[]),
    ("serin-staging", &["serin-api", "serin-model"]),
    (
        "serin-rehearse",
        &[
            "serin-api",
            "serin-controller",
            "serin-expr",
            "serin-kubesim",
            "serin-model",
            "serin-planner",
            "serin-promql",
            "serin-providers",
            "serin-staging",
            "serin-traffic",
        ],
    ),
    (
        "serin-playground",
        &[
            "serin-api",
            "serin-controller",
            "serin-kubesim",
            "serin-model",
            "serin-planner",
            "serin-promql",
            "serin-providers",
            "serin-staging",
            "serin-traffic",
        ],
    ),
    (
        "serin",
        &[
            "serin-analysis",
            "serin-api",
            "serin-controller",
            "serin-expr",
            "serin-model",
            "serin-planner",
            "serin-playground",
            "serin-promql",
            "serin-providers",
            "serin-rehearse",
            "serin-staging",
            "serin-traffic",
        ],
    ),
];

/// Packages that wait, read and write. All others are pure.
const SHELL: &[&str] = &[
    "serin-controller",
    "serin-kubesim",
    "serin-playground",
    "serin-providers",
    "serin-rehearse",
    "serin",
];

/// Crates that only the shell may name.
const FOR_THE_SHELL: &[&str] = &[
    "tokio",
    "reqwest",
    "hyper",
    "hyper-util",
    "axum",
    "tower",
    "tower-http",
    "kube-client",
    "kube-runtime",
];

struct Package {
    is_test_tool: bool,
    /// Name to enabled features; `kube` with default features has `default` among them.
    dependencies: BTreeMap<String, BTreeSet<String>>,
}

fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages
        .iter()
        .map(|package| {
            let listed = package["dependencies"].as_array().expect("a list of dependencies");
            let dependencies = listed
                .iter()
                .filter(|d| d["kind"] != "dev")
                .map(|d| {
                    let mut features: BTreeSet<String> = d["features"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(|f| f.as_str().map(str::to_owned))
                        .collect();
                    if d["uses_default_features"] == true {
                        features.insert("default".to_owned());
                    }
                    (text(d, "name"), features)
                })
                .collect();
            let is_test_tool = text(package, "manifest_path").contains("/tests/");
            (
                text(package, "name"),
                Package {
                    is_test_tool,
                    dependencies,
                },
            )
        })
        .collect()
}

#[test]
fn the_arrows_between_packages_are_those_of_the_table() {
    let packages = packages();
    let table: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, package) in packages.iter().filter(|(_, p)| !p.is_test_tool) {
        let Some(allowed) = table.get(name.as_str()) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        let ours = package.dependencies.keys().filter(|d| packages.contains_key(*d));
        wrong.extend(
            ours.filter(|d| !allowed.contains(&d.as_str()))
                .map(|d| format!("{name} -> {d}")),
        );
    }
    assert!(wrong.is_empty(), "arrows that the table does not allow: {wrong:?}");
}

#[test]
fn only_the_shell_names_clients_and_runtimes() {
    let mut wrong = Vec::new();
    for (name, package) in packages() {
        if package.is_test_tool || SHELL.contains(&name.as_str()) {
            continue;
        }
        for (dependency, features) in &package.dependencies {
            let of_kube = ["client", "runtime", "default", "ws", "config"];
            let kube_with_client = dependency == "kube" && of_kube.iter().any(|f| features.contains(*f));
            if kube_with_client || FOR_THE_SHELL.contains(&dependency.as_str()) {
                wrong.push(format!("{name} -> {dependency} {features:?}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "pure packages that name what waits, reads or writes: {wrong:?}"
    );
}

#[test]
fn pure_packages_read_no_clock() {
    // The lint of clippy.toml covers `now()`; this covers the feature without which there is none.
    let mut wrong = Vec::new();
    for (name, package) in packages() {
        let chrono = package.dependencies.get("chrono");
        let has_clock = chrono.is_some_and(|f| ["now", "clock", "default"].iter().any(|c| f.contains(*c)));
        if has_clock && !package.is_test_tool && !SHELL.contains(&name.as_str()) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "packages with a clock in chrono: {wrong:?}");
}
