#!/usr/bin/env python3
"""Training throughput: `macr train` beside BPR of the package `implicit`, on the same data, in the same run.

Needs numpy, scipy and implicit; builds nothing:

    cargo build --release
    python3 benches/rivals/train.py target/release/macr DATA.macr [--batch-size 1024] [--rounds 9]

A sample is one triple (user, positive item, negative item): a row of a batch here, an interaction that an iteration of
`implicit` visits there (those whose negative it then rejects as seen are counted for it although it does not train on them).
This engine minimises the binary cross-entropy of matrix factorisation by Adam, every row of every table moving at every
step; `implicit` minimises BPR by plain stochastic gradient descent, without locks. Both have 64 factors and two threads.
Only the steps themselves are timed, by each side's own clock around its epochs: no start-up, no evaluation. The sides
take turns, so that a busy machine slows both.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

THREADS = 2
FACTORS = 64
# `implicit` has threads of its own and asks for a BLAS without any; read when numpy is loaded.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import implicit
import numpy as np
import scipy
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix

from interactions import training


def ours(binary, data, folder, options):
    """Samples and seconds of the epochs of one training."""
    command = [binary.resolve(), "--quiet", "--threads", str(THREADS), "train", data, "--out", folder, "--force"]
    settings = {"dim": FACTORS, "seed": 1, "eval-every": 1_000_000, "select": "test"} | options
    command += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    epochs = [line for line in lines if "samples" in line]
    return sum(epoch["samples"] for epoch in epochs), sum(epoch["seconds"] for epoch in epochs)


def theirs(interactions, iterations):
    seconds = []
    model = BayesianPersonalizedRanking(
        factors=FACTORS, iterations=iterations, num_threads=THREADS, random_state=1
    )
    model.fit(interactions, show_progress=False, callback=lambda _, elapsed, *__: seconds.append(elapsed))
    return interactions.nnz * len(seconds), sum(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--objective", default="bce")
    parser.add_argument("--pairing", default="rows")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--samples", type=float, default=3e6, help="of a turn, at least")
    arguments = parser.parse_args()

    shape, offsets, items = training(arguments.data)
    interactions = csr_matrix((np.ones(len(items), np.float32), items.astype(np.int32), offsets.astype(np.int32)), shape)
    epochs = int(-(-arguments.samples // interactions.nnz))
    options = {
        "objective": arguments.objective,
        "pairing": arguments.pairing,
        "batch-size": arguments.batch_size,
        "epochs": epochs,
    }
    rates = {"macr": [], "implicit": []}
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(arguments.rounds + 1):
            for name, (samples, seconds) in {
                "macr": ours(arguments.binary, arguments.data, pathlib.Path(scratch) / "run", options),
                "implicit": theirs(interactions, epochs),
            }.items():
                # The first turn warms the caches of files and programs.
                if turn > 0:
                    rates[name].append(samples / seconds)

    version = subprocess.run([arguments.binary.resolve(), "--version"], check=True, capture_output=True, text=True).stdout.strip()
    users, items = interactions.shape
    print(f"{arguments.data.name}: {users} users x {items} items, {interactions.nnz} training interactions")
    print(f"{FACTORS} factors, {THREADS} threads, {arguments.rounds} rounds of {epochs} epochs")
    print(f"{version}: {arguments.objective}, dense Adam, batch {arguments.batch_size}")
    print(f"implicit {implicit.__version__}: BPR, SGD (numpy {np.__version__}, scipy {scipy.__version__})")
    for name, rate in rates.items():
        low, median, high = (f(rate) / 1e6 for f in (min, statistics.median, max))
        print(f"  {name:9} {median:6.2f} M samples/s  ({low:.2f} to {high:.2f})")
    ratios = sorted(own / rival for own, rival in zip(*rates.values()))
    medians = statistics.median(rates["macr"]) / statistics.median(rates["implicit"])
    print(f"  ratio of the medians {medians:.2f}; by round {statistics.median(ratios):.2f} "
          f"({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
