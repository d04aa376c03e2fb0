//! `serin analysis run` from outside: the built program, a template of ours in a file, and something that answers as Prometheus
//! does.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    thread,
};

/// Answers every query: `requests` to the one that counts requests, `value` to the others. Says its address.
fn prometheus(value: &'static str, requests: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            let mut whole = String::new();
            while stream.read_line(&mut line).unwrap() > 0 && line.trim() != "" {
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                whole.push_str(&line);
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            whole.push_str(&String::from_utf8(body).unwrap());
            let found = if whole.contains("increase") { requests } else { value };
            let result = if found.is_empty() {
                String::new()
            } else {
                format!(r#"{{"metric":{{}},"value":[1790000000,"{found}"]}}"#)
            };
            let text = format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
            write!(stream.get_mut(), "{head}Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        }
    });
    address
}

fn run(address: &str, args: &[&str]) -> Output {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../analysis-templates/http-success-rate.yaml");
    Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["analysis", "run"])
        .arg(template)
        .args(["--prometheus-address", address])
        .args(args)
        .env_remove("KUBECONFIG")
        .env("HOME", "/nonexistent")
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_query_the_value_the_condition_and_the_verdict_are_shown_and_decide_the_exit_code() {
    for (value, code, verdict) in [("0.9995", 0, "Successful"), ("0.97", 1, "Failed")] {
        let output = run(&prometheus(value, "812"), &["--arg", "service=checkout"]);
        let text = out(&output);
        assert_eq!(output.status.code(), Some(code), "{text}{output:?}");
        for words in [
            r#"http_requests_total{service="checkout""#,
            value,
            "of 812 requests",
            "result[0] >= 0.999",
            verdict,
        ] {
            assert!(text.contains(words), "{words:?} is missing in:\n{text}");
        }
    }
}

#[test]
fn too_few_requests_are_no_data_and_no_verdict() {
    let output = run(&prometheus("1", "3"), &["--arg", "service=checkout"]);
    let text = out(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("no data") && text.contains("3 of at least 50 requests"),
        "{text}"
    );
}

#[test]
fn the_same_as_json() {
    let output = run(&prometheus("0.97", "812"), &["--arg", "service=checkout", "-o", "json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["metrics"][0]["name"], "success-rate");
    assert_eq!(found["metrics"][0]["verdict"], "Failed");
}

#[test]
fn bad_input_and_a_provider_that_does_not_answer_are_told_apart() {
    for (args, words) in [
        (vec!["--arg", "service=checkout", "--arg", "servcie=x"], "servcie"),
        (vec![], "service"),
        (vec!["--arg", "service"], "NAME=VALUE"),
    ] {
        let output = run("http://127.0.0.1:9", &args);
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{problem}");
        assert!(problem.contains(words), "{words}: {problem}");
    }
    // Nobody listens there: the port was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(&format!("http://{free}"), &["--arg", "service=checkout"]);
    assert_eq!(output.status.code(), Some(3), "{}", out(&output));
}

#[test]
fn a_file_that_is_not_there_a_folder_and_an_address_that_is_none_are_bad_input() {
    let tried = |template: &str, address: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_serin"))
            .args(["analysis", "run", template, "--prometheus-address", address])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
            .env_remove("KUBECONFIG")
            .env("HOME", "/nonexistent")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{template} {address}");
        String::from_utf8(output.stderr).unwrap()
    };
    let (known, good) = ("analysis-templates/http-success-rate.yaml", "http://127.0.0.1:1");
    for (template, address, part) in [
        ("nofile.yaml", good, "cannot read nofile.yaml"),
        ("analysis-templates", good, "this is a folder"),
        (known, "127.0.0.1:9090", "--prometheus-address 127.0.0.1:9090"),
    ] {
        let said = tried(template, address);
        assert!(said.contains(part), "{said}");
    }
}
