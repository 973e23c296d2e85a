"""One study on its way through gate 1: parsed, looked at, scrubbed, written in memory, audited."""

from __future__ import annotations

import logging
import struct
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from pydicom import config
from pydicom.dataset import Dataset

from medgan.deid.audit.audit import Evidence, Treated, audit, sequence_tags
from medgan.deid.audit.elements import Parsed, parse
from medgan.deid.pixels.detect import Box
from medgan.deid.profiles import profile
from medgan.deid.profiles.ops import PIXEL_DATA, PIXEL_TAGS
from medgan.deid.profiles.options import CLEAN_FACES, CLEAN_GRAPHICS, CLEAN_PIXELS, SAFE_PRIVATE, Code
from medgan.deid.scrub import pseudonym, tree_write
from medgan.deid.scrub.dataset import dataset, pixel_element
from medgan.deid.scrub.identity import Identity
from medgan.deid.scrub.mark import Claimed, Marks, mark, new_meta
from medgan.deid.scrub.scrubber import Scrubber
from medgan.deid.scrub.tree import DataSet, Element, TooLarge, Tree, read, text
from medgan.deid.scrub.trim import Layout, trimmed
from medgan.errors import Reason, seen_at

logger = logging.getLogger(__name__)

DIRECTORY = "1.2.840.10008.1.3.10"
SOP_CLASS, SOP_INSTANCE, STUDY, MODALITY = 0x00080016, 0x00080018, 0x0020000D, 0x00080060
ENCAPSULATED_DOCUMENT, GRAPHIC_ANNOTATION = 0x00420011, 0x00700001
# somebody's voice: nothing can clean it, and without it the object is none
VOICE = frozenset(("1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2"))
PHOTOMETRIC, PLANAR = 0x00280004, 0x00280006
MEDIA_SOP_CLASS = 0x00020002
UNPARSABLE = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    NotImplementedError,
    EOFError,
    OSError,
    struct.error,
)


@dataclass
class Instance:
    """One instance: its bytes as they came, parsed twice, and what became of it."""

    name: str  # content address of the source
    source: bytes
    tree: Tree
    evidence: Parsed  # the audit's own walk over the same bytes
    boxes: list[list[Box]] = field(default_factory=list)  # by frame
    looked: bool = False  # every frame was read in full
    repainted: bool = False  # the pixels of `ds` are no longer those of the source
    faceless: bool = False  # a recognisable face was removed
    reason: Reason | None = None

    @cached_property
    def ds(self) -> Dataset:
        """The same elements for pixels and gating; what is changed in it counts only when `repainted` is set."""
        return dataset(self.tree)

    @property
    def has_pixels(self) -> bool:
        return any(tag in self.tree.elements for tag in PIXEL_TAGS)


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
    key_id: str


class Clean(NamedTuple):
    """One scrubbed instance as a file, and what is said of it."""

    data: bytes
    uid: str
    study_uid: str
    modality: str
    codes: tuple[Code, ...]


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
        evidence, identity = Evidence(applied), Identity(applied)
        for instance in draft.instances:
            evidence.add(instance.evidence)
            identity.add(instance.tree.elements)
        retained = applied.temporal == "UNMODIFIED"
        days = 0 if retained else pseudonym.shift_days(secret, draft.patient_key, most_days)
        scrubber = Scrubber(applied, secret, draft.patient_key, days, identity.known())
        written: dict[str, Clean] = {}
        origins: dict[str, str] = {}
        for instance in draft.instances:
            if instance.reason is not None:
                continue
            made = _settled(instance, scrubber, evidence)
            if isinstance(made, Reason):
                instance.reason = made
            elif made.uid in written:
                instance.reason = Reason.BAD_UID  # another content under a UID that is taken
            else:
                written[made.uid], origins[made.uid] = made, instance.name
    return Written(
        files={uid: made.data for uid, made in written.items()},
        origins=origins,
        modalities=tuple(sorted({made.modality for made in written.values()} - {""})),
        counts=scrubber.counts,
        boxes=sum(len(found) for i in draft.instances if i.reason is None for found in i.boxes),
        codes=tuple(sorted({value for made in written.values() for value, _ in made.codes})),
        study_uid=next((made.study_uid for made in reversed(written.values())), ""),
        key_id=pseudonym.key_id(secret),
    )


def scrubbed(instance: Instance, scrubber: Scrubber) -> Clean:
    """Scrubbed, marked and written. Raises one of UNPARSABLE."""
    tree, applied = instance.tree, scrubber.profile
    data, creators = scrubber.scrub(tree.elements, text(tree.elements, SOP_CLASS), little=tree.little)
    syntax = _repaint(data, instance) if instance.repainted else tree.syntax
    for tag in PIXEL_TAGS:
        if tag in data:
            data[tag] = trimmed(data[tag], Layout.of(data, little=tree.little, syntax=syntax))
    ran = {CLEAN_PIXELS[0]: instance.looked, CLEAN_FACES[0]: instance.faceless}
    ran |= {CLEAN_GRAPHICS[0]: _drawn(tree.elements), SAFE_PRIVATE[0]: bool(creators)}
    codes = applied.claims([code for code, did in ran.items() if did])
    key_id = pseudonym.key_id(scrubber.secret)
    claimed = Claimed(instance.looked, instance.repainted, instance.faceless)
    mark(data, Marks(applied, scrubber.patient_key, key_id, codes, claimed))
    written = tree_write.write(new_meta(data, syntax), data, explicit=tree.explicit, little=tree.little)
    return Clean(written, text(data, SOP_INSTANCE), text(data, STUDY), text(data, MODALITY), codes)


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
    named = data[128:132] == b"DICM"
    try:
        tree = read(data)
    except TooLarge:
        return Reason.UNSAFE_FILE
    except ValueError:
        return Reason.UNREADABLE if named else Reason.NOT_DICOM
    sop_class = text(tree.elements, SOP_CLASS)
    if DIRECTORY in (sop_class, text(tree.meta, MEDIA_SOP_CLASS)):
        return Reason.UNSUPPORTED_SOP_CLASS
    if not all(text(tree.elements, tag) for tag in (SOP_CLASS, SOP_INSTANCE, STUDY)):
        return Reason.MISSING_ATTRIBUTE if named else Reason.NOT_DICOM
    if ENCAPSULATED_DOCUMENT in tree.elements:
        return Reason.ENCAPSULATED_DOCUMENT
    if not pseudonym.registered(sop_class) or sop_class in VOICE:
        return Reason.UNSUPPORTED_SOP_CLASS  # PS3.15 does not say what a private object holds
    if not pseudonym.registered(tree.syntax):
        return Reason.UNSUPPORTED_SYNTAX
    try:
        return Instance(name, data, tree, parse(data, sequence_tags()))
    except ValueError:
        # the audit could not look at it, so nothing could clear the result
        return Reason.UNREADABLE


def _settled(instance: Instance, scrubber: Scrubber, evidence: Evidence) -> Clean | Reason:
    """One clean instance, or why there is none."""
    try:
        made = scrubbed(instance, scrubber)
    except UNPARSABLE as error:
        # hostile bytes are one cause, a fault of ours is another: it must not go by unseen
        logger.warning("not scrubbed: %s", seen_at(error))
        return Reason.SCRUB_FAILED
    treated = Treated(instance.looked, instance.repainted, instance.faceless, instance.boxes, instance.source)
    days, key = scrubber.shift_days, scrubber.patient_key
    found = audit(instance.evidence, made.data, evidence, patient_key=key, shift_days=days, treated=treated)
    return Reason.AUDIT_FAILED if found else made


def _drawn(data: DataSet) -> bool:
    """Whether there are graphics to clean or remove: annotations, curves (50xx), overlays (60xx)."""
    return any(tag == GRAPHIC_ANNOTATION or tag >> 24 in (0x50, 0x60) for tag in data)


def _repaint(data: DataSet, instance: Instance) -> str:
    """Take over pixels that were changed, and how they are stored now; returns the transfer syntax."""
    ds, tree = instance.ds, instance.tree
    data[PIXEL_DATA] = pixel_element(ds, tree.elements[PIXEL_DATA])
    data[PHOTOMETRIC] = Element(PHOTOMETRIC, "CS", str(ds.PhotometricInterpretation).encode("ascii"))
    if "PlanarConfiguration" in ds:
        planar = int(ds.PlanarConfiguration).to_bytes(2, "little" if tree.little else "big")
        data[PLANAR] = Element(PLANAR, "US", planar)
    return str(ds.file_meta.TransferSyntaxUID)
