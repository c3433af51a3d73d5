//! Routing tokens to experts, and the experts themselves.

use super::ops::{Precision, linear_f32, swiglu};
use crate::checkpoint::GatedMlp;

/// Where one token goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The chosen experts, best first (ties: the lower index first).
    pub experts: Vec<usize>,
    /// What their outputs are multiplied by.
    pub weights: Vec<f32>,
    /// How much the last chosen expert's score, correction included, is above the best one left out; infinite where all
    /// are chosen. An implementation whose scores differ by more than this may choose otherwise.
    pub margin: f32,
}

/// The best `top_k` of sigmoid(W·h) + bias for every token. The bias only selects: the weights are the plain
/// scores of the chosen experts, divided by their sum + 1e-20 if `normalize`, times `scaling`. `h` [T, hidden],
/// `weight` [experts, hidden], `bias` `[experts]`.
pub fn route(h: &[f32], weight: &[f32], bias: &[f32], top_k: usize, normalize: bool, scaling: f32) -> Vec<Route> {
    let logits = linear_f32(h, weight, bias.len());
    logits.chunks_exact(bias.len()).map(|logits| route_one(logits, bias, top_k, normalize, scaling)).collect()
}

/// [`route`] of one token from its router logits `[experts]`.
pub fn route_one(logits: &[f32], bias: &[f32], top_k: usize, normalize: bool, scaling: f32) -> Route {
    let scores: Vec<f32> = logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
    let corrected: Vec<f32> = scores.iter().zip(bias).map(|(s, b)| s + b).collect();
    let mut order: Vec<usize> = (0..corrected.len()).collect();
    // Stable, so that equal scores stay in the order of their indices.
    order.sort_by(|&a, &b| corrected[b].total_cmp(&corrected[a]));
    let rest = order.split_off(top_k.min(order.len()));
    let margin = match (order.last(), rest.first()) {
        (Some(&last), Some(&next)) => corrected[last] - corrected[next],
        _ => f32::INFINITY,
    };
    let total = if normalize { order.iter().map(|&e| scores[e]).sum::<f32>() + 1e-20 } else { 1.0 };
    let weights = order.iter().map(|&e| scores[e] / total * scaling).collect();
    Route { experts: order, weights, margin }
}

/// The weighted sum of each token's experts, added in the order of the route: `h` [T, hidden], gives [T, hidden].
/// Every expert runs once, over the tokens that go to it.
pub fn experts(h: &[f32], routes: &[Route], experts: &[GatedMlp<'_>], precision: Precision) -> Vec<f32> {
    let hidden = h.len() / routes.len().max(1);
    let row = |t: usize| t * hidden..(t + 1) * hidden;
    // outputs[t][i] is the output of token t's i-th expert.
    let mut outputs: Vec<Vec<Vec<f32>>> = routes.iter().map(|r| vec![Vec::new(); r.experts.len()]).collect();
    for (e, mlp) in experts.iter().enumerate() {
        let places = routes.iter().enumerate().filter_map(|(t, r)| Some((t, r.experts.iter().position(|&x| x == e)?)));
        let places: Vec<(usize, usize)> = places.collect();
        if places.is_empty() {
            continue;
        }
        let x: Vec<f32> = places.iter().flat_map(|&(t, _)| &h[row(t)]).copied().collect();
        let y = swiglu(&x, mlp, precision);
        for (&(t, i), y) in places.iter().zip(y.chunks_exact(hidden)) {
            outputs[t][i] = y.to_vec();
        }
    }
    let mut out = vec![0.0; h.len()];
    for (t, (route, outputs)) in routes.iter().zip(&outputs).enumerate() {
        for (weight, y) in route.weights.iter().zip(outputs) {
            for (o, y) in out[row(t)].iter_mut().zip(y) {
                *o += weight * y;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bias_selects_and_the_score_weighs() {
        let route = route_one(&[0.0, 0.0, 2.0, -50.0], &[0.0, 0.0, 0.0, 9.0], 2, true, 1.0);
        assert_eq!(route.experts, [3, 2]);
        assert!(route.weights[0] < 1e-9 && (route.weights[1] - 1.0).abs() < 1e-6);
        assert!((route.margin - (1.0 / (1.0 + (-2.0f32).exp()) - 0.5)).abs() < 1e-6);
        let tie = route_one(&[1.0; 4], &[0.0; 4], 2, false, 2.0);
        assert_eq!((tie.experts, tie.margin), (vec![0, 1], 0.0));
        assert_eq!(tie.weights, [2.0 / (1.0 + (-1.0f32).exp()); 2]);
        assert_eq!(route_one(&[1.0; 2], &[0.0; 2], 2, true, 1.0).margin, f32::INFINITY);
    }
}
