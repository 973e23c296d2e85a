"""Scorecard -> Release: the gate, the signed bundle, the model version, its alias; in that order, or nothing."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medgan import digest as digests
from medgan.bundle import sign
from medgan.bundle.words import figure, interval
from medgan.errors import CorruptArtefact
from medgan.home import Home
from medgan.ledger import Entry, record_json
from medgan.recipes import EvaluateRecipe, ReleaseRecipe
from medgan.records import Checkpoint, Cohort, Release, Report, Scorecard
from medgan.registry.gate import SEVERITY, Verdict, judge
from medgan.registry.promotion import Version, keeps_challenger
from medgan.stages import bundling
from medgan.stages.bundling import Case

logger = logging.getLogger(__name__)

VERSION = 1
STAGE = "release"


def release(
    scorecard: Scorecard,
    synthetic: Cohort,
    checkpoint: Checkpoint,
    recipe: ReleaseRecipe,
    home: Home,
    *,
    limits: EvaluateRecipe,
    lineage: Mapping[str, float | None] | None = None,
) -> Release:
    """Judge the evidence again; seal, register and alias when it is accepted.

    A refusal releases nothing: its reasons are in the Release, and a report stays in the research zone
    (`report_file`). Raises CorruptArtefact for damaged evidence, ConnectionError when the registry is away
    (called again, it goes on where it stopped).
    """
    for digest in (scorecard.digest, synthetic.digest, checkpoint.digest):
        home.research.store.verify(digest)
    card = _card(scorecard, home)
    verdict = _verdict(card, _strangers(scorecard, synthetic, checkpoint, card, home), limits)
    counts = {**bundling.ancestry(checkpoint, home), **(lineage or {})}
    case = Case(scorecard, synthetic, checkpoint, card, verdict, recipe, limits, counts)
    if case.verdict.answer != "accept":
        report = _reported(case, home)
        return _refused(case, report, home)
    made = _bundled(case, home)
    _reported(case, home)
    if made.model_version and made.alias:
        return made
    return _registered(case, made, home)


def report_file(made: Release, home: Home) -> Path:
    """report.html of the research zone for a release or a refusal."""
    for report in reversed(home.research.records("report", Report)):
        if report.scorecard_digest == made.scorecard_digest and report.answer == made.answer:
            return home.research.store.path(report.digest) / "report.html"
    raise CorruptArtefact("this release has no report in the research zone; run `medgan release` again")


def _verdict(card: dict[str, Any], strangers: Sequence[str], limits: EvaluateRecipe) -> Verdict:
    verdict = judge(
        card,
        min_coverage=limits.min_coverage,
        max_distance_ratio=limits.max_distance_ratio,
        beat_baseline=limits.beat_baseline,
        smallest_leak=limits.smallest_leak,
        max_epsilon=limits.max_epsilon,
    )
    if not strangers:
        return verdict
    return Verdict(max(verdict.answer, "inconclusive", key=SEVERITY.__getitem__), (*strangers, *verdict.reasons))


def _card(scorecard: Scorecard, home: Home) -> dict[str, Any]:
    try:
        card = json.loads((home.research.store.path(scorecard.digest) / "scorecard.json").read_bytes())
    except (OSError, ValueError):
        raise CorruptArtefact("the scorecard artefact holds no readable scorecard.json; evaluate again") from None
    return card if isinstance(card, dict) else {}


def _strangers(
    scorecard: Scorecard, synthetic: Cohort, checkpoint: Checkpoint, card: Mapping[str, Any], home: Home
) -> list[str]:
    """Why this evidence is not about this cohort and checkpoint, or is no longer current."""
    ledger = home.research.ledger
    found = []
    if not any(entry.digest == scorecard.digest for entry in ledger.entries("evaluate")):
        found.append("the scorecard is not in the ledger, or was withdrawn; evaluate again")
    if synthetic.origin != "synthetic" or not any(e.digest == synthetic.digest for e in ledger.entries("synthesize")):
        found.append("the cohort is not one that this house sampled; only a synthetic cohort can be released")
    if {scorecard.cohort_digest, card.get("cohort", synthetic.digest)} != {synthetic.digest}:
        found.append("the scorecard is of another cohort; evaluate this one")
    if {scorecard.checkpoint_digest, card.get("checkpoint", checkpoint.digest)} != {checkpoint.digest}:
        found.append("the scorecard is of another checkpoint; evaluate the cohort of this one")
    if checkpoint.digest not in ledger.made_of(synthetic.digest):
        found.append("the cohort was not sampled from this checkpoint; synthesize from it")
    if figure(card, "counts", "synthetic") != synthetic.count:
        found.append("the scorecard counts another number of pictures than the cohort holds; evaluate again")
    if gone := len(_withdrawn(checkpoint.digest, home)):
        found.append(f"the model learned from {gone} withdrawn patient{'s' if gone > 1 else ''}; train again")
    return found


def _withdrawn(checkpoint: str, home: Home) -> set[str]:
    return home.research.ledger.patients_of(checkpoint) & home.research.ledger.buried()


def _key(stage: str, case: Case, **more: Any) -> str:
    inputs = [case.scorecard.digest, case.synthetic.digest, case.checkpoint.digest]
    return digests.key(stage, VERSION, inputs, case.recipe, limits=case.limits.model_dump(mode="json"), **more)


def _reported(case: Case, home: Home) -> Report:
    """The research zone's report: it shows real pictures, so it is bound to their patients."""

    def fill(folder: Path) -> Report:
        bundling.fill_report(folder, case, home)
        return Report(digest="", scorecard_digest=case.scorecard.digest, answer=case.verdict.answer)

    return home.research.make(
        _key("report", case, answer=case.verdict.answer, reasons=list(case.verdict.reasons)),
        fill,
        stage="report",
        kind=Report,
        parents=_parents(case),
        patients=home.research.ledger.patients_of(case.checkpoint.digest),
    )


def _refused(case: Case, report: Report, home: Home) -> Release:
    refusal = Release(answer=case.verdict.answer, reasons=case.verdict.reasons, scorecard_digest=case.scorecard.digest)
    key = _key("refusal", case, reasons=list(case.verdict.reasons))
    home.research.ledger.record(Entry(key, report.digest, "refusal", record_json(refusal), parents=_parents(case)))
    logger.info("release refused: %s, %d reasons", refusal.answer, len(refusal.reasons))
    return refusal


def _bundled(case: Case, home: Home) -> Release:
    """The sealed bundle, recorded before the registry hears of it."""
    signer = sign.fingerprint(bundling.signing_key(home).public_key())
    key = _key(STAGE, case, signer=signer)
    entry = home.research.ledger.find(key)
    if entry and home.public.has(entry.digest):
        return Release.model_validate_json(entry.record)
    with home.public.staging() as folder:
        bundling.fill_bundle(folder, case, home)
        digest = home.public.seal(folder, sign.KIND, {"stage": sign.KIND})
    made = Release(answer="accept", reasons=(), bundle_digest=digest, scorecard_digest=case.scorecard.digest)
    _record(case, made, key, home)
    logger.info("bundle %s sealed", digest[:12])
    return made


def _registered(case: Case, made: Release, home: Home) -> Release:
    """Register, try, point `challenger` at it, then `champion` when nothing speaks against it."""
    from medgan.registry import models
    from medgan.stages import tracking

    uri, name = tracking.uri(home), case.recipe.model_name
    metrics = _metrics(case.card)
    tags = {"group": case.synthetic.group, "scorecard": made.scorecard_digest, "bundle": made.bundle_digest}
    folder = home.research.store.path(case.checkpoint.digest)
    with home.research.ledger.lease("registry"):
        version = models.register(folder, name=name, uri=uri, tags=tags, metrics=metrics)
        models.set_alias(name, uri, "challenger", version)
        champion = models.champion(name, uri)
        against = ""
        if champion is not None and champion.version != version and not _withdrawn(champion.checkpoint, home):
            present = Version(champion.tags.get("group", ""), champion.metrics)
            against = keeps_challenger(Version(case.synthetic.group, metrics), present)
        if not against:
            models.set_alias(name, uri, "champion", version)
    alias = "challenger" if against else "champion"
    reasons = (f"stays challenger: {against}",) if against else ()
    done = made.model_copy(update={"model_version": version, "alias": alias, "reasons": reasons})
    signer = sign.fingerprint(bundling.signing_key(home).public_key())
    _record(case, done, _key(STAGE, case, signer=signer), home)
    return done


def _metrics(card: Mapping[str, Any]) -> dict[str, float]:
    auc = interval(card, "privacy", "membership_auc") or (math.nan, math.nan, math.nan)
    figures = {
        **{name: figure(card, "fidelity", name) for name in ("fd", "fd_ratio", "precision", "recall", "coverage")},
        "tstr_auc": figure(card, "utility", "tstr_auc"),
        "epsilon_lower": figure(card, "privacy", "epsilon_lower"),
        "smallest_leak": figure(card, "privacy", "smallest_leak"),
        "auc": auc[1],
        "auc_high": auc[2],
    }
    return {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}


def _record(case: Case, made: Release, key: str, home: Home) -> None:
    patients = home.research.ledger.patients_of(case.checkpoint.digest)
    home.research.ledger.record(
        Entry(key, made.bundle_digest, STAGE, record_json(made), parents=_parents(case), patients=tuple(patients))
    )


def _parents(case: Case) -> tuple[str, ...]:
    return case.scorecard.digest, case.synthetic.digest, case.checkpoint.digest
