//! The tile language: types, tile IR, text form, plans, artifacts and the CPU simulator
