//! Users: steady requests through the gateway, each answer counted by the version that gave it.
//!
//! Open loop: requests go out at their times whether or not earlier ones are answered.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, header};
use http_body_util::Full;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{container::HASH_HEADER, wire::Client};

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
    /// Those that a user would call failed: a 5xx, or no answer.
    pub failed: u64,
}

/// What users met so far, by the revision that answered (its hash; empty where no pod did).
#[derive(Clone, Debug, Default)]
pub(crate) struct Met(Arc<Mutex<BTreeMap<String, Counts>>>);

impl Met {
    pub(crate) fn so_far(&self) -> BTreeMap<String, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, hash: &str, failed: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = all.entry(hash.to_owned()).or_default();
        counts.requests += 1;
        counts.failed += u64::from(failed);
    }
}

/// Sends requests for ever.
pub(crate) async fn send(gateway: SocketAddr, door: Door, rps: f64, client: Arc<Client>, met: Met) {
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
        let (client, met) = (Arc::clone(&client), met.clone());
        under_way.spawn(async move {
            let answer = tokio::time::timeout(TIMEOUT, client.send(gateway, request)).await;
            let Ok(Ok(response)) = answer else {
                met.count("", true);
                return;
            };
            let hash = response.headers().get(HASH_HEADER).and_then(|hash| hash.to_str().ok());
            met.count(hash.unwrap_or_default(), response.status().is_server_error());
        });
    }
}
