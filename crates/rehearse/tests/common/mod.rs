//! One small release, and rehearsals of it.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::{collections::BTreeMap, time::Duration};

use serin_rehearse::{
    Problem, assume::Assumptions, manifests::documents, play::Rehearsal, series::Exposition, setup::prepare,
};

pub(crate) const ROLLOUT: &str = r#"
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: { name: shop, namespace: web }
spec:
  replicas: 5
  progressDeadlineSeconds: 120
  selector: { matchLabels: { app: shop } }
  template:
    metadata: { labels: { app: shop } }
    spec: { containers: [{ name: app, image: "registry:5000/shop:2", ports: [{ containerPort: 8080 }] }] }
  strategy:
    canary:
      canaryService: shop-canary
      stableService: shop-stable
      trafficRouting: { plugins: { argoproj-labs/gatewayAPI: { httpRoute: shop, namespace: web } } }
      steps:
      - setWeight: 20
      - analysis:
          templates: [{ templateName: gate }]
          args: [{ name: hash, valueFrom: { podTemplateHashValue: Latest } }]
      - setWeight: 60
      - pause: { duration: 2m }
"#;

pub(crate) const GATE: &str = r#"
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: { name: gate, namespace: web, annotations: { serin.dev/no-data: hold } }
spec:
  args: [{ name: hash }]
  metrics:
  - name: errors
    initialDelay: 60s
    interval: 30s
    count: 4
    successCondition: result[0] < 0.05
    provider:
      prometheus:
        query: |
          (sum(rate(http_requests_total{code=~"5..",rollouts_pod_template_hash="{{args.hash}}"}[1m])) or vector(0))
          / sum(rate(http_requests_total{rollouts_pod_template_hash="{{args.hash}}"}[1m]))
"#;

/// The release with some words replaced, and an assumed fault.
pub(crate) fn rehearsal(words: &[(&str, &str)], fault: &str) -> Rehearsal {
    let text = format!("{ROLLOUT}---{GATE}");
    of(&text, words, fault).unwrap()
}

/// The same of any manifests.
pub(crate) fn of(text: &str, words: &[(&str, &str)], fault: &str) -> Result<Rehearsal, Problem> {
    let mut text = text.to_owned();
    for (old, new) in words {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    let setup = prepare(&documents("test.yaml", &text).unwrap(), None)?;
    let faults = fault.split(' ').filter(|f| !f.is_empty()).map(|f| f.parse().unwrap());
    Ok(Rehearsal {
        setup,
        assumptions: Assumptions {
            faults: faults.collect(),
            limit: Duration::from_secs(1800),
            ..Assumptions::default()
        },
        exposition: Exposition::default(),
        assumed: BTreeMap::new(),
        warm_up: Duration::from_secs(120),
        stay: Duration::ZERO,
        explains: true,
    })
}
