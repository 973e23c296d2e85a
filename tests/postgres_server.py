"""A real PostgreSQL for tests: a cluster of its own in a temporary folder, reached by a socket there, no network."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def programs() -> Path | None:
    """The folder of initdb and pg_ctl: Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    where = shutil.which("initdb") or (str(found[-1]) if found else None)
    return Path(where).parent if where else None


def unavailable() -> str:
    """Why there can be no PostgreSQL here; "" when there can."""
    return "" if programs() else "PostgreSQL is not here: apt-get install postgresql"


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The URL of a running server, without the name of a database. It refuses to run as root, so another user does."""
    bin_folder = programs()
    assert bin_folder is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        shutil.chown(folder, user)

    def call(*words: str) -> None:
        as_user = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
        subprocess.run([*as_user, *words], check=True, capture_output=True, cwd=folder)

    data, options = str(folder / "data"), f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    call(str(bin_folder / "initdb"), "-D", data, "-A", "trust", "-U", "medgan", "--no-sync")
    call(str(bin_folder / "pg_ctl"), "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql+psycopg://medgan@/{{}}?host={folder}"
    finally:
        call(str(bin_folder / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
