//! Attention weights from attention scores: scaling, causal mask and softmax in one operation with a gradient of its
//! own. Composed of candle's operations it would be some fifteen passes over the largest arrays of the model.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Error, Layout, Result, Shape, Tensor, bail};

/// Softmax over the last dimension of `scale * scores`, `[.., length, length]`, each row up to its diagonal.
pub fn causal_softmax(scores: &Tensor, scale: f32) -> Result<Tensor> {
    scores.contiguous()?.apply_op1(Forward { scale })
}

struct Forward {
    scale: f32,
}

struct Backward {
    scale: f32,
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("causal softmax needs contiguous arrays") };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

fn length(layout: &Layout) -> Result<usize> {
    match layout.dims() {
        [.., rows, columns] if rows == columns => Ok(*columns),
        dims => Err(Error::Msg(format!("attention scores should be square, not {dims:?}"))),
    }
}

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let length = length(layout)?;
        let scores = slice(storage, layout)?;
        let mut weights = vec![0.0; scores.len()];
        for (row, (scores, weights)) in scores.chunks_exact(length).zip(weights.chunks_exact_mut(length)).enumerate() {
            let seen = row % length + 1;
            let (scores, weights) = (&scores[..seen], &mut weights[..seen]);
            let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for (weight, score) in weights.iter_mut().zip(scores) {
                *weight = ((score - highest) * self.scale).exp();
                sum += *weight;
            }
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        Ok((CpuStorage::F32(weights), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, weights: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let backward = Backward { scale: self.scale };
        Ok(Some(weights.apply_op2_no_bwd(&gradient.contiguous()?, &backward)?))
    }
}

impl CustomOp2 for Backward {
    fn name(&self) -> &'static str {
        "causal-softmax-backward"
    }

    /// `scale * w * (g - sum(w * g))`, a row at a time.
    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let length = length(l1)?;
        let (weights, gradient) = (slice(s1, l1)?, slice(s2, l2)?);
        let mut result = vec![0.0; weights.len()];
        let rows = weights.chunks_exact(length).zip(gradient.chunks_exact(length));
        for (row, ((weights, gradient), result)) in rows.zip(result.chunks_exact_mut(length)).enumerate() {
            let seen = row % length + 1;
            let (weights, gradient) = (&weights[..seen], &gradient[..seen]);
            let mean: f32 = weights.iter().zip(gradient).map(|(weight, gradient)| weight * gradient).sum();
            for ((result, weight), gradient) in result.iter_mut().zip(weights).zip(gradient) {
                *result = self.scale * weight * (gradient - mean);
            }
        }
        Ok((CpuStorage::F32(result), l1.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{D, Device, Var};

    #[test]
    fn agrees_with_composed_operations() -> Result<()> {
        let (length, scale) = (5, 0.7);
        let values: Vec<f32> = (0..2 * length * length).map(|i| (i as f32 * 1.7).sin()).collect();
        let probe: Vec<f32> = (0..2 * length * length).map(|i| (i as f32 * 0.9).cos()).collect();
        let scores = Var::from_vec(values, (2, length, length), &Device::Cpu)?;
        let probe = Tensor::from_vec(probe, (2, length, length), &Device::Cpu)?;
        let mask: Vec<f32> =
            (0..length * length).map(|i| if i % length > i / length { f32::NEG_INFINITY } else { 0.0 }).collect();
        let mask = Tensor::from_vec(mask, (length, length), &Device::Cpu)?;
        let composed =
            candle_nn::ops::softmax(&(scores.as_tensor() * f64::from(scale))?.broadcast_add(&mask)?, D::Minus1)?;
        let fused = causal_softmax(&scores, scale)?;
        let gradient = |weights: &Tensor| -> Result<Vec<f32>> {
            let gradients = (weights * &probe)?.sum_all()?.backward()?;
            gradients.get(&scores).expect("a gradient").flatten_all()?.to_vec1()
        };
        let close = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close(composed.flatten_all()?.to_vec1()?, fused.flatten_all()?.to_vec1()?));
        assert!(close(gradient(&composed)?, gradient(&fused)?));
        Ok(())
    }
}
