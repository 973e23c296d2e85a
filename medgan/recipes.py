"""What to make: one small class per stage, read from presets or a TOML file.

A recipe changes the result, so it is part of an artefact's key and is logged. Where things are is a
setting (settings.py), never a recipe.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from medgan.errors import UsageError

SEGMENT = re.compile(r"[^\s:+]+:[^\s:+]+(\+[^\s:+]+:[^\s:+]+)*")
PRESETS = ("smoke", "demo", "full", "baseline")


class Recipe(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class IngestRecipe(Recipe):
    max_bytes: int = Field(2 << 30, gt=0, description="largest single input")
    max_ratio: float = Field(200.0, gt=1, description="largest expansion of a compressed input")
    max_quarantined: float = Field(1.0, ge=0, le=1, description="share of inputs that may be quarantined")
    max_seconds: float = Field(60.0, gt=0, description="time to read one input, before what its size needs")
    max_memory: int = Field(1 << 30, ge=1 << 28, description="memory of a process that reads inputs, bytes")
    stability_s: float = Field(300.0, ge=0, description="seconds without change before a study is taken in")
    patience_s: float = Field(86_400.0, ge=0, description="seconds to wait for images that an archive announced")
    reconcile_s: float = Field(86_400.0, ge=0, description="seconds between comparisons with all an archive holds")
    refetch_s: float = Field(0.0, ge=0, description="seconds until a study is fetched again unasked; 0: never")
    max_gone: float = Field(0.1, ge=0, le=1, description="share of an archive's studies that may vanish at once")


class RuleRecipe(Recipe):
    attribute: str = Field(description="keyword of PS3.6, 8 hex digits, or group,creator,low byte")
    action: Literal["keep", "remove", "empty", "dummy", "clean", "uid"]
    because: str


class DecisionRecipe(Recipe):
    by: str
    on: date
    because: str


class ProfileRecipe(Recipe):
    """An own profile as written; what it means, and whether it is allowed, is judged by deid/own_profile.py."""

    name: str
    options: tuple[str, ...]
    rule: tuple[RuleRecipe, ...] = ()
    age_band_years: int = 1
    decision: DecisionRecipe | None = None

    def mapping(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True)


class DeidentifyRecipe(Recipe):
    profile: Literal["research", "basic", "own"] = "research"
    own: ProfileRecipe | None = Field(None, description="the profile, when `profile` is own")
    ocr_side: int = Field(1024, ge=256, description="longest side of a frame given to text detection, pixels")
    max_date_shift_days: int = Field(1825, ge=30)
    max_quarantined: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def possible(self) -> DeidentifyRecipe:
        if (self.profile == "own") != (self.own is not None):
            raise ValueError('own: describes the profile exactly when profile = "own"; see docs/profiles.md')
        return self


class QualityRecipe(Recipe):
    """What a picture must have at least; where a figure begins to be shown as an outlier."""

    min_foreground: float = Field(0.005, ge=0, le=1, description="share of pixels above a tenth of the grey span")
    max_clipped: float = Field(0.5, ge=0, le=1, description="share of pixels at an end of the grey scale")
    max_padding: float = Field(1.0, ge=0, le=1, description="share of the grid that no source pixel fills")
    max_spacing_mm: float | None = Field(None, gt=0, description="longest step of the source, in the plane or between")
    outlier_z: float = Field(6.0, gt=0, description="robust standard deviations from the cohort's median")


class PreprocessRecipe(Recipe):
    dims: Literal[2, 3] = 2
    size: int = Field(64, ge=16, le=512, description="pixels a side of the cohort grid")
    depth: int = Field(32, ge=4, le=256, description="slices of the grid when dims is 3")
    spacing_mm: float | None = Field(None, gt=0, description="cubes of this side when dims is 3, cut or padded")
    slices: int = Field(3, ge=1, le=64, description="slices taken from a volume when dims is 2")
    central: float = Field(0.6, gt=0, le=1, description="share of a volume, along its normal, that slices come from")
    phases: int = Field(1, ge=1, description="passes over the same places that are taken from one series")
    window_hu: tuple[float, float] = (-1000.0, 400.0)
    window_suv: tuple[float, float] | None = Field(None, description="PET in SUV by body weight, or refused")
    masks: Literal["none", "optional", "required"] = Field("none", description="whether DICOM SEG comes along")
    segments: tuple[str, ...] = Field((), max_length=255, description="codes of what is labelled; empty: all")
    min_class_patients: int = Field(3, ge=1, description="smaller classes are folded into 'other'")
    split: tuple[float, float, float, float] = (0.5, 0.1, 0.3, 0.1)  # train, select, audit, fresh
    shard: int = Field(256, ge=1, description="images in a Zarr shard")
    quality: QualityRecipe = QualityRecipe()
    max_quarantined: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def possible(self) -> PreprocessRecipe:
        if min(self.split) < 0 or abs(sum(self.split) - 1) > 1e-9 or self.split[0] <= 0:
            raise ValueError("split: four shares that add up to 1, the first above 0")
        if self.window_hu[0] >= self.window_hu[1]:
            raise ValueError("window_hu: the lower end must lie below the upper end")
        if not all(SEGMENT.fullmatch(code) for code in self.segments):
            raise ValueError("segments: codes such as SCT:39607008, or SCT:39607008+SCT:7771000 for its left one")
        if self.window_suv and self.window_suv[0] >= self.window_suv[1]:
            raise ValueError("window_suv: the lower end must lie below the upper end")
        return self


class PrivacyRecipe(Recipe):
    """Differential privacy by patient; train.batch is how many patients a step draws on average."""

    epsilon: float = Field(gt=0, le=100, description="never exceeded; training stops before")
    delta: float = Field(ge=1e-10, lt=1, description="below 1 / number of patients")
    noise_multiplier: float | None = Field(None, ge=0.2, le=1e4, description="none: what train.images asks for")
    clip: float = Field(1.0, gt=0, description="largest norm of a patient's gradient")
    images_per_patient: int = Field(1, ge=1, le=64, description="images of a drawn patient in a step")
    discriminator_steps: int = Field(10, ge=1, description="most steps of the discriminator to one of the generator")


class TrainRecipe(Recipe):
    network: Literal["residual", "mlp"] = "residual"
    loss: Literal["relativistic", "nonsaturating", "minimax"] = "relativistic"
    group: str = Field("", description="which cohort group; empty: the one with most patients")
    widths: tuple[int, ...] = (96, 96, 64)  # 4, 8, 16 ... pixels
    head: int = Field(4, ge=1, le=8, description="pixel-shuffle factor of the head")
    latent: int = Field(64, ge=2)
    batch: int = Field(16, ge=2)
    images: int = Field(20_000, ge=1, description="training images to show the discriminator")
    lr: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.0, 0.95)
    gamma: float = Field(1.0, ge=0, description="weight of R1 and R2 at the start; annealed to a tenth")
    augment: float = Field(0.3, ge=0, le=0.8)
    ema_images: int = Field(500_000, ge=1)
    precision: Literal["bf16", "fp32"] = "bf16"
    condition_dropout: float = Field(0.1, ge=0, lt=1)
    checkpoint_images: int = Field(2_000, ge=1)
    seed: int = 0
    privacy: PrivacyRecipe | None = Field(None, description="train with differential privacy")

    @model_serializer(mode="wrap")
    def plain(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `privacy` where there is none: keys of results stay what they were before it existed."""
        found: dict[str, Any] = write(self)
        return found if self.privacy else {name: value for name, value in found.items() if name != "privacy"}

    @model_validator(mode="after")
    def private(self) -> TrainRecipe:
        if self.privacy and (self.network != "residual" or self.loss != "nonsaturating" or self.augment):
            raise ValueError(
                'privacy: takes network = "residual", loss = "nonsaturating" (the relativistic generator reads reals) '
                "and augment = 0"
            )
        return self

    @model_validator(mode="after")
    def possible(self) -> TrainRecipe:
        if self.network == "mlp" and self.loss == "relativistic":
            raise ValueError("loss: the mlp baseline takes minimax or nonsaturating")
        if self.network == "residual" and self.loss != "relativistic" and not self.privacy:
            raise ValueError("loss: the residual network takes relativistic")
        return self


class SynthesizeRecipe(Recipe):
    images: int = Field(400, ge=1)
    labels: tuple[str, ...] = Field((), description="empty: classes in the proportions of training")
    truncation: float = Field(1.0, gt=0, le=1)
    formats: tuple[Literal["zarr", "png", "dicom", "nifti"], ...] = ("zarr", "png", "dicom")
    seed: int = 0


class EvaluateRecipe(Recipe):
    alpha: float = Field(0.01, gt=0, lt=0.5, description="level of the privacy test, before correction")
    smallest_leak: float = Field(0.25, gt=0, le=1, description="largest share of copied patients that may go unseen")
    max_epsilon: float = Field(0.5, gt=0, description="largest one-run lower bound of epsilon")
    min_coverage: float = Field(0.3, ge=0, le=1)
    max_distance_ratio: float = Field(1e6, gt=0, description="largest FD as a multiple of the real-real floor")
    beat_baseline: bool = Field(False, description="FD must be below the baseline's, when there is one")
    feature_steps: int = Field(150, ge=1, description="training steps of each feature network")
    seed: int = 0


class ReleaseRecipe(Recipe):
    model_name: str = "medgan"
    licence: str = "not for clinical use; no attempt at re-identification"
    intended_use: str = "research and software development"


class AnalyzeRecipe(Recipe):
    components: int = Field(64, ge=1, le=1024, description="whitened features that diagnose and retrieve look at")
    normal: str = Field("", description="the class that anomaly learns; empty: the one with most images")


STAGES: dict[type[Recipe], str] = {
    IngestRecipe: "ingest",
    DeidentifyRecipe: "deidentify",
    PreprocessRecipe: "preprocess",
    TrainRecipe: "train",
    SynthesizeRecipe: "synthesize",
    EvaluateRecipe: "evaluate",
    ReleaseRecipe: "release",
    AnalyzeRecipe: "analyze",
}
R = TypeVar("R", bound=Recipe)


def load(kind: type[R], name_or_file: str) -> R:
    """One stage's recipe from a preset's name or a TOML file with a table for each stage.

    A file may say `base = "demo"` and change only some fields. Raises UsageError that names the field.
    """
    tables = _tables(name_or_file)
    try:
        return kind.model_validate(tables.get(STAGES[kind], {}))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join([STAGES[kind], *map(str, first["loc"])])
        raise UsageError(
            f"recipe field {field}: {first['msg']}; fields of [{STAGES[kind]}] are {', '.join(kind.model_fields)}"
        ) from None


def _tables(name_or_file: str) -> dict[str, Any]:
    if name_or_file in PRESETS:
        text = resources.files("medgan.presets").joinpath(f"{name_or_file}.toml").read_text()
        tables = tomllib.loads(text)
    elif Path(name_or_file).is_file():
        try:
            tables = tomllib.loads(Path(name_or_file).read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            raise UsageError("the recipe file is not valid TOML; see docs/recipes.md for an example") from None
    else:
        raise UsageError(f"no recipe of that name or file; presets are {', '.join(PRESETS)}")
    base = tables.pop("base", None)
    if unknown := set(tables) - set(STAGES.values()):
        raise UsageError(f"unknown recipe table {sorted(unknown)[0]!r}; tables are {', '.join(STAGES.values())}")
    if base is None:
        return tables
    merged = _tables(base) if base in PRESETS else {}
    if not merged and base not in PRESETS:
        raise UsageError(f"base: no such preset; presets are {', '.join(PRESETS)}")
    return {stage: {**merged.get(stage, {}), **tables.get(stage, {})} for stage in {*merged, *tables}}
