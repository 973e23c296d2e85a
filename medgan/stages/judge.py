"""Decides what becomes of each arrival: the closed list of states, once, for every kind of source.

The same place says something new: a correction, which overtakes what it said before. Another place says something
else of the same instance: a conflict, which is kept apart until one of the two gives way.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from medgan.ledger_inputs import Input
from medgan.stages.desk import STAGE, Arrival, Change, Desk

SETTLED = ("ingested", "duplicate", "withdrawn")
GONE = "gone"  # the stamp of an input that its place does not hold any more
HELD = ("ingested", "duplicate", "conflict")  # of something that is there


class Judge:
    """Judges one batch, in the order of the source.

    leaving: earlier inputs that their place does not hold now. closing: studies (by key) of which nothing more is
    coming: what of them was still partial becomes their version.
    """

    def __init__(
        self, desk: Desk, arrivals: list[Arrival], leaving: Iterable[Input] = (), closing: Collection[str] = ()
    ) -> None:
        self.desk, self.arrivals = desk, arrivals
        self.leaving = [row for row in leaving if row.state in HELD]
        rows = [arrival.row for arrival in arrivals]
        self.before = desk.ledger.placed(rows)
        keys = {row.instance_key for row in (*rows, *self.leaving) if row.instance_key}
        self.live = {key: found[0] for key, found in desk.ledger.versions(keys).items()}
        studies = {row.study_key for row in (*rows, *self.leaving, *self.live.values()) if row.study_key}
        self.owner = desk.owners({*studies, *closing})
        self.changes = {study_key: Change() for study_key in desk.ledger.live(STAGE, closing, state="partial")}
        self.also: dict[tuple[str, str, str], Input] = {}  # earlier inputs whose state changes
        self.again: set[str] = set()  # studies that changed hands, of which some images are to be fetched once more
        self._labels: dict[str, dict[str, str]] | None = None

    def decide(self) -> None:
        """Set the state in each arrival's row, count it, and note what becomes of its study."""
        for row in self.leaving:
            self._leave(row)
        self._change_hands()
        for arrival in self.arrivals:
            self._decide(arrival)
        for study_key, change in self.changes.items():
            change.patient_key = self.owner.get(study_key, "")

    def _decide(self, arrival: Arrival) -> None:
        row, desk = arrival.row, self.desk
        known = self._known(row)
        if known is not None and not self._is_open(known, row):
            arrival.row = replace(known, stamp=row.stamp)
            if known.state == "ingested":
                self._relabel(arrival)
            desk.count("unchanged")
            return
        state = "quarantined" if row.state == "quarantined" else self._state(row)
        arrival.row = replace(row, state=state)
        if known is not None and known.state == state and known.sha256 == row.sha256:
            desk.count("unchanged")  # looked at again, with the same end
            return
        if known is not None and known.sha256 != row.sha256:  # the same image in another wrapping
            self._overtake(known)
        desk.count(state, row.reason)
        if state == "ingested":
            self._take_in(arrival)

    def _known(self, row: Input) -> Input | None:
        """What this place was known to say already, when it says the same again."""
        rows = self.before.get((row.source, row.locator), [])
        same = [r for r in rows if r.sha256 == row.sha256]
        alike = [r for r in rows if row.content and r.content == row.content and r.state != "superseded"]
        return next(iter((*same, *alike)), None)

    def _is_open(self, known: Input, row: Input) -> bool:
        """Whether a known input is to be judged anew."""
        if known.state in SETTLED:
            return False
        if known.state == "superseded":  # back to an earlier content, unless that was overtaken from elsewhere
            live = self.live.get(row.instance_key or "")
            elsewhere = live is not None and (live.source, live.locator) != (row.source, row.locator)
            return live is None or not elsewhere or live.content == row.content
        return True  # quarantined, refused or in conflict: limits, lists or the other side may have changed

    def _state(self, row: Input) -> str:
        if not self.desk.admits(row):
            return "refused"
        person = self.desk.person(row.patient_key)
        ours = self.desk.person(self.owner.get(row.study_key or "", row.patient_key or "")) == person
        there = self.live.get(row.instance_key or "")
        if there is None:
            return "ingested" if ours else "conflict"  # one study of two patients: whose it is cannot be told
        if there.content == row.content:
            return "duplicate"
        same_place = (there.source, there.locator) == (row.source, row.locator)
        return "ingested" if same_place and ours else "conflict"

    def _take_in(self, arrival: Arrival) -> None:
        row = arrival.row
        key, study = row.instance_key or "", row.study_key or ""
        there = self.live.get(key)
        if there is not None:
            self._overtake(there)
            self._leave_study(there)
            self._reclassify(key, there, row)
            change = self._change(study)
            change.arrivals = [other for other in change.arrivals if other.row.instance_key != key]
        self.live[key] = row
        self.owner.setdefault(study, row.patient_key or "")
        self._change(study).arrivals.append(arrival)

    def _overtake(self, row: Input, stamp: str | None = None) -> None:
        if row.state != "superseded":
            stamp = row.stamp if stamp is None else stamp
            self.also[row.source, row.locator, row.sha256] = replace(row, state="superseded", stamp=stamp)
            self.desk.tally["superseded"] += 1

    def _reclassify(self, key: str, old: Input, new: Input) -> None:
        """What a correction changes elsewhere: copies of the old content are overtaken too, and whoever says the new
        one, in conflict or overtaken before, says the same now.
        """
        ledger, here = self.desk.ledger, (new.source, new.locator)
        rows = {state: ledger.versions([key], state=state).get(key, []) for state in (*HELD, "superseded")}
        elsewhere = [row for some in rows.values() for row in some if (row.source, row.locator) != here]
        holding = {(row.source, row.locator) for row in elsewhere if row.state in HELD}
        for row in elsewhere:
            still_there = row.state == "conflict" or (
                row.state == "superseded" and row.stamp != GONE and (row.source, row.locator) not in holding
            )
            if row.state == "duplicate" and row.content == old.content:
                self._overtake(row)
            elif still_there and row.content == new.content:
                self.also[row.source, row.locator, row.sha256] = replace(row, state="duplicate")
        for arrival in self.arrivals:
            row = arrival.row
            if row.instance_key == key and row.state == "conflict" and row.content == new.content:
                arrival.row = replace(row, state="duplicate")
                self.desk.states["conflict"] -= 1
                self.desk.states["duplicate"] += 1

    def _leave(self, row: Input) -> None:
        """An input whose place does not hold it any more: another place may have the same image."""
        key = row.instance_key or ""
        self._overtake(row, GONE)
        if row.state != "ingested":
            return
        copies = self.desk.ledger.versions([key], state="duplicate").get(key, [])
        heir = next((copy for copy in copies if copy.content == row.content), None)
        self.live.pop(key, None)
        if heir is not None:
            self.live[key] = self.also[heir.source, heir.locator, heir.sha256] = replace(heir, state="ingested")
        else:
            self._leave_study(row)
            self.desk.ledger.reconsider(instance_key=key, state="conflict")  # who disagreed may be right now

    def _leave_study(self, row: Input) -> None:
        self._change(row.study_key or "").leaving.add(row.instance_key or "")

    def _change(self, study_key: str) -> Change:
        return self.changes.setdefault(study_key, Change())

    def _change_hands(self) -> None:
        """A study whose every image is corrected to another patient becomes that patient's."""
        claims: dict[tuple[str, str], set[str]] = {}
        for row in (arrival.row for arrival in self.arrivals):
            owner, there = self.owner.get(row.study_key or ""), self.live.get(row.instance_key or "")
            if owner is None or there is None or (there.source, there.locator) != (row.source, row.locator):
                continue
            if self.desk.person(row.patient_key) != self.desk.person(owner) and self.desk.admits(row):
                claims.setdefault((row.study_key or "", row.patient_key or ""), set()).add(row.instance_key or "")
        for (study, patient), claimed in claims.items():
            held = {row.instance_key for row in self.desk.ledger.inputs(study_key=study, state="ingested")}
            missing = held - claimed - {row.instance_key for row in self.leaving}
            said = self.desk.ledger.inputs(study_key=study, state="conflict", patient_key=patient) if missing else []
            if missing <= {row.instance_key for row in said}:
                self.owner[study] = patient
            if missing and self.owner[study] == patient:  # the others said so before: their places are asked once more
                self.desk.ledger.reconsider(study_key=study, state="conflict")
                self.again.add(study)

    def _relabel(self, arrival: Arrival) -> None:
        study = arrival.row.study_key or ""
        if study not in self.owner or not arrival.files:
            return
        if self._labels is None:
            self._labels = self.desk.labels(self.owner)
        if any(self._labels.get(study, {}).get(name) != arrival.label for name in arrival.files):
            self._change(study).arrivals.append(arrival)


def judge_and_settle(arrivals: list[Arrival], desk: Desk, landing: Path) -> None:
    """Decide on a batch, record it, and clear away what is left of it. Raises HomeError below the disk's reserve."""
    desk.home.require_room()
    judge = Judge(desk, arrivals)
    judge.decide()
    desk.settle(judge, landing)
    for arrival in arrivals:
        shutil.rmtree(arrival.folder, ignore_errors=True)
