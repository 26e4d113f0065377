#!/usr/bin/env python3
"""Importing a large CSV with string ids: `macr import` beside polars, on the same two threads.

    python3 benches/rivals/import.py target/release/macr SCRATCH_FOLDER [--lines N] [--rounds N]

polars only reads the file and numbers both id columns; `macr import` also merges duplicates, sorts the interactions by
user and by item, and writes a checked file. Both run alternately, each in a process of its own, with the file in the page
cache. Two ways of numbering with polars are timed and the faster one counts. polars must be importable (PYTHONPATH).
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

THREADS = 2
HEADER = "user,item,rating,timestamp"

# Each prints its own seconds, so that starting Python and importing polars does not count.
POLARS = {
    "cast to Categorical": """
df = pl.read_csv(path)
df = df.with_columns(pl.col(c).cast(pl.Categorical).to_physical() for c in ("user", "item"))
""",
    "read as Categorical": """
df = pl.read_csv(path, schema_overrides={"user": pl.Categorical, "item": pl.Categorical})
df = df.with_columns(pl.col(c).to_physical() for c in ("user", "item"))
""",
}
POLARS_FRAME = """
import sys, time
import polars as pl
path = sys.argv[1]
start = time.perf_counter()
{body}
seconds = time.perf_counter() - start
assert df.height == int(sys.argv[2]) and df["user"].n_unique() > 1
print(seconds)
"""


def generate(path, lines, seed=1):
    """Users and items by Zipf's law, names in random order, so that neighbours in rank are not neighbours in name."""
    import numpy
    import polars

    random = numpy.random.default_rng(seed)

    def zipf(n, exponent):
        weights = numpy.cumsum(1 / numpy.arange(1, n + 1) ** exponent)
        return random.permutation(n)[numpy.searchsorted(weights / weights[-1], random.random(lines))]

    names = lambda letter, column, digits: polars.format(
        letter + "{}", polars.col(column).cast(polars.String).str.zfill(digits)
    ).alias(column)
    polars.DataFrame(
        {
            "user": zipf(500_000, 0.8),
            "item": zipf(50_000, 1.0),
            "rating": random.integers(1, 11, lines) / 2,
            "timestamp": random.integers(1_000_000_000, 1_700_000_000, lines),
        }
    ).with_columns(names("u", "user", 6), names("i", "item", 5)).write_csv(path)


def run_polars(body, path, lines):
    environment = dict(os.environ, POLARS_MAX_THREADS=str(THREADS))
    command = [sys.executable, "-c", POLARS_FRAME.format(body=body), str(path), str(lines)]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def run_macr(binary, path, output):
    command = [str(binary), "--quiet", "--threads", str(THREADS), "import", str(path), "-o", str(output), "--force"]
    output.unlink(missing_ok=True)
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("scratch", type=pathlib.Path)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    source = arguments.scratch / f"import-{arguments.lines}.csv"
    output = arguments.scratch / "import.macr"
    if not source.exists():
        generate(source, arguments.lines)
    source.read_bytes()  # into the page cache

    seconds = {name: [] for name in ["macr", *POLARS]}
    for _ in range(arguments.rounds):
        seconds["macr"].append(run_macr(arguments.binary, source, output))
        for name, body in POLARS.items():
            seconds[name].append(run_polars(body, source, arguments.lines))
    # Once more for the largest memory: of all children of a process, hence in a process of its own.
    probe = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    command = [arguments.binary, "--quiet", "--threads", THREADS, "import", source, "-o", output, "--force"]
    peak = int(subprocess.run([sys.executable, "-c", probe, *map(str, command)], check=True, capture_output=True).stdout)

    medians = {name: statistics.median(times) for name, times in seconds.items()}
    fastest = min(POLARS, key=medians.get)
    result = {
        "lines": arguments.lines,
        "threads": THREADS,
        "seconds": seconds,
        "medians": medians,
        "rival": f"polars, {fastest}",
        "ratio": medians["macr"] / medians[fastest],
        "result_bytes": output.stat().st_size,
        "peak_rss_bytes_with_mapped_source": peak,
        "source_bytes": source.stat().st_size,
    }
    print(json.dumps(result, indent=2))
    for name, median in medians.items():
        print(f"{name:>22}: median {median:6.2f} s", file=sys.stderr)
    print(f"macr / polars ({fastest}): {result['ratio']:.2f}", file=sys.stderr)


if __name__ == "__main__":
    main()
