//! Facts of PTX that don't depend on where it was compiled.

use crate::artifact::hex;
use sha2::{Digest, Sha256};

/// The text without comments, paths, line information and sections for debuggers: what the machine executes.
pub fn stripped(ptx: &str) -> String {
    let mut out = String::with_capacity(ptx.len());
    let mut section = false;
    for line in ptx.lines() {
        let line = line.split("//").next().unwrap_or_default().trim_end();
        let word = line.trim_start();
        if section || word.starts_with(".section") {
            section = !word.ends_with('}');
            continue;
        }
        // Labels of these names are for debug information alone.
        let place = [".loc", ".file", "$L__tmp", "$L__func_"].iter().any(|w| word.starts_with(w));
        if !word.is_empty() && !place {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// SHA-256 of the [`stripped`] text, in hexadecimal.
pub fn sha256(ptx: &str) -> String {
    hex(&Sha256::digest(stripped(ptx)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_left_out() {
        let plain = ".version 8.6\n{\n\tadd.s32 %r1, %r2, 1;\n}\n";
        for same in [
            "// by\n.version 8.6\n.file 1 \"/a/b.rs\"\n{\n$L__func_begin0:\n\t.loc 1 2 3\n\tadd.s32 %r1, %r2, 1; // here\n$L__tmp1:\n}\n",
            ".version 8.6\n{\n\tadd.s32 %r1, %r2, 1;\n}\n\t.section\t.debug_str\n{\n.b8 1\n}\n",
            ".version 8.6\n{\n\n\tadd.s32 %r1, %r2, 1;\n}\n\t.section\t.debug_macinfo\t{\t}\n\t.file\t1 \"a.rs\"\n",
        ] {
            assert_eq!(stripped(same), plain);
            assert_eq!(sha256(same), sha256(plain));
        }
        assert_ne!(sha256(plain), sha256(&plain.replace('1', "2")));
    }
}
