//! `aimdb set`: writes a record.

use std::io::Read;
use std::process::ExitCode;

use hyper::Method;
use hyper::body::Bytes;
use serde_json::Value;

use crate::client::{Client, key_in_path};
use crate::outcome::{Failure, Outcome};

pub(crate) async fn run(client: &Client, key: &str, value: &str) -> Outcome {
    let path = format!("/api/v1/records/{}", key_in_path(key));
    let record: Value = client.json(&path).await?;
    let body = match value {
        "-" => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes)?;
            bytes
        }
        text => text.as_bytes().to_vec(),
    };
    // The place of a mistake in JSON is found here, before anything is sent.
    let is_json = record["encoding"].as_str().is_some_and(|encoding| encoding.contains("json"));
    if is_json && let Err(error) = serde_json::from_slice::<Value>(&body) {
        let help = "a text needs its quotes, and those the shell's: '\"text\"'";
        return Err(Failure::Failed(format!("this is no JSON: {error}\n{help}")));
    }
    let answer = client.request(Method::PUT, &path, Bytes::from(body)).await?;
    if answer.status >= 300 {
        let mut text = answer.reason();
        if answer.status == 400 && !record["schema"].is_null() {
            text += &format!("\nschema: {}", record["schema"]);
        }
        return Err(Failure::Failed(text));
    }
    Ok(ExitCode::SUCCESS)
}
