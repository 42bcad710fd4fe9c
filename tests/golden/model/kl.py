#!/usr/bin/env python3
"""Logits of ours and of llama.cpp against transformers in float32 on the same dequantised weights.

For every text: token ids, then logits at all positions from three engines; KL divergence of each
engine's distribution from the float32 one, and how often the best token agrees.

    kl.py --model FILE --cli build/release/tests/golden/model/logits_cli --peer-source build/peers/source
          --peer-lib build/peers/build/bin [--texts FILE ...] [--tokens-max 2600] [--work DIR] [--precise]

Needs torch 2.13.0, transformers 5.23.0, gguf, numpy, tokenizers. The texts default to an English one,
a Chinese one and C code, of which two run past 2,048 tokens. Ends with a line per requirement:
mean KL at most 1.1 times and p99 at most 1.3 times llama.cpp's, top-1 agreement at least as good.
"""
import argparse
import os
import subprocess
import sys

import numpy as np

ROOT = os.path.dirname(os.path.abspath(__file__)) + "/../../.."
TEXTS = [ROOT + "/LICENSE", ROOT + "/tests/golden/model/texts/chinese.txt",
         ROOT + "/engine/base/json_scan.c"]


def load_reference(path):
    """transformers' Llama in float32 on the dequantised tensors, and the tokenizer of the file."""
    import torch
    from gguf import GGUFReader, dequantize
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    reader = GGUFReader(path)
    field = lambda key: reader.fields[key].contents()
    heads, kv = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    config = LlamaConfig(
        hidden_size=field("llama.embedding_length"), num_hidden_layers=field("llama.block_count"),
        intermediate_size=field("llama.feed_forward_length"), num_attention_heads=heads,
        num_key_value_heads=kv, vocab_size=len(field("tokenizer.ggml.tokens")),
        rms_norm_eps=field("llama.attention.layer_norm_rms_epsilon"),
        max_position_embeddings=field("llama.context_length"), tie_word_embeddings=True,
        rope_theta=field("llama.rope.freq_base"),
        rope_parameters={"rope_type": "default", "rope_theta": field("llama.rope.freq_base")})
    tensors = {t.name: torch.from_numpy(dequantize(t.data, t.tensor_type).astype(np.float32).copy())
               for t in reader.tensors}
    assert "output.weight" not in tensors, "this script expects tied embeddings"

    def unpermute(w, n):  # GGUF stores rotary pairs adjacent, transformers in halves
        return w.reshape(n, w.shape[0] // n // 2, 2, w.shape[1]).transpose(1, 2).reshape(w.shape)

    state = {"model.embed_tokens.weight": tensors["token_embd.weight"],
             "lm_head.weight": tensors["token_embd.weight"],
             "model.norm.weight": tensors["output_norm.weight"]}
    names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
             "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj"}
    for layer in range(config.num_hidden_layers):
        for ours, theirs in names.items():
            w = tensors[f"blk.{layer}.{ours}.weight"]
            if ours in ("attn_q", "attn_k"):
                w = unpermute(w, heads if ours == "attn_q" else kv)
            state[f"model.layers.{layer}.{theirs}.weight"] = w
    model = LlamaForCausalLM(config).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and not [m for m in missing if "rotary" not in m], (missing, unexpected)

    vocab = {t: i for i, t in enumerate(field("tokenizer.ggml.tokens"))}
    merges = [tuple(m.split(" ", 1)) for m in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return model, tokenizer


def reference_logits(model, ids):
    import torch
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def our_logits(args, ids, index):
    """One sequence through logits_cli: int32 ids in, float32 logits out."""
    source, target = f"{args.work}/ids{index}.bin", f"{args.work}/ours{index}.bin"
    np.asarray([1, len(ids), *ids], np.int32).tofile(source)
    subprocess.run([args.cli, args.model, source, target, f"threads={args.threads}",
                    f"chunk={args.chunk}", f"precise={int(args.precise)}"], check=True, stdout=subprocess.DEVNULL)
    return np.fromfile(target, np.float32).reshape(len(ids), -1)


class Peer:
    """llama.cpp through the Python package's own bindings, on the library that was built."""

    def __init__(self, args):
        os.environ["LLAMA_CPP_LIB_PATH"] = os.path.abspath(args.peer_lib)
        sys.path.insert(0, args.peer_source)
        import llama_cpp.llama_cpp as lib
        self.lib = lib
        lib.llama_backend_init()
        params = lib.llama_model_default_params()
        self.model = lib.llama_model_load_from_file(args.model.encode(), params)
        context = lib.llama_context_default_params()
        context.n_ctx, context.n_batch, context.n_ubatch = 4096, 512, 512
        context.n_threads = context.n_threads_batch = args.threads
        self.context = lib.llama_init_from_model(self.model, context)
        self.n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))

    def logits(self, ids):
        lib = self.lib
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)
        out = np.empty((len(ids), self.n_vocab), np.float32)
        for start in range(0, len(ids), 512):
            part = ids[start:start + 512]
            batch = lib.llama_batch_init(len(part), 0, 1)
            batch.n_tokens = len(part)
            for i, token in enumerate(part):
                batch.token[i], batch.pos[i] = token, start + i
                batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, 0, 1
            assert lib.llama_decode(self.context, batch) == 0
            for i in range(len(part)):
                row = lib.llama_get_logits_ith(self.context, i)
                out[start + i] = np.ctypeslib.as_array(row, (self.n_vocab,))
            lib.llama_batch_free(batch)
        return out


def log_softmax(logits):
    x = logits.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def compare(reference, logits):
    kl, same = [], []
    for start in range(0, len(reference), 256):
        p, q = log_softmax(reference[start:start + 256]), log_softmax(logits[start:start + 256])
        kl.append((np.exp(p) * (p - q)).sum(axis=1))
        same.append(p.argmax(axis=1) == q.argmax(axis=1))
    return np.concatenate(kl), np.concatenate(same)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--cli", default="build/release/tests/golden/model/logits_cli")
    parser.add_argument("--peer-source", default="build/peers/source")
    parser.add_argument("--peer-lib", default="build/peers/build/bin")
    parser.add_argument("--texts", nargs="*", default=TEXTS)
    parser.add_argument("--precise", action="store_true", help="ours in the numerics class precise")
    parser.add_argument("--tokens-max", type=int, default=2600)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--work", default="build/kl")
    parser.add_argument("--skip-ours", action="store_true")
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    model, tokenizer = load_reference(args.model)
    peer = Peer(args)
    totals = {"ours": ([], []), "llama.cpp": ([], [])}
    positions = 0
    for index, text in enumerate(args.texts):
        ids = tokenizer.encode(open(text, encoding="utf-8").read()).ids[:args.tokens_max]
        reference = reference_logits(model, ids)
        positions += len(ids)
        engines = {"llama.cpp": peer.logits(ids)}
        if not args.skip_ours:
            engines["ours"] = our_logits(args, ids, index)
        for name, logits in sorted(engines.items()):
            kl, same = compare(reference, logits)
            totals[name][0].append(kl)
            totals[name][1].append(same)
            print(f"{os.path.basename(text):14} {len(ids):5} tokens  {name:10} KL mean {kl.mean():.6f} "
                  f"p99 {np.quantile(kl, .99):.6f} max {kl.max():.6f}  top-1 {same.mean():.4%}", flush=True)
    results = {}
    for name, (kls, sames) in totals.items():
        if kls:
            kl, same = np.concatenate(kls), np.concatenate(sames)
            results[name] = kl.mean(), np.quantile(kl, .99), same.mean()
            print(f"all            {positions:5} tokens  {name:10} KL mean {kl.mean():.6f} "
                  f"p99 {np.quantile(kl, .99):.6f}  top-1 {same.mean():.4%} ({same.sum()})")
    if args.skip_ours:
        return
    ours, theirs = results["ours"], results["llama.cpp"]
    checks = [("mean KL <= 1.1 x llama.cpp", ours[0] <= 1.1 * theirs[0], ours[0] / theirs[0]),
              ("p99 KL <= 1.3 x llama.cpp", ours[1] <= 1.3 * theirs[1], ours[1] / theirs[1]),
              ("top-1 agreement >= llama.cpp", ours[2] >= theirs[2], ours[2] - theirs[2])]
    for name, ok, value in checks:
        print("ok   " if ok else "FAIL ", name, f"({value:.4f})")
    failed = sum(not ok for _, ok, _ in checks)
    print(f"{len(checks) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
