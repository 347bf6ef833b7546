"""peers_scoring.py - the perplexity of one text: other projects beside ours, in the same minute on the same cores.

The text is a row of ids that `ucbench tokenize` makes of the mini WikiText (or of the file in $UCBENCH_DATA), cut into windows
of 512 positions that share nothing; all 512 predictions of each window are scored. Every side has the model open and gives one
number, the mean log-probability; the clock covers a pass over all windows, from ids to that number. Each peer is a process of
its own that sleeps while ours works. Samples alternate, peer, ours; the ratio is the median of the ratios of such pairs.

What is compared: PyTorch (transformers' LlamaForCausalLM) at fp32 and bf16, the latter beside both of ours, bf16 and bf16-dot, and
llama.cpp with F32, F16 and Q8_0 files, each of the same weights. llama.cpp runs without and with flash attention, PyTorch with 1
and 4 windows in a pass; the faster one of a first look is measured. The log-softmax of llama.cpp's logits is taken here by NumPy
in two threads, as its own tool does in C++.

Ours also reads and widens every layer in each pass, and computes of every position rank, argmax and entropy.

Run by `make bench-scoring` in the environment that scripts/peers.sh makes.
"""

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import peers  # first: it sets cores and threads
import numpy as np

WINDOW = 512
MODEL = "smollm2-135m-smooth"
PPL_TOLERANCE = 1e-3  # relative, of fp32 against fp32: two orders of summation


# ---- the text ----

def text_file():
    data = os.environ.get("UCBENCH_DATA")
    path = pathlib.Path(data) / "wikitext-2-raw.test.txt" if data else peers.ROOT / "datasets/wiki_mini/wiki_mini.txt"
    if not path.exists():
        sys.exit(f"peers: {path} is missing; UCBENCH_DATA names a folder that `scripts/fetch.sh data DIR` fills")
    return path


def windows_of(path, n, ucbench):
    """[n, 513] ids: 512 inputs and the target of the last one, which is the next window's first input."""
    line = json.dumps({"text": path.read_text()})
    out = subprocess.run([ucbench, "tokenize", "--model", MODEL], input=line, text=True, check=True, capture_output=True)
    ids = np.array(json.loads(out.stdout)["ids"], np.int32)
    most = (ids.size - 1) // WINDOW
    n = min(n, most) if n else most
    return np.stack([ids[w * WINDOW:(w + 1) * WINDOW + 1] for w in range(n)])


# ---- workers: a process per peer; "score" on standard input -> "ok SECONDS MEAN_LOGP" ----

def torch_scorer(dtype, batch, folder, windows):
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(peers.CORES)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), attn_implementation="sdpa")
    model.eval()
    ids = torch.from_numpy(windows.astype(np.int64))

    @torch.inference_mode()
    def score():
        total = 0.0
        for part in ids.split(batch):
            logits = model(input_ids=part[:, :-1], use_cache=False).logits
            total += torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), part[:, 1:].flatten(),
                                                       reduction="sum").item()
        return -total / ids[:, 1:].numel()
    return score


def llama_scorer(file, flash, kv32, windows):
    import ctypes
    import llama_cpp

    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(file.encode(), llama_cpp.llama_model_default_params())
    options = llama_cpp.llama_context_default_params()
    options.n_ctx = options.n_batch = options.n_ubatch = WINDOW
    options.n_threads = options.n_threads_batch = peers.CORES
    options.flash_attn_type = int(flash)
    if kv32:
        options.type_k = options.type_v = 0  # GGML_TYPE_F32: the file's own precision; the default is F16
    context = llama_cpp.llama_init_from_model(model, options)
    if not context:
        sys.exit(f"peers: llama.cpp makes no context of {file}")
    n_ids = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    memory = llama_cpp.llama_get_memory(context)
    batch = llama_cpp.llama_batch_init(WINDOW, 0, 1)

    def set_batch(window):
        batch.n_tokens = WINDOW
        for i in range(WINDOW):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = int(window[i]), i, 1, 1
            batch.seq_id[i][0] = 0

    def score():
        total = np.zeros(windows.shape)
        for w, window in enumerate(windows):
            llama_cpp.llama_memory_clear(memory, False)
            set_batch(window)
            if llama_cpp.llama_decode(context, batch) != 0:
                sys.exit("peers: llama_decode failed")
            logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (WINDOW, n_ids))

            def rows(begin):  # few enough for the cache
                part = logits[begin:begin + 8]
                peak = part.max(1, keepdims=True)
                sums = np.exp(part - peak).sum(1, dtype=np.float64)
                chosen = part[np.arange(8), window[begin + 1:begin + 9]]
                total[w, begin:begin + 8] = chosen - peak[:, 0] - np.log(sums)

            peers.in_threads([(begin,) for begin in range(0, WINDOW, 8)], rows)
        return total.sum() / (windows.shape[0] * WINDOW)

    score.keep = quiet  # the library still calls it
    return score


def serve(request):
    windows = np.load(request.pop("windows"))
    score = {"torch": torch_scorer, "llama": llama_scorer}[request.pop("kind")](windows=windows, **request)
    print("ok", flush=True)
    for _ in sys.stdin:
        seconds, mean = peers.seconds_of(score)
        print(f"ok {seconds:.9f} {mean:.17g}", flush=True)


class Worker:
    def __init__(self, **request):
        self.process = subprocess.Popen([sys.executable, __file__, "--serve", json.dumps(request)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.line()

    def line(self):
        verdict, *rest = self.process.stdout.readline().split() or [""]
        if verdict != "ok":
            raise peers.Refused("the peer's process ended; its message stands above")
        return rest

    def score(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, mean = self.line()
        return float(seconds), float(mean)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- files for llama.cpp ----

def pack(ucbench, recipe, path):
    subprocess.run([ucbench, "pack", "--model", MODEL, "--method", f"gguf:recipe={recipe}", "--format", "gguf", "--out", path,
                    "--quiet"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def widen(source, target):
    """A GGUF with its BF16 tensors as F32: the same values; all else as it is."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values.reshape(tensor.shape[::-1]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_files(ucbench, folder):
    files = {recipe: f"{folder}/{recipe}.gguf" for recipe in ("BF16", "F16", "Q8_0")}
    for recipe, path in files.items():
        pack(ucbench, recipe, path)
    files["F32"] = f"{folder}/F32.gguf"
    widen(files.pop("BF16"), files["F32"])
    return files


# ---- measuring ----

def version_of(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def all_cases(args, folder):
    """(peer, version, what, our arithmetic, candidates: label -> request)."""
    torch, transformers, llama = (version_of(name) for name in ("torch", "transformers", "llama-cpp-python"))
    if torch and transformers:
        model = str(peers.default_model().parent)
        for dtype, kind, own in (("float32", "fp32", "fp32"), ("bfloat16", "bf16", "bf16"), ("bfloat16", "bf16", "bf16-dot")):
            yield ("PyTorch", f"{torch}, transformers {transformers}", kind, own,
                   {f"{batch} windows": dict(kind="torch", dtype=dtype, batch=batch, folder=model) for batch in (1, 4)})
    else:
        print("peers: left out: PyTorch with transformers is not installed", file=sys.stderr)
    if not llama:
        print("peers: left out: llama-cpp-python is not installed", file=sys.stderr)
        return
    files = llama_files(args.ucbench, folder)
    for kind in ("F32", "F16", "Q8_0"):
        yield ("llama.cpp", f"llama-cpp-python {llama}", kind, "fp32",
               {("flash attention" if flash else "no flash attention"): dict(kind="llama", file=files[kind], flash=flash,
                                                                            kv32=kind == "F32") for flash in (False, True)})


def faster(candidates, windows, look):
    """The label and the open worker of the candidate that is fastest on the first windows."""
    seconds = {}
    for label, request in candidates.items():
        worker = Worker(windows=look, **request)
        worker.score()
        seconds[label] = min(worker.score()[0] for _ in range(2))
        worker.close()
    label = min(seconds, key=seconds.get)
    return label, Worker(windows=windows, **candidates[label])


def pairs_of(worker, ours, line, repeats):
    """(peer's seconds, ours) of each repeat, and the two perplexities; a pass of each goes before."""
    _, theirs = worker.score()
    own = float(ours.ask(line).split()[1])
    pairs = []
    for _ in range(repeats):
        time.sleep(peers.PAUSE_SECONDS)
        peer_seconds, _ = worker.score()
        time.sleep(peers.PAUSE_SECONDS)
        pairs.append((peer_seconds, float(ours.ask(line).split()[0])))
    return pairs, math.exp(-theirs), math.exp(-own)


COLUMNS = ["peer", "version", "peer_runs", "ours", "setting", "tokens", "repeats", "peer_median_s", "our_median_s",
           "peer_tokens_per_s", "our_tokens_per_s", "ratio_median", "ratio_low", "ratio_high", "peer_ppl", "our_ppl", "agreement"]


def row_of(case, label, tokens, pairs, theirs, own):
    peer, version, kind, arithmetic, _ = case
    peer_median, our_median = (statistics.median(side) for side in zip(*pairs))
    ratios = sorted(peer / ours for peer, ours in pairs)
    off = theirs / own - 1
    verdict = f"{off:+.1e}"
    if kind.lower() in ("fp32", "f32"):
        verdict += " ok" if abs(off) <= PPL_TOLERANCE else " WRONG"
    return dict(zip(COLUMNS, [peer, version, kind, arithmetic, label, tokens, len(pairs), f"{peer_median:.4f}", f"{our_median:.4f}",
                              f"{tokens / peer_median:.1f}", f"{tokens / our_median:.1f}", f"{statistics.median(ratios):.2f}",
                              f"{ratios[0]:.2f}", f"{ratios[-1]:.2f}", f"{theirs:.5f}", f"{own:.5f}", verdict]))


def print_row(row):
    print(f"{row['peer']:10} {row['peer_runs']:5} {row['ours']:8} {row['peer_tokens_per_s']:>8} {row['our_tokens_per_s']:>8} "
          f"{row['ratio_median']:>6} [{row['ratio_low']}, {row['ratio_high']}]  {row['peer_ppl']} {row['our_ppl']}  "
          f"{row['agreement']:12} {row['setting']}", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bench", default=peers.ROOT / "build/release/ucbench-bench", help="our side (make bench-scoring builds it)")
    parser.add_argument("--ucbench", default=peers.ROOT / "ucbench", help="tokenizes and packs")
    parser.add_argument("--windows", default=16, type=int, help="of 512 tokens, from the text's first on; 0: all (default 16)")
    parser.add_argument("--repeats", default=3, type=int, help="pairs of samples, at least 3 (default 3)")
    parser.add_argument("--only", default="",
                        help="rows whose peer, kind and our arithmetic hold this text: PyTorch, llama.cpp F32, bf16-dot, ...")
    parser.add_argument("--out", type=pathlib.Path, help="also write the rows to this file, tab-separated")
    parser.add_argument("--table", type=pathlib.Path, help="append lines for `make bench`'s table to this file")
    parser.add_argument("--note", default="", help="a remark for the head of --out")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_all(args, windows, folder, head):
    np.save(f"{folder}/all.npy", windows)
    np.save(f"{folder}/look.npy", windows[:4])
    windows.astype("<u4").tofile(f"{folder}/ids")
    tokens = windows.shape[0] * WINDOW
    ours = peers.Ours(args.bench)
    ours.ask(f"model {MODEL}")
    for case in all_cases(args, folder):
        if args.only not in f"{case[0]} {case[2]} {case[3]}":
            continue
        try:
            label, worker = faster(case[4], f"{folder}/all.npy", f"{folder}/look.npy")
            row = row_of(case, label, tokens, *pairs_of(worker, ours, f"score {case[3]} {folder}/ids", max(args.repeats, 3)))
        except peers.Refused as sentence:
            print(f"{case[0]:10} {case[2]:5} not measured: {sentence}", flush=True)
            continue
        worker.close()
        print_row(row)
        peers.add_to_table(args.table, f"SmolLM2-135M scores {tokens} tokens", case[3], row["our_tokens_per_s"], "tokens/s",
                           f"{case[0]} {case[2]}", row["ratio_median"])
        yield row
    ours.close()


def main():
    args = arguments()
    if args.serve:
        serve(json.loads(args.serve))
        return
    if peers.default_model() is None:
        sys.exit(f"peers: {MODEL} is not in the cache; sh scripts/fetch.sh model smollm2-135m, then any sweep of {MODEL} builds it")
    text = text_file()
    windows = windows_of(text, args.windows, args.ucbench)
    head = (f"# {peers.machine()}, {peers.CORES} cores, {datetime.date.today()}, load {os.getloadavg()[0]:.1f} at the start; {MODEL}, "
            f"{windows.shape[0]} windows of {WINDOW} tokens of {text.name}")
    head += f"; {args.note}" if args.note else ""
    print(head)
    print(f"{'peer':10} {'runs':5} {'ours':8} {'peer t/s':>8} {'ours t/s':>8} {'ratio':>6} [range]  ppl of both, peer / ours - 1")
    with tempfile.TemporaryDirectory() as folder:
        rows = list(measure_all(args, windows, folder, head))
    peers.write_rows(args.out, head, COLUMNS, rows)
    if any("WRONG" in row["agreement"] for row in rows):
        sys.exit(f"peers: a perplexity in fp32 is off by more than {PPL_TOLERANCE:g}: the two sides did not do the same work")


if __name__ == "__main__":
    main()
