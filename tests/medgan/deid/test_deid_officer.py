"""The report for the officer: counts and decisions, complete in itself, and never a value of a patient."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_deid_audit import MOST, PATIENT, RESEARCH, SECRET, as_bytes, identified

from medgan.deid.audit.audit import Evidence
from medgan.deid.cells import anonymity, generalised
from medgan.deid.draft import finish, open_draft
from medgan.deid.officer import Applied, Decision, Report, counted, document, html

APPLIED = Applied("research", "2026d", "3f2a9c11", "77ab01cd", "MODIFIED", RESEARCH.codes)
PEOPLE = [{"PatientAge": "041Y", "PatientSex": "F"}, {"PatientAge": "057Y", "PatientSex": "M"}]
EMPTY = Report(APPLIED, inputs=0, written=0)
FULL = Report(
    replace(
        APPLIED,
        name="scanners",
        decided=Decision("the ethics board", "2026-03-01", "a study of scanners & <their> drift"),
        cautions=("devices are named",),
        rules=(("StationName", "keep", "compare rooms"),),
    ),
    inputs=1204, written=1190, duplicate=9, quarantined={"text_unclear": 4, "unreadable": 1}, studies=31, patients=30,
    looked=210, boxes=17, actions={"PatientName": {"patient": 1190}, "StudyDate": {"date": 1190}},
    private={"GEMS_ACQU_01": 4400}, faces={"share of the surface changed": 0.93}, validated=40,
    less_valid={"Missing attribute Type Required StudyID GeneralStudy": 1},
    risk=anonymity(PEOPLE, 2), coarser=generalised(PEOPLE, 2),
)  # fmt: skip


def test_everything_that_an_officer_asks_is_on_the_page() -> None:
    page = html(FULL)
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.split("</style>")[1]))
    for told in (
        "1 190 of 1 204 files", "the ethics board", "2026-03-01", "113100", "77ab01cd", "3f2a9c11", "text unclear",
        "devices are named", "compare rooms", "17 places", "GEMS_ACQU_01", "0.93", "40 results", "Missing attribute",
        "PatientName", "replaced by the pseudonym", "shifted", "41 years", "A smallest group of 2 would be reached",
    ):  # fmt: skip
        assert told in text, told
    assert "<their>" not in page and "&lt;their&gt;" in page


def test_an_empty_run_and_missing_tools_are_said_plainly() -> None:
    page = html(EMPTY)
    assert "not installed here" in page and "Not measured" in page and "not removed by this profile" in page
    assert "set aside, and why" not in page


@pytest.mark.parametrize("report", [EMPTY, FULL], ids=["empty", "full"])
def test_the_page_needs_no_network_and_the_document_is_json(report: Report) -> None:
    page = html(report)
    assert not re.search(r"https?:|src=|url\(|<script", page)
    again = json.loads(json.dumps(document(report)))
    assert again["schema"] == 1 and again["written"] == report.written and again["applied"]["name"]


def test_no_value_of_the_source_is_in_a_report() -> None:
    ds = identified()
    source = as_bytes(ds)
    draft = open_draft({"a": source}, PATIENT)
    written = finish(draft, RESEARCH, SECRET, MOST)
    actions, private = counted(written.counts)
    report = replace(FULL, actions=actions, private=private)
    evidence = Evidence(RESEARCH)
    evidence.add(draft.instances[0].evidence)
    for told in (html(report), json.dumps(document(report))):
        assert not evidence.found_in(told.encode())
        assert not [
            v for v in ("Kowalczyk", "Żaneta", "77120", "ACC0099123", "19830412", "Brandauer", "88412") if v in told
        ]
    assert evidence.found_in(html(replace(FULL, actions={"ACC0099123": {"x": 1}})).encode())
    assert private and actions["PatientName"] and not [k for k in actions if k.startswith("private (")]


@given(st.dictionaries(st.tuples(st.text(max_size=8), st.text(max_size=8)), st.integers(1, 10**9), max_size=8))
@settings(max_examples=40, deadline=None)
def test_counts_are_kept_whatever_the_names(counts: dict[tuple[str, str], int]) -> None:
    actions, private = counted(counts)
    assert sum(sum(a.values()) for a in actions.values()) + sum(private.values()) == sum(counts.values())
    assert html(replace(EMPTY, actions=actions, private=private)).startswith("<!doctype html>")
