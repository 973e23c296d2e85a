"""Patients as the ledger knows them: who left, who is the same as whom, and what the house owes because of it."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from medgan.errors import UsageError
from medgan.ledger_base import Book
from medgan.ledger_tables import aliases, requests, tombstones


class People(Book):
    """Tombstones, aliases and requests of one zone; pseudonyms only."""

    def bury(self, patient_key: str, why: str) -> None:
        """Leave a tombstone. `why`: withdrawn, for good; or opted_out, which a later list may take back."""
        with self.engine.begin() as db:
            values = {"patient_key": patient_key, "why": why, "made_at": self.clock()}
            self._insert(db, tombstones, values, renew=("why",) if why == "withdrawn" else ())

    def unbury(self, patient_keys: Iterable[str]) -> int:
        """Take tombstones of an eligibility list back; those of a withdrawal stay for good. Returns how many went."""
        with self.engine.begin() as db:
            gone = (
                db.execute(
                    sa.delete(tombstones).where(tombstones.c.patient_key == key, tombstones.c.why == "opted_out")
                )
                for key in sorted(set(patient_keys))
            )
            return sum(result.rowcount for result in gone)

    def buried(self, why: str | None = None) -> set[str]:
        """Keys of those who left, for this reason or any."""
        query = sa.select(tombstones.c.patient_key)
        if why is not None:
            query = query.where(tombstones.c.why == why)
        with self.reader.connect() as db:
            return set(db.scalars(query))

    def merge(self, pairs: Iterable[tuple[str, str]]) -> int:
        """Note that of each pair the first pseudonym is the same person as the second; returns how many were new."""
        same, now, rows = self.same_person(), self.clock(), []
        for key, into in pairs:
            root, end = same.get(key, key), same.get(into, into)
            if root != end:
                rows.append({"patient_key": root, "into": end, "made_at": now})
                same |= {other: end for other, at in same.items() if at == root} | {root: end}
        with self.engine.begin() as db:
            self._insert(db, aliases, rows)
        return len(rows)

    def same_person(self) -> dict[str, str]:
        """Merged pseudonym -> the one that stands for the person; who was never merged is not in it."""
        with self.reader.connect() as db:
            steps = dict(row._tuple() for row in db.execute(sa.select(aliases.c.patient_key, aliases.c.into)))
        found = {}
        for key in steps:
            end = key
            for _ in range(len(steps) + 1):
                if end not in steps:
                    break
                end = steps[end]
            else:
                raise UsageError("the merges of patients go in a circle; put the ledger back from the backup")
            found[key] = end
        return found

    def everyone_like(self, patient_keys: Iterable[str]) -> set[str]:
        """These pseudonyms, and all that were merged with one of them."""
        same = self.same_person()
        roots = {same.get(key, key) for key in patient_keys}
        return roots | {key for key, root in same.items() if root in roots}

    def request(self, kind: str, subject: str) -> bool:
        """Note what is owed, once; whether it was new. What was done before is asked for again."""
        with self.engine.begin() as db:
            where = (requests.c.kind == kind, requests.c.subject == subject)
            row = db.execute(sa.select(requests.c.done_at).where(*where)).one_or_none()
            if row is not None and row.done_at is None:
                return False
            values = {"kind": kind, "subject": subject, "made_at": self.clock(), "done_at": None}
            self._insert(db, requests, values, renew=("made_at", "done_at"))
        return True

    def requested(self, kind: str) -> list[str]:
        """Subjects of this kind that are still owed, oldest first."""
        query = sa.select(requests.c.subject).where(requests.c.kind == kind, requests.c.done_at.is_(None))
        with self.reader.connect() as db:
            return list(db.scalars(query.order_by(requests.c.made_at, requests.c.subject)))

    def answered(self, kind: str) -> int:
        """Note that all that was asked for of this kind is done; returns how many."""
        with self.engine.begin() as db:
            owed = (requests.c.kind == kind, requests.c.done_at.is_(None))
            return db.execute(sa.update(requests).where(*owed).values(done_at=self.clock())).rowcount
