"""What to ask an archive for: a whole study, or what of it is missing here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from medgan.errors import SourceError
from medgan.sources.association import STORAGE_CLASSES
from medgan.sources.dimse_retrieval import MAX_CONTEXTS, Outcome
from medgan.sources.peer import find, identifier, raw

SERIES_UID, SOP_CLASS, SOP_INSTANCE = 0x0020000E, 0x00080016, 0x00080018
INSTANCES, CLASSES = 0x00201208, 0x00080062
AT_ONCE = 200  # instances named in one request
SAMPLE = 8  # series looked at to see whether a study is partly here
# when the archive cannot say which classes a study holds: what images mostly are, before all the others
FREQUENT = ("2", "4", "2.1", "4.1", "1.1", "1", "1.2", "7", "6.1", "3.1", "128", "20", "12.1", "12.2", "481.1", "1.3")


@dataclass(frozen=True, slots=True)
class Plan:
    """`wanted`: UIDs to come, by the archive's list; None where its counts must do. `classes`: see `get`."""

    requests: tuple[Dataset, ...]
    classes: tuple[str, ...]
    wanted: frozenset[str] | None = None
    expected: int = 0

    def is_done(self, outcome: Outcome, arrived: Set[str]) -> bool:
        if self.wanted is not None:
            return self.wanted <= arrived
        counts = max(outcome.completed, self.expected)
        return outcome.status == 0 and not outcome.failed and counts <= len(arrived)


def plan_at_a_glance(association: Association, study_uid: str, has: Callable[[str], bool]) -> Plan | None:
    """The whole study, if nothing of it seems to be here. None when that takes a closer look.

    Listing every instance takes an archive a good part of the time that sending them does. Raises ConnectionError.
    """
    study = {"StudyInstanceUID": study_uid}
    try:
        told = list(find(association, "STUDY", {**study, "NumberOfStudyRelatedInstances": "", "SOPClassesInStudy": ""}))
        series = _series(association, study_uid)
        first = {"InstanceNumber": "1", "SOPInstanceUID": "", "SOPClassUID": ""}
        seen: list[str] = []
        for uid in series[:: len(series) // SAMPLE + 1]:
            keys = {**study, "SeriesInstanceUID": uid, **first}
            seen += [raw(answer, SOP_INSTANCE) for answer in find(association, "IMAGE", keys)]
    except SourceError:
        return None
    classes = [uid for answer in told for uid in raw(answer, CLASSES).split("\\") if uid]
    if not classes or not seen or any(has(uid) for uid in seen):
        return None
    count = raw(told[0], INSTANCES)
    return Plan((_request(study_uid),), tuple(classes), expected=int(count) if count.isdigit() else 0)


def plan_by_list(
    association: Association, study_uid: str, is_here: Callable[[str], bool], *, known_only: bool, alone: bool
) -> Plan:
    """What is missing, by the archive's list of the study; nothing when it is not there any more.

    known_only: leave out classes that nobody knows. alone: one instance a request. Raises ConnectionError.
    """
    listing: dict[str, tuple[str, str]] = {}  # of an instance: series, class
    keys = {"StudyInstanceUID": study_uid, "SOPInstanceUID": "", "SOPClassUID": ""}
    try:
        for uid in _series(association, study_uid):
            for answer in find(association, "IMAGE", {**keys, "SeriesInstanceUID": uid}):
                listing[raw(answer, SOP_INSTANCE)] = uid, raw(answer, SOP_CLASS)
    except SourceError:  # an archive that lists no instances: ask for the study, and believe its counts
        return Plan((_request(study_uid),), _guessed())
    missing = {uid: of for uid, of in listing.items() if not (known_only and of[1] not in STORAGE_CLASSES)}
    missing = {uid: of for uid, of in missing.items() if not is_here(uid)}
    classes = [uid for uid, _ in Counter(of[1] for of in missing.values()).most_common()]
    return Plan(tuple(_requests(study_uid, listing, missing, alone)), tuple(classes), frozenset(missing))


def _series(association: Association, study_uid: str) -> list[str]:
    answers = find(association, "SERIES", {"StudyInstanceUID": study_uid, "SeriesInstanceUID": ""})
    return list(dict.fromkeys(uid for uid in (raw(answer, SERIES_UID) for answer in answers) if uid))


def _requests(
    study_uid: str, listing: dict[str, tuple[str, str]], missing: dict[str, tuple[str, str]], alone: bool
) -> Iterator[Dataset]:
    """The study at once when all is missing, a series where all of it is, else instances by their UIDs."""
    if len(missing) == len(listing) and not alone:
        if missing:
            yield _request(study_uid)
        return
    sizes = Counter(series for series, _ in listing.values())
    by_series: dict[str, list[str]] = {}
    for uid, (series, _) in missing.items():
        by_series.setdefault(series, []).append(uid)
    step = 1 if alone else AT_ONCE
    for series, uids in by_series.items():
        if len(uids) == sizes[series] and not alone:
            yield _request(study_uid, series)
        else:
            yield from (_request(study_uid, series, uids[i : i + step]) for i in range(0, len(uids), step))


def _request(study_uid: str, series_uid: str = "", uids: Sequence[str] = ()) -> Dataset:
    keys: dict[str, Any] = {"StudyInstanceUID": study_uid}
    if series_uid:
        keys["SeriesInstanceUID"] = series_uid
    if uids:
        keys["SOPInstanceUID"] = list(uids)
    return identifier("IMAGE" if uids else "SERIES" if series_uid else "STUDY", keys)


def _guessed() -> tuple[str, ...]:
    frequent = [f"1.2.840.10008.5.1.4.1.1.{end}" for end in FREQUENT]
    return tuple(dict.fromkeys([*frequent, *STORAGE_CLASSES]))[: MAX_CONTEXTS // 2]
