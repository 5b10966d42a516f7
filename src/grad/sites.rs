//! Finding the sites: from the structure of the graph, so that it makes no difference who built it.

use std::collections::BTreeMap;

use super::audit::{Audit, Site, SiteKind};
use crate::onnx::op::Binary;
use crate::onnx::{Graph, Id, Op};

/// The sites of a graph by value. Only values between the embeddings and the score are looked at.
#[derive(Debug, Default)]
pub struct Sites {
    by_value: BTreeMap<Id, SiteKind>,
    /// Factors of a product that are attention weights: the gradient into them is the attention path.
    attention_factors: BTreeMap<(Id, usize), Id>,
}

impl Sites {
    /// `path`: the values through which the score depends on the embeddings, ascending.
    pub fn find(graph: &Graph, path: &[Id]) -> Self {
        let mut on_path = vec![false; graph.len()];
        for id in path {
            on_path[id.index()] = true;
        }
        let mut sites = Sites::default();
        for &id in path {
            let value = graph.value(id);
            match value.op {
                Op::RmsNorm { .. } | Op::LayerNorm { .. } => drop(sites.by_value.insert(id, SiteKind::Norm)),
                Op::Activation(_) => drop(sites.by_value.insert(id, SiteKind::Activation)),
                Op::MatMul | Op::Binary(Binary::Mul) if value.inputs.iter().all(|input| on_path[input.index()]) => {
                    sites.by_value.insert(id, SiteKind::ActivationProduct);
                    for (side, &input) in value.inputs.iter().enumerate() {
                        if let Some(softmax) = softmax_behind(graph, &on_path, input) {
                            sites.by_value.insert(softmax, SiteKind::AttentionSoftmax);
                            sites.attention_factors.insert((id, side), softmax);
                        }
                    }
                }
                _ => {}
            }
        }
        sites
    }

    pub fn kind(&self, id: Id) -> Option<SiteKind> {
        self.by_value.get(&id).copied()
    }

    pub fn count(&self, kind: SiteKind) -> usize {
        self.by_value.values().filter(|&&k| k == kind).count()
    }

    /// Whether a value is a gate: an element-wise product of two activations neither of which is attention weights.
    pub fn is_gate(&self, graph: &Graph, id: Id) -> bool {
        self.kind(id) == Some(SiteKind::ActivationProduct)
            && matches!(graph.value(id).op, Op::Binary(Binary::Mul))
            && [0, 1].into_iter().all(|side| !self.is_attention_factor(id, side))
    }

    /// Whether an input of a product is attention weights.
    pub fn is_attention_factor(&self, product: Id, side: usize) -> bool {
        self.attention_factors.contains_key(&(product, side))
    }

    /// The attention softmaxes, in the order of the forward pass.
    pub fn attention(&self) -> impl Iterator<Item = Id> {
        self.by_value.iter().filter(|(_, kind)| **kind == SiteKind::AttentionSoftmax).map(|(&id, _)| id)
    }

    pub fn into_audit(self, graph: &Graph) -> Audit {
        let site = |(id, kind): (Id, SiteKind)| {
            let value = graph.value(id);
            Site {
                kind,
                layer: layer_of(&value.scope),
                scope: value.scope.to_string(),
                operator: value.op.name(),
                rule: if self.is_gate(graph, id) { Audit::GATE } else { kind.rule() }.to_owned(),
            }
        };
        Audit { sites: self.by_value.iter().map(|(&id, &kind)| site((id, kind))).collect() }
    }
}

/// The softmax whose result this is, if only moved about, cut, masked or scaled since by what is no activation: the
/// scale of a dropout, zeros for rows that attend to nothing, the column of a sink.
fn softmax_behind(graph: &Graph, on_path: &[bool], mut id: Id) -> Option<Id> {
    loop {
        let value = graph.value(id);
        let mut activations = value.inputs.iter().enumerate().filter(|(_, input)| on_path[input.index()]);
        let (Some((side, &input)), None) = (activations.next(), activations.next()) else { return None };
        match value.op {
            Op::Softmax { .. } => return Some(id),
            Op::Reshape(_) | Op::Transpose(_) | Op::Expand(_) | Op::Cast(_) | Op::Slice { .. } => id = input,
            Op::Binary(Binary::Mul) => id = input,
            Op::Binary(Binary::Div) if side == 0 => id = input,
            Op::Where if side > 0 => id = input,
            _ => return None,
        }
    }
}

/// The layer that a scope names: the first number that is a component of it, as in `layers.3.attention`,
/// `model/layers.3/self_attn/MatMul` or `transformer.h.3.attn`.
fn layer_of(scope: &str) -> Option<usize> {
    scope.split(['.', '/']).skip(1).find_map(|part| part.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_from_scopes_of_every_exporter() {
        assert_eq!(layer_of("layers.3.self_attn"), Some(3));
        assert_eq!(layer_of("m/model/layers.11/mlp/act_fn/Mul"), Some(11));
        assert_eq!(layer_of("m.transformer.h.2.attn/node_softmax_1"), Some(2));
        assert_eq!(layer_of("norm"), None);
        assert_eq!(layer_of("m.model.norm/node_mul_7"), None);
    }
}
