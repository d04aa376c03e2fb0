//! A GET over plain HTTP, for readiness checks, probes and Prometheus' API inside the namespace.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Sends one request on a connection of its own and returns status and body, or why there is no answer.
pub(crate) async fn request(
    method: http::Method,
    address: SocketAddr,
    path: &str,
    timeout: Duration,
) -> Result<(u16, Bytes), String> {
    let exchange = async {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|e| format!("connect to {address}: {e}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
        let driver = tokio::spawn(connection);
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, address.to_string())
            .header(http::header::CONNECTION, "close")
            .header(http::header::USER_AGENT, "serin-cluster")
            .body(Full::new(Bytes::new()))
            .map_err(|e| format!("path {path}: {e}"))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
            let status = response.status().as_u16();
            let body = response
                .into_body()
                .collect()
                .await
                .map_err(|e| e.to_string())?
                .to_bytes();
            Ok((status, body))
        }
        .await;
        driver.abort();
        answer
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| {
        Err(format!(
            "no answer from {address}{path} within {} ms",
            timeout.as_millis()
        ))
    })
}

/// GET; any status is an answer.
pub(crate) async fn get(address: SocketAddr, path: &str, timeout: Duration) -> Result<(u16, Bytes), String> {
    request(http::Method::GET, address, path, timeout).await
}

/// Percent-encodes a value for a query string.
pub(crate) fn encode(value: &str) -> String {
    value.bytes().fold(String::with_capacity(value.len()), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}
