"""One data set under a profile: each kind of element gets what its row asks for, at every depth, and no more."""

import struct
from typing import Any

import pytest

from medgan.deid.profiles.profile import Profile, Rule, profile
from medgan.deid.scrub.identity import Identity
from medgan.deid.scrub.mark import Claimed, Marks, mark
from medgan.deid.scrub.scrubber import Scrubbed, Scrubber
from medgan.deid.scrub.tree import DataSet, Element, Inside, text
from medgan.deid.words.known import Known

SECRET, PATIENT, DAYS = b"k" * 32, "ab" * 16, -40
CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
ENHANCED_CT, PRESENTATION = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.11.1"
RESEARCH, BASIC = profile("research"), profile("basic")
NOTHING = Claimed(looked=False, repainted=False, faceless=False)


def data(*elements: tuple[int, str, Any]) -> DataSet:
    """A data set of (tag, VR, bytes or items)."""
    made = (
        Element(tag, vr, b"", value) if isinstance(value, list) else Element(tag, vr, value)
        for tag, vr, value in elements
    )
    return {element.tag: element for element in made}


def scrubbed(source: DataSet, applied: Profile = RESEARCH, known: Known | None = None, sop_class: str = CT) -> Scrubbed:
    if known is None:
        identity = Identity(applied)
        identity.add(source)
        known = identity.known()
    return Scrubber(applied, SECRET, PATIENT, DAYS, known).scrub(source, sop_class, little=True)


def value(source: DataSet, tag: int, applied: Profile = RESEARCH) -> bytes | None:
    found = scrubbed(source, applied).elements.get(tag)
    return None if found is None else found.value.strip(b" \0")


@pytest.mark.parametrize(
    ("tag", "vr", "before", "after"),
    [
        pytest.param(0x00200013, "IS", b"12", b"12", id="a number stays"),
        pytest.param(0x00200032, "DS", b"-1.5\\ 2e3\\.5 ", b"-1.5\\ 2e3\\.5", id="numbers stay to the byte"),
        pytest.param(0x00200032, "DS", b"1\\DOE\\3", b"1\\\\3", id="a word among numbers goes"),
        pytest.param(0x00080020, "DA", b"20230310", b"20230129", id="a date is shifted"),
        pytest.param(0x0008002A, "DT", b"20230310101500.5+0100", b"20230129101500.5+0100", id="a date and time too"),
        pytest.param(0x00080030, "TM", b"101500.123456", b"101500.123456", id="a time stays to its fraction"),
        pytest.param(0x00080030, "TM", b"DOE", b"", id="what is no time is emptied"),
        pytest.param(0x00101010, "AS", b"095Y", b"090Y", id="an age over 89"),
        pytest.param(0x00101010, "AS", b"045Y", b"045Y", id="an age"),
        pytest.param(0x00081030, "LO", b"CT thorax of JANE DOE", b"CT thorax of", id="a text is cleaned"),
        pytest.param(0x00180015, "CS", b"CHEST", b"CHEST", id="a code stays"),
        pytest.param(0x00180015, "CS", b"DOE", b"", id="a code that is a name"),
        pytest.param(0x00280010, "US", b"\x01\x02", b"\x01\x02", id="a binary number stays"),
        pytest.param(0x00280010, "US", b"DOE^", None, id="a binary number of another length"),
        pytest.param(0x00280010, "LO", b"DO", None, id="another VR than the tag has"),
        pytest.param(0x00281050, "DS", b"40\\80", b"40\\80", id="a window"),
        pytest.param(0x00100010, "PN", b"Doe^Jane", PATIENT.encode(), id="the pseudonym as name"),
        pytest.param(0x00100020, "LO", b"4711-0815", PATIENT.encode(), id="the pseudonym as id"),
        pytest.param(0x00100030, "DA", b"19700101", b"", id="the birth date"),
        pytest.param(0x00080201, "SH", b"+0100", b"+0100", id="a time zone"),
        pytest.param(0x00080005, "CS", b"ISO_IR 100", None, id="the character set"),
        pytest.param(0x60000022, "LO", b"chest", None, id="an overlay"),
        pytest.param(0x50000022, "LO", b"chest", None, id="a curve"),
        pytest.param(0x00091001, "LO", b"chest", None, id="a private element without creator"),
        pytest.param(0x0099FFFF, "LO", b"chest", None, id="a private element of no block"),
        pytest.param(0x00100000, "UL", b"\0\0\0\0", None, id="a group length"),
        pytest.param(0xFFFCFFFC, "OB", b"Doe", None, id="padding behind the pixels"),
        pytest.param(0x00880200, "SQ", [], None, id="an icon"),
    ],
)
def test_what_becomes_of_one_value(tag: int, vr: str, before: Any, after: bytes | None) -> None:
    source = data((0x00100010, "PN", b"Doe^Jane"), (tag, vr, before))
    assert value(source, tag) == after


def test_the_source_is_left_as_it_was() -> None:
    inner = data((0x00081155, "UI", b"1.2.3.4"))
    source = data((0x00100010, "PN", b"Doe^Jane"), (0x00081140, "SQ", [inner]))
    scrubbed(source)
    assert source[0x00100010].value == b"Doe^Jane" and inner[0x00081155].value == b"1.2.3.4"


def test_references_are_mapped_alike_at_every_depth_and_the_standards_own_uids_stay() -> None:
    inner = data((0x00081150, "UI", CT.encode()), (0x00081155, "UI", b"1.2.3.4"))
    found = scrubbed(data((0x00080018, "UI", b"1.2.3.4\0"), (0x00081140, "SQ", [inner]))).elements
    items = found[0x00081140].items
    assert items and items[0][0x00081155].value == found[0x00080018].value != b"1.2.3.4"
    assert items[0][0x00081150].value == CT.encode()


def test_a_number_that_is_the_patients_id_goes() -> None:
    source = data((0x00100020, "LO", b"MR 4711081"), (0x00200011, "IS", b"4711081 "), (0x00200012, "IS", b"4711082 "))
    assert value(source, 0x00200011) == b"" and value(source, 0x00200012) == b"4711082"


def test_nested_texts_are_read_in_their_own_character_set() -> None:
    inner = data((0x00080005, "CS", b"ISO_IR 192"), (0x00321060, "LO", "chest Żaneta".encode()))
    other = data((0x00321060, "LO", "chest Żaneta".encode("iso8859-2")))
    name = "Kowalczyk^Żaneta".encode("iso8859-2")
    source = data((0x00080005, "CS", b"ISO_IR 101"), (0x00100010, "PN", name), (0x00400275, "SQ", [inner, other]))
    identity = Identity(RESEARCH)
    identity.add(source)
    assert {"kowalczyk", "zaneta"} <= identity.known().words
    items = scrubbed(source).elements[0x00400275].items or []
    assert [item.get(0x00321060, Element(0, "")).value for item in items] == [b"chest", b"chest"]


def test_a_declaration_that_lies_hides_no_name() -> None:
    source = data((0x00080005, "CS", b"ISO_IR 6"), (0x00100010, "PN", "Müller^Jörg".encode()))
    identity = Identity(RESEARCH)
    identity.add(source)
    assert {"muller", "jorg"} <= identity.known().words


CREATOR, OTHER = b"GEMS_ACQU_01", b"SIEMENS MR HEADER"
NUMBER = 0x23  # (0019,xx23) of GEMS_ACQU_01, DS: table speed


def private(creator: bytes, block: int, number: int, vr: str = "DS", content: bytes = b"1.5 ") -> DataSet:
    return data((0x00190000 | block, "LO", creator), (0x00190000 | block << 8 | number, vr, content))


@pytest.mark.parametrize("block", [0x10, 0x42, 0xFF])
def test_safe_private_is_found_in_any_block_by_its_exact_creator(block: int) -> None:
    found = scrubbed(private(CREATOR, block, NUMBER))
    assert found.elements[0x00190000 | block << 8 | NUMBER].value == b"1.5 "
    assert found.elements[0x00190000 | block].value == CREATOR and found.creators == {CREATOR.decode()}


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(private(b"GEMS_ACQU_01 Doe", 0x10, NUMBER), id="a creator with a name behind it"),
        pytest.param(private(b"gems_acqu_01", 0x10, NUMBER), id="a creator in other letters"),
        pytest.param(private(OTHER, 0x10, NUMBER), id="another creator"),
        pytest.param(private(CREATOR, 0x10, 0xFE), id="a number that is not in the table"),
        pytest.param(private(CREATOR, 0x10, NUMBER, "OB", b"Doe^"), id="bulk where a number should be"),
        pytest.param(data((0x00190010, "LO", CREATOR)), id="a creator alone"),
        pytest.param(data((0x00190010, "LO", CREATOR), (0x00191123, "DS", b"1 ")), id="a block that is not reserved"),
    ],
)
def test_what_is_not_exactly_of_the_table_goes_with_its_creator(source: DataSet) -> None:
    assert scrubbed(source) == Scrubbed({}, frozenset())


def test_reservations_hold_in_their_own_item_only_and_basic_keeps_nothing_private() -> None:
    inner = data((0x00191023, "DS", b"1.5 "), (0x00080060, "CS", b"CT"))
    source = private(CREATOR, 0x10, NUMBER) | data((0x00081140, "SQ", [inner]))
    items = scrubbed(source).elements[0x00081140].items
    assert items == [data((0x00080060, "CS", b"CT"))]
    assert not scrubbed(private(CREATOR, 0x10, NUMBER), BASIC).elements


def test_a_private_value_is_cleaned_by_its_vr() -> None:
    source = private(CREATOR, 0x10, NUMBER, "DS", b"DOE ")
    assert scrubbed(source).elements[0x00191023].value == b""
    unknown = private(CREATOR, 0x10, NUMBER, "UN", b"2.5 ")
    assert scrubbed(unknown).elements[0x00191023] == Element(0x00191023, "DS", b"2.5 ")


def test_pixels_stay_at_the_top_and_go_below() -> None:
    pixels = Element(0x7FE00010, "OW", b"1234")
    inner: DataSet = {0x7FE00010: pixels}
    found = scrubbed({0x7FE00010: pixels} | data((0x00081140, "SQ", [inner]))).elements
    assert found[0x7FE00010] is pixels and found[0x00081140].items == [{}]


def test_people_in_a_report_go_and_its_findings_stay() -> None:
    def content(kind: bytes, tag: int, vr: str, said: bytes) -> DataSet:
        name = data((0x00080100, "SH", b"121071"), (0x00080102, "SH", b"DCM"), (0x00080104, "LO", b"Finding"))
        return data((0x0040A040, "CS", kind), (0x0040A043, "SQ", [name]), (tag, vr, said))

    source = data(
        (0x00100010, "PN", b"Doe^Jane"),
        (
            0x0040A730,
            "SQ",
            [
                content(b"PNAME", 0x0040A123, "PN", b"Brandauer"),
                content(b"TEXT", 0x0040A160, "UT", b"chest pain of Doe"),
            ],
        ),
    )
    items = scrubbed(source, sop_class=SR).elements[0x0040A730].items
    assert items and [text(item, 0x0040A160) for item in items] == ["chest pain of"]
    names = data((0x0040A730, "SQ", [content(b"PNAME", 0x0040A123, "PN", b"Brandauer")]))
    assert not scrubbed(names, sop_class=SR).elements
    concept = items[0][0x0040A043].items
    assert concept and text(concept[0], 0x00080102) == "DCM" and text(concept[0], 0x00080104) == "Finding"


def test_a_dummy_item_holds_nothing_of_the_source() -> None:
    code = data((0x00080100, "SH", b"BR1"), (0x00080102, "SH", b"99HOSP"), (0x00080104, "LO", b"Dr Brandauer"))
    observer = data(
        (0x0040A027, "LO", b"Saint Elsewhere"),
        (0x0040A030, "DT", b"20230310"),
        (0x0040A075, "PN", b"Brandauer^Karl"),
        (0x0040A088, "SQ", [code]),
    )
    items = scrubbed(data((0x0040A073, "SQ", [observer, observer])), sop_class=SR).elements[0x0040A073].items
    assert items is not None and len(items) == 1
    assert b"Brandauer" not in repr(items).encode() and b"Elsewhere" not in repr(items).encode()
    assert text(items[0], 0x0040A030) == "20230129"


def test_a_lying_sequence_goes() -> None:
    noise = {0x00081140: Element(0x00081140, "UN", b"Doe^Jane was here")}
    private_noise = {0x00191002: Element(0x00191002, "SQ", b"Doe", None, Inside.EXPLICIT)}
    assert not scrubbed(noise | private_noise).elements


def test_own_rules_ages_in_bands_and_retained_texts() -> None:
    rule = Rule(0x00080080, "keep", "the hospital takes part by name")
    own = Profile("own", RESEARCH.options, (*RESEARCH.rules, rule), age_band_years=10)
    source = data((0x00080080, "LO", "Klinik Süd ".encode("latin-1")), (0x00101010, "AS", b"047Y"))
    assert value(source, 0x00080080, own) == b"Klinik Sud" and value(source, 0x00101010, own) == b"040Y"
    told = data((0x00100010, "PN", b"Doe^Jane"), (0x00080080, "LO", b"Clinic of Doe"))
    assert value(told, 0x00080080, own) in (b"", b"of", b"Clinic of")
    numbered = data((0x00080050, "SH", b"ACC44232094"), (0x00080080, "LO", b"Clinic 44232094"))
    assert value(numbered, 0x00080080, own) in (b"", b"Clinic")
    inner = data((0x00080005, "CS", b"ISO_IR 192"), (0x00080080, "LO", "Klinik Süd".encode()))
    nested = scrubbed(data((0x00080005, "CS", b"ISO_IR 100"), (0x00081140, "SQ", [inner])), own).elements
    assert [text(item, 0x00080080) for item in nested[0x00081140].items or []] == ["Klinik Sud"]
    dated = data((0x00080020, "DA", b"20230310"), (0x00080080, "LO", b"Clinic 10.03.2023"))
    assert value(dated, 0x00080080, own) in (b"", b"Clinic")


def test_marks_say_what_was_done_and_keep_what_was_said() -> None:
    earlier = data((0x00080100, "SH", b"113100"), (0x00080102, "SH", b"DCM"), (0x00080104, "LO", b"Basic"))
    found = data(
        (0x00120063, "LO", b"removed by hand"), (0x00120064, "SQ", [earlier]), (0x00280301, "CS", b"NO"),
        (0x00280302, "CS", b"NO"),
    )  # fmt: skip
    marks = Marks(RESEARCH, PATIENT, "3f2a9c11", RESEARCH.codes, NOTHING)
    mark(found, marks)
    methods = text(found, 0x00120063).split("\\")
    assert methods[0] == "removed by hand" and "3f2a9c11" in methods[1] and all(len(m) <= 64 for m in methods)
    codes = [text(item, 0x00080100) for item in found[0x00120064].items or []]
    assert codes == ["113100", *(code for code, _ in RESEARCH.codes if code != "113100")]
    assert 0x00280301 not in found and 0x00280302 not in found
    assert text(found, 0x00280303) == "MODIFIED" and text(found, 0x00120062) == "YES"
    assert text(found, 0x00100010) == text(found, 0x00100020) == PATIENT
    mark(found, Marks(BASIC, PATIENT, "3f2a9c11", (), Claimed(looked=True, repainted=False, faceless=True)))
    assert text(found, 0x00280301) == text(found, 0x00280302) == "NO" and text(found, 0x00280303) == "REMOVED"


@pytest.mark.parametrize(
    ("sop_class", "said", "pixels", "left"),
    [
        pytest.param(CT, b"NO", NOTHING, "", id="an IOD that can do without"),
        pytest.param(CT, b"YES", NOTHING, "YES", id="a warning stays"),
        pytest.param(ENHANCED_CT, b"NO", NOTHING, "NO", id="an IOD that asks for it: the word of the source"),
        pytest.param(ENHANCED_CT, b"NO", Claimed(looked=False, repainted=True, faceless=False), "", id="proved wrong"),
        pytest.param(ENHANCED_CT, b"YES", Claimed(looked=True, repainted=True, faceless=False), "NO", id="cleaned"),
    ],
)
def test_burned_in_annotation_says_what_is_known(sop_class: str, said: bytes, pixels: Claimed, left: str) -> None:
    found = data((0x00080016, "UI", sop_class.encode()), (0x00280301, "CS", said))
    mark(found, Marks(RESEARCH, PATIENT, "3f2a9c11", (), pixels))
    assert text(found, 0x00280301) == left


def test_the_series_of_referenced_images_go_with_the_last_of_them() -> None:
    image = data((0x00081155, "UI", b"1.2.3"))
    series = data((0x0020000E, "UI", b"1.2.4"), (0x0008114A, "SQ", [image]))
    source = data((0x00081115, "SQ", [series]), (0x00081140, "SQ", [image]))
    assert {0x00081115, 0x00081140} == set(scrubbed(source).elements)
    assert not scrubbed(source, BASIC).elements
    assert list(scrubbed(source, BASIC, sop_class=PRESENTATION).elements) == [0x00081115]  # Type 1 there
    assert list(scrubbed(data((0x00081115, "SQ", [series])), BASIC).elements) == [0x00081115]
    derived = data((0x00081115, "SQ", [series]), (0x00089124, "SQ", [data((0x00082112, "SQ", [image]))]))
    assert list(scrubbed(derived).elements) == [0x00081115, 0x00089124]
    assert list(scrubbed(derived, BASIC).elements) == [0x00089124]


def test_the_name_of_an_ethics_committee_goes_with_its_approval_number() -> None:
    name, number = (0x00120081, "LO", b"Board"), (0x00120082, "LO", b"77")
    assert value(data(name), 0x00120081, BASIC) == b"REMOVED"
    assert not scrubbed(data(name, number), BASIC).elements


def test_several_values_of_which_nothing_is_left_are_none() -> None:
    assert value(data((0x00081030, "LO", b"Kowalczyk\\Zofia")), 0x00081030) == b""
    versions = data((0x00181020, "LO", b"2.6.3\\2.6.3.6"))
    assert value(versions, 0x00181020) == value(versions, 0x00181020, BASIC) == b"REMOVED"


def test_what_is_typed_in_as_an_ethnic_group_is_cleaned_like_a_description() -> None:
    source = data((0x00080020, "DA", b"20160229"), (0x00102160, "SH", b"Hispanic, seen 29/2/16"))
    assert value(source, 0x00102160) == b"Hispanic, seen"


def test_big_endian_numbers_are_left_in_their_order() -> None:
    source = data((0x00280010, "US", struct.pack(">H", 513)))
    found = Scrubber(RESEARCH, SECRET, PATIENT, DAYS, Known()).scrub(source, CT, little=False).elements
    assert found[0x00280010].value == b"\x02\x01"
