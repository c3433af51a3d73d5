//! The pages, by code.

macro_rules! pages {
    ($($code:literal),* $(,)?) => {
        &[$(($code, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors/", $code, ".md")))),*]
    };
}

/// Code and page.
pub const PAGES: &[(&str, &str)] = pages![
    "E01", "E02", "E03", "E04", "E05", "E06", "E07", "E10", "E12", "E13", "E14", "E15", "E16", "E17", "E18", "E19",
    "E20", "E21", "E22", "E23", "E24", "E25", "E26", "E27", "E28", "E29", "E30", "E31", "E32", "E33", "E34", "E37",
    "E38", "E39", "E40", "E41", "E42", "E50", "E51", "E52", "E55", "E56", "E60", "E61", "E62", "E63", "E64", "E65",
    "E70", "E71", "E72", "E73", "E75", "E80", "E81", "E82", "E83", "E84", "E85", "E86", "E87", "E88", "E89", "E90",
    "E91", "E92", "E93", "E94", "E95", "W01", "W02", "W04",
];
