"""peers.py - other projects' encoders beside ours, in the same minute on the same cores.

Both sides get the same matrices in memory and two cores; the clock covers the encoding alone. Samples alternate, peer, ours,
peer, ours. The ratio is the median of the ratios of such pairs, so that a load of the machine meets both; the ratio of the
two bests stands beside it, because a load meets them unequally all the same. Each result of a peer is compared with our bytes.

Run by `make bench-peers` in the environment that scripts/peers.sh makes; a peer that is not installed is left out, and said so.
"""

import argparse
import collections
import ctypes
import datetime
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

CORES = 2
os.environ["OMP_NUM_THREADS"] = str(CORES)  # before a library reads it
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])

import numpy as np  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROLES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
         "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
SHAPES = [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)]
N_LAYERS = 30
WIDE = 1536  # columns that every GGUF type takes, and that divide each of the matrices
PAUSE_SECONDS = 0.03  # lets the threads of the other side go to sleep


# ---- results ----

def write_rows(path, head, columns, rows):
    """A dated, tab-separated file; nothing where path is None."""
    if path is not None:
        path.write_text("\n".join([head, "\t".join(columns)] + ["\t".join(str(row[c]) for c in columns) for row in rows]) + "\n")


def add_to_table(path, *fields):
    """A line for `ucbench-bench --peers`: kernel, arithmetic, rate, unit, peer, ratio; nothing where path is None."""
    if path is not None:
        with open(path, "a") as file:
            file.write("\t".join(str(field) for field in fields) + "\n")


# ---- weights ----

def read_safetensors(path):
    """Name -> a function that reads the tensor as fp32."""
    data = np.memmap(path, np.uint8, "r")
    size = int(data[:8].view("<u8")[0])
    header = json.loads(bytes(data[8:8 + size]))

    def reader(entry):
        begin, end = (8 + size + at for at in entry["data_offsets"])
        raw = bytes(data[begin:end])
        if entry["dtype"] == "BF16":
            wide = np.frombuffer(raw, "<u2").astype("<u4") << 16
            return wide.view("<f4").reshape(entry["shape"])
        kind = {"F32": "<f4", "F16": "<f2"}[entry["dtype"]]
        return np.frombuffer(raw, kind).astype("<f4").reshape(entry["shape"])

    return {name: (lambda entry=entry: reader(entry))
            for name, entry in header.items() if name != "__metadata__"}


def write_safetensors(path, tensors):
    """(name, fp32 array) pairs, in order."""
    header, at = {}, 0
    for name, array in tensors:
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in tensors:
            file.write(array.tobytes())


def load_matrices(path, n_layers):
    """Layers spread over the depth of the model at `path`, or Gaussian matrices of its shapes."""
    layers = [round(i * (N_LAYERS - 1) / max(n_layers - 1, 1)) for i in range(n_layers)]
    if path is None:
        random = np.random.default_rng(1)
        return [random.normal(0, 0.05, shape).astype(np.float32) for _ in layers for shape in SHAPES]
    tensors = read_safetensors(path)
    return [tensors[f"model.layers.{layer}.{role}.weight"]() for layer in layers for role in ROLES]


def default_model():
    cache = os.environ.get("UCBENCH_CACHE")
    if cache is None:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "ucbench"
    path = pathlib.Path(cache) / "models/smollm2-135m-smooth/model.safetensors"
    return path if path.exists() else None


# ---- ours ----

class Refused(Exception):
    pass


class Ours:
    """`ucbench-bench --serve`: see tests/perf/bench_serve.c."""

    def __init__(self, program):
        self.process = subprocess.Popen([program, "--serve"], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.loaded = None

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        verdict, _, rest = self.process.stdout.readline().rstrip("\n").partition(" ")
        if verdict != "ok":
            raise Refused(rest or "ucbench-bench ended")
        return rest

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def load(self, path):
        if path != self.loaded:
            self.ask(f"load {path}")
            self.loaded = path

    def encode(self, spec):
        return float(self.ask(f"encode {spec}").split()[0])

    def decode(self):
        return float(self.ask("decode").split()[0])

    def payload(self):
        with tempfile.NamedTemporaryFile() as file:
            self.ask(f"write {file.name}")
            return np.fromfile(file.name, np.uint8)


# ---- peers: each yields cases ----

# peer, version; operation: encode or decode; spec: ours; data: which file of weights; run(): the peer's work, which returns
# what payload() turns into our bytes (None where there is nothing to compare).
Case = collections.namedtuple("Case", "peer version operation spec data run payload")


def bytes_of(array):
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1)


def torch_bytes(*tensors):
    return [bytes_of(t.contiguous().numpy()) for t in tensors]


def bitsandbytes_cases(matrices):
    import torch
    import bitsandbytes
    import bitsandbytes.functional as bnb

    torch.set_num_threads(CORES)
    version = bitsandbytes.__version__
    floats = [torch.from_numpy(m) for m in matrices]
    halves = [m.half() for m in floats]

    def four_bits(kind, nested):
        def run():
            return [bnb.quantize_4bit(m, blocksize=64, quant_type=kind, compress_statistics=nested) for m in floats]
        return run

    def four_bits_payload(results):
        for codes, state in results:
            yield from torch_bytes(codes, state.absmax)
            if state.nested:
                yield from torch_bytes(state.state2.absmax, state.offset.reshape(1))

    def rows():
        return [bnb.int8_vectorwise_quant(m)[:2] for m in halves]

    def rows_payload(results):
        for codes, absmax in results:
            yield from torch_bytes(codes, absmax.float())

    for spec, kind, nested in (("nf4", "nf4", False), ("nf4:double_quant=1,rule=cpu", "nf4", True), ("fp4", "fp4", False)):
        yield Case("bitsandbytes", version, "encode", spec, "rows", four_bits(kind, nested), four_bits_payload)
    yield Case("bitsandbytes", version, "encode", "int8", "rows", rows, rows_payload)

    packed = four_bits("nf4", False)()
    codes = rows()
    yield Case("bitsandbytes", version, "decode", "nf4", "rows",
               lambda: [bnb.dequantize_4bit(*result) for result in packed], None)
    yield Case("bitsandbytes", version, "decode", "int8", "rows",
               lambda: [bnb.int8_vectorwise_dequant(*result) for result in codes], None)


def hqq_cases(matrices):
    import torch
    from hqq.core.quantize import Quantizer

    torch.set_num_threads(CORES)
    version = importlib.metadata.version("hqq")
    floats = [torch.from_numpy(m) for m in matrices]

    def fit(bits, group):
        def run():
            return [Quantizer.quantize(m, nbits=bits, group_size=group, round_zero=bits == 4, axis=1, device="cpu")
                    for m in floats]
        return run

    def payload(results):
        for codes, meta in results:
            yield from torch_bytes(codes, meta["scale"].half(), meta["zero"].half())

    for bits, group in ((4, 64), (3, 64), (2, 16)):
        yield Case("hqq", version, "encode", f"hqq:bits={bits},group={group}", "rows", fit(bits, group), payload)


GGML_TYPES = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13,
              "Q6_K": 14, "IQ4_NL": 20, "IQ4_XS": 23}


def in_threads(tasks, work):
    """Calls work(*task) for all tasks on CORES threads that take the next one when done, as llama-quantize does."""
    waiting = collections.deque(tasks)

    def worker():
        while True:
            try:
                task = waiting.popleft()
            except IndexError:
                return
            work(*task)

    threads = [threading.Thread(target=worker) for _ in range(CORES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def llama_cases(wide, importance):
    import llama_cpp

    version = importlib.metadata.version("llama-cpp-python")
    library = next(pathlib.Path(llama_cpp.__file__).parent.glob("lib/libggml-base.so*"))
    ggml = ctypes.CDLL(str(library))
    ggml.ggml_row_size.restype = ctypes.c_size_t
    ggml.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                                         ctypes.c_int64, ctypes.c_void_p]
    rows_at_once = 32 * 512 // WIDE + 1

    def quantize(kind, weighted):
        targets = [np.zeros(m.shape[0] * ggml.ggml_row_size(kind, WIDE), np.uint8) for m in wide]
        tasks = [(i, row, min(rows_at_once, m.shape[0] - row)) for i, m in enumerate(wide)
                 for row in range(0, m.shape[0], rows_at_once)]

        def work(i, row, n_rows):  # ctypes lets the other threads run meanwhile
            ggml.ggml_quantize_chunk(kind, wide[i].ctypes.data, targets[i].ctypes.data, row * WIDE, n_rows, WIDE,
                                     importance[i].ctypes.data if weighted else None)

        def run():
            in_threads(tasks, work)
            return targets
        return run

    for name, kind in GGML_TYPES.items():
        for weighted in (False, True):
            yield Case("llama.cpp", version, "encode", f"gguf:type={name}" + (",imatrix=1" if weighted else ""),
                       "wide", quantize(kind, weighted), lambda results: results)


def gguf_cases(wide):
    import gguf

    version = importlib.metadata.version("gguf") + ", NumPy, one thread"

    def quantize(kind):
        return lambda: [gguf.quants.quantize(m, kind) for m in wide]

    for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"):
        yield Case("gguf", version, "encode", f"gguf:type={name}", "wide", quantize(gguf.GGMLQuantizationType[name]),
                   lambda results: (bytes_of(r) for r in results))


# ---- measuring ----

def seconds_of(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measure(case, ours, repeats, limit_seconds):
    """Pairs (peer's seconds, ours), and the share of equal bytes or None."""
    ours.encode(case.spec)
    our_work = (lambda: ours.encode(case.spec)) if case.operation == "encode" else ours.decode
    our_work()
    _, result = seconds_of(case.run)
    equal = None
    if case.payload is not None:
        theirs, own = np.concatenate(list(case.payload(result))), ours.payload()
        equal = float(np.mean(theirs == own)) if theirs.size == own.size else 0.0
    pairs, start = [], time.perf_counter()
    while len(pairs) < 3 or (len(pairs) < repeats and time.perf_counter() - start < limit_seconds):
        time.sleep(PAUSE_SECONDS)
        peer_seconds, _ = seconds_of(case.run)
        time.sleep(PAUSE_SECONDS)
        pairs.append((peer_seconds, our_work()))
    return pairs, equal


COLUMNS = ["peer", "version", "operation", "method", "weights", "repeats", "peer_median_s", "our_median_s", "ratio_median",
           "peer_best_s", "our_best_s", "ratio_best", "equal_bytes"]


def row_of(case, pairs, equal, weights):
    peer_median, our_median = (statistics.median(side) for side in zip(*pairs))
    peer_best, our_best = (min(side) for side in zip(*pairs))
    ratio = statistics.median(peer / own for peer, own in pairs)
    share = "-" if equal is None else "yes" if equal == 1 else f"{100 * equal:.4f}%"
    return dict(zip(COLUMNS, [case.peer, case.version, case.operation, case.spec, weights, len(pairs), f"{peer_median:.5f}",
                              f"{our_median:.5f}", f"{ratio:.2f}", f"{peer_best:.5f}", f"{our_best:.5f}",
                              f"{peer_best / our_best:.2f}", share]))


def print_row(row):
    print(f"{row['peer']:13} {row['operation']:7} {row['method']:28} {row['peer_median_s']:>9} {row['our_median_s']:>9} "
          f"{row['ratio_median']:>7} {row['ratio_best']:>8}  {row['equal_bytes']}", flush=True)


def machine():
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def all_cases(matrices, wide, importance):
    """Cases of every peer that is installed; the others are named on stderr."""
    for make in (lambda: bitsandbytes_cases(matrices), lambda: hqq_cases(matrices), lambda: llama_cases(wide, importance),
                 lambda: gguf_cases(wide)):
        try:
            yield from make()
        except (ImportError, OSError, StopIteration) as missing:
            print(f"peers: left out: {missing}", file=sys.stderr)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bench", default=ROOT / "build/release/ucbench-bench", help="our side (make bench-peers builds it)")
    parser.add_argument("--model", default=default_model(), type=pathlib.Path,
                        help="a .safetensors file of SmolLM2-135M; without it Gaussian weights")
    parser.add_argument("--layers", default=4, type=int, help="how many of its layers (default 4, at most 30)")
    parser.add_argument("--repeats", default=7, type=int, help="pairs of samples, at least 3 (default 7)")
    parser.add_argument("--limit", default=6.0, type=float, help="seconds after which a row starts no further pair (default 6)")
    parser.add_argument("--only", default="", help="rows whose peer, operation and method hold this text")
    parser.add_argument("--out", type=pathlib.Path, help="also write the rows to this file, tab-separated")
    parser.add_argument("--table", type=pathlib.Path, help="append lines for `make bench`'s table to this file")
    parser.add_argument("--note", default="", help="a remark for the head of that file")
    return parser.parse_args()


def main():
    args = arguments()
    matrices = load_matrices(args.model, args.layers)
    wide = [m.reshape(-1, WIDE) for m in matrices]
    random = np.random.default_rng(2)
    importance = [np.exp(random.normal(0, 1, WIDE)).astype(np.float32) for _ in wide]
    weights = sum(m.size for m in matrices)
    head = (f"# {machine()}, {CORES} cores, {datetime.date.today()}, load {os.getloadavg()[0]:.1f} at the start; "
            f"{weights} weights, {'Gaussian' if args.model is None else args.model.parent.name}")
    head += f"; {args.note}" if args.note else ""
    if os.getloadavg()[0] > 0.5:
        print("peers: other programs are running: threads of PyTorch's peers then wait for each other, up to a hundred times as "
              "long, and their ratios mean nothing; llama.cpp's suffer less", file=sys.stderr)
    print(head)
    print(f"{'peer':13} {'':7} {'method':28} {'peer s':>9} {'ours s':>9} {'ratio':>7} {'of bests':>8}  bytes equal")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = {"rows": f"{folder}/rows.safetensors", "wide": f"{folder}/wide.safetensors"}
        write_safetensors(files["rows"], [(f"m{i:03}", m) for i, m in enumerate(matrices)])
        write_safetensors(files["wide"], [pair for i, m in enumerate(wide)
                                          for pair in ((f"m{i:03}", m), (f"m{i:03}.importance", importance[i]))])
        ours = Ours(args.bench)
        for case in all_cases(matrices, wide, importance):
            if args.only not in f"{case.peer} {case.operation} {case.spec}":
                continue
            try:
                ours.load(files[case.data])
                row = row_of(case, *measure(case, ours, args.repeats, args.limit), weights)
            except Refused as sentence:
                print(f"{case.peer:13} {case.operation:7} {case.spec:28} not measured: {sentence}", flush=True)
                continue
            rows.append(row)
            print_row(row)
            add_to_table(args.table, f"{case.spec} {case.operation}", "", f"{weights / float(row['our_median_s']) * 1e-9:.3f}", "Gw/s",
                         case.peer, row["ratio_median"])
        ours.close()
    write_rows(args.out, head, COLUMNS, rows)


if __name__ == "__main__":
    main()
