//! `monotile explain CODE`: the page of an error code.

mod pages;

use super::Io;
use super::error::CliError;
use pages::PAGES;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The code, as in `error[E03]`; without one all codes are listed
    code: Option<String>,
}

/// Prints the page.
pub fn run(args: &Args, io: &mut Io<'_>) -> Result<(), CliError> {
    let Some(code) = &args.code else {
        for (code, page) in PAGES {
            io.line(format_args!("{code}  {}", title(page)))?;
        }
        return Ok(());
    };
    let wanted = code.trim_start_matches("error").trim_start_matches("warning").trim_matches(['[', ']']).to_uppercase();
    match PAGES.iter().find(|(code, _)| *code == wanted) {
        Some((_, page)) => io.line(page.trim_end()),
        None => {
            let known: Vec<&str> = PAGES.iter().map(|(code, _)| *code).collect();
            Err(CliError::input(format!("there is no error code `{code}`; the codes are {}", known.join(", "))))
        }
    }
}

/// What follows the code in the page's heading.
fn title(page: &str) -> &str {
    page.lines().next().and_then(|l| l.split_once(": ")).map_or("", |(_, title)| title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Codes in quotes or brackets in all Rust files below a folder.
    fn codes(folder: &Path, out: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                codes(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for (at, _) in text.match_indices(['"', '[']) {
                    let code: String = text[at + 1..].chars().take(4).collect();
                    let inside = code.strip_suffix(['"', ']']).unwrap_or_default();
                    let mut chars = inside.chars();
                    if matches!(chars.next(), Some('E' | 'W')) && inside.len() == 3 && chars.all(|c| c.is_ascii_digit())
                    {
                        out.insert(inside.to_owned());
                    }
                }
            }
        }
    }

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut emitted = BTreeSet::new();
        for folder in ["tile-lang/src", "tile-macros/src", "codegen/src"] {
            codes(&root.join(folder), &mut emitted);
        }
        let pages: BTreeSet<String> = PAGES.iter().map(|(code, _)| (*code).to_owned()).collect();
        assert_eq!(emitted, pages);
        for (code, page) in PAGES {
            assert!(page.starts_with(&format!("# {code}: ")), "{page}");
            assert!(page.contains("\nFix: "), "{code} names no fix");
        }
    }
}
