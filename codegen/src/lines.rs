//! Which line of a kernel's source an instruction comes from, in PTX and in machine code.

use crate::explain::Place;
use std::collections::HashMap;
use std::fmt::Write;

/// The file that instructions around the bodies of kernels are said to come from: nobody's source.
pub const FRAME: &str = "monotile";

/// The places that the `.loc` directives of a PTX text name.
#[derive(Clone, Debug, Default)]
pub struct PtxLines {
    /// For each line of the text the place that is in force.
    places: Vec<Option<Place>>,
}

impl PtxLines {
    /// Reads them.
    pub fn new(ptx: &str) -> Self {
        let mut files = HashMap::new();
        for line in ptx.lines().map(str::trim) {
            let Some(rest) = line.strip_prefix(".file") else { continue };
            let mut parts = rest.trim().splitn(2, char::is_whitespace);
            if let (Some(Ok(number)), Some(name)) = (parts.next().map(str::parse::<u32>), parts.next()) {
                files.insert(number, name.trim().trim_matches('"').replace("\\\\", "\\").replace("\\\"", "\""));
            }
        }
        let mut now = None;
        let mut places = Vec::new();
        for line in ptx.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix(".loc") {
                let numbers: Vec<u32> = rest.split_whitespace().map_while(|n| n.parse().ok()).collect();
                now = match numbers[..] {
                    [file, line, col, ..] if line > 0 => {
                        files.get(&file).filter(|f| *f != FRAME).map(|f| Place { file: f.clone(), line, col })
                    }
                    _ => None,
                };
            } else if line.starts_with('}') {
                now = None;
            }
            places.push(now.clone());
        }
        PtxLines { places }
    }

    /// The place of line `line` of the text, from 1; none for the frame and for code that several lines share.
    pub fn at(&self, line: u32) -> Option<&Place> {
        self.places.get((line as usize).checked_sub(1)?)?.as_ref()
    }
}

/// Reads nvdisasm's comment `//## File "…", line N`, also with what follows for inlined code. None if it is no such comment; its
/// place is none in the frame.
pub fn sass_place(line: &str) -> Option<Option<Place>> {
    let rest = line.trim().strip_prefix("//## File \"")?;
    let (file, rest) = rest.split_once('"')?;
    let digits: String = rest.split_once("line ")?.1.chars().take_while(char::is_ascii_digit).collect();
    let line = digits.parse().ok()?;
    Some((file != FRAME && line > 0).then(|| Place { file: file.into(), line, col: 0 }))
}

/// Source files, each read once.
#[derive(Default)]
struct Sources(HashMap<String, Vec<String>>);

impl Sources {
    /// `file:line | text`, or without text where the source isn't at hand.
    fn line(&mut self, place: Option<&Place>) -> String {
        let Some(Place { file, line, .. }) = place else { return "(no line of its own)".into() };
        let lines = self.0.entry(file.clone()).or_insert_with(|| {
            // On a machine without the source the place alone must do.
            std::fs::read_to_string(file).map(|t| t.lines().map(str::to_owned).collect()).unwrap_or_default()
        });
        let text = lines.get((*line as usize).saturating_sub(1));
        text.map_or_else(|| format!("{file}:{line}"), |t| format!("{file}:{line} | {}", t.trim()))
    }
}

/// PTX with the source line beside each `.loc`.
pub fn annotate_ptx(ptx: &str) -> String {
    let (lines, mut sources, mut out) = (PtxLines::new(ptx), Sources::default(), String::new());
    for (text, number) in ptx.lines().zip(1..) {
        let _ = match text.trim_start().starts_with(".loc") {
            true => writeln!(out, "{text}\t// {}", sources.line(lines.at(number))),
            false => writeln!(out, "{text}"),
        };
    }
    out
}

/// nvdisasm's text with the source line before the instructions that it became.
pub fn annotate_sass(sass: &str) -> String {
    let (mut sources, mut out) = (Sources::default(), String::new());
    for text in sass.lines() {
        let _ = match sass_place(text) {
            Some(place) => writeln!(out, "\t// {}", sources.line(place.as_ref())),
            None => writeln!(out, "{text}"),
        };
    }
    out
}

/// nvdisasm's text without the comments that name lines.
pub fn without_places(sass: &str) -> String {
    sass.lines().filter(|l| sass_place(l).is_none()).flat_map(|l| [l, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTX: &str = "{\n\t.loc\t1 1 1\n\tmov.u32 %r1, %tid.x;\n\t.loc\t2 7 9\n\tadd.s32 %r1, %r1, 1;\n\t.loc\t2 0 9\n\tret;\n}\n\t.file\t1 \"monotile\"\n\t.file\t2 \"a\\\\b.rs\"\n";

    #[test]
    fn lines_of_ptx_have_the_place_before_them() {
        let lines = PtxLines::new(PTX);
        let place = Place { file: "a\\b.rs".into(), line: 7, col: 9 };
        let found: Vec<_> = (0..=10).map(|n| lines.at(n)).collect();
        let mut wanted = vec![None; 11];
        wanted[4] = Some(&place);
        wanted[5] = Some(&place);
        assert_eq!(found, wanted);
    }

    #[test]
    fn listings_name_lines() {
        let text = annotate_ptx(PTX);
        assert!(
            text.contains(".loc\t1 1 1\t// (no line of its own)\n") && text.contains(".loc\t2 7 9\t// a\\b.rs:7\n"),
            "{text}"
        );
        let own = format!("\t//## File \"{}\", line 1\n\tNOP ;\n", file!().replace("codegen/", ""));
        let text = annotate_sass(&own);
        assert_eq!(
            text,
            "\t// src/lines.rs:1 | //! Which line of a kernel's source an instruction comes from, in PTX and in machine code.\n\tNOP ;\n"
        );
        assert_eq!(annotate_sass("\t//## File \"monotile\", line 1\n"), "\t// (no line of its own)\n");
    }
}
