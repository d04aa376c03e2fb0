//! Users: steady requests through the gateway, each answer counted by the version that gave it.
//!
//! Open loop: requests go out at their times whether or not earlier ones are answered.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{
    container::{HASH_HEADER, POD_HEADER},
    notes::Name,
    wire::Client,
};

/// When an answer counts as missing.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where users come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// The Host header, by which the gateway finds the route or the Service.
    pub host: String,
    /// The path.
    pub path: String,
}

/// What users met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that have ended.
    pub requests: u64,
    /// Those that a user would call failed: a 5xx, or an answer that no pod gave.
    pub failed: u64,
}

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answerer {
    /// No pod: the gateway had no route, or no endpoint, or there was no answer.
    Nobody,
    /// A pod of the revision with this hash; empty without one.
    Revision(String),
}

/// What users of each Rollout met so far, by who answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met(Arc<Mutex<BTreeMap<Name, BTreeMap<Answerer, Counts>>>>);

impl Met {
    pub(crate) fn so_far(&self) -> BTreeMap<Name, BTreeMap<Answerer, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, rollout: &Name, answer: Option<&HeaderMap>, status: StatusCode) {
        let (answerer, failed) = judged(answer, status);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = all.entry(rollout.clone()).or_default().entry(answerer).or_default();
        counts.requests += 1;
        counts.failed += u64::from(failed);
    }
}

/// Who gave an answer, and whether a user would call it failed. Whatever the gateway says itself is no answer.
fn judged(answer: Option<&HeaderMap>, status: StatusCode) -> (Answerer, bool) {
    let Some(headers) = answer.filter(|headers| headers.contains_key(POD_HEADER)) else {
        return (Answerer::Nobody, true);
    };
    let hash = headers.get(HASH_HEADER).and_then(|hash| hash.to_str().ok());
    (
        Answerer::Revision(hash.unwrap_or_default().to_owned()),
        status.is_server_error(),
    )
}

/// Sends requests for ever.
pub(crate) async fn send(gateway: SocketAddr, rollout: Name, door: Door, rps: f64, client: Arc<Client>, met: Met) {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rps));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    loop {
        ticks.tick().await;
        while under_way.try_join_next().is_some() {}
        let request = Request::get(&door.path)
            .header(header::HOST, &door.host)
            .header(header::USER_AGENT, "serin-playground")
            .body(Full::default());
        // The door comes from a route that was accepted; what cannot be a request is not sent.
        let Ok(request) = request else { return };
        let (client, met, rollout) = (Arc::clone(&client), met.clone(), rollout.clone());
        under_way.spawn(async move {
            let answer = tokio::time::timeout(TIMEOUT, client.send(gateway, request)).await;
            match answer {
                Ok(Ok(response)) => met.count(&rollout, Some(response.headers()), response.status()),
                _ => met.count(&rollout, None, StatusCode::GATEWAY_TIMEOUT),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_no_pod_has_answered_has_failed() {
        let nobody = (Answerer::Nobody, true);
        for status in [StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK] {
            assert_eq!(judged(Some(&HeaderMap::new()), status), nobody, "{status}");
        }
        assert_eq!(judged(None, StatusCode::GATEWAY_TIMEOUT), nobody);
        let mut of_a_pod = HeaderMap::new();
        of_a_pod.insert(POD_HEADER, HeaderValue::from_static("shop-1"));
        of_a_pod.insert(HASH_HEADER, HeaderValue::from_static("abc"));
        let revision = Answerer::Revision("abc".to_owned());
        let of = |status| judged(Some(&of_a_pod), status);
        assert_eq!(of(StatusCode::OK), (revision.clone(), false));
        assert_eq!(of(StatusCode::NOT_FOUND), (revision.clone(), false));
        assert_eq!(of(StatusCode::INTERNAL_SERVER_ERROR), (revision, true));
    }
}
