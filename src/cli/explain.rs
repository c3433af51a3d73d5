//! `monotile explain CODE`: the page of an error code.

use super::Io;
use super::error::CliError;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The code, as in `error[E03]`; without one all codes are listed
    code: Option<String>,
}

include!("pages.rs");

/// Prints the page.
pub fn run(args: &Args, io: &mut Io<'_>) -> Result<(), CliError> {
    let Some(code) = &args.code else {
        for (code, page) in PAGES {
            io.line(format_args!("{code}  {}", title(page)))?;
        }
        return Ok(());
    };
    let wanted = code.trim_start_matches("error").trim_matches(['[', ']']).to_uppercase();
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
