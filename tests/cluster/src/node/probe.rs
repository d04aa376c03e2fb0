//! Probes: really sent to the pod, at the times that the pod's spec says.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use crate::http;

/// One probe of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProbePlan {
    target: Target,
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    success_threshold: u32,
    failure_threshold: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Http {
        port: u16,
        path: String,
    },
    Tcp {
        port: u16,
    },
    /// `exec` has no program to run in a virtual pod: taken for a success.
    Nothing,
    /// A port name that the container does not have.
    Broken,
}

impl ProbePlan {
    /// Kubernetes' defaults: period 10 s, timeout 1 s, one success, three failures.
    pub(crate) fn of(probe: &Probe, container: &Container) -> Self {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).unwrap_or(default))
        };
        let count =
            |value: Option<i32>, default: u32| value.and_then(|v| u32::try_from(v).ok()).unwrap_or(default).max(1);
        let target = if let Some(get) = &probe.http_get {
            match port(&get.port, container) {
                Some(port) => Target::Http {
                    port,
                    path: get.path.clone().unwrap_or_else(|| "/".into()),
                },
                None => Target::Broken,
            }
        } else if let Some(tcp) = &probe.tcp_socket {
            port(&tcp.port, container).map_or(Target::Broken, |port| Target::Tcp { port })
        } else if let Some(grpc) = &probe.grpc {
            u16::try_from(grpc.port).map_or(Target::Broken, |port| Target::Tcp { port })
        } else {
            Target::Nothing
        };
        Self {
            target,
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
            timeout: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
            success_threshold: count(probe.success_threshold, 1),
            failure_threshold: count(probe.failure_threshold, 3),
        }
    }

    /// Probes for ever and reports each change of the verdict, the first one included.
    pub(crate) async fn watch(&self, ip: Ipv4Addr, mut report: impl FnMut(bool)) {
        tokio::time::sleep(self.initial_delay).await;
        let mut ticks = tokio::time::interval(self.period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tally = Tally::default();
        loop {
            ticks.tick().await;
            if let Some(verdict) = tally.count(self.ask(ip).await, self.success_threshold, self.failure_threshold) {
                report(verdict);
            }
        }
    }

    async fn ask(&self, ip: Ipv4Addr) -> bool {
        match &self.target {
            Target::Http { port, path } => {
                let answer = http::get(SocketAddr::from((ip, *port)), path, self.timeout).await;
                answer.is_ok_and(|(status, _)| (200..400).contains(&status))
            }
            Target::Tcp { port } => {
                let connect = TcpStream::connect(SocketAddr::from((ip, *port)));
                tokio::time::timeout(self.timeout, connect)
                    .await
                    .is_ok_and(|c| c.is_ok())
            }
            Target::Nothing => true,
            Target::Broken => false,
        }
    }
}

/// Consecutive successes and failures against their thresholds.
#[derive(Debug, Default)]
struct Tally {
    verdict: Option<bool>,
    last: bool,
    run: u32,
}

impl Tally {
    /// The new verdict, when this answer changes it.
    fn count(&mut self, answer: bool, successes: u32, failures: u32) -> Option<bool> {
        self.run = if self.last == answer { self.run + 1 } else { 1 };
        self.last = answer;
        let enough = if answer {
            self.run >= successes
        } else {
            self.run >= failures
        };
        if enough && self.verdict != Some(answer) {
            self.verdict = Some(answer);
            return Some(answer);
        }
        None
    }
}

fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|p| p.name.as_ref() == Some(name))
            .and_then(|p| u16::try_from(p.container_port).ok())
            .or_else(|| name.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn three_failures_in_a_row_turn_a_probe_and_one_success_turns_it_back() {
        let mut tally = Tally::default();
        let verdicts: Vec<_> = [true, false, false, true, false, false, false, false, true]
            .map(|a| tally.count(a, 1, 3))
            .to_vec();
        assert_eq!(
            verdicts,
            [Some(true), None, None, None, None, None, Some(false), None, Some(true)]
        );
    }

    #[test]
    fn a_probe_finds_its_port_by_name() {
        let container: Container = serde_json::from_value(json!({
            "name": "app",
            "ports": [{"name": "http", "containerPort": 8081}],
            "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "initialDelaySeconds": 5},
        }))
        .expect("a container");
        let plan = ProbePlan::of(container.readiness_probe.as_ref().expect("a probe"), &container);
        assert_eq!(
            plan.target,
            Target::Http {
                port: 8081,
                path: "/health".into()
            }
        );
        assert_eq!(plan.initial_delay, Duration::from_secs(5));
        assert_eq!((plan.period, plan.failure_threshold), (Duration::from_secs(10), 3));
    }
}
