"""A real archive for tests and benchmarks: Debian's Orthanc, in a network of its own that has only loopback.

Orthanc 1.10 binds every address whatever it is told, so it is started inside a network namespace; the thread that
opens `orthanc(...)` enters that namespace, with all threads and processes it starts later, until the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

PACKAGES = ("orthanc", "orthanc-dicomweb", "dcmtk")
PROGRAM, PLUGIN = Path("/usr/sbin/Orthanc"), Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CLONE_NEWNET = 0x40000000  # linux/sched.h
HTTP_PORT, DICOM_PORT, MOVE_PORT = 8042, 4242, 11112
START_S = 20.0


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running archive. `url` is its REST root; `dicomweb` and `dimse` are addresses as medgan takes them."""

    url: str = f"http://127.0.0.1:{HTTP_PORT}"
    dicomweb: str = f"dicomweb+http://127.0.0.1:{HTTP_PORT}/dicom-web"
    dimse: str = f"dimse://ORTHANC@127.0.0.1:{DICOM_PORT}"

    def put(self, data: bytes) -> dict[str, Any]:
        """Store one file; returns what the archive says (ID, ParentStudy, Status)."""
        reply = requests.post(f"{self.url}/instances", data=data, timeout=60)
        reply.raise_for_status()
        said: dict[str, Any] = reply.json()
        return said

    def get(self, path: str, **query: str) -> Any:
        reply = requests.get(f"{self.url}{path}", params=query, headers={"Accept-Encoding": "identity"}, timeout=60)
        reply.raise_for_status()
        return reply.json()

    def delete(self, path: str) -> None:
        requests.delete(f"{self.url}{path}", timeout=60).raise_for_status()


def unavailable() -> str:
    """Why there can be no archive here; "" when there can. Installs the packages where that is possible."""
    if not (hasattr(os, "geteuid") and os.geteuid() == 0):
        return "Orthanc needs a network namespace of its own, which takes root"
    if not (PROGRAM.exists() and PLUGIN.exists()) and not _installed():
        return f"Orthanc is not here and could not be installed: apt-get install {' '.join(PACKAGES)}"
    if subprocess.run(["unshare", "-n", "ip", "link", "set", "lo", "up"], capture_output=True).returncode:
        return "this machine allows no network namespace (or lacks unshare and ip)"
    return ""


@contextlib.contextmanager
def orthanc(folder: Path, **more: Any) -> Iterator[Orthanc]:
    """An archive whose storage lies in `folder` (reopened when it is there already); `more` is configuration."""
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": HTTP_PORT,
        "DicomPort": DICOM_PORT,
        "DicomAet": "ORTHANC",
        "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True},
        "DicomModalities": {"MEDGAN": ["MEDGAN", "127.0.0.1", MOVE_PORT]},
        "StableAge": 1,
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    with (folder / "log").open("ab") as log:
        words = ["unshare", "-n", "sh", "-c", f'ip link set lo up && exec {PROGRAM} "$0"', str(folder / "orthanc.json")]
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        _enter(process, own)
        _wait(process, folder / "log")
        yield Orthanc()
    finally:
        _setns(own)
        os.close(own)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _installed() -> bool:
    if shutil.which("apt-get") is None:
        return False
    words = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], [*words, "iproute2"]):
        try:
            subprocess.run(command, env=environment, capture_output=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            return False
    return PROGRAM.exists() and PLUGIN.exists()


def _enter(process: subprocess.Popen[bytes], own: int) -> None:
    """Go to the network of the process, as soon as it has one of its own."""
    here = Path(f"/proc/self/fd/{own}").readlink()
    deadline = time.monotonic() + START_S
    while Path(f"/proc/{process.pid}/ns/net").readlink() == here:
        if time.monotonic() > deadline:
            raise TimeoutError("the archive got no network of its own")
        time.sleep(0.01)
    other = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
    try:
        _setns(other)
    finally:
        os.close(other)


def _setns(handle: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"http://127.0.0.1:{HTTP_PORT}/system", timeout=1).ok:
                return
        time.sleep(0.05)
    raise TimeoutError(f"the archive did not start: {log.read_text(errors='replace')[-500:]}")
