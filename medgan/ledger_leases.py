"""Leases: who is at it alone, with a fencing token; what a dead owner held is taken over."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import uuid
from collections.abc import Iterator

import sqlalchemy as sa

from medgan.errors import Busy
from medgan.ledger_base import Book
from medgan.ledger_tables import leases
from medgan.store import alive

LEASE_S = 90.0
RENEW_S = 15.0


class Leases(Book):
    """The leases of one zone."""

    @contextlib.contextmanager
    def lease(self, name: str) -> Iterator[int]:
        """Hold `name` alone; yields the fencing token. Raises Busy when a live owner holds it.

        A lease whose owner died on this host, or that ran out, is taken over.
        """
        owner = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        token = self._take(name, owner)
        done = threading.Event()
        renewer = threading.Thread(target=self._renew, args=(name, owner, done), daemon=True)
        renewer.start()
        try:
            yield token
        finally:
            done.set()
            renewer.join()
            with self.engine.begin() as db:
                db.execute(sa.update(leases).where(leases.c.name == name, leases.c.owner == owner).values(expires_at=0))

    def _take(self, name: str, owner: str) -> int:
        now = self.clock()
        with self.engine.begin() as db:
            self._insert(db, leases, {"name": name, "owner": "", "token": 0, "expires_at": 0.0})
            # SQLite has the whole database locked by now; elsewhere the row is
            row = db.execute(sa.select(leases).where(leases.c.name == name).with_for_update()).one()
            if row.expires_at > now and not _gone(row.owner):
                raise Busy(f"{name}: another run is at it; this one does nothing")
            values = {"owner": owner, "token": row.token + 1, "expires_at": now + LEASE_S}
            db.execute(sa.update(leases).where(leases.c.name == name).values(**values))
        return int(row.token) + 1

    def _renew(self, name: str, owner: str, done: threading.Event) -> None:
        while not done.wait(RENEW_S):
            with self.engine.begin() as db:
                db.execute(
                    sa.update(leases)
                    .where(leases.c.name == name, leases.c.owner == owner)
                    .values(expires_at=self.clock() + LEASE_S)
                )


def _gone(owner: str) -> bool:
    host, pid, _ = owner.split("/")
    return host == socket.gethostname() and not alive(int(pid))
