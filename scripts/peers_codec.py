"""peers_codec.py - the lossless codec beside ZipNN: bits per weight, encoding and decoding on one core.

Both sides code the same Gaussian bf16 weights (sigma 0.02) from memory to memory, on one thread, by processor time. ZipNN
runs in this process, ours in `ucbench-bench codec`; each side copies the array too (memcpy), so that a rate can be given as a
multiple of the machine's own. The two take turns, ours first and last. ZipNN is given a copy of the array every time, because
it reorders the bytes of its input in place, and its result is compared with the original. Ours verifies two checksums of every
chunk while it decodes; ZipNN has none.

Run by `make bench-codec` in the environment that scripts/peers.sh makes.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import peers  # first: it sets cores and threads
import numpy as np

SEED = 1
SIGMA = 0.02
MODES = ["fast", "default"]


def weights(n):
    """n bf16 weights as uint16, rounded to nearest even."""
    bits = (np.random.default_rng(SEED).standard_normal(n, np.float32) * np.float32(SIGMA)).view(np.uint32)
    return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_safetensors(path, array):
    header = json.dumps({"w": {"dtype": "BF16", "shape": list(array.shape), "data_offsets": [0, array.nbytes]}}).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + array.tobytes())


def seconds(work):
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def run_zipnn(array, repeats):
    """Rows name -> [bits per weight, encode GB/s, decode GB/s], medians."""
    from zipnn import ZipNN

    raw, coder = array.tobytes(), ZipNN(bytearray_dtype="bfloat16", threads=1)
    target = np.empty_like(array)
    times = {"memcpy": [], "encode": [], "decode": []}
    for _ in range(repeats):
        times["memcpy"].append(seconds(lambda: np.copyto(target, array))[0])
        own = bytes(bytearray(raw))  # bytes(raw) would be raw itself
        taken, coded = seconds(lambda: coder.compress(own))
        times["encode"].append(taken)
        taken, decoded = seconds(lambda: coder.decompress(coded))
        times["decode"].append(taken)
        if bytes(decoded) != raw:
            sys.exit("peers: ZipNN gave other bytes back")
    rate = {name: array.nbytes * 1e-9 / statistics.median(t) for name, t in times.items()}
    return {"memcpy": [16.0, rate["memcpy"], rate["memcpy"]],
            "ZipNN": [8 * len(coded) / array.size, rate["encode"], rate["decode"]]}


def run_ours(bench, path):
    """The same of the one-thread rows of `ucbench-bench codec`, which verifies each: its last two columns are left out."""
    out = subprocess.run([bench, "codec"], env={**os.environ, "UCB_BENCH_WEIGHTS": str(path)}, text=True, check=True,
                         stdout=subprocess.PIPE).stdout
    one_thread = out[out.index("one thread"):out.index("threads, wall")]
    rows = {}
    for line in one_thread.splitlines()[1:]:
        fields = line.split()
        if fields[-1] == "WRONG":
            sys.exit(f"peers: {fields[0]} gave other bytes back")
        if fields[-1] == "verified":
            rows[fields[0].removeprefix("lossless:mode=")] = [float(x) for x in fields[-5:-2]]
    return rows


def mean_rows(first, last):
    return {name: [(a + b) / 2 for a, b in zip(first[name], last[name])] for name in first}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", default=peers.ROOT / "build/release/ucbench-bench", help="our side (make bench-codec builds it)")
    parser.add_argument("--weights", default=24 << 20, type=int, help="how many (default 25165824: 50 MB)")
    parser.add_argument("--repeats", default=9, type=int, help="of ZipNN (default 9, as ours has)")
    parser.add_argument("--out", type=pathlib.Path, help="also write the table to this file")
    args = parser.parse_args()
    array = weights(args.weights // 576 * 576).reshape(-1, 576)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "weights.safetensors"
        write_safetensors(path, array)
        first = run_ours(args.bench, path)
        peer = run_zipnn(array, args.repeats)
        ours = mean_rows(first, run_ours(args.bench, path))
    table = [("ZipNN", peer["ZipNN"], peer["memcpy"])] + [(mode, ours[mode], ours["memcpy"]) for mode in MODES]
    lines = [f"# {peers.machine()}, one core, {datetime.date.today()}, load {os.getloadavg()[0]:.1f}; ZipNN "
             f"{importlib.metadata.version('zipnn')}; {array.size} Gaussian bf16 weights; GB/s of weights",
             f"{'':10} {'b/w':>8} {'encode':>8} {'decode':>8} {'decode, own memcpy = 1':>23} {'decode, ZipNN = 1':>18}"]
    for name, (bits, encode, decode), memcpy in table:
        lines.append(f"{name:10} {bits:8.4f} {encode:8.3f} {decode:8.3f} {decode / memcpy[2]:23.3f} {decode / peer['ZipNN'][2]:18.2f}")
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
