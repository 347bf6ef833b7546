#!/usr/bin/env python3
"""Holds `ucbench pack --format gguf` against llama.cpp itself.

    check_gguf.py UCBENCH FOLDER [--model MODEL] [--recipes A,B] [--imatrix] [--no-logits]

In FOLDER a model of random weights is made (10 layers, 4 query heads to a key head, rows of
whole and of broken blocks of 256; --model: another one, in F32), and for each recipe

  * llama_model_quantize and ucbench write a file each: types and bytes of every tensor, and
    general.file_type, must be equal;
  * llama.cpp runs our file over a few tokens: its logits must be near those of `ucbench
    dump` on the same file. llama.cpp rounds activations to 8 bits before it multiplies them
    with quantized weights, ucbench does not, so "near" is a correlation above 0.99 for each
    token; F32 weights (the made model's) are multiplied in fp32 by both, and there the
    largest difference may be 1e-3 of the logits' standard deviation.

With --imatrix both get an importance matrix: the mean squares that ucbench measured and saved.

Needs numpy, gguf and llama_cpp. Prints a line a recipe; exits with 1 if one differs.
"""
import argparse
import ctypes
import glob
import json
import os
import struct
import subprocess
import sys

import gguf
import llama_cpp
import numpy

RECIPES = {  # general.file_type
    "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q8_0": 7, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12,
    "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25,
    "IQ4_XS": 30, "F16": 1, "BF16": 32,
}
IMPORTANCE_ONLY = {"Q2_K_S": 21}
INPUTS = {"attn_q": "qkv", "attn_k": "qkv", "attn_v": "qkv", "attn_output": "o", "ffn_gate": "gate_up",
          "ffn_up": "gate_up", "ffn_down": "down"}
IDS = [1, 100, 7, 64, 64, 3, 99, 12, 0, 55, 31, 2]  # of the made model; another one gets TEXT
TEXT = b"The old lighthouse stood at the end of the pier, and every evening its keeper climbed the stairs."


def byte_symbols():
    """GPT-2's printable stand-ins of the 256 bytes."""
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


def make_model(path, hidden=256, ffn=544, layers=10, heads=8, kv_heads=2):
    random = numpy.random.default_rng(1)
    symbols = byte_symbols() + ["<s>", byte_symbols()[32] + "t"]
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(layers)
    w.add_context_length(128)
    w.add_embedding_length(hidden)
    w.add_feed_forward_length(ffn)
    w.add_head_count(heads)
    w.add_head_count_kv(kv_heads)
    w.add_rope_dimension_count(hidden // heads)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(len(symbols))
    w.add_file_type(0)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(symbols)
    w.add_token_types([1] * 256 + [3, 1])
    w.add_token_merges([byte_symbols()[32] + " t"])
    w.add_bos_token_id(256)
    w.add_eos_token_id(256)

    def matrix(name, rows, columns, size):
        w.add_tensor(name + ".weight", (size * random.standard_normal((rows, columns))).astype(numpy.float32))

    matrix("token_embd", len(symbols), hidden, 1.0)
    for i in range(layers):
        kv = hidden // heads * kv_heads
        for name, rows, columns in (("attn_q", hidden, hidden), ("attn_k", kv, hidden), ("attn_v", kv, hidden),
                                    ("attn_output", hidden, hidden), ("ffn_gate", ffn, hidden),
                                    ("ffn_up", ffn, hidden), ("ffn_down", hidden, ffn)):
            matrix(f"blk.{i}.{name}", rows, columns, columns ** -0.5)
        for name in ("attn_norm", "ffn_norm"):
            w.add_tensor(f"blk.{i}.{name}.weight", numpy.ones(hidden, numpy.float32))
    w.add_tensor("output_norm.weight", numpy.ones(hidden, numpy.float32))
    matrix("output", len(symbols), hidden, hidden ** -0.5)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def read_tensor(path, name):
    with open(path, "rb") as f:
        data = f.read()
    n, = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8:8 + n])[name]
    begin, end = entry["data_offsets"]
    dtype = {"F32": numpy.float32, "F64": numpy.float64}[entry["dtype"]]
    return numpy.frombuffer(data[8 + n + begin:8 + n + end], dtype).reshape(entry["shape"])


def write_ids(path):
    header = json.dumps({"input_ids.0": {"dtype": "I32", "shape": [len(IDS)], "data_offsets": [0, 4 * len(IDS)]}})
    header += " " * (-len(header) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header.encode() + struct.pack(f"<{len(IDS)}i", *IDS))


def read_importance(source, cache):
    """What llama.cpp takes as an importance matrix, from statistics that ucbench saved."""
    Entry = llama_cpp.llama_cpp.llama_model_imatrix_data
    folder, = glob.glob(os.path.join(cache, "calib", "*"))
    entries, kept = [], []
    for tensor in gguf.GGUFReader(source).tensors:
        parts = tensor.name.split(".")
        if parts[0] != "blk" or parts[2] not in INPUTS:
            continue
        saved = os.path.join(folder, f"layer-{int(parts[1]):03d}-{INPUTS[parts[2]]}.safetensors")
        values = numpy.ascontiguousarray(read_tensor(saved, "sq_mean").astype(numpy.float32))
        kept.append(values)
        entries.append(Entry(tensor.name.encode(), values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), len(values)))
    return (Entry * (len(entries) + 1))(*entries), kept


def quantize(source, target, file_type, importance):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = file_type
    params.nthread = 2
    if importance is not None:
        params.imatrix = ctypes.cast(importance, type(params.imatrix))
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
        raise RuntimeError(f"llama_model_quantize refused file type {file_type}")


def tensors_of(path):
    reader = gguf.GGUFReader(path)
    return reader, {t.name: (t.tensor_type.name, list(t.shape), t.data.tobytes()) for t in reader.tensors}


def compare_files(ours, theirs):
    """What differs, as a list of sentences, and the count of tensors by type."""
    our_reader, a = tensors_of(ours)
    their_reader, b = tensors_of(theirs)
    found, counts = [], {}
    if sorted(a) != sorted(b):
        found.append(f"tensors {sorted(set(a) ^ set(b))} are in one file only")
    for name in sorted(set(a) & set(b)):
        counts[a[name][0]] = counts.get(a[name][0], 0) + 1
        if a[name][0] != b[name][0]:
            found.append(f"{name}: {a[name][0]}, llama.cpp has {b[name][0]}")
        elif a[name] != b[name]:
            n = sum(x != y for x, y in zip(a[name][2], b[name][2]))
            found.append(f"{name} ({a[name][0]}): {n} of {len(b[name][2])} bytes differ")
    for key in ("general.file_type", "general.quantization_version"):
        x, y = (r.fields[key].parts[-1].tolist() if key in r.fields else None for r in (our_reader, their_reader))
        if x != y and not (key.endswith("version") and x is None):
            found.append(f"{key}: {x}, llama.cpp has {y}")
    return found, counts


def run_llama(path):
    model = llama_cpp.Llama(path, n_ctx=64, logits_all=True, verbose=False, n_threads=2, type_k=0, type_v=0)
    model.eval(IDS)
    return numpy.array(model.scores[:len(IDS)])


def compare_logits(ucbench, path, folder, exact):
    out = os.path.join(folder, "logits.safetensors")
    ids = os.path.join(folder, "ids.safetensors")
    write_ids(ids)
    subprocess.run([ucbench, "dump", "--model", path, "--ids", ids, "--out", out], check=True)
    ours, theirs = read_tensor(out, "logits.0").astype(float), run_llama(path).astype(float)
    off = abs(ours - theirs).max() / ours.std()
    norm = lambda z: (z - z.mean(1, keepdims=True)) / z.std(1, keepdims=True)
    correlation = (norm(ours) * norm(theirs)).mean(1).min()
    text = f"logits: correlation {correlation:.6f}, largest difference {off:.2e} standard deviations"
    good = off < 1e-3 if exact else correlation > 0.99
    return ([] if good else [text]), text


@llama_cpp.llama_log_callback
def silence(level, text, context):
    pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ucbench")
    parser.add_argument("folder")
    parser.add_argument("--model")
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--imatrix", action="store_true")
    parser.add_argument("--no-logits", action="store_true")
    args = parser.parse_args()
    llama_cpp.llama_log_set(silence, ctypes.c_void_p(0))
    base = args.model or os.path.join(args.folder, "made.gguf")
    if args.model is None:
        make_model(base)
    else:
        IDS[:] = llama_cpp.Llama(base, vocab_only=True, verbose=False).tokenize(TEXT, add_bos=False)
    failed = False
    cache = os.path.join(args.folder, "cache")
    if not args.no_logits:
        found, text = compare_logits(args.ucbench, base, args.folder, args.model is None)
        print(f"{'DIFFERS' if found else 'equal'}  {base}: {text}")
        failed |= bool(found)
    for recipe in args.recipes.split(","):
        ours, theirs = (os.path.join(args.folder, f"{who}-{recipe}.gguf") for who in ("ours", "theirs"))
        command = [args.ucbench, "pack", "--quiet", "--format", "gguf", "--model", base, "--out", ours, "--method"]
        command += [f"gguf:recipe={recipe}"] if not args.imatrix else [
            f"gguf:recipe={recipe},imatrix=1", "--calib", "calib-mini:n=2,ctx=64", "--data", "mini", "--cache", cache]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        importance, kept = read_importance(base, cache) if args.imatrix else (None, None)
        quantize(base, theirs, {**RECIPES, **IMPORTANCE_ONLY}[recipe], importance)
        found, counts = compare_files(ours, theirs)
        text = ""
        if not args.no_logits:
            more, text = compare_logits(args.ucbench, ours, args.folder, False)
            found += more
        mix = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
        print(f"{'DIFFERS' if found else 'equal'}  {recipe}: {mix}; {text}")
        for line in found[:8]:
            print("   ", line)
        failed |= bool(found)
        os.remove(ours)
        os.remove(theirs)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
