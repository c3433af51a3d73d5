//! Schedules: names of ops, the attribute, the text, differences, the order of items.

mod kernels;
mod names;
mod raster;
mod text;
