//! The real transport on real sockets of the loopback interface.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use serin_providers::{AddressPolicy, HttpRequest, HttpTransport as _, Method, ReqwestTransport, TransportError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

fn get(url: String) -> HttpRequest {
    HttpRequest {
        method: Method::Get,
        url,
        headers: Vec::new(),
        basic_auth: None,
        form: None,
        timeout: Duration::from_secs(20),
        insecure: false,
        max_bytes: 1000,
    }
}

/// A server that gives every connection the same answer and hands out the first request that it got.
async fn server(answer: String) -> (u16, tokio::sync::oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !String::from_utf8_lossy(&request).contains("\r\n\r\n") {
                match socket.read(&mut part).await {
                    Ok(n) if n > 0 => request.extend_from_slice(&part[..n]),
                    _ => break,
                }
            }
            if let Some(tell) = tell.take() {
                let _ = tell.send(String::from_utf8_lossy(&request).into_owned());
            }
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    (port, told)
}

fn answer(head: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_form_arrives_with_headers_and_credentials() {
    let (port, told) = server(answer("503 No", "later")).await;
    let request = HttpRequest {
        method: Method::Post,
        headers: vec![("X-Scope-OrgID".to_owned(), "team".to_owned())],
        basic_auth: Some(("u".to_owned(), "p".to_owned())),
        form: Some("query=up".to_owned()),
        ..get(format!("http://127.0.0.1:{port}/api"))
    };
    let response = ReqwestTransport::new(AddressPolicy::default())
        .send(request)
        .await
        .unwrap();
    assert_eq!((response.status, response.body.as_slice()), (503, &b"later"[..]));
    let request = told.await.unwrap().to_lowercase();
    for part in [
        "post /api http/1.1",
        "x-scope-orgid: team",
        "authorization: basic dtpw",
        "content-type: application/x-www-form-urlencoded",
        "user-agent: serin/",
    ] {
        assert!(request.contains(part), "{part} is missing in {request}");
    }
}

#[tokio::test]
async fn nobody_there_is_told_in_gos_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = ReqwestTransport::new(AddressPolicy::default())
        .send(get(format!("http://127.0.0.1:{port}/")))
        .await;
    assert_eq!(
        error.unwrap_err().to_string(),
        format!("dial tcp 127.0.0.1:{port}: connect: connection refused")
    );
}

#[tokio::test]
async fn metadata_addresses_are_refused_before_anything_is_sent() {
    let transport = ReqwestTransport::new(AddressPolicy::default());
    // 2852039166 is 169.254.169.254 as one number.
    for url in [
        "http://169.254.169.254/latest",
        "http://[fe80::1]/",
        "http://2852039166/",
    ] {
        let error = transport.send(get(url.to_owned())).await.unwrap_err();
        assert!(matches!(error, TransportError::Refused(_)), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_redirect_to_a_metadata_address_is_refused_and_so_is_a_circle() {
    let transport = ReqwestTransport::new(AddressPolicy::default());
    let (port, _told) = server(answer("302 Found\r\nlocation: http://169.254.169.254/latest", "")).await;
    let error = transport
        .send(get(format!("http://127.0.0.1:{port}/")))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, TransportError::Refused(why) if why.contains("169.254.169.254")),
        "{error}"
    );
    let (port, _told) = server(answer("302 Found\r\nlocation: /again", "")).await;
    let error = transport
        .send(get(format!("http://127.0.0.1:{port}/")))
        .await
        .unwrap_err();
    assert_eq!(error, TransportError::Refused("more than 5 redirects".to_owned()));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_refused() {
    let (port, _told) = server(answer("200 OK", &"x".repeat(5000))).await;
    let transport = ReqwestTransport::new(AddressPolicy::default());
    let error = transport
        .send(get(format!("http://127.0.0.1:{port}/")))
        .await
        .unwrap_err();
    assert_eq!(error, TransportError::TooLarge(1000));
}

#[tokio::test]
async fn a_header_that_http_does_not_allow_is_named_without_its_value() {
    let request = HttpRequest {
        headers: vec![("X-Token".to_owned(), "secret\n".to_owned())],
        ..get("http://127.0.0.1:1/".to_owned())
    };
    let error = ReqwestTransport::new(AddressPolicy::default())
        .send(request)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("X-Token") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_told_in_gos_words() {
    let error = ReqwestTransport::new(AddressPolicy::default())
        .send(get("http://no-such-host.invalid/".to_owned()))
        .await;
    let text = error.unwrap_err().to_string();
    assert!(text.starts_with("dial tcp: lookup no-such-host.invalid: "), "{text}");
}
