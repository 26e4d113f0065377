#!/usr/bin/env python3
"""The best 20 items for every user in PyTorch: matrix product, seen items masked, topk, in blocks of users.

    python3 benches/rivals/torch_rank.py --data FOLDER [--device cpu] [--quick] [--small]

Ranks by (p . q - c) s as this engine does (s the item's gate), for 1 and for 11 values of c with one product. Items come
scaled by their gates, and the places to mask are known beforehand: neither is timed. Variants: products in fp32, and in
TF32. One JSON line a result (benches/record/README.md). Lists are checked against float64.
"""

import torch

from torch_common import DIM, Interactions, arguments, emit, measure, refused

K = 20
# Scores of a block.
BLOCK_SCORES = 1 << 28


class Ranking:
    def __init__(self, data, rankings):
        device = data.seen.device
        self.users = torch.randn(data.users, DIM, device=device)
        self.gates = torch.rand(data.items, device=device)
        self.items = torch.randn(data.items, DIM, device=device) * self.gates[:, None]
        self.offsets = [(20.0 + 2.0 * k) * self.gates for k in range(rankings)]
        size = max(1, BLOCK_SCORES // data.items)
        rows = torch.repeat_interleave(torch.arange(data.users, device=device), data.degree)
        self.blocks = []
        for first in range(0, data.users, size):
            last = min(first + size, data.users)
            begin, end = int(data.offsets[first]), int(data.offsets[last])
            self.blocks.append((first, last, (rows[begin:end] - first, data.seen[begin:end])))
        self.lists = torch.empty(rankings, data.users, K, dtype=torch.int64, device=device)

    def run(self):
        for first, last, seen in self.blocks:
            product = self.users[first:last] @ self.items.T
            product.index_put_(seen, product.new_tensor(float("-inf")))
            for k, offset in enumerate(self.offsets):
                scores = product - offset
                torch.topk(scores, K, out=(torch.empty(0, device=scores.device), self.lists[k, first:last]))

    def check(self, data, tolerance):
        """The least score of each list is the 20th best in float64, but for rounding."""
        for user in range(0, data.users, max(1, data.users // 50)):
            scores = self.users[user].double() @ self.items.double().T
            scores[data.seen[data.offsets[user] : data.offsets[user + 1]]] = float("-inf")
            for k, offset in enumerate(self.offsets):
                exact = scores - offset.double()
                best = exact.topk(K).values
                got = exact[self.lists[k, user]].sort(descending=True).values
                far = float((best - got).nan_to_num(0.0).abs().max())
                assert far < tolerance, f"user {user}: a list is off by {far}"


def main():
    options = arguments(__doc__)
    name = "adressa-like" if options.small else "ml10m-like"
    data = Interactions(options.data / f"{name}.macr", options.device)
    for rankings in (1, 11):
        ranking = Ranking(data, rankings)
        for variant, tf32, tolerance in (("fp32", False, 1e-3), ("tf32", True, 0.3)):
            if tf32 and torch.device(options.device).type != "cuda":
                continue
            what = ("ranking", f"rank/{rankings}", f"{name} D={DIM} K={K}", variant)
            try:
                torch.backends.cuda.matmul.allow_tf32 = tf32
                ranking.run()
                seconds = measure(ranking.run, options, 1)
                ranking.check(data, tolerance)
                emit(*what, options, seconds, elements=data.users * data.items)
            except Exception as error:  # What cannot run is a result too.
                refused(*what, options, error)


if __name__ == "__main__":
    main()
