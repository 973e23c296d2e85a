"""Only evidence about this very cohort, accepted by the gate, lets a bundle out; everything else releases nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medgan import digest as digests
from medgan.bundle import sign
from medgan.cohort.arrays import CohortArrays, write_cohort
from medgan.errors import CorruptArtefact, MedganError
from medgan.gan.checkpoint import seal
from medgan.gan.networks import Design, build_discriminator, build_generator
from medgan.home import Home
from medgan.recipes import EvaluateRecipe, ReleaseRecipe, SynthesizeRecipe
from medgan.records import Checkpoint, Cohort, Release, Scorecard
from medgan.registry import models
from medgan.stages import tracking
from medgan.stages.release import release, report_file
from medgan.stages.synthesize import synthesize

GOLDEN = Path(__file__).parents[2] / "golden" / "scorecard.json"
SHAPE = (1, 1, 32, 32)
CLASSES = ("normal", "nodule", "effusion")
PATIENTS = [digests.patient_key(b"secret", f"P{i}") for i in range(12)]
LIMITS = EvaluateRecipe(min_coverage=0.3, beat_baseline=True)


@dataclass(frozen=True)
class House:
    home: Home
    checkpoint: Checkpoint
    synthetic: Cohort

    def card(self, change: Callable[[dict[str, Any]], object] = lambda card: None, **record: Any) -> Scorecard:
        """A scorecard of this cohort, sealed as evaluation seals it, after `change`."""
        card = json.loads(GOLDEN.read_text())
        card["counts"]["synthetic"] = self.synthetic.count
        card |= {"cohort": self.synthetic.digest, "checkpoint": self.checkpoint.digest, "real": "f" * 64}
        change(card)

        def fill(folder: Path) -> Scorecard:
            (folder / "scorecard.json").write_bytes(digests.canonical(card))
            (folder / "restricted.json").write_bytes(digests.canonical({"flagged": [1]}))
            made = {"cohort_digest": self.synthetic.digest, "checkpoint_digest": self.checkpoint.digest} | record
            return Scorecard(digest="", answer="accept", reasons=(), figures={}, **made)

        key = digests.sha256(digests.canonical([card, record]))
        return self.home.research.make(key, fill, stage="evaluate", kind=Scorecard, parents=[self.synthetic.digest])

    def release(self, card: Scorecard, limits: EvaluateRecipe = LIMITS, **records: Any) -> Release:
        with_ = {"synthetic": self.synthetic, "checkpoint": self.checkpoint} | records
        return release(card, with_["synthetic"], with_["checkpoint"], ReleaseRecipe(), self.home, limits=limits)


def built(root: Path, seed: int = 0) -> House:
    home = Home.create(root)
    rng = np.random.default_rng(seed)
    real = CohortArrays(
        images=rng.integers(0, 255, (12, *SHAPE), dtype=np.uint8),
        label=np.arange(12, dtype=np.uint16) % 3,
        patient_key=np.array(PATIENTS),
        split=np.zeros(12, np.uint8),
        classes=CLASSES,
    )

    def cohort(folder: Path) -> Cohort:
        write_cohort(folder / "cohort.zarr", real)
        return Cohort(
            origin="real",
            digest="",
            group="DX-CHEST-2d-32",
            count=12,
            patients=12,
            shape=SHAPE,
            classes=CLASSES,
            splits={},
        )

    assembled = home.research.make("assemble", cohort, stage="assemble", kind=Cohort, patients=PATIENTS)

    def checkpoint(folder: Path) -> Checkpoint:
        design = Design(shape=SHAPE, num_classes=3, widths=(16, 16), head=4, latent=8)
        chance = torch.Generator().manual_seed(seed)
        state = {"images_seen": 64, "classes": CLASSES, "proportions": [0.5, 0.25, 0.25], "unit": "patient"}
        seal(folder, build_generator(design, chance), build_discriminator(design, chance), state)
        rows = [{"images_seen": i, "generator_loss": 1.0 / i} for i in (16, 32, 64)]
        (folder / "history.json").write_bytes(digests.canonical(rows))
        return Checkpoint(
            digest="",
            images_seen=64,
            recipe_digest="r",
            cohort_digest=assembled.digest,
            group="DX-CHEST-2d-32",
            network="residual",
        )

    made = home.research.make(
        f"train{seed}", checkpoint, stage="train", kind=Checkpoint, parents=[assembled.digest], patients=PATIENTS
    )
    return House(home, made, synthesize(made, SynthesizeRecipe(images=12, formats=("zarr", "png", "dicom")), home))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return built(tmp_path_factory.mktemp("house"))


@dataclass(frozen=True)
class Released:
    house: House
    made: Release
    bundle: Path


@pytest.fixture(scope="module")
def released(house: House, tmp_path_factory: pytest.TempPathFactory) -> Released:
    made = house.release(house.card())
    return Released(house, made, house.home.public.path(made.bundle_digest))


def public_files(house: House) -> list[str]:
    return list(house.home.public.digests())


def sparse(card: dict[str, Any]) -> None:
    card["fidelity"]["coverage"] = 0.1


def copied(card: dict[str, Any]) -> None:
    card["privacy"]["flagged"] = 2


def blind(card: dict[str, Any]) -> None:
    card["privacy"]["smallest_leak"] = None


def without_controls(card: dict[str, Any]) -> None:
    card["privacy"]["controls"] = []


def not_a_number(card: dict[str, Any]) -> None:
    card["fidelity"]["fd_ratio"] = float("nan")


def of_another_cohort(card: dict[str, Any]) -> None:
    card["cohort"] = "0" * 64


def of_more_pictures(card: dict[str, Any]) -> None:
    card["counts"]["synthetic"] = 400


REFUSALS = [
    pytest.param(sparse, {}, "reject", "coverage", id="too little variety"),
    pytest.param(copied, {}, "reject", "copies", id="two copies"),
    pytest.param(blind, {}, "inconclusive", "no leak of any size", id="no power"),
    pytest.param(without_controls, {}, "inconclusive", "control", id="no controls"),
    pytest.param(not_a_number, {}, "inconclusive", "fd_ratio", id="nan"),
    pytest.param(dict.clear, {}, "inconclusive", "schema", id="empty scorecard"),
    pytest.param(of_another_cohort, {}, "inconclusive", "another cohort", id="evidence about another cohort"),
    pytest.param(of_more_pictures, {}, "inconclusive", "another number", id="evidence about more pictures"),
    pytest.param(lambda c: None, {"cohort_digest": "0" * 64}, "inconclusive", "another cohort", id="record: cohort"),
    pytest.param(
        lambda c: None, {"checkpoint_digest": "0" * 64}, "inconclusive", "another checkpoint", id="record: checkpoint"
    ),
]


@pytest.mark.parametrize(("change", "record", "answer", "reason"), REFUSALS)
def test_refused_evidence_releases_nothing(
    house: House, change: Callable[[dict[str, Any]], object], record: dict[str, Any], answer: str, reason: str
) -> None:
    before = public_files(house)
    made = house.release(house.card(change, **record))
    assert made.answer == answer
    assert any(reason in text for text in made.reasons), made.reasons
    assert (made.bundle_digest, made.model_version, made.alias) == ("", "", "")
    assert public_files(house) == before
    page = report_file(made, house.home).read_text()
    assert "Keep it in the house" in page and "Not released" in page


def test_a_real_cohort_is_never_released(house: House) -> None:
    real = house.home.research.records("assemble", Cohort)[0]
    made = house.release(house.card(), synthetic=real)
    assert made.answer == "inconclusive" and "not one that this house sampled" in made.reasons[0]


def test_a_changed_picture_stops_the_release(tmp_path: Path) -> None:
    other = built(tmp_path)
    picture = other.home.research.store.path(other.synthetic.digest) / "png" / "00000.png"
    picture.write_bytes(picture.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptArtefact):
        other.release(other.card())


def test_a_model_of_a_withdrawn_patient_is_not_released(tmp_path: Path) -> None:
    other = built(tmp_path)
    other.home.research.ledger.bury(PATIENTS[3], "withdrawn")
    made = other.release(other.card())
    assert made.answer == "inconclusive" and "1 withdrawn patient" in made.reasons[0]


def test_a_patient_s_key_in_a_text_stops_the_release(tmp_path: Path) -> None:
    other = built(tmp_path)

    def leak(card: dict[str, Any]) -> None:
        card["privacy"]["note"] = f"copied from {PATIENTS[3]}"

    with pytest.raises(MedganError, match="nothing was released") as caught:
        other.release(other.card(leak))
    assert PATIENTS[3] not in str(caught.value)
    assert not public_files(other)


def test_the_bundle_verifies_and_holds_what_it_should(released: Released) -> None:
    home = released.house.home
    found = sign.verify(released.bundle, home.root / "public" / "signing.pub")
    assert found.ok and found.key_given
    names = {path.relative_to(released.bundle).parts[0] for path in released.bundle.rglob("*")}
    assert {"data", "scorecard.json", "report.html", "DATASHEET.md", "MODEL_CARD.md", "LICENCE.txt"} <= names
    assert {path.name for path in (released.bundle / "data").iterdir()} == {"cohort.zarr", "png", "dicom", "labels.csv"}
    assert not list(released.bundle.rglob("*.safetensors")) and not list(released.bundle.rglob("restricted.json"))


def test_no_patient_key_and_no_digest_of_real_images_is_published(released: Released) -> None:
    everything = b"".join(path.read_bytes() for path in released.bundle.rglob("*") if path.is_file())
    assert not [key for key in PATIENTS if key.encode() in everything]
    assert released.house.checkpoint.cohort_digest.encode() not in everything
    assert "real" not in json.loads((released.bundle / "scorecard.json").read_bytes())


def test_the_number_of_files_on_the_page_is_the_number_signed(released: Released) -> None:
    files = sign.verify(released.bundle).files
    assert f">{files}</text>" in (released.bundle / "report.html").read_text()


def test_the_signing_key_is_private_and_stays(released: Released) -> None:
    key = released.house.home.root / "research" / "keys" / "signing.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert (
        sign.fingerprint(sign.read_private(key.read_bytes()).public_key()) == sign.verify(released.bundle).fingerprint
    )


def test_the_first_version_becomes_champion(released: Released) -> None:
    made = released.made
    assert (made.answer, made.reasons, made.alias) == ("accept", (), "champion")
    champion = models.champion("medgan", tracking.uri(released.house.home))
    assert champion is not None and champion.version == made.model_version
    assert set(champion.aliases) == {"challenger", "champion"}
    assert champion.checkpoint == released.house.checkpoint.digest


def test_releasing_again_changes_nothing(released: Released) -> None:
    before = public_files(released.house)
    assert released.house.release(released.house.card()) == released.made
    assert public_files(released.house) == before
    assert len(models.history("medgan", tracking.uri(released.house.home))) == 1


def test_a_registry_that_is_away_costs_nothing_but_a_second_call(
    released: Released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same inputs in a house with the same keys: the bundle is sealed before the registry, and byte for byte."""
    other = tmp_path / "home"
    keys = released.house.home.root
    for name in ("identified/key", "research/keys/cohort", "research/keys/signing.pem"):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(keys / name, other / name)
    again = built(other)
    card = again.card()
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MEDGAN_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(ConnectionError):
        again.release(card)
    assert public_files(again) == [released.made.bundle_digest]
    monkeypatch.delenv("MEDGAN_TRACKING_URI")
    monkeypatch.setenv("MEDGAN_TRACKING_URI", tracking.uri(released.house.home))
    made = again.release(card)
    assert (made.bundle_digest, made.model_version) == (released.made.bundle_digest, released.made.model_version)
