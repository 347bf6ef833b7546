#!/usr/bin/env python3
"""Holds ucbench against the libraries it reimplements, on inputs made up at random.

    differential.py UCBENCH FOLDER [--seed N] [--count N] [--kinds quantizers,architectures,tokenizers]

The golden files are a few fixed cases of the same comparisons; this makes others: a seed is a
set of inputs. In FOLDER, for each kind, `count` rounds:

  quantizers      matrices of odd shapes and hard values through nf4, fp4, int8 (bitsandbytes), hqq
                  without its fit, and the block types of ggml, with and without importance: equal bytes
  architectures   a checkpoint of random sizes and switches of each model_type that transformers runs
                  in fp32: logits within 1e-5 of the largest one, or 20 times transformers' own distance
                  from fp64
  tokenizers      vocabularies trained by Hugging Face tokenizers on made-up text, with added tokens,
                  on texts of random Unicode: equal ids, but where the two sides' tables are of different
                  Unicode versions (NFC of marks younger than Unicode 10, letters younger than 14)

Needs torch, transformers, safetensors, bitsandbytes, hqq, llama_cpp, tokenizers. Prints a line for each
comparison that differs, then counts; exits with 1 if one differs.
"""
import argparse
import contextlib
import ctypes
import glob
import json
import os
import random
import subprocess
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
import numpy
import torch
from safetensors.torch import load_file, save_file

counts = {}


def note(kind, equal, what):
    done = counts.setdefault(kind, [0, 0])
    done[0] += 1
    if not equal:
        done[1] += 1
        print(f"DIFFERS  {kind}: {what}", flush=True)


def run(args, command, text=None):
    return subprocess.run([args.ucbench, *command], input=text, capture_output=True, text=True)


def bits(tensor):
    return tensor.contiguous().view(-1).numpy().tobytes()


# ---- quantizers ----

GGUF = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "IQ4_NL": 20, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12,
        "Q5_K": 13, "Q6_K": 14, "IQ4_XS": 23}
FIRST_OF_256 = 6  # in the list above


def hard_matrix(r, rows, columns):
    """Finite weights that fit into halves: zeros of both signs, ties, constants, outliers, denormals."""
    g = torch.Generator().manual_seed(r.randrange(1 << 30))
    w = torch.randn(rows, columns, generator=g)
    kind = r.choice(["plain", "zeros", "constant", "ties", "outlier", "tiny", "denormal", "sparse", "rows", "one side"])
    if kind == "zeros":
        w = torch.where(torch.rand(w.shape, generator=g) < 0.7, torch.where(w > 0, 0.0, -0.0), w)
        w.view(-1)[:70] = 0
    if kind == "constant":
        w[:] = r.choice([0.37, -3.3, 0.0, -0.0])
    if kind == "ties":
        w = torch.randint(-30, 31, w.shape, generator=g) / 2
    if kind == "outlier":
        w *= 0.01
        w.view(-1)[r.randrange(8)::64] = r.choice([50.0, -60000.0])
    if kind in ("tiny", "denormal"):
        w *= 1e-6 if kind == "tiny" else 1e-40
    if kind == "sparse":
        w *= torch.rand(w.shape, generator=g) < 0.05
    if kind == "rows":
        w *= 10 ** (4 * torch.rand(rows, 1, generator=g) - 3)
    if kind == "one side":
        w = r.choice([1, -1]) * (w.abs() + r.random())
    return kind, w


def quantize(args, spec, w, importance=None):
    source, out = (os.path.join(args.folder, name) for name in ("in.safetensors", "out.safetensors"))
    save_file({"w": w, "q": importance} if importance is not None else {"w": w}, source)
    command = ["quantize", "--method", spec, "--in", source, "--tensor", "w", "--out", out]
    done = run(args, command + (["--calib", source, "--calib-tensor", "q"] if importance is not None else []))
    return (load_file(out), "") if done.returncode == 0 else (None, done.stderr.strip())


def ggml():
    import llama_cpp
    folder = os.path.join(os.path.dirname(llama_cpp.__file__), "lib")
    library = ctypes.CDLL(glob.glob(folder + "/libggml-base.*")[0])
    library.ggml_row_size.restype = library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + 3 * [ctypes.c_int64] + [
        ctypes.c_void_p]
    return library


def check_gguf(args, library, r, kind, w):
    columns = w.shape[1]
    q = torch.rand(columns) * (torch.rand(columns) < 0.8) if r.random() < 0.5 else None
    data, weights = w.numpy(), None if q is None else q.numpy()
    for i, (name, number) in enumerate(GGUF.items()):
        if i >= FIRST_OF_256 and columns % 256 != 0:
            continue
        expected = numpy.zeros((w.shape[0], library.ggml_row_size(number, columns)), numpy.uint8)
        library.ggml_quantize_chunk(number, data.ctypes.data, expected.ctypes.data, 0, *w.shape,
                                    None if q is None else weights.ctypes.data)
        found, text = quantize(args, f"gguf:type={name},imatrix={int(q is not None)}", w, q)
        if found is None and "largest half" in text:
            continue  # ggml writes an infinite scale there
        note(name, found is not None and found["packed"].numpy().tobytes() == expected.tobytes(),
             f"{kind} {tuple(w.shape)}, importance {q is not None} {text}")


def check_hqq(args, quantizer, r, kind, w):
    n_bits, group, axis = r.choice([(4, 64), (3, 64), (2, 64), (2, 16)]) + (r.randrange(2),)
    if w.numel() % group != 0:
        return
    rows = w.numel() // group if axis == 1 else group
    if rows % {4: 2, 3: 1, 2: 4}[n_bits] != 0:
        return  # the library packs only these
    with contextlib.redirect_stdout(None):
        codes, meta = quantizer.quantize(w, nbits=n_bits, group_size=group, optimize=False, round_zero=n_bits == 4,
                                         axis=axis, bitpack=False, compute_dtype=torch.float32, device="cpu")
    found, text = quantize(args, f"hqq:bits={n_bits},group={group},axis={axis},optimize=0", w)
    note("hqq", found is not None and bits(found["codes"]) == bits(codes.to(torch.uint8)) and
         bits(found["scale"]) == bits(meta["scale"].float()) and bits(found["zero"]) == bits(meta["zero"].float()),
         f"{kind} {tuple(w.shape)}, {n_bits} bits, groups of {group}, axis {axis} {text}")


def check_bitsandbytes(args, bnb, r, kind, w):
    w = w.to(r.choice([torch.float32, torch.float16, torch.bfloat16]))
    what = f"{kind} {tuple(w.shape)} {w.dtype}"
    block = r.choice([32, 64, 64, 64, 128, 4096])
    for name in ("nf4", "fp4"):
        packed, state = bnb.quantize_4bit(w, blocksize=block, quant_type=name, compress_statistics=False)
        found, text = quantize(args, f"{name}:block={block}", w)
        note(name, found is not None and bits(found["packed"]) == bits(packed) and
             bits(found["absmax"]) == bits(state.absmax.float()), f"{what}, blocks of {block} {text}")
    half = w.half()
    if torch.isfinite(half).all():
        codes, absmax, _ = bnb.int8_vectorwise_quant(half)
        found, text = quantize(args, "int8", w)
        note("int8", found is not None and bits(found["codes"]) == bits(codes) and
             bits(found["absmax"]) == bits(absmax.float()), f"{what} {text}")


def quantizers(args, r):
    import bitsandbytes.functional as bnb
    from hqq.core.quantize import Quantizer
    library = ggml()
    for _ in range(args.count):
        kind, w = hard_matrix(r, r.choice([1, 2, 7, 16]), r.choice([1, 33, 64, 100, 257, 1000]))
        check_bitsandbytes(args, bnb, r, kind, w)
        kind, w = hard_matrix(r, r.choice([4, 8, 12]), r.choice([64, 48, 100, 640]))
        check_hqq(args, Quantizer, r, kind, w)
        kind, w = hard_matrix(r, r.choice([1, 3]), r.choice([32, 96, 256, 576, 768]))
        check_gguf(args, library, r, kind, w)


# ---- architectures ----


def rope(r, theta):
    original = {"original_max_position_embeddings": r.choice([24, 32, 64])}
    return {"rope_theta": theta, **r.choice([
        {"rope_type": "default"}, {"rope_type": "linear", "factor": r.choice([2.0, 3.5])},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **original},
        {"rope_type": "yarn", "factor": r.choice([2.5, 4.0, 40.0]), **original},
        {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.9, "truncate": False, **original}])}


def configurations(r):
    """One of each model_type."""
    flag, theta = lambda: r.random() < 0.5, r.choice([1e4, 5e5, 1e6])
    kv = r.choice([1, 2, 3])
    heads = kv * r.choice([1, 2, 3])
    layers, window = r.choice([1, 2, 3, 4]), r.choice([None, 1, 5, 16])
    c = {"vocab_size": r.choice([61, 130]), "hidden_size": heads * r.choice([12, 14, 18]), "intermediate_size":
         r.choice([17, 40, 51]), "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
         "max_position_embeddings": 128, "tie_word_embeddings": flag(), "pad_token_id": 0}
    c["rms_norm_eps"] = r.choice([1e-5, 1e-6, 1e-3])
    heads_of = {"head_dim": r.choice([4, 6, 10, 16])}
    kinds = {"layer_types": [r.choice(["full_attention", "sliding_attention"]) for _ in range(layers)]}
    experts = r.choice([2, 5, 8])
    chosen = {"num_experts_per_tok": r.randint(1, experts)}
    yield "llama", {**c, **heads_of, "attention_bias": flag(), "mlp_bias": flag(), "rope_parameters": rope(r, theta)}
    yield "mistral", {**c, **heads_of, "sliding_window": window, "rope_parameters": rope(r, theta)}
    yield "qwen2", {**c, "use_sliding_window": flag(), "sliding_window": window or 7, "max_window_layers": r.randint(0, 4),
                    "rope_parameters": rope(r, theta)}
    yield "qwen3", {**c, **heads_of, "attention_bias": flag(), "use_sliding_window": True, "sliding_window": window or 7,
                    **kinds, "rope_parameters": rope(r, theta)}
    yield "phi3", {**c, "sliding_window": window, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}
    yield "mixtral", {**c, **heads_of, **chosen, "num_local_experts": experts, "sliding_window": window}
    yield "qwen3_moe", {**c, **heads_of, **chosen, "num_experts": experts, "moe_intermediate_size": 13, "norm_topk_prob":
                        flag(), "decoder_sparse_step": r.choice([1, 2]), "mlp_only_layers": r.choice([[], [0]])}
    yield "olmoe", {**c, **chosen, "num_experts": experts, "clip_qkv": r.choice([None, 0.5, 8.0]), "norm_topk_prob": flag()}
    yield "phimoe", {**c, "num_local_experts": experts, "num_experts_per_tok": 2, "attention_bias": flag(), "lm_head_bias":
                     not c["tie_word_embeddings"] and flag(), "router_jitter_noise": 0.1, "sliding_window": window}
    yield "deepseek_v2", {**c, "num_key_value_heads": heads, "q_lora_rank": r.choice([None, 7]), "kv_lora_rank": 10,
                          "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "moe_intermediate_size": 12,
                          "n_routed_experts": 6, "n_shared_experts": r.choice([1, 2]), "num_experts_per_tok": 2,
                          "first_k_dense_replace": r.choice([0, 1]), "n_group": 3, "topk_group": r.choice([1, 2]),
                          "topk_method": r.choice(["greedy", "group_limited_greedy"]), "routed_scaling_factor": 2.5,
                          "norm_topk_prob": False, "attention_bias": flag()}
    caps = {"final_logit_softcapping": r.choice([None, 2.0]), "query_pre_attn_scalar": r.choice([10, 144])}
    yield "gemma2", {**c, **heads_of, **kinds, **caps, "sliding_window": window or 7, "attention_bias": flag(),
                     "attn_logit_softcapping": r.choice([None, 1.0])}
    yield "gemma3_text", {**c, **heads_of, **kinds, **caps, "sliding_window": window or 7}
    yield "gpt2", {"vocab_size": 61, "n_embd": 6 * heads, "n_layer": layers, "n_head": heads, "n_positions": 64, "n_inner":
                   r.choice([None, 33]), "scale_attn_by_inverse_layer_idx": flag(), "activation_function":
                   r.choice(["gelu_new", "gelu"]), "tie_word_embeddings": flag()}
    yield "gpt_neox", {"vocab_size": 61, "hidden_size": 8 * heads, "num_hidden_layers": layers, "num_attention_heads": heads,
                       "intermediate_size": 33, "max_position_embeddings": 64, "use_parallel_residual": flag(),
                       "attention_bias": flag(), "hidden_act": r.choice(["gelu", "gelu_fast"]), "rope_parameters":
                       {"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": r.choice([0.25, 0.5, 1.0])}}
    yield "mamba", {"vocab_size": 61, "hidden_size": r.choice([17, 36]), "num_hidden_layers": layers, "state_size":
                    r.choice([1, 7, 16]), "conv_kernel": r.choice([1, 4]), "expand": r.choice([1, 3]), "use_bias": flag(),
                    "use_conv_bias": flag(), "tie_word_embeddings": flag()}


def fill(model, g, gemma):
    """Weights of a size at which every part matters."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=g)
        if "A_log" in name:
            p.data += 0.3 * noise
        elif name.endswith("dt_proj.bias"):
            p.data = noise - 2
        elif p.dim() == 1:
            p.data = 0.2 * noise + (not gemma and not name.endswith("bias"))
        else:
            p.data = noise * (0.08 if "embed" in name or "wte" in name or "wpe" in name else 1.2 * p.shape[-1] ** -0.5)


def check_architecture(args, r, name, fields):
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder, ids_file, out = (os.path.join(args.folder, x) for x in ("model", "ids.safetensors", "logits.safetensors"))
    config = AutoConfig.for_model(name, **fields)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", experts_implementation="eager").eval()
    fill(model, torch.Generator().manual_seed(r.randrange(1 << 30)), name.startswith("gemma"))
    model.tie_weights()
    model.save_pretrained(folder)
    ids = [torch.randint(0, config.vocab_size, (n,)) for n in (1, 2, 33, 60)]
    save_file({f"input_ids.{i}": x.to(torch.int32) for i, x in enumerate(ids)}, ids_file)
    done = run(args, ["dump", "--model", folder, "--ids", ids_file, "--out", out])
    if done.returncode != 0:
        note(name, False, f"{done.stderr.strip()}; {json.dumps(fields)}")
        return
    found = load_file(out)
    with torch.no_grad():
        expected = [model(input_ids=x[None], use_cache=False).logits[0] for x in ids]
        exact = [model.double()(input_ids=x[None], use_cache=False).logits[0] for x in ids]
    noise = max((a - b).abs().max().item() for a, b in zip(expected, exact))
    off = max((found[f"logits.{i}"] - a).abs().max().item() for i, a in enumerate(expected))
    allowed = max(20 * min(noise, 1e-4), 1e-5 * max(1, max(a.abs().max().item() for a in expected)))
    note(name, off <= allowed, f"off by {off:.2g}, allowed {allowed:.2g}; {json.dumps(fields)}")


def architectures(args, r):
    for _ in range(args.count):
        for name, fields in configurations(r):
            check_architecture(args, r, name, fields)


# ---- tokenizers ----

WORDS = ("the don't I'm we've IT'S 's 3.14 2024-11-22 __init__ foo(bar) != \"quoted\" na\u00efve cafe\u0301 \u4f60\u597d\u4e16\u754c "
         "\uc548\ub155 \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u043f\u0440\u0438\u0432\u0435\u0442 \U0001f44d\U0001f3fd "
         "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u00bd \u0663 \u2167 \u1e9b\u0323 \ufb01 \uff41\uff42 hello world running").split()
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\x85", "\x1c", 24 * " ", 9 * "\n"]
SCRIPTS = [(0x20, 0x7f), (0, 0x20), (0xa0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x5d0, 0x700), (0x900, 0xa00),
           (0xe00, 0x0e60), (0x2000, 0x2070), (0x3040, 0x3100), (0x4e00, 0x9fa0), (0xac00, 0xd7a0), (0x1f300, 0x1f650)]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")


O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = O200K.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace("{1,3}", "")
DEEPSEEK2 = [r"[\r\n]", r"\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u0370-\u0373\u0376\u0377\u0386\u0400-\u052f]+",
             r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$",
             "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"]
DEEPSEEK3 = ["\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
             r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+"]
# One for each construct that harness/model/onig.c reads, (expression, behavior, invert) where it is not isolated.
EXPRESSIONS = [
    (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",),
    (r"\w+|[^\w\s]+", "removed", True), (r"[\w-]+|\W", "contiguous"), (r"\s+|$|^", "merged_with_previous"),
    (r"(?<=\p{Lu})\p{Ll}|(?<!\p{P})\p{P}(?=\p{P})", "merged_with_next"), (r"\p{Han}+|\p{Hangul}{2,}|\p{Cyrillic}{,2}\d|\p{Arabic}",),
    (r"(?>[a-m]+)n|(?>\d+)|\D{2,4}?", "removed"), (r"(?i)the|don|we", "merged_with_next", True), (r".{3,5}?[aeiou.,]|\n\n|\A.|.\z",),
    (r"(?:\p{L}\p{M}*|\p{Number}+)*|[^\S\n]|\u00bd|\x{1f44d}\p{Sk}?", "contiguous", True), (r"x*(?=o)|[\t\v\f\e\a]",),
    (r"(a|b(?:c|d)*?|[^\x00-\x7f]{2})+", "merged_with_previous", True),
]


def made_up_text(r, added=()):
    parts = []
    for _ in range(r.randint(1, 14)):
        low, high = r.choice(SCRIPTS)
        parts.append(r.choice([r.choice(WORDS), r.choice(SPACES), "".join(chr(r.randrange(low, high)) for _ in range(4)),
                               str(r.randrange(10 ** r.randint(1, 30))), r.choice(".,;!?-a") * r.choice([1, 3, 100]),
                               r.choice(added)[:r.choice([None, None, -1])] if added else " "]))
    return "".join(parts)


def made_up_tokenizers(r):
    """(name, an untrained tokenizer, its trainer) of each kind that ucbench reads."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    pieces = [f"<0x{b:02X}>" for b in range(256)]
    level = lambda regex: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    mark = normalizers.Replace(" ", "\u2581")
    digits = pre_tokenizers.Digits(individual_digits=True)
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    cut = lambda *all: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(one), "isolated") for one in all] + [level(False)])
    rules = [(f"{one[0]!r:.30}, {one[1:]}", None, pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(one[0]), *(one[1:] or ("isolated",))),
                                                                          level(False)])) for one in EXPRESSIONS]
    for name, normal, pre in (("gpt2", None, level(True)), ("smollm", None, pre_tokenizers.Sequence([digits, level(True)])),
                              ("llama3, NFC", normalizers.NFC(), pre_tokenizers.Sequence([split, level(False)])),
                              ("o200k", None, cut(O200K)), ("tekken", None, cut(TEKKEN)), ("deepseek3", None, cut(*DEEPSEEK3)),
                              ("deepseek2", None, pre_tokenizers.Sequence([*cut(*DEEPSEEK2)][:-1] + [digits, level(False)])),
                              ("punctuation", None, pre_tokenizers.Sequence([
                                  pre_tokenizers.Punctuation(r.choice(["isolated", "contiguous", "merged_with_previous"])),
                                  pre_tokenizers.Split("e", "merged_with_next"), pre_tokenizers.Digits(), level(True)])),
                              ("white space", None, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), level(True)])),
                              *rules):
        t = Tokenizer(models.BPE())
        t.pre_tokenizer = pre
        if normal is not None:
            t.normalizer = normal
        yield name, t, trainers.BpeTrainer(vocab_size=800, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                           show_progress=False)
    for name, normal, pre in (("llama2", normalizers.Sequence([normalizers.Prepend("\u2581"), mark]), None),
                              ("gemma", mark, pre_tokenizers.Split(" ", "merged_with_previous")),
                              ("metaspace", None, pre_tokenizers.Metaspace("\u2581", r.choice(["always", "first", "never"]),
                                                                           split=False))):
        t = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        if normal is not None:
            t.normalizer = normal
        if pre is not None:
            t.pre_tokenizer = pre
        yield name, t, trainers.BpeTrainer(vocab_size=1200, special_tokens=["<unk>"] + pieces, limit_alphabet=120,
                                           show_progress=False)


def tokenizers(args, r):
    from tokenizers import AddedToken, Tokenizer
    path = os.path.join(args.folder, "tokenizer.json")
    added = [AddedToken("<|user|>", special=True, normalized=False, rstrip=True), AddedToken("[tool]", special=False),
             AddedToken("<|end|>", special=True, normalized=True), AddedToken("<|en", special=False, normalized=False),
             AddedToken("<|both|>", normalized=False, lstrip=True, rstrip=True), AddedToken("\n\n", normalized=False)]
    for name, tokenizer, trainer in made_up_tokenizers(r):
        tokenizer.train_from_iterator([made_up_text(r).replace("\0", "") for _ in range(800)], trainer)  # as a key of JSON
        root = json.loads(tokenizer.to_str())
        root["added_tokens"] = [a for a in root["added_tokens"] if not a["content"].startswith("<0x")]
        tokenizer = Tokenizer.from_str(json.dumps(root))
        tokenizer.add_tokens([a for a in added if not a.special])
        tokenizer.add_special_tokens([a for a in added if a.special])
        tokenizer.save(path)
        texts = [made_up_text(r, [a.content for a in added]) for _ in range(100 * args.count)]
        done = run(args, ["tokenize", "--model", path], "".join(json.dumps({"text": x}) + "\n" for x in texts))
        found = [json.loads(line)["ids"] for line in done.stdout.splitlines()]
        note(name, len(found) == len(texts), done.stderr.strip())
        for text, ids in zip(texts, found):
            note(name, tokenizer.encode(text, add_special_tokens=False).ids == ids, repr(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ucbench")
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--kinds", default="quantizers,architectures,tokenizers")
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    torch.set_num_threads(1)
    for kind in args.kinds.split(","):
        torch.manual_seed(args.seed)
        {"quantizers": quantizers, "architectures": architectures, "tokenizers": tokenizers}[kind](
            args, random.Random(args.seed))
    for kind, (n, different) in counts.items():
        print(f"{kind}: {n} compared, {different} differ")
    return int(any(different for _, different in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
