//! The models, written in the language.

mod llama;
mod mimo_v2;

use crate::config::{Family, ModelConfig};
use crate::graph::{Graph, GraphError, GraphOptions, W, WeightCatalog};
use tile_lang::plan::Plan;

/// The plan of a model.
///
/// # Errors
/// A weight that is missing or doesn't fit, something that no kernel does.
pub fn plan(config: &ModelConfig, weights: &dyn WeightCatalog, options: GraphOptions) -> Result<Plan, GraphError> {
    let (name, record): (_, fn(&Graph<'_>, &ModelConfig, W)) = match config.family {
        Family::Llama => (llama::llama::NAME, llama::llama),
        Family::MimoV2 => (mimo_v2::mimo_v2::NAME, mimo_v2::mimo_v2),
    };
    let graph = Graph::new(name, weights, options);
    record(&graph, config, W::root());
    graph.finish()
}
