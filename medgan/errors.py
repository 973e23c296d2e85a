"""Everything that medgan raises on purpose, and the closed list of reasons for a quarantine.

    MedganError                  exit 1
    ├── UsageError               exit 2   the command, a recipe or a settings file is wrong
    ├── SourceError              exit 1   a source is missing, empty, unreadable or holds nothing usable
    ├── HomeError                exit 1   the home folder cannot be written, is full, or lacks its key
    ├── CorruptArtefact          exit 1   sealed bytes no longer match their manifest
    ├── InputRejected            exit 1   one input cannot be used; it is counted with its Reason
    ├── StudyRejected            exit 1   one study cannot be used; becomes a Quarantined record
    ├── TooManyQuarantined       exit 4   more was quarantined than the recipe allows
    ├── Busy                     exit 0   another run holds the lease; this one does nothing
    ├── Refused                  exit 3   a gate said no, or a verification failed
    └── Stopped                  exit 143 SIGTERM; what was running can be resumed

A message says what was found, what was expected and what to do. It never holds a patient's value, a file
name or a path of the identified zone.
"""

from __future__ import annotations

import traceback
from enum import StrEnum
from pathlib import Path


class Reason(StrEnum):
    """Why an input or a study was quarantined: a closed list, so that counts can be compared."""

    # the container
    NOT_DICOM = "not_dicom"
    EMPTY_FILE = "empty_file"
    UNREADABLE = "unreadable"
    UNSAFE_FILE = "unsafe_file"  # symlink, device, path outside, size or ratio over the cap
    BAD_UID = "bad_uid"
    MISSING_ATTRIBUTE = "missing_attribute"
    NO_PIXELS = "no_pixels"
    INCONSISTENT_LENGTH = "inconsistent_length"
    UNSUPPORTED_SOP_CLASS = "unsupported_sop_class"
    UNSUPPORTED_SYNTAX = "unsupported_syntax"
    UNSUPPORTED_PHOTOMETRIC = "unsupported_photometric"
    DECODE_FAILED = "decode_failed"
    UNREADABLE_PICTURE = "unreadable_picture"
    WRONG_STUDY = "wrong_study"  # an archive sent it with a study that it says it is not of
    COMPANION = "companion"  # a mask, overlay or thumbnail that stands beside the images
    # de-identification
    TEXT_UNCLEAR = "text_unclear"  # could not look for burned-in text
    AUDIT_FAILED = "audit_failed"
    SCRUB_FAILED = "scrub_failed"
    FACE_UNCLEAR = "face_unclear"  # may show a face that could not be removed
    ENCAPSULATED_DOCUMENT = "encapsulated_document"
    # geometry
    NO_POSITION = "no_position"
    MIXED_ORIENTATION = "mixed_orientation"
    MIXED_SIZE = "mixed_size"
    MIXED_SPACING = "mixed_spacing"
    LOCALIZER = "localizer"
    MULTI_PHASE = "multi_phase"
    MOSAIC = "mosaic"
    MISSING_SLICE = "missing_slice"
    UNEVEN_STEP = "uneven_step"
    SHEARED = "sheared"
    TOO_FEW_SLICES = "too_few_slices"
    NO_USABLE_SERIES = "no_usable_series"
    BLANK = "blank"
    LOW_QUALITY = "low_quality"
    MASK_UNFIT = "mask_unfit"
    # a worker died of it more than once
    POISON = "poison"


class MedganError(Exception):
    """Base of all errors that medgan raises on purpose."""

    exit_code = 1


class UsageError(MedganError):
    """The command line, a recipe or a settings file is wrong."""

    exit_code = 2


class SourceError(MedganError):
    """A source is missing, empty, unreadable, or holds nothing usable."""


class HomeError(MedganError):
    """The home folder cannot be written, is full, or lacks its pseudonym key."""


class CorruptArtefact(MedganError):
    """Sealed bytes no longer match their manifest."""


class InputRejected(MedganError):
    """One input cannot be used. Carries a Reason, never a value."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason.value


class StudyRejected(MedganError):
    """One study cannot be used. Carries the study's key (keyed hash) and a Reason, never a value."""

    def __init__(self, reason: Reason, study_key: str = "", detail: str = "") -> None:
        super().__init__(reason, study_key, detail)
        self.reason, self.study_key, self.detail = reason, study_key, detail

    def __str__(self) -> str:
        return ": ".join(part for part in (self.study_key, self.reason.value, self.detail) if part)


class TooManyQuarantined(MedganError):
    """More was quarantined than the recipe allows."""

    exit_code = 4


class Busy(MedganError):
    """Another run holds the lease; this one does nothing."""

    exit_code = 0


class Refused(MedganError):
    """A gate refused (reject or inconclusive), or a verification failed."""

    exit_code = 3


class Stopped(MedganError):
    """SIGTERM arrived; what was running wrote its checkpoint and can be resumed."""

    exit_code = 143


def seen_at(error: BaseException) -> str:
    """Where an unforeseen error arose and of which type it is, for a log: its text could quote a value."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
