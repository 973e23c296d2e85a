"""A small language for what can happen to a source, and a home that it happens to.

    put 1a 1b* 2c@P9    store instances: study 1, image a; * is other content; @P9 another patient than the study's own
    drop 1a / drop 1    delete an image, or a study, at the archive
    rebuild             empty the archive's index, then store again what it held
    lose                empty the archive
    folder 1a 2b*       the same, as files of a second source; clear 1a and spoil 1b remove and break one
    ingest / ingest folder; "twice" before it: it may take two to settle
    optout P1 / optin P1 / consent P1 P2 / noconsent / merge P1 P2 / withdraw P1
    is 1 = a b*         the images of the live version of study 1 (nothing after = : no live version)
    of 1 = P2           whose study 1 is
    states ingested=2 superseded=1     every row of the ledger by state
    retry KEY           as `medgan quarantine retry`
    refuses TEXT        the next ingest raises an error with this text

After each ingest: the sum of states, one live version an image, every live file in its study, and a second ingest that
finds nothing to do.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from factories import dicom_bytes
from orthanc_server import Orthanc
from pydicom import dcmread

from medgan import digest
from medgan.errors import SourceError
from medgan.home import Home
from medgan.recipes import IngestRecipe
from medgan.records import Intake
from medgan.stages.ingest import ingest, pending
from medgan.stages.places import opened
from medgan.stages.quarantine import retry
from medgan.stages.withdraw import withdraw

RECIPE = IngestRecipe(stability_s=0, reconcile_s=0, max_gone=1)


class Stage:
    """One home, one archive, one folder; `play` goes through a script."""

    def __init__(self, archive: Orthanc, address: str, home: Home, folder: Path) -> None:
        self.archive, self.address, self.home, self.folder = archive, address, home, folder
        self.recipe, self.stored, self.refusal = RECIPE, {}, ""
        self.twice = False  # the next ingest needs another one to settle
        self.changed = 0  # the second of the last change at the archive
        folder.mkdir()

    def play(self, script: str) -> None:
        for line in filter(None, (line.strip() for part in script.split("\n") for line in part.split(";"))):
            verb, _, rest = line.partition(" ")
            try:
                getattr(self, f"_{verb}")(rest.strip())
            except AssertionError as error:
                raise AssertionError(f"at {line!r}: {error}") from None

    # what happens

    def _turn(self) -> None:
        """Orthanc dates changes to the second; in earnest nothing is taken in so soon after its last change.

        Its time() is the kernel's coarse clock, which runs up to a tick (10 ms) behind ours: without a margin a change
        right after the turn of a second still bears the second before.
        """
        while time.time() < self.changed + 1.05:
            time.sleep(0.02)

    def _put(self, rest: str) -> None:
        self._turn()
        for token in rest.split():
            name, data = image(token)
            self.stored[name] = data
            assert self.archive.put(data)["Status"] in ("Success", "AlreadyStored")
        self.changed = int(time.time())  # a slow archive may have stored it a second later

    def _drop(self, rest: str) -> None:
        for token in rest.split():
            self.stored = {name: data for name, data in self.stored.items() if not name.startswith(token)}
            tag, value = ("StudyInstanceUID", f"1.2.{token}") if len(token) == 1 else ("SOPInstanceUID", uid(token))
            level = "Study" if len(token) == 1 else "Instance"
            for found in self._find(level, {tag: value}):
                self.archive.delete(f"/{'studies' if level == 'Study' else 'instances'}/{found}")

    def _find(self, level: str, query: dict[str, str]) -> list[str]:
        import requests

        reply = requests.post(f"{self.archive.url}/tools/find", json={"Level": level, "Query": query}, timeout=60)
        return list(reply.json())

    def _lose(self, _: str) -> None:
        for patient in self.archive.get("/patients"):
            self.archive.delete(f"/patients/{patient}")

    def _rebuild(self, _: str) -> None:
        self._lose("")
        for data in self.stored.values():
            self.archive.put(data)

    def _folder(self, rest: str) -> None:
        for token in rest.split():
            name, data = image(token)
            (self.folder / f"{name}.dcm").write_bytes(data)

    def _ingest(self, rest: str) -> None:
        address = str(self.folder) if rest == "folder" else self.address
        if self.refusal:
            with pytest.raises(SourceError, match=self.refusal):
                self._take(address)
            self.refusal = ""
            return
        intake = self._take(address)
        ended = [n for state, n in intake.states.items() if state not in ("received", "unchanged")]
        assert intake.states["received"] == sum(ended), intake.states
        if self.twice:
            self.twice = False
            self._take(address)
        before = self._picture()
        again = self._take(address)
        assert (again.states["received"], again.superseded, again.gone) == (0, 0, 0), f"again: {again}"
        assert self._picture() == before, "a second ingest changed something"
        self._check()

    def _take(self, address: str) -> Intake:
        with opened(address, self.home) as place:
            return ingest(place, self.recipe, self.home)

    def _twice(self, _: str) -> None:
        self.twice = True

    def _refuses(self, rest: str) -> None:
        self.refusal = rest

    def _recipe(self, rest: str) -> None:
        name, _, value = rest.partition("=")
        self.recipe = self.recipe.model_copy(update={name: float(value)})

    def _list(self, name: str, header: str, rows: list[str]) -> None:
        path = self.home.root / "identified" / name
        if rows:
            path.write_text("\n".join([header, *rows]) + "\n")
        else:
            path.unlink(missing_ok=True)

    def _optout(self, rest: str) -> None:
        self._list("opt-out.csv", "patient_id", rest.split())

    def _optin(self, _: str) -> None:
        self._list("opt-out.csv", "patient_id", ["nobody"])

    def _consent(self, rest: str) -> None:
        self._list("consent.csv", "patient_id", rest.split())

    def _noconsent(self, _: str) -> None:
        self._list("consent.csv", "patient_id", ["*"])

    def _merge(self, rest: str) -> None:
        self._list("merges.csv", "patient_id,into_id", [",".join(rest.split())])

    def _withdraw(self, rest: str) -> None:
        withdraw(rest.split(), self.home)

    def _clear(self, rest: str) -> None:
        (self.folder / f"{rest}.dcm").unlink()

    def _spoil(self, rest: str) -> None:
        (self.folder / f"{rest}.dcm").write_bytes(image(rest)[1][:-50])

    def _retry(self, rest: str) -> None:
        retry(self.home, rest)

    # what must be

    def _is(self, rest: str) -> None:
        study, _, wanted = rest.partition("=")
        assert self._images(study.strip()) == sorted(wanted.split()), self._images(study.strip())

    def _of(self, rest: str) -> None:
        study, _, patient = rest.partition("=")
        (found,) = [s for s in pending(self.home) if s.study_key == self._key(study.strip())]
        assert found.patient_key == digest.patient_key(self.home.pseudonym_key, patient.strip(), "")

    def _states(self, rest: str) -> None:
        wanted = {name: int(n) for name, n in (part.split("=") for part in rest.split())}
        found = {state: n for state, n in self.home.identified_ledger.input_states().items() if n}
        assert found == wanted, found

    def _key(self, study: str) -> str:
        return digest.study_key(self.home.pseudonym_key, f"1.2.{study}")

    def _images(self, study: str) -> list[str]:
        found = [s for s in pending(self.home) if s.study_key == self._key(study)]
        return sorted(name(file)[1:] for s in found for file in self._files(s.digest))

    def _files(self, sealed: str) -> list[Path]:
        return sorted((self.home.identified.store.path(sealed) / "instances").iterdir())

    def _picture(self) -> Any:
        rows = sorted((r.source, r.locator, r.sha256, r.state) for r in self.home.identified_ledger.inputs())
        return rows, self.home.identified_ledger.live_digests()

    def _check(self) -> None:
        """What must hold whatever happened."""
        rows = self.home.identified_ledger.inputs()
        live = [row for row in rows if row.state == "ingested"]
        doubled = [key for key, n in Counter(row.instance_key for row in live).items() if n > 1]
        assert not doubled, f"{len(doubled)} images have two live versions"
        held: dict[str, set[str]] = {}
        for study in pending(self.home):
            self.home.identified.store.verify(study.digest)
            owners = json.loads((self.home.identified.store.path(study.digest) / "inputs.json").read_bytes())
            held[study.study_key] = set(owners.values())
        wanted: dict[str, set[str]] = {}
        gone = self.home.identified_ledger.everyone_like(self.home.identified_ledger.buried())
        for row in live:
            if row.patient_key not in gone:
                wanted.setdefault(row.study_key or "", set()).add(row.instance_key or "")
        assert held == wanted, "the live versions and the ingested rows tell of other images"
        assert not list((self.home.identified.store.root / "staging").iterdir())


def uid(token: str) -> str:
    return f"1.2.{token[0]}.{ord(token[1])}"


def image(token: str) -> tuple[str, bytes]:
    """1a*@P2 -> its name 1a and its bytes."""
    token, _, patient = token.partition("@")
    marks = token.count("*")
    study = f"1.2.{token[0]}"
    data = dicom_bytes(
        uid(token),
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        PatientID=patient or f"P{token[0]}",
        StudyDate="20200101",
        PixelData=bytes([marks]) * 96,
    )
    return token[:2], data


def name(file: Path) -> str:
    """The token of a stored file."""
    dataset = dcmread(file)
    parts = str(dataset.SOPInstanceUID).split(".")
    return f"{parts[2]}{chr(int(parts[3]))}{'*' * dataset.PixelData[0]}"
