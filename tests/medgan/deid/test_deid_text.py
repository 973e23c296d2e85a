"""Free text: what may stay, and what never does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgan.deid.text import Known, clean, safe_words

KNOWN = Known.of(["Müller^Anna", "Hand^Rose"], ["St. Mary Hospital", "8841273"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("CT Thorax nativ 5mm", "CT Thorax nativ 5mm", id="a protocol stays"),
        pytest.param("t1_mprage_sag_p2_iso 0.9", "t1_mprage_sag_p2_iso 0.9", id="a sequence name stays"),
        pytest.param("Chest for Anna Müller", "Chest for", id="the name with its accent goes"),
        pytest.param("MUELLER MULLER_ANNA chest", "chest", id="without accent, glued by a line, another spelling"),
        pytest.param("Müllerchest", "", id="glued to a word"),
        pytest.param("left hand", "left", id="a safe word that is this person's name"),
        pytest.param("seen by Kowalczyk, ok", "seen by", id="a name that no header mentions"),
        pytest.param("born 12.03.1956 tel 555 10 23 chest", "chest", id="dates and phone numbers"),
        pytest.param("MRN8841273 chest", "chest", id="a record number"),
        pytest.param("chest at ST. MARY  HOSPITAL", "chest at", id="an institution in another case"),
        pytest.param("92 years old, cough", "old, cough", id="an age over 89"),
        pytest.param("ANNA^MÜLLER", "", id="separators of names"),
        pytest.param("山田太郎 chest", "chest", id="another script"),
    ],
)
def test_only_safe_words_stay(text: str, expected: str) -> None:
    assert " ".join(word for word in clean(text, KNOWN).split()) == expected


@given(st.text(max_size=60))
def test_cleaned_text_is_ascii_and_has_no_long_number_and_no_unknown_word(text: str) -> None:
    cleaned = clean(text, KNOWN)
    assert cleaned.isascii()
    letters = "".join(c if c.isalpha() else " " for c in cleaned.lower()).split()
    assert all(len(word) == 1 or word in safe_words() for word in letters)
    digits = "".join(c if c.isdigit() else " " for c in cleaned).split()
    assert all(len(run) <= 3 for run in digits)
