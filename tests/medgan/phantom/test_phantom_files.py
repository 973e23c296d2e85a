"""Plans, names and files of the phantoms: shares, character sets, transfer syntaxes, text in pictures."""

from __future__ import annotations

import datetime
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from medgan.phantom import anatomy, burn, encode, headers
from medgan.phantom.identity import SCRIPTS, Person, Planted, draw_person, plant_person
from medgan.phantom.plan import BROKEN, deal


def person(seed: int = 1, index: int = 3) -> Person:
    return draw_person(np.random.default_rng(seed), index, "F", datetime.date(1950, 5, 17))


def film_of(who: Person, planted: Planted, bits: int = 12) -> tuple[Dataset, np.ndarray]:
    body = anatomy.draw_body(np.random.default_rng(0), "F", 70)
    day = datetime.date(2021, 3, 4)
    visit = headers.Visit(1, day, datetime.time(9, 30), 70, "A2100003199", None, chatty=True)
    ds = headers.describe(np.random.default_rng(0), who, body, visit, ("DX", 1), planted)
    headers.radiograph(ds, "PA", False, 1.5, 1800.0)
    ds.SOPInstanceUID = f"{ds.SeriesInstanceUID}.1"
    pixels = np.random.default_rng(2).integers(0, 1 << bits, (48, 64)).astype(np.uint16)
    encode.set_pixels(ds, pixels, bits)
    return ds, pixels


@pytest.mark.parametrize("syntax", encode.SYNTAXES)
def test_pixels_survive_every_transfer_syntax(tmp_path: Path, syntax: str) -> None:
    ds, pixels = film_of(person(), Planted())
    encode.write(tmp_path / "a", ds, syntax, station="ROOM1", preamble=b"hello")
    read = dcmread(tmp_path / "a")
    assert read.file_meta.TransferSyntaxUID == encode.SYNTAXES[syntax][0]
    assert (read.pixel_array == pixels).all()
    assert read.SOPInstanceUID == read.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert read.preamble.startswith(b"hello\0") and len(read.preamble) == 128


def test_shares_of_syntaxes_add_up() -> None:
    assert sum(share for _, share in encode.SYNTAXES.values()) == pytest.approx(1)
    drawn = Counter(encode.draw_syntax(np.random.default_rng(k)) for k in range(400))
    assert set(drawn) == set(encode.SYNTAXES) and drawn["explicit"] > 150


@pytest.mark.parametrize("script", SCRIPTS, ids=[s[0] + "-" + s[1] for s in SCRIPTS])
def test_names_in_other_scripts_come_back_whole(tmp_path: Path, script: tuple[str, ...]) -> None:
    charset, family, given, own, sound = script
    ds = Dataset()
    ds.SpecificCharacterSet = charset.split("\\") if "\\" in charset else charset
    ds.PatientName = "=".join(p for p in (f"{family}^{given}", own, sound) if p)
    ds.ImageComments = f"{family.upper()} walks with a stick"
    buffer = io.BytesIO()
    ds.save_as(buffer, implicit_vr=False, little_endian=True)
    read = dcmread(buffer, force=True)
    assert str(read.PatientName) == str(ds.PatientName) and read.ImageComments == ds.ImageComments
    assert "?" not in str(read.PatientName)


def test_values_fit_their_representation(recwarn: pytest.WarningsRecorder) -> None:
    for seed in range(30):
        film_of(person(seed, index=seed * 31), Planted())
    assert not [
        w for w in recwarn if "value length" in str(w.message).lower() or "invalid value" in str(w.message).lower()
    ]


def test_planted_strings_hold_each_group_of_a_name() -> None:
    planted = Planted()
    many = [person(seed, seed) for seed in range(60)]
    for one in many:
        plant_person(planted, one)
        assert {one.family, one.given, one.patient_id, one.birth.strftime("%Y%m%d")} <= planted.strings
    assert any("=" in one.name for one in many) and any(not one.plain for one in many)
    assert len({one.patient_id for one in many}) == len(many)


def test_deals_have_about_the_wanted_shares() -> None:
    hands = [deal(k, 1000, 4) for k in range(1000)]
    counts = Counter(hand.label for hand in hands)
    assert counts == {"normal": 400, "nodule": 200, "opacity": 200, "effusion": 200}
    assert sum(h.has_ct for h in hands) in range(78, 90) and sum(h.has_mr for h in hands) == 50
    assert sum(h.burned for h in hands) in range(60, 66)
    assert sum(len(h.broken) for h in hands) == 10


@pytest.mark.parametrize("patients", [8, 10, 25])
def test_small_sets_have_every_kind(patients: int) -> None:
    for seed in range(5):
        hands = [deal(k, patients, seed) for k in range(patients)]
        assert {kind for h in hands for kind in h.broken} == set(BROKEN)
        assert any(h.has_ct for h in hands) and any(h.has_mr for h in hands) and any(h.burned for h in hands)
        assert len({h.label for h in hands}) >= 3


def test_burned_text_changes_its_box_and_nothing_else() -> None:
    for seed in range(12):
        film = np.full((256, 256), 0.2 if seed % 2 else 0.85, np.float32)
        out, stamps = burn.burn(np.random.default_rng(seed), film, ["OKONKWO, Adaeze", "000312345 04.03.2021"])
        mask = np.zeros(film.shape, bool)
        for stamp in stamps:
            x0, y0, x1, y1 = stamp.box
            mask[y0:y1, x0:x1] = True
            assert np.ptp(out[y0:y1, x0:x1]) > 0.5 and y1 - y0 >= 7
        assert (out[~mask] == film[~mask]).all() and (film == film[0, 0]).all()


def test_overlay_bits_are_packed_lowest_bit_first() -> None:
    packed = np.frombuffer(burn.overlay_bits("000312345", 64), np.uint8)
    plane = np.unpackbits(packed, bitorder="little")[: 64 * 64].reshape(64, 64)
    mask = burn.letters("000312345", 8)[:56, :56] > 0.5
    assert mask.sum() > 40 and (plane[4 : 4 + mask.shape[0], 4 : 4 + mask.shape[1]] == mask).all()
    assert plane.sum() == mask.sum()
