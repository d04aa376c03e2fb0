//! The Job controller: pods until enough of them succeeded or too many failed. A finalizer keeps a finished pod until it
//! is counted. Pod failure policies, success policies and limits per index are not known.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    cache::Name,
    engine::{Engine, Outcome},
    kubelet,
    objects::{
        controller, controller_reference, finalizers_without, has_finalizer, is_active, is_deleted, is_finished,
        is_ready, list, moment, name, number, text, uid,
    },
    replicaset::pod_from,
};
use crate::Status;

/// Its name in the trace.
pub(super) const USER: &str = "job-controller";
/// Who removes Jobs that finished long ago.
const TTL_USER: &str = "ttl-after-finished-controller";

/// Keeps a pod until it is counted.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Failures of a Job's pods since one succeeded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failures {
    count: u32,
    last: Instant,
}

/// What a pass found out about a Job.
struct Pass {
    active: Vec<Arc<Value>>,
    terminating: usize,
    succeeded: i64,
    failed: i64,
    /// Indexes that succeeded, of an indexed Job.
    indexes: BTreeSet<i64>,
    /// Why the Job ends, if it does: `FailureTarget` or `SuccessCriteriaMet`, reason and message.
    end: Option<(&'static str, &'static str, String)>,
}

impl Engine {
    pub(super) fn sync_job(&mut self, key: &Name) -> Outcome {
        let Some(job) = self.cache.jobs.get(key).cloned() else {
            self.forget_job(key)?;
            return Ok(None);
        };
        if let Some(end) = last_condition(&job) {
            self.failures.remove(uid(&job));
            return self.expire(&job, end);
        }
        let manager = text(&job["spec"]["managedBy"]);
        if !matches!(manager, "" | "kubernetes.io/job-controller") {
            return Ok(None);
        }
        let now = Instant::now();
        let pods: Vec<Arc<Value>> = self.cache.pods.of(uid(&job)).map(|(_, pod)| Arc::clone(pod)).collect();
        let replace_failed_only = text(&job["spec"]["podReplacementPolicy"]) == "Failed";
        let succeeded = |pod: &Arc<Value>| text(&pod["status"]["phase"]) == "Succeeded";
        let failed = |pod: &Arc<Value>| {
            text(&pod["status"]["phase"]) == "Failed" || (is_deleted(pod) && !is_finished(pod) && !replace_failed_only)
        };
        let uncounted = pods.iter().filter(|pod| has_finalizer(pod, TRACKING));
        let (new_succeeded, rest): (Vec<_>, Vec<_>) = uncounted.cloned().partition(succeeded);
        let new_failed: Vec<Arc<Value>> = rest.into_iter().filter(failed).collect();
        self.remember(&job, new_succeeded.len(), new_failed.len(), now);

        let indexed = is_indexed(&job);
        let mut indexes = parse_indexes(text(&job["status"]["completedIndexes"]));
        indexes.extend(new_succeeded.iter().filter_map(|pod| index(pod)).filter(|_| indexed));
        let counted = |field: &str, more: usize| number(&job["status"][field]) + i64::try_from(more).unwrap_or(0);
        let mut pass = Pass {
            active: pods.iter().filter(|pod| is_active(pod)).cloned().collect(),
            terminating: pods.iter().filter(|pod| is_deleted(pod) && !is_finished(pod)).count(),
            succeeded: if indexed {
                i64::try_from(indexes.len()).unwrap_or(0)
            } else {
                counted("succeeded", new_succeeded.len())
            },
            failed: counted("failed", new_failed.len()),
            indexes,
            end: None,
        };
        pass.end = self.end(&job, &pods, &pass, now);
        let (managed, wake) = if is_deleted(&job) {
            (Ok(()), None)
        } else {
            self.manage_job(&job, &mut pass, now)
        };
        self.write_job(&job, &pass)?;
        for pod in new_succeeded.iter().chain(&new_failed) {
            self.let_go(pod)?;
        }
        managed?;
        let deadline = deadline(&job, &pass).and_then(|seconds| {
            let since = moment(&job["status"]["startTime"]).unwrap_or_else(|| self.time(now));
            Some(self.instant(since + TimeDelta::try_seconds(seconds)?))
        });
        Ok([wake, deadline].into_iter().flatten().filter(|at| *at > now).min())
    }

    /// Counts failures in a row: each makes the next try later.
    fn remember(&mut self, job: &Value, succeeded: usize, failed: usize, now: Instant) {
        if succeeded > 0 {
            self.failures.remove(uid(job));
        }
        if failed > 0 {
            let failures = self
                .failures
                .entry(uid(job).to_owned())
                .or_insert(Failures { count: 0, last: now });
            failures.count += u32::try_from(failed).unwrap_or(1);
            failures.last = now;
        }
    }

    /// Why a Job ends, if it does.
    fn end(
        &self,
        job: &Value,
        pods: &[Arc<Value>],
        pass: &Pass,
        now: Instant,
    ) -> Option<(&'static str, &'static str, String)> {
        for kind in ["SuccessCriteriaMet", "FailureTarget"] {
            if let Some(decided) = super::objects::condition(job, kind) {
                let reason = match text(&decided["reason"]) {
                    "DeadlineExceeded" => "DeadlineExceeded",
                    "BackoffLimitExceeded" => "BackoffLimitExceeded",
                    _ => "CompletionsReached",
                };
                return Some((kind, reason, text(&decided["message"]).to_owned()));
            }
        }
        let limit = job["spec"]["backoffLimit"].as_i64().unwrap_or(6);
        let living = pods.iter().filter(|pod| !is_finished(pod));
        let restarts: i64 = living.map(|pod| kubelet::restarts(pod)).sum();
        let restarted =
            text(&job["spec"]["template"]["spec"]["restartPolicy"]) == "OnFailure" && restarts >= limit.max(1);
        if pass.failed > limit || restarted {
            let message = "Job has reached the specified backoff limit".to_owned();
            return Some(("FailureTarget", "BackoffLimitExceeded", message));
        }
        let started = moment(&job["status"]["startTime"]);
        let limit = job["spec"]["activeDeadlineSeconds"]
            .as_i64()
            .and_then(TimeDelta::try_seconds);
        if let (Some(started), Some(limit), false) = (started, limit, is_suspended(job))
            && self.time(now) - started >= limit
        {
            let message = "Job was active longer than specified deadline".to_owned();
            return Some(("FailureTarget", "DeadlineExceeded", message));
        }
        let done = match job["spec"]["completions"].as_i64() {
            Some(completions) => pass.succeeded >= completions,
            None => pass.succeeded > 0 && pass.active.is_empty(),
        };
        let message = "Reached expected number of succeeded pods".to_owned();
        (done && !is_suspended(job)).then_some(("SuccessCriteriaMet", "CompletionsReached", message))
    }

    /// Makes and deletes pods; says when it has to be tried again.
    fn manage_job(&mut self, job: &Value, pass: &mut Pass, now: Instant) -> (Result<(), Status>, Option<Instant>) {
        let parallelism = job["spec"]["parallelism"].as_i64().unwrap_or(1);
        let active = i64::try_from(pass.active.len()).unwrap_or(i64::MAX);
        let wanted = if pass.end.is_some() || is_suspended(job) {
            0
        } else {
            match job["spec"]["completions"].as_i64() {
                Some(completions) => (completions - pass.succeeded).clamp(0, parallelism),
                None if pass.succeeded > 0 => active,
                None => parallelism,
            }
        };
        if active > wanted {
            // Those that are not ready yet go first, then the youngest.
            let mut pods = pass.active.clone();
            pods.sort_by_cached_key(|pod| {
                let born = std::cmp::Reverse(moment(&pod["metadata"]["creationTimestamp"]));
                (is_ready(pod), born, name(pod).to_owned())
            });
            let surplus = usize::try_from(active - wanted).unwrap_or_default();
            for pod in pods.iter().take(surplus) {
                if let Err(refused) = self.delete(USER, "pods", pod, json!({})) {
                    return (Err(refused), None);
                }
                pass.active.retain(|other| uid(other) != uid(pod));
                pass.terminating += 1;
                let message = format!("Deleted pod: {}", name(pod));
                self.tell(USER, job, false, "SuccessfulDelete", &message);
            }
            return (Ok(()), None);
        }
        let mut missing = wanted - active;
        if text(&job["spec"]["podReplacementPolicy"]) == "Failed" {
            missing -= i64::try_from(pass.terminating).unwrap_or(0);
        }
        if missing <= 0 {
            return (Ok(()), None);
        }
        if let Some(failures) = self.failures.get(uid(job)) {
            let pause = FIRST_PAUSE * 2u32.saturating_pow(failures.count.saturating_sub(1).min(10));
            let next = failures.last + pause.min(LONGEST_PAUSE);
            if next > now {
                return (Ok(()), Some(next));
            }
        }
        let taken: BTreeSet<i64> = pass
            .active
            .iter()
            .filter_map(|pod| index(pod))
            .chain(pass.indexes.clone())
            .collect();
        let mut free = (0..).filter(|index| !taken.contains(index));
        for _ in 0..missing {
            let index = free.next().filter(|_| is_indexed(job));
            match self.cluster.create(USER, "pods", job_pod(job, index)) {
                Ok(pod) => {
                    let message = format!("Created pod: {}", name(&pod));
                    self.tell(USER, job, false, "SuccessfulCreate", &message);
                    pass.active.push(pod);
                }
                Err(refused) if refused.message.contains("because it is being terminated") => break,
                Err(refused) => {
                    let message = format!("Error creating: {refused}");
                    self.tell(USER, job, true, "FailedCreate", &message);
                    return (Err(refused), None);
                }
            }
        }
        (Ok(()), None)
    }

    fn write_job(&mut self, job: &Value, pass: &Pass) -> Result<(), Status> {
        let stamp = self.stamp();
        let suspended = is_suspended(job);
        let mut status = json!({
            "ready": pass.active.iter().filter(|pod| is_ready(pod)).count(),
            "terminating": pass.terminating,
            "uncountedTerminatedPods": {},
        });
        let counts = [
            ("active", i64::try_from(pass.active.len()).unwrap_or(0)),
            ("succeeded", pass.succeeded),
            ("failed", pass.failed),
        ];
        for (field, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            status[field] = json!(count);
        }
        if !pass.indexes.is_empty() {
            status["completedIndexes"] = json!(format_indexes(&pass.indexes));
        }
        match &job["status"]["startTime"] {
            Value::Null if !suspended => status["startTime"] = stamp.clone(),
            Value::Null => {}
            // A suspended Job starts anew.
            started if !suspended => status["startTime"] = started.clone(),
            _ => {}
        }
        let mut conditions = list(&job["status"]["conditions"]).to_vec();
        let mut add = |kind: &str, value: &str, reason: &str, message: &str| {
            let old = conditions.iter().position(|c| c["type"] == kind);
            if old.is_some_and(|at| conditions[at]["status"] == value) {
                return false;
            }
            let condition = json!({
                "type": kind,
                "status": value,
                "reason": reason,
                "message": message,
                "lastProbeTime": stamp,
                "lastTransitionTime": stamp,
            });
            match old {
                Some(at) => conditions[at] = condition,
                None => conditions.push(condition),
            }
            true
        };
        let mut news = None;
        let was_suspended = super::objects::condition(job, "Suspended").is_some_and(|c| c["status"] == "True");
        if suspended != was_suspended && pass.end.is_none() {
            if suspended {
                add("Suspended", "True", "JobSuspended", "Job suspended");
                news = Some((false, "Suspended", "Job suspended".to_owned()));
            } else {
                add("Suspended", "False", "JobResumed", "Job resumed");
                news = Some((false, "Resumed", "Job resumed".to_owned()));
            }
        }
        if let Some((kind, reason, message)) = &pass.end {
            add(kind, "True", reason, message);
            if pass.active.is_empty() && pass.terminating == 0 {
                if *kind == "FailureTarget" {
                    add("Failed", "True", reason, message);
                    news = Some((true, reason, message.clone()));
                } else {
                    add("Complete", "True", reason, message);
                    status["completionTime"] = stamp.clone();
                    news = Some((false, "Completed", "Job completed".to_owned()));
                }
            }
        }
        if !conditions.is_empty() {
            status["conditions"] = Value::Array(conditions);
        }
        self.write_status(USER, "jobs", job, status)?;
        if let Some((warning, reason, message)) = news {
            self.tell(USER, job, warning, reason, &message);
        }
        Ok(())
    }

    /// A counted pod is not held any longer.
    fn let_go(&self, pod: &Value) -> Result<(), Status> {
        let left = finalizers_without(pod, TRACKING);
        match self.merge(USER, "pods", pod, json!({"metadata": {"finalizers": left}})) {
            Err(refused) if refused.code != 404 => Err(refused),
            _ => Ok(()),
        }
    }

    /// The pods of a Job that is gone are held by nobody.
    fn forget_job(&mut self, key: &Name) -> Result<(), Status> {
        let pods = self.cache.pods.within(&key.namespace);
        let held = pods.filter(|(_, pod)| {
            let owner = controller(pod);
            has_finalizer(pod, TRACKING) && owner.is_some_and(|o| o["kind"] == "Job" && o["name"] == *key.name)
        });
        let held: Vec<Arc<Value>> = held.map(|(_, pod)| Arc::clone(pod)).collect();
        held.iter().try_for_each(|pod| self.let_go(pod))
    }

    /// A Job that finished goes when its time is over.
    fn expire(&self, job: &Value, end: &Value) -> Outcome {
        for (_, pod) in self.cache.pods.of(uid(job)) {
            if has_finalizer(pod, TRACKING) {
                self.let_go(pod)?;
            }
        }
        let ttl = job["spec"]["ttlSecondsAfterFinished"]
            .as_i64()
            .and_then(TimeDelta::try_seconds);
        let (Some(ttl), Some(finished)) = (ttl, moment(&end["lastTransitionTime"])) else {
            return Ok(None);
        };
        let at = self.instant(finished + ttl);
        if at > Instant::now() {
            return Ok(Some(at));
        }
        if !is_deleted(job) {
            self.delete(TTL_USER, "jobs", job, json!({"propagationPolicy": "Foreground"}))?;
        }
        Ok(None)
    }
}

/// A pod of a Job.
fn job_pod(job: &Value, index: Option<i64>) -> Value {
    let reference = controller_reference(job, "batch/v1", "Job");
    let mut pod = pod_from(job, &job["spec"]["template"], reference);
    for label in ["job-name", "batch.kubernetes.io/job-name"] {
        pod["metadata"]["labels"][label] = json!(name(job));
    }
    for label in ["controller-uid", "batch.kubernetes.io/controller-uid"] {
        pod["metadata"]["labels"][label] = json!(uid(job));
    }
    let mut finalizers = list(&pod["metadata"]["finalizers"]).to_vec();
    finalizers.push(json!(TRACKING));
    pod["metadata"]["finalizers"] = Value::Array(finalizers);
    if let Some(index) = index {
        let text = index.to_string();
        pod["metadata"]["annotations"][INDEX] = json!(text);
        pod["metadata"]["labels"][INDEX] = json!(text);
        pod["metadata"]["generateName"] = json!(format!("{}-{text}-", name(job)));
        pod["spec"]["hostname"] = json!(format!("{}-{text}", name(job)));
    }
    pod
}

/// The condition with which a Job ended.
fn last_condition(job: &Value) -> Option<&Value> {
    let conditions = list(&job["status"]["conditions"]).iter();
    let mut last = conditions.filter(|c| matches!(text(&c["type"]), "Complete" | "Failed") && c["status"] == "True");
    last.next()
}

fn is_suspended(job: &Value) -> bool {
    job["spec"]["suspend"] == true
}

fn is_indexed(job: &Value) -> bool {
    job["spec"]["completionMode"] == "Indexed"
}

fn deadline(job: &Value, pass: &Pass) -> Option<i64> {
    let seconds = job["spec"]["activeDeadlineSeconds"].as_i64();
    seconds.filter(|_| pass.end.is_none() && !is_suspended(job))
}

fn index(pod: &Value) -> Option<i64> {
    text(&pod["metadata"]["annotations"][INDEX]).parse().ok()
}

/// `0,2-4` as a set.
fn parse_indexes(text: &str) -> BTreeSet<i64> {
    let mut indexes = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
            indexes.extend(first..=last);
        }
    }
    indexes
}

/// A set as `0,2-4`.
fn format_indexes(indexes: &BTreeSet<i64>) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let parts = runs.into_iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    parts.collect::<Vec<_>>().join(",")
}
