//! JSON Schemas of the types of exposed records.

use alloc::string::String;

use schemars::{JsonSchema, SchemaGenerator};

/// Makes a schema, as JSON.
pub(crate) type MakeSchema = fn() -> String;

/// The schema of `T` in the draft 2020-12.
pub(crate) fn of<T: JsonSchema>() -> String {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>();
    // A schema is a tree of JSON values, which always serializes.
    serde_json::to_string(&schema).unwrap_or_default()
}
