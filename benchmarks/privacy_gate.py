"""How often the privacy gate raises a false alarm, and how often it sees a planted leak.

    ./run bench privacy_gate                         made-up chest films
    ./run bench privacy_gate --films FILE.npz        images, labels, patient_ids: real films

Each split draws the patients anew into release (other patients' films, as an honest generator of perfect quality
would give), train, audit and fresh. Rates come with two-sided 95 % Clopper-Pearson intervals.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "medgan" / "cohort"))

from toy_chest import chest_films  # noqa: E402

from medgan.cohort import ranks  # noqa: E402
from medgan.cohort.privacy import TESTS, Evidence, Gate, Pictures  # noqa: E402

SHARES = {"release": 0.3, "train": 0.38, "audit": 0.24, "fresh": 0.08}
MIXTURES = (0.02, 0.05, 0.1, 0.2)


def parts(images: np.ndarray, owner: np.ndarray, seed: int) -> list[Pictures]:
    patients = np.random.default_rng(seed).permutation(np.unique(owner))
    ends = np.rint(np.cumsum([0, *SHARES.values()]) * len(patients)).astype(int)
    masks = [np.isin(owner, patients[a:b]) for a, b in zip(ends, ends[1:], strict=False)]
    return [Pictures(images[mask], owner[mask]) for mask in masks]


def one_split(images: np.ndarray, owner: np.ndarray, seed: int, alpha: float) -> dict[str, Evidence]:
    release, train, audit, fresh = parts(images, owner, seed)
    lone = np.unique(release.owner, return_index=True)[1]  # a generator's pictures are independent
    gate = Gate(
        Pictures(release.images[lone], release.owner[lone]),
        train,
        audit,
        fresh,
        level=ranks.spent(alpha, 1) / TESTS,
        seed=seed,
    )
    rng, columns = np.random.default_rng([seed, 2]), gate.columns
    found = {"honest": gate.weigh(columns["release"])}
    for name in ("fresh", "fresh_treated", "fresh_shrunk"):
        found[name] = gate.weigh(columns[name], lone=gate.lone_fresh)
    for name in ("verbatim", "treated"):
        found[f"leak: {name} replay"] = gate.weigh(columns[name])
        for share in MIXTURES:
            count = max(1, round(share * len(columns["release"])))
            copies = rng.permutation(columns[name])[:count]
            found[f"leak: {share:.0%} {name} copies"] = gate.weigh(gate.mixture(copies, rng))
    if (mates := gate.mates()) is not None:
        found["leak: other pictures of training patients"] = mates
    return found


def rate(hits: list[bool]) -> str:
    n, k = len(hits), sum(hits)
    low = stats.beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = stats.beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    return f"{k:4d}/{n:<4d} {k / n:6.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=Path)
    parser.add_argument("--splits", type=int, default=40)
    parser.add_argument("--patients", type=int, default=460)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--alpha", type=float, default=0.01)
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    if given.films:
        with np.load(given.films) as file:
            images, owner = file["images"].astype(np.float32), file["patient_ids"]
    alarms, tests_only, blocked = defaultdict(list), defaultdict(list), defaultdict(list)
    honest: dict[str, list[float]] = defaultdict(list)
    for seed in range(given.splits):
        if not given.films:
            images, _, owner = chest_films(given.patients, size=given.size, seed=1000 + seed)
        for name, evidence in one_split(images, owner, seed, given.alpha).items():
            alarms[name].append(evidence.rejected(0.5))
            tests_only[name].append(evidence.seen_by_tests())
            blocked[name].append(len(evidence.flagged) > 0)
            if name == "honest":
                for test in evidence.tests:
                    honest[test["name"]].append(test["p"])
    print(f"{given.splits} splits, {time.process_time() - start:.0f} core-s")
    print(f"{'offered':44s}{'rejected':>31s}{'by exact tests':>33s}{'by hard block':>33s}")
    for name in alarms:
        print(f"{name:44s}  {rate(alarms[name])}  {rate(tests_only[name])}  {rate(blocked[name])}")
    for name, ps in honest.items():
        print(f"honest, {name}: p < 0.05 {rate([p < 0.05 for p in ps])}; p < 0.01 {rate([p < 0.01 for p in ps])}")


if __name__ == "__main__":
    main()
