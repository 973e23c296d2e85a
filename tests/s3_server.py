"""An S3 for tests: moto's server on loopback at a free port, empty when it starts, gone at the end."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import urllib.request
from collections.abc import Iterator

BUCKET = "cohorts"


def unavailable() -> str:
    """Why there can be no S3 here; "" when there can."""
    there = all(importlib.util.find_spec(name) for name in ("moto", "flask", "flask_cors"))
    return "" if there else "moto's server is not here: uv pip install 'moto[s3]' flask flask-cors"


@contextlib.contextmanager
def s3() -> Iterator[dict[str, str]]:
    """A running server with the bucket `BUCKET`; yields the environment by which a client finds it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT"), timeout=30).close()
        yield {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "made-up",
            "AWS_SECRET_ACCESS_KEY": "made-up",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
    finally:
        server.stop()
