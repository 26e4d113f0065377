"""What the PyTorch programs of this folder share: arguments, data, timing, and results in the records' schema."""

import argparse
import json
import pathlib
import statistics
import time

import numpy as np
import torch

from interactions import training

DIM = 64
# As benches/workloads: the dataset's file, and rows of a batch.
WORKLOADS = {"adressa-like": 1024, "ml10m-like": 8192}


def arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"), help="folder of the .macr files")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--small", action="store_true", help="the smallest dataset, two repeats: for trying it out")
    options = parser.parse_args()
    options.repeats = 2 if options.small else 5 if options.quick else 15
    options.workloads = {"adressa-like": 96} if options.small else WORKLOADS
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("highest")
    return options


class Interactions:
    """The training interactions of an interaction file, by user, on a device."""

    def __init__(self, path, device):
        (self.users, self.items), *sections = training(path)
        self.offsets, self.seen = (torch.from_numpy(section.astype(np.int64)).to(device) for section in sections)
        self.degree = self.offsets.diff()
        # Users that have something to learn from.
        self.eligible = self.degree.nonzero().flatten()


def emit(part, name, shape, variant, options, seconds, **more):
    """Prints one result: `seconds` of each repeat."""
    result = {
        "part": part,
        "name": name,
        "shape": shape,
        "device": torch.device(options.device).type,
        "program": f"torch {torch.__version__}",
        "variant": variant,
        "unit": "s",
        "median": statistics.median(seconds),
        "min": min(seconds),
        "max": max(seconds),
        "repeats": len(seconds),
    }
    print(json.dumps(result | more), flush=True)


def refused(part, name, shape, variant, options, error):
    """Prints that a variant could not run."""
    message = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    result = {"part": part, "name": name, "shape": shape, "variant": variant, "program": f"torch {torch.__version__}"}
    print(json.dumps(result | {"device": torch.device(options.device).type, "error": message}), flush=True)


def measure(run, options, count):
    """Seconds of one of `count` calls of `run`, by repeat: the device's own time, or the clock's on the CPU."""
    cuda = torch.device(options.device).type == "cuda"
    seconds = []
    for _ in range(options.repeats):
        if cuda:
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(count):
                run()
            stop.record()
            torch.cuda.synchronize()
            seconds.append(start.elapsed_time(stop) / 1e3 / count)
        else:
            start = time.perf_counter()
            for _ in range(count):
                run()
            seconds.append((time.perf_counter() - start) / count)
    return seconds


def graphed(run):
    """`run`, recorded as a CUDA graph after a few calls on another stream, as PyTorch asks for."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
