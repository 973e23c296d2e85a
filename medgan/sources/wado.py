"""The files of one study over DICOMweb (WADO-RS), taken up again inside the study when the connection breaks."""

from __future__ import annotations

import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import requests

from medgan.dicom.structure import read_meta
from medgan.errors import InputRejected, SourceError
from medgan.sources.multipart import Malformed, Part, boundary_of, read_parts, read_single
from medgan.sources.qido import INSTANCES, instance_row, is_uid, parsed, read_list, read_page, study_row
from medgan.sources.web import Absent, Broken, Unexpected, Unwanted, Web, reader

ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'  # as stored, not decompressed
DEFAULT_SYNTAX = 'multipart/related; type="application/dicom"'
SAMPLE = 8  # instances looked at to see whether a study is partly there: some lists begin with the newest
META_INSTANCE = 0x00020003

UIDs: TypeAlias = tuple[str, str]  # series, instance


@dataclass(slots=True)
class Wado:
    """A DICOMweb service at `url`; `page`: rows of a list in one answer."""

    web: Web
    url: str
    page: int
    plain: bool = False  # it refused to be asked for any transfer syntax

    def answer(self, path: str) -> requests.Response:
        """What the service sends for a study, series or instance. Raises Absent, Broken, SourceError."""
        if not self.plain:
            try:
                return self.web.get(self.url + path, accept=ANY_SYNTAX)
            except Unwanted:
                response = self.web.get(self.url + path, accept=DEFAULT_SYNTAX)
                self.plain = True
                return response
        return self.web.get(self.url + path, accept=DEFAULT_SYNTAX)

    def instances(self, study: str) -> tuple[list[UIDs], bool]:
        """The instances of a study, and whether they are all: some archives cut long lists without a word."""
        with contextlib.suppress(Absent):
            found = read_list(self.web, f"{self.url}/studies/{study}/instances", [], instance_row, page=self.page)
            rows = read_page(
                self.web, f"{self.url}/studies", [("StudyInstanceUID", study), ("includefield", INSTANCES)]
            )
            counts = [row.expected or 0 for row in parsed(rows, study_row).values() if row.uid == study]
            return found, len(found) >= sum(counts)
        return [], True

    def some_instances(self, study: str) -> list[str]:
        """The first few instances of its list; [] where the service does not answer that."""
        with contextlib.suppress(Absent, Unexpected):
            rows = read_page(self.web, f"{self.url}/studies/{study}/instances", [("limit", str(SAMPLE))])
            return [uids[1] for _, uids in filter(None, map(instance_row, rows))]
        return []


@dataclass(frozen=True, slots=True)
class _Want:
    """A study, series or instance to ask for."""

    study: str
    series: str = ""
    instance: str = ""

    @property
    def path(self) -> str:
        names = (("studies", self.study), ("series", self.series), ("instances", self.instance))
        return "".join(f"/{name}/{uid}" for name, uid in names if uid)


@dataclass(slots=True)
class Retrieval:
    """One study on its way. `has`: which instances need not come."""

    wado: Wado
    study: str
    landing: Path
    max_bytes: int
    has: Callable[[str], bool]
    done: set[str] = field(default_factory=set)  # SOP Instance UIDs that came, or that are gone
    listed: list[UIDs] = field(default_factory=list)  # what was wanted when the service was last asked
    failed: set[str] = field(default_factory=set)
    whole_refused: bool = False

    def run(self) -> Iterator[Path]:
        """Each instance, complete in a file. Raises SourceError."""
        patience = self.wado.web.patience()
        wants = self._first()
        while wants:
            want, before = wants[0], len(self.done)
            try:
                yield from self._bring(want)
                wants.popleft()
                patience.progress()
                wants = wants or self._left()
            except Absent:
                wants = self._without(want, wants)
            except Broken as broken:
                progressed = len(self.done) > before  # an instance of which we cannot tell which it is, is none
                if progressed:
                    patience.progress()
                if want.instance:
                    self.failed.add(want.instance)
                patience.wait(broken)
                wants = self._missing(by_series=progressed)

    def _first(self) -> deque[_Want]:
        """The whole study in one request, which is fastest, unless some of it is there already."""
        if any(self.has(uid) for uid in self.wado.some_instances(self.study)):
            return self._missing(by_series=True)
        return deque([_Want(self.study)])

    def _missing(self, *, by_series: bool) -> deque[_Want]:
        """Ask what the study holds, and want what did not come: whole series where that is most of them."""
        everything, complete = self.wado.instances(self.study)
        self.listed = [uids for uids in everything if uids[1] not in self.done and not self.has(uids[1])]
        if not complete and self.whole_refused:
            raise SourceError(
                "the archive lists fewer instances of a study than it counts; raise the limit of its lists, or, where "
                "the study lies there under two patients, merge them there"
            )
        if not complete or (by_series and everything and len(self.listed) == len(everything)):
            return deque([_Want(self.study)])
        if not by_series:
            return self._left()
        sizes: dict[str, int] = defaultdict(int)
        for series, _ in everything:
            sizes[series] += 1
        wanted = _by_series(self.listed)
        large = {series for series, some in wanted.items() if len(some) > 1 and 2 * len(some) >= sizes[series]}
        singly = self._singly(uids for uids in self.listed if uids[0] not in large)
        return deque([_Want(self.study, series) for series in wanted if series in large] + singly)

    def _left(self) -> deque[_Want]:
        """What was listed and did not come, one by one; what failed before comes last."""
        return deque(self._singly(uids for uids in self.listed if uids[1] not in self.done))

    def _singly(self, some: Iterable[UIDs]) -> list[_Want]:
        return [_Want(self.study, *uids) for uids in sorted(some, key=lambda uids: uids[1] in self.failed)]

    def _without(self, want: _Want, wants: deque[_Want]) -> deque[_Want]:
        """An instance that is gone is done with; a study may only be one that cannot be sent as a whole."""
        if not want.instance:
            self.whole_refused |= not want.series
            return self._missing(by_series=False)
        self.done.add(want.instance)
        wants.popleft()
        return wants

    def _bring(self, want: _Want) -> Iterator[Path]:
        """The parts of one answer that are new. Raises Absent, Broken, SourceError."""
        known = set() if want.instance else set(self.done)
        parts = 0
        with contextlib.closing(self.wado.answer(want.path)) as response:
            for part in self._parts(response):
                parts += 1
                uid = instance_of(part.head)
                if uid and uid in known:
                    part.path.unlink()
                else:
                    self.done |= {uid, want.instance} - {""}
                    yield part.path
                if part.cut and not want.instance:
                    raise Broken("an instance over the size limit")
        if not parts or (response.status_code == 206 and not want.instance):
            raise Broken("an incomplete answer")

    def _parts(self, response: requests.Response) -> Iterator[Part]:
        kind = response.headers.get("Content-Type", "")
        read = reader(response)
        try:
            if kind.split(";")[0].strip().lower() in ("application/dicom", "application/octet-stream"):
                yield read_single(read, self.landing, max_bytes=self.max_bytes)
            elif response.status_code != 204:
                yield from read_parts(read, boundary_of(kind), self.landing, max_bytes=self.max_bytes)
        except Malformed:
            raise Broken("an incomplete answer") from None


def instance_of(head: bytes) -> str:
    """The SOP Instance UID in the file meta group; "" where there is none."""
    if head[128:132] != b"DICM":
        return ""
    try:
        meta, _ = read_meta(head)
    except InputRejected:
        return ""
    uid = meta.get(META_INSTANCE, b"").decode("ascii", "replace").strip("\0 ")
    return uid if is_uid(uid) else ""


def _by_series(some: Iterable[UIDs]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = defaultdict(list)
    for series, instance in some:
        wanted[series].append(instance)
    return wanted
