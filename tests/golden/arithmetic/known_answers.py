#!/usr/bin/env python3
"""Computes the known answers of docs/arithmetic.md from that page alone, in plain Python (any version from 3.6).

A second implementation, slow on purpose: Python's floats are doubles, so an fp32 operation is the double operation rounded
once more (harmless for + - * / and sqrt), and an fma is made exact by rounding its double sum to odd first (Boldo and
Melquiond, 2008). Prints the table of the page; some two minutes. tests/unit/test_known_answers.c holds the same digests.
"""
import hashlib
import math
import struct

CHUNK, BLOCK, LANES, TILE_IDS = 256, 32, 16, 1024


def f32(x):
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


def bits64(x):
    return struct.unpack("<q", struct.pack("<d", x))[0]


def fma(a, b, c):
    """fl(a b + c) in fp32: a b is exact in double; the sum is rounded to odd, then to fp32."""
    p = a * b
    s = p + c
    t = s - p
    rest = (p - (s - t)) + (c - t)
    if rest != 0.0 and bits64(s) % 2 == 0:
        up = (rest > 0) == (s > 0)
        s = struct.unpack("<d", struct.pack("<q", bits64(s) + (1 if up else -1)))[0]
    return f32(s)


def flush(x):
    """The inputs here stay away from the one edge where this differs from flushing what is tiny after rounding."""
    return math.copysign(0.0, x) if abs(x) < 2.0 ** -126 else x


def bf16(x):
    u = struct.unpack("<I", struct.pack("<f", x))[0]
    u = (u + 0x7FFF + (u >> 16 & 1)) & 0xFFFF0000
    return struct.unpack("<f", struct.pack("<I", u))[0]


class Pcg:
    def __init__(self, name):
        stream = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
        self.state, self.inc = 0, (stream << 1 | 1) % 2 ** 64
        self.next()
        self.state = (self.state + 1) % 2 ** 64
        self.next()

    def next(self):
        old = self.state
        self.state = (old * 6364136223846793005 + self.inc) % 2 ** 64
        x, turn = ((old >> 18 ^ old) >> 27) % 2 ** 32, old >> 59
        return (x >> turn | x << (-turn % 32)) % 2 ** 32


def values(name, n, scale):
    stream = Pcg(name)
    return [f32(scale * f32(2.0 * ((stream.next() >> 8) * 2.0 ** -24) - 1.0)) for _ in range(n)]


def rows(name, n_rows, n, scale):
    flat = values(name, n_rows * n, scale)
    return [flat[i * n:(i + 1) * n] for i in range(n_rows)]


def dot_fp32(x, w):
    y = None
    for start in range(0, len(x), CHUNK):
        t = 0.0
        for a, b in zip(x[start:start + CHUNK], w[start:start + CHUNK]):
            t = fma(a, b, t)
        y = t if y is None else f32(y + t)
    return y


def dot_bf16(x, w):
    """x and w are rounded already."""
    y = 0.0
    for start in range(0, len(x), BLOCK):
        chains = [0.0, 0.0]
        for k in range(start, min(start + BLOCK, len(x))):
            chains[k % 2] = flush(fma(flush(x[k]), flush(w[k]), chains[k % 2]))
        y = flush(f32(y + flush(f32(chains[0] + chains[1]))))
    return y


def dot_pairs(x, w):
    """bf16-dot; x and w are rounded already."""
    y, padded = None, [0.0] * (-len(x) % BLOCK)
    x, w = x + padded, w + padded
    for start in range(0, len(x), CHUNK):
        t = 0.0
        for k in range(start, min(start + CHUNK, len(x))):
            t = flush(fma(flush(x[k ^ 1]), flush(w[k ^ 1]), t))
        y = t if y is None else flush(f32(y + t))
    return y


DOT = {"fp32": dot_fp32, "bf16": dot_bf16, "bf16-dot": dot_pairs}
ROUND = {"fp32": lambda row: row, "bf16": lambda row: [bf16(x) for x in row]}
OPERAND = dict(ROUND, **{"bf16-dot": ROUND["bf16"]})


def exp(x):
    if x < -87.0:
        return 0.0
    if x > 88.0:
        return math.inf
    z = f32(f32(x * float.fromhex("0x1.715476p+0")) + 12582912.0)
    n = z - 12582912.0
    r = f32(x - f32(n * 0.693359375))
    r = f32(r - f32(n * float.fromhex("-0x1.bd0106p-13")))
    q = float.fromhex("0x1.a01a02p-13")
    for c in ("0x1.6c16c2p-10", "0x1.111112p-7", "0x1.555556p-5", "0x1.555556p-3", "0x1p-1"):
        q = f32(f32(q * r) + float.fromhex(c))
    return f32(f32(1.0 + f32(r + f32(f32(r * r) * q))) * 2.0 ** n)


def lane_sum(xs):
    lane = [0.0] * LANES
    for i, x in enumerate(xs):
        lane[i % LANES] = f32(lane[i % LANES] + x)
    width = LANES // 2
    while width:
        for j in range(width):
            lane[j] = f32(lane[j] + lane[j + width])
        width //= 2
    return lane[0]


def product(arithmetic):
    x = [OPERAND[arithmetic](r) for r in rows("x", 5, 300, 1.0)]
    w = [OPERAND[arithmetic](r) for r in rows("w", 33, 300, 1.0)]
    return [DOT[arithmetic](a, b) for a in x for b in w]


def rmsnorm(_):
    weight, out = values("weight", 100, 1.0), []
    for x in rows("x", 3, 100, 3.0):
        mean = f32(lane_sum([f32(v * v) for v in x]) / 100.0)
        scale = f32(1.0 / f32(math.sqrt(f32(mean + f32(1e-5)))))
        out += [f32(g * f32(v * scale)) for g, v in zip(weight, x)]
    return out


def rope(_):
    x, table = values("x", 4 * 2 * 20, 2.0), values("table", 3 * 12, 1.0)
    for row, position in enumerate((0, 1, 2, 1)):
        for head in range(2):
            for i in range(6):
                cos, sin = table[position * 12 + 2 * i:position * 12 + 2 * i + 2]
                at = row * 40 + head * 20 + i
                a, b = x[at], x[at + 6]
                x[at], x[at + 6] = f32(f32(a * cos) - f32(b * sin)), f32(f32(b * cos) + f32(a * sin))
    return x


def sqrt(x):
    return f32(math.sqrt(x))


def layernorm(_):
    weight, bias, out, n = values("weight", 100, 1.0), values("bias", 100, 2.0), [], 100
    for x in rows("x", 3, n, 3.0):
        mean = f32(lane_sum(x) / n)
        d = [f32(a - mean) for a in x]
        s = f32(1.0 / sqrt(f32(f32(lane_sum([f32(a * a) for a in d]) / n) + f32(1e-5))))
        out += [f32(f32(w * f32(a * s)) + b) for w, a, b in zip(weight, d, bias)]
    return out


def rope_adjacent(_):
    heads, head_dim, first, r = 2, 20, 4, 12
    x, table = values("x", 4 * heads * head_dim, 2.0), values("table", 3 * r, 1.0)
    for row, position in enumerate((0, 1, 2, 1)):
        for h in range(heads):
            for i in range(r // 2):
                at = (row * heads + h) * head_dim + first + 2 * i
                cos, sin = table[position * r + 2 * i:position * r + 2 * i + 2]
                a, b = x[at:at + 2]
                x[at], x[at + 1] = f32(f32(a * cos) - f32(b * sin)), f32(f32(b * cos) + f32(a * sin))
    return x


def hexes(text):
    return [float.fromhex(c) for c in text.split()]


def polynomial(coefficients, x):
    total = coefficients[0]
    for c in coefficients[1:]:
        total = f32(f32(total * x) + c)
    return total


def gate(x, v):
    return f32(x / f32(1.0 + exp(-v)))


GELU = hexes("0x1.232f0cp-3 -0x1.54fc62p-1 0x1.1f4acep+0 -0x1.4d554ep-1 -0x1.df050ap-4 "
             "0x1.4c3466p-6 0x1.d02e9ep-6 0x1.8d36eap-2 0x1.ff3a56p-1 -0x1.43f3f8p+0")
TANH = hexes("0x1.c936e4p-10 -0x1.f69c46p-8 0x1.5f976ep-6 -0x1.b9819ap-5 0x1.110ddap-3 -0x1.55554ap-2")


def gelu(x):
    z = f32(abs(x) * float.fromhex("0x1.6a09e6p-1"))
    t = f32(1.0 / f32(1.0 + f32(0.5 * z)))
    tail = f32(0.5 * f32(t * exp(f32(polynomial(GELU, t) - f32(z * z)))))
    return f32(x * (tail if x < 0 else f32(1.0 - tail)))


def gelu_tanh(x):
    v = f32(x + f32(f32(0.044715) * f32(f32(x * x) * x)))
    return gate(x, f32(float.fromhex("0x1.988454p+0") * v))


def tanh(x):
    u = abs(x)
    s = f32(u * u)
    if u < 0.75:
        y = f32(u + f32(u * f32(s * polynomial(TANH, s))))
    else:
        y = f32(1.0 - f32(2.0 / f32(exp(f32(2.0 * u)) + 1.0)))
    return -y if x < 0 else y


def softcap(x, scale, limit):
    return f32(limit * tanh(f32(f32(x * scale) / limit)))


def activations(_):
    gates, up = values("gate", 1000, 8.0), values("up", 1000, 2.0)
    return [f32(f(g) * u) for f in (gelu, gelu_tanh) for g, u in zip(gates, up)]


def caps(_):
    return [softcap(x, 1.0, 5.0) for x in values("x", 1000, 20.0)]


def state_space(_):
    n, width, states, taps = 12, 20, 3, 4
    x, conv, bias = rows("in", n, width, 2.0), rows("conv", taps, width, 1.0), values("bias", width, 1.0)
    dt, bc, a = rows("dt", n, width, 1.0), rows("bc", n, 2 * states, 1.0), rows("a", states, width, 2.0)
    skip, h, us, ys = values("skip", width, 1.0), [[0.0] * width for _ in range(states)], [], []
    for t in range(n):
        for c in range(width):
            total = bias[c]
            for k in range(max(0, taps - 1 - t), taps):
                total = f32(total + f32(conv[k][c] * x[t + k + 1 - taps][c]))
            u, y = gate(total, total), 0.0
            inflow = f32(dt[t][c] * u)
            for s in range(states):
                h[s][c] = f32(f32(exp(f32(dt[t][c] * a[s][c])) * h[s][c]) + f32(inflow * bc[t][s]))
                y = f32(y + f32(h[s][c] * bc[t][states + s]))
            us.append(u)
            ys.append(f32(y + f32(skip[c] * u)))
    return us + ys


def silu_mul(_):
    return [f32(f32(g / f32(1.0 + exp(-g))) * u) for g, u in zip(values("gate", 1000, 100.0), values("up", 1000, 2.0))]


def attention(arithmetic, sliding=0, cap=0):
    n, heads, kv_heads, d = 300, 4, 2, 20
    operand, dot = OPERAND[arithmetic], DOT[arithmetic]
    q, k, v = rows("q", n, heads * d, 2.0), rows("k", n, kv_heads * d, 2.0), rows("v", n, kv_heads * d, 1.0)
    q, k, v = [[operand(r) for r in m] for m in (q, k, v)]
    out = []
    for i in range(n):
        first = max(0, i - sliding + 1) if sliding else 0
        group_first = max(0, i // 32 * 32 - sliding + 1) if sliding else 0
        begin, end = group_first // 256 * 256, i // 32 * 32 + 32
        for h in range(heads):
            kv = h // (heads // kv_heads) * d
            seen = {j: dot(q[i][h * d:h * d + d], k[j][kv:kv + d]) for j in range(first, i + 1)}
            seen = {j: softcap(s, 0.25, cap) if cap else f32(s * 0.25) for j, s in seen.items()}
            peak = max(seen.values())
            e = [exp(f32(seen[j] - peak)) if j in seen else 0.0 for j in range(begin, end)]
            total, weights = lane_sum(e), operand(e)
            for c in range(kv, kv + d):
                column = [v[j][c] if j < n else 0.0 for j in range(begin, end)]
                out.append(f32((dot(weights, column) + 0.0) / total))
    return out


def log(x):
    """ucb_log for x >= 1: ln(1 + f) = f - s (f - R)."""
    m, n = math.frexp(x)
    if m < float.fromhex("0x1.6a09e667f3bcdp-1"):
        m, n = m * 2.0, n - 1
    f = m - 1.0
    s = f / (2.0 + f)
    square, tail = s * s, 0.0
    for divisor in range(25, 1, -2):
        tail = tail * square + 1.0 / divisor
    rest = s * (f - 2.0 * square * tail)
    high, low = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
    return n * high + (f - (rest - n * low))


def tiles(xs):
    return [xs[i:i + TILE_IDS] for i in range(0, len(xs), TILE_IDS)]


def double_sum(xs):
    total = 0.0
    for tile in tiles(xs):
        total += lane_sum(tile)
    return total


def order(z):
    return sorted(range(len(z)), key=lambda v: (-z[v], v))


def head(arithmetic):
    n_ids, n = 1500, 40
    flat, noise = values("w", n_ids * n, 1.0), values("noise", n_ids * n, 0.125)
    other = [f32(a + b) for a, b in zip(noise, flat)]
    operand, out, reference = OPERAND[arithmetic], b"", []
    hidden = [operand(r) for r in rows("hidden", 4, n, 1.0)]
    for model, source in enumerate((flat, other)):
        w = [operand(source[v * n:v * n + n]) for v in range(n_ids)]
        for row, target in enumerate((0, 100, 200, 300)):
            z = [DOT[arithmetic](hidden[row], r) for r in w]
            by_size, peak = order(z), max(z)
            e = [exp(f32(x - peak)) for x in z]
            total = double_sum(e)
            if model == 0:
                reference.append((z, peak, e, total, by_size))
            z0, peak0, e0, total0, by_size0 = reference[row]
            terms = [f32(a * f32(f32(x0 - peak0) - f32(x - peak))) for a, x0, x in zip(e0, z0, z)]
            kld = f32(double_sum(terms) / total0 + (log(total) - log(total0)))
            a0, a = f32(1.0 / total0), f32(1.0 / total)
            apart = double_sum([abs(f32(f32(x0 * a0) - f32(x * a))) for x0, x in zip(e0, e)])
            out += struct.pack("<dff", z[target] - peak - log(total), kld, f32(1.0 - 0.5 * apart))
            out += struct.pack("<IIII", by_size[0], sum(x > z[target] for x in z), sum(x > z[by_size0[0]] for x in z),
                               len(set(by_size[:10]) & set(by_size0[:10])))
    return out


def digest(result):
    if not isinstance(result, bytes):
        result = struct.pack("<%df" % len(result), *result)
    return hashlib.sha256(result).hexdigest()


def main():
    for name, run in (("rmsnorm", rmsnorm), ("layernorm", layernorm), ("rope", rope), ("rope, adjacent", rope_adjacent),
                      ("silu_mul", silu_mul), ("gelus", activations), ("softcap", caps), ("state space", state_space)):
        print("| %s | all | `%s` |" % (name, digest(run(None))), flush=True)
    for arithmetic in ("fp32", "bf16", "bf16-dot"):
        for name, run in (("product", product), ("head", head), ("attention", attention),
                          ("attention, sliding 40", lambda a: attention(a, 40)),
                          ("attention, sliding 40, softcap 2", lambda a: attention(a, 40, 2.0))):
            print("| %s | %s | `%s` |" % (name, arithmetic, digest(run(arithmetic))), flush=True)


if __name__ == "__main__":
    main()
