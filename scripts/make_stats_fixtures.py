"""Makes tests/fixtures/stats/*.json: what SciPy says about the numbers that the tests of src/stats read.

Run once, with exactly these versions (the output is committed; another version of numpy may draw other samples):

    python 3.11, numpy==2.4.6, scipy==1.17.1

    python scripts/make_stats_fixtures.py

It takes half a minute, nearly all of it in repeated bootstraps whose spread is the tolerance of the tests that
compare one bootstrap with another.
"""

import json
import pathlib
import platform
import warnings

import numpy
import scipy
from scipy import integrate, optimize, stats

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "stats"
VERSIONS = {"python": platform.python_version(), "numpy": numpy.__version__, "scipy": scipy.__version__}
assert (VERSIONS["numpy"], VERSIONS["scipy"]) == ("2.4.6", "1.17.1"), VERSIONS


def samples():
    """Paired differences of the kinds that occur: small, large, tied, with zeros, skewed, degenerate."""
    rng = numpy.random.default_rng(2505_17630)
    normal = rng.normal
    return {
        "pair": [0.3, -0.1],
        "n5": normal(0.4, 1.0, 5),
        "n8_all_positive": rng.uniform(0.1, 2.0, 8),
        "n12": normal(0.3, 1.0, 12),
        "n12_tenths": numpy.round(normal(0.2, 0.4, 12), 1),
        "n16": normal(-0.5, 1.0, 16),
        "n18": normal(0.5, 1.0, 18),
        "n24": normal(0.35, 1.0, 24),
        "n25": normal(0.35, 1.0, 25),
        "n25_all_positive": rng.uniform(0.1, 2.0, 25),
        "n26": normal(0.35, 1.0, 26),
        "n30_ties_and_zeros": rng.integers(-3, 5, 30),
        "n30_zeros_only_at_zero": numpy.concatenate([numpy.zeros(6), normal(0.5, 1.0, 24)]),
        "n60": normal(0.15, 0.6, 60),
        "n60_skewed": rng.lognormal(0.0, 1.4, 60) - 1.5,
        "n60_hundredths": numpy.round(normal(0.02, 0.1, 60), 2),
        "n60_mostly_zero": numpy.where(rng.uniform(size=60) < 0.7, 0.0, normal(0.5, 1.0, 60)),
        "n400": normal(0.05, 0.8, 400),
        "n400_skewed": rng.standard_t(2.5, 400) + 0.2,
        "n400_sevenths": rng.integers(-20, 24, 400) / 7.0,
        "all_zero": numpy.zeros(20),
        "all_equal": numpy.full(20, 0.1),
        "one_non_zero": numpy.concatenate([numpy.zeros(9), [2.5]]),
        "n1": [0.7],
        "n1_zero": [0.0],
        "n500": normal(0.05, 0.8, 500),
        "n500_ties_and_zeros": rng.integers(-5, 7, 500) / 4.0,
    }


def hodges_lehmann(x, axis=-1):
    assert axis in (-1, x.ndim - 1)
    i, j = numpy.triu_indices(x.shape[-1])
    return numpy.median((x[..., i] + x[..., j]) / 2.0, axis=-1)


def macro_mean(*strata, axis=-1):
    """The mean of the means of the strata: each task counts alike, however many examples it has."""
    return sum(numpy.mean(stratum, axis=axis) for stratum in strata) / len(strata)


STATISTICS = {"mean": numpy.mean, "median": numpy.median, "hodges_lehmann": hodges_lehmann, "macro_mean": macro_mean}


def number(value):
    value = float(value)
    return value if numpy.isfinite(value) else None


def numbers(values):
    return [float(value) for value in values]


def summaries(data):
    for name, x in data.items():
        x = numpy.asarray(x, dtype=float)
        non_zero = x[x != 0]
        ranks = stats.rankdata(numpy.abs(non_zero))
        plus, minus = ranks[non_zero > 0].sum(), ranks[non_zero < 0].sum()
        yield {
            "name": name,
            "differences": numbers(x),
            "mean": number(numpy.mean(x)),
            "median": number(numpy.median(x)),
            "sd": number(numpy.std(x, ddof=1)),
            "hodges_lehmann": number(hodges_lehmann(x)),
            "rank_biserial": number((plus - minus) / (plus + minus)) if len(non_zero) else None,
            "wins": int((x > 0).sum()),
            "ties": int((x == 0).sum()),
            "losses": int((x < 0).sum()),
        }


def wilcoxon(data):
    """Exact below 26 pairs when no difference is zero and no two magnitudes tie, else the normal approximation."""
    for name, x in data.items():
        x = numpy.asarray(x, dtype=float)
        exact = len(x) < 26 and len(numpy.unique(numpy.abs(x))) == len(x) and not (x == 0).any()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = stats.wilcoxon(
                x, zero_method="pratt", correction=True, method="exact" if exact else "asymptotic"
            )
        yield {
            "name": name,
            "differences": numbers(x),
            "exact": exact,
            "n": int((x != 0).sum()),
            "statistic": number(result.statistic),
            "p": number(result.pvalue),
        }


def permutation(data):
    """Sign flips: SciPy's two-sided test of the mean where it enumerates, and in both its forms where it samples."""
    for name, x in data.items():
        x = numpy.asarray(x, dtype=float)
        case = {"name": name, "differences": numbers(x), "exact": len(x) <= 18}
        if len(x) < 2:
            # SciPy refuses one observation; both signs of it are equally extreme.
            case["p"] = 1.0
        elif case["exact"]:
            result = stats.permutation_test(
                (x,), numpy.mean, permutation_type="samples", vectorized=True, n_resamples=2 ** len(x) + 1
            )
            case["p"] = number(result.pvalue)
        else:
            # |mean| is the two-sided form whose smallest value is 1 / (resamples + 1); ours is the same.
            case["resamples"] = 100_000
            result = stats.permutation_test(
                (x,),
                lambda x, axis: numpy.abs(numpy.mean(x, axis=axis)),
                permutation_type="samples",
                alternative="greater",
                n_resamples=case["resamples"],
                batch=5_000,
                rng=numpy.random.default_rng(7),
            )
            case["p"] = number(result.pvalue)
            two_sided = stats.permutation_test(
                (x,),
                numpy.mean,
                permutation_type="samples",
                vectorized=True,
                n_resamples=case["resamples"],
                batch=5_000,
                rng=numpy.random.default_rng(8),
            )
            case["p_of_the_smaller_tail_doubled"] = number(two_sided.pvalue)
        yield case


def strata_of(data):
    return {
        "two_tasks": [data["n60"], data["n12"]],
        "three_tasks": [data["n60_skewed"], data["n25"], data["n400"]],
        "a_constant_task": [data["n12"], data["all_equal"]],
    }


def jackknife(strata, statistic):
    """Leave one out, one list a stratum."""
    return [
        [
            float(statistic(*strata[:s], numpy.delete(stratum, i), *strata[s + 1 :], axis=-1))
            for i in range(len(stratum))
        ]
        for s, stratum in enumerate(strata)
    ]


def bca(strata, name, resamples, seed, confidence=0.95):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return stats.bootstrap(
            strata,
            STATISTICS[name],
            vectorized=True,
            axis=-1,
            n_resamples=resamples,
            batch=200 if name == "hodges_lehmann" else 2_000,
            confidence_level=confidence,
            method="BCa",
            rng=numpy.random.default_rng(seed),
        )


def bootstrap_endpoints(data):
    """SciPy's interval beside the resampled statistics and the jackknife it was made from."""
    wanted = [
        ("n5", "mean", 0.95),
        ("n12", "mean", 0.95),
        ("n12", "mean", 0.8),
        ("n12_tenths", "mean", 0.95),
        ("n8_all_positive", "mean", 0.99),
        ("n60_skewed", "mean", 0.95),
        ("n400", "mean", 0.95),
        ("n400_skewed", "mean", 0.999),
        ("n25", "median", 0.95),
        ("n30_ties_and_zeros", "median", 0.95),
        ("n12", "hodges_lehmann", 0.95),
        ("n60_hundredths", "hodges_lehmann", 0.95),
        ("n60_mostly_zero", "hodges_lehmann", 0.95),
        ("one_non_zero", "hodges_lehmann", 0.95),
        ("all_equal", "mean", 0.95),
        ("all_zero", "mean", 0.95),
        ("pair", "mean", 0.95),
        ("n26", "mean", 0.95),
        ("n500", "mean", 0.95),
        ("n500_ties_and_zeros", "mean", 0.95),
    ]
    cases = [(f"{name}, {statistic}", [data[name]], statistic, level) for name, statistic, level in wanted]
    cases += [(name, strata, "macro_mean", 0.95) for name, strata in strata_of(data).items()]
    for seed, (name, strata, statistic, confidence) in enumerate(cases):
        strata = [numpy.asarray(stratum, dtype=float) for stratum in strata]
        result = bca(strata, statistic, 499, seed, confidence)
        yield {
            "name": name,
            "statistic": statistic,
            "strata": [numbers(stratum) for stratum in strata],
            "confidence": confidence,
            "estimate": float(STATISTICS[statistic](*strata, axis=-1)),
            "jackknife": jackknife(strata, STATISTICS[statistic]),
            "distribution": numbers(result.bootstrap_distribution),
            "low": number(result.confidence_interval.low),
            "high": number(result.confidence_interval.high),
        }


def bootstrap_repeated(data):
    """The mean of SciPy's endpoints over seeds, and their standard deviation from one seed to the next."""
    wanted = [
        ("n12", "mean", 40),
        ("n60", "mean", 40),
        ("n60_skewed", "mean", 40),
        ("n60_hundredths", "mean", 40),
        ("n400_skewed", "mean", 20),
        ("n25", "median", 20),
        ("n12", "hodges_lehmann", 20),
        ("n30_ties_and_zeros", "hodges_lehmann", 20),
        ("n60", "hodges_lehmann", 10),
        ("n60_skewed", "hodges_lehmann", 10),
    ]
    cases = [(f"{name}, {statistic}", [data[name]], statistic, runs) for name, statistic, runs in wanted]
    cases += [(name, strata, "macro_mean", 20) for name, strata in strata_of(data).items() if name == "three_tasks"]
    resamples = 10_000
    for name, strata, statistic, runs in cases:
        strata = [numpy.asarray(stratum, dtype=float) for stratum in strata]
        intervals = [bca(strata, statistic, resamples, 1_000 + run).confidence_interval for run in range(runs)]
        low = [float(interval.low) for interval in intervals]
        high = [float(interval.high) for interval in intervals]
        yield {
            "name": name,
            "statistic": statistic,
            "strata": [numbers(stratum) for stratum in strata],
            "confidence": 0.95,
            "resamples": resamples,
            "runs": runs,
            "low": float(numpy.mean(low)),
            "high": float(numpy.mean(high)),
            "low_sd": float(numpy.std(low, ddof=1)),
            "high_sd": float(numpy.std(high, ddof=1)),
        }


def friedman():
    rng = numpy.random.default_rng(1937)
    tables = {
        "3 treatments, 5 blocks": rng.normal(size=(5, 3)) + [0.0, 0.5, 1.0],
        "5 treatments, 24 blocks": rng.normal(size=(24, 5)) + [0.0, 0.1, 0.2, 0.3, 0.9],
        "13 treatments, 10 blocks": rng.normal(size=(10, 13)),
        "4 treatments, 30 blocks, ties": rng.integers(0, 4, size=(30, 4)),
        "4 treatments, 2 blocks, strong": [[1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 3.5, 4.5]],
        "3 treatments, 40 blocks, far tail": rng.normal(size=(40, 3)) + [0.0, 3.0, 6.0],
        "3 treatments, all tied": numpy.ones((6, 3)),
    }
    for name, table in tables.items():
        table = numpy.asarray(table, dtype=float)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = stats.friedmanchisquare(*table.T)
        blocks, treatments = table.shape
        quantile = stats.studentized_range.ppf(0.95, treatments, numpy.inf)
        yield {
            "name": name,
            "blocks": [numbers(row) for row in table],
            "statistic": number(result.statistic),
            "p": number(result.pvalue),
            "mean_ranks": numbers(stats.rankdata(table, axis=1).mean(axis=0)),
            "critical_difference": float(
                quantile / numpy.sqrt(2.0) * numpy.sqrt(treatments * (treatments + 1) / (6.0 * blocks))
            ),
        }


def studentized_range():
    """Upper tail of the range of k standard normals (infinite degrees of freedom)."""
    for k in (2, 3, 5, 10, 20, 50):
        for q in (0.5, 2.0, 3.5, 6.0):
            yield {"k": k, "q": q, "p": float(stats.studentized_range.sf(q, k, numpy.inf))}


def mean_interval(data):
    """Student's interval of the mean."""
    for name, x in data.items():
        x = numpy.asarray(x, dtype=float)
        case = {"name": name, "values": numbers(x), "mean": number(numpy.mean(x)), "low": None, "high": None}
        if len(x) > 1:
            # Not `stats.t.interval`, which is undefined without spread.
            reach = stats.t.ppf(0.975, len(x) - 1) * stats.sem(x)
            case["low"], case["high"] = number(numpy.mean(x) - reach), number(numpy.mean(x) + reach)
        yield case


def skewed_mean(data):
    """The hull of the intervals by Hall's transformation, each end a root of the transformation as it is printed."""

    def hall(t, skew, n):
        return t + skew * t**2 / (3 * n**0.5) + skew**2 * t**3 / (27 * n) + skew / (6 * n**0.5)

    for name, x in data.items():
        x = numpy.asarray(x, dtype=float)
        n = len(x)
        for confidence in [0.95, 0.9996]:
            case = {"name": f"{name}, {confidence}", "values": numbers(x), "confidence": confidence}
            case |= {"low": None, "high": None}
            if n > 2:
                mean, error = numpy.mean(x), stats.sem(x)
                t = stats.t.ppf(0.5 + confidence / 2, n - 1)
                ends = [(t, -t)]
                if numpy.ptp(x) > 0:
                    skew = stats.skew(x, bias=False)
                    apart = (6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3))) ** 0.5
                    for skew in [skew - apart, skew, skew + apart]:
                        root = [optimize.brentq(lambda u: hall(u, skew, n) - v, -1e6, 1e6, xtol=1e-12, rtol=1e-14)
                                for v in (t, -t)]
                        ends.append(tuple(root))
                else:
                    error = 0.0
                case["low"] = number(mean - max(low for low, _ in ends) * error)
                case["high"] = number(mean - min(high for _, high in ends) * error)
            yield case


def quantiles(data):
    """Quantiles, and counts of twelve equal parts of the range; of constants all in the first part, as ours has them."""
    for name, x in data.items():
        x = numpy.asarray(x, dtype=float)
        if (x == x[0]).all():
            counts = [len(x)] + [0] * 11
        else:
            counts = numpy.histogram(x, bins=12)[0]
        if name.endswith(("tenths", "hundredths", "sevenths", "zeros")):
            continue  # ties on the edges of the parts, where rounding decides
        yield {
            "name": name,
            "values": numbers(x),
            "quantiles": numbers(numpy.quantile(x, [0.05, 0.25, 0.5, 0.75, 0.95])),
            "histogram": [int(count) for count in counts],
        }


def spearman(data):
    rng = numpy.random.default_rng(1904)
    for name, x in data.items():
        x = numpy.asarray(x, dtype=float)
        y = x * rng.choice([0.0, 1.0, -1.0], p=[0.3, 0.5, 0.2], size=len(x)) + rng.integers(0, 2, len(x))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            r = stats.spearmanr(x, y).statistic if len(x) > 1 else numpy.nan
            pearson = stats.pearsonr(x, y).statistic if len(x) > 1 else numpy.nan
            tau = stats.kendalltau(x, y).statistic if len(x) > 1 else numpy.nan
        yield {"name": name, "x": numbers(x), "y": numbers(y), "r": number(r), "pearson": number(pearson), "tau": number(tau)}


def signed_rank_interval(data):
    """Shifts that the signed-rank test does not reject: order statistics of the Walsh averages (Hollander and Wolfe)."""
    for name, x in data.items():
        x = numpy.asarray(x, dtype=float)
        n = len(x)
        i, j = numpy.triu_indices(n)
        walsh = numpy.sort((x[i] + x[j]) / 2.0)
        for confidence in (0.95, 0.9):
            tail = (1 - confidence) / 2
            if n < 26:
                # The number of subsets of 1..n by their sum.
                counts = numpy.zeros(n * (n + 1) // 2 + 1)
                counts[0] = 1
                for rank in range(1, n + 1):
                    counts[rank:] = counts[rank:] + counts[: len(counts) - rank]
                below = numpy.cumsum(counts) / 2.0**n
                outside = int((below <= tail).sum())
            else:
                mean, sd = n * (n + 1) / 4, numpy.sqrt(n * (n + 1) * (2 * n + 1) / 24)
                # The largest t at which the test with its continuity correction rejects.
                outside = int(numpy.floor(mean - 0.5 + stats.norm.ppf(tail) * sd)) + 1
            ends = (None, None) if outside < 1 else (walsh[outside - 1], walsh[len(walsh) - outside])
            low, high = (None if end is None else number(end) for end in ends)
            yield {"name": name, "differences": numbers(x), "confidence": confidence, "low": low, "high": high}


def detectable():
    """Where the power of a two-sided t-test (its statistic is noncentral t) is what is asked for."""
    for n in (2, 3, 5, 25, 26, 60, 500, 5000):
        for sd, alpha, power in ((1.0, 0.05, 0.8), (0.3, 0.05 / 15, 0.8), (7.0, 0.05, 0.5)):
            freedom, critical = n - 1, stats.t.ppf(1 - alpha / 2, n - 1)

            def missing(d):
                by = d * numpy.sqrt(n) / sd
                # `stats.nct` is NaN for some of these: the mean over the sample's standard deviation, by quadrature.
                spread = stats.chi(freedom, scale=1 / numpy.sqrt(freedom))
                beyond = lambda s: stats.norm.sf(critical * s - by) + stats.norm.cdf(-critical * s - by)
                low, high = spread.ppf(1e-15), spread.isf(1e-15)
                return integrate.quad(lambda s: beyond(s) * spread.pdf(s), low, high, epsabs=1e-13, limit=500)[0] - power

            high = sd
            while missing(high) < 0:
                high *= 2
            difference = optimize.brentq(missing, 0.0, high, xtol=1e-13, rtol=1e-12)
            yield {"n": n, "sd": sd, "alpha": alpha, "power": power, "difference": number(difference)}


def write(name, cases):
    text = ",\n".join(json.dumps(case) for case in cases)
    path = OUTPUT / name
    path.write_text(f'{{"versions": {json.dumps(VERSIONS)}, "cases": [\n{text}\n]}}\n')
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    OUTPUT.mkdir(parents=True, exist_ok=True)
    data = samples()
    write("summary.json", summaries(data))
    write("wilcoxon.json", wilcoxon(data))
    write("permutation.json", permutation(data))
    write("friedman.json", friedman())
    write("studentized_range.json", studentized_range())
    write("mean_interval.json", mean_interval(data))
    write("skewed_mean.json", skewed_mean(data))
    write("quantiles.json", quantiles(data))
    write("spearman.json", spearman(data))
    write("detectable.json", detectable())
    write("signed_rank_interval.json", signed_rank_interval(data))
    write("bootstrap_endpoints.json", bootstrap_endpoints(data))
    write("bootstrap_repeated.json", bootstrap_repeated(data))
