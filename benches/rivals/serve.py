#!/usr/bin/env python3
"""Top-20 lists for every user: this engine beside the package `implicit`, on the same tables, in the same run.

Needs numpy, scipy, safetensors and implicit; builds nothing:

    cargo build --release --example serve
    python3 benches/rivals/serve.py target/release/examples/serve [adressa|gowalla] [rounds]

Both sides rank by (p_u . q_i - c) s_i with c = 0, so that `implicit`, which knows only inner products, needs nothing
but the items scaled by their gates; it gets them scaled, and this engine scales them itself. Both leave training items
out, both use two threads. The sides take turns, so that a busy machine slows both.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

THREADS = 2
# `implicit` has threads of its own and asks for a BLAS without any; read when numpy is loaded.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAYON_NUM_THREADS": str(THREADS)}

import numpy as np
from implicit.cpu.matrix_factorization_base import MatrixFactorizationBase
from safetensors.numpy import load_file
from scipy.sparse import csr_matrix

K = 20


class Factors(MatrixFactorizationBase):
    """`implicit`'s recommender with given factors."""

    def __init__(self, users, items):
        super().__init__(num_threads=THREADS)
        self.user_factors, self.item_factors = users, items

    def fit(self, *_, **__):
        raise NotImplementedError

    save = fit


def training(path, items):
    rows, columns = [], []
    with open(path) as lines:
        for line in lines:
            user, *seen = map(int, line.split())
            rows += [user] * len(seen)
            columns += seen
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(max(rows) + 1, items))


def main(binary, shape="adressa", rounds="9"):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([binary, "make", shape, folder], check=True)
        tensors = load_file(os.path.join(folder, "model.safetensors"))
        users, items = tensors["user_embedding"], tensors["item_embedding"]
        gates = 1 / (1 + np.exp(-(items.astype(np.float64) @ tensors["item_branch"])))
        rival = Factors(users, np.ascontiguousarray(items * gates[:, None].astype(np.float32)))
        seen = training(os.path.join(folder, "train.txt"), len(items))
        ids = np.arange(len(users))

        with subprocess.Popen(
            [binary, "run", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as engine:

            def ours():
                engine.stdin.write(f"1 {len(users)}\n")
                engine.stdin.flush()
                seconds, digest = engine.stdout.readline().split()
                return float(seconds), int(digest)

            def theirs():
                start = time.perf_counter()
                lists, _ = rival.recommend(ids, seen, N=K)
                return time.perf_counter() - start, int(lists.astype(np.int64).sum())

            ours(), theirs()
            times = [(ours(), theirs()) for _ in range(int(rounds))]
            engine.stdin.close()

    (_, digest), (_, their_digest) = times[0]
    # Lists of two implementations differ where float32 rounding orders near ties differently, and nowhere else.
    assert abs(digest - their_digest) < 1e-4 * digest, f"the lists differ: {digest} and {their_digest}"
    own, rivals = (statistics.median(t[side][0] for t in times) for side in (0, 1))
    print(f"{shape}: {len(users)} users x {len(items)} items, D = {users.shape[1]}, top {K}, {THREADS} threads")
    for name, seconds in (("macr", own), ("implicit", rivals)):
        print(f"  {name:9} {1e3 * seconds:9.1f} ms  {len(users) / seconds:12.0f} users/s")
    ratios = sorted(t[1][0] / t[0][0] for t in times)
    print(f"  ratio of the medians {rivals / own:.2f}; by round {ratios[0]:.2f} to {ratios[-1]:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
