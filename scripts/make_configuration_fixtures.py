#!/usr/bin/env python3
"""Writes tests/fixtures/configurations: config.json files as fine-tunes and converting programs leave them.

    pip install torch==2.15.0 transformers==5.23.0 safetensors
    python scripts/make_configuration_fixtures.py

Fields and their values, sizes apart, are those of files that can be seen in public; they were written down by hand, by
kind. `configurations.jsonl` has one a line with its name, and `refused` where the program must say so: the field that it
has to name. `tensors.json` has the tensors that Hugging Face transformers saves for each, which many have in common.
"""

import json
import tempfile
from pathlib import Path

import transformers
from safetensors import safe_open

OUT = Path(__file__).resolve().parent.parent / "tests/fixtures/configurations"

SIZES = dict(hidden_size=32, intermediate_size=48, num_attention_heads=4, num_hidden_layers=2, vocab_size=131)
LLAMA = dict(architectures=["LlamaForCausalLM"], bos_token_id=1, eos_token_id=2, hidden_act="silu", initializer_range=0.02,
             max_position_embeddings=2048, model_type="llama", rms_norm_eps=1e-5, tie_word_embeddings=False, use_cache=True,
             torch_dtype="bfloat16", **SIZES)
LLAMA3 = dict(LLAMA, attention_bias=False, attention_dropout=0.0, bos_token_id=100, eos_token_id=101, mlp_bias=False,
              max_position_embeddings=8192, num_key_value_heads=2, pretraining_tp=1, rope_scaling=None, rope_theta=500000.0)
LLAMA31 = dict(LLAMA3, max_position_embeddings=131072, eos_token_id=[101, 108, 109], rope_scaling={
    "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"})
LLAMA32 = dict(LLAMA31, head_dim=8, tie_word_embeddings=True, rope_scaling=dict(LLAMA31["rope_scaling"], factor=32.0))
SMOL = dict(LLAMA, is_llama_config=True, max_position_embeddings=8192, num_key_value_heads=2, pretraining_tp=1, rope_theta=100000,
            rope_interleaved=False, rope_scaling=None, tie_word_embeddings=True, pad_token_id=2)
MISTRAL = dict(architectures=["MistralForCausalLM"], bos_token_id=1, eos_token_id=2, hidden_act="silu", initializer_range=0.02,
               max_position_embeddings=32768, model_type="mistral", num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=10000.0,
               sliding_window=4096, tie_word_embeddings=False, torch_dtype="bfloat16", use_cache=True, **SIZES)
QWEN2 = dict(architectures=["Qwen2ForCausalLM"], attention_dropout=0.0, bos_token_id=100, eos_token_id=101, hidden_act="silu",
             initializer_range=0.02, max_position_embeddings=32768, max_window_layers=28, model_type="qwen2",
             num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=1000000.0, sliding_window=32768, tie_word_embeddings=False,
             torch_dtype="bfloat16", use_cache=True, use_sliding_window=False, **SIZES)
QWEN3 = dict(QWEN2, architectures=["Qwen3ForCausalLM"], model_type="qwen3", attention_bias=False, head_dim=16, rope_scaling=None,
             sliding_window=None, max_position_embeddings=40960, tie_word_embeddings=True)
GEMMA2 = dict(architectures=["Gemma2ForCausalLM"], attention_bias=False, attention_dropout=0.0, attn_logit_softcapping=50.0,
              bos_token_id=2, cache_implementation="hybrid", eos_token_id=1, final_logit_softcapping=30.0, head_dim=8,
              hidden_act="gelu_pytorch_tanh", hidden_activation="gelu_pytorch_tanh", initializer_range=0.02,
              max_position_embeddings=8192, model_type="gemma2", num_key_value_heads=2, pad_token_id=0,
              query_pre_attn_scalar=256, rms_norm_eps=1e-6, rope_theta=10000.0, sliding_window=4096, torch_dtype="bfloat16",
              use_cache=True, **SIZES)
GEMMA3 = dict(architectures=["Gemma3ForCausalLM"], attention_bias=False, attention_dropout=0.0, attn_logit_softcapping=None,
              bos_token_id=2, eos_token_id=[1, 106], final_logit_softcapping=None, head_dim=8,
              hidden_activation="gelu_pytorch_tanh", initializer_range=0.02, max_position_embeddings=32768,
              model_type="gemma3_text", num_key_value_heads=1, pad_token_id=0, query_pre_attn_scalar=256, rms_norm_eps=1e-6,
              rope_local_base_freq=10000, rope_scaling=None, rope_theta=1000000, sliding_window=512, torch_dtype="bfloat16",
              use_cache=True, **SIZES)
PHI3 = dict(architectures=["Phi3ForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=1, embd_pdrop=0.0,
            eos_token_id=100, hidden_act="silu", initializer_range=0.02, max_position_embeddings=4096, model_type="phi3",
            num_key_value_heads=4, original_max_position_embeddings=4096, pad_token_id=100, resid_pdrop=0.0, rms_norm_eps=1e-5,
            rope_scaling=None, rope_theta=10000.0, sliding_window=2047, tie_word_embeddings=False, torch_dtype="bfloat16",
            use_cache=True, **SIZES)
GPT2 = dict(activation_function="gelu_new", architectures=["GPT2LMHeadModel"], attn_pdrop=0.1, bos_token_id=100, embd_pdrop=0.1,
            eos_token_id=100, initializer_range=0.02, layer_norm_epsilon=1e-5, model_type="gpt2", n_ctx=64, n_embd=32, n_head=4,
            n_layer=2, n_positions=64, resid_pdrop=0.1, summary_activation=None, summary_first_dropout=0.1,
            summary_proj_to_labels=True, summary_type="cls_index", summary_use_proj=True, vocab_size=131)
NEOX = dict(architectures=["GPTNeoXForCausalLM"], bos_token_id=0, eos_token_id=0, hidden_act="gelu", initializer_range=0.02,
            layer_norm_eps=1e-5, max_position_embeddings=64, model_type="gpt_neox", rotary_emb_base=10000, rotary_pct=0.25,
            tie_word_embeddings=False, torch_dtype="float16", use_cache=True, use_parallel_residual=True, **SIZES)
BERT = dict(architectures=["BertForSequenceClassification"], attention_probs_dropout_prob=0.1, classifier_dropout=None,
            gradient_checkpointing=False, hidden_act="gelu", hidden_dropout_prob=0.1, initializer_range=0.02,
            layer_norm_eps=1e-12, max_position_embeddings=64, model_type="bert", pad_token_id=0,
            position_embedding_type="absolute", problem_type="single_label_classification", torch_dtype="float32",
            type_vocab_size=2, use_cache=True, **SIZES)
ROBERTA = dict(BERT, architectures=["RobertaForSequenceClassification"], bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5,
               max_position_embeddings=66, model_type="roberta", pad_token_id=1, type_vocab_size=1)


def labels(*names):
    return {"id2label": {str(i): name for i, name in enumerate(names)}, "label2id": {name: i for i, name in enumerate(names)}}


UNSLOTH = dict(unsloth_fixed=True, unsloth_version="2025.3.19", pad_token_id=104)
PHI3_CODE = {"AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}

ACCEPTED = {
    # Llama
    "llama-1-7b-hf": dict(LLAMA, rms_norm_eps=1e-6, torch_dtype="float16", transformers_version="4.28.0.dev0", pad_token_id=0,
                          max_sequence_length=2048),
    "llama-1-vicuna": dict(LLAMA, rms_norm_eps=1e-6, _name_or_path="vicuna-7b", pad_token_id=0, max_sequence_length=2048,
                           rope_scaling=None, transformers_version="4.28.1"),
    "llama-2-chat": dict(LLAMA, _name_or_path="meta-llama/Llama-2-7b-chat-hf", pretraining_tp=1, rope_scaling=None,
                         num_key_value_heads=4, transformers_version="4.32.0.dev0"),
    "llama-2-longlora": dict(LLAMA, pretraining_tp=1, num_key_value_heads=4, rope_scaling={"factor": 8.0, "type": "linear"},
                             max_length=4096, pad_token_id=130, transformers_version="4.31.0"),
    "llama-2-ntk": dict(LLAMA, pretraining_tp=1, num_key_value_heads=4, rope_scaling={"factor": 4.0, "type": "dynamic"}),
    "llama-2-yarn": dict(LLAMA, pretraining_tp=1, num_key_value_heads=4, max_position_embeddings=131072, rope_theta=10000.0,
                         rope_scaling={"factor": 32.0, "original_max_position_embeddings": 4096, "type": "yarn", "finetuned": True}),
    "tinyllama-chat": dict(LLAMA, attention_bias=False, num_key_value_heads=2, pretraining_tp=1, rope_scaling=None,
                           rope_theta=10000.0, transformers_version="4.35.0"),
    "llama-3-instruct": dict(LLAMA3, transformers_version="4.40.0.dev0"),
    "llama-3-deepspeed-zero": dict(LLAMA3, _name_or_path="./out/checkpoint-400", pad_token_id=101, use_cache=False, torch_dtype="float32"),
    "llama-3.1-instruct": dict(LLAMA31, transformers_version="4.42.3"),
    "llama-3.1-unsloth": dict(LLAMA31, **UNSLOTH, transformers_version="4.51.1"),
    "llama-3.2-instruct": dict(LLAMA32, transformers_version="4.45.0.dev0"),
    "llama-3.2-unsloth": dict(LLAMA32, **UNSLOTH, dtype="bfloat16", transformers_version="4.55.4"),
    "llama-3.2-abliterated": dict(LLAMA32, _name_or_path="Llama-3.2-3B-Instruct", _attn_implementation_autoset=True),
    "llama-3.2-transformers.js": dict(LLAMA32, **{"transformers.js_config": {
        "dtype": "q4f16", "kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}, "use_external_data_format": {"model.onnx": 1}}}),
    "llama-3.2-transformers-5": {**{k: v for k, v in LLAMA32.items() if k not in ("rope_scaling", "rope_theta", "torch_dtype")},
                                 "dtype": "bfloat16", "rope_parameters": dict(LLAMA32["rope_scaling"], rope_theta=500000.0),
                                 "transformers_version": "5.2.0"},
    "llama-3.2-both-names-of-rotation": {**LLAMA32, "rope_parameters": dict(LLAMA32["rope_scaling"], rope_theta=500000.0)},
    "smollm2-instruct": dict(SMOL, _name_or_path="SmolLM2", transformers_version="4.42.3", **{"transformers.js_config": {
        "kv_cache_dtype": {"fp16": "float16", "q4f16": "float16"}}}),
    "smollm2-questions-on-economics": dict(SMOL, attention_bias=False, attention_dropout=0.0, head_dim=8, mlp_bias=False,
                                           torch_dtype="float32", transformers_version="4.53.3"),
    "smollm2-of-gguf": dict(SMOL, _model_name_or_path="SmolLM2 135M Instruct", transformers_version="5.23.0"),
    "deepseek-coder": dict(LLAMA, num_key_value_heads=4, max_position_embeddings=16384, rope_scaling={"factor": 4.0, "type": "linear"},
                           rope_theta=100000, transformers_version="4.33.1"),
    "deepseek-r1-distill-llama": dict(LLAMA31, transformers_version="4.47.0.dev0", eos_token_id=101),
    "yi-chat": dict(LLAMA, pad_token_id=0, num_key_value_heads=2, rope_theta=5000000.0, max_position_embeddings=4096),
    "solar": dict(LLAMA3, auto_map=None, transformers_version="4.35.0", max_position_embeddings=4096),
    "nemotron-minitron-pruned": dict(LLAMA31, head_dim=8, hidden_act="silu", _name_or_path="minitron"),
    "vision-trained-with-llava-left-overs": dict(LLAMA, freeze_mm_mlp_adapter=False, mm_hidden_size=1024, mm_projector_type="mlp2x_gelu",
                                                 mm_use_im_start_end=False, use_mm_proj=False, pretraining_tp=1),
    "openllama-easylm": dict(LLAMA, rms_norm_eps=1e-6, torch_dtype="float16", num_key_value_heads=4),
    "llama-trl-reward-steps": dict(LLAMA32, num_steps=1000, use_cache=False, finetuning_task="dpo"),
    "llama-embedding-that-looks-both-ways": dict(LLAMA32, is_causal=False, sentence_transformers={"version": "5.0.0"}),
    "llama-of-megatron": dict(LLAMA3, ffn_hidden_size=48, seq_length=4096, rotary_percent=1.0, apply_residual_connection_post_layernorm=False),
    "llama-mergekit": dict(LLAMA31, _name_or_path="arcee-ai/merged", transformers_version="4.44.1", use_cache=True),
    "llama-of-mlx-unquantised": dict(LLAMA32, rope_traditional=False, transformers_version="4.45.0"),
    # Mistral
    "mistral-v0.1-openhermes": dict(MISTRAL, _name_or_path="mistralai/Mistral-7B-v0.1", eos_token_id=130, transformers_version="4.34.0.dev0"),
    "mistral-v0.2-instruct": dict(MISTRAL, rope_theta=1000000.0, sliding_window=None, attention_dropout=0.0, transformers_version="4.36.0"),
    "mistral-unsloth": dict(MISTRAL, **UNSLOTH, sliding_window=None, head_dim=8, max_position_embeddings=32768),
    "mistral-nemo": dict(MISTRAL, sliding_window=None, head_dim=16, rope_theta=1000000.0, max_position_embeddings=1024000),
    "zephyr": dict(MISTRAL, _name_or_path="data/zephyr-7b-dpo", pad_token_id=2, use_cache=True, attn_implementation="flash_attention_2"),
    # Qwen
    "qwen2-instruct": dict(QWEN2, transformers_version="4.40.1"),
    "qwen2.5-coder": dict(QWEN2, max_window_layers=21, sliding_window=131072, transformers_version="4.43.1"),
    "qwen2.5-unsloth": dict(QWEN2, **UNSLOTH, rope_scaling=None, sliding_window=None, tie_word_embeddings=True, layer_types=["full_attention"] * 2),
    "qwen2.5-llama-factory": dict(QWEN2, _attn_implementation_autoset=True, rope_scaling=None, use_cache=False, transformers_version="4.49.0"),
    "qwen2.5-math-r1-distill": dict(QWEN2, bos_token_id=100, use_mrope=False, max_window_layers=21, sliding_window=4096),
    "qwen2-1m-for-vllm": dict(QWEN2, dual_chunk_attention_config={"chunk_size": 262144, "local_size": 8192,
                                                                   "original_max_position_embeddings": 262144}),
    "qwen3-instruct": dict(QWEN3, transformers_version="4.51.0"),
    "qwen3-unsloth": dict(QWEN3, **UNSLOTH, layer_types=["full_attention"] * 2, dtype="bfloat16"),
    "qwen3-yarn": dict(QWEN3, rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}),
    # Gemma
    "gemma-2-it": dict(GEMMA2, transformers_version="4.42.0.dev0"),
    "gemma-2-jpn": dict(GEMMA2, _name_or_path="gemma-2-2b-jpn-it", dtype="bfloat16", transformers_version="4.44.2"),
    "gemma-2-sliding-window-size": dict(GEMMA2, sliding_window_size=4096),
    "gemma-3-it": dict(GEMMA3, cache_implementation="hybrid", sliding_window_pattern=6, transformers_version="4.50.0.dev0"),
    "gemma-3-unsloth": dict(GEMMA3, **dict(UNSLOTH, pad_token_id=0), _sliding_window_pattern=6, use_bidirectional_attention=False,
                            layer_types=["sliding_attention", "full_attention"]),
    "embeddinggemma-as-a-decoder": dict(GEMMA3, use_bidirectional_attention=True, _sliding_window_pattern=6,
                                        layer_types=["sliding_attention", "full_attention"]),
    # Phi
    "phi-3-mini": dict(PHI3, auto_map=PHI3_CODE, transformers_version="4.40.2"),
    "phi-3-mini-code-of-a-repository": dict(PHI3, auto_map={key: f"microsoft/Phi-3-mini-4k-instruct--{value}" for key, value in PHI3_CODE.items()}),
    "phi-3.5-longrope": dict(PHI3, auto_map=PHI3_CODE, max_position_embeddings=131072, sliding_window=262144, rope_scaling={
        "long_factor": [1.0, 1.5, 2.0, 2.5], "short_factor": [1.0, 1.0, 1.1, 1.2], "type": "longrope"}),
    "phi-4": dict(PHI3, max_position_embeddings=16384, original_max_position_embeddings=16384, rope_theta=250000, sliding_window=None,
                  num_key_value_heads=2),
    "phi-4-mini-extra-fields": dict(PHI3, auto_map=PHI3_CODE, full_attn_mod=1, interpolate_factor=1, lm_head_bias=False, mlp_bias=False,
                                    partial_rotary_factor=0.75, sliding_window=262144, tie_word_embeddings=True),
    # GPT-2
    "gpt2": dict(GPT2, task_specific_params={"text-generation": {"do_sample": True, "max_length": 50}}),
    "distilgpt2-of-onnx-tools": dict(GPT2, _num_labels=1, **labels("LABEL_0"), n_inner=None, reorder_and_upcast_attn=False,
                                     scale_attn_by_inverse_layer_idx=False, scale_attn_weights=True, use_cache=True),
    "gpt2-chinese-uer": dict(GPT2, tokenizer_class="BertTokenizer", output_past=True, gradient_checkpointing=False,
                             task_specific_params={"text-generation": {"do_sample": True, "max_length": 320}}),
    "gpt2-couplets": dict(GPT2, finetuning_task=None, num_labels=1, output_attentions=False, output_hidden_states=False,
                          output_past=True, pruned_heads={}, torchscript=False, use_bfloat16=False),
    "dialogpt": dict(GPT2, task_specific_params={"conversational": {"max_length": 1000}}),
    "gpt2-names-of-another-kind": dict(GPT2, hidden_size=32, num_hidden_layers=2, num_attention_heads=4),
    # GPT-NeoX
    "pythia": dict(NEOX, transformers_version="4.24.0"),
    "pythia-deduped-dpo": dict(NEOX, attention_bias=True, attention_dropout=0.0, classifier_dropout=0.1, hidden_dropout=0.0, rope_scaling=None,
                               torch_dtype="bfloat16"),
    "redpajama": dict(NEOX, rotary_pct=1.0, use_parallel_residual=False, _name_or_path="redpajama-3b"),
    "dolly-v2": dict(NEOX, custom_pipelines={"text-generation": {"impl": "instruct_pipeline.InstructionTextGenerationPipeline",
                                                                 "pt": "AutoModelForCausalLM", "tf": "TFAutoModelForCausalLM"}}),
    # Classifiers
    "rubert-tiny2-sentiment": dict(BERT, add_cross_attention=False, bos_token_id=None, dtype="float32", emb_size=312, eos_token_id=None,
                                   is_decoder=False, tie_word_embeddings=True, use_cache=False, **labels("negative", "neutral", "positive")),
    "rubert-funny-quotes": dict(BERT, _name_or_path="cointegrated/rubert-tiny2", emb_size=312),
    "hatebert": dict(BERT, _num_labels=2, output_past=True, _name_or_path="GroNLP/hateBERT"),
    "finbert": dict(BERT, gradient_checkpointing=False, **labels("positive", "negative", "neutral")),
    "toxic-bert-multi-label": dict(BERT, problem_type="multi_label_classification",
                                   **labels("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")),
    "minilm-cross-encoder": dict(BERT, **labels("LABEL_0"), sbert_ce_default_activation_function="torch.nn.modules.linear.Identity",
                                 problem_type=None),
    "minilm-cross-encoder-5": dict(BERT, **labels("LABEL_0"), problem_type=None, sentence_transformers={
        "activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "4.1.0.dev0"}),
    "bert-regression": dict(BERT, problem_type="regression", **labels("LABEL_0")),
    "bert-chinese-pooler-fields": dict(BERT, directionality="bidi", pooler_fc_size=768, pooler_num_attention_heads=12,
                                       pooler_num_fc_layers=3, pooler_size_per_head=128, pooler_type="first_token_transform"),
    "bert-of-nvidia-deep-learning-examples": dict(BERT, output_all_encoded_layers=False, dense_seq_output=False),
    "twitter-roberta-sentiment": dict(ROBERTA, **labels("negative", "neutral", "positive"), _name_or_path="cardiffnlp"),
    "roberta-youtube-comments": dict(ROBERTA, **labels("LABEL_0", "LABEL_1", "LABEL_2"), transformers_version="4.53.0"),
    "roberta-two-unnamed-labels": dict(ROBERTA, transformers_version="4.52.4"),
    "roberta-emotions-multi-label": dict(ROBERTA, problem_type="multi_label_classification", **labels("joy", "anger", "fear", "neutral")),
    "roberta-openai-detector": dict(ROBERTA, output_past=True, **labels("Fake", "Real")),
}
# The field, or the word, that the refusal has to name.
REFUSED = {
    "llama-gptq": (dict(LLAMA, quantization_config={"bits": 4, "damp_percent": 0.01, "desc_act": False, "group_size": 128,
                                                    "quant_method": "gptq", "sym": True}), "quantization_config"),
    "llama-3-bnb-4bit": (dict(LLAMA3, quantization_config={"_load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "load_in_4bit": True,
                                                           "quant_method": "bitsandbytes"}), "quantization_config"),
    "qwen-fp8": (dict(QWEN3, quantization_config={"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                                  "weight_block_size": [128, 128]}), "quantization_config"),
    "llama-compressed-tensors": (dict(LLAMA31, quantization_config={"format": "pack-quantized", "quant_method": "compressed-tensors"}),
                                 "quantization_config"),
    "gte-qwen2-code-of-its-own": (dict(QWEN2, auto_map={"AutoModel": "modeling_qwen.Qwen2Model",
                                                        "AutoModelForCausalLM": "modeling_qwen.Qwen2ForCausalLM"}), "auto_map"),
    "llama-code-of-its-own": (dict(LLAMA, auto_map={"AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}), "auto_map"),
    "llama-by-layer": (dict(LLAMA31, per_layer_config={"1": {"intermediate_size": 24}}), "per_layer_config"),
    "bert-as-a-decoder": (dict(BERT, is_decoder=True, **labels("a", "b")), "is_decoder"),
    "bert-relative-positions": (dict(BERT, position_embedding_type="relative_key"), "position_embedding_type"),
    "llama-two-rotations": (dict(LLAMA32, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}), "rope_parameters"),
    "llama-for-classification": (dict(LLAMA32, architectures=["LlamaForSequenceClassification"], **labels("a", "b")), "architectures"),
    "xlm-roberta": (dict(ROBERTA, model_type="xlm-roberta", architectures=["XLMRobertaForSequenceClassification"]), "xlm-roberta"),
    "files-by-version": (dict(LLAMA, configuration_files=["config.4.0.0.json"]), "configuration_files"),
}


def tensors(config):
    """What transformers saves for it, as far as this machine can read its fields."""
    own = {key: value for key, value in config.items() if key not in ("auto_map", "quantization_config", "per_layer_config", "attn_implementation",
                                                                      "configuration_files")}
    parsed = type(transformers.AutoConfig.for_model(own["model_type"])).from_dict(json.loads(json.dumps(own)))
    model = getattr(transformers, own["architectures"][0])(parsed)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with safe_open(f"{folder}/model.safetensors", "numpy") as file:
            return {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}


def main():
    transformers.logging.set_verbosity_error()
    OUT.mkdir(parents=True, exist_ok=True)
    every, lines = [], []
    for name, (config, refused) in {**{name: (config, None) for name, config in ACCEPTED.items()}, **REFUSED}.items():
        found = tensors(config)
        if found not in every:
            every.append(found)
        line = {"name": name, "tensors": every.index(found), "config": dict(sorted(config.items()))}
        if refused:
            line["refused"] = refused
        lines.append(json.dumps(line))
    (OUT / "configurations.jsonl").write_text("\n".join(lines) + "\n")
    (OUT / "tensors.json").write_text("[\n" + ",\n".join(json.dumps(found) for found in every) + "\n]\n")
    print(f"{len(ACCEPTED)} to be accepted, {len(REFUSED)} to be refused, {len(every)} sets of tensors")


if __name__ == "__main__":
    main()
