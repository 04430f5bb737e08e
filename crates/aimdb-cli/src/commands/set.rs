//! `aimdb set`: writes a record.

use std::io::Read;
use std::process::ExitCode;

use hyper::Method;
use hyper::body::Bytes;
use serde_json::Value;

use crate::client::{Client, key_in_path};
use crate::outcome::{Failure, Outcome};

pub(crate) async fn run(client: &Client, key: &str, value: &str, unchecked: bool) -> Outcome {
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
    // A value that is no JSON, or not of the schema of the record, is not sent.
    if record["encoding"].as_str().is_some_and(|encoding| encoding.contains("json")) {
        let value = serde_json::from_slice::<Value>(&body).map_err(|error| {
            let help = "a text needs its quotes, and those the shell's: '\"text\"'";
            Failure::Failed(format!("this is no JSON: {error}\n{help}"))
        })?;
        if !unchecked {
            check(key, &value, &record["schema"])?;
        }
    }
    let answer = client.request(Method::PUT, &path, Bytes::from(body)).await?;
    if answer.status >= 300 {
        let mut text = answer.reason();
        if answer.status == 400 {
            text += &shown(&record["schema"]);
        }
        return Err(Failure::Failed(text));
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a value that is not of the schema, if there is one: each fault with its place. A schema that cannot be used is the
/// program's fault, and the record's codec decides alone.
fn check(key: &str, value: &Value, schema: &Value) -> Result<(), Failure> {
    let Ok(validator) = jsonschema::validator_for(schema) else { return Ok(()) };
    let faults: Vec<String> = validator
        .iter_errors(value)
        .map(|fault| match fault.instance_path().as_str() {
            "" => fault.to_string(),
            place => format!("{place}: {fault}"),
        })
        .collect();
    if faults.is_empty() {
        return Ok(());
    }
    let faults = faults.join("\n  ");
    let help = "`--unchecked` sends it all the same, and the program decides";
    let text =
        format!("the value is not of the schema of `{key}`:\n  {faults}{}\n{help}", shown(schema));
    Err(Failure::Failed(text))
}

/// The schema as a line of its own, if there is one.
fn shown(schema: &Value) -> String {
    if schema.is_null() { String::new() } else { format!("\nschema: {schema}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_checked_against_the_schema_if_there_is_one() {
        let schema = json!({
            "type": "object",
            "required": ["millis"],
            "properties": { "millis": { "type": "integer", "minimum": 1, "maximum": 5000 } },
        });
        let fault = |value: Value, schema: &Value| match check("period", &value, schema) {
            Ok(()) => String::new(),
            Err(Failure::Failed(text) | Failure::Usage(text)) => text,
            Err(_) => "another failure".into(),
        };
        assert_eq!(fault(json!({ "millis": 7 }), &schema), "");
        for (value, expected) in [
            (
                json!({ "millis": 6000 }),
                "\n  /millis: 6000 is greater than the maximum of 5000\nschema: {",
            ),
            (json!({ "millis": "7" }), "/millis: \"7\" is not of type \"integer\""),
            (json!({ "milis": 7 }), "\n  \"millis\" is a required property\n"),
            (json!(7), "7 is not of type \"object\""),
        ] {
            let fault = fault(value, &schema);
            assert!(fault.starts_with("the value is not of the schema of `period`:"), "{fault}");
            assert!(fault.contains(expected), "{fault}");
        }
        assert_eq!(fault(json!("anything"), &Value::Null), "", "without a schema");
        assert_eq!(fault(json!(1), &json!({ "type": "nonsense" })), "", "the codec decides");
    }
}
