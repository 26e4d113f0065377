#!/usr/bin/env python3
"""A training step of matrix factorisation in PyTorch: the batch drawn, the loss, its gradient, dense Adam.

    python3 benches/rivals/torch_train.py --data FOLDER [--device cpu] [--quick] [--small]

The same batch size, embedding size, objectives and optimiser as this engine's (benches/workloads). Users, positives and
negatives are drawn on the device; negatives are not checked against what the user has, which this engine does. Variants:

  eager      autograd over embedding(), whose gradient is a dense table, and fused Adam
  index_add  autograd up to the rows, then index_add_ into the dense gradient; fused Adam
  compile    eager, its loss through torch.compile
  graph      eager, recorded as a CUDA graph and replayed

One JSON line a result (benches/record/README.md). A loss that does not fall is an error.
"""

import math

import torch
from torch.nn.functional import embedding, softplus

from torch_common import DIM, Interactions, arguments, emit, graphed, measure, refused

ALPHA, BETA, L2 = 1e-3, 1e-3, 1e-5
VARIANTS = ["eager", "index_add", "compile", "graph"]


def draw(data, batch):
    device = data.seen.device
    users = data.eligible[torch.randint(len(data.eligible), (batch,), device=device)]
    nth = (torch.rand(batch, device=device) * data.degree[users]).long()
    # A product may be rounded up to the degree.
    nth = torch.minimum(nth, data.degree[users] - 1)
    return users, data.seen[data.offsets[users] + nth], torch.randint(data.items, (batch,), device=device)


def loss_of(objective, p, positive, negative, v, w):
    """p, positive, negative: [B, D], v, w: [D]."""
    a, b = (p * positive).sum(1), (p * negative).sum(1)
    norms = p.square().sum() + positive.square().sum() + negative.square().sum()
    total = 0.5 * L2 / len(p) * norms
    if objective == "bce":
        return total + softplus(-a).mean() + softplus(b).mean()
    y_u, y_a, y_b = p @ v, positive @ w, negative @ w
    g, h = (torch.sigmoid(y_u) * torch.sigmoid(y) for y in (y_a, y_b))
    if objective == "macr all_pairs":
        main = softplus(-torch.outer(a, g)).mean() + softplus(torch.outer(b, h)).mean()
    else:
        main = softplus(-a * g).mean() + softplus(b * h).mean()
    items = softplus(-y_a).mean() + softplus(y_b).mean()
    users = softplus(-y_u).mean() + softplus(y_u).mean()
    return total + main + ALPHA * items + BETA * users


class Training:
    def __init__(self, data, batch, objective, variant):
        self.data, self.batch, self.objective, self.variant = data, batch, objective, variant
        device = data.seen.device

        def table(rows):
            bound = math.sqrt(6 / (rows + DIM))
            return torch.empty(rows, DIM, device=device).uniform_(-bound, bound).requires_grad_()

        self.users, self.items = table(data.users), table(data.items)
        self.branches = [(0.1 * torch.randn(DIM, device=device)).requires_grad_() for _ in range(2)]
        self.parameters = [self.users, self.items] + (self.branches if objective != "bce" else [])
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.adam = torch.optim.Adam(self.parameters, lr=1e-3, fused=True, capturable=device.type == "cuda")
        self.probe = draw(data, 8192)
        self.of_rows = lambda *rows: loss_of(objective, *rows, *self.branches)
        if variant == "compile":
            self.of_rows = torch.compile(self.of_rows)

    def step(self):
        users, positives, negatives = draw(self.data, self.batch)
        self.adam.zero_grad(set_to_none=False)
        if self.variant == "index_add":
            with torch.no_grad():
                rows = [self.users[users], self.items[positives], self.items[negatives]]
            for row in rows:
                row.requires_grad_()
            loss = self.of_rows(*rows)
            loss.backward()
            self.users.grad.index_add_(0, users, rows[0].grad)
            self.items.grad.index_add_(0, positives, rows[1].grad)
            self.items.grad.index_add_(0, negatives, rows[2].grad)
        else:
            loss = self.of_rows(
                embedding(users, self.users), embedding(positives, self.items), embedding(negatives, self.items)
            )
            loss.backward()
        self.adam.step()

    def loss(self):
        """Of a batch that stays the same."""
        with torch.no_grad():
            users, positives, negatives = self.probe
            rows = self.users[users], self.items[positives], self.items[negatives]
            return float(loss_of(self.objective, *rows, *self.branches))


def main():
    options = arguments(__doc__)
    cuda = torch.device(options.device).type == "cuda"
    for workload, batch in options.workloads.items():
        data = Interactions(options.data / f"{workload}.macr", options.device)
        shape = f"{workload} B={batch} D={DIM}"
        for objective in ("bce", "macr", "macr all_pairs"):
            for variant in VARIANTS:
                name = f"step/{objective}"
                # Compiling takes longer than a quick run.
                if variant == "graph" and not cuda or variant == "compile" and (options.quick or options.small):
                    continue
                try:
                    training = Training(data, batch, objective, variant)
                    first = training.loss()
                    training.step()
                    run = graphed(training.step) if variant == "graph" else training.step
                    count = 5 if options.small else 50
                    for _ in range(50):
                        run()
                    seconds = measure(run, options, count)
                    last = training.loss()
                    assert math.isfinite(last) and last < first, f"the loss went from {first} to {last}"
                    emit("steps", name, shape, variant, options, seconds, elements=batch)
                except Exception as error:  # A variant that this PyTorch cannot run is a result too.
                    refused("steps", name, shape, variant, options, error)


if __name__ == "__main__":
    main()
