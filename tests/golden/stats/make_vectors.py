"""Writes vectors.tsv: what other implementations say about the quantities of harness/stats.

Made with Python 3.11, numpy 2.4.6, scipy 1.17.1, statsmodels 0.15.0, mpmath 1.4.1:
    python make_vectors.py > vectors.tsv
Newcombe's method 10 is in none of them; its formula is written out below in exact and 40-digit arithmetic. Neither is
Tango's interval: below, the likelihood is maximised numerically instead of by his closed form.
"""
from fractions import Fraction
from math import comb
from types import SimpleNamespace

import mpmath as mp
import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

mp.mp.dps = 40


def row(kind, *values):
    print(kind, *(mp.nstr(v, 20) if isinstance(v, mp.mpf) else repr(float(v)) for v in values), sep="\t")


def student_tail(x, n):
    return mp.betainc(n / 2, mp.mpf(1) / 2, 0, n / (n + x * x), regularized=True) / 2


def distributions():
    for p in (0.6, 0.75, 0.9, 0.95, 0.975, 0.995, 0.9999, 0.025, 1e-9):
        q = mp.mpf(p)
        z = mp.findroot(lambda x: mp.ncdf(x) - q, float(stats.norm.ppf(p)))
        row("normal_quantile", p, z)
        for n in (1, 2, 3, 4, 7.5, 19, 59, 499, 4999):
            x = mp.findroot(lambda t: (student_tail(abs(t), mp.mpf(n)) if t > 0 else 1 - student_tail(abs(t), mp.mpf(n)))
                            - (1 - q), float(stats.t.ppf(p, n)))
            row("student_quantile", p, n, x)
    for x in (-3.5, -0.25, 0.0, 1.0, 2.9999, 3.0, 6.5, 20.0, 37.0):
        row("normal_tail", x, mp.erfc(mp.mpf(x) / mp.sqrt(2)) / 2)


def proportions():
    for hits, n in ((0, 1), (1, 1), (0, 20), (3, 10), (10, 20), (19, 20), (146, 500), (1517, 5153)):
        low, high = proportion_confint(hits, n, 0.05, "wilson")
        row("wilson", hits, n, low, high)
    for lost, won in ((0, 1), (1, 0), (4, 1), (5, 5), (6, 6), (12, 3), (36, 17), (57, 6), (700, 640), (1500, 1500)):
        n, few = lost + won, min(lost, won)
        at = Fraction(comb(n, few), 2**n)
        mid = min(Fraction(1), 2 * sum(Fraction(comb(n, j), 2**n) for j in range(few + 1)) - at)
        row("mcnemar", lost, won, stats.binomtest(lost, n).pvalue, mid,
            stats.binomtest(lost, n, alternative="greater").pvalue)


def wilson(x, n):
    z = mp.findroot(lambda t: mp.ncdf(t) - mp.mpf("0.975"), 1.96)
    half = z * mp.sqrt(x * (n - x) / n + z * z / 4)
    return (x + z * z / 2 - half) / (n + z * z), (x + z * z / 2 + half) / (n + z * z)


def newcombe():
    for both, lost, won, neither in ((36, 12, 2, 0), (1, 7, 1, 12), (20, 0, 0, 30), (10, 0, 0, 0), (0, 5, 5, 0),
                                     (110, 36, 17, 337), (4, 2, 1, 3)):
        a, b, c, d = (mp.mpf(v) for v in (both, lost, won, neither))
        n = a + b + c + d
        before, after = (a + b) / n, (a + c) / n
        (l1, u1), (l2, u2) = wilson(a + b, n), wilson(a + c, n)
        margins, product = (a + b) * (c + d) * (a + c) * (b + d), a * d - b * c
        if product > 0:
            product = max(product - n / 2, mp.mpf(0))
        phi = product / mp.sqrt(margins) if margins else mp.mpf(0)
        # Newcombe states it for before - after; after - before is its mirror image.
        down = mp.sqrt((before - l1)**2 - 2 * phi * (before - l1) * (u2 - after) + (u2 - after)**2)
        up = mp.sqrt((u1 - before)**2 - 2 * phi * (u1 - before) * (after - l2) + (after - l2)**2)
        row("newcombe", both, lost, won, neither, (after - before) - up, (after - before) + down)


def quantiles():
    values = [((i * 7919) % 101) / 16 for i in range(37)]
    for p in (0, 0.025, 0.1, 0.5, 0.77, 0.975, 1):
        row("quantile", p, np.quantile(values, p))


def pcg32(seed, stream):
    mask, inc = 2**64 - 1, stream << 1 | 1
    state = ((inc + seed) * 6364136223846793005 + inc) & mask
    while True:
        old, state = state, (state * 6364136223846793005 + inc) & mask
        x, turn = (((old >> 18) ^ old) >> 27) & 0xffffffff, old >> 59
        yield (x >> turn | x << (-turn & 31)) & 0xffffffff


def below(words, n):
    while True:
        product = next(words) * n
        if product & 0xffffffff >= 2**32 % n:
            return product >> 32


def bootstrap():
    n, n_replicates = 30, 999
    above = np.array([((i * 7919) % 101) / 16 - 3 for i in range(n)])
    weight = np.array([1.0 + (i * 31) % 7 for i in range(n)])
    words = pcg32(42, 54)
    drawn = [[below(words, n) for _ in range(n)] for _ in range(n_replicates)]
    replicates = np.array([above[d].sum() / weight[d].sum() for d in drawn])

    def ratio(a, b, axis=-1):
        return a.sum(axis=axis) / b.sum(axis=axis)

    for kind, method in (("bootstrap_percentile", "percentile"), ("bootstrap_bca", "BCa")):
        ends = stats.bootstrap((above, weight), ratio, paired=True, n_resamples=0, method=method, vectorized=True,
                               bootstrap_result=SimpleNamespace(bootstrap_distribution=replicates)).confidence_interval
        row(kind, ends.low, ends.high)


def bisect(falling, low, high):
    """The root of a falling function."""
    for _ in range(120):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def tango_score(both, lost, won, neither, d):
    """(won - lost - n d) over its standard deviation where the likelihood of d is largest."""
    n = both + lost + won + neither
    low, high = max(mp.mpf(0), -d), (1 - d) / 2  # lost has probability q, won q + d

    def slope(q):
        parts = ((lost, q, 1), (won, q + d, 1), (both + neither, 1 - 2 * q - d, -2))
        return sum((c * sign / p if p else mp.inf * sign) for c, p, sign in parts if c)

    q = bisect(slope, low, high)
    return (won - lost - n * d) / mp.sqrt(n * (2 * q + d - d * d))


def tango():
    z = mp.findroot(lambda t: mp.ncdf(t) - mp.mpf("0.975"), 1.96)
    for counts in ((36, 12, 2, 0), (1, 7, 1, 12), (20, 0, 0, 30), (10, 0, 3, 0), (0, 5, 5, 0), (110, 36, 17, 337),
                   (2000, 9, 25, 3119)):
        n, lost, won = sum(counts), counts[1], counts[2]
        value = mp.mpf(won - lost) / n
        tiny = mp.mpf("1e-30")
        row("tango", *counts, bisect(lambda d: tango_score(*counts, d) - z, -1 + tiny, value),
            bisect(lambda d: tango_score(*counts, d) + z, value, 1 - tiny))
        band = mp.mpf("0.125")
        row("tost_paired", *counts, band, max(mp.ncdf(-tango_score(*counts, -band)), mp.ncdf(tango_score(*counts, band))))


def tests_of_many():
    p = [0.01, 0.04, 0.03, 0.005, 0.04, 0.9, 0.0001, 0.2]
    for kind, method in (("holm", "holm"), ("benjamini_hochberg", "fdr_bh")):
        row(kind, *multipletests(p, method=method)[1])


def equivalence():
    d = np.array([((i * 7919) % 101) / 16 - 3 for i in range(30)]) / 50
    row("cluster_error", d.mean(), stats.sem(d))
    for low, high in ((-0.02, 0.02), (-0.05, 0.005), (-0.01, 0.03)):
        row("tost_cluster", low, high, ttost_paired(d, np.zeros(30), low, high)[0])
    # The exact n by the noncentral t distribution, for scatter 1.
    for difference in (0.05, 0.2, 0.5, 1.0):
        row("n_to_find", difference, TTestPower().solve_power(difference, alpha=0.05, power=0.8))


def energy():
    x = np.array([((i * 7919) % 101) / 16 + (2 if i >= 20 else 0) for i in range(37)])

    def pairs(a, b):
        return np.abs(a[:, None] - b[None, :])

    for cut in (3, 10, 20, 34):
        a, b = x[:cut], x[cut:]
        m, k = len(a), len(b)
        distance = 2 * pairs(a, b).mean() - pairs(a, a).sum() / (m * (m - 1)) - pairs(b, b).sum() / (k * (k - 1))
        row("energy", cut, m * k / (m + k) * distance)


distributions()
proportions()
tango()
tests_of_many()
equivalence()
energy()
newcombe()
quantiles()
bootstrap()
