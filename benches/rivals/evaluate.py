#!/usr/bin/env python3
"""Recomputes every metric of `macr evaluate --json` with numpy, and compares.

    python3 benches/rivals/evaluate.py RUN TRAIN.txt TEST.txt RESULTS.json

RUN is a run folder; TRAIN and TEST are text in LightGCN's format (user item item ...) with the model's own ids;
RESULTS.json is what `macr evaluate` printed. Lists are formed from scores that are rounded as the engine says it
rounds (src/backend/cpu/rank.rs), or near ties would fall differently; these scores are compared with the paper's
formula in float64.
"""

import json
import sys

import numpy as np
from safetensors.numpy import load_file

TOLERANCE = 1e-6


def lists_of(path):
    with open(path) as lines:
        rows = (list(map(int, line.split())) for line in lines if line.strip())
        return {user: items for user, *items in rows if items}


def branch(tensors, name, x):
    if name in tensors:
        return x @ tensors[name].astype(np.float64)
    w1, b1, w2, b2 = (tensors[f"{name}.{part}"].astype(np.float64) for part in ("w1", "b1", "w2", "b2"))
    return np.maximum(x @ w1.T + b1, 0) @ w2 + b2[0]


def metrics(ranked, relevant, popularity, k, items):
    sums, frequency = {}, np.zeros(items, np.int64)
    for user, found in relevant.items():
        top = ranked[user][:k]
        frequency[top] += 1
        hits = np.isin(top, found)
        ranks = np.flatnonzero(hits) + 1
        best = min(k, len(found))
        values = {
            "hit_rate": float(hits.any()),
            "recall": hits.sum() / len(found),
            "ndcg": (1 / np.log2(ranks + 1)).sum() / (1 / np.log2(np.arange(best) + 2)).sum(),
            "precision": hits.sum() / k,
            "mrr": 1 / ranks[0] if len(ranks) else 0,
            "map": (np.arange(1, len(ranks) + 1) / ranks).sum() / best,
        }
        for name, value in values.items():
            sums[name] = sums.get(name, 0) + value
    means = {name: value / len(relevant) for name, value in sums.items()}
    ordered = np.sort(frequency)
    places = 2 * np.arange(1, items + 1) - items - 1
    return means | {
        "coverage": (frequency > 0).mean(),
        "gini": (places * ordered).sum() / (items * ordered.sum()),
        "arp": (frequency * popularity).sum() / frequency.sum(),
    }


def products(users, items):
    """[U, I] inner products of float32 rows, one fused multiply-add after the other."""
    x = np.zeros((len(users), len(items)), np.float32)
    for d in range(users.shape[1]):
        # A product of two float32 is exact in float64.
        x = (x + np.outer(users[:, d].astype(np.float64), items[:, d].astype(np.float64))).astype(np.float32)
    return x


def main(run, train, test, results):
    tensors = load_file(f"{run}/model.safetensors")
    users, items = tensors["user_embedding"], tensors["item_embedding"]
    popularity = tensors["item_popularity"].astype(np.float64)
    gated = any(name.startswith("item_branch") for name in tensors)
    logits = branch(tensors, "item_branch", items.astype(np.float64)) if gated else None
    gates = 1 / (1 + np.exp(-logits)) if gated else np.ones(len(items))
    gates32, log32 = gates.astype(np.float32), np.log1p(popularity).astype(np.float32)
    seen, relevant = lists_of(train), lists_of(test)
    with open(results) as file:
        evaluation = json.load(file)
    assert evaluation["users"] == len(relevant), (evaluation["users"], len(relevant))
    tested = np.array(list(relevant))
    x = products(users[tested], items * gates32[:, None])
    plain = users[tested].astype(np.float64) @ items.T.astype(np.float64)

    worst, ranked, ranking = 0.0, {}, None
    for result in evaluation["results"]:
        if ranking != (result["c"], result["tau"]):
            ranking = c, tau = (result["c"], result["tau"])
            product = (np.float32(c) * gates32 if gated else np.zeros_like(gates32)).astype(np.float64)
            offset = (np.float64(np.float32(tau)) * log32 + product).astype(np.float32)
            scores = x - offset
            paper = (plain - c * gated) * gates - tau * np.log(popularity + 1)
            assert np.abs(scores - paper).max() < 1e-5 * np.abs(paper).max()
            for user, score in zip(tested, scores):
                score[seen.get(user, [])] = -np.inf
                order = np.argsort(-score, kind="stable")
                ranked[user] = order[: len(items) - len(seen.get(user, []))]
        for name, expected in metrics(ranked, relevant, popularity, result["k"], len(items)).items():
            error = abs(result[name] - expected) / max(1.0, abs(expected))
            worst = max(worst, error)
            if error > TOLERANCE:
                sys.exit(f"{name} at {ranking}, k = {result['k']}: {result[name]} here, {expected} by numpy")
    print(f"{len(evaluation['results'])} results agree; largest difference {worst:.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
