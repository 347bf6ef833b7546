"""peers_sweep.py - a sweep of one model beside the same cells with transformers, bitsandbytes and hqq.

The original and eight methods over random windows of 128 tokens of the LAMBADA passages (the task lambada-windows: same text, ids
and starts on both sides). Every position gives its log-probability, whether the target is the argmax and among the ten largest
logits, and whether the argmax is the original's. The original's pass is made once, its argmax kept.

The peers' side loads the model, quantizes it and scores the windows, several in a pass, under inference_mode; a cell's seconds
cover all three, but not the start of Python and its imports. Ours is `ucbench sweep` as it stands, from the start of the process to
its end: the files' digests, confidence intervals, divergences from the original and the database included, which no cell's own
seconds hold; but without the noise floor, a cell that the peers have not. It runs before the peers and after them; the ratio stands for both. A cell that the peers cannot run here is left out of both totals.

Run by `scripts/peers.sh sweep`, in the environment that `scripts/peers.sh install` makes.
"""

import argparse
import datetime
import importlib.metadata
import json
import logging
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import time

import peers  # first: it sets cores and threads
import numpy as np

MODEL = "smollm2-135m-smooth"
INPUTS = 128
SEED = 42


# ---- the cells: our spec, and how the peers make the same ----

# Each is called with a loader of the model, which takes more options, and the type that the model computes in.

def plain(load, _):
    return load()


def eight_bits(load, _):
    import transformers
    config = transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=6.0)
    return load(quantization_config=config, device_map={"": "cpu"})


def four_bits(kind, nested):
    def make(load, dtype):
        import transformers
        config = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=nested,
                                                 bnb_4bit_compute_dtype=dtype)
        return load(quantization_config=config, device_map={"": "cpu"})
    return make


def hqq_config(bits, group):
    def make(load, dtype):
        import torch
        from hqq.core.quantize import BaseQuantizeConfig, HQQBackend, HQQLinear

        HQQLinear.set_backend(HQQBackend.PYTORCH)  # the forward pass without bookkeeping for gradients
        model = load()
        config = BaseQuantizeConfig(nbits=bits, group_size=group, axis=1)
        for module in list(model.model.layers.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, torch.nn.Linear):
                    setattr(module, name, HQQLinear(child, config, compute_dtype=dtype, device="cpu"))
        return model
    return make


CELLS = {
    "none": plain,
    "int8:threshold=6": eight_bits,
    "nf4": four_bits("nf4", False),
    "nf4:double_quant=1": four_bits("nf4", True),
    "fp4": four_bits("fp4", False),
    "hqq:bits=4,group=64": hqq_config(4, 64),
    "hqq:bits=3,group=64": hqq_config(3, 64),
    "hqq:bits=2,group=16": hqq_config(2, 16),
    "hqq:bits=2,group=64": hqq_config(2, 64),
}


# ---- windows ----

def windows_of(n, ucbench):
    """[n, 129] ids, as docs/tasks.md has it: the passages joined, starts from MT19937 with replacement."""
    data = os.environ.get("UCBENCH_DATA")
    path = pathlib.Path(data) / "lambada_test.jsonl" if data else peers.ROOT / "datasets/lambada_mini/lambada_mini.jsonl"
    texts = [json.loads(line)["text"] for line in path.read_text().splitlines() if line.strip()]
    line = json.dumps({"text": "\n\n".join(text for text in texts if text.strip())})
    out = subprocess.run([ucbench, "tokenize", "--model", MODEL], input=line, text=True, check=True, capture_output=True)
    ids = np.array(json.loads(out.stdout)["ids"], np.int64)
    words = np.random.RandomState(SEED).randint(0, 2**32, n, np.uint32)
    starts = words.astype(np.int64) % (ids.size - INPUTS - 1)
    return np.stack([ids[start:start + INPUTS + 1] for start in starts]), path


# ---- the peers' side: a process of its own; one JSON line a cell ----

def evaluate(model, windows, batch, teacher):
    import torch

    targets, sums, argmax = windows[:, 1:], torch.zeros(3, dtype=torch.float64), []
    with torch.inference_mode():
        for part, target in zip(windows.split(batch), targets.split(batch)):
            logits = model(input_ids=part[:, :-1], use_cache=False).logits.float()
            chosen = logits.gather(2, target[..., None])
            argmax.append(logits.argmax(2))
            sums[0] += (chosen[..., 0] - logits.logsumexp(2)).sum()
            sums[1] += (argmax[-1] == target).sum()
            sums[2] += ((logits > chosen).sum(2) < 10).sum()
    argmax = torch.cat(argmax)
    agreed = 1.0 if teacher is None else (argmax == teacher).double().mean().item()
    logp, t1, t10 = (sums / targets.numel()).tolist()
    return argmax, dict(ppl=float(np.exp(-logp)), t1_gt=t1, t10_gt=t10, t1_agree=agreed)


def run_peers(request):
    start = time.perf_counter()
    import torch
    import transformers
    import bitsandbytes  # noqa: F401
    import hqq.core.quantize  # noqa: F401

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # a line for each matrix and pass
    torch.set_num_threads(peers.CORES)
    windows = torch.from_numpy(np.load(request["windows"]))
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[request["arithmetic"]]
    print(json.dumps({"imports": time.perf_counter() - start}), flush=True)

    def load(**options):
        return transformers.AutoModelForCausalLM.from_pretrained(request["model"], dtype=dtype, attn_implementation="sdpa", **options)

    teacher = None
    for spec in request["cells"]:
        start, result = time.perf_counter(), {"cell": spec}
        try:
            model = CELLS[spec](load, dtype).eval()
            made = time.perf_counter()
            argmax, values = evaluate(model, windows, request["batch"], teacher)
            result |= dict(make_seconds=made - start, seconds=time.perf_counter() - start, **values)
            teacher = argmax if spec == "none" else teacher
            del model
        except (RuntimeError, ValueError, NotImplementedError, ImportError, TypeError, AttributeError) as error:
            result["refused"] = f"{type(error).__name__}: {error}".splitlines()[0]
        print(json.dumps(result), flush=True)


def their_results(args, cells, windows_file):
    request = dict(windows=windows_file, model=str(peers.default_model().parent), arithmetic=args.arithmetic, batch=args.batch,
                   cells=cells)
    process = subprocess.Popen([sys.executable, __file__, "--serve", json.dumps(request)], text=True, stdout=subprocess.PIPE)
    results = {}
    for line in process.stdout:
        if not line.startswith("{"):
            continue  # a library's remark
        result = json.loads(line)
        if "imports" in result:
            print(f"their imports take {result['imports']:.1f} s, not counted", flush=True)
        elif "refused" in result:
            print(f"  {result['cell']:22} not run by the peers here: {result['refused']}", flush=True)
        else:
            results[result["cell"]] = result
            print(f"  {result['cell']:22} {result['seconds']:8.1f} s, of which made in {result['make_seconds']:.1f}", flush=True)
    if process.wait() != 0:
        sys.exit("peers: their process failed; its message stands above")
    return results


# ---- our side ----

def our_results(args, cells, folder, name):
    """Seconds of the whole process, and cell -> values."""
    database = f"{folder}/{name}.db"
    command = [args.ucbench, "sweep", "--model", MODEL, "--task", f"lambada-windows:n={args.n},seed={SEED}", "--db", database,
               "--arithmetic", args.ours, "--noise-floor", "off", "--threads", str(peers.CORES), "--quiet",
               "--data", os.environ.get("UCBENCH_DATA", "mini")]
    for spec in cells:
        command += ["--method", spec]
    seconds, done = peers.seconds_of(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    if done.returncode != 0:
        sys.exit(f"peers: ucbench sweep failed: {done.stderr}")
    values = {}
    with sqlite3.connect(database) as db:
        for spec, metric, value in db.execute("SELECT spec, metric, value FROM v_results"):
            values.setdefault(spec, {})[metric] = value
    return seconds, values


# ---- the table ----

COLUMNS = ["cell", "peer_s", "peer_make_s", "our_s", "peer_ppl_ratio", "our_ppl_ratio", "peer_t1_agree", "our_t1_agree", "peer_t1_gt",
           "our_t1_gt", "peer_t10_gt", "our_t10_gt"]


def row_of(spec, n_tokens, theirs, ours):
    peer, own = theirs[spec], ours[spec]
    own_seconds = n_tokens / own["tokens_per_second"] + own["encode_seconds"] + own["decode_seconds"]
    return dict(zip(COLUMNS, [spec, f"{peer['seconds']:.2f}", f"{peer['make_seconds']:.2f}", f"{own_seconds:.2f}",
                              f"{peer['ppl'] / theirs['none']['ppl']:.5g}", f"{own['ppl'] / ours['none']['ppl']:.5g}",
                              f"{peer['t1_agree']:.4f}", f"{own.get('t1_agree', 1.0):.4f}", f"{peer['t1_gt']:.4f}",
                              f"{own['t1_gt']:.4f}", f"{peer['t10_gt']:.4f}", f"{own['t10_gt']:.4f}"]))


def print_table(rows, theirs, totals):
    print(f"{'':22} {'peers s':>8} {'ours s':>8}   {'ppl ratio of both':>18}   {'T1 agreement of both':>20}   {'T1 of both':>14}")
    for row in rows:
        print(f"{row['cell']:22} {row['peer_s']:>8} {row['our_s']:>8}   {row['peer_ppl_ratio']:>8}  {row['our_ppl_ratio']:>8}   "
              f"{row['peer_t1_agree']:>9}  {row['our_t1_agree']:>9}   {row['peer_t1_gt']:>6}  {row['our_t1_gt']:>6}")
    peer_total = sum(theirs[row["cell"]]["seconds"] for row in rows)
    ratios = sorted(peer_total / seconds for seconds in totals)
    lines = [f"total of {len(rows)} cells: peers {peer_total:.1f} s, ours {' and '.join(f'{s:.1f}' for s in totals)} s (whole process); "
             f"ratio {ratios[0]:.2f} to {ratios[-1]:.2f}"]
    print(lines[0])
    return lines


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ucbench", default=peers.ROOT / "ucbench", help="our side (make builds it)")
    parser.add_argument("--n", default=500, type=int, help="windows of 128 tokens (default 500)")
    parser.add_argument("--batch", default=8, type=int, help="windows in one pass of the peers' (default 8; the seed had 1)")
    parser.add_argument("--arithmetic", default="fp32", choices=["fp32", "bf16", "fp16"],
                        help="what the peers compute in (default fp32; the seed had fp16)")
    parser.add_argument("--ours", choices=["fp32", "bf16", "bf16-dot"], help="what ucbench computes in (default the same, or fp32)")
    parser.add_argument("--only", default="", help="cells whose spec holds this text, and the original")
    parser.add_argument("--out", type=pathlib.Path, help="also write the rows to this file, tab-separated")
    parser.add_argument("--note", default="", help="a remark for the head of that file")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = arguments()
    args.ours = args.ours or ("fp32" if args.arithmetic == "fp16" else args.arithmetic)
    if args.serve:
        run_peers(json.loads(args.serve))
        return
    if peers.default_model() is None:
        sys.exit(f"peers: {MODEL} is not in the cache; sh scripts/fetch.sh model smollm2-135m, then any sweep of {MODEL} builds it")
    cells = [spec for spec in CELLS if spec == "none" or args.only in spec]
    windows, text = windows_of(args.n, args.ucbench)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "bitsandbytes", "hqq"))
    head = (f"# {peers.machine()}, {peers.CORES} cores, {datetime.date.today()}, load {os.getloadavg()[0]:.1f} at the start; {MODEL}, "
            f"{args.arithmetic}, ours {args.ours}, {args.n} windows of {INPUTS} tokens of {text.name}, the peers' {args.batch} in a pass; "
            f"{versions}")
    head += f"; {args.note}" if args.note else ""
    print(head, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/windows.npy", windows)
        first = our_results(args, cells, folder, "first")
        theirs = their_results(args, cells, f"{folder}/windows.npy")
        if "none" not in theirs:
            sys.exit("peers: the original did not run, and all else is compared with it")
        cells = [spec for spec in cells if spec in theirs]
        if len(theirs) < len(first[1]):  # ours once more without what the peers could not run
            first = our_results(args, cells, folder, "again")
        second = our_results(args, cells, folder, "second")
    rows = [row_of(spec, args.n * INPUTS, theirs, second[1]) for spec in cells]
    totals = print_table(rows, theirs, (first[0], second[0]))
    peers.write_rows(args.out, "\n".join([head] + [f"# {line}" for line in totals]), COLUMNS, rows)


if __name__ == "__main__":
    main()
