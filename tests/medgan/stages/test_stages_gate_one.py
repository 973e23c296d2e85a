"""What one finding takes along: a leak its whole study, an error against the standard its series."""

from typing import Any

import pytest
from factories import dicom_bytes

from medgan.deid import draft as drafts
from medgan.deid.audit.audit import Finding
from medgan.deid.draft import Draft, open_draft
from medgan.deid.profiles.profile import profile
from medgan.errors import Reason
from medgan.stages import gate_one

KEY = b"k" * 32


@pytest.fixture
def study() -> Draft:
    """Two series of two instances."""
    files = {f"{s}{n}": dicom_bytes(f"1.2.3.{s}.{n}", SeriesInstanceUID=f"1.2.3.{s}") for s in (1, 2) for n in (1, 2)}
    return open_draft(files, "ab" * 16)


def settled(draft: Draft) -> tuple[dict[str, Reason], dict[str, Any]]:
    _, told = gate_one.settle(draft, profile("research"), KEY, 1825)
    return draft.refused(), told


def test_a_clean_study_is_told_in_counts(study: Draft) -> None:
    refused, told = settled(study)
    assert not refused and told["actions"]["PatientID"] == {"patient": 4} and told["people"] == {"ab" * 16: {}}
    assert gate_one.series_of(study.instances[0].source) == ("1.2.840.10008.5.1.4.1.1.2", "1.2.3.1")


def test_a_finding_in_one_instance_takes_its_study_along(study: Draft, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = drafts.audit

    def finds(source: Any, *more: Any, **named: Any) -> list[Finding]:
        first = source is study.instances[0].evidence
        return [Finding("PatientName", "name")] if first else audit(source, *more, **named)

    monkeypatch.setattr(drafts, "audit", finds)
    refused, told = settled(study)
    assert set(refused) == {"11", "12", "21", "22"} and set(refused.values()) == {Reason.AUDIT_FAILED}
    assert told["actions"] == {} and told["people"] == {} and told["codes"] == []


def test_a_result_that_is_less_valid_takes_its_series_along(study: Draft, monkeypatch: pytest.MonkeyPatch) -> None:
    def weigh(validity: Any, source: bytes, result: bytes) -> list[str]:
        validity.checked += 1
        new = ["Missing attribute"] if b"1.2.3.2.1" in source else []
        validity.worse.update(new)
        return new

    monkeypatch.setattr(gate_one, "available", lambda: True)
    monkeypatch.setattr(gate_one, "one_each", lambda known: sorted(known))  # every instance, whichever comes first
    monkeypatch.setattr(gate_one.Validity, "weigh", weigh)
    refused, told = settled(study)
    assert set(refused) == {"21", "22"} and told["validity"] == {"checked": 4, "worse": {"Missing attribute": 1}}
