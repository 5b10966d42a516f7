//! The faults: what a mistake in a rule, in an expansion, in the writer or in a file would look like.

use super::surgeon::Surgeon;

/// One mistake, and the check that is to find it.
pub struct Fault {
    pub what: &'static str,
    pub model: &'static str,
    pub files: &'static [&'static str],
    pub plant: fn(&mut Surgeon),
    pub by: &'static str,
}

const GRADIENT: &[&str] = &["gradient.onnx"];
const FORWARD: &[&str] = &["forward.onnx", "gradient.onnx", "attention.onnx"];
const CACHED: &[&str] = &["forward_cached.onnx"];
const PROJECTIONS: &[&str] = &["attention_projections.onnx"];
const LAYER: &str = "gradient/layers.1.self_attn";
const NORM: &str = "gradient/layers.1.input_layernorm";
const MLP: &str = "gradient/layers.1.mlp";
/// Where the gradient of the gates meets the residual stream, and takes its share.
const BEFORE_MLP: &str = "gradient/layers.1.post_attention_layernorm";

/// Whose gradient of a layer's attention; values, keys and queries come in this order.
#[derive(Clone, Copy)]
enum Of {
    Keys = 1,
    Queries = 2,
}

/// Where that gradient is multiplied by its shares, all in one scalar.
fn shared(s: &Surgeon, of: Of) -> usize {
    s.nth(LAYER, "Mul", "MatMul", of as usize)
}

/// The choices of a layer's gradient in the graph that drops one: through the layer, and around it.
fn ways(s: &Surgeon) -> [usize; 2] {
    let choices = (0..s.nodes().len()).filter(|&at| {
        let node = &s.nodes()[at];
        node.op_type() == "Where" && node.name().starts_with("gradient/layers.1.")
    });
    let choices: Vec<usize> = choices.collect();
    let of = |around: bool| {
        let is = |at: &usize| s.input(*at, 1).contains("gradient") == around;
        choices.iter().copied().find(is).expect("no choice of a way")
    };
    [of(false), of(true)]
}

const fn rule(what: &'static str, model: &'static str, by: &'static str, plant: fn(&mut Surgeon)) -> Fault {
    Fault { what, model, files: GRADIENT, plant, by }
}

pub const RULES: &[Fault] = &[
    rule("softmax: the mean is not taken off", "llama-a", "gradient", |s| {
        s.keep(s.find(LAYER, "Sub", "ReduceSum"), 0);
    }),
    rule("softmax: one layer has no temperature", "llama-a", "gradient of gim", |s| {
        s.keep(s.find(LAYER, "Div", "softmax_temperature"), 0);
    }),
    rule("softmax: divided by the temperature once more", "llama-a", "gradient of gim", |s| {
        s.after(s.find(LAYER, "Mul", "Sub"), "Div", "softmax_temperature");
    }),
    rule("softmax: its temperature in the forward pass", "llama-a", "knobs leave the score", |s| {
        let softmax = s.find("layers.1.self_attn", "Softmax", "");
        let scores = s.input(softmax, 0);
        let divided = s.before(softmax, "Div", &[&scores, "softmax_temperature"]);
        s.set_input(softmax + 1, 0, &divided);
    }),
    rule("softmax: the mask is forgotten backwards", "llama-a", "gradient", |s| {
        let divided = s.find(LAYER, "Div", "softmax_temperature");
        let unmasked = s.maker(&s.input(divided, 0)).unwrap().input[0].clone();
        s.set_input(divided, 0, &unmasked);
    }),
    rule("product: v gets all of its gradient", "llama-a", "gradient of gim", |s| {
        s.keep(s.find(LAYER, "Mul", "product_share"), 0);
    }),
    rule("product: q gets all of its gradient", "llama-a", "gradient of gim", |s| {
        s.after(shared(s, Of::Queries), "Div", "product_share");
    }),
    rule("product: k shares three times", "llama-a", "gradient of gim", |s| {
        s.after(shared(s, Of::Keys), "Mul", "product_share");
    }),
    rule("product: the gate shares twice", "llama-a", "gradient of gim", |s| {
        s.after(s.find(BEFORE_MLP, "Mul", "gate_share"), "Mul", "gate_share");
    }),
    rule("gate: it shares as all products do", "llama-a", "gradient at any knobs", |s| {
        let share = s.find(BEFORE_MLP, "Mul", "gate_share");
        s.set_input(share, s.side(share, "gate_share"), "product_share");
    }),
    rule("gate: one does not share", "gemma2-a", "gradient of gim", |s| {
        let share = s.find("gradient/layers.1.pre_feedforward_layernorm", "Mul", "gate_share");
        s.keep(share, 1 - s.side(share, "gate_share"));
    }),
    rule("attention: shares as gates do", "llama-a", "gradient at any knobs", |s| {
        let share = s.find(LAYER, "Mul", "product_share");
        s.set_input(share, s.side(share, "product_share"), "gate_share");
    }),
    rule("product: the path into attention is never closed", "llama-a", "gradient at any knobs", |s| {
        let keys = shared(s, Of::Keys);
        let open = s.before(keys, "Mul", &["product_share", "product_share"]);
        s.set_input(keys + 1, 1, &open);
    }),
    rule("product: the value path is closed, too", "llama-a", "gradient at any knobs", |s| {
        s.after(s.find(LAYER, "Mul", "product_share"), "Mul", "attention_path");
    }),
    rule("norm: one is never frozen", "llama-a", "gradient of gim", |s| s.keep(s.find(NORM, "Mul", "ReduceMean"), 0)),
    rule("norm: one is always frozen", "llama-a", "gradient", |s| s.keep(s.find(NORM, "Sub", "Mul"), 0)),
    rule("norm: frozen where it is not to be", "llama-a", "gradient", |s| {
        s.keep(s.find("gradient/norm", "Sub", "norm_freeze"), 1);
    }),
    rule("norm: another knob freezes it", "llama-a", "gradient at any knobs", |s| {
        s.set_input(s.find("gradient/norm", "Sub", "norm_freeze"), 1, "activation_secant");
    }),
    rule("norm: the mean over positions, not channels", "llama-a", "gradient", |s| {
        let axis = s.whole(&[1], 1);
        s.set_input(s.find(NORM, "ReduceMean", ""), 1, &axis);
    }),
    rule("norm: the weight is left out", "llama-a", "gradient", |s| {
        s.keep(s.find(NORM, "Mul", "model.layers.1.input_layernorm.weight"), 0);
    }),
    rule("norm: a sign", "llama-a", "gradient", |s| s.rename(s.find(NORM, "Sub", "Mul"), "Add")),
    rule("layer norm: the mean is a constant", "bert-a", "gradient of gim", |s| {
        s.keep(s.find("gradient/layers.1.output.LayerNorm", "Sub", "ReduceMean"), 0);
    }),
    rule("SiLU: the gate's own derivative is left out", "llama-a", "gradient", |s| {
        s.keep(s.find(MLP, "Add", "Sigmoid"), 0);
    }),
    rule("SiLU: one has no secant", "llama-a", "gradient at any knobs", |s| {
        s.keep(s.find(MLP, "Mul", "~activation_secant"), 0);
    }),
    rule("GELU by tanh: differentiated as the one by erf", "gemma2-a", "gradient", |s| {
        let scaled = s.find(MLP, "Mul", "0.39894229");
        let side = 1 - s.side(scaled, "0.39894229");
        let product = s.find(MLP, "Mul", "~0.39894229");
        let x = s.input(product, 1 - s.side(product, "~0.39894229"));
        let half = s.real(-0.5);
        let square = s.before(scaled, "Mul", &[&x, &x]);
        let exponent = s.before(scaled + 1, "Mul", &[&square, &half]);
        let bell = s.before(scaled + 2, "Exp", &[&exponent]);
        s.set_input(scaled + 3, side, &bell);
    }),
    rule("GELU by erf: a factor of the density is left out", "bert-a", "gradient", |s| {
        s.keep(s.find("gradient/layers.1.intermediate", "Mul", "0.39894229"), 0);
    }),
    rule("tanh: its derivative is left out", "bert-a", "gradient", |s| {
        s.keep(s.find("gradient/pooler", "Mul", "Sub"), 0);
    }),
    rule("soft-cap: its derivative is left out", "gemma2-a", "gradient", |s| {
        s.keep(s.find(LAYER, "Mul", "~1"), 0);
    }),
    rule("rotation: forwards in the backward pass", "llama-a", "gradient", |s| {
        let (sum, difference) = (s.find(LAYER, "Add", "~Sin"), s.find(LAYER, "Sub", "~Sin"));
        s.rename(sum, "Sub");
        s.rename(difference, "Add");
    }),
    rule("residual stream: dropped", "llama-a", "gradient", |s| {
        s.keep(s.find("gradient/layers.1.post_attention_layernorm", "Add", "Mul"), 1);
    }),
    rule("residual stream: a branch dropped", "llama-a", "gradient", |s| {
        s.keep(s.find("gradient/layers.1.post_attention_layernorm", "Add", "Mul"), 0);
    }),
    rule("attention: nothing flows through the keys", "llama-a", "gradient", |s| {
        s.keep(s.find(LAYER, "Add", "~MatMul"), 0);
    }),
    rule("attention: the scale is left out", "llama-a", "gradient", |s| {
        let without = s.real(0.35355338);
        s.after(shared(s, Of::Queries), "Div", &without);
    }),
    rule("grouped heads: not summed", "llama-a.dynamo18.eager.onnx", "gradient", |s| {
        let is_sum = |name: &str| name.starts_with("gradient/") && name.contains("expand");
        let sum = s.nodes().iter().position(|node| node.op_type() == "ReduceSum" && is_sum(node.name()));
        s.rename(sum.expect("no sum over groups"), "ReduceMean");
    }),
    rule("embeddings: Gemma's scale is left out backwards", "gemma2-a", "gradient", |s| {
        s.keep(s.find("gradient/embed", "Mul", ""), 0);
    }),
    rule("score: the contrast has no gradient", "llama-a", "gradient", |s| {
        s.keep(s.find("gradient/lm_head", "Add", "Mul"), 1);
    }),
    rule("a layer reads another one's weight backwards", "llama-a", "gradient", |s| {
        let product = s.find(MLP, "MatMul", "model.layers.1.mlp.up_proj.weight");
        s.set_input(product, 1, "model.layers.0.mlp.up_proj.weight");
    }),
    rule("all of the gradient is a ten-thousandth too large", "llama-a", "gradient", |s| {
        let last = s.graph().node.iter().position(|node| node.output[0] == "gradient").unwrap();
        let factor = s.real(1.0001);
        s.after(last, "Mul", &factor);
    }),
    rule("one channel of one layer is missing", "llama-a", "gradient", |s| {
        let mut channels = [1.0; 64];
        channels[5] = 0.0;
        let channels = s.reals(&channels);
        s.after(s.find(MLP, "Add", "MatMul"), "Mul", &channels);
    }),
];

pub const EXPANSIONS: &[Fault] = &[
    rule("eps of one norm, in the gradient graph", "llama-a", "forward equality", |s| {
        let eps = s.real(1e-4);
        s.set_input(s.find("layers.1.input_layernorm", "Add", "ReduceMean"), 1, &eps);
    }),
    rule("Gemma's scale of embeddings, in the gradient graph", "gemma2-a", "forward equality", |s| {
        s.keep(s.find("embed", "Mul", "inputs_embeds"), 0);
    }),
    rule("the contrast is ignored", "llama-a", "forward equality", |s| s.keep(s.find("score", "Sub", "ReduceSum"), 0)),
    rule("the contrast's weight is ignored", "llama-a", "forward equality", |s| {
        s.keep(s.find("score", "Mul", "contrast_weight"), 0);
    }),
    rule("the position is off by one", "llama-a", "forward equality", |s| {
        let reshape = s.find("position", "Reshape", "position");
        let one = s.whole(&[], 1);
        let moved = s.before(reshape, "Sub", &["position", &one]);
        s.set_input(reshape + 1, 0, &moved);
    }),
    rule("angles of the wrong sign", "llama-a", "forward equality", |s| {
        let minus = s.real(-1.0);
        s.after(s.find("positions", "Sin", ""), "Mul", &minus);
    }),
    Fault {
        what: "the last soft-cap, in the forward graph",
        model: "gemma2-a",
        files: &["forward.onnx"],
        plant: |s| s.keep(s.find("lm_head", "Tanh", ""), 0),
        by: "forward equality",
    },
    Fault {
        what: "eps of one norm, everywhere",
        model: "llama-a",
        files: FORWARD,
        plant: |s| {
            let eps = s.real(1.2e-5);
            s.set_input(s.find("layers.1.input_layernorm", "Add", "ReduceMean"), 1, &eps);
        },
        by: "definition",
    },
    Fault {
        what: "a number of GELU, everywhere",
        model: "bert-a",
        files: FORWARD,
        plant: |s| {
            let root = s.real(0.7072);
            s.set_input(s.find("layers.1.intermediate", "Mul", "0.70710677"), 1, &root);
        },
        by: "definition",
    },
    Fault {
        what: "rotated the other way, everywhere",
        model: "llama-a",
        files: FORWARD,
        plant: |s| {
            let scope = "layers.1.self_attn";
            let (sum, difference) = (s.find(scope, "Add", "~Sin"), s.find(scope, "Sub", "~Sin"));
            s.rename(sum, "Sub");
            s.rename(difference, "Add");
        },
        by: "definition",
    },
    Fault {
        what: "the position is off by one, everywhere",
        model: "llama-a",
        files: &["forward.onnx", "gradient.onnx"],
        plant: |s| {
            let reshape = s.find("position", "Reshape", "position");
            let one = s.whole(&[], 1);
            let moved = s.before(reshape, "Sub", &["position", &one]);
            s.set_input(reshape + 1, 0, &moved);
        },
        by: "definition",
    },
    Fault {
        what: "a layer reads another one's weight, everywhere",
        model: "llama-a",
        files: FORWARD,
        plant: |s| {
            let (from, to) = ("model.layers.1.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight");
            for input in s.graph().node.iter_mut().flat_map(|node| &mut node.input).filter(|input| *input == from) {
                to.clone_into(input);
            }
        },
        by: "definition",
    },
    Fault {
        what: "padding is not masked, everywhere",
        model: "bert-a",
        files: FORWARD,
        plant: |s| {
            let mask = s.find("embed", "Where", "");
            let nothing = s.input(mask, 1);
            s.set_input(mask, 2, &nothing);
        },
        by: "padding",
    },
    Fault {
        what: "layers in the wrong order",
        model: "llama-a",
        files: &["attention.onnx"],
        plant: |s| {
            let all = s.find("attention", "Concat", "");
            s.node(all).input.reverse();
        },
        by: "attention",
    },
    Fault {
        what: "another layer's norm, from embeddings only",
        model: "llama-a",
        files: &["forward_embeds.onnx"],
        plant: |s| {
            let (from, to) = ("model.layers.1.input_layernorm.weight", "model.layers.0.input_layernorm.weight");
            for input in s.graph().node.iter_mut().flat_map(|node| &mut node.input).filter(|input| *input == from) {
                to.clone_into(input);
            }
        },
        by: "forward from embeddings",
    },
    Fault {
        what: "the embedding of the token before",
        model: "llama-a",
        files: &["embed.onnx"],
        plant: |s| {
            let gather = s.graph().node.iter().position(|node| node.op_type() == "Gather").unwrap();
            let one = s.whole(&[], 1);
            let moved = s.before(gather, "Sub", &["input_ids", &one]);
            s.set_input(gather + 1, 1, &moved);
        },
        by: "forward equality",
    },
];

/// In the graphs that look inside, and in that of log-probabilities.
pub const INSIDE: &[Fault] = &[
    Fault {
        what: "log-probability: without the largest logit",
        model: "llama-a",
        files: &["gradient_log_probability.onnx"],
        plant: |s| s.keep(s.nth("score", "Add", "Reshape", 0), 0),
        by: "log probability",
    },
    Fault {
        what: "log-probability: one layer's softmax has no temperature",
        model: "llama-a",
        files: &["gradient_log_probability.onnx"],
        plant: |s| s.keep(s.find(LAYER, "Div", "softmax_temperature"), 0),
        by: "its gradient",
    },
    Fault {
        what: "stream: layers in the wrong order",
        model: "llama-a",
        files: &["residual_gradient.onnx"],
        plant: |s| {
            let all = s.nth("residual", "Concat", "Reshape", 0);
            s.node(all).input.reverse();
        },
        by: "residual stream",
    },
    Fault {
        what: "stream: what leaves attention, not what enters the layer",
        model: "llama-a",
        files: &["residual_gradient.onnx"],
        plant: |s| {
            let inner = s.nth("layers.1.self_attn", "Add", "Reshape", 1);
            let inner = s.nodes()[inner].output[0].clone();
            let taken = s.nth("residual", "Reshape", "Add", 0);
            s.set_input(taken, 0, &inner);
        },
        by: "residual stream",
    },
    Fault {
        what: "stream: one layer's softmax has no temperature",
        model: "llama-a",
        files: &["residual_gradient.onnx"],
        plant: |s| s.keep(s.find(LAYER, "Div", "softmax_temperature"), 0),
        by: "residual stream",
    },
    Fault {
        what: "replaced: the next layer's entry",
        model: "llama-a",
        files: &["forward_residual.onnx"],
        plant: |s| {
            let one = s.find("replaced/1", "Equal", "layer");
            let zero = s.find("replaced/0", "Equal", "layer");
            let (a, b) = (s.input(one, 1), s.input(zero, 1));
            s.set_input(one, 1, &b);
            s.set_input(zero, 1, &a);
        },
        by: "residual replaced",
    },
    Fault {
        what: "replaced: padding is in the mean",
        model: "llama-a",
        files: &["forward_residual.onnx"],
        plant: |s| s.keep(s.find("replaced/2", "Mul", ""), 0),
        by: "residual replaced",
    },
    Fault {
        what: "scores: the gradient of weights is that of scores",
        model: "llama-a",
        files: &["score_gradient.onnx"],
        plant: |s| {
            let (scores, weights) = (s.nth("scores", "Concat", "Reshape", 1), s.nth("scores", "Concat", "Reshape", 2));
            let other = s.nodes()[scores].input.clone();
            s.node(weights).input = other;
        },
        by: "score gradient",
    },
    Fault {
        what: "scores: before the mask",
        model: "llama-a",
        files: &["score_gradient.onnx"],
        plant: |s| {
            let taken = s.nth("scores", "Reshape", "Add", 1);
            let unmasked = s.maker(&s.input(taken, 0)).unwrap().input[0].clone();
            s.set_input(taken, 0, &unmasked);
        },
        by: "attention scores",
    },
    Fault {
        what: "replaced scores: of all heads",
        model: "llama-a",
        files: &["forward_scores.onnx"],
        plant: |s| {
            let both = s.nth("replaced", "And", "Equal", 0);
            s.keep(both, 1);
        },
        by: "scores replaced",
    },
    Fault {
        what: "replaced scores: the mask is in the mean",
        model: "llama-a",
        files: &["forward_scores.onnx"],
        plant: |s| s.keep(s.nth("replaced/1", "Where", "Reshape", 0), 1),
        by: "scores replaced",
    },
    Fault {
        what: "projections: layers in the wrong order",
        model: "llama-a",
        files: PROJECTIONS,
        plant: |s| {
            let all = s.nth("projections", "Concat", "Reshape", 1);
            s.node(all).input.reverse();
        },
        by: "projections",
    },
    Fault {
        what: "projections: keys are rotated",
        model: "llama-a",
        files: PROJECTIONS,
        plant: |s| {
            // Both are the halves of heads, one behind the other.
            let rotated = s.nth("layers.1.self_attn", "Concat", "Add", 1);
            let rotated = s.nodes()[rotated].output[0].clone();
            let keys = s.nth("projections", "Concat", "Reshape", 1);
            let own = s.input(keys, 1);
            let at = s.nodes().iter().position(|node| node.output[0] == own).unwrap();
            s.set_input(at, 0, &rotated);
        },
        by: "projections",
    },
    Fault {
        what: "projections: values for keys",
        model: "llama-a",
        files: PROJECTIONS,
        plant: |s| {
            let made = |s: &Surgeon, n: usize, layer: usize| {
                let own = s.input(s.nth("projections", "Concat", "Reshape", n), layer);
                s.nodes().iter().position(|node| node.output[0] == own).unwrap()
            };
            let layers = s.nodes()[s.nth("projections", "Concat", "Reshape", 1)].input.len();
            for layer in 0..layers {
                let values = s.input(made(s, 2, layer), 0);
                s.set_input(made(s, 1, layer), 0, &values);
            }
        },
        by: "projections",
    },
    Fault {
        what: "projections: keys have a bias that attention's have not",
        model: "gpt2-a",
        files: PROJECTIONS,
        plant: |s| {
            let own = s.input(s.nth("projections", "Concat", "Reshape", 1), 1);
            let at = s.nodes().iter().position(|node| node.output[0] == own).unwrap();
            let (keys, bias) = (s.input(at, 0), s.reals(&[0.25; 48]));
            let sum = s.before(at, "Add", &[&keys, &bias]);
            s.set_input(at + 1, 0, &sum);
        },
        by: "projections",
    },
    Fault {
        what: "behind attention: layers in the wrong order",
        model: "llama-a",
        files: PROJECTIONS,
        plant: |s| {
            let all = s.nth("projections", "Concat", "Reshape", 4);
            s.node(all).input.reverse();
        },
        by: "gradient behind attention",
    },
    Fault {
        what: "behind attention: one layer's softmax has no temperature",
        model: "llama-a",
        files: PROJECTIONS,
        plant: |s| s.keep(s.find(LAYER, "Div", "softmax_temperature"), 0),
        by: "gradient behind attention",
    },
    Fault {
        what: "drop: another layer than is named",
        model: "llama-a",
        files: &["gradient_drop.onnx"],
        plant: |s| {
            let (one, zero) = (s.find("dropped/1", "Equal", "dropped"), s.find("dropped/0", "Equal", "dropped"));
            let (a, b) = (s.input(one, 1), s.input(zero, 1));
            s.set_input(one, 1, &b);
            s.set_input(zero, 1, &a);
        },
        by: "gradient drop",
    },
    Fault {
        what: "drop: the layer hands on what goes around it",
        model: "llama-a",
        files: &["gradient_drop.onnx"],
        plant: |s| {
            let [kept, around] = ways(s);
            let nothing = s.input(kept, 1);
            s.set_input(around, 1, &nothing);
        },
        by: "gradient drop",
    },
    Fault {
        what: "drop: nothing is left out of a layer",
        model: "gemma2-a",
        files: &["gradient_drop.onnx"],
        plant: |s| {
            let [kept, around] = ways(s);
            let whole = s.input(around, 1);
            s.set_input(kept, 1, &whole);
        },
        by: "gradient drop",
    },
    Fault {
        what: "drop: one layer's softmax has no temperature",
        model: "llama-a",
        files: &["gradient_drop.onnx"],
        plant: |s| s.keep(s.find(LAYER, "Div", "softmax_temperature"), 0),
        by: "gradient drop",
    },
    Fault {
        what: "multipliers: slopes, not rises over runs",
        model: "llama-a",
        files: &["deep_lift.onnx"],
        plant: |s| s.keep(s.find(MLP, "Where", "Div"), 1),
        by: "multipliers",
    },
    Fault {
        what: "multipliers: one difference is from nothing, not from the baseline",
        model: "llama-a",
        files: &["deep_lift.onnx"],
        plant: |s| s.keep(s.find(MLP, "Sub", "Gather"), 0),
        by: "multipliers",
    },
    Fault {
        what: "multipliers: a soft-cap has its slope",
        model: "gemma2-a",
        files: &["deep_lift.onnx"],
        plant: |s| s.keep(s.find(LAYER, "Where", "Div"), 1),
        by: "multipliers",
    },
    Fault {
        what: "rollout: a layer without the residual stream",
        model: "llama-a",
        files: &["attention_rollout.onnx"],
        plant: |s| s.keep(s.find("rollout", "Add", "MatMul"), 0),
        by: "attention rollout",
    },
    Fault {
        what: "zeroed: the values stay",
        model: "llama-a",
        files: &["value_zeroing.onnx"],
        plant: |s| s.keep(s.find("zeroed/1", "Mul", "Transpose"), 0),
        by: "value zeroing",
    },
    Fault {
        what: "zeroed: all other values",
        model: "llama-a",
        files: &["value_zeroing.onnx"],
        plant: |s| s.keep(s.find("zeroed", "Sub", ""), 1),
        by: "value zeroing",
    },
    Fault {
        what: "behind a prefix: places begin at 0",
        model: "llama-a",
        files: CACHED,
        plant: |s| s.keep(s.find("positions", "Add", "Range"), 0),
        by: "behind a prefix",
    },
    Fault {
        what: "behind a prefix: another layer's keys",
        model: "llama-a",
        files: CACHED,
        plant: |s| {
            let zero = s.whole(&[], 0);
            s.set_input(s.find("layers.1.self_attn", "Gather", "past_keys"), 1, &zero);
        },
        by: "behind a prefix",
    },
    Fault {
        what: "behind a prefix: a row's own tokens come first",
        model: "llama-a",
        files: CACHED,
        plant: |s| {
            let joined = s.find("layers.0.self_attn", "Concat", "Expand");
            s.node(joined).input.reverse();
        },
        by: "behind a prefix",
    },
    Fault {
        what: "behind a prefix: one layer keeps its keys scaled",
        model: "llama-a",
        files: CACHED,
        plant: |s| {
            let half = s.real(0.5);
            s.after(s.nth("kept", "Reshape", "Concat", 0), "Mul", &half);
        },
        by: "behind a prefix",
    },
];
