//! Files whose weights were rounded to a few bits: said before anything else about them.

use std::collections::BTreeMap;
use std::path::Path;

use super::decode::{Model, Node};

/// What is wrong with a quantised file, and what to do, as the rest of a sentence that begins with the file; `None` for
/// others.
pub fn problem(path: &Path, model: &Model) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut first = None;
    let functions = model.functions.values().flat_map(|function| &function.nodes);
    let mut open: Vec<&Node> = model.nodes.iter().chain(functions).collect();
    open.reverse();
    while let Some(node) = open.pop() {
        for branch in node.branches.iter().flatten() {
            open.extend(branch.nodes.iter().rev());
        }
        let operator = node.proto.op_type();
        if is_quantised(operator) {
            *counts.entry(operator).or_default() += 1;
            let unnamed = || node.proto.output.first().map(String::as_str).unwrap_or_default();
            first.get_or_insert_with(|| if node.proto.name().is_empty() { unnamed() } else { node.proto.name() });
        }
    }
    let counts: Vec<String> = counts.into_iter().map(|(operator, count)| format!("{count} {operator}")).collect();
    Some(format!(
        "is quantised ({}; the first is '{}'): its weights are rounded to a few bits, and gradients through the rounding mean \
         little; bake the original, {}",
        counts.join(", "),
        first?,
        original(path)
    ))
}

fn is_quantised(operator: &str) -> bool {
    const WHOLE: [&str; 5] = ["DequantizeLinear", "MatMulInteger", "ConvInteger", "MatMulFpQ4", "MatMulBnb4"];
    const PARTS: [&str; 5] = ["NBits", "Quantize", "QLinear", "QMoE", "MatMulInteger"];
    WHOLE.contains(&operator)
        || PARTS.iter().any(|part| operator.contains(part))
        || ["QAttention", "QGemm", "QEmbedLayerNormalization", "QOrderedMatMul"].contains(&operator)
}

/// Where the file that was quantised may be.
fn original(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    const MARKS: [&str; 9] = ["quantized", "quantised", "quant", "int8", "uint8", "int4", "q4f16", "q4", "bnb4"];
    let beside = MARKS.iter().find_map(|mark| {
        let whole = stem.strip_suffix(mark)?.trim_end_matches(['_', '-', '.']);
        let file = format!("{whole}.onnx");
        (!whole.is_empty() && path.with_file_name(&file).is_file()).then_some(file)
    });
    match beside {
        Some(file) => format!("which {file} beside it may be"),
        None => {
            "usually model.onnx or model_fp16.onnx beside it, or the checkpoint that it was exported from".to_owned()
        }
    }
}
