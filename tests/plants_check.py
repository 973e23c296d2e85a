"""The judge of the challenge: reads results by itself and counts, by place and kind, what was asked and what failed.

Shares no code with medgan. Its counts name places and attributes; values stay in `Verdict.shown`, for the console of
whoever looks for the cause.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pydicom
from plants import Case, Challenge
from plants_check_actions import RESEARCH, allowed, cell, named
from plants_check_marks import judge_marks
from plants_check_pixels import judge_pixels
from plants_check_private import judge_private
from plants_check_search import in_bytes, leaks, needles, squeezed, stays
from plants_check_values import Seen, days_between, flat, is_date, judge_value
from pydicom.dataset import Dataset

NUMERIC = {"DS", "IS", "FL", "FD", "US", "SS", "UL", "SL", "CS", "AT", "SV", "UV"}
# The item that places sent as UN, when pydicom reads it in the order of a big endian file (it is little: PS3.5 6.2.2)
MISREAD = (0x10001000, 0x08000001, 0x08000201, 0x08000401)
BULK = {"OB", "OW", "OF", "OD", "OL"}
PIXELS, ICC, NONCONFORMING = 0x7FE00010, 0x00282000, 0x04000552
REGISTERED = "1.2.840.10008."
SET_AFTERWARDS = (0x00280301, 0x00280302, 0x00280303, 0x00120062, 0x00080005, 0x00280006, 0x00280004)
REFERENCES = (0x00081140, 0x00081115)  # planted between the instances of a study
BY_LETTER = 0x0040A730  # the content tree: its items move, so it is judged by search and by its dates


@dataclass(slots=True)
class Verdict:
    """What was asked and what failed, by section and name; `shown` holds one cause a name."""

    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    shown: dict[tuple[str, str], str] = field(default_factory=dict)

    def count(self, section: str, name: str, good: bool, why: str = "") -> None:
        self.asked[section, name] += 1
        if not good:
            self.failed[section, name] += 1
            self.shown.setdefault((section, name), why)

    def of(self, section: str) -> tuple[int, int]:
        asked = sum(n for (part, _), n in self.asked.items() if part == section)
        return asked, sum(n for (part, _), n in self.failed.items() if part == section)

    @property
    def sections(self) -> list[str]:
        return list(dict.fromkeys(section for section, _ in self.asked))


@dataclass(frozen=True, slots=True)
class Result:
    """One result file with the case that it came from."""

    case: Case
    name: str
    data: bytes
    ds: Dataset


def results(challenge: Challenge, folder: Path) -> list[Result]:
    """The results below a folder, matched to their sources by instance number."""
    cases = {case.number: case for case in challenge.cases}
    found = []
    for path in sorted(folder.rglob("*.dcm")):
        data = path.read_bytes()
        ds = pydicom.dcmread(BytesIO(data))
        found.append(Result(cases[int(ds.get("InstanceNumber") or -1)], str(path.relative_to(folder)), data, ds))
    return found


def judge(challenge: Challenge, folder: Path, said: str, columns: tuple[str, ...] = RESEARCH) -> Verdict:
    """Judge all results of a challenge below `folder`; `said` is everything that was printed, logged or reported."""
    verdict = Verdict()
    found = results(challenge, folder)
    shifts: dict[int, Counter[int]] = {}
    uids: dict[str, set[str]] = {}
    targets = {result.case.source().SOPInstanceUID: result.ds.SOPInstanceUID for result in found}
    for result in found:
        _search(result, verdict)
        _compare(result, columns, shifts, uids, verdict)
        _words(result, columns, challenge, verdict)
        judge_marks(result, columns, verdict)
        judge_pixels(result, verdict)
        judge_private(result, columns, verdict)
    _intervals(found, shifts, columns, verdict)
    _uids(uids, targets, verdict)
    _references(found, targets, columns, verdict)
    _accounted(challenge, found, verdict)
    _said(challenge, folder, said, verdict)
    return verdict


def _search(result: Result, verdict: Verdict) -> None:
    found = leaks(result.case, result.data, result.ds)
    for place in {plant.place for plant in result.case.plants} | {"identity"}:
        verdict.count("leaks", place, place not in found, f"{sorted(found.get(place, ()))} in {result.case.kind}")
    for place in set(found) - {plant.place for plant in result.case.plants}:
        verdict.count("leaks", place, False, f"{sorted(found[place])} in {result.case.kind}")


def _compare(result: Result, columns, shifts, uids, verdict: Verdict) -> None:  # type: ignore[no-untyped-def]
    """The required action of each attribute, and all that is to be kept."""
    source = result.case.source()
    after = {seen.at: seen for seen in flat(result.ds)}
    gone: set[tuple[int, ...]] = set()
    for seen in flat(source):
        if any(seen.at[: len(lost)] == lost for lost in gone):
            continue
        there = after.get(seen.at)
        if seen.vr == "SQ" and (there is None or there.items != seen.items):
            gone.add(seen.at)
        if BY_LETTER in seen.path or seen.path[0] >> 16 == 2:
            continue
        code = cell(seen.path[-1], columns)
        if code:
            letters = allowed(code, str(source.SOPClassUID), seen.path)
            good, why = judge_value(letters, seen, there)
            verdict.count(
                "actions", f"{code} {named(seen.path[-1])}", good, f"{why} at {_at(seen)} in {result.case.kind}"
            )
        if code in ("", "C", "K"):
            _kept(result, seen, there, code, columns, verdict)
        if seen.vr == "UI" and there is not None:
            for old, new in zip(seen.values, there.values, strict=False):
                if old and new and not old.startswith(REGISTERED):
                    uids.setdefault(old, set()).add(new)
        if is_date(seen) and there is not None:
            for old, new in zip(seen.values, there.values, strict=False):
                if (days := days_between(old, new)) is not None:
                    shifts.setdefault(result.case.owner, Counter())[days] += 1


def _kept(result: Result, seen: Seen, there: Seen | None, code: str, columns, verdict: Verdict) -> None:  # type: ignore[no-untyped-def]
    """Numbers, codes and known times without a rule stay as they are; only what was planted wrong may go."""
    tag = seen.path[-1]
    if any(part >> 16 & 1 or part >> 24 in (0x50, 0x60) or part in MISREAD for part in seen.path):
        return
    if any(
        "letters" in plant.place and stays(n, v)
        for plant in result.case.plants
        for n in plant.needles
        for v in seen.values
    ):
        return
    planted = any(plant.path == seen.path for plant in result.case.plants)
    if (
        code == ""
        and seen.vr in BULK
        and tag not in (PIXELS, ICC, NONCONFORMING)
        and not planted
        and result.case.kind != "voice"
    ):
        same = there is not None and there.values == seen.values
        verdict.count("retained", f"data {named(tag)}", same, f"at {_at(seen)} in {result.case.kind}")
    if code == "" and seen.vr in NUMERIC and tag not in SET_AFTERWARDS:
        same = there is not None and [v.strip() for v in there.values] == [v.strip() for v in seen.values]
        if seen.values and any(seen.values):
            verdict.count(
                "retained", f"number {named(tag)}", same or _malformed(seen), f"at {_at(seen)} in {result.case.kind}"
            )


def _malformed(seen: Seen) -> bool:
    """Text where a number belongs came with the file: it may go."""
    return seen.vr in ("DS", "IS") and any(v.strip(" +-.0123456789eE\0") for v in seen.values)


def _words(result: Result, columns, challenge: Challenge, verdict: Verdict) -> None:  # type: ignore[no-untyped-def]
    """Medical words of planted descriptions stay wherever the description stays."""
    paths: dict[tuple[int, ...], list[str]] = {}
    for seen in flat(result.ds):
        paths.setdefault(seen.path, []).extend(seen.values)
    source = {seen.path: list(seen.values) for seen in flat(result.case.source())}
    for plant in result.case.plants:
        if plant.path is None or not plant.keep or columns == ():
            continue
        codes = [cell(tag, columns) for tag in plant.path]
        if all(code in ("", "C", "K") for code in codes) and len(plant.path) == 1:
            text = " ".join(paths.get(plant.path, []))
            was = " ".join(source.get(plant.path, []))
            for word in plant.keep:
                good = stays(word, text) or _identifies(was, result.case, columns, challenge)
                verdict.count("words", plant.place, good, f"{word} of {named(plant.path[-1])}: {was!r} -> {text!r}")


def _identifies(text: str, case: Case, columns, challenge: Challenge) -> bool:  # type: ignore[no-untyped-def]
    """Whether an attribute of the same patient that has to go holds the same words: then they are its value."""
    cases = [one for one in challenge.cases if one.person is case.person]
    values = (
        value
        for one in cases
        for seen in flat(one.source())
        if any(cell(tag, columns) not in ("", "C", "K") for tag in seen.path)
        for value in seen.values
    )
    return squeezed(text) in map(squeezed, values)


def _intervals(found, shifts, columns, verdict: Verdict) -> None:  # type: ignore[no-untyped-def]
    """All dates of a patient moved by the same days; zones, fractions and times kept."""
    if "retain_long_modif_dates" not in columns:
        return
    for result in found:
        usual = shifts.get(result.case.owner, Counter({0: 1})).most_common(1)[0][0]
        verdict.count("dates", "moved at all", usual != 0)
        after = {seen.at: seen for seen in flat(result.ds)}
        for seen in flat(result.case.source()):
            there = after.get(seen.at)
            wanted = all(cell(tag, columns) in ("", "C") for tag in seen.path) and BY_LETTER not in seen.path
            parent = len(seen.at) == 1 or seen.at[:-2] in after
            if any(part >> 16 & 1 for part in seen.path) or not wanted or not parent:
                continue
            if seen.vr == "TM" or seen.path[-1] == 0x00080201:
                same = there is not None and [v.strip() for v in there.values] == [v.strip() for v in seen.values]
                verdict.count("dates", f"time {named(seen.path[-1])}", same, f"{seen.values} {there and there.values}")
            elif is_date(seen):
                for index, old in enumerate(seen.values):
                    if len(old.strip()) < 8 or not old.strip()[:8].isdigit():
                        continue
                    new = there.values[index] if there and index < len(there.values) else ""
                    right = days_between(old, new) == usual and old.strip()[8:] == new.strip()[8:]
                    verdict.count(
                        "dates", f"{seen.vr} {named(seen.path[-1])}", right, f"{old} -> {new} in {result.case.kind}"
                    )


def _uids(uids, targets, verdict: Verdict) -> None:  # type: ignore[no-untyped-def]
    for old, new in uids.items():
        right = len(new) == 1 and old not in new and all(one.startswith("2.25.") for one in new)
        verdict.count("references", "one new UID for an old one", right, f"{sorted(new)}")
        if old in targets:
            verdict.count("references", "the UID of an instance", new == {targets[old]}, "")
    news = Counter(one for new in uids.values() for one in new)
    verdict.count("references", "no UID for two", not news or max(news.values()) == 1, "")


def _references(found, targets, columns, verdict: Verdict) -> None:  # type: ignore[no-untyped-def]
    """Planted references among the instances of a study lead to the same instances."""
    if "clean_desc" not in columns:
        return
    for result in found:
        for tag in REFERENCES:
            olds = [
                v for s in flat(result.case.source()) if s.path[0] == tag and s.path[-1] == 0x00081155 for v in s.values
            ]
            news = [v for s in flat(result.ds) if s.path[0] == tag and s.path[-1] == 0x00081155 for v in s.values]
            wanted = [targets.get(old) for old in olds]
            right = len(wanted) == len(news) and all(a in (None, b) for a, b in zip(wanted, news, strict=False))
            verdict.count(
                "references", f"in {named(tag)}", right, f"{len(olds)} before, {len(news)} after in {result.case.kind}"
            )


def _accounted(challenge: Challenge, found: list[Result], verdict: Verdict) -> None:
    numbers = Counter(result.case.number for result in found)
    for case in challenge.cases:
        if case.number not in numbers and not case.may_be_set_aside:
            verdict.count("set aside", case.kind, False, "a good file gave no result")
        else:
            verdict.count("set aside", case.kind, True)
        verdict.count("accounted", "one result at most", numbers[case.number] <= 1)


def _said(challenge: Challenge, folder: Path, said: str, verdict: Verdict) -> None:
    """Names of files, reports, logs and output hold nobody."""
    names = "\n".join(str(path.relative_to(folder)) for path in folder.rglob("*"))
    others = {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".dcm"}
    for owner in {case.owner: case for case in challenge.cases}.values():
        hidden = needles(owner)
        words = " ".join(squeezed(line) for line in names.splitlines() if line)
        verdict.count("leaks", "names of results", not {n for n in hidden if not n.isdigit() and n in words})
        verdict.count("leaks", "output and logs", not in_bytes(said.encode(), hidden))
        for path in sorted(others):
            verdict.count("leaks", f"report {path.suffix}", not in_bytes(path.read_bytes(), hidden))


def _at(seen: Seen) -> str:
    return ">".join(f"{tag:08X}" for tag in seen.path)


def lines(verdict: Verdict) -> Iterator[str]:
    """The table for the console: sections, then every name that failed. Never a value."""
    for section in verdict.sections:
        asked, failed = verdict.of(section)
        yield f"{section:12} {asked:7} asked {failed:6} failed"
        for (part, name), n in sorted(verdict.failed.items()):
            if part == section:
                yield f"    {name:60} {n} of {verdict.asked[part, name]}"
