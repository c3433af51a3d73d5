//! Facts of PTX that don't depend on where it was compiled.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use tile_lang::artifact::hex;

/// The text without comments, paths, line information and sections for debuggers.
pub fn stripped(ptx: &str) -> String {
    let mut out = String::with_capacity(ptx.len());
    let mut section = false;
    for line in ptx.lines() {
        let line = line.split("//").next().unwrap_or_default().trim_end();
        let word = line.trim_start();
        section = section && !word.starts_with('}') || word.starts_with(".section");
        if word.is_empty()
            || section
            || word.starts_with(".loc")
            || word.starts_with(".file")
            || word.starts_with("$L__tmp")
        {
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// SHA-256 of the [`stripped`] text, in hexadecimal.
pub fn sha256(ptx: &str) -> String {
    hex(&Sha256::digest(stripped(ptx)))
}

/// How often each instruction occurs: its name up to the second dot where the first part is a family (`ld`, `mma`, …).
pub fn histogram(ptx: &str) -> BTreeMap<String, usize> {
    const FAMILIES: [&str; 13] =
        ["ld", "st", "cp", "mbarrier", "mma", "cvt", "red", "atom", "bar", "barrier", "fence", "setmaxnreg", "shfl"];
    let mut out = BTreeMap::new();
    for line in stripped(ptx).lines().map(str::trim) {
        let code = line.trim_start_matches(['{', ' ', '\t']);
        let code =
            if code.starts_with('@') { code.split_once(' ').map_or("", |(_, rest)| rest.trim_start()) } else { code };
        let name = code.split([' ', '\t', ';']).next().unwrap_or_default();
        if !line.ends_with(';') || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            continue;
        }
        let mut parts = name.split('.');
        let first = parts.next().unwrap_or_default();
        let key = match parts.next() {
            Some(second) if FAMILIES.contains(&first) => format!("{first}.{second}"),
            _ => first.to_owned(),
        };
        *out.entry(key).or_insert(0) += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_left_out() {
        let a = "// by\n.version 8.6\n.file 1 \"/a/b.rs\"\n\t.loc 1 2 3\n\tadd.s32 %r1, %r2, 1; // here\n";
        let b = ".version 8.6\n\tadd.s32 %r1, %r2, 1;\n.section .debug_str {\n.b8 1\n}\n";
        assert_eq!(stripped(a), ".version 8.6\n\tadd.s32 %r1, %r2, 1;\n");
        assert_eq!(stripped(b).trim_end_matches("}\n"), stripped(a));
        assert_eq!(sha256(a), sha256("\n.version 8.6\n\tadd.s32 %r1, %r2, 1;\n"));
    }

    #[test]
    fn instructions_are_counted_by_family() {
        let ptx = "\t@%p1 bra $L;\n\tld.shared.v4.b32 {%r1}, [%r2];\n\tld.shared.b32 %r1, [%r2];\n\tadd.s32 %r1, %r2, 1;\n$L:\n\t.reg .b32 %r<4>;\n";
        let counted: Vec<_> = histogram(ptx).into_iter().collect();
        assert_eq!(counted, [("add".into(), 1), ("bra".into(), 1), ("ld.shared".into(), 2)]);
    }
}
