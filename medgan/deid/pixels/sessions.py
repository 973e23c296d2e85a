"""The networks that the package rapidocr ships, by file name."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.errors import MedganError

Gray = NDArray[np.uint8]


@cache
def session(name: str) -> Any:
    """One session a process and model, on one thread: the map over studies is what is parallel."""
    import onnxruntime

    spec = importlib.util.find_spec("rapidocr")
    if spec is None or not spec.submodule_search_locations:
        raise MedganError("text detection needs the package rapidocr; `pip install rapidocr`")
    model = Path(spec.submodule_search_locations[0]) / "models" / name
    if not model.is_file():
        raise MedganError(f"rapidocr does not hold {name}; install rapidocr 3.10")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
