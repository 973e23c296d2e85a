"""What the headers say about someone, in every spelling: names, ids, places and dates."""

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medgan.deid.words.known import HONORIFICS, MODALITIES, Known, fold, spellings, squeeze

LETTERS = st.text(string.ascii_letters, min_size=3, max_size=9)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("Doe^Jane", "DOEJANE", id="glued"),
        pytest.param("Doe^Jane", "JANEDOE", id="glued the other way round"),
        pytest.param("Doe^Jane", "jdoe", id="a login"),
        pytest.param("Doe^Jane", "doe_j", id="a login with a line"),
        pytest.param("Doe^Jane", "DOE J", id="an initial"),
        pytest.param("Doe^Jane^Quinn", "quinn", id="the middle name alone"),
        pytest.param("Müller^Björn", "Mueller", id="umlauts written out"),
        pytest.param("Müller^Björn", "MULLER", id="umlauts lost"),
        pytest.param("Mueller^Bjoern", "Müller", id="umlauts put back"),
        pytest.param("Weiß^Jörg", "WEISS", id="sharp s"),
        pytest.param("Søndergård^Åse", "Soendergaard", id="Danish letters written out"),
        pytest.param("Søndergård^Åse", "SONDERGARD", id="Danish letters plain"),
        pytest.param("Żółć^Łukasz", "Lukasz Zolc", id="Polish letters plain"),
        pytest.param("O'Brien^Sean", "obrien", id="without the apostrophe"),
        pytest.param("O\u2019Brien^Sean", "O'BRIEN", id="with another apostrophe"),
        pytest.param("Schmidt-Rottluff^Karl", "schmidtrottluff", id="without the hyphen"),
        pytest.param("Schmidt-Rottluff^Karl", "Rottluff", id="half of a double name"),
        pytest.param("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田", id="ideographic group"),
        pytest.param("Yamada^Tarou=山田^太郎=やまだ^たろう", "たろう", id="phonetic group"),
        pytest.param("YAMADA^TAROU", "Yamada Tarou", id="another case"),
        pytest.param("van der Berg^Piet", "vdBERG BERG", id="without its particles"),
    ],
)
def test_a_name_is_found_in_every_spelling(name: str, text: str) -> None:
    assert Known.of([name], []).found_in(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("8841273", "MRN8841273", id="glued to letters"),
        pytest.param("8841273", "88-41-273", id="split by hyphens"),
        pytest.param("8841273", "0008841273", id="padded with zeros"),
        pytest.param("0008841273", "8841273", id="its zeros lost"),
        pytest.param("AB-2023/0417", "ab20230417", id="separators lost, another case"),
        pytest.param("+49 (89) 555-1023", "4989.555.1023", id="a phone number written otherwise"),
        pytest.param("St. Mary Hospital", "ST MARY_HOSPITAL", id="an institution"),
        pytest.param("Universitätsklinik", "UNIVERSITATSKLINIK", id="an institution without accents"),
        pytest.param("Universitätsklinik", "Universitaetsklinik", id="an institution with umlauts written out"),
        pytest.param("CT01", "ct 01", id="a short station name as whole words"),
        pytest.param("A12", "A12", id="a very short id as one word"),
    ],
)
def test_a_value_is_found_whatever_its_separators(value: str, text: str) -> None:
    assert Known.of([], [value]).found_in(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("CT01", "CT012", id="a short value is not found inside a longer number"),
        pytest.param("A12", "A 12", id="a very short id is not found in two words"),
        pytest.param("120", "120", id="three digits alone tell nothing"),
        pytest.param("CT", "CT", id="two letters alone tell nothing"),
        pytest.param("Brain Clinic", "brain", id="one word of an institution tells nothing"),
        pytest.param("", "chest", id="an empty value"),
        pytest.param("^^", "chest", id="nothing but separators"),
    ],
)
def test_what_tells_nothing_is_left_alone(value: str, text: str) -> None:
    assert not Known.of([], [value]).found_in(text)


def test_short_honorifics_and_modalities_are_no_names() -> None:
    known = Known.of(["Doe^Jane^^Dr.^MD", "CT^Operator"], [])
    assert not known.found_in("MR")
    assert not known.found_in("CT")
    assert not known.found_in("Dr MD")
    # the audit takes any longer word of a name for the name
    assert all(len(word) == 2 for word in HONORIFICS | MODALITIES)


def test_dates_are_told_apart_from_what_is_none() -> None:
    known = Known.of([], [], ["19800312", "20230417101500.00+0100", "1980", "unknown", ""])
    assert known.dates == {(1980, 3, 12), (2023, 4, 17)}
    assert {(12, 3), (3, 12), (3, 80), (4, 23)} <= known.day_pairs


@given(LETTERS, LETTERS)
def test_a_name_is_found_in_any_order_and_glue(family: str, given_name: str) -> None:
    assume(family.lower() != given_name.lower())
    known = Known.of([f"{family}^{given_name}"], [])
    forms = [family, given_name, family + given_name, given_name + family, given_name[0] + family]
    for form in forms:
        assert known.found_in(form.upper())
        assert known.found_in(f"x_{form}.y")


@given(st.text(max_size=30))
def test_folded_forms_are_stable(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert squeeze(text).isascii()
    assert all(len(word) > 1 for word in spellings(text))
