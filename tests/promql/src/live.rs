//! A real Prometheus on loopback, with the samples in it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use serin_cluster::Parts;
use serin_promql::{Dialect, Labels, Value};
use tokio::process::{Child, Command};

use crate::answer::Answer;
use crate::ground::{self, Series};
use crate::wire;

/// It ends with this value, and its folder with it.
#[derive(Debug)]
pub struct Prometheus {
    _child: Child,
    folder: Folder,
    base: String,
    client: reqwest::Client,
    /// Its version, as it says.
    pub version: String,
}

#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Prometheus {
    /// Starts the Prometheus of the test cluster (or `SERIN_PROMETHEUS`) with nothing in it.
    ///
    /// # Errors
    /// When it cannot be had or does not get ready.
    pub async fn start() -> Result<Self> {
        let program = match std::env::var_os("SERIN_PROMETHEUS").filter(|v| !v.is_empty()) {
            Some(program) => PathBuf::from(program),
            None => tokio::task::spawn_blocking(Parts::fetch).await??.prometheus,
        };
        // Free now; should somebody else take it before Prometheus does, Prometheus ends and says so.
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let folder = Folder(std::env::temp_dir().join(format!("serin-promql-{}-{port}", std::process::id())));
        std::fs::create_dir_all(&folder.0).with_context(|| format!("create {}", folder.0.display()))?;
        let config = folder.0.join("prometheus.yml");
        std::fs::write(&config, "global: {evaluation_interval: 1m}\n")?;
        let log = std::fs::File::create(folder.0.join("log"))?;
        let child = Command::new(&program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.0.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args([
                "--web.enable-remote-write-receiver",
                "--storage.tsdb.retention.time=100y",
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        // reqwest asks for a provider of cryptography even where nothing is encrypted; one may be there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut prometheus = Self {
            _child: child,
            base: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(30))
                .build()?,
            version: String::new(),
            folder,
        };
        prometheus.wait().await?;
        let info: Json = prometheus.get("/api/v1/status/buildinfo").await?;
        prometheus.version = info["data"]["version"].as_str().context("no version")?.to_owned();
        Ok(prometheus)
    }

    async fn wait(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            let ready = self.client.get(format!("{}/-/ready", self.base)).send().await;
            if ready.is_ok_and(|r| r.status().is_success()) {
                return Ok(());
            }
            if let Some(status) = self._child.try_wait()? {
                let log = std::fs::read_to_string(self.folder.0.join("log")).unwrap_or_default();
                bail!(
                    "Prometheus ended with {status}: {}",
                    log.lines().last().unwrap_or_default()
                );
            }
            if begin.elapsed() > Duration::from_secs(60) {
                bail!("Prometheus is not ready after 60 s");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn get(&self, path: &str) -> Result<Json> {
        let body = self
            .client
            .get(format!("{}{path}", self.base))
            .send()
            .await?
            .bytes()
            .await?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Its major version.
    pub fn dialect(&self) -> Dialect {
        if self.version.starts_with("2.") {
            Dialect::V2
        } else {
            Dialect::V3
        }
    }

    /// Writes the samples, in the order of time.
    ///
    /// # Errors
    /// Prometheus' own words.
    pub async fn write(&self, all: &[Series]) -> Result<()> {
        const SLICE: i64 = 5 * 60 * 1000;
        let mut from = ground::BEGIN - SLICE;
        while from <= ground::END + SLICE {
            let response = self
                .client
                .post(format!("{}/api/v1/write", self.base))
                .header("Content-Encoding", "snappy")
                .header("Content-Type", "application/x-protobuf")
                .header("X-Prometheus-Remote-Write-Version", "0.1.0")
                .body(wire::body(all, from, from + SLICE))
                .send()
                .await?;
            if !response.status().is_success() {
                bail!("remote write: {} {}", response.status(), response.text().await?.trim());
            }
            from += SLICE;
        }
        Ok(())
    }

    /// Asks a query.
    ///
    /// # Errors
    /// When it does not answer; a refusal is an answer.
    pub async fn ask(&self, query: &str, at_ms: i64) -> Result<Answer> {
        let time = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
        let request = self.client.post(format!("{}/api/v1/query", self.base));
        let body = request
            .form(&[("query", query), ("time", &time)])
            .send()
            .await?
            .bytes()
            .await?;
        let json: Json = serde_json::from_slice(&body)
            .with_context(|| format!("{query}: no JSON: {}", String::from_utf8_lossy(&body)))?;
        if json["status"] != "success" {
            return Ok(Answer::Error(json["error"].as_str().unwrap_or("?").to_owned()));
        }
        value(&json["data"])
            .map(Answer::Value)
            .with_context(|| format!("{query}: unexpected answer {json}"))
    }
}

fn value(data: &Json) -> Option<Value> {
    let result = &data["result"];
    let number = |json: &Json| json.as_str()?.replace("Inf", "inf").parse::<f64>().ok();
    let labels = |json: &Json| -> Option<Labels> {
        let pairs = json["metric"].as_object()?;
        Some(
            pairs
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str().unwrap_or_default()))
                .collect(),
        )
    };
    let millis = |json: &Json| Some((json.as_f64()? * 1000.0).round() as i64);
    Some(match data["resultType"].as_str()? {
        "scalar" => Value::Scalar(number(&result[1])?),
        "string" => Value::String(result[1].as_str()?.to_owned()),
        "vector" => Value::Vector(
            result
                .as_array()?
                .iter()
                .map(|element| Some((labels(element)?, number(&element["value"][1])?)))
                .collect::<Option<_>>()?,
        ),
        "matrix" => Value::Matrix(
            result
                .as_array()?
                .iter()
                .map(|element| {
                    let samples = element["values"].as_array()?;
                    let samples = samples.iter().map(|s| Some((millis(&s[0])?, number(&s[1])?)));
                    Some((labels(element)?, samples.collect::<Option<_>>()?))
                })
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}
