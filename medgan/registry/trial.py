"""Load a stored model and sample from it, alone: `python -I trial.py TRACKING_URI MODEL_URI`.

Run as a program of its own, isolated, because what is tried is that the model needs nothing of this
repository; and because loading one puts its stored code first on the import path of the process.
Writes one JSON object to standard output.
"""

import json
import os
import sys

ROWS, SEED = 2, 7


def main(tracking_uri: str, model_uri: str) -> None:
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", GIT_PYTHON_REFRESH="quiet", MLFLOW_HTTP_REQUEST_MAX_RETRIES="2")
    import mlflow
    import numpy as np
    import pandas as pd

    mlflow.set_tracking_uri(tracking_uri)
    model = mlflow.pyfunc.load_model(model_uri)
    rows = pd.DataFrame({"n": [ROWS]})
    first, again, other = (model.predict(rows, params={"seed": seed}) for seed in (SEED, SEED, SEED + 1))
    try:
        model.predict(rows, params={"sed": SEED})
        strict = False
    except ValueError:
        strict = True
    sys.stdout.write(
        json.dumps(
            {
                "shape": list(first.shape),
                "finite": bool(np.isfinite(first).all() and np.abs(first).max() <= 1.0),
                "repeats": bool(np.array_equal(first, again)),
                "varies": not np.array_equal(first, other),
                "strict": strict,
                "stored_code": f"{os.sep}code{os.sep}medgan{os.sep}" in str(sys.modules["medgan.gan.sample"].__file__),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
