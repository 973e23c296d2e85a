"""One screen: what arrived, what waits, what failed, and which model is champion."""

from __future__ import annotations

from typing import Any

from medgan import known_sources
from medgan.home import Home
from medgan.records import Checkpoint, Release, Scorecard, Study
from medgan.sources.inbox import Inbox
from medgan.stages import merges, newest


def status(home: Home) -> dict[str, Any]:
    """Counts from the ledgers of the home, newest results last."""
    ledger = home.research.ledger
    arrived = {entry.subject for entry in home.identified_ledger.entries("ingest")}
    cleaned = {study.study_key for study in home.research.records("deidentify", Study)}
    packed = {entry.subject for entry in ledger.entries("preprocess")}
    through = {"deidentify": cleaned, "preprocess": packed}
    # a row stays where another recipe let the study through later
    aside = {row["subject"] for row in ledger.set_aside_rows() if row["subject"] not in through[row["stage"]]}
    cards = home.research.records("evaluate", Scorecard)
    checkpoints = home.research.records("train", Checkpoint)
    releases = home.research.records("release", Release)
    owed = ledger.requested("retrain")
    return {
        "inputs": home.identified_ledger.input_states() or "none yet",
        "quarantined inputs": home.identified_ledger.input_reasons(),
        "studies": {
            "arrived": len(arrived),
            "wait for de-identification": len(arrived - cleaned - aside),
            "wait for preprocessing": len(cleaned - packed - aside),
            "set aside": len(aside),
        },
        "sources that the schedule follows": len(known_sources.everything(home.root / "identified")),
        "oldest unprocessed, seconds": round(oldest_unprocessed_seconds(home), 1),
        "cohorts": [
            f"{c.group}: {c.count} images of {c.patients} {c.unit}s; "
            + ", ".join(f"{k} {v}" for k, v in c.splits.items())
            for c in newest.real_cohorts(home)
        ],
        "retraining": f"asked for, because of {len(owed)} models" if owed else "not asked for",
        "cohorts that merged patients straddle": len(merges.straddled(home)) or "none",
        "newest checkpoint": f"{checkpoints[-1].digest[:12]} after {checkpoints[-1].images_seen} images"
        if checkpoints
        else "none",
        "newest verdict": f"{cards[-1].answer}" if cards else "none",
        "newest release": f"model version {releases[-1].model_version} ({releases[-1].alias or 'no alias'})"
        if releases
        else "none",
    }


def oldest_unprocessed_seconds(home: Home) -> float:
    """Age of what waits longest: in the inbox, at an archive, or for de-identification; 0 when nothing waits."""
    identified, research = home.identified_ledger, home.research.ledger
    times = [identified.oldest_owed(), Inbox(home.inbox).oldest()]
    done = {entry.subject for entry in research.entries("deidentify")}
    done |= {row["subject"] for row in research.set_aside_rows("deidentify")}
    times.append(min((at for subject, at in identified.made("ingest").items() if subject not in done), default=None))
    return max(0.0, *(identified.clock() - at for at in times if at is not None), 0.0)
