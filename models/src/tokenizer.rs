//! Text to tokens and back, through a model folder's `tokenizer.json`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::fields::read_json;

/// Why text can't be tokenised.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The folder has no `tokenizer.json`.
    #[error("{}: not found; give the prompt as token ids with --prompt-ids, or add the model's tokenizer.json", file.display())]
    Missing {
        /// The file looked for.
        file: PathBuf,
    },
    /// A file of the tokenizer can't be read or understood.
    #[error("{}: {problem}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The tokenizer failed on a text or on ids.
    #[error("{}: {problem}", file.display())]
    Failed {
        /// The tokenizer's file.
        file: PathBuf,
        /// What it said.
        problem: String,
    },
}

/// A model's tokenizer.
pub struct Tokenizer {
    file: PathBuf,
    inner: tokenizers::Tokenizer,
    bos: BosRule,
}

/// What the folder says about the token that begins a text.
enum BosRule {
    /// Nothing: `tokenizer.json` alone decides.
    AsIs,
    /// Every text begins with this token.
    Always(u32),
    /// No text does, whatever `tokenizer.json` adds.
    Never(u32),
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and `add_bos_token` and `bos_token` of `tokenizer_config.json` where there is one.
    pub fn open(folder: &Path) -> Result<Self, TokenizerError> {
        let file = folder.join("tokenizer.json");
        if !file.exists() {
            return Err(TokenizerError::Missing { file });
        }
        let bad = |problem: String| TokenizerError::Malformed { file: file.clone(), problem };
        // The crate takes some mistakes in the JSON for its own and panics.
        read_json(&file).map_err(|e| bad(e.to_string()))?;
        let inner = guarded(|| tokenizers::Tokenizer::from_file(&file).map_err(|e| e.to_string()));
        let inner = inner.map_err(|e| bad(format!("not a tokenizer that can be read: {e}")))?;
        let bos = bos_rule(&folder.join("tokenizer_config.json"), &inner)?;
        Ok(Tokenizer { file, inner, bos })
    }

    /// The ids of a text, with the special tokens the model's texts begin with.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encode = |special| guarded(|| self.inner.encode(text, special).map_err(|e| e.to_string()));
        let encoding = encode(true).map_err(|e| self.failed(&e))?;
        let mut ids = encoding.get_ids().to_vec();
        match self.bos {
            BosRule::Always(bos) if ids.first() != Some(&bos) => ids.insert(0, bos),
            BosRule::Never(bos) if ids.first() == Some(&bos) => {
                // Unless the text itself spells the token.
                let plain = encode(false).map_err(|e| self.failed(&e))?;
                if plain.get_ids().first() != Some(&bos) {
                    ids.remove(0);
                }
            }
            _ => {}
        }
        Ok(ids)
    }

    /// The text of ids, special tokens left out; bytes that aren't UTF-8 become U+FFFD, unknown ids nothing.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        guarded(|| self.inner.decode(ids, true).map_err(|e| e.to_string())).map_err(|e| self.failed(&e))
    }

    /// Begins to decode a text that comes token by token.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, ids: Vec::new(), emitted: 0 }
    }

    /// Number of tokens, added ones included.
    pub fn vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token given by its spelling.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    fn failed(&self, problem: &str) -> TokenizerError {
        TokenizerError::Failed { file: self.file.clone(), problem: problem.to_owned() }
    }
}

/// Calls into the tokenizers crate, which panics on files that it only half understands: that is an error of the file.
fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
    caught.unwrap_or_else(|_| Err("the tokenizers crate gave up on it".into()))
}

fn bos_rule(file: &Path, inner: &tokenizers::Tokenizer) -> Result<BosRule, TokenizerError> {
    if !file.exists() {
        return Ok(BosRule::AsIs);
    }
    let bad = |problem: String| TokenizerError::Malformed { file: file.to_owned(), problem };
    let json = read_json(file).map_err(|e| bad(e.to_string()))?;
    let Some(add) = json.get("add_bos_token").and_then(Value::as_bool) else { return Ok(BosRule::AsIs) };
    let token = json.get("bos_token").and_then(|t| t.get("content").unwrap_or(t).as_str());
    match (add, token.map(|t| (t, inner.token_to_id(t)))) {
        (true, Some((_, Some(id)))) => Ok(BosRule::Always(id)),
        (false, Some((_, Some(id)))) => Ok(BosRule::Never(id)),
        (false, _) => Ok(BosRule::AsIs),
        (true, Some((token, None))) => {
            Err(bad(format!("`bos_token` is \"{token}\", which tokenizer.json doesn't have; correct one of them")))
        }
        (true, None) => Err(bad("`add_bos_token` is true, but `bos_token` isn't a text; add it".into())),
    }
}

/// Decodes a text token by token, giving out only whole characters.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The tokens of the last piece given out, as context for the decoder, and those waiting.
    ids: Vec<u32>,
    /// How many of them have been given out.
    emitted: usize,
}

/// A character has at most four bytes, so more waiting tokens than this aren't one character's.
const MOST_WAITING: usize = 4;

impl TextStream<'_> {
    /// Takes the next token and gives the text that is now whole; often empty in the middle of a character.
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        self.ids.push(id);
        let (text, whole) = self.waiting()?;
        if !whole && self.ids.len() - self.emitted < MOST_WAITING {
            return Ok(String::new());
        }
        if !whole {
            // Broken bytes are no context: what follows might join them and change what has been given out.
            self.ids.clear();
        } else if !text.is_empty() {
            self.ids.drain(..self.emitted);
        }
        self.emitted = self.ids.len();
        Ok(text)
    }

    /// Ends the text: what is still waiting, with U+FFFD for bytes that never became a character.
    pub fn finish(self) -> Result<String, TokenizerError> {
        Ok(self.waiting()?.0)
    }

    /// The text of the waiting tokens, and whether it ends at a character's end.
    fn waiting(&self) -> Result<(String, bool), TokenizerError> {
        let before = self.tokenizer.decode(&self.ids[..self.emitted])?;
        let all = self.tokenizer.decode(&self.ids)?;
        let text = all.strip_prefix(&before).unwrap_or_default().to_owned();
        let whole = !text.ends_with(char::REPLACEMENT_CHARACTER);
        Ok((text, whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The character that stands for a byte in byte-level vocabularies.
    fn byte_char(byte: u8) -> char {
        let printable = |b: &u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
        if printable(&byte) {
            return char::from(byte);
        }
        let rank = (0..byte).filter(|b| !printable(b)).count() as u32;
        char::from_u32(256 + rank).unwrap()
    }

    /// A byte-level tokenizer without merges: token i is byte i; 256 begins texts, as `tokenizer.json` says if
    /// `template`.
    fn folder(name: &str, template: bool, config: Option<&str>) -> PathBuf {
        let vocab: serde_json::Map<String, Value> = (0..=255u8).map(|b| (byte_char(b).to_string(), b.into())).collect();
        let processor = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [256], "tokens": ["<s>"]}}
        });
        let json = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
            "added_tokens": [{"id": 256, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "post_processor": if template { processor } else { Value::Null },
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []}
        });
        let folder = std::env::temp_dir().join(format!("monotile-tokenizer-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("tokenizer.json"), json.to_string()).unwrap();
        if let Some(config) = config {
            std::fs::write(folder.join("tokenizer_config.json"), config).unwrap();
        }
        folder
    }

    fn ids(name: &str, template: bool, config: Option<&str>) -> Result<Vec<u32>, TokenizerError> {
        let folder = folder(name, template, config);
        let ids = Tokenizer::open(&folder).and_then(|t| t.encode("ab"));
        std::fs::remove_dir_all(folder).unwrap();
        ids
    }

    #[test]
    fn texts_begin_as_the_files_say() {
        const YES: &str = r#"{"add_bos_token": true, "bos_token": {"content": "<s>"}}"#;
        const NO: &str = r#"{"add_bos_token": false, "bos_token": "<s>"}"#;
        assert_eq!(ids("plain", false, None).unwrap(), [97, 98]);
        assert_eq!(ids("template", true, None).unwrap(), [256, 97, 98]);
        assert_eq!(ids("both", true, Some(YES)).unwrap(), [256, 97, 98]);
        assert_eq!(ids("config", false, Some(YES)).unwrap(), [256, 97, 98]);
        assert_eq!(ids("never", true, Some(NO)).unwrap(), [97, 98]);
        let error = ids("unknown", true, Some(r#"{"add_bos_token": true, "bos_token": "<b>"}"#)).unwrap_err();
        assert!(error.to_string().contains("\"<b>\", which tokenizer.json doesn't have"), "{error}");
    }

    #[test]
    fn only_whole_characters_are_given_out() {
        let folder = folder("stream", true, None);
        let tokenizer = Tokenizer::open(&folder).unwrap();
        let text = "a é € 😀 z";
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        let mut stream = tokenizer.stream();
        let pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        assert_eq!(pieces.concat(), text);
        assert!(pieces.iter().all(|p| p.chars().count() <= 1));
        assert_eq!(stream.finish().unwrap(), "");

        // A character that never ends, and bytes that are none, don't hold the text up.
        let mut stream = tokenizer.stream();
        assert_eq!(stream.push(0xf0).unwrap(), "");
        assert_eq!(stream.push(0x9f).unwrap(), "");
        assert_eq!(stream.finish().unwrap(), "\u{fffd}");
        let mut stream = tokenizer.stream();
        let text: String = [0xff; 9].iter().chain(b"ok").map(|&b| stream.push(b.into()).unwrap()).collect();
        assert!(text.ends_with("ok"), "{text}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_without_a_tokenizer_points_to_ids() {
        let error = Tokenizer::open(Path::new("no/such/folder")).err().unwrap().to_string();
        assert!(error.starts_with("no/such/folder/tokenizer.json: not found") && error.contains("--prompt-ids"));
    }
}
