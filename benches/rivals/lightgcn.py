#!/usr/bin/env python3
"""LightGCN on the CPU: this engine beside SciPy, oneMKL and PyTorch, on the same graph, in the same run.

Needs numpy and scipy; mkl, torch and torch_geometric are timed where they are installed. Builds nothing:

    cargo build --release --example lightgcn
    python3 benches/rivals/lightgcn.py target/release/examples/lightgcn [--shape adressa|gowalla] [--data FILE]

A *layer* is both halves of one propagation, users from items and items from users, D = 64, f32. SciPy computes them with
one thread, having no more; oneMKL with its analysis done beforehand (mkl_sparse_optimize). A *step* is a whole training
step of two layers with dense Adam: sampling, forward, backward, update. PyTorch and PyG do it as
`torch_lightgcn.py` has it. All but SciPy use two threads. The sides take turns, so that a busy machine slows all.
"""

import argparse
import ctypes
import importlib.metadata
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

THREADS = 2
os.environ |= {"OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS), "RAYON_NUM_THREADS": str(THREADS)}

import numpy as np
from scipy.sparse import csr_matrix

from interactions import training

DIM = 64
PACKAGES = ("scipy", "mkl", "torch", "torch_geometric")
BATCH = {"adressa": 1024, "gowalla": 4096}


def installed(name):
    return any(name == d.name.replace("-", "_").lower() for d in importlib.metadata.distributions())


def normalised(path):
    """D_u^-1/2 A D_i^-1/2 of the training interactions of an interaction file, [U, I]."""
    shape, offsets, items = training(path)
    user_degrees, item_degrees = np.diff(offsets.astype(np.int64)), np.bincount(items, minlength=shape[1])
    values = 1 / np.sqrt(np.repeat(user_degrees, user_degrees) * item_degrees[items].astype(np.float64))
    return csr_matrix((values.astype(np.float32), items.astype(np.int32), offsets.astype(np.int32)), shape)


class Mkl:
    """A matrix of 32-bit indices, analysed once for products with row-major tables."""

    class Description(ctypes.Structure):
        _fields_ = [("type", ctypes.c_int), ("mode", ctypes.c_int), ("diagonal", ctypes.c_int)]

    ROW_MAJOR, PLAIN = 101, 10
    GENERAL = Description(20, 0, 0)

    def __init__(self, library, matrix):
        self.library, self.matrix, self.handle = library, matrix, ctypes.c_void_p()
        rows, columns = matrix.shape
        starts = matrix.indptr.ctypes.data
        self.call(
            "s_create_csr", ctypes.byref(self.handle), 0, rows, columns, ctypes.c_void_p(starts),
            ctypes.c_void_p(starts + 4), ctypes.c_void_p(matrix.indices.ctypes.data), ctypes.c_void_p(matrix.data.ctypes.data),
        )
        self.call("set_mm_hint", self.handle, self.PLAIN, self.GENERAL, self.ROW_MAJOR, DIM, 100_000)
        self.call("optimize", self.handle)

    def call(self, name, *arguments):
        status = getattr(self.library, f"mkl_sparse_{name}")(*arguments)
        assert status == 0, f"mkl_sparse_{name} returned {status}"

    def multiply(self, x, out):
        self.call(
            "s_mm", self.PLAIN, ctypes.c_float(1), self.handle, self.GENERAL, self.ROW_MAJOR, ctypes.c_void_p(x.ctypes.data),
            DIM, DIM, ctypes.c_float(0), ctypes.c_void_p(out.ctypes.data), DIM,
        )


def mkl_library():
    (path,) = [f.locate() for f in importlib.metadata.files("mkl") if f.name.startswith("libmkl_rt.so")]
    return ctypes.CDLL(str(path))


def timed(run, times):
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def layers(matrix, x):
    """Variants of one layer; each returns users and items."""
    transposed = matrix.T.tocsr()
    x_users, x_items = x
    yield "scipy", lambda: (matrix @ x_items, transposed @ x_users)
    try:
        library = mkl_library()
    except Exception as error:
        print(f"  oneMKL is left out: {error}")
    else:
        halves = Mkl(library, matrix), Mkl(library, transposed)
        out = np.empty_like(x_users), np.empty_like(x_items)

        def run():
            halves[0].multiply(x_items, out[0])
            halves[1].multiply(x_users, out[1])
            return out

        yield "mkl", run
    try:
        import torch
    except ImportError as error:
        print(f"  PyTorch is left out: {error}")
    else:
        torch.set_num_threads(THREADS)
        tensors = [
            torch.sparse_csr_tensor(*map(torch.from_numpy, (m.indptr, m.indices, m.data)), m.shape) for m in (matrix, transposed)
        ]
        inputs = [torch.from_numpy(x_items), torch.from_numpy(x_users)]
        yield "torch", lambda: tuple((m @ x).numpy() for m, x in zip(tensors, inputs))


def trainings(file, batch):
    """Variants of a training step of PyTorch."""
    try:
        import torch
        from torch_common import Interactions
        from torch_lightgcn import Propagate, Training, edges_of
    except ImportError:
        return
    data = Interactions(file, "cpu")
    edges, weights = edges_of(data)
    rows = data.users + data.items
    adjacency = torch.sparse_coo_tensor(edges, weights, (rows, rows)).coalesce().to_sparse_csr()
    yield "torch", Training(data, batch, lambda x: Propagate.apply(adjacency, x)).step
    try:
        from torch_geometric.nn import LGConv
    except ImportError as error:
        print(f"  PyG is left out: {error}")
        return
    convolution = LGConv(normalize=False)
    yield "pyg", Training(data, batch, lambda x: convolution(x, edges, weights)).step


def report(title, times):
    own = times["macr"]
    print(title)
    for name, seconds in times.items():
        low, median, high = (1e3 * f(seconds) for f in (min, statistics.median, max))
        line = f"  {name:8} {median:9.3f} ms  ({low:.3f} to {high:.3f})"
        if name != "macr":
            ratios = sorted(rival / mine for mine, rival in zip(own, seconds))
            line += f"  {statistics.median(ratios):6.2f} times ours; by round {ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--shape", choices=BATCH, default="adressa")
    parser.add_argument("--data", type=pathlib.Path, help="an interaction file instead of a made one")
    parser.add_argument("--form", default="auto")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    # PyTorch's sparse tensors call themselves a beta.
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    with tempfile.TemporaryDirectory() as scratch:
        file = options.data or pathlib.Path(scratch) / "data.macr"
        if not options.data:
            subprocess.run([options.binary, "make", options.shape, file], check=True)
        batch = BATCH[options.shape]
        matrix = normalised(file)
        random = np.random.default_rng(1)
        x = [random.standard_normal((n, DIM), np.float32) for n in matrix.shape]
        exact = matrix.astype(np.float64) @ x[1]
        with subprocess.Popen(
            [options.binary, "run", file, str(batch), options.form], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as engine:

            def ours(what, times):
                engine.stdin.write(f"{what} {times}\n")
                engine.stdin.flush()
                return float(engine.stdout.readline()) / times

            rivals = dict(layers(matrix, x))
            for name, run in rivals.items():
                far = float(np.abs(run()[0] - exact).max())
                assert far < 1e-4, f"{name} is off by {far}"
            versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if installed(name))
            print(f"{file.name}: {matrix.shape[0]} users x {matrix.shape[1]} items, {matrix.nnz} interactions, D = {DIM}, {THREADS} threads; {versions}")
            for what, rivals in {"layer": rivals, "step": dict(trainings(file, batch))}.items():
                times = {"macr": [], **{name: [] for name in rivals}}
                for turn in range(options.rounds + 1):
                    turns = {"macr": ours(what, 20)} | {name: timed(run, 5) for name, run in rivals.items()}
                    if turn > 0:
                        for name, seconds in turns.items():
                            times[name].append(seconds)
                report({"layer": "one layer, both directions", "step": f"a training step, 2 layers, batch {batch}"}[what], times)
            engine.stdin.close()


if __name__ == "__main__":
    main()
