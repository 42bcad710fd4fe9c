#!/usr/bin/env python3
"""Tiny random checkpoints as transformers saves them, read here as directory and as GGUF.

    checkpoints.py --cli build/release/tests/golden/model/logits_cli [--only NAME ...] [--work DIR]

For each variant: every parameter is drawn anew, the model is saved by transformers (float32, float16 or
bfloat16; one or several shards), the same tensors are written as GGUF by gguf-py, and 48 tokens go
through transformers in float32 and through our logits_cli on both forms. Asked for: the two forms give
the same bits; max |difference| to transformers < 1e-3 x max |logit|, arg-max equal at every position.
Keys and values are rounded to f16 in the reference, as our cache stores them.

Needs torch 2.13.0, transformers 5.23.0, gguf 0.17. Ends with status 1 when anything differs.
"""
import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import safetensors.torch
import torch
import transformers

SHAPE = dict(vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5,
             max_position_embeddings=512)
WIDE = dict(SHAPE, hidden_size=256, intermediate_size=512, head_dim=64)
ROPE = dict(rope_type="default", rope_theta=10000.0)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16, rope_theta=50000.0)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=34, rope_theta=20000.0)
# Where each of yarn's numbers moves the ramp over 8 pairs.
BETAS = dict(beta_fast=0.4, beta_slow=0.11, original_max_position_embeddings=34)

# name: (configuration class, its values, dtype, shard size or None)
VARIANTS = {
    "llama": ("LlamaConfig", dict(SHAPE), "float32", None),
    "llama-f16-shards": ("LlamaConfig", dict(SHAPE), "float16", "40KB"),
    "llama-bf16-tied": ("LlamaConfig", dict(SHAPE, tie_word_embeddings=True), "bfloat16", None),
    "llama-bias": ("LlamaConfig", dict(SHAPE, attention_bias=True, mlp_bias=True), "float32", None),
    "llama-llama3": ("LlamaConfig", dict(SHAPE, rope_parameters=LLAMA3), "float32", None),
    "llama-yarn": ("LlamaConfig", dict(SHAPE, rope_parameters=YARN), "float32", None),
    "llama-yarn-attention-factor": (
        "LlamaConfig", dict(SHAPE, rope_parameters={**YARN, "attention_factor": 1.5, **BETAS}),
        "float32", None),
    "llama-linear": ("LlamaConfig", dict(SHAPE, rope_parameters=dict(ROPE, rope_type="linear",
                                                                     factor=3.0)), "float32", None),
    "mistral": ("MistralConfig", dict(SHAPE, sliding_window=None), "bfloat16", None),
    "qwen2": ("Qwen2Config", dict(SHAPE, head_dim=None), "float32", None),
    "qwen2-tied-f16": ("Qwen2Config", dict(SHAPE, head_dim=None, tie_word_embeddings=True),
                       "float16", "60KB"),
    "qwen3": ("Qwen3Config", dict(SHAPE, head_dim=32), "float32", None),
    "qwen3-bf16": ("Qwen3Config", dict(SHAPE, head_dim=32), "bfloat16", None),
}
MOE = dict(SHAPE, moe_intermediate_size=32, num_experts=8, num_experts_per_tok=2)
LATENT = dict(vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
              num_attention_heads=4, num_key_value_heads=4, rms_norm_eps=1e-5,
              max_position_embeddings=512, kv_lora_rank=32, q_lora_rank=48, qk_nope_head_dim=32,
              qk_rope_head_dim=16, v_head_dim=32, moe_intermediate_size=32, n_routed_experts=8,
              num_experts_per_tok=3, n_shared_experts=2, first_k_dense_replace=1)
GPT_OSS = dict(SHAPE, intermediate_size=64, num_local_experts=4, num_experts_per_tok=2,
               sliding_window=8,
               layer_types=["sliding_attention", "full_attention", "sliding_attention"],
               rope_parameters={**YARN, **BETAS, "truncate": False})
VARIANTS.update({
    "mixtral": ("MixtralConfig", dict(SHAPE, num_local_experts=4, num_experts_per_tok=2,
                                      sliding_window=None), "float32", None),
    "qwen3-moe": ("Qwen3MoeConfig", dict(MOE, head_dim=32, norm_topk_prob=True), "float32", None),
    "qwen3-moe-raw": ("Qwen3MoeConfig", dict(MOE, head_dim=32, norm_topk_prob=False), "bfloat16",
                      "60KB"),
    "qwen2-moe": ("Qwen2MoeConfig", dict(MOE, head_dim=None, shared_expert_intermediate_size=48,
                                         norm_topk_prob=False), "float32", None),
    "mistral-window": ("MistralConfig", dict(SHAPE, sliding_window=8), "float32", None),
    "smollm3": ("SmolLM3Config", dict(SHAPE, num_hidden_layers=5, no_rope_layer_interval=2,
                                      pad_token_id=None, tie_word_embeddings=True), "float32",
                None),
    "phi3": ("Phi3Config", dict(SHAPE, head_dim=None, pad_token_id=None, sliding_window=None),
             "float32", None),
    "phi3-longrope": ("Phi3Config", dict(
        SHAPE, head_dim=None, pad_token_id=None, sliding_window=None, tie_word_embeddings=True,
        original_max_position_embeddings=34, rope_parameters=dict(
            ROPE, rope_type="longrope", partial_rotary_factor=0.75,
            original_max_position_embeddings=34, long_factor=[1.5, 2.0, 3.0, 4.0, 6.0, 9.0],
            short_factor=[1.0, 1.1, 1.2, 1.3, 1.4, 1.5])), "float32", None),
    "phi3-window": ("Phi3Config", dict(SHAPE, head_dim=None, pad_token_id=None, sliding_window=8),
                    "bfloat16", "60KB"),
    "qwen2-windows": ("Qwen2Config", dict(SHAPE, head_dim=None, use_sliding_window=True,
                                          sliding_window=8, max_window_layers=1), "float32", None),
    "deepseek-v3": ("DeepseekV3Config", dict(LATENT, n_group=4, topk_group=2, norm_topk_prob=True,
                                             routed_scaling_factor=2.5), "float32", None),
    "deepseek-v3-yarn": ("DeepseekV3Config", dict(
        LATENT, n_group=1, topk_group=1, routed_scaling_factor=1.5,
        rope_parameters={**YARN, **BETAS, "mscale": 1.0, "mscale_all_dim": 1.0}), "float32", None),
    "glm4-moe-lite": ("Glm4MoeLiteConfig", {
        **{k: v for k, v in LATENT.items() if k != "first_k_dense_replace"}, "n_group": 1,
        "topk_group": 1, "norm_topk_prob": True, "routed_scaling_factor": 1.8}, "float32", None),
    "deepseek-v2-lite": ("DeepseekV2Config", dict(
        LATENT, q_lora_rank=None, n_group=1, topk_group=1, topk_method="greedy",
        routed_scaling_factor=1.0,
        rope_parameters={**YARN, **BETAS, "mscale": 0.7, "mscale_all_dim": 0.7}),
                         "float32", None),
    "deepseek-v2": ("DeepseekV2Config", dict(LATENT, n_group=4, topk_group=2,
                                             topk_method="group_limited_greedy",
                                             routed_scaling_factor=16.0), "float32", None),
    "gpt-oss": ("GptOssConfig", GPT_OSS, "float32", None),
    "gpt-oss-bf16": ("GptOssConfig", GPT_OSS, "bfloat16", "60KB"),
    "gpt-oss-mxfp4": ("GptOssConfig", GPT_OSS, "float32", None),
})
ARCHS = {"llama": "llama", "mistral": "llama", "mixtral": "llama", "qwen2": "qwen2", "smollm3": "smollm3",
         "phi3": "phi3",
         "qwen3": "qwen3", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe", "gpt_oss": "gpt-oss",
         "deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2", "glm4_moe_lite": "deepseek2"}
N_TOKENS = 48


def make_model(name):
    class_name, values, dtype, _ = VARIANTS[name]
    values = {k: v for k, v in values.items() if v is not None or k != "head_dim"}
    values.setdefault("rope_parameters", dict(ROPE))
    config = getattr(transformers, class_name)(**values)
    torch.manual_seed(sum(name.encode()))
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            centre = 1.0 if "norm" in key and parameter.ndim == 1 else 0.0
            parameter.copy_(centre + 0.2 * torch.randn_like(parameter))
        for key, buffer in model.named_buffers():
            if key.endswith("e_score_correction_bias"):
                buffer.copy_(0.3 * torch.randn_like(buffer))
    for parameter in model.parameters():  # not the buffers: the frequencies stay float32
        parameter.data = parameter.data.to(getattr(torch, dtype))
    model.config.dtype = getattr(torch, dtype)
    return model.eval()


def reference(model, tokens):
    model = model.float()
    module = sys.modules[type(model).__module__]
    original = module.eager_attention_forward

    latent = getattr(model.config, "kv_lora_rank", None)

    def rounded(layer, query, key, value, *args, **kwargs):
        if latent:  # what is stored is the latent vector (below) and the rotated part of the key
            nope = model.config.qk_nope_head_dim
            key = torch.cat([key[..., :nope], key[..., nope:].half().float()], -1)
        else:
            key, value = key.half().float(), value.half().float()
        return original(layer, query, key, value, *args, **kwargs)
    module.eager_attention_forward = rounded
    for name, part in model.named_modules():
        if latent and name.endswith("kv_a_layernorm"):
            part.register_forward_hook(lambda part, inputs, output: output.half().float())
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].float().numpy()
    module.eager_attention_forward = original
    return logits


def quantise(x):
    """8 bits in blocks of 32, as inputs of quantised products are here."""
    blocks = x.unflatten(-1, (-1, 32))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    return (torch.round(blocks / scale.clamp_min(1e-30)) * scale).flatten(-2)


def round_expert_inputs(model):
    for layer in model.model.layers:
        experts = layer.mlp.experts
        gate = experts._apply_gate
        experts.register_forward_pre_hook(lambda _, args: (quantise(args[0]), *args[1:]))
        experts._apply_gate = lambda x, gate=gate: quantise(gate(x))


def interleave(weight, heads):
    """Rows of llama's q and k as GGUF has them."""
    shape = weight.shape
    return weight.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
         "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
         "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "self_attn.q_a_proj": "attn_q_a",
         "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
         "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
         "self_attn.kv_a_layernorm": "attn_kv_a_norm", "self_attn.kv_b_proj": "attn_kv_b",
         "mlp.gate": "ffn_gate_inp", "mlp.router": "ffn_gate_inp",
         "mlp.shared_expert_gate": "ffn_gate_inp_shexp", "self_attn.qkv_proj": "attn_qkv",
         "mlp.gate_up_proj": "ffn_up"}
for shared in ("mlp.shared_expert.", "mlp.shared_experts."):
    NAMES.update({f"{shared}{kind}_proj": f"ffn_{kind}_shexp" for kind in ("gate", "up", "down")})


def layer_tensors(config, name, values):
    """GGUF's names without the layer, and the values, of one tensor of a layer."""
    heads = {"self_attn.q_proj": config.num_attention_heads,
             "self_attn.k_proj": config.num_key_value_heads}
    stem, _, suffix = name.rpartition(".")
    is_gpt_oss = config.model_type == "gpt_oss"
    if name == "self_attn.sinks":
        return {"attn_sinks.weight": values}
    if name == "mlp.gate.e_score_correction_bias":
        return {"exp_probs_b.bias": values}
    if stem == "mlp.experts":
        kind = "bias" if suffix.endswith("_bias") else "weight"
        if is_gpt_oss and kind == "weight":
            values = values.swapaxes(1, 2)
        if suffix.startswith("down"):
            return {f"ffn_down_exps.{kind}": values}
        half = values.shape[1] // 2
        gate, up = (values[:, 0::2], values[:, 1::2]) if is_gpt_oss else (values[:, :half],
                                                                          values[:, half:])
        return {f"ffn_gate_exps.{kind}": gate, f"ffn_up_exps.{kind}": up}
    if ARCHS[config.model_type] in ("llama", "smollm3") and stem in heads:
        values = interleave(values, heads[stem])
    target = NAMES[stem]
    if is_gpt_oss and target == "ffn_norm":
        target = "post_attention_norm"
    return {f"{target}.{suffix}": values[0] if target == "ffn_gate_inp_shexp" else values}


def write_mixture_keys(writer, arch, config):
    def get(*names):
        return next((getattr(config, n) for n in names if getattr(config, n, None) is not None),
                    None)
    whole = {"expert_count": get("num_experts", "num_local_experts", "n_routed_experts"),
             "expert_used_count": get("num_experts_per_tok"),
             "expert_feed_forward_length":
                 config.intermediate_size if arch == "gpt-oss" else get("moe_intermediate_size"),
             "expert_shared_feed_forward_length": get("shared_expert_intermediate_size"),
             "expert_shared_count": get("n_shared_experts"),
             "leading_dense_block_count": get("first_k_dense_replace"),
             "expert_group_count": get("n_group"), "expert_group_used_count": get("topk_group"),
             "attention.kv_lora_rank": get("kv_lora_rank"),
             "attention.q_lora_rank": get("q_lora_rank")}
    if get("mlp_layer_types"):
        whole["leading_dense_block_count"] = config.mlp_layer_types.count("dense")
    if arch == "deepseek2":
        whole["expert_gating_func"] = 1 if config.model_type == "deepseek_v2" else 2
    for key, value in whole.items():
        if value is not None:
            writer.add_uint32(f"{arch}.{key}", value)
    if get("norm_topk_prob") is not None:
        writer.add_bool(f"{arch}.expert_weights_norm", config.norm_topk_prob)
    if get("routed_scaling_factor") is not None:
        writer.add_float32(f"{arch}.expert_weights_scale", config.routed_scaling_factor)


def write_gguf(path, model, dtype):
    config = model.config
    arch = ARCHS[config.model_type]
    writer = gguf.GGUFWriter(path, arch)
    head_dim = getattr(config, "head_dim", None) or (config.hidden_size //
                                                     config.num_attention_heads)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    if arch == "smollm3":
        writer.add_array("smollm3.rope.layers", [bool(x) for x in config.no_rope_layers])
    latent = getattr(config, "kv_lora_rank", None)
    rope = config.rope_parameters
    n_rot = (config.qk_rope_head_dim if latent else
             int(head_dim * rope.get("partial_rotary_factor", 1)))
    writer.add_key_length(config.qk_nope_head_dim + n_rot if latent else head_dim)
    writer.add_value_length(config.v_head_dim if latent else head_dim)
    write_mixture_keys(writer, arch, config)
    if getattr(config, "sliding_window", None) and (arch in ("llama", "gpt-oss", "phi3")
                                                    or config.use_sliding_window):
        writer.add_sliding_window(config.sliding_window)
        if arch.startswith("qwen"):
            writer.add_array(f"{arch}.attention.sliding_window_pattern",
                             [t == "sliding_attention" for t in config.layer_types])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(n_rot)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_string(f"{arch}.rope.scaling.type", rope["rope_type"])
        writer.add_float32(f"{arch}.rope.scaling.factor", rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_float64(f"{arch}.rope.scaling.yarn_beta_fast", rope.get("beta_fast") or 32.0)
        writer.add_float64(f"{arch}.rope.scaling.yarn_beta_slow", rope.get("beta_slow") or 1.0)
        if rope.get("mscale_all_dim"):
            writer.add_float64(f"{arch}.rope.scaling.yarn_log_multiplier",
                               0.1 * rope["mscale_all_dim"])
        writer.add_bool(f"{arch}.rope.scaling.yarn_truncate", rope.get("truncate", True))
        if rope.get("attention_factor"):
            writer.add_float64(f"{arch}.rope.scaling.attn_factor",
                               rope["attention_factor"] / (1 + 0.1 * np.log(rope["factor"])))
    if rope["rope_type"] == "longrope":
        original = rope["original_max_position_embeddings"]
        scale = config.max_position_embeddings / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_float64(f"{arch}.rope.scaling.attn_factor",
                           np.sqrt(1 + np.log(scale) / np.log(original)))
        for kind in ("long", "short"):
            writer.add_tensor(f"rope_factors_{kind}.weight",
                              np.array(rope[f"{kind}_factor"], np.float32))
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(rope, head_dim))
    tied = config.tie_word_embeddings
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        values = tensor.float().numpy()
        outer = {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight",
                 "model.norm.weight": "output_norm.weight"}.get(name)
        layer, inner = ("", "") if outer else name[len("model.layers."):].split(".", 1)
        for target, part in ({outer: values} if outer else
                             layer_tensors(config, inner, values)).items():
            raw = None
            if part.ndim > 1 and dtype == "float16":
                part = part.astype(np.float16)
            if part.ndim > 1 and dtype == "bfloat16":
                raw = gguf.GGMLQuantizationType.BF16
                part = gguf.quants.quantize(np.ascontiguousarray(part), raw)
            writer.add_tensor(target if outer else f"blk.{layer}.{target}",
                              np.ascontiguousarray(part), raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama3_divisors(rope, head_dim):
    frequencies = rope["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim)
    waves, original = 2 * np.pi / frequencies, rope["original_max_position_embeddings"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    smooth = (original / waves - low) / (high - low)
    middle = 1 / ((1 - smooth) / factor + smooth)
    return np.where(waves < original / high, 1.0,
                    np.where(waves > original / low, factor, middle)).astype(np.float32)


def ours(cli, path, tokens, work):
    words = work / "tokens.i32"
    words.write_bytes(struct.pack(f"<{len(tokens) + 2}i", 1, len(tokens), *tokens))
    out = work / "logits.f32"
    subprocess.run([cli, str(path), str(words), str(out), "chunk=16", "threads=2"], check=True,
                   capture_output=True)
    return np.fromfile(out, "<f4").reshape(len(tokens), -1)


def pack_mxfp4(weight):
    """[experts, rows, columns] -> blocks, scales and what they stand for: gpt-oss's published form."""
    values = np.array([0, .5, 1, 1.5, 2, 3, 4, 6], np.float32)
    values = np.concatenate([values, -values])
    groups = weight.reshape(*weight.shape[:-1], -1, 32)
    exponent = np.floor(np.log2(np.abs(groups).max(-1) + 1e-30)) - 2
    codes = np.abs(groups[..., None] / 2.0 ** exponent[..., None, None] - values).argmin(-1)
    blocks = (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)
    back = values[codes] * 2.0 ** exponent[..., None]
    return blocks, (exponent + 127).astype(np.uint8), back.reshape(weight.shape).astype(np.float32)


def save_gpt_oss(model, directory):
    """Packs the experts; the model keeps what the packed ones stand for."""
    state = {}
    for name, tensor in model.state_dict().items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            state[name] = tensor.contiguous()
            continue
        blocks, scales, back = pack_mxfp4(tensor.transpose(1, 2).numpy())
        state[name + "_blocks"] = torch.from_numpy(blocks).contiguous()
        state[name + "_scales"] = torch.from_numpy(scales).contiguous()
        tensor.copy_(torch.from_numpy(back).transpose(1, 2))
    safetensors.torch.save_file(state, directory / "model.safetensors")
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] = {"quant_method": "mxfp4"}
    path.write_text(json.dumps(config))


def divergence(wanted, logits):
    """Median over the positions: a rounding may fall the other way at some."""
    def log_probabilities(x):
        x = x.astype(np.float64) - x.max(-1, keepdims=True)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))
    a, b = log_probabilities(wanted), log_probabilities(logits)
    return float(np.median((np.exp(a) * (a - b)).sum(-1)))


def old_spelling(directory):
    """config.json as transformers 4 wrote it."""
    path = directory / "config.json"
    config = json.loads(path.read_text())
    if config["model_type"].startswith("qwen"):
        config.pop("layer_types", None)
    rope = config.pop("rope_parameters", None)
    if rope:
        config["rope_theta"] = rope.pop("rope_theta")
        kind = rope.pop("rope_type")
        config["rope_scaling"] = None if kind == "default" else dict(rope, type=kind)
    config["torch_dtype"] = config.pop("dtype", "float32")
    path.write_text(json.dumps(config))


def check(name, cli, work):
    _, _, dtype, shard = VARIANTS[name]
    directory = work / name
    model = make_model(name)
    model.save_pretrained(directory, **({"max_shard_size": shard} if shard else {}))
    packed = name == "gpt-oss-mxfp4"
    if packed:
        with torch.no_grad():
            save_gpt_oss(model, directory)
    has_gguf = not packed
    if has_gguf:
        write_gguf(work / "model.gguf", model, dtype)
    tokens = [int(t) for t in np.random.default_rng(1).integers(0, 160, N_TOKENS)]
    if packed:  # inputs of quantised products have 8 bits here
        model.set_experts_implementation("eager")
        round_expert_inputs(model)
    wanted = reference(model, tokens)
    logits = ours(cli, directory, tokens, work)
    same = [not has_gguf or np.array_equal(logits, ours(cli, work / "model.gguf", tokens, work))]
    old_spelling(directory)
    same.append(np.array_equal(logits, ours(cli, directory, tokens, work)))
    error = np.abs(logits - wanted).max() / np.abs(wanted).max()
    best = bool((logits.argmax(-1) == wanted.argmax(-1)).all())
    close = error < 1e-3 and best
    if packed:  # where a last bit tips an input to its next step, or a router's choice, logits move
        close = divergence(wanted, logits) < 1e-6
        print(f"median KL {divergence(wanted, logits):.1e}  ", end="")
    good = all(same) and close
    print(f"{name:30} {len(list(directory.glob('*.safetensors')))} file(s)  error {error:.1e}  "
          f"arg-max {'equal' if best else 'DIFFERS'}  GGUF {'-' if not has_gguf else 'same bits' if same[0] else 'DIFFERS'}  "
          f"old spelling {'same bits' if same[1] else 'DIFFERS'}")
    return good


# ---- every number of config.json matters ----

# What changes no logits, and why.
WALK_EXEMPT = {
    "training": ("initializer_range", "attention_dropout", "router_aux_loss_coef", "aux_loss_alpha",
                 "output_router_logits", "router_jitter_noise", "resid_pdrop", "embd_pdrop",
                 "seq_aux"),
    "of the library": ("use_cache", "dtype", "torch_dtype", "transformers_version", "model_type",
                       "architectures", "pretraining_tp", "experts_implementation",
                       "return_dict", "output_hidden_states", "output_attentions"),
    "of the tokenizer": ("bos_token_id", "eos_token_id", "pad_token_id"),
    "a limit": ("max_position_embeddings",),
    "of draft layers": ("num_nextn_predict_layers",),
    "said by layer_types": ("max_window_layers",),
}
EXEMPT = {name for names in WALK_EXEMPT.values() for name in names}
# Of dense layers where there are none; of windows where use_sliding_window is false or names none.
NO_WINDOWS = {"sliding_window", "use_sliding_window"}
EXEMPT_OF = {"phi3-longrope": {"short_factor"},  # the context is longer
             "phi3": {"original_max_position_embeddings"},  # of longrope, which is refused
             "phi3-window": {"original_max_position_embeddings"},
             "smollm3": NO_WINDOWS | {"no_rope_layer_interval"},  # no_rope_layers says it
             "qwen3-moe": NO_WINDOWS | {"intermediate_size"},
             "qwen3-moe-raw": NO_WINDOWS | {"intermediate_size"},
             "qwen2-moe": NO_WINDOWS | {"intermediate_size"}, "qwen2": NO_WINDOWS,
             "qwen2-tied-f16": NO_WINDOWS, "qwen3": NO_WINDOWS, "qwen3-bf16": NO_WINDOWS}


def changed(value):
    """Another value of the same kind, or None."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 4 * value if value > 32 else value + 1 if value % 2 else value - 1 if value else 1
    if isinstance(value, float):
        return 1.5 * value
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list) and value:
        return value[1:] + value[:1] if len(set(map(str, value))) > 1 else value[1:]
    return None


def places(config):
    """(object, key) of everything that may be changed, nested objects included."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from ((owner, name) for owner, name in places(value))
        elif key not in EXEMPT:
            yield config, key


def walk(name, cli, work):
    """Each value of config.json changed alone: other logits, or a refusal."""
    directory = work / name
    model = make_model(name)
    model.save_pretrained(directory)
    if name == "gpt-oss-mxfp4":
        with torch.no_grad():
            save_gpt_oss(model, directory)
    tokens = [int(t) for t in np.random.default_rng(1).integers(0, 160, N_TOKENS)]
    path = directory / "config.json"
    config = json.loads(path.read_text())
    wanted = ours(cli, directory, tokens, work)
    silent, n_refused, n_places = [], 0, 0
    for owner, key in list(places(config)):
        if key in EXEMPT_OF.get(name, ()):
            continue
        kept, other = owner[key], changed(owner[key])
        if other is None:
            continue
        n_places += 1
        owner[key] = other
        path.write_text(json.dumps(config))
        try:
            if np.array_equal(wanted, ours(cli, directory, tokens, work)):
                silent.append(f"{key}: {kept} -> {other}")
        except subprocess.CalledProcessError as error:
            n_refused += 1
            assert error.returncode == 1, error
        owner[key] = kept
    print(f"{name:30} {n_places} values, {n_refused} refused, {len(silent)} without effect "
          f"{'; '.join(silent)}")
    return not silent


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--work")
    parser.add_argument("--walk", action="store_true", help="change each value of config.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(args.work or temporary)
        results = [(walk if args.walk else check)(name, args.cli, work)
                   for name in args.only or VARIANTS]
    print(f"{sum(results)} of {len(results)} agree")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
