"""The door to the standard's validator: kinds of errors without values, and only what is new counts."""

import os
from pathlib import Path

import pytest
from factories import dicom_bytes

from medgan.deid.audit import validity
from medgan.deid.audit.validity import FAILED, Validity, _kind, kinds, one_each, worse

needs_it = pytest.mark.skipif(not validity.available(), reason="dciodvfy is not installed")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (
            "Missing attribute Type 2 Required Element=<PatientID> Module=<Patient>",
            "Missing attribute Type PatientID Patient",
        ),
        (
            "Value invalid for this VR - (0x0008,0x0100) SH Code Value  SH [1] = <Kowalczyk> - Length invalid = 20",
            "Value invalid for this VR 0008,0100",
        ),
        (
            "Unrecognized enumerated value <KOWALCZYK> for value 1 of attribute <Modality>",
            "Unrecognized enumerated value Modality",
        ),
        ('Illegal root for UID - "1.2.3" in (0x0002,0x0012) UID', "Illegal root for UID 0002,0012"),
        ("StudyInstanceUID has same value as UID <1.2.3>", "StudyInstanceUID has same value as UID"),
    ],
)  # fmt: skip
def test_a_kind_names_attribute_and_module_and_no_value(line: str, kind: str) -> None:
    assert _kind(line) == kind


def test_one_instance_of_each_kind_is_drawn() -> None:
    drawn = {"c": ("CT", 1), "a": ("CT", 1), "b": ("CT", 2), "d": ("SR", 1)}
    assert one_each(drawn) == ["a", "b", "d"] and one_each({}) == []


@needs_it
def test_only_new_errors_count() -> None:
    source = dicom_bytes()
    same, less = dicom_bytes(), dicom_bytes(drop=("Modality",))
    assert worse(source, same) == []
    assert any("Modality" in kind for kind in worse(source, less)) and worse(less, source) == []
    assert worse(source, b"no DICOM at all" * 40) != []


@needs_it
def test_no_value_is_in_a_kind() -> None:
    found = kinds(dicom_bytes(PatientSex="KOWALCZYK>X", StudyDate="77120x", Modality="kowalczyk <ADA>"))
    assert found and not [k for k in found if "owalczyk" in k.lower() or "77120" in k or "ADA" in k]


@needs_it
def test_a_run_counts_what_was_checked() -> None:
    run = Validity(validity.available())
    assert run.weigh(dicom_bytes(), dicom_bytes()) == []
    assert run.weigh(dicom_bytes(), dicom_bytes(drop=("Modality",)))
    assert (run.checked, run.unread) == (2, 0) and run.worse


def test_without_the_program_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert not validity.available() and kinds(dicom_bytes()) is None and worse(dicom_bytes(), b"") == []
    run = Validity(validity.available())
    assert run.weigh(dicom_bytes(), b"") == [] and run.checked == 0


def test_a_program_that_dies_on_the_result_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "dciodvfy"
    program.write_text('#!/bin/sh\nread -r line\n[ "$line" = fine ] || kill -9 $$\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert worse(b"fine\n", b"other\n") == [FAILED] and worse(b"other\n", b"fine\n") == []
    assert kinds(b"fine\n") == frozenset() and kinds(b"other\n") is None
