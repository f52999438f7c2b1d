//! The subset of JSON Schema that probes support: what structured output can express, without
//! references. Pure.
//!
//! A full validator is larger than the rest of the prober. The configuration rejects a schema with
//! any other keyword, so no part of a schema is silently ignored.

use serde_json::Value;

/// Supported keywords.
const CHECKED: [&str; 17] = [
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "properties",
    "required",
    "type",
];
/// The values of `type`.
const TYPES: [&str; 7] = [
    "array", "boolean", "integer", "null", "number", "object", "string",
];
/// Keywords that are annotations only.
const DESCRIBING: [&str; 7] = [
    "$comment",
    "$id",
    "$schema",
    "default",
    "description",
    "examples",
    "title",
];

/// Returns the path of the first keyword in `schema` that is unsupported or has an invalid value.
/// Returns `""` if the schema or a part of it is neither an object nor a boolean.
pub fn unknown_keyword(schema: &Value) -> Option<String> {
    let Value::Object(keywords) = schema else {
        return (!schema.is_boolean()).then(String::new);
    };
    for (keyword, value) in keywords {
        let unknown = match keyword.as_str() {
            ill if !is_well_formed(ill, value) => Some(ill.to_owned()),
            "items" | "additionalProperties" => unknown_below(keyword, value),
            "allOf" | "anyOf" => value
                .as_array()
                .into_iter()
                .flatten()
                .find_map(|inner| unknown_below(keyword, inner)),
            "properties" => {
                let all = value.as_object().into_iter().flatten();
                all.into_iter()
                    .find_map(|(name, inner)| unknown_below(&format!("properties.{name}"), inner))
            }
            known if CHECKED.contains(&known) || DESCRIBING.contains(&known) => None,
            other => Some(other.to_owned()),
        };
        if unknown.is_some() {
            return unknown;
        }
    }
    None
}

fn unknown_below(name: &str, inner: &Value) -> Option<String> {
    let rest = unknown_keyword(inner)?;
    Some(format!("{name}.{rest}").trim_end_matches('.').to_owned())
}

fn is_type_name(name: &Value) -> bool {
    name.as_str().is_some_and(|name| TYPES.contains(&name))
}

/// Reports whether `value` is valid for `keyword`.
fn is_well_formed(keyword: &str, value: &Value) -> bool {
    let list = value.as_array();
    let is_empty = list.is_some_and(Vec::is_empty);
    match keyword {
        "type" => {
            let is_list = list.is_some_and(|names| names.iter().all(is_type_name));
            is_type_name(value) || is_list && !is_empty
        }
        "required" => list.is_some_and(|names| names.iter().all(Value::is_string)),
        "enum" | "allOf" | "anyOf" => value.is_array() && !is_empty,
        "properties" => value.is_object(),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => value.is_number(),
        "minLength" | "maxLength" | "minItems" | "maxItems" => value.is_u64(),
        _ => true,
    }
}

/// Reports whether `value` matches `schema`.
pub fn fits(value: &Value, schema: &Value) -> bool {
    let Value::Object(keywords) = schema else {
        return *schema != Value::Bool(false);
    };
    keywords
        .iter()
        .all(|(keyword, wanted)| holds(value, keyword, wanted, schema))
}

fn holds(value: &Value, keyword: &str, wanted: &Value, schema: &Value) -> bool {
    // Each keyword applies to values of one type and accepts all others.
    let number = value.as_f64().zip(wanted.as_f64());
    let length = value.as_str().map(|text| text.chars().count() as u64);
    let length = length.zip(wanted.as_u64());
    let count = value.as_array().map(|items| items.len() as u64);
    let count = count.zip(wanted.as_u64());
    match keyword {
        "type" => match wanted {
            Value::Array(names) => names.iter().any(|name| is_a(value, name)),
            name => is_a(value, name),
        },
        "required" => {
            !value.is_object()
                || elements(wanted)
                    .iter()
                    .filter_map(Value::as_str)
                    .all(|name| value.get(name).is_some())
        }
        "properties" => {
            let mut parts = wanted.as_object().into_iter().flatten();
            parts.all(|(name, inner)| value.get(name).is_none_or(|v| fits(v, inner)))
        }
        "additionalProperties" => {
            let mut others = value.as_object().into_iter().flatten();
            others.all(|(name, v)| schema["properties"].get(name).is_some() || fits(v, wanted))
        }
        "items" => value
            .as_array()
            .into_iter()
            .flatten()
            .all(|v| fits(v, wanted)),
        "enum" => elements(wanted).iter().any(|wanted| is_same(wanted, value)),
        "const" => is_same(wanted, value),
        "allOf" => elements(wanted).iter().all(|inner| fits(value, inner)),
        "anyOf" => elements(wanted).iter().any(|inner| fits(value, inner)),
        "minimum" => number.is_none_or(|(v, w)| v >= w),
        "maximum" => number.is_none_or(|(v, w)| v <= w),
        "exclusiveMinimum" => number.is_none_or(|(v, w)| v > w),
        "exclusiveMaximum" => number.is_none_or(|(v, w)| v < w),
        "minLength" => length.is_none_or(|(v, w)| v >= w),
        "maxLength" => length.is_none_or(|(v, w)| v <= w),
        "minItems" => count.is_none_or(|(v, w)| v >= w),
        "maxItems" => count.is_none_or(|(v, w)| v <= w),
        _ => true,
    }
}

fn elements(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// Compares JSON values; `1` and `1.0` are the same number.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            x == y || ((x.is_f64() || y.is_f64()) && x.as_f64() == y.as_f64())
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| is_same(x, y))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len()
                && x.iter()
                    .all(|(name, x)| y.get(name).is_some_and(|y| is_same(x, y)))
        }
        _ => a == b,
    }
}

fn is_a(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Generates a schema of our subset.
    fn schema() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            prop::sample::select(vec![
                "object", "array", "string", "integer", "number", "boolean", "null"
            ])
            .prop_map(|name| json!({"type": name})),
            Just(json!({"type": ["string", "null"]})),
            (-3i32..3).prop_map(|n| json!({"minimum": n, "exclusiveMaximum": n + 2})),
            (-3i32..3).prop_map(|n| json!({"maximum": n, "exclusiveMinimum": n - 2})),
            (0u32..3).prop_map(|n| json!({"minLength": n, "maxLength": n + 1})),
            (0u32..3).prop_map(|n| json!({"minItems": n, "maxItems": n + 1})),
            value().prop_map(|v| json!({"const": v})),
            prop::collection::vec(value(), 1..3).prop_map(|all| json!({"enum": all})),
            any::<bool>().prop_map(Value::Bool),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|s| json!({"items": s})),
                (inner.clone(), inner.clone(), any::<bool>()).prop_map(|(a, b, more)| {
                    json!({"properties": {"a": a, "b": b}, "required": ["a"], "additionalProperties": more})
                }),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"anyOf": [a, b]})),
                (inner.clone(), inner).prop_map(|(a, b)| json!({"allOf": [a, b], "title": "t"})),
            ]
        })
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-4i32..4).prop_map(|n| json!(n)),
            (-4i32..4).prop_map(|n| json!(f64::from(n) / 2.0)),
            "[aé]{0,3}".prop_map(Value::String),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::vec((prop::sample::select(vec!["a", "b", "c"]), inner), 0..3)
                    .prop_map(|pairs| {
                        pairs
                            .into_iter()
                            .map(|(k, v)| (k.to_owned(), v))
                            .collect::<serde_json::Map<_, _>>()
                            .into()
                    }),
            ]
        })
    }

    proptest! {
        /// A full validator agrees on every schema of the subset.
        #[test]
        fn the_subset_is_read_as_the_standard_has_it(schema in schema(), value in value()) {
            prop_assert_eq!(unknown_keyword(&schema), None);
            prop_assert_eq!(fits(&value, &schema), jsonschema::is_valid(&schema, &value), "{} {}", schema, value);
        }
    }

    #[test]
    fn what_is_not_checked_is_named_with_its_place() {
        let unknown = |schema: Value| unknown_keyword(&schema);
        assert_eq!(
            unknown(json!({"pattern": "^a"})),
            Some("pattern".to_owned())
        );
        assert_eq!(
            unknown(json!({"properties": {"a": {"items": {"$ref": "#"}}}})),
            Some("properties.a.items.$ref".to_owned())
        );
        assert_eq!(
            unknown(json!({"properties": {"a": 1}})),
            Some("properties.a".to_owned())
        );
        assert_eq!(unknown(json!("object")), Some(String::new()));
    }
}
