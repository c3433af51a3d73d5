//! Reading typed fields out of a JSON file, with errors that name the file, the field and what to do.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: can't be read ({source}); --model takes a folder with config.json and the weights", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file isn't JSON, or not the JSON expected.
    #[error("{}: not a valid JSON object: {problem}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What the parser said.
        problem: String,
    },
    /// A field is missing, of the wrong kind, out of range, or contradicts another one.
    #[error("{}: field `{field}` {problem}; {advice}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The field's name, with the sections it lies in before it.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        advice: String,
    },
}

/// Reads a JSON file that should hold an object. A comma before a closing bracket is accepted, since early
/// releases of MiMo-V2.6 have one.
pub fn read_json(file: &Path) -> Result<Map<String, Value>, ConfigError> {
    let text = fs::read_to_string(file).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    let bad = |problem: String| ConfigError::Json { file: file.to_owned(), problem };
    let value = serde_json::from_str(&text)
        .or_else(|first| serde_json::from_str(&without_trailing_commas(&text)).map_err(|_| bad(first.to_string())))?;
    match value {
        Value::Object(map) => Ok(map),
        other => Err(bad(format!("it holds {}", describe(&other)))),
    }
}

/// The text without commas that stand right before `}` or `]`, strings left alone.
fn without_trailing_commas(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c == '"' {
            in_string = true;
        } else if c == ',' && text[at + 1..].trim_start().starts_with(['}', ']']) {
            continue;
        }
        out.push(c);
    }
    out
}

/// A short rendering of a value for a message.
fn describe(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// The fields of one JSON object of a file. A field that is null counts as absent.
pub struct Fields<'a> {
    file: &'a Path,
    /// The sections that lead here, each followed by a dot.
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The top-level fields of `file`.
    pub fn new(file: &'a Path, map: &'a Map<String, Value>) -> Self {
        Fields { file, path: String::new(), map }
    }

    /// The field's value, unless absent or null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|v| !v.is_null())
    }

    /// An error about a field of this object.
    pub fn error(&self, name: &str, problem: impl Into<String>, advice: impl Into<String>) -> ConfigError {
        ConfigError::Field {
            file: self.file.to_owned(),
            field: format!("{}{name}", self.path),
            problem: problem.into(),
            advice: advice.into(),
        }
    }

    fn wrong(&self, name: &str, value: &Value, wanted: &str) -> ConfigError {
        self.error(name, format!("is {}", describe(value)), format!("expected {wanted}"))
    }

    fn missing(&self, name: &str, wanted: &str) -> ConfigError {
        self.error(name, "is missing", format!("add it: {wanted}"))
    }

    /// A whole number from 1 to `most`, if present.
    pub fn count_opt(&self, name: &str, most: usize) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let n = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n));
        n.map(Some).ok_or_else(|| self.wrong(name, value, &format!("a whole number from 1 to {most}")))
    }

    /// A whole number from 1 to `most`.
    pub fn count(&self, name: &str, most: usize) -> Result<usize, ConfigError> {
        let found = self.count_opt(name, most)?;
        found.ok_or_else(|| self.missing(name, &format!("a whole number from 1 to {most}")))
    }

    /// A finite number, if present.
    pub fn number_opt(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let x = value.as_f64().filter(|x| x.is_finite());
        x.map(Some).ok_or_else(|| self.wrong(name, value, "a number"))
    }

    /// A number above zero, if present.
    pub fn positive_opt(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        let x = self.number_opt(name)?;
        // f32 must be able to hold it, too.
        match x.filter(|&x| !(x > 0.0 && x as f32 > 0.0 && (x as f32).is_finite())) {
            Some(bad) => Err(self.error(name, format!("is {bad}"), "expected a number above 0 that f32 can hold")),
            None => Ok(x),
        }
    }

    /// A number above zero.
    pub fn positive(&self, name: &str) -> Result<f64, ConfigError> {
        self.positive_opt(name)?.ok_or_else(|| self.missing(name, "a number above 0"))
    }

    /// A number that divides a mean square: above 0, below 1.
    pub fn epsilon(&self, name: &str) -> Result<f32, ConfigError> {
        let eps = self.positive(name)?;
        if eps >= 1.0 {
            return Err(self.error(name, format!("is {eps}"), "expected a small number such as 1e-5"));
        }
        Ok(eps as f32)
    }

    /// true or false; `default` when absent.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(name, value, "true or false"))
    }

    /// A text, if present.
    pub fn text_opt(&self, name: &str) -> Result<Option<&'a str>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(name, value, "a text"))
    }

    /// A list, if present.
    pub fn list_opt(&self, name: &str) -> Result<Option<&'a [Value]>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_array().map(|v| Some(v.as_slice())).ok_or_else(|| self.wrong(name, value, "a list"))
    }

    /// A nested object, if present.
    pub fn section_opt(&self, name: &str) -> Result<Option<Fields<'a>>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let Some(map) = value.as_object() else { return Err(self.wrong(name, value, "an object")) };
        Ok(Some(Fields { file: self.file, path: format!("{}{name}.", self.path), map }))
    }

    /// Refuses a field that is set to something else than the one value supported; absent is fine.
    pub fn only(&self, name: &str, supported: &Value) -> Result<(), ConfigError> {
        match self.get(name) {
            Some(value) if value != supported => {
                let advice = format!("only {supported} is supported");
                Err(self.error(name, format!("is {}", describe(value)), advice))
            }
            _ => Ok(()),
        }
    }

    /// One or several token ids (a number or a list of them), each below `vocab`; empty when absent.
    pub fn token_ids(&self, name: &str, vocab: usize) -> Result<Vec<u32>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let items = match value {
            Value::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|&n| (n as usize) < vocab);
        let ids: Option<Vec<u32>> = items.iter().map(id).collect();
        ids.ok_or_else(|| self.wrong(name, value, &format!("token ids from 0 to {}", vocab.saturating_sub(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_before_closing_brackets_are_dropped_outside_strings() {
        let text = r#"{"a": [1, 2,], "b": "x,}\",]", }"#;
        assert_eq!(without_trailing_commas(text), r#"{"a": [1, 2], "b": "x,}\",]" }"#);
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let long = Value::String("é".repeat(100));
        assert_eq!(describe(&long).chars().count(), 41);
    }
}
