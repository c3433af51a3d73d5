//! Procedural macros of the tile language
