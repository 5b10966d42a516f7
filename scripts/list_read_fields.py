#!/usr/bin/env python3
"""Writes src/checkpoint/read_fields.json: for each architecture that is supported, the fields of config.json that
Hugging Face transformers can read, with their defaults.

    pip install torch==2.15.0 transformers==5.23.0
    python scripts/list_read_fields.py            # writes the file
    python scripts/list_read_fields.py --where    # prints every field with the places that read it

It reads the source, not the documentation: `config.X`, `self.config.X`, `getattr(config, "X", default)`, `self.X` and
`kwargs.pop("X", default)` in the configuration classes, names that stand for others (`attribute_map`), and the entries
of `rope_parameters`, in whatever can be reached by name from the model classes: their module, and the shared code that
`FOLLOWED` lists. Heads that are not supported are not reached.

A field whose reading cannot change logits or gradients at inference stands in `HARMLESS` with the reason. One that a
class declares and nothing reads is harmless too. What is neither has to be understood by the program, or be at its
default. `scripts/check_read_fields.py` tries all of this against transformers itself.
"""

import ast
import dataclasses
import importlib
import inspect
import json
import sys
import textwrap
from pathlib import Path

import transformers

VERSION = "5.23.0"
OUT = Path(__file__).resolve().parent.parent / "src/checkpoint/read_fields.json"

# model_type: (module, classes, configuration class)
ARCHITECTURES = {
    "llama": ("llama", ["LlamaForCausalLM"], "LlamaConfig"),
    "qwen2": ("qwen2", ["Qwen2ForCausalLM"], "Qwen2Config"),
    "qwen3": ("qwen3", ["Qwen3ForCausalLM"], "Qwen3Config"),
    "gemma2": ("gemma2", ["Gemma2ForCausalLM"], "Gemma2Config"),
    "gemma3_text": ("gemma3", ["Gemma3ForCausalLM"], "Gemma3TextConfig"),
    "gemma3": ("gemma3", ["Gemma3ForConditionalGeneration"], "Gemma3Config"),
    "mistral": ("mistral", ["MistralForCausalLM"], "MistralConfig"),
    "phi3": ("phi3", ["Phi3ForCausalLM"], "Phi3Config"),
    "gpt2": ("gpt2", ["GPT2LMHeadModel"], "GPT2Config"),
    "gpt_neox": ("gpt_neox", ["GPTNeoXForCausalLM"], "GPTNeoXConfig"),
    "bert": ("bert", ["BertForSequenceClassification"], "BertConfig"),
    "roberta": ("roberta", ["RobertaForSequenceClassification"], "RobertaConfig"),
}

# Shared code that takes part in loading or in a forward pass. Generation, training, saving to a hub, quantisers other
# than their choice and other architectures are not followed.
FOLLOWED = {
    "configuration_utils", "modeling_utils", "masking_utils", "modeling_rope_utils", "modeling_layers", "cache_utils",
    "modeling_flash_attention_utils", "activations", "pytorch_utils", "initialization", "fusion_mapping",
    "monkey_patching", "utils.generic", "utils.output_capturing",
    "integrations.sdpa_attention", "integrations.flash_attention", "integrations.flex_attention",
    "integrations.heterogeneity.configuration_utils", "integrations.peft", "integrations.hub_kernels",
    "quantizers.auto", "models.auto.auto_factory", "models.auto.configuration_auto", "dynamic_module_utils",
}
# Where loading starts that no model class names.
ENTRIES = [
    ("models.auto.auto_factory", "_BaseAutoModelClass"), ("models.auto.configuration_auto", "AutoConfig"),
    ("modeling_utils", "PreTrainedModel"),
]

CHECKED = "compared with others before an error, computed with nowhere"
CACHE = "of the cache of keys and values, which one pass from the first token does not use"
GENERATION = "of generation"
IDENTITY = "a name; nothing is computed from it"
INITIAL = "of weights before training"
IMAGES = "of images, which are left aside"
KERNELS = "which code computes attention or feed-forward: one function, rounded differently"
LOSS = "of the loss"
OUTPUT = "which intermediate results are returned, and how"
PARALLEL = "how the model is spread over devices"
PRECISION = "a precision of computing: everything is computed in f32 here"
SPECIAL = "the id of a special token: the tokenizer puts them into the text, the model does not look for them"
TRAINING = "of training: at inference it does nothing"
UNREAD = "declared by the class, and read by nothing in the forward pass"

# Definitions that are reached by name and take no part: of the whole model with images where the decoder alone is meant
# and the other way round; of multi-token prediction; saving.
SKIPPED = {
    "gemma3_text": {"Gemma3MultiModalProjector", "Gemma3Model", "Gemma3ForConditionalGeneration", "Gemma3Config"},
    "gemma3": {"Gemma3TextModel", "Gemma3Attention", "Gemma3DecoderLayer", "Gemma3MLP", "Gemma3RotaryEmbedding",
               "Gemma3ForCausalLM", "Gemma3TextConfig"},
}
SKIPPED_METHODS = {
    "get_mtp_config", "save_pretrained", "push_to_hub", "to_dict", "to_diff_dict", "to_json_string", "to_json_file",
    "_update_heterogeneous_to_dict_output", "resize_token_embeddings", "_resize_token_embeddings",
}
# `get_text_config` looks for a configuration inside under these names.
INNER_CONFIGURATIONS = ("decoder", "generator", "text_config")

ROTATED = {"llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "mistral", "phi3", "gpt_neox"}
CLASSIFIERS = {"bert", "roberta"}
WINDOWED = {"qwen2", "qwen3", "gemma2", "gemma3_text", "mistral", "phi3"}
BY_LAYER = {"qwen2", "qwen3", "gemma2", "gemma3_text"}
EVERY = set(ARCHITECTURES)


def of(architectures, names, reason):
    return {f"{model_type}.{name}": reason for model_type in architectures for name in names}


# Fields that are read, and why they change nothing. `model_type.field` for one architecture.
HARMLESS = {
    "_attn_implementation": KERNELS,
    "_attn_implementation_internal": KERNELS,
    "_commit_hash": IDENTITY,
    "_experts_implementation": KERNELS,
    "_experts_implementation_internal": KERNELS,
    "_is_quantized": PRECISION,
    "_name_or_path": IDENTITY,
    "_output_attentions": OUTPUT,
    "_post_init_done": "set by the class itself before it is looked at",
    "allow_global_per_layer_attribute_access": "only where there is 'per_layer_config'",
    "attn_implementation": KERNELS,
    "attention_dropout": TRAINING,
    "attention_probs_dropout_prob": TRAINING,
    "attn_pdrop": TRAINING,
    "base_model_pp_plan": PARALLEL,
    "base_model_tp_plan": PARALLEL,
    "bos_token_id": SPECIAL,
    "chunk_size_feed_forward": "in how many pieces a feed-forward is computed: the sum is the same",
    "classifier_dropout": TRAINING,
    "dtype": PRECISION,
    "embd_pdrop": TRAINING,
    "embed_dim": CHECKED,
    "embedding_size": "only looked at before an error",
    "eos_token_id": SPECIAL,
    "experts_implementation": KERNELS,
    "gradient_checkpointing": TRAINING,
    "hidden_dropout": TRAINING,
    "hidden_dropout_prob": TRAINING,
    "initializer_factor": INITIAL,
    "init_std": INITIAL,
    "initializer_range": INITIAL,
    "kv_sharing_modes": CACHE,
    "name_or_path": IDENTITY,
    "num_heads": CHECKED,
    "output_attentions": OUTPUT,
    "output_hidden_states": OUTPUT,
    "problem_type": LOSS,
    "pretrained_cfg": "only looked at where 'model_type' is missing",
    "reorder_and_upcast_attn": PRECISION,
    "resid_pdrop": TRAINING,
    "return_dict": OUTPUT,
    "sep_token_id": SPECIAL,
    "tie_last_hidden_states": OUTPUT,
    "torch_dtype": PRECISION,
    "transformers_version": IDENTITY,
    "use_cache": CACHE,
    "gemma3.boi_token_index": IMAGES,
    "gemma3.eoi_token_index": IMAGES,
    "gemma3.image_token_index": IMAGES,
    "gemma3.mm_tokens_per_image": IMAGES,
    "gemma3_text._sliding_window_pattern": "set by the class from 'sliding_window_pattern'",
    "vision_config": IMAGES,
    **of(EVERY - CLASSIFIERS, ["id2label", "num_labels"], "of classifiers"),
    **of(CLASSIFIERS, ["tie_word_embeddings"], "of a head over the vocabulary, which a classifier has not"),
    **of(EVERY - {"roberta"}, ["pad_token_id"], "padding is masked, and of the table's gradient nothing is asked"),
    **of(EVERY - ROTATED - {"gemma3"}, ["rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor",
                                        "original_max_position_embeddings", "head_dim"],
         "positions of this architecture are learned, none is rotated"),
    **of(EVERY - WINDOWED - {"gemma3"}, ["sliding_window"], CACHE),
    **of(EVERY - BY_LAYER - {"gemma3", "mistral"}, ["layer_types"], CACHE),
    # The whole's; what counts stands in `text_config`.
    **of(["gemma3"], ["attention_chunk_size", "head_dim", "hidden_size", "layer_types", "max_position_embeddings",
                      "num_attention_heads", "num_hidden_layers", "original_max_position_embeddings",
                      "partial_rotary_factor", "rope_parameters", "rope_scaling", "rope_theta", "sliding_window",
                      "vocab_size", "is_causal"],
         "the decoder's are those in 'text_config'"),
}


# What absence means where the code that was found speaks of another kind of model: an encoder looks both ways.
DEFAULTS = of(CLASSIFIERS, ["is_causal"], False)


class Module:
    """The top-level definitions of a source file, and where its imported names come from."""

    def __init__(self, name):
        self.name = name
        self.module = importlib.import_module(f"transformers.{name}")
        self.tree = ast.parse(inspect.getsource(self.module))
        self.units, self.imported = {}, {}
        package = f"transformers.{name}".split(".")[:-1]
        if Path(self.module.__file__).name == "__init__.py":
            package = f"transformers.{name}".split(".")
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                full = ".".join(base + ([node.module] if node.module else []))
                if full == "transformers" or full.startswith("transformers."):
                    for alias in node.names:
                        self.imported[alias.asname or alias.name] = (full.removeprefix("transformers").lstrip("."), alias.name)
        for node in self.tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                self.units[node.name] = node
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        self.units[target.id] = node


MODULES = {}


def module(name):
    if name not in MODULES:
        MODULES[name] = Module(name)
    return MODULES[name]


def locate(name, unit):
    """Where a name that is imported from a package is defined, if that is code to follow."""
    try:
        found = getattr(importlib.import_module(f"transformers.{name}" if name else "transformers"), unit, None)
    except ImportError:
        return None
    home = getattr(found, "__module__", None) or ""
    if home.startswith("transformers.") and inspect.isroutine(found) or inspect.isclass(found):
        name = home.removeprefix("transformers.")
    return name, getattr(found, "__name__", unit) if inspect.isclass(found) or inspect.isfunction(found) else unit


def reachable(starts, own):
    """All definitions that the names in the starting ones lead to."""
    seen, waiting = set(), list(starts)
    while waiting:
        place = waiting.pop()
        name, unit = place
        if place in seen or name not in FOLLOWED | own:
            continue
        source = module(name)
        if unit not in source.units:
            continue
        seen.add(place)
        for node in ast.walk(source.units[unit]):
            if isinstance(node, ast.Name):
                if node.id in source.units:
                    waiting.append((name, node.id))
                elif node.id in source.imported:
                    found = locate(*source.imported[node.id])
                    if found:
                        waiting.append(found)
    return seen


UNSET = object()


class Reads(ast.NodeVisitor):
    """Collects what one definition reads from a configuration."""

    NAMES = {"config", "text_config", "effective_config", "model_config", "subconfig", "sub_config", "decoder_config"}
    # Methods of a configuration whose `kwargs` are the fields of the file that the class does not declare.
    TAKES_FIELDS = {"__post_init__", "convert_rope_params_to_dict"}

    def __init__(self, cls, of_configuration):
        self.cls, self.of_configuration = cls, of_configuration
        self.function = None
        self.fields, self.rope, self.dynamic = {}, {}, []

    def is_config(self, node):
        if isinstance(node, ast.Name):
            return node.id in self.NAMES or self.of_configuration and node.id == "self"
        if isinstance(node, ast.Attribute):
            return node.attr in {"config", "text_config"} and not (
                isinstance(node.value, ast.Name) and node.value.id in {"torch", "dynamo", "parallelize_module"})
        if isinstance(node, ast.Call):
            return isinstance(node.func, ast.Attribute) and node.func.attr in {"get_text_config", "super"} or (
                isinstance(node.func, ast.Name) and node.func.id == "super" and self.of_configuration)
        return False

    def is_dictionary(self, node):
        return isinstance(node, ast.Name) and (
            node.id == "config_dict" or node.id == "kwargs" and self.of_configuration and self.function in self.TAKES_FIELDS)

    def is_rope(self, node):
        if isinstance(node, ast.Subscript):
            return self.is_rope(node.value)
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        return name in {"rope_parameters", "rope_parameters_dict", "rope_params"}

    def note(self, into, name, default, node):
        into.setdefault(name, []).append((node.lineno, default))

    def constant(self, node):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            return getattr(self.cls, node.attr, UNSET)
        try:
            return ast.literal_eval(node)
        except ValueError:
            return UNSET

    def visit_FunctionDef(self, node):
        if node.name not in SKIPPED_METHODS:
            outer, self.function = self.function, node.name
            self.generic_visit(node)
            self.function = outer

    def visit_Attribute(self, node):
        if self.is_config(node.value) and isinstance(node.ctx, ast.Load):
            self.note(self.fields, node.attr, UNSET, node)
        self.generic_visit(node)

    def visit_Subscript(self, node):
        key = self.constant(node.slice)
        if isinstance(key, str) and isinstance(node.ctx, ast.Load):
            if self.is_dictionary(node.value):
                self.note(self.fields, key, UNSET, node)
            elif self.is_rope(node.value):
                self.note(self.rope, key, UNSET, node)
        self.generic_visit(node)

    def visit_Compare(self, node):
        key = self.constant(node.left)
        if isinstance(key, str) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            if self.is_dictionary(node.comparators[0]):
                self.note(self.fields, key, UNSET, node)
        self.generic_visit(node)

    def visit_Call(self, node):
        function, arguments = node.func, node.args
        if isinstance(function, ast.Name) and function.id in {"getattr", "hasattr"} and self.is_config(arguments[0]):
            key = self.constant(arguments[1])
            default = self.constant(arguments[2]) if len(arguments) > 2 else UNSET
            if isinstance(key, str):
                self.note(self.fields, key, default, node)
            else:
                self.dynamic.append((node.lineno, ast.unparse(node)))
        if isinstance(function, ast.Attribute) and function.attr in {"get", "pop", "setdefault"} and arguments:
            key = self.constant(arguments[0])
            default = self.constant(arguments[1]) if len(arguments) > 1 else UNSET
            if isinstance(key, str):
                if self.is_dictionary(function.value):
                    self.note(self.fields, key, default, node)
                elif self.is_rope(function.value):
                    self.note(self.rope, key, default, node)
        self.generic_visit(node)


def plain(value):
    """Whether a default can stand in the file."""
    return value is None or isinstance(value, (bool, int, float, str)) or (
        isinstance(value, list) and all(map(plain, value))) or isinstance(value, dict) and all(map(plain, value.values()))


def listed(model_type):
    """The fields of an architecture with what is known of them, the places that read each, and the readings whose names
    are only known when the code runs."""
    name, classes, configuration = ARCHITECTURES[model_type]
    own = {f"models.{name}.modeling_{name}", f"models.{name}.configuration_{name}"}
    cls = getattr(transformers, configuration)
    starts = [(f"models.{name}.modeling_{name}", one) for one in classes] + ENTRIES
    bases = [base for base in cls.__mro__ if base.__module__.startswith("transformers.")]
    starts += [(base.__module__.removeprefix("transformers."), base.__name__) for base in bases]
    configurations = {base.__name__ for base in bases}
    fields, places, dynamic = {}, {}, set()
    for place in sorted(reachable(starts, own)):
        if place[1] in SKIPPED.get(model_type, ()):
            continue
        unit = module(place[0]).units[place[1]]
        reads = Reads(cls, isinstance(unit, ast.ClassDef) and place[1] in configurations)
        reads.visit(unit)
        for key, found in reads.fields.items():
            fields.setdefault(key, []).extend(default for _, default in found)
            places.setdefault(key, set()).add(".".join(place))
        dynamic |= {f"{'.'.join(place)}: {text}" for _, text in reads.dynamic}
    for key in INNER_CONFIGURATIONS:
        fields.setdefault(key, [])

    def kept(key):
        found = inspect.getattr_static(cls, key, None)
        # Methods, and properties that no file can set.
        method = callable(found) or isinstance(found, (classmethod, staticmethod))
        return not method and key != "get" and not key.startswith("__") and not (isinstance(found, property) and found.fset is None)

    fields = {key: found for key, found in fields.items() if kept(key)}
    declared, aliases = {field.name: field for field in dataclasses.fields(cls)}, dict(cls.attribute_map)
    entries = {}
    for key in sorted(set(fields) | set(declared) | set(aliases)):
        entry = {}
        names = [key] + [alias for alias, meant in aliases.items() if meant == key]
        reason = HARMLESS.get(f"{model_type}.{key}") or HARMLESS.get(key)
        if key in aliases:
            entry["means"] = aliases[key]
        elif key in declared:
            if plain(declared[key].default):
                entry["default"] = declared[key].default
        else:
            given = [default for default in fields[key] if default is not UNSET and default is not None and plain(default)]
            # `rope_theta` has a default by the kind of layer or by another name.
            if given and key != "rope_theta":
                entry["default"] = given[0]
        if f"{model_type}.{key}" in DEFAULTS:
            entry["default"] = DEFAULTS[f"{model_type}.{key}"]
        if reason:
            entry["harmless"] = reason
        elif not any(name in fields or name in aliases for name in names):
            entry["harmless"] = UNREAD
        entries[key] = entry
    return entries, places, dynamic


# Readings whose names are only known when the code runs, looked at by hand.
DYNAMIC = {
    "arg_name": "`use_cache`, `return_dict` and the like, where a caller leaves them out",
    "audio_config_name": "no audio",
    "effective_key": "names that stand for others",
    "f'_validate_{rope_type}_rope_parameters'": "a method; an unknown kind of rotation has none",
    "f'output_{k}'": "`output_attentions`, `output_hidden_states`",
    "head_dim_key": "`head_dim`, and only of proportional rotation",
    "k": "generation parameters, moved elsewhere", "key": "parts of a model that sees images",
    "layer_types": "`layer_types` and `mlp_layer_types`, before an error",
    "name": "special tokens, before a warning",
    "num_hidden_layers_key": "`num_hidden_layers`, for which hidden states are returned",
    "parameter_name": "generation parameters, moved elsewhere",
    "sub_config_key": "parts of a model that sees images", "subconfig_key": "parts of a model that sees images",
    "text_config_name": "INNER_CONFIGURATIONS", "valid_text_config_names[0]": "INNER_CONFIGURATIONS",
}


def rotations():
    """The entries of `rope_parameters` that each kind of rotation computes with."""
    rope = module("modeling_rope_utils")
    kinds = {"default": transformers.models.llama.modeling_llama.LlamaRotaryEmbedding.compute_default_rope_parameters}
    kinds |= rope.module.ROPE_INIT_FUNCTIONS
    found = {}
    for kind, function in kinds.items():
        reads = Reads(transformers.PreTrainedConfig, False)
        reads.visit(ast.parse(textwrap.dedent(inspect.getsource(function))))
        # Whatever the kind: how `standardize_rope_params` fills the entries in.
        found[kind] = sorted(set(reads.rope) | {"rope_theta", "rope_type", "type"})
    return found


def name_of(reading):
    """The second argument of `getattr(config, name)` or `hasattr(config, name)`."""
    return ast.unparse(ast.parse(reading.split(": ", 1)[1], mode="eval").body.args[1])


def written(architectures):
    """JSON with one field a line; what all architectures have alike stands once."""
    def lines(entries):
        return ",\n".join(f"   {json.dumps(key)}: {json.dumps(entry)}" for key, entry in sorted(entries.items()))

    first = architectures["llama"]
    shared = {key: entry for key, entry in first.items()
              if all(entries.get(key) == entry for entries in architectures.values())}
    own = {model_type: {key: entry for key, entry in entries.items() if key not in shared}
           for model_type, entries in architectures.items()}
    parts = ",\n".join(f"  {json.dumps(model_type)}: {{\n{lines(entries)}\n  }}" for model_type, entries in own.items())
    rope = ",\n".join(f"  {json.dumps(kind)}: {json.dumps(names)}" for kind, names in rotations().items())
    return (f'{{\n "transformers": "{VERSION}",\n "every": {{\n{lines(shared)}\n }},\n "architectures": {{\n{parts}\n }},\n'
            f' "rope_parameters": {{\n{rope}\n }}\n}}\n')


def main():
    assert transformers.__version__ == VERSION, f"made for transformers {VERSION}"
    architectures, known, unknown = {}, set(), set()
    for model_type in ARCHITECTURES:
        entries, places, dynamic = listed(model_type)
        architectures[model_type] = entries
        known |= set(entries) | {f"{model_type}.{key}" for key in entries}
        unknown |= {reading for reading in dynamic if name_of(reading) not in DYNAMIC}
        if "--where" in sys.argv:
            for key, entry in entries.items():
                print(model_type, key, json.dumps(entry), *sorted(places.get(key, ())))
    problems = [f"read by a name that is not known: {reading}" for reading in sorted(unknown)]
    problems += [f"called harmless, and read by nothing: {key}" for key in HARMLESS if key not in known]
    print(*problems, sep="\n")
    OUT.write_text(written(architectures))
    unread = sum(entry.get("harmless") == UNREAD for entries in architectures.values() for entry in entries.values())
    harmless = sum("harmless" in entry for entries in architectures.values() for entry in entries.values()) - unread
    total = sum(map(len, architectures.values()))
    print(f"{total} fields of {len(architectures)} architectures: {total - unread - harmless} matter, {harmless} are read "
          f"and change nothing, {unread} are declared and not read")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
