#!/usr/bin/env python3
"""Makes the golden logits of the families of tests/engine/model/tiny_families.h.

    families.py DIR [NAME ...]      DIR: what tests/golden/model/tiny_cli.c wrote

Each file is read with gguf-py and given to transformers in float32 (quantised tensors dequantised),
under a configuration that is made from the file's keys; what files of a family leave out and their
authors' code fixes (gpt-oss's period of windows and its ramp without rounding) is said here. Logits
at some positions of one prompt of 300 tokens go, as raw float32 [positions, vocabulary], into
NAME.f32. Keys and values, or the latent vectors, are rounded to f16 before attention, as our cache
stores them, and the inputs of quantised matrices to 8 bits in blocks of 32; everything else is
the reference's own. NAME_precise.f32 of the quantised ones is without the latter: what the numerics
class "precise" is held against.

Run by hand or by `make golden`; made with torch 2.13.0, transformers 5.23.0, gguf 0.17.
"""

import os
import pathlib
import sys

import numpy as np
import torch
import transformers as hf
from gguf import GGMLQuantizationType as T
from gguf import GGUFReader
from gguf.quants import dequantize

HERE = pathlib.Path(__file__).parent
POSITIONS = [0, 1, 31, 32, 33, 100, 255, 256, 257, 299]


def words(seed, n):
    x = np.uint64(seed) + np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class File:
    """Keys without the family's prefix, tensors as float32 [.., out, in]."""

    def __init__(self, path):
        reader = GGUFReader(path)
        field = {name: value.contents() for name, value in reader.fields.items()
                 if not name.startswith("GGUF.")}
        self.arch = field["general.architecture"]
        self.keys = {name.removeprefix(self.arch + "."): value for name, value in field.items()}
        self.tensors, self.quantised, self.dense_quantised = {}, False, False
        for tensor in reader.tensors:
            data = tensor.data
            if tensor.tensor_type not in (T.F32, T.F16):
                data = dequantize(data, tensor.tensor_type)
                self.quantised |= tensor.tensor_type != T.BF16
                self.dense_quantised |= tensor.name == "blk.0.attn_output.weight"
            shape = tuple(int(n) for n in reversed(tensor.shape))
            self.tensors[tensor.name] = np.array(data, dtype=np.float32).reshape(shape)

    def get(self, key, default=None):
        return self.keys.get(key, default)

    def layer(self, n):
        prefix = f"blk.{n}."
        return {name.removeprefix(prefix): value for name, value in self.tensors.items()
                if name.startswith(prefix)}


# ---- configuration ----

def rope_of(file):
    rope = {"rope_type": "default", "rope_theta": file.get("rope.freq_base")}
    kind = file.get("rope.scaling.type")
    if kind == "yarn":
        rope.update(rope_type="yarn", factor=file.get("rope.scaling.factor"),
                    original_max_position_embeddings=file.get(
                        "rope.scaling.original_context_length"),
                    beta_fast=file.get("rope.scaling.yarn_beta_fast"),
                    beta_slow=file.get("rope.scaling.yarn_beta_slow"),
                    truncate=file.arch != "gpt-oss")
        multiplier = file.get("rope.scaling.yarn_log_multiplier")
        if multiplier:
            rope.update(mscale=10 * multiplier, mscale_all_dim=10 * multiplier)
    return rope


def common(file):
    return dict(
        vocab_size=file.get("vocab_size"), hidden_size=file.get("embedding_length"),
        intermediate_size=file.get("feed_forward_length"),
        num_hidden_layers=file.get("block_count") - file.get("nextn_predict_layers", 0),
        num_attention_heads=file.get("attention.head_count"),
        num_key_value_heads=file.get("attention.head_count_kv"),
        rms_norm_eps=file.get("attention.layer_norm_rms_epsilon"),
        max_position_embeddings=file.get("context_length"),
        tie_word_embeddings="output.weight" not in file.tensors, rope_parameters=rope_of(file),
        attn_implementation="eager", experts_implementation="eager", bos_token_id=None,
        eos_token_id=None, pad_token_id=None)


def experts(file):
    return dict(num_experts=file.get("expert_count"),
                num_experts_per_tok=file.get("expert_used_count"),
                moe_intermediate_size=file.get("expert_feed_forward_length"))


def model_llama(file):
    head = dict(common(file), head_dim=file.get("attention.key_length"))
    if file.get("expert_count"):
        return hf.MixtralForCausalLM(hf.MixtralConfig(
            **head, num_local_experts=file.get("expert_count"), sliding_window=None,
            num_experts_per_tok=file.get("expert_used_count")))
    return hf.MistralForCausalLM(hf.MistralConfig(
        **head, sliding_window=file.get("attention.sliding_window")))


def model_smollm3(file):
    return hf.SmolLM3ForCausalLM(hf.SmolLM3Config(
        **common(file), head_dim=file.get("attention.key_length"), no_rope_layer_interval=4))


def model_phi3(file):
    config = dict(common(file), sliding_window=file.get("attention.sliding_window"))
    if "rope_factors_long.weight" in file.tensors:
        factors = {f"{kind}_factor": file.tensors[f"rope_factors_{kind}.weight"].tolist()
                   for kind in ("long", "short")}
        original = file.get("rope.scaling.original_context_length")
        config["original_max_position_embeddings"] = original
        config["rope_parameters"] = dict(
            factors, rope_type="longrope", rope_theta=file.get("rope.freq_base"),
            original_max_position_embeddings=original,
            attention_factor=file.get("rope.scaling.attn_factor"),
            partial_rotary_factor=file.get("rope.dimension_count") /
            file.get("attention.key_length"))
    return hf.Phi3ForCausalLM(hf.Phi3Config(**config))


def model_qwen2(file):
    return hf.Qwen2ForCausalLM(hf.Qwen2Config(
        **common(file), head_dim=file.get("attention.key_length")))


def model_qwen3(file):
    return hf.Qwen3ForCausalLM(hf.Qwen3Config(
        **common(file), head_dim=file.get("attention.key_length")))


def model_qwen2moe(file):
    return hf.Qwen2MoeForCausalLM(hf.Qwen2MoeConfig(
        **common(file), **experts(file), norm_topk_prob=file.get("expert_weights_norm", False),
        shared_expert_intermediate_size=file.get("expert_shared_feed_forward_length")))


def model_qwen3moe(file):
    return hf.Qwen3MoeForCausalLM(hf.Qwen3MoeConfig(
        **common(file), **experts(file), head_dim=file.get("attention.key_length"),
        norm_topk_prob=file.get("expert_weights_norm", True)))


def model_gpt_oss(file):
    config = dict(common(file), intermediate_size=file.get("expert_feed_forward_length"))
    return hf.GptOssForCausalLM(hf.GptOssConfig(
        **config, head_dim=file.get("attention.key_length"),
        num_local_experts=file.get("expert_count"),
        num_experts_per_tok=file.get("expert_used_count"),
        sliding_window=file.get("attention.sliding_window")))


def model_deepseek2(file):
    n_rot = file.get("rope.dimension_count")
    first = "attention.key_length_mla" not in file.keys
    key = file.get("attention.key_length" if first else "attention.key_length_mla")
    config = dict(
        common(file), num_key_value_heads=file.get("attention.head_count"),
        q_lora_rank=file.get("attention.q_lora_rank"),
        kv_lora_rank=file.get("attention.kv_lora_rank"), qk_rope_head_dim=n_rot,
        qk_nope_head_dim=key - n_rot, head_dim=n_rot,
        v_head_dim=file.get("attention.value_length" if first else "attention.value_length_mla"),
        n_routed_experts=file.get("expert_count"),
        num_experts_per_tok=file.get("expert_used_count"),
        moe_intermediate_size=file.get("expert_feed_forward_length"),
        n_shared_experts=file.get("expert_shared_count"),
        first_k_dense_replace=file.get("leading_dense_block_count"),
        routed_scaling_factor=file.get("expert_weights_scale", 1.0),
        norm_topk_prob=file.get("expert_weights_norm", False),
        n_group=file.get("expert_group_count", 1),
        topk_group=file.get("expert_group_used_count", 1))
    if file.get("expert_gating_func") == 2:
        return hf.DeepseekV3ForCausalLM(hf.DeepseekV3Config(**config))
    limited = file.get("expert_group_count", 1) > 1
    return hf.DeepseekV2ForCausalLM(hf.DeepseekV2Config(
        **config, topk_method="group_limited_greedy" if limited else "greedy"))


MODELS = {"llama": model_llama, "smollm3": model_smollm3, "phi3": model_phi3,
          "qwen2": model_qwen2, "qwen3": model_qwen3,
          "qwen2moe": model_qwen2moe, "qwen3moe": model_qwen3moe, "gpt-oss": model_gpt_oss,
          "deepseek2": model_deepseek2}


# ---- weights ----

NAMES = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "post_attention_norm": "post_attention_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
         "attn_k_norm": "self_attn.k_norm", "attn_q_a": "self_attn.q_a_proj",
         "attn_q_a_norm": "self_attn.q_a_layernorm", "attn_q_b": "self_attn.q_b_proj",
         "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
         "attn_kv_a_norm": "self_attn.kv_a_layernorm", "attn_kv_b": "self_attn.kv_b_proj",
         "attn_qkv": "self_attn.qkv_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
SHARED = {"deepseek2": "mlp.shared_experts", "qwen2moe": "mlp.shared_expert"}


def unpermute(weight, head_dim):
    """Rows of a llama GGUF are paired (2i, 2i+1); transformers pairs (i, i + n_rot/2)."""
    heads = weight.reshape(-1, head_dim // 2, 2, *weight.shape[1:])
    return heads.swapaxes(1, 2).reshape(weight.shape)


def stack(layer, kind, n):
    """Experts' matrices [n, out, in] from whichever layout the file has."""
    if f"ffn_{kind}_exps.weight" in layer:
        return layer.pop(f"ffn_{kind}_exps.weight")
    return np.stack([layer.pop(f"ffn_{kind}.{e}.weight") for e in range(n)])


def experts_state(file, layer):
    n = file.get("expert_count")
    out = {}
    if "ffn_gate_up_exps.weight" in layer:
        both = layer.pop("ffn_gate_up_exps.weight")
    else:
        gate, up = stack(layer, "gate", n), stack(layer, "up", n)
        both = np.concatenate([gate, up], axis=1)
    down = stack(layer, "down", n)
    router = "mlp.router" if file.arch == "gpt-oss" else "mlp.gate"
    out[router + ".weight"] = layer.pop("ffn_gate_inp.weight")
    if file.arch == "gpt-oss":
        interleaved = np.stack([gate, up], axis=2).reshape(both.shape)
        bias = np.stack([layer.pop("ffn_gate_exps.bias"), layer.pop("ffn_up_exps.bias")], axis=2)
        out.update({"mlp.experts.gate_up_proj": interleaved.swapaxes(1, 2),
                    "mlp.experts.gate_up_proj_bias": bias.reshape(n, -1),
                    "mlp.experts.down_proj": down.swapaxes(1, 2),
                    "mlp.experts.down_proj_bias": layer.pop("ffn_down_exps.bias"),
                    "mlp.router.bias": layer.pop("ffn_gate_inp.bias")})
    else:
        out.update({"mlp.experts.gate_up_proj": both, "mlp.experts.down_proj": down})
    if "exp_probs_b.bias" in layer:
        out["mlp.gate.e_score_correction_bias"] = layer.pop("exp_probs_b.bias")
    if "ffn_gate_inp_shexp.weight" in layer:
        out["mlp.shared_expert_gate.weight"] = layer.pop("ffn_gate_inp_shexp.weight")[None]
    for kind in ("gate", "up", "down"):
        if f"ffn_{kind}_shexp.weight" in layer:
            out[f"{SHARED[file.arch]}.{kind}_proj.weight"] = layer.pop(f"ffn_{kind}_shexp.weight")
    return out


def layer_state(file, n):
    layer = file.layer(n)
    out = experts_state(file, layer) if "ffn_gate_inp.weight" in layer else {}
    if "attn_k_b.weight" in layer:  # [heads, rank, nope] and [heads, value, rank]
        both = [layer.pop("attn_k_b.weight").swapaxes(1, 2), layer.pop("attn_v_b.weight")]
        layer["attn_kv_b.weight"] = np.concatenate(both, axis=1).reshape(-1, both[0].shape[2])
    if "attn_sinks.weight" in layer:
        out["self_attn.sinks"] = layer.pop("attn_sinks.weight")
    for name, value in layer.items():
        base, part = name.rsplit(".", 1)
        if file.arch in ("llama", "smollm3") and base in ("attn_q", "attn_k"):
            value = unpermute(value, file.get("attention.key_length"))
        fused = file.arch == "phi3" and base == "ffn_up"
        out[f"{'mlp.gate_up_proj' if fused else NAMES[base]}.{part}"] = value
    return {f"model.layers.{n}.{name}": value for name, value in out.items()}


def state_of(file, n_layers):
    tensors = file.tensors
    state = {"model.embed_tokens.weight": tensors["token_embd.weight"],
             "model.norm.weight": tensors["output_norm.weight"],
             "lm_head.weight": tensors.get("output.weight", tensors["token_embd.weight"])}
    for n in range(n_layers):
        state.update(layer_state(file, n))
    return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in state.items()}


# ---- our two roundings ----

PRECISE = False  # inputs of products as they are


def halve(x):
    return x.half().float()


def round_cache(model):
    """Keys and values, or what latent attention stores, through f16."""
    module = sys.modules[type(model).__module__]
    attention = type(model.model.layers[0].self_attn)
    if hasattr(attention, "expand_kv"):
        expand = attention.expand_kv
        attention.expand_kv = lambda self, c, r: expand(self, halve(c), halve(r))
        return lambda: setattr(attention, "expand_kv", expand)
    eager = module.eager_attention_forward
    module.eager_attention_forward = (
        lambda layer, q, k, v, *args, **kwargs: eager(layer, q, halve(k), halve(v), *args,
                                                      **kwargs))
    return lambda: setattr(module, "eager_attention_forward", eager)


def quantise(x):
    if PRECISE:
        return x
    blocks = x.unflatten(-1, (-1, 32))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    return (torch.round(blocks / scale.clamp_min(1e-30)) * scale).flatten(-2)


def absorb(file, model):
    """Latent attention with the decompression multiplied the other way round, as ours always does:
    the inputs that are rounded then are the query's and those of the summed latent vectors."""
    module = sys.modules[type(model).__module__]
    attention = type(model.model.layers[0].self_attn)
    expand, eager = attention.expand_kv, module.eager_attention_forward
    split = "blk.0.attn_k_b.weight" in file.tensors  # else keys' part is transposed, in f16
    round_q, round_k = (quantise, lambda w: w) if split else (lambda q: q, halve)

    def attend(layer, query, key, value, mask, scaling, **kwargs):
        nope, n_heads = layer.qk_nope_head_dim, layer.num_heads
        weight = layer.kv_b_proj.weight.unflatten(0, (n_heads, -1))
        query = query * scaling
        latent = torch.einsum("bhtn,hnc->bhtc", round_q(query[..., :nope]),
                              round_k(weight[:, :nope]))
        scores = torch.cat([latent, query[..., nope:]], -1) @ key.transpose(-1, -2)
        out = torch.softmax(scores + mask, -1) @ value
        out = torch.einsum("bhtc,hvc->bthv", quantise(out), weight[:, nope:])
        return out, None

    attention.expand_kv = lambda self, c, r: (torch.cat([halve(c), halve(r)], -1), halve(c))
    module.eager_attention_forward = attend

    def back():
        attention.expand_kv, module.eager_attention_forward = expand, eager
    return back


def quantise_inputs(file, model):
    """Inputs of every matrix but the routers, which are F32."""
    plain = {parameter.data_ptr() for name, parameter in model.named_parameters()
             if name.endswith(("mlp.gate.weight", "router.weight", "shared_expert_gate.weight"))}
    linear = torch.nn.functional.linear

    def rounded(x, weight, bias=None):
        return linear(x if weight.data_ptr() in plain else quantise(x), weight, bias)
    if file.dense_quantised:
        torch.nn.functional.linear = rounded
    if hasattr(model.model.layers[0].mlp, "router"):  # gpt-oss multiplies its experts by hand
        for layer in model.model.layers:
            experts = layer.mlp.experts
            experts.register_forward_pre_hook(lambda _, args: (quantise(args[0]), *args[1:]))
            gate = experts._apply_gate
            experts._apply_gate = lambda x, gate=gate: quantise(gate(x))
    return lambda: setattr(torch.nn.functional, "linear", linear)


def logits_of(file):
    model = MODELS[file.arch](file).float().eval()
    missing, unexpected = model.load_state_dict(state_of(file, model.config.num_hidden_layers),
                                                strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    latent = file.quantised and "attention.kv_lora_rank" in file.keys
    undo = [absorb(file, model) if latent else round_cache(model)]
    if file.quantised:
        undo.append(quantise_inputs(file, model))
    tokens = (words(7, 300) % np.uint64(file.get("vocab_size"))).astype(np.int64)
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens)[None]).logits[0].numpy()
    for back in undo:
        back()
    return logits[POSITIONS].astype("<f4")


def main():
    names = sys.argv[2:]
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.gguf")):
        if names and path.stem not in names:
            continue
        for ending in ["", "_precise"]:
            global PRECISE
            PRECISE = ending != ""
            file = File(path)
            if PRECISE and not file.quantised:
                continue
            logits = logits_of(file)
            (HERE / f"{path.stem}{ending}.f32").write_bytes(logits.tobytes())
            print(path.stem + ending, "max", float(np.abs(logits).max()), "std", float(logits.std()))


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main()
