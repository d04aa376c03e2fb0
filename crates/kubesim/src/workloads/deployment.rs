//! The Deployment controller: one ReplicaSet a template, and pods moved from the old ones to the new one. One pass does
//! one kind of scaling; the changes that it makes bring it back.

use std::{cmp::Reverse, sync::Arc};

use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    cache::Name,
    engine::{Engine, Outcome},
    objects::{controller_reference, is_deleted, is_finished, moment, name, number, owners, selects, text, uid},
    replicaset::replicas,
    revisions::{
        DESIRED, MAXIMUM, REVISION, Sets, annotate, annotate_size, annotation, born, counted, forget, has_progressed,
        is_complete, is_rolling, max_surge, max_unavailable, new_size, note, revision, same_template, set_from,
    },
};
use crate::Status;

/// Its name in the trace.
pub(super) const USER: &str = "deployment-controller";

impl Engine {
    pub(super) fn sync_deployment(&mut self, key: &Name) -> Outcome {
        let Some(mut deployment) = self.cache.deployments.get(key).cloned() else {
            return Ok(None);
        };
        let owned = self.claim_sets(&deployment, key)?;
        let mut sets = Sets::of(&deployment, owned);
        if is_deleted(&deployment) {
            return self.write_counts(&deployment, &sets);
        }
        self.note_pause(&mut deployment)?;
        let paused = deployment["spec"]["paused"] == true;
        let wanted = replicas(&deployment);
        let resized = |set: &Arc<Value>| annotation(set, DESIRED).is_some_and(|desired| desired != wanted);
        if paused || sets.active().iter().any(resized) {
            if sets.new.is_some() {
                self.renew(&mut deployment, &mut sets)?;
            }
            self.resize(&deployment, &mut sets)?;
            if paused {
                self.tidy(&deployment, &sets)?;
            }
            return self.write_counts(&deployment, &sets);
        }
        let scaled = if is_rolling(&deployment) {
            self.renew(&mut deployment, &mut sets)?;
            self.roll(&deployment, &mut sets)?
        } else {
            self.recreate(&mut deployment, &mut sets)?
        };
        if !scaled && is_complete(&deployment, &deployment["status"]) {
            self.tidy(&deployment, &sets)?;
        }
        self.write_progress(&deployment, &sets)
    }

    /// The ReplicaSets of a Deployment; orphans that it selects become its own, those it no longer selects go.
    fn claim_sets(&self, deployment: &Value, key: &Name) -> Result<Vec<Arc<Value>>, Status> {
        let selector = &deployment["spec"]["selector"];
        let mut sets = Vec::new();
        for (_, set) in self.cache.sets.of(uid(deployment)) {
            if selects(selector, &set["metadata"]["labels"]) {
                sets.push(Arc::clone(set));
            } else if !is_deleted(deployment) {
                let left: Vec<&Value> = owners(set).iter().filter(|o| o["uid"] != uid(deployment)).collect();
                let left = if left.is_empty() { Value::Null } else { json!(left) };
                self.merge(USER, "replicasets", set, json!({"metadata": {"ownerReferences": left}}))?;
            }
        }
        if is_deleted(deployment) {
            return Ok(sets);
        }
        for (_, set) in self.cache.sets.orphans(&key.namespace) {
            if !is_deleted(set) && selects(selector, &set["metadata"]["labels"]) {
                let mut references = owners(set).to_vec();
                references.push(controller_reference(deployment, "apps/v1", "Deployment"));
                let patch = json!({"metadata": {"ownerReferences": references}});
                sets.push(self.merge(USER, "replicasets", set, patch)?);
            }
        }
        Ok(sets)
    }

    fn put_status(&self, deployment: &mut Arc<Value>, status: Value) -> Result<(), Status> {
        if deployment["status"] != status {
            *deployment = self.put_with(USER, "deployments", Some("status"), deployment, [("status", status)])?;
        }
        Ok(())
    }

    /// Says that a person paused it, or resumed it: the deadline does not run meanwhile.
    fn note_pause(&self, deployment: &mut Arc<Value>) -> Result<(), Status> {
        let paused = deployment["spec"]["paused"] == true;
        let reason = reason_of_progress(deployment);
        if deadline(deployment).is_none() || reason == "ProgressDeadlineExceeded" {
            return Ok(());
        }
        let (reason, message) = match (paused, reason == "DeploymentPaused") {
            (true, false) => ("DeploymentPaused", "Deployment is paused"),
            (false, true) => ("DeploymentResumed", "Deployment is resumed"),
            _ => return Ok(()),
        };
        let mut status = deployment["status"].clone();
        note(&mut status, &self.stamp(), "Progressing", "Unknown", reason, message);
        self.put_status(deployment, status)
    }

    /// Makes the new ReplicaSet, or brings its annotations up to date; the Deployment gets its revision.
    fn renew(&mut self, deployment: &mut Arc<Value>, sets: &mut Sets) -> Result<(), Status> {
        let next = sets.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
        if let Some(new) = &sets.new {
            let mut changed = (**new).clone();
            let min_ready = number(&deployment["spec"]["minReadySeconds"]);
            let annotated = annotate(deployment, &mut changed, next);
            if annotated || number(&changed["spec"]["minReadySeconds"]) != min_ready {
                changed["spec"]["minReadySeconds"] = json!(min_ready);
                sets.new = Some(self.cluster.update(USER, "replicasets", None, changed)?);
                return Ok(());
            }
            let found = format!("Found new replica set \"{}\"", name(new));
            let missing = reason_of_progress(deployment).is_empty();
            let news = missing.then_some(("FoundNewReplicaSet", found));
            return self.put_revision(deployment, text(&new["metadata"]["annotations"][REVISION]), news);
        }
        let mut set = set_from(deployment, controller_reference(deployment, "apps/v1", "Deployment"));
        let size = new_size(deployment, sets.wanted(), 0);
        set["spec"]["replicas"] = json!(size);
        annotate(deployment, &mut set, next);
        annotate_size(deployment, &mut set);
        let wanted = set["metadata"]["name"].clone();
        let (set, made) = match self.cluster.create(USER, "replicasets", set) {
            Ok(set) => (set, true),
            Err(refused) if refused.reason == "AlreadyExists" => {
                let namespace = text(&deployment["metadata"]["namespace"]);
                let other = self.cluster.get("replicasets", namespace, text(&wanted));
                let own = other.filter(|set| {
                    owners(set).iter().any(|o| o["uid"] == uid(deployment))
                        && same_template(&set["spec"]["template"], &deployment["spec"]["template"])
                });
                match own {
                    Some(set) => (set, false),
                    None => {
                        // Another template has this hash: the next try has another one.
                        let mut status = deployment["status"].clone();
                        status["collisionCount"] = json!(number(&status["collisionCount"]) + 1);
                        self.put_status(deployment, status)?;
                        return Err(refused);
                    }
                }
            }
            Err(refused) => {
                let message = format!("Failed to create new replica set \"{}\": {refused}", text(&wanted));
                if deadline(deployment).is_some() {
                    let mut status = deployment["status"].clone();
                    let reason = "ReplicaSetCreateError";
                    note(&mut status, &self.stamp(), "Progressing", "False", reason, &message);
                    self.put_status(deployment, status)?;
                }
                self.tell(USER, deployment, true, "ReplicaSetCreateError", &message);
                return Err(refused);
            }
        };
        if made && size > 0 {
            let message = format!("Scaled up replica set {} from 0 to {size}", name(&set));
            self.tell(USER, deployment, false, "ScalingReplicaSet", &message);
        }
        let news = made.then(|| {
            let message = format!("Created new replica set \"{}\"", name(&set));
            ("NewReplicaSetCreated", message)
        });
        sets.new = Some(set);
        self.put_revision(deployment, &next.to_string(), news)
    }

    /// Writes the revision into the Deployment, and into its status what is new with its ReplicaSet.
    fn put_revision(
        &self,
        deployment: &mut Arc<Value>,
        revision: &str,
        news: Option<(&str, String)>,
    ) -> Result<(), Status> {
        if deployment["metadata"]["annotations"][REVISION] != revision {
            let patch = json!({"metadata": {"annotations": {REVISION: revision}}});
            *deployment = self.merge(USER, "deployments", deployment, patch)?;
        }
        if let Some((reason, message)) = news.filter(|_| deadline(deployment).is_some()) {
            let mut status = deployment["status"].clone();
            note(&mut status, &self.stamp(), "Progressing", "True", reason, &message);
            self.put_status(deployment, status)?;
        }
        Ok(())
    }

    /// Scales one ReplicaSet; says whether its size changed.
    fn scale(
        &mut self,
        deployment: &Value,
        sets: &mut Sets,
        set: &Arc<Value>,
        size: i64,
        annotations: bool,
    ) -> Result<bool, Status> {
        let before = replicas(set);
        if before == size && !annotations {
            return Ok(false);
        }
        let mut changed = (**set).clone();
        changed["spec"]["replicas"] = json!(size);
        let annotated = annotate_size(deployment, &mut changed);
        if before == size && !annotated {
            return Ok(false);
        }
        let set = self.cluster.update(USER, "replicasets", None, changed)?;
        sets.replace(&set);
        if before == size {
            return Ok(false);
        }
        let way = if before < size { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {} from {before} to {size}", name(&set));
        self.tell(USER, deployment, false, "ScalingReplicaSet", &message);
        Ok(true)
    }

    /// Follows a new size of the Deployment. In the middle of an update each ReplicaSet gets its share.
    fn resize(&mut self, deployment: &Value, sets: &mut Sets) -> Result<(), Status> {
        let wanted = replicas(deployment);
        let mut active = sets.active();
        if active.len() <= 1 {
            let newest = || sets.new.clone().or_else(|| sets.old.last().cloned());
            if let Some(only) = active.pop().or_else(newest)
                && replicas(&only) != wanted
            {
                self.scale(deployment, sets, &only, wanted, false)?;
            }
            return Ok(());
        }
        let saturated = sets.new.as_ref().is_some_and(|new| {
            replicas(new) == wanted
                && annotation(new, DESIRED) == Some(wanted)
                && number(&new["status"]["availableReplicas"]) == wanted
        });
        if saturated {
            for old in sets.old.clone().iter().filter(|old| replicas(old) > 0) {
                self.scale(deployment, sets, old, 0, false)?;
            }
            return Ok(());
        }
        if !is_rolling(deployment) {
            return Ok(());
        }
        let allowed = if wanted > 0 { wanted + max_surge(deployment) } else { 0 };
        let to_add = allowed - active.iter().map(|set| replicas(set)).sum::<i64>();
        // The largest first; of equal ones the newest when growing, the eldest when shrinking.
        active.sort_by_cached_key(|set| (Reverse(replicas(set)), born(set), name(set).to_owned()));
        if to_add > 0 {
            active.sort_by_cached_key(|set| (Reverse(replicas(set)), Reverse(born(set)), name(set).to_owned()));
        }
        let mut sizes = Vec::new();
        let mut added = 0;
        for set in &active {
            let share = share(deployment, set, to_add, added);
            added += share;
            sizes.push(replicas(set) + share);
        }
        if let Some(largest) = sizes.first_mut() {
            *largest = (*largest + to_add - added).max(0);
        }
        for (set, size) in active.iter().zip(sizes) {
            self.scale(deployment, sets, set, size, true)?;
        }
        Ok(())
    }

    /// A step of a rolling update: up if there is room, else down as far as availability allows.
    fn roll(&mut self, deployment: &Value, sets: &mut Sets) -> Result<bool, Status> {
        let Some(new) = sets.new.clone() else {
            return Ok(false);
        };
        let wanted = replicas(deployment);
        let size = if replicas(&new) > wanted {
            wanted
        } else {
            new_size(deployment, sets.wanted(), replicas(&new))
        };
        if self.scale(deployment, sets, &new, size, false)? {
            return Ok(true);
        }
        let old_pods: i64 = sets.old.iter().map(|set| replicas(set)).sum();
        let least = wanted - max_unavailable(deployment);
        let new_unavailable = replicas(&new) - number(&new["status"]["availableReplicas"]);
        // With 10 wanted, 2 of them dispensable, 8 old and 5 new of which none is available: 13 - 8 - 5 = 0 may go.
        let mut may_go = sets.wanted() - least - new_unavailable;
        if old_pods == 0 || may_go <= 0 {
            return Ok(false);
        }
        // An old ReplicaSet that was just made smaller still counts pods that are gone: it is waited for.
        let behind = |old: &Arc<Value>| {
            let available = number(&old["status"]["availableReplicas"]);
            replicas(old) > 0 && available > replicas(old)
        };
        if sets.old.iter().any(behind) {
            return Ok(false);
        }
        let mut scaled = false;
        // Pods that do not serve go first: nobody misses them.
        for old in sets.old.clone() {
            let unhealthy = replicas(&old) - number(&old["status"]["availableReplicas"]);
            let go = may_go.min(unhealthy);
            if replicas(&old) > 0 && go > 0 {
                scaled |= self.scale(deployment, sets, &old, replicas(&old) - go, false)?;
                may_go -= go;
            }
        }
        let mut spare = sets.count("availableReplicas") - least;
        for old in sets.old.clone() {
            let go = spare.min(replicas(&old));
            if go > 0 {
                scaled |= self.scale(deployment, sets, &old, replicas(&old) - go, false)?;
                spare -= go;
            }
        }
        Ok(scaled)
    }

    /// A step of a recreation: all old pods go before the first new one comes.
    fn recreate(&mut self, deployment: &mut Arc<Value>, sets: &mut Sets) -> Result<bool, Status> {
        if sets.new.is_some() {
            self.renew(deployment, sets)?;
        }
        let mut scaled = false;
        for old in sets.old.clone() {
            scaled |= self.scale(deployment, sets, &old, 0, false)?;
        }
        let lives = |set: &Arc<Value>| {
            number(&set["status"]["replicas"]) > 0 || self.cache.pods.of(uid(set)).any(|(_, pod)| !is_finished(pod))
        };
        if scaled || sets.old.iter().any(lives) {
            return Ok(true);
        }
        if sets.new.is_none() {
            self.renew(deployment, sets)?;
        }
        if let Some(new) = sets.new.clone() {
            self.scale(deployment, sets, &new, replicas(deployment), false)?;
        }
        Ok(false)
    }

    /// Removes old ReplicaSets beyond the history limit.
    fn tidy(&self, deployment: &Value, sets: &Sets) -> Result<(), Status> {
        let limit = deployment["spec"]["revisionHistoryLimit"].as_u64().unwrap_or(10);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut old: Vec<&Arc<Value>> = sets.old.iter().filter(|set| !is_deleted(set)).collect();
        old.sort_by_key(|set| revision(set));
        let surplus = old.len().saturating_sub(limit);
        for set in old.into_iter().take(surplus) {
            let generation = number(&set["metadata"]["generation"]);
            let seen = number(&set["status"]["observedGeneration"]) >= generation;
            if replicas(set) == 0 && number(&set["status"]["replicas"]) == 0 && seen {
                self.delete(USER, "replicasets", set, json!({"propagationPolicy": "Background"}))?;
            }
        }
        Ok(())
    }

    // === status ===

    fn availability(&self, deployment: &Value, sets: &Sets) -> Value {
        let mut status = counted(deployment, sets);
        let least = replicas(deployment) - max_unavailable(deployment);
        let (value, reason, message) = if sets.count("availableReplicas") >= least {
            (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            )
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        note(&mut status, &self.stamp(), "Available", value, reason, message);
        status
    }

    /// The status while nothing is rolled out.
    fn write_counts(&self, deployment: &Value, sets: &Sets) -> Outcome {
        let status = self.availability(deployment, sets);
        self.write_status(USER, "deployments", deployment, status)?;
        Ok(None)
    }

    /// The status of a rollout, and when its deadline ends.
    fn write_progress(&self, deployment: &Value, sets: &Sets) -> Outcome {
        let mut status = self.availability(deployment, sets);
        let subject = match &sets.new {
            Some(new) => format!("ReplicaSet \"{}\"", name(new)),
            None => format!("Deployment \"{}\"", name(deployment)),
        };
        let now = Instant::now();
        let mut wake = None;
        let Some(seconds) = deadline(deployment) else {
            forget(&mut status, "Progressing");
            self.write_failures(deployment, sets, status)?;
            return Ok(None);
        };
        let reason = reason_of_progress(deployment);
        let over = reason == "NewReplicaSetAvailable" && status["replicas"] == status["updatedReplicas"];
        if over {
            self.write_failures(deployment, sets, status)?;
            return Ok(None);
        }
        let stamp = self.stamp();
        if is_complete(deployment, &status) {
            let message = format!("{subject} has successfully progressed.");
            note(
                &mut status,
                &stamp,
                "Progressing",
                "True",
                "NewReplicaSetAvailable",
                &message,
            );
        } else if has_progressed(&deployment["status"], &status) {
            let message = format!("{subject} is progressing.");
            // Each progress counts anew.
            let old = progress(&status).filter(|c| c["status"] == "True");
            let since = old.map(|c| c["lastTransitionTime"].clone());
            forget(&mut status, "Progressing");
            note(
                &mut status,
                &stamp,
                "Progressing",
                "True",
                "ReplicaSetUpdated",
                &message,
            );
            if let (Some(since), Some(last)) = (since, status["conditions"].as_array_mut().and_then(|c| c.last_mut())) {
                last["lastTransitionTime"] = since;
            }
        } else if let Some(condition) = progress(&status)
            && reason != "NewReplicaSetAvailable"
            && reason != "ProgressDeadlineExceeded"
        {
            let limit = TimeDelta::try_seconds(seconds).unwrap_or_default();
            let ends = moment(&condition["lastUpdateTime"]).map(|at| at + limit);
            if ends.is_some_and(|ends| ends < self.time(now)) {
                let message = format!("{subject} has timed out progressing.");
                let reason = "ProgressDeadlineExceeded";
                note(&mut status, &stamp, "Progressing", "False", reason, &message);
            }
        }
        if !is_complete(deployment, &status)
            && let Some(condition) = progress(&status)
            && condition["reason"] != "ProgressDeadlineExceeded"
            && let Some(updated) = moment(&condition["lastUpdateTime"])
        {
            // A second later: times are whole seconds.
            let ends = updated + TimeDelta::try_seconds(seconds + 1).unwrap_or_default();
            wake = Some(self.instant(ends)).filter(|at| *at > now);
        }
        self.write_failures(deployment, sets, status)?;
        Ok(wake)
    }

    /// The status, with the ReplicaSets' refusals among its conditions.
    fn write_failures(&self, deployment: &Value, sets: &Sets, mut status: Value) -> Result<(), Status> {
        let failure = |set: &Arc<Value>| super::objects::condition(set, "ReplicaFailure").cloned();
        let failure = sets
            .new
            .as_ref()
            .and_then(failure)
            .or_else(|| sets.all().find_map(failure));
        match failure {
            Some(failure) => {
                let [value, reason, message] = ["status", "reason", "message"].map(|field| text(&failure[field]));
                note(&mut status, &self.stamp(), "ReplicaFailure", value, reason, message);
            }
            None => forget(&mut status, "ReplicaFailure"),
        }
        self.write_status(USER, "deployments", deployment, status)
    }
}

/// What a ReplicaSet adds or gives up when a Deployment grows or shrinks in the middle of an update.
fn share(deployment: &Value, set: &Value, to_add: i64, added: i64) -> i64 {
    let present = replicas(set);
    if present == 0 || to_add == added {
        return 0;
    }
    let wanted = replicas(deployment);
    let fraction = if wanted == 0 {
        -present
    } else {
        let before = annotation(set, MAXIMUM).unwrap_or_else(|| number(&deployment["status"]["replicas"]));
        if before == 0 {
            return 0;
        }
        // Rounded to the nearest: (2a + b) / 2b.
        let size = (2 * present * (wanted + max_surge(deployment)) + before) / (2 * before);
        size - present
    };
    if to_add > 0 {
        fraction.min(to_add - added)
    } else {
        fraction.max(to_add - added)
    }
}

fn deadline(deployment: &Value) -> Option<i64> {
    let seconds = deployment["spec"]["progressDeadlineSeconds"].as_i64().unwrap_or(600);
    (seconds < i64::from(i32::MAX)).then_some(seconds)
}

fn progress(status: &Value) -> Option<&Value> {
    let conditions = status["conditions"].as_array()?;
    conditions.iter().find(|c| c["type"] == "Progressing")
}

fn reason_of_progress(deployment: &Value) -> &str {
    progress(&deployment["status"])
        .map(|c| text(&c["reason"]))
        .unwrap_or_default()
}
