//! What ptxas prints, as data.

/// How bad a message is, by ptxas's own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// `info`: advice, and the notes on lost performance.
    Info,
    /// `warning`.
    Warning,
    /// `error` or `fatal`: there is no machine code.
    Error,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How bad it is.
    pub severity: Severity,
    /// NVIDIA's number: 7508 for `C7508`.
    pub code: Option<u32>,
    /// Line of the PTX, from 1.
    pub line: Option<u32>,
    /// The text, without place and code.
    pub text: String,
}

/// What a thread needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Registers at entry.
    pub registers: u32,
    /// Bytes of local memory for arrays and spills.
    pub stack: u32,
    /// Bytes stored to local memory by spills.
    pub spill_stores: u32,
    /// Bytes loaded back.
    pub spill_loads: u32,
}

/// Everything that ptxas said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages in order; lines about resources and progress are not among them.
    pub messages: Vec<Message>,
    /// Of the last function that was compiled.
    pub resources: Resources,
}

/// Notes that only say what ptxas is doing, or that another message brought the job to its end.
const PROGRESS: [&str; 5] =
    ["Compiling entry", "Function properties", "Compile time", "bytes gmem", "Ptx assembly aborted due to errors"];

/// Reads ptxas's output, of a run with `-v`.
pub fn parse(output: &str) -> Report {
    let mut report = Report::default();
    for line in output.lines() {
        if let Some(r) = resources(line, report.resources) {
            report.resources = r;
        } else if let Some(message) = message(line).filter(|m| !PROGRESS.iter().any(|p| m.text.contains(p))) {
            report.messages.push(message);
        }
    }
    report
}

/// The number before a word: 168 of `Used 168 registers` for ` registers`.
fn before(line: &str, word: &str) -> Option<u32> {
    line[..line.find(word)?].split_whitespace().next_back()?.parse().ok()
}

fn resources(line: &str, so_far: Resources) -> Option<Resources> {
    if let Some(stack) = before(line, " bytes stack frame") {
        let spill = |word| before(line, word).unwrap_or(0);
        let (spill_stores, spill_loads) = (spill(" bytes spill stores"), spill(" bytes spill loads"));
        return Some(Resources { stack, spill_stores, spill_loads, ..so_far });
    }
    let registers = before(line, " registers,").filter(|_| line.contains("Used "))?;
    Some(Resources { registers, ..so_far })
}

/// `ptxas FILE, line N; error   : text`, `ptxas info    : (C7508) text`, and what lies between.
fn message(line: &str) -> Option<Message> {
    let rest = line.strip_prefix("ptxas")?;
    let words = [
        ("info", Severity::Info),
        ("warning", Severity::Warning),
        ("error", Severity::Error),
        ("fatal", Severity::Error),
    ];
    // The severity stands before the first colon after the place, padded with blanks.
    let (at, word, severity) = words
        .iter()
        .filter_map(|(w, s)| {
            let at =
                rest.match_indices(w).map(|(i, _)| i).find(|i| rest[i + w.len()..].trim_start().starts_with(':'))?;
            Some((at, *w, *s))
        })
        .min_by_key(|(at, ..)| *at)?;
    let (place, text) = (&rest[..at], rest[at + word.len()..].trim_start().strip_prefix(':')?.trim());
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    let (code, text) = match text.strip_prefix("(C").and_then(|t| t.split_once(')')) {
        Some((code, rest)) => (number(code), rest.trim()),
        None => (None, text),
    };
    let of_place = place.rsplit_once(", line ").and_then(|(_, n)| number(n));
    // Notes on products name the line in their text.
    let of_text = || ["in line ", "around line "].iter().find_map(|w| number(text.split_once(w)?.1));
    Some(Message { severity, code, line: of_place.or_else(of_text), text: text.to_owned() })
}
