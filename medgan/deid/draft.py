"""One study on its way through gate 1: parsed, looked at, scrubbed, written in memory, audited."""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import config, dcmread
from pydicom.dataset import FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID

from medgan.deid import pixels, profile, pseudonym, scrub
from medgan.deid.audit import Evidence, audit, sequence_tags
from medgan.deid.detect import Box
from medgan.deid.elements import Parsed, parse
from medgan.deid.text import Known
from medgan.errors import Reason

DIRECTORY = "1.2.840.10008.1.3.10"
MOST_INFLATED = 1 << 31
PREAMBLE = bytes(128) + b"DICM"


@dataclass
class Instance:
    """One instance: its bytes as they came, the Dataset that is changed, and what became of it."""

    name: str  # content address of the source
    source: bytes
    ds: FileDataset
    evidence: Parsed
    boxes: list[list[Box]] = field(default_factory=list)  # by frame
    looked: bool = False  # every frame was read in full
    reason: Reason | None = None


@dataclass
class Draft:
    """The instances of one study, and those that could not even be opened, by reason."""

    patient_key: str
    instances: list[Instance]
    unopened: dict[str, Reason]

    def refused(self) -> dict[str, Reason]:
        return self.unopened | {i.name: i.reason for i in self.instances if i.reason is not None}


@dataclass(frozen=True)
class Written:
    """The results of one study: files by new SOP Instance UID, where each came from, and counts."""

    files: dict[str, bytes]
    origins: dict[str, str]  # new SOP Instance UID -> content address of the source
    modalities: tuple[str, ...]
    counts: Counter[tuple[str, str]]
    boxes: int
    codes: tuple[str, ...]
    study_uid: str  # the new one


def open_draft(files: Mapping[str, bytes], patient_key: str) -> Draft:
    """Parse every file; what cannot be parsed is kept by reason. Values never leave by a warning."""
    instances: list[Instance] = []
    unopened: dict[str, Reason] = {}
    for name, data in sorted(files.items()):
        opened = _open(name, data)
        if isinstance(opened, Reason):
            unopened[name] = opened
        else:
            instances.append(opened)
    return Draft(patient_key, instances, unopened)


def finish(draft: Draft, applied: profile.Profile, secret: bytes, most_days: int) -> Written:
    """Scrub, write and audit the instances that have no reason against them; sets `reason` where that fails."""
    with quiet():
        known = _known(draft)
        days = pseudonym.shift_days(secret, draft.patient_key, most_days)
        scrubber = scrub.Scrubber(applied, secret, draft.patient_key, days, known)
        evidence = Evidence()
        for instance in draft.instances:
            evidence.add(instance.evidence)
        files: dict[str, bytes] = {}
        origins: dict[str, str] = {}
        modalities: set[str] = set()
        codes: set[str] = set()
        study = ""
        for instance in draft.instances:
            if instance.reason is not None:
                continue
            claimed = _claims(instance, applied)
            data = _write(instance, scrubber, claimed)
            if data is None:
                instance.reason = Reason.SCRUB_FAILED
                continue
            look = {"profile": applied.name, "patient_key": draft.patient_key, "shift_days": days}
            if audit(instance.evidence, data, evidence, **look):  # type: ignore[arg-type]
                instance.reason = Reason.AUDIT_FAILED
                continue
            uid, study = str(instance.ds.SOPInstanceUID), str(instance.ds.StudyInstanceUID)
            if uid in files:
                instance.reason = Reason.BAD_UID  # another content under a UID that is taken
                continue
            files[uid], origins[uid] = data, instance.name
            modalities.add(str(instance.ds.get("Modality", "")))
            codes.update(value for value, _ in claimed)
    boxes = sum(len(found) for i in draft.instances if i.reason is None for found in i.boxes)
    return Written(
        files, origins, tuple(sorted(modalities - {""})), scrubber.counts, boxes, tuple(sorted(codes)), study
    )


def peek(path: Path) -> tuple[str, str, str]:
    """(PatientID, issuer, Study Instance UID) of a file, blank where there is none or it cannot be read."""
    tags = ["PatientID", "IssuerOfPatientID", "StudyInstanceUID"]
    with quiet():
        try:
            ds = dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
            patient, issuer, study = (str(ds.get(tag) or "").strip() for tag in tags)
        except (RecursionError, zlib.error, *scrub.UNPARSABLE):
            return "", "", ""
    return patient, issuer, study


class quiet(warnings.catch_warnings):  # noqa: N801 - used as a statement
    """Silence what quotes values: pydicom's warnings and its log."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
        config.settings.reading_validation_mode = config.IGNORE
        config.settings.writing_validation_mode = config.IGNORE


def _open(name: str, data: bytes) -> Instance | Reason:
    if not data:
        return Reason.EMPTY_FILE
    if _bomb(data):
        return Reason.UNSAFE_FILE
    with quiet():
        try:
            ds = dcmread(io.BytesIO(data), force=data[128:132] != b"DICM")
            sop_class = str(ds.get("SOPClassUID", ""))
            known = all(keyword in ds for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SOPClassUID"))
        except RecursionError:
            return Reason.UNREADABLE
        except (*scrub.UNPARSABLE, zlib.error):
            return Reason.NOT_DICOM
        if DIRECTORY in (sop_class, str(getattr(ds.file_meta, "MediaStorageSOPClassUID", ""))):
            return Reason.UNSUPPORTED_SOP_CLASS
        if not known:
            return Reason.MISSING_ATTRIBUTE if data[128:132] == b"DICM" else Reason.NOT_DICOM
        if 0x00420011 in ds:
            return Reason.ENCAPSULATED_DOCUMENT
        if not sop_class.startswith(pseudonym.REGISTERED):
            return Reason.UNSUPPORTED_SOP_CLASS  # PS3.15 does not say what a private object holds
        if "TransferSyntaxUID" not in ds.file_meta:
            ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2")
        try:
            return Instance(name, data, ds, parse(data, sequence_tags()))
        except ValueError:
            # the audit could not look at it, so nothing could clear the result
            return Reason.UNREADABLE


def _known(draft: Draft) -> Known:
    names: set[str] = set()
    values: set[str] = set()
    for instance in draft.instances:
        try:
            people, things = scrub.identity(instance.ds)
        except RecursionError:
            instance.reason = Reason.SCRUB_FAILED
            continue
        names |= people
        values |= things
    return Known.of(names, values)


def _claims(instance: Instance, applied: profile.Profile) -> tuple[tuple[str, str], ...]:
    """The profile's codes, and those of options that ran on this very instance."""
    more = [profile.CLEAN_PIXELS] if instance.looked else []
    if applied.shifts_dates and "GraphicAnnotationSequence" in instance.ds:
        more.append(profile.CLEAN_GRAPHICS)
    return (*applied.codes, *more)


def _write(instance: Instance, scrubber: scrub.Scrubber, codes: tuple[tuple[str, str], ...]) -> bytes | None:
    """The bytes of the scrubbed instance; None when it could not be scrubbed or written."""
    ds = instance.ds
    syntax = str(ds.file_meta.TransferSyntaxUID)
    try:
        if pixels.PIXEL_TAG in ds:
            pixels.trim(ds)
            syntax = str(ds.file_meta.TransferSyntaxUID)
        scrubber.scrub(ds, str(ds.SOPClassUID))
        scrub.mark(ds, codes, scrubber.profile, looked=instance.looked)
        meta = scrub.new_meta(ds, syntax)
        out = DicomBytesIO()
        out.is_little_endian, out.is_implicit_VR = True, False
        out.write(PREAMBLE)
        write_file_meta_info(out, meta, enforce_standard=True)
        written = UID(str(meta.TransferSyntaxUID))
        out.is_little_endian, out.is_implicit_VR = written.is_little_endian, written.is_implicit_VR
        write_dataset(out, ds)
    except (RecursionError, pixels.Undecodable, *scrub.UNPARSABLE):
        return None
    return out.getvalue()


def _bomb(data: bytes) -> bool:
    """Whether a deflated data set expands beyond MOST_INFLATED; read before anything inflates it whole."""
    if b"1.2.840.10008.1.2.1.99" not in data[:1024]:
        return False
    start = data.find(b"\x02\x00\x00\x00UL\x04\x00")
    if start < 0:
        return True
    length = int.from_bytes(data[start + 8 : start + 12], "little")
    inflater, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, data[start + 12 + length :]
    try:
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, 1 << 24))
            rest = inflater.unconsumed_tail
            if size > MOST_INFLATED:
                return True
    except zlib.error:
        return True
    return False
