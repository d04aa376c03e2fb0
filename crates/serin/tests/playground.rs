//! `serin playground` from outside: the built program with an empty environment, spoken to over HTTP, ended by signals.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const ROLLOUT: &str = "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/shop";
const ROUTE: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/shop";
const SERVICE: &str = "/api/v1/namespaces/shop/services/shop-canary";
const GATEWAY: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/gateway";
const PODS: &str = "/api/v1/namespaces/shop/pods";

/// Whatever is waited for comes within seconds, or on a busy machine within this.
const LONGEST: Duration = Duration::from_secs(120);

struct Playground {
    child: Child,
    lines: Receiver<String>,
    at: Value,
    /// Everything that was said so far.
    said: Vec<String>,
    /// The last line that was read.
    last: Value,
}

impl Playground {
    fn start(arguments: &[&str]) -> Self {
        let (child, stdout, at) = run(arguments);
        let (sender, lines) = mpsc::channel();
        // Ends with the pipe.
        std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self {
            child,
            lines,
            at,
            said: Vec::new(),
            last: Value::Null,
        }
    }

    fn address(&self, of: &str) -> SocketAddr {
        let url = self.at[of].as_str().expect("an address");
        url.trim_start_matches("http://").parse().expect("an address")
    }

    fn folder(&self) -> PathBuf {
        let kubeconfig = Path::new(self.at["kubeconfig"].as_str().expect("a path"));
        kubeconfig.parent().expect("a folder").to_owned()
    }

    /// Reads on until something is said.
    fn until(&mut self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LONGEST);
            let line = line.unwrap_or_else(|e| panic!("{part:?} was never said: {e}; it said {:#?}", self.said));
            let line: Value = serde_json::from_str(&line).expect("JSON");
            let text = line["text"].as_str().expect("a text").to_owned();
            self.said.push(text.clone());
            assert!(line.get("rollout").is_some(), "{line}");
            self.last = line;
            if text.contains(part) {
                return text;
            }
        }
    }

    fn get(&self, path: &str) -> Value {
        let (code, body) = ask(self.address("api"), "GET", path, "localhost", "", "");
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    fn release(&self, image: &str) {
        let path = "/spec/template/spec/containers/0/image";
        let patch = json!([{"op": "replace", "path": path, "value": image}]).to_string();
        let kind = "application/json-patch+json";
        let (code, body) = ask(self.address("api"), "PATCH", ROLLOUT, "localhost", kind, &patch);
        assert_eq!(code, 200, "{body}");
    }

    /// The value of a query that gives one.
    fn query(&self, query: &str) -> f64 {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        let (code, body) = ask(self.address("prometheus"), "GET", &path, "localhost", "", "");
        assert_eq!(code, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        let value = answer.pointer("/data/result/0/value/1").and_then(Value::as_str);
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("{query}: {body}"))
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([signal, &id])
            .status()
            .expect("kill can be run");
        assert!(sent.success());
    }

    fn end(&mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }
}

/// Neither HOME nor PATH: no Prometheus is found, and nothing else either. Its output and the addresses that it begins with.
fn run(arguments: &[&str]) -> (Child, BufReader<ChildStdout>, Value) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["playground", "--json"])
        .args(arguments)
        .env_clear()
        .env("TMPDIR", std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program can be run");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut first = String::new();
    stdout.read_line(&mut first).expect("a line");
    let at = serde_json::from_str(&first).unwrap_or_else(|e| panic!("{e}: {first}"));
    (child, stdout, at)
}

impl Drop for Playground {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own.
fn ask(to: SocketAddr, method: &str, path: &str, host: &str, kind: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(to).unwrap_or_else(|e| panic!("{to}: {e}"));
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.expect("a code"), body.to_owned())
}

fn is_closed(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_err()
}

/// For what somebody else does a moment later.
fn soon(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < deadline, "not {what} after 30 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn weight_of_canary(route: &Value) -> i64 {
    let backends = route.pointer("/spec/rules/0/backendRefs").and_then(Value::as_array);
    let canary = backends.into_iter().flatten().find(|b| b["name"] == "shop-canary");
    canary
        .and_then(|b| b["weight"].as_i64())
        .expect("the route has the canary's Service")
}

#[test]
fn a_bad_image_is_taken_back_before_the_eyes_of_an_ordinary_user_and_nothing_is_left() {
    let mut playground = Playground::start(&["--rps", "100"]);
    assert_eq!(playground.at["prometheus_is_real"], false);
    let folder = playground.folder();
    let mode = fs::metadata(&folder).expect("the folder").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    playground.until("the Rollout is Healthy");
    playground.release("shop:v3-errors50");
    playground.until("stable 80, shop-canary 20");
    playground.until("with 20% of the traffic: AnalysisRun");
    let measured = playground.until("measured canary-error-rate");
    assert!(measured.contains("Failed (good if result[0] < 0.005)"), "{measured}");
    let degraded = playground.until("the Rollout is Degraded");
    assert!(degraded.contains("canary-error-rate"), "{degraded}");
    assert_eq!(playground.get(ROLLOUT)["status"]["abort"], true);
    let route = playground.get(ROUTE);
    assert_eq!(weight_of_canary(&route), 0);
    assert_eq!(
        route.pointer("/status/parents/0/conditions/0/status"),
        Some(&json!("True"))
    );

    // The pods themselves have counted what failed, and stable answers.
    assert!(playground.query("sum(max_over_time(http_requests_total{code=\"500\"}[5m]))") > 0.0);
    let gateway = playground.address("gateway");
    for _ in 0..20 {
        let (code, body) = ask(gateway, "GET", "/", "shop.example", "", "");
        assert!(code == 200 && body.contains("\"version\":\"v1\""), "{code} {body}");
    }
    assert_eq!(ask(gateway, "GET", "/", "elsewhere.example", "", "").0, 404);

    // A pod is where its object says, and has a log.
    let pods = playground.get(PODS);
    let pod = &pods["items"][0];
    let ip = pod["status"]["podIP"].as_str().expect("an address");
    let name = pod["metadata"]["name"].as_str().expect("a name");
    let pod_address: SocketAddr = format!("{ip}:8080").parse().expect("an address");
    assert_eq!(ask(pod_address, "GET", "/readyz", "localhost", "", "").0, 200);
    let (code, log) = ask(
        playground.address("api"),
        "GET",
        &format!("{PODS}/{name}/log"),
        "localhost",
        "",
        "",
    );
    assert!(code == 200 && log.contains("listening on"), "{log}");

    playground.signal("-TERM");
    assert!(playground.end().success());
    for of in ["api", "gateway", "prometheus", "controller"] {
        assert!(is_closed(playground.address(of)), "{of}");
    }
    assert!(is_closed(pod_address));
    assert!(!folder.exists());
}

#[test]
fn even_when_it_is_killed_its_folder_goes() {
    let mut playground = Playground::start(&["--rps", "0"]);
    let folder = playground.folder();
    assert!(folder.join("kubeconfig").exists());
    playground.signal("-KILL");
    assert!(!playground.end().success());
    soon("removed", || !folder.exists());
}

#[test]
fn it_ends_when_nobody_reads_any_more() {
    let (mut child, stdout, at) = run(&["--rps", "0"]);
    let kubeconfig = at["kubeconfig"].as_str().expect("a path").to_owned();
    drop(stdout);
    // What it says next is that the shop gets healthy.
    assert!(child.wait().expect("it ends").success());
    assert!(!Path::new(&kubeconfig).exists());
}

#[test]
fn somebody_s_own_manifests_are_completed_and_what_is_supplied_is_said() {
    let folder = std::env::temp_dir().join(format!("serin-playground-test-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let manifest = "
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: errors, namespace: team}
spec:
  metrics:
  - name: errors
    interval: 1s
    count: 60
    successCondition: isNaN(result) || result < 0.1
    provider:
      prometheus:
        address: http://prometheus.monitoring.svc:9090
        query: scalar(sum(rate(http_requests_total{code=~\"5..\"}[10s])) / sum(rate(http_requests_total[10s])))
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: team}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: \"web:1\", ports: [{containerPort: 3000}]}]}
  strategy: {canary: {steps: [{setWeight: 50}, {analysis: {templates: [{templateName: errors}]}}]}}
---
apiVersion: example.org/v1
kind: Dashboard
metadata: {name: web}
";
    fs::write(folder.join("web.yaml"), manifest).expect("it is written");
    let path = folder.display().to_string();
    let mut playground = Playground::start(&["--rps", "100", "--file", &path]);
    playground.until("left out: 1 Dashboard");
    playground.until("the Rollout is Healthy");
    for note in ["supplied: Namespace/team", "supplied: Service/web"] {
        assert!(
            playground.said.iter().any(|said| said.starts_with(note)),
            "{note} in {:?}",
            playground.said
        );
    }
    let rollout = ROLLOUT.replace("shop", "team").replace("rollouts/team", "rollouts/web");
    let path = "/spec/template/spec/containers/0/image";
    let patch = json!([{"op": "replace", "path": path, "value": "web:2-errors100"}]).to_string();
    let kind = "application/json-patch+json";
    let (code, body) = ask(playground.address("api"), "PATCH", &rollout, "localhost", kind, &patch);
    assert_eq!(code, 200, "{body}");
    playground.until("http://prometheus.monitoring.svc:9090 leads to the playground's Prometheus");
    playground.until("the Rollout is Degraded");
    playground.signal("-INT");
    assert!(playground.end().success());
    fs::remove_dir_all(folder).expect("the test's own folder");
}

#[test]
fn what_cannot_be_played_is_refused_before_anything_starts() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_serin"))
            .arg("playground")
            .args(arguments)
            .output()
            .expect("it can be run");
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = run(&["--file", "/nowhere/at-all.yaml"]);
    assert!(error.contains("/nowhere/at-all.yaml"), "{error}");
    let error = run(&["--loglevel", "xx"]);
    assert!(
        error.contains("'xx'") && error.contains("debug, info, warn, error"),
        "{error}"
    );
    let error = run(&["--scrape-interval", "10ms"]);
    assert!(error.contains("less than 100ms"), "{error}");
}

#[test]
fn what_is_held_during_an_analysis_is_explained_with_why_it_fails_and_a_command_that_skips_nothing() {
    let folder = std::env::temp_dir().join(format!("serin-explain-test-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let manifest = "
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: errors, namespace: team}
spec:
  metrics:
  - name: errors
    interval: 1s
    count: 60
    consecutiveErrorLimit: 20
    failureLimit: 2
    successCondition: result[0] < 0.1
    provider:
      prometheus:
        address: http://prometheus.monitoring.svc:9090
        query: sum(rate(http_requests_total[10s])
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: team}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: \"web:1\", ports: [{containerPort: 3000}]}]}
  strategy: {canary: {steps: [{setWeight: 50}, {analysis: {templates: [{templateName: errors}]}}]}}
";
    fs::write(folder.join("web.yaml"), manifest).expect("it is written");
    let path = folder.display().to_string();
    let mut playground = Playground::start(&["--rps", "0", "--file", &path]);
    playground.until("the Rollout is Healthy");
    let rollout = ROLLOUT.replace("shop", "team").replace("rollouts/team", "rollouts/web");
    let patch = |patch: &Value| {
        let (to, kind) = (playground.address("api"), "application/merge-patch+json");
        let (code, body) = ask(to, "PATCH", &rollout, "localhost", kind, &patch.to_string());
        assert_eq!(code, 200, "{body}");
    };
    let explained = || {
        let output = Command::new(env!("CARGO_BIN_EXE_serin"))
            .args(["explain", "rollout/web", "-n", "team", "--kubeconfig"])
            .arg(playground.at["kubeconfig"].as_str().expect("a path"))
            .output()
            .expect("it can be run");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let image = json!([{"name": "web", "image": "web:2", "ports": [{"containerPort": 3000}]}]);
    patch(&json!({"spec": {"template": {"spec": {"containers": image}}}}));
    soon("failing", || explained().contains("last error: "));
    patch(&json!({"spec": {"paused": true}}));
    soon("held", || explained().contains("PausedByPerson"));
    let text = explained();
    for words in [
        "It is held at step 2/2 (analysis), with 1 pod.",
        "(of the step) is Running.",
        r#"next   Set spec.paused to false (kubectl patch rollout web -n team --type merge -p '{"spec":{"paused":false}}')."#,
        "last error: ",
        "(consecutiveErrorLimit 20), as Failed with 3 more bad ones (failureLimit 2)",
    ] {
        assert!(text.contains(words), "{words:?} is missing in:\n{text}");
    }
    fs::remove_dir_all(folder).expect("the test's own folder");
}

#[test]
fn a_port_that_is_taken_is_named_with_its_option() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for option in ["--api-port", "--gateway-port"] {
        let output = Command::new(env!("CARGO_BIN_EXE_serin"))
            .args(["playground", "--json", "--rps", "0", option, &port])
            .output()
            .expect("it can be run");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(
            error.contains(&format!("127.0.0.1:{port}")) && error.contains(option),
            "{error}"
        );
    }
}

#[test]
fn whatever_has_no_route_has_failed_and_lines_say_of_which_rollout_they_are() {
    let mut playground = Playground::start(&["--rps", "100", "--prometheus", "none"]);
    playground.until("the Rollout is Healthy");
    let api = playground.address("api");
    let json = "application/json";
    let (code, _) = ask(api, "GET", SERVICE, "localhost", "", "");
    assert_eq!(code, 200);
    assert_eq!(ask(api, "DELETE", SERVICE, "localhost", json, "").0, 200);
    soon("told", || {
        playground
            .get(ROUTE)
            .to_string()
            .contains("there is no Service shop/shop-canary")
    });
    let resolved = playground.get(ROUTE);
    let condition = resolved.pointer("/status/parents/0/conditions/1").expect("a condition");
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("False"), &json!("BackendNotFound"))
    );
    assert_eq!(ask(api, "DELETE", GATEWAY, "localhost", json, "").0, 200);
    soon("unserved", || {
        ask(playground.address("gateway"), "GET", "/", "shop.example", "", "").0 == 404
    });
    assert_eq!(ask(api, "DELETE", ROUTE, "localhost", json, "").0, 200);
    playground.until("HTTPRoute/shop is deleted");
    let said = playground.until("nobody");
    assert!(!said.contains("nobody 0") && !said.contains("(0 failed), v1"), "{said}");
    let line = playground.last.clone();
    assert_eq!(
        (&line["rollout"], &line["kind"]),
        (&json!("shop/shop"), &json!("bad")),
        "{line}"
    );
}
