//! `device_assert!`, `dbg_tile!` and `mark!`.

use super::{Cx, Val};
use crate::debug::places_of;
use crate::dtype::DType;
use crate::ir::{OpKind, Type};
use crate::record::failure;
use crate::span::Span;

impl Cx {
    /// `device_assert!(condition, "message {}", values…)`.
    pub fn device_assert(&mut self, span: Span, condition: Val, message: &str, values: &[Val]) {
        let condition = self.registers(span, condition);
        let values: Vec<Val> = values.iter().map(|v| self.said(span, *v)).collect();
        if self.is_poison(condition) || values.iter().any(|v| self.is_poison(*v)) {
            return;
        }
        let ty = self.ty(condition).clone();
        if ty.dtype() != Some(DType::Bool) {
            let fix = "compare: `x.lt(limit)`, `i < n`".to_owned();
            self.error(span, "E04", format!("an assertion needs a bool or a tile of bool, this is {ty}"), &[fix]);
            return;
        }
        let (places, most) = (places_of(message), failure::MOST_VALUES);
        if places != values.len() || places > most {
            let what = format!("the message has {places} places `{{}}` for {} values, at most {most}", values.len());
            self.error(span, "E50", what, &["write one `{}` for each value".into()]);
            return;
        }
        if let Some(v) = values.iter().find(|v| ![&[], ty.shape()].contains(&self.ty(**v).shape())) {
            let message = format!("a value of type {} beside a condition of type {ty}", self.ty(*v));
            let fix = "show one number, or a tile of the condition's shape".to_owned();
            self.error(span, "E03", message, &[fix]);
            return;
        }
        self.push(span, OpKind::DeviceAssert(message.into()), &[&[condition], &values[..]].concat(), &[]);
    }

    /// `dbg_tile!(x)`.
    pub fn dbg_tile(&mut self, span: Span, label: &str, x: Val) {
        let x = self.said(span, x);
        if !self.is_poison(x) {
            self.push(span, OpKind::DbgTile(label.into()), &[x], &[]);
        }
    }

    /// `mark!("phase")`.
    pub fn mark(&mut self, span: Span, name: &str) {
        self.push(span, OpKind::Mark(name.into()), &[], &[]);
    }

    /// A value as it is shown: narrow numbers are widened, which loses nothing.
    fn said(&mut self, span: Span, x: Val) -> Val {
        let x = self.registers(span, x);
        match self.ty(x) {
            Type::Scalar(d) | Type::Tile(d, _) => match *d {
                DType::Bool => x,
                d if d.is_float() => self.cast(span, x, DType::F32),
                _ => self.cast(span, x, DType::I32),
            },
            Type::Error => x,
            other => {
                let message = format!("only tiles and numbers can be shown, this is {other}");
                self.error(span, "E03", message, &["load a part of it".into()])
            }
        }
    }
}
