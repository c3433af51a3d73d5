//! Launches: arguments bound, requirements checked, work items handed out.

use super::exec::{Run, with_worker};
use super::value::Value;
use super::{ArgValue, InterpError, LaunchError, Options, Precision, Prepared, View};
use crate::ir::{Kernel, OpKind, Type};
use rayon::prelude::*;

/// Arguments in the form that steps use.
#[derive(Clone, Debug)]
pub(crate) struct Bound<'a> {
    /// By parameter; `None` for scalars.
    pub(super) arrays: Vec<Option<&'a View>>,
    /// Slot and value.
    pub(super) scalars: Vec<(u32, Scalar)>,
    pub(super) exact: bool,
}

/// A scalar argument.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar {
    F32(f32),
    I32(i32),
    Bool(bool),
}

impl Scalar {
    pub fn value(self) -> Value {
        match self {
            Scalar::F32(x) => Value::F32(x),
            Scalar::I32(i) => Value::I32(i),
            Scalar::Bool(b) => Value::Bool(b as u8),
        }
    }
}

impl Prepared {
    pub(crate) fn bind<'a>(&self, args: &'a [ArgValue], opts: Options) -> Result<Bound<'a>, LaunchError> {
        self.check(args)?;
        let exact = opts.precision == Precision::F32;
        let mut bound = Bound { arrays: Vec::with_capacity(args.len()), scalars: Vec::new(), exact };
        for (p, arg) in self.params.iter().zip(args) {
            let scalar = match arg {
                ArgValue::Array(view) => {
                    bound.arrays.push(Some(view));
                    continue;
                }
                ArgValue::F32(x) => match p.ty {
                    Type::Scalar(d) if !exact => Scalar::F32(super::round_to(d, *x)),
                    _ => Scalar::F32(*x),
                },
                ArgValue::I32(i) => Scalar::I32(*i),
                ArgValue::Bool(b) => Scalar::Bool(*b),
            };
            bound.arrays.push(None);
            bound.scalars.push((p.slot, scalar));
        }
        Ok(bound)
    }

    /// Extents of the grid of work items, after all `require!`s are found to hold. Empty for a kernel without `work`.
    ///
    /// # Errors
    /// Arguments that don't fit, a requirement that doesn't hold, a negative extent.
    pub fn work_extents(&self, args: &[ArgValue]) -> Result<Vec<usize>, LaunchError> {
        self.extents(&self.bind(args, Options::default())?)
    }

    fn extents(&self, bound: &Bound<'_>) -> Result<Vec<usize>, LaunchError> {
        with_worker(|worker| {
            let mut run = Run::new(self, bound, &[], worker);
            let mut extents = Vec::new();
            for host in &self.host {
                let step = &host.step;
                match &step.kind {
                    OpKind::Require(text) => {
                        if !run.scalar_bool(step, 0)? {
                            let facts = host.facts.iter().map(|(name, slot)| format!("{name} = {}", run.show(*slot)));
                            let fix = "launch with arrays and numbers for which it holds".to_owned();
                            let notes = facts.chain([fix]);
                            let message = format!("kernel `{}` requires {text}", self.name);
                            return Err(LaunchError::Require(self.diagnostic("E60", step, message, notes.collect())));
                        }
                    }
                    OpKind::Work => {
                        for i in 0..step.ins.len() {
                            let extent = run.scalar_i32(step, i)?;
                            extents.push(usize::try_from(extent).map_err(|_| {
                                let message = format!("extent {i} of the work of kernel `{}` is {extent}", self.name);
                                let fix = "write `.max(0)`, or `require!` what the computation assumes".to_owned();
                                LaunchError::Require(self.diagnostic("E62", step, message, vec![fix]))
                            })?);
                        }
                    }
                    _ => run.step(step)?,
                }
            }
            Ok(extents)
        })
    }

    /// Runs one work item.
    ///
    /// # Errors
    /// Arguments that don't fit, and whatever the item does wrong. Requirements are not checked.
    pub fn run_item(&self, args: &[ArgValue], item: &[usize], opts: Options) -> Result<(), LaunchError> {
        let bound = self.bind(args, opts)?;
        Ok(with_worker(|worker| Run::new(self, &bound, item, worker).body())?)
    }

    /// Runs all work items, in parallel.
    ///
    /// # Errors
    /// As [`Prepared::work_extents`]; of the items that fail, the first one's error.
    pub fn launch(&self, args: &[ArgValue], opts: Options) -> Result<(), LaunchError> {
        let bound = self.bind(args, opts)?;
        let extents = self.extents(&bound)?;
        let Some(items) = extents.iter().try_fold(1usize, |n, e| n.checked_mul(*e)) else {
            let problem = format!("its work has extents {extents:?}");
            return Err(LaunchError::Arguments { kernel: self.name.clone(), problem });
        };
        let chunk = items.div_ceil(rayon::current_num_threads() * 8).max(1);
        let run = |first: usize| -> Option<InterpError> {
            with_worker(|worker| {
                let mut item = vec![0; extents.len()];
                for linear in first..(first + chunk).min(items) {
                    let mut rest = linear;
                    for (i, extent) in item.iter_mut().zip(&extents).rev() {
                        *i = rest % extent;
                        rest /= extent;
                    }
                    if let Err(e) = Run::new(self, &bound, &item, worker).body() {
                        return Some(e);
                    }
                }
                None
            })
        };
        let failed = match items {
            0 => None,
            1 => run(0),
            _ => (0..items.div_ceil(chunk)).into_par_iter().map(|c| run(c * chunk)).find_map_first(|e| e),
        };
        failed.map_or(Ok(()), |e| Err(e.into()))
    }
}

/// As [`Prepared::work_extents`], for a kernel that runs once.
///
/// # Errors
/// A kernel that is not well-formed; else as there.
pub fn work_extents(kernel: &Kernel, args: &[ArgValue]) -> Result<Vec<usize>, LaunchError> {
    Prepared::new(kernel)?.work_extents(args)
}

/// As [`Prepared::run_item`], for a kernel that runs once.
///
/// # Errors
/// A kernel that is not well-formed; else as there.
pub fn run_item(kernel: &Kernel, args: &[ArgValue], item: &[usize], opts: Options) -> Result<(), LaunchError> {
    Prepared::new(kernel)?.run_item(args, item, opts)
}

/// As [`Prepared::launch`], for a kernel that runs once.
///
/// # Errors
/// A kernel that is not well-formed; else as there.
pub fn launch(kernel: &Kernel, args: &[ArgValue], opts: Options) -> Result<(), LaunchError> {
    Prepared::new(kernel)?.launch(args, opts)
}
