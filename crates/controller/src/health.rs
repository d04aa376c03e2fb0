//! What the outside may ask of the process: is it alive, is it ready, what does it count.
//!
//! Served before leadership, so that a standby is ready too.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio::net::TcpListener;

use crate::{context::Context, kinds::Kind, stores::Watch};

/// `/healthz` and `/readyz`.
pub fn health(ctx: Arc<Context>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .with_state(ctx)
}

/// `/metrics`.
pub fn metrics(ctx: Arc<Context>) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(ctx)
}

async fn ready(State(ctx): State<Arc<Context>>) -> impl IntoResponse {
    if *ctx.ready.borrow() {
        return (StatusCode::OK, "ok".to_owned());
    }
    let stores = ctx.stores();
    let missing: Vec<String> = Kind::ALL
        .iter()
        .filter(|kind| stores.watch(**kind) != Watch::Listed)
        .map(|kind| format!("{}: {:?}", kind.name(), stores.watch(*kind)))
        .collect();
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not listed yet: {}", missing.join(", ")),
    )
}

async fn scrape(State(ctx): State<Arc<Context>>) -> impl IntoResponse {
    let leads = ctx.calls.gate().is_open();
    let text = ctx.calls.metrics().render(&ctx.stores(), leads, ctx.queue.depth());
    (
        [(
            "content-type",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        text,
    )
}

/// Serves a router until the process ends.
///
/// # Errors
/// The address cannot be used.
pub async fn serve(address: SocketAddr, router: Router) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, router).await
}
