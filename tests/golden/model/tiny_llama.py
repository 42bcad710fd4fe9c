"""Makes the golden logits of the tiny models of tests/engine/model/tiny_model.h.

For each variant: the same weights as the C side (a pure function of tensor name and type), given to
transformers in float32 (quantised ones after gguf-py's dequantisation), and the logits at some
positions of one prompt of 300 tokens, as raw float32 [positions, vocabulary] in <variant>.f32.
Two roundings of ours are made there too, or the comparison could not be sharper than they are: keys
and values are rounded to f16 before attention, as our cache stores them, and inputs of quantised
matrices to 8 bits in blocks of 32.

Run by hand or by `make golden`; made with torch 2.13.0, transformers 5.23.0, gguf 0.17.
"""

import pathlib

import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize
from transformers import (LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM,
                          Qwen3Config, Qwen3ForCausalLM)
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3

HERE = pathlib.Path(__file__).parent
POSITIONS = [0, 1, 31, 32, 33, 100, 255, 256, 257, 299]
CTX = 512
MASK = (1 << 64) - 1

SHAPE = dict(n_embd=64, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=16, n_ff=96, n_vocab=96)
WIDE = dict(n_embd=256, n_layers=2, n_heads=4, n_kv_heads=1, head_dim=64, n_ff=256, n_vocab=96)
WIDE_HEADS = dict(n_embd=48, n_layers=3, n_heads=3, n_kv_heads=1, head_dim=48, n_ff=72,
                  n_vocab=90)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=16.0,
            beta_slow=2.0)

VARIANTS = {
    "llama_f32": dict(SHAPE, dtype=T.F32),
    "llama_f16": dict(SHAPE, dtype=T.F16),
    "llama_bf16": dict(SHAPE, dtype=T.BF16),
    "llama_tied": dict(SHAPE, dtype=T.F16, tied=True),
    "llama_bias": dict(SHAPE, dtype=T.F32, biases=True),
    "llama_partial": dict(SHAPE, dtype=T.F16, n_rot=8),
    "llama_wide_heads": dict(WIDE_HEADS, dtype=T.F16, tied=True),
    "llama_linear": dict(SHAPE, dtype=T.F16, rope=dict(rope_type="linear", factor=4.0)),
    "llama_llama3": dict(SHAPE, dtype=T.F16, rope=LLAMA3),
    "llama_yarn": dict(SHAPE, dtype=T.F16, rope=YARN),
    "llama_q4_0": dict(SHAPE, dtype=T.Q4_0),
    "llama_q4_1": dict(SHAPE, dtype=T.Q4_1, tied=True),
    "llama_q5_0": dict(SHAPE, dtype=T.Q5_0),
    "llama_q5_1": dict(SHAPE, dtype=T.Q5_1),
    "llama_q8_0": dict(SHAPE, dtype=T.Q8_0),
    "llama_q4_k": dict(WIDE, dtype=T.Q4_K),
    "llama_q5_k": dict(WIDE, dtype=T.Q5_K),
    "llama_q6_k": dict(WIDE, dtype=T.Q6_K),
    "llama_q2_k": dict(WIDE, dtype=T.Q2_K),
    "llama_q3_k": dict(WIDE, dtype=T.Q3_K),
    "llama_iq4_nl": dict(SHAPE, dtype=T.IQ4_NL),
    "llama_iq4_xs": dict(WIDE, dtype=T.IQ4_XS),
    "llama_mxfp4": dict(SHAPE, dtype=T.MXFP4),
    "llama_iq3_s": dict(WIDE, dtype=T.IQ3_S),
    "llama_iq2_xxs": dict(WIDE, dtype=T.IQ2_XXS),
    "llama_tq2_0": dict(WIDE, dtype=T.TQ2_0),
    "qwen2_f16": dict(SHAPE, dtype=T.F16, biases=True, arch="qwen2"),
    "qwen3_f16": dict(SHAPE, dtype=T.F16, arch="qwen3"),
}

# offset and half-float bits of the scale, then of the minimum, as in tiny_scales().
SCALES = {T.Q4_0: (0, 0x2800), T.Q4_1: (0, 0x2800, 2, 0xB400), T.Q5_0: (0, 0x2400),
          T.Q5_1: (0, 0x2400, 2, 0xB400), T.Q8_0: (0, 0x1800), T.Q4_K: (0, 0x1000, 2, 0x1C00),
          T.Q5_K: (0, 0x0C00, 2, 0x1C00), T.Q6_K: (208, 0x0400),
          T.Q2_K: (80, 0x2000, 82, 0x2000), T.Q3_K: (108, 0x1C00), T.IQ4_NL: (0, 0x1400),
          T.IQ4_XS: (0, 0x0400), T.IQ3_S: (0, 0x1000), T.IQ2_XXS: (0, 0x1800),
          T.TQ2_0: (64, 0x2C00)}


def words(seed, n):
    x = np.uint64(seed) + np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def seed_of(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def values(name, dtype, shape, centre, width):
    n = int(np.prod(shape))
    if dtype in (T.F32, T.F16, T.BF16):
        unit = (words(seed_of(name), n) >> np.uint64(40)).astype(np.float64) * 2.0**-24
        floats = (centre + (2 * unit - 1) * width).astype(np.float32)
        if dtype == T.F16:
            floats = floats.astype(np.float16).astype(np.float32)
        if dtype == T.BF16:
            floats = torch.from_numpy(floats).bfloat16().float().numpy()
        return floats.reshape(shape)
    elements, size = GGML_QUANT_SIZES[dtype]
    n_blocks, per_block = n // elements, (size + 7) // 8
    raw = words(seed_of(name), n_blocks * per_block).view(np.uint8).reshape(n_blocks, -1)
    raw = raw[:, :size].copy()
    if dtype == T.MXFP4:
        raw[:, 0] = 122 + (raw[:, 0] & 1)
        return dequantize(raw.reshape(shape[0], -1), dtype).reshape(shape).astype(np.float32)
    fields = SCALES[dtype]
    half = raw[:, fields[0]:fields[0] + 2].copy().view(np.uint16) & 0x3FF
    for offset, bits in zip(fields[0::2], fields[1::2]):
        raw[:, offset:offset + 2] = (half | bits).astype(np.uint16).view(np.uint8)
    rows = raw.reshape(shape[0], -1)
    return dequantize(rows, dtype).reshape(shape).astype(np.float32)


def unpermute(weight, n_heads, head_dim, n_rot):
    """Rows of a llama GGUF are paired (2i, 2i+1); transformers pairs (i, i + n_rot/2)."""
    heads = weight.reshape(n_heads, head_dim, *weight.shape[1:])
    rotated = heads[:, :n_rot].reshape(n_heads, n_rot // 2, 2, *weight.shape[1:])
    rotated = rotated.swapaxes(1, 2).reshape(n_heads, n_rot, *weight.shape[1:])
    return np.concatenate([rotated, heads[:, n_rot:]], axis=1).reshape(weight.shape)


def state_of(v):
    arch, dtype = v.get("arch", "llama"), v["dtype"]
    d, hd, ff = v["n_embd"], v["head_dim"], v["n_ff"]
    n_q, n_kv = v["n_heads"] * hd, v["n_kv_heads"] * hd
    n_rot = v.get("n_rot", hd)

    def matrix(name, rows, columns):
        return values(name, dtype, (rows, columns), 0, 0.25)

    def vector(name, n, norm=False):
        return values(name, T.F32, (n,), 1 if norm else 0, 0.3 if norm else 0.5)

    state = {"model.embed_tokens.weight": matrix("token_embd.weight", v["n_vocab"], d),
             "model.norm.weight": vector("output_norm.weight", d, True)}
    state["lm_head.weight"] = (state["model.embed_tokens.weight"] if v.get("tied") else
                               matrix("output.weight", v["n_vocab"], d))
    shapes = {"attn_q": ("self_attn.q_proj", n_q, d), "attn_k": ("self_attn.k_proj", n_kv, d),
              "attn_v": ("self_attn.v_proj", n_kv, d), "attn_output": ("self_attn.o_proj", d, n_q),
              "ffn_gate": ("mlp.gate_proj", ff, d), "ffn_up": ("mlp.up_proj", ff, d),
              "ffn_down": ("mlp.down_proj", d, ff)}
    for layer in range(v["n_layers"]):
        ours, theirs = f"blk.{layer}.", f"model.layers.{layer}."
        state[theirs + "input_layernorm.weight"] = vector(ours + "attn_norm.weight", d, True)
        state[theirs + "post_attention_layernorm.weight"] = vector(ours + "ffn_norm.weight", d,
                                                                   True)
        if arch == "qwen3":
            for x in "qk":
                state[f"{theirs}self_attn.{x}_norm.weight"] = vector(f"{ours}attn_{x}_norm.weight",
                                                                     hd, True)
        for name, (target, rows, columns) in shapes.items():
            parts = {"weight": matrix(f"{ours}{name}.weight", rows, columns)}
            if v.get("biases") and (arch == "llama" or name in ("attn_q", "attn_k", "attn_v")):
                parts["bias"] = vector(f"{ours}{name}.bias", rows)
            for part, value in parts.items():
                if arch == "llama" and name in ("attn_q", "attn_k"):
                    value = unpermute(value, rows // hd, hd, n_rot)
                state[theirs + target + "." + part] = value
    return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in state.items()}


def model_of(v):
    arch = v.get("arch", "llama")
    config_class, model_class = {"llama": (LlamaConfig, LlamaForCausalLM),
                                 "qwen2": (Qwen2Config, Qwen2ForCausalLM),
                                 "qwen3": (Qwen3Config, Qwen3ForCausalLM)}[arch]
    extra = {}
    if arch == "llama":
        extra = dict(attention_bias=v.get("biases", False), mlp_bias=v.get("biases", False))
    config = config_class(
        vocab_size=v["n_vocab"], hidden_size=v["n_embd"], intermediate_size=v["n_ff"],
        num_hidden_layers=v["n_layers"], num_attention_heads=v["n_heads"],
        num_key_value_heads=v["n_kv_heads"], head_dim=v["head_dim"], rms_norm_eps=1e-5,
        max_position_embeddings=CTX, tie_word_embeddings=v.get("tied", False),
        rope_parameters=dict({"rope_type": "default"}, **v.get("rope", {}), rope_theta=10000.0),
        attn_implementation="eager", **extra)
    model = model_class(config).float().eval()
    missing, unexpected = model.load_state_dict(state_of(v), strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    return model


def partial_rope(n_rot, original):
    """transformers' llama has no partial rotation: rotate the leading dimensions alone."""
    def apply(q, k, cos, sin, unsqueeze_dim=1):
        rotated = original(q[..., :n_rot], k[..., :n_rot], cos, sin, unsqueeze_dim)
        return tuple(torch.cat([r, x[..., n_rot:]], dim=-1) for r, x in zip(rotated, (q, k)))
    return apply


def round_keys_and_values(module):
    original = module.eager_attention_forward

    def attention(layer, query, key, value, *args, **kwargs):
        return original(layer, query, key.half().float(), value.half().float(), *args, **kwargs)
    module.eager_attention_forward = attention


def quantise_input(module, args):
    blocks = args[0].unflatten(-1, (-1, 32))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    rounded = torch.round(blocks / scale.clamp_min(1e-30)) * scale
    return (rounded.flatten(-2),)


def logits_of(v):
    model = model_of(v)
    if v["dtype"] not in (T.F32, T.F16, T.BF16):
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_pre_hook(quantise_input)
    original = modeling_llama.apply_rotary_pos_emb
    if "n_rot" in v:
        n_rot = v["n_rot"]
        inverse = 10000.0 ** (-torch.arange(0, n_rot, 2).float() / n_rot)
        model.model.rotary_emb.inv_freq = inverse
        modeling_llama.apply_rotary_pos_emb = partial_rope(n_rot, original)
    tokens = (words(7, 300) % np.uint64(v["n_vocab"])).astype(np.int64)
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens)[None]).logits[0].numpy()
    modeling_llama.apply_rotary_pos_emb = original
    if v.get("rope") is LLAMA3:
        plain = 10000.0 ** (-np.arange(0, 16, 2) / 16)
        print("  llama3 divisors", plain / model.model.rotary_emb.inv_freq.numpy())
    return logits[POSITIONS].astype("<f4")


for modelling in (modeling_llama, modeling_qwen2, modeling_qwen3):
    round_keys_and_values(modelling)
for name, variant in VARIANTS.items():
    logits = logits_of(variant)
    (HERE / f"{name}.f32").write_bytes(logits.tobytes())
    print(name, "max", float(np.abs(logits).max()), "std", float(logits.std()))
