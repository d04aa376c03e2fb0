//! The provider against a real Prometheus, where one is installed or was unpacked for the test cluster: says on the
//! terminal when there is none. What the shipped templates make of real data is tested in the e2e.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    env, fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use serin_model::measure::{MeasureRequest, TimeRange};
use serin_providers::{AddressPolicy, Provider as _, ProviderSettings, Providers, ReqwestTransport};

/// A process that ends with its owner.
struct Running(Child, PathBuf);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_dir_all(&self.1);
    }
}

fn binary() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
    let in_path = env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join("prometheus"))
        .find(|p| p.is_file());
    in_path.or_else(|| Some(cache.join("serin/prometheus/usr/bin/prometheus")).filter(|p| p.is_file()))
}

fn start(binary: &PathBuf) -> (Running, String) {
    let folder = env::temp_dir().join(format!("serin-prometheus-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let config = folder.join("prometheus.yml");
    fs::write(&config, "scrape_configs: []\n").unwrap();
    // Free a moment ago; Prometheus cannot choose a port itself and tell which.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(binary)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Running(child, folder), format!("http://127.0.0.1:{port}"))
}

#[tokio::test]
async fn a_real_prometheus_gives_the_answers_that_were_recorded() {
    let Some(binary) = binary() else {
        println!("no Prometheus is installed or unpacked here: nothing was asked");
        return;
    };
    let (_running, address) = start(&binary);
    let transport = Arc::new(ReqwestTransport::new(AddressPolicy::default()));
    let providers = Providers::new(
        ProviderSettings {
            prometheus_address: Some(address.clone()),
        },
        transport,
    );
    #[allow(clippy::disallowed_methods, reason = "a real server has a real clock")]
    let now = DateTime::<Utc>::from(std::time::SystemTime::now());
    let mut second = 0;
    let mut ask = |query: &str, range: Option<TimeRange>| {
        // Another second each time, so that no answer is shared while the server is still starting.
        second += 1;
        let provider = serde_json::from_value(json!({"prometheus": {"query": query}})).unwrap();
        let request = MeasureRequest {
            provider,
            at: now + TimeDelta::seconds(second),
            range,
        };
        let providers = &providers;
        async move { providers.measure(&request).await.map(|a| a.text).map_err(|e| e.message) }
    };
    let mut tries = 0;
    while let Err(e) = ask("vector(1)", None).await {
        tries += 1;
        assert!(tries < 300, "Prometheus does not come up: {e}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (query, text) in [
        ("3", "3"),
        ("vector(0.01)", "[0.01]"),
        ("vector(0) / vector(0)", "[NaN]"),
        ("vector(1) / vector(0)", "[+Inf]"),
        ("no_such_series", "[]"),
        ("vector(1e21)", "[1000000000000000000000]"),
        ("vector(0.000001234)", "[0.000001234]"),
        ("scalar(no_such_series)", "NaN"),
    ] {
        assert_eq!(ask(query, None).await.unwrap(), text, "{query}");
    }
    let range = TimeRange {
        start: now - TimeDelta::seconds(30),
        end: now,
        step: Duration::from_secs(15),
    };
    assert_eq!(ask("vector(2)", Some(range)).await.unwrap(), "[2,2,2]");
    let error = ask("sum(", None).await.unwrap_err();
    assert!(
        error.starts_with("bad_data: ") && error.ends_with(&format!("(Prometheus at {address})")),
        "{error}"
    );
    let error = ask("\"text\"", None).await.unwrap_err();
    assert!(
        error.starts_with("Prometheus metric type not supported: string"),
        "{error}"
    );
}
