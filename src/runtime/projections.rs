//! The projections of attention of one row, and the gradient of what attention makes of them.

use ndarray::{Array2, Array3, Array4, s};

use super::error::RuntimeError;
use super::model::{GradientRow, Model};
use crate::bundle::Graph;
use crate::grad::Knobs;

/// Queries, keys and values of one row as their projections give them, before norms and rotation, and gradients at the scored
/// position.
#[derive(Clone, Debug, PartialEq)]
pub struct Projections {
    /// At the scored position, `[layers, heads, size]`.
    pub queries: Array3<f32>,
    /// `[layers, seq, key_heads, size]`.
    pub keys: Array4<f32>,
    /// `[layers, seq, key_heads, size]`; the size may be another one than of keys.
    pub values: Array4<f32>,
    /// The score's gradient with respect to what the heads give, `[layers, heads, size]`, the size being that of values.
    pub heads_gradient: Array3<f32>,
    /// With respect to what the projection behind the heads gives, `[layers, hidden]`.
    pub output_gradient: Array2<f32>,
}

impl Model {
    /// The projections of attention, and gradients. Each row is run by itself.
    ///
    /// # Errors
    /// As [`Model::residuals`].
    pub fn projections(&mut self, rows: &[GradientRow], knobs: &Knobs) -> Result<Vec<Projections>, RuntimeError> {
        let graph = Graph::AttentionProjections;
        let layers = self.manifest().dimensions.layers;
        let sized = |name: &'static str| self.sizes(graph, name).map(|sizes| (name, sizes));
        let (queries, keys, values) = (sized("queries")?, sized("keys")?, sized("values")?);
        let (heads, output) = (sized("heads_gradient")?, sized("output_gradient")?);
        self.differentiated(graph, rows, knobs, |outputs, length| {
            let mut at_position = |(name, [heads, size]): (&str, [usize; 2])| -> Result<Array3<f32>, RuntimeError> {
                let all = outputs.take_f32(name, &[layers, 1, heads, size])?;
                Ok(Array3::from_shape_fn((layers, heads, size), |(l, h, d)| all[[l, 0, h, d]]))
            };
            let (queries, heads, output) = (at_position(queries)?, at_position(heads)?, at_position(output)?);
            let mut of_tokens = |(name, [heads, size]): (&str, [usize; 2])| -> Result<Array4<f32>, RuntimeError> {
                let all = outputs.take_f32(name, &[layers, 1, length, heads, size])?;
                Ok(Array4::from_shape_fn((layers, length, heads, size), |(l, t, h, d)| all[[l, 0, t, h, d]]))
            };
            let (keys, values) = (of_tokens(keys)?, of_tokens(values)?);
            let output_gradient = output.slice(s![.., 0, ..]).to_owned();
            Ok(Projections { queries, keys, values, heads_gradient: heads, output_gradient })
        })
    }

    /// The last two sizes of an output, as the manifest has them.
    fn sizes(&self, graph: Graph, output: &str) -> Result<[usize; 2], RuntimeError> {
        let ports = self.manifest().graphs.get(graph.file());
        let port = ports.and_then(|ports| ports.outputs.iter().find(|port| port.name == output));
        let sizes = port.and_then(|port| match &port.shape[..] {
            [.., heads, size] => Some([heads.parse().ok()?, size.parse().ok()?]),
            _ => None,
        });
        sizes.ok_or_else(|| RuntimeError::Bundle {
            path: self.bundle().path().join(graph.file()),
            problem: format!("bundle.json does not say how large its output '{output}' is"),
        })
    }
}
