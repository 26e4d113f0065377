#!/usr/bin/env python3
"""LightGCN in PyTorch: one propagation, and a training step of two layers with dense Adam.

    python3 benches/rivals/torch_lightgcn.py --data FOLDER [--device cpu] [--quick] [--small]

Variants: `csr`, cuSPARSE through torch.sparse with a custom gradient (the normalised adjacency is symmetric, so that its
transpose need not be formed); `csr graph`, the same as a CUDA graph, so that cuSPARSE's descriptors and workspaces are
made once; `pyg`, LGConv of PyTorch Geometric, where installed. One JSON line a result (benches/record/README.md). A loss
that does not fall is an error, and so is a propagation that differs from float64.
"""

import math

import torch
from torch.nn.functional import embedding, softplus

from torch_common import DIM, Interactions, arguments, emit, graphed, measure, refused
from torch_train import draw

LAYERS = 2
L2 = 1e-5


class Propagate(torch.autograd.Function):
    @staticmethod
    def forward(context, adjacency, x):
        context.adjacency = adjacency
        return adjacency @ x

    @staticmethod
    def backward(context, gradient):
        return None, context.adjacency @ gradient.contiguous()


def edges_of(data):
    """Both directions, [2, 2E], and the weights 1 / sqrt(d_u d_i)."""
    device = data.seen.device
    users = torch.repeat_interleave(torch.arange(data.users, device=device), data.degree)
    edges = torch.stack([users, data.seen + data.users])
    edges = torch.cat([edges, edges.flip(0)], 1)
    degree = torch.bincount(edges[0], minlength=data.users + data.items).float()
    return edges, (degree[edges[0]] * degree[edges[1]]).rsqrt()


class Training:
    def __init__(self, data, batch, propagate):
        self.data, self.batch, self.propagate = data, batch, propagate
        rows, device = data.users + data.items, data.seen.device
        bound = math.sqrt(6 / (rows + DIM))
        self.table = torch.empty(rows, DIM, device=device).uniform_(-bound, bound).requires_grad_()
        self.table.grad = torch.zeros_like(self.table)
        self.adam = torch.optim.Adam([self.table], lr=1e-3, fused=True, capturable=device.type == "cuda")
        self.probe = draw(data, 8192)

    def forward(self, users, positives, negatives):
        layers = [self.table]
        for _ in range(LAYERS):
            layers.append(self.propagate(layers[-1]))
        final = sum(layers) / (LAYERS + 1)
        ids = users, positives + self.data.users, negatives + self.data.users
        p, a, b = (embedding(id, final) for id in ids)
        norms = sum(embedding(id, self.table).square().sum() for id in ids)
        return softplus(-(p * a).sum(1)).mean() + softplus((p * b).sum(1)).mean() + 0.5 * L2 / len(p) * norms

    def step(self):
        self.adam.zero_grad(set_to_none=False)
        self.forward(*draw(self.data, self.batch)).backward()
        self.adam.step()

    def loss(self):
        """Of a batch that stays the same."""
        with torch.no_grad():
            return float(self.forward(*self.probe))


def check(propagate, edges, weights, x):
    """A few rows against sums in float64."""
    got = propagate(x)
    for row in range(0, len(x), max(1, len(x) // 20)):
        of_row = edges[0] == row
        expected = (weights[of_row, None].double() * x[edges[1][of_row]].double()).sum(0)
        far = float((got[row].double() - expected).abs().max())
        assert far < 1e-4, f"row {row} is off by {far}"


def main():
    options = arguments(__doc__)
    cuda = torch.device(options.device).type == "cuda"
    for workload, batch in options.workloads.items():
        data = Interactions(options.data / f"{workload}.macr", options.device)
        edges, weights = edges_of(data)
        rows = data.users + data.items
        adjacency = torch.sparse_coo_tensor(edges, weights, (rows, rows)).coalesce().to_sparse_csr()
        # 32-bit indices, as cuSPARSE likes them.
        adjacency = torch.sparse_csr_tensor(
            adjacency.crow_indices().int(), adjacency.col_indices().int(), adjacency.values(), (rows, rows)
        )

        def csr(x):
            return Propagate.apply(adjacency, x)

        def pyg():
            from torch_geometric.nn import LGConv

            convolution = LGConv(normalize=False)
            return lambda x: convolution(x, edges, weights)

        nnz = edges.shape[1]
        for variant in ("csr", "csr graph", "pyg"):
            if variant == "csr graph" and not cuda:
                continue
            shape = f"{workload} D={DIM}"
            spmm = ("kernels", "spmm", shape, variant)
            step = ("steps", f"lightgcn {LAYERS} layers/bce", f"{workload} B={batch} D={DIM}", variant)
            count = 2 if options.small else 20
            try:
                propagate = pyg() if variant == "pyg" else csr
                x, out = torch.randn(rows, DIM, device=options.device), torch.empty(rows, DIM, device=options.device)
                check(propagate, edges, weights, x)

                def once():
                    with torch.no_grad():
                        out.copy_(propagate(x))

                run = graphed(once) if variant == "csr graph" else once
                run()
                bytes_least = 8 * nnz + 2 * 4 * DIM * rows
                more = {"bytes": bytes_least, "requested": (8 + 4 * DIM) * nnz + 4 * DIM * rows}
                emit(*spmm, options, measure(run, options, count), flops=2 * DIM * nnz, **more)
            except Exception as error:  # What cannot run is a result too.
                refused(*spmm, options, error)
            try:
                training = Training(data, batch, pyg() if variant == "pyg" else csr)
                first = training.loss()
                training.step()
                run = graphed(training.step) if variant == "csr graph" else training.step
                for _ in range(20):
                    run()
                seconds = measure(run, options, count)
                last = training.loss()
                assert math.isfinite(last) and last < first, f"the loss went from {first} to {last}"
                emit(*step, options, seconds, elements=batch)
            except Exception as error:
                refused(*step, options, error)


if __name__ == "__main__":
    main()
