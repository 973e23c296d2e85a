"""The served generator: code that MLflow stores beside the weights and runs when the model is loaded.

Input: one row per request for images, `n` and optionally `label` (a class of training; without it, classes in
the proportions of training). Parameter: `seed`, always asked for. Output: float32 [N, C, D, H, W] in [-1, 1].
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel

MOST = 4096  # images in one call


class Sampler(PythonModel):
    # MLflow finds these two by the names of their parameters, and warns at a hint that is no DataFrame
    def load_context(self, context: Any) -> None:
        from medgan.gan.checkpoint import load_generator

        folder = Path(context.artifacts["checkpoint"])
        self.generator = load_generator(folder)
        state = json.loads((folder / "state.json").read_text())
        self.classes = [str(name) for name in state["classes"]]
        self.shares = [float(share) for share in state["proportions"]]

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        from medgan.gan.sample import sample

        given = params or {}
        # MLflow itself drops a misspelt parameter with a warning, so the one there is has no default
        if unknown := sorted(set(given) - {"seed"}):
            raise ValueError(f"unknown parameter {unknown[0]!r}; the only parameter is seed")
        if given.get("seed") is None:
            raise ValueError("parameter seed is missing or misspelt; give an integer")
        labels = np.concatenate([self._labels(row) for row in model_input.to_dict("records")])
        if not 1 <= len(labels) <= MOST:
            raise ValueError(f"column n adds up to {len(labels)}; expected 1 to {MOST} images in one call")
        return np.asarray(sample(self.generator, labels, seed=int(given["seed"])), np.float32)

    def _labels(self, row: dict[str, Any]) -> Any:
        from medgan.gan.labels import in_proportion

        count, label = int(row["n"]), row.get("label")
        if count < 1:
            raise ValueError(f"column n: found {count}, expected 1 or more")
        if label is None or label != label or label == "":  # a missing text arrives as NaN
            return in_proportion(self.shares, count)
        if label not in self.classes:
            raise ValueError(f"column label: no class of that name; classes are {', '.join(self.classes)}")
        return np.full(count, self.classes.index(label), np.int64)


mlflow.models.set_model(Sampler())
