//! What people do with kubectl, done once on a real cluster so that its audit log has it.

use std::path::Path;

use anyhow::{Context, Result};
use serin_cluster::Cluster;

/// Objects of most kinds that people make.
const MANIFEST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: shop}}
data: {key: value}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {key: value}
---
apiVersion: v1
kind: Service
metadata: {name: shop, labels: {app: shop}}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {app: shop}}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers: [{name: main, image: "demo:1", ports: [{containerPort: 8080}]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "demo:1"}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: shop}
spec: {minAvailable: 1, selector: {matchLabels: {app: shop}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop}
spec:
  maxReplicas: 3
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: gw, namespace: gateway}]
  rules: [{backendRefs: [{name: shop, port: 80}]}]
---
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: errors}
spec:
  metrics:
    - name: errors
      interval: 10s
      provider: {prometheus: {address: "http://prometheus.example", query: up}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: shop, labels: {app: shop}}
spec:
  replicas: 1
  selector: {matchLabels: {app: shop, kind: rollout}}
  template:
    metadata: {labels: {app: shop, kind: rollout}}
    spec:
      containers: [{name: main, image: "demo:1"}]
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}]}}
"#;

/// One command a line. `FILE` is the manifest, `CHANGED` the same with other numbers.
const COMMANDS: &str = r#"
version
api-resources
api-versions
cluster-info
explain rollouts
explain pods.spec
create namespace shop
get namespaces
get namespace shop -o yaml
-n shop apply -f FILE
-n shop apply -f FILE
-n shop diff -f CHANGED
-n shop apply -f CHANGED
-n shop apply --server-side -f FILE
-n shop apply --server-side --force-conflicts -f CHANGED
-n shop apply --dry-run=server -f FILE
-n shop create --dry-run=server -f FILE
-n shop create -f FILE
-n shop replace -f CHANGED
-n shop create configmap other --from-literal=a=b
-n shop create serviceaccount robot
-n shop create token robot
-n shop create role reader --verb=get --resource=pods
-n shop create rolebinding reader --role=reader --serviceaccount=shop:robot
create clusterrole reader-of-all --verb=get --resource=pods
create clusterrolebinding reader-of-all --clusterrole=reader-of-all --serviceaccount=shop:robot
-n shop run single --image=demo:1 --restart=Never
-n shop create deployment second --image=demo:1
-n shop expose deployment second --port=80
-n shop wait deployment/shop --for=condition=Available --timeout=30s
-n shop wait pod/single --for=condition=Ready --timeout=30s
-n shop wait rollout/shop --for=jsonpath={.spec.replicas}=1 --timeout=3s
-n shop rollout status deployment/shop --timeout=30s
-n shop rollout restart deployment/shop
-n shop rollout history deployment/shop
-n shop rollout pause deployment/second
-n shop rollout resume deployment/second
-n shop rollout undo deployment/shop
-n shop get all
-n shop get pods
-n shop get pods -o wide
-n shop get pods -A
-n shop get pods -l app=shop
-n shop get pods -l app=shop,kind!=rollout
-n shop get pods -l app-in-(shop,other)
-n shop get pods --field-selector=status.phase=Running
-n shop get pods --field-selector=spec.nodeName=node-1
-n shop get pods -o name
-n shop get pods -o yaml
-n shop get pods --show-labels --sort-by=.metadata.name
-n shop get pods --chunk-size=1
-n shop get pods -w --request-timeout=2s
-n shop get rollouts -w --request-timeout=2s
-n shop get events --sort-by=.lastTimestamp
-n shop events
-n shop get configmap settings -o yaml
-n shop get configmap,secret,service,endpointslices,leases,pdb,hpa,jobs,rs,httproutes,serviceaccounts,roles,rolebindings
-n shop get rollouts,analysisruns,analysistemplates,experiments
-n shop get rollout shop -o json
-n shop get rollout shop --subresource=status
-n shop get rollout shop --subresource=scale -o yaml
-n shop get nothing
-n shop get configmap nothing
-n shop get configmap nothing --ignore-not-found
get clusteranalysistemplates
get crds
get crd rollouts.argoproj.io -o yaml
get clusterroles,clusterrolebindings
get nodes -o wide
describe node node-1
-n shop describe pods
-n shop describe deployment shop
-n shop describe service shop
-n shop describe rollout shop
-n shop describe configmap settings
-n shop describe job once
-n shop describe hpa shop
-n shop logs deployment/shop
-n shop logs single
-n shop label configmap settings tier=front
-n shop label configmap settings tier=back --overwrite
-n shop label configmap settings tier-
-n shop label pods --all seen=yes
-n shop annotate rollout shop note=x
-n shop annotate rollout shop note=y
-n shop annotate rollout shop note=y --overwrite
-n shop scale deployment shop --replicas=3
-n shop scale rollout shop --replicas=2
-n shop scale deployment shop --current-replicas=9 --replicas=1
-n shop scale replicasets --all --replicas=0 --dry-run=server
-n shop set image deployment/shop main=demo:2
-n shop set env deployment/shop A=b
-n shop patch deployment shop -p {"spec":{"minReadySeconds":1}}
-n shop patch deployment shop --type=merge -p {"spec":{"minReadySeconds":2}}
-n shop patch deployment shop --type=json -p [{"op":"replace","path":"/spec/minReadySeconds","value":3}]
-n shop patch service shop -p {"spec":{"selector":{"app":"other"}}}
-n shop patch configmap settings --type=merge -p {"data":{"key":"new"}}
-n shop patch configmap settings --type=json -p [{"op":"test","path":"/data/key","value":"old"}]
-n shop patch rollout shop --type=merge -p {"spec":{"paused":true}}
-n shop patch rollout shop --type=json -p [{"op":"replace","path":"/spec/paused","value":false}]
-n shop patch rollout shop -p {"spec":{"paused":true}}
-n shop patch rollout shop --subresource=status --type=merge -p {"status":{"abort":true}}
-n shop patch deployment shop --subresource=scale --type=merge -p {"spec":{"replicas":2}}
-n shop patch httproute shop --type=merge -p {"spec":{"hostnames":["shop.example"]}}
-n shop patch lease nothing --type=merge -p {}
-n shop autoscale deployment second --min=1 --max=2
-n shop drain node-9
cordon node-2
uncordon node-2
taint nodes node-2 key=value:NoSchedule
taint nodes node-2 key-
drain node-2 --ignore-daemonsets --force --timeout=20s
uncordon node-2
-n shop delete pod single --wait=false
-n shop delete pod single --now
-n shop delete pods -l app=second --grace-period=0 --force
-n shop delete deployment second --cascade=orphan
-n shop delete rs -l app=second --cascade=foreground
-n shop delete configmap other
-n shop delete configmap other
-n shop delete configmap other --ignore-not-found
-n shop delete configmap settings --dry-run=server
-n shop delete rollout shop --cascade=background
-n shop delete jobs --all
-n shop delete -f FILE --ignore-not-found
auth can-i get pods
delete clusterrole reader-of-all
delete clusterrolebinding reader-of-all
delete namespace shop --timeout=60s
"#;

/// Runs all commands. Those that fail are meant to, or say something of the cluster that does not matter here: what counts is
/// the audit log. Returns how many failed.
///
/// # Errors
/// When the manifests cannot be written.
pub async fn run(cluster: &Cluster, folder: &Path) -> Result<(usize, usize)> {
    let file = folder.join("shop.yaml");
    let changed = folder.join("changed.yaml");
    std::fs::write(&file, MANIFEST).with_context(|| file.display().to_string())?;
    let text = MANIFEST
        .replace("replicas: 2", "replicas: 1")
        .replace("key: value", "key: other")
        .replace("port: 80,", "port: 81,");
    std::fs::write(&changed, text).with_context(|| changed.display().to_string())?;
    let (mut all, mut failed) = (0, 0);
    for line in COMMANDS.lines().filter(|line| !line.is_empty()) {
        // The only selector with spaces.
        let words: Vec<String> = line
            .split(' ')
            .map(|word| match word {
                "FILE" => file.display().to_string(),
                "CHANGED" => changed.display().to_string(),
                "app-in-(shop,other)" => "app in (shop,other)".into(),
                _ => word.to_owned(),
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        all += 1;
        if let Err(error) = cluster.kubectl(&words).await {
            failed += 1;
            let text = error.to_string();
            eprintln!("{}", text.lines().next().unwrap_or_default());
        }
    }
    Ok((all, failed))
}
