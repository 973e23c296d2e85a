"""The tables of the dictionary are pydicom's, and reading them imports no pydicom."""

import random
import subprocess
import sys

from pydicom.datadict import DicomDictionary, RepeatersDictionary, dictionary_VR
from pydicom.uid import UID_dictionary

from medgan.dicom.dictionary import IMAGE_CLASSES, PRESENT_VRS, SEGMENTATION, TAKEN_IN, first_vr


def from_pydicom(tag: int) -> bytes:
    try:
        return dictionary_VR(tag).encode()[:2]
    except KeyError:
        return b"UN"


def test_each_tag_has_the_vr_that_pydicom_gives_it() -> None:
    assert {tag: first_vr(tag) for tag in DicomDictionary} == {tag: from_pydicom(tag) for tag in DicomDictionary}


def test_repeating_groups_private_and_unknown_tags_too() -> None:
    chance = random.Random(1)
    tags = [int(mask.replace("x", digit), 16) for mask in RepeatersDictionary for digit in "0248ACE"]
    tags += [chance.randrange(1 << 32) for _ in range(20_000)]
    tags += [0x60003000, 0x60FF3000, 0x50010010, 0x00191010, 0x00290000]
    assert [first_vr(tag) for tag in tags] == [from_pydicom(tag) for tag in tags]
    assert first_vr(0x60023000) == b"OB" and first_vr(0x00291010) == b"UN"


def test_present_vrs_leave_out_what_is_retired() -> None:
    assert PRESENT_VRS[0x00100010] == b"PN"
    assert set(PRESENT_VRS) == {tag for tag, entry in DicomDictionary.items() if not entry[3]}


def test_image_classes_are_those_of_the_uid_dictionary() -> None:
    named = {uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class" and "Image Storage" in entry[0]}
    assert named == IMAGE_CLASSES and "1.2.840.10008.5.1.4.1.1.2" in named
    assert {SEGMENTATION} == TAKEN_IN - named and UID_dictionary[SEGMENTATION][0] == "Segmentation Storage"


def test_the_readers_of_an_intake_start_without_pydicom() -> None:
    code = "import sys, medgan.sources.reading\nassert not {'pydicom', 'numpy'} & set(sys.modules), 'slow to start'"
    subprocess.run([sys.executable, "-c", code], check=True)
