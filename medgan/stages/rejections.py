"""How one study's rejection becomes a record, and when there are too many of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from medgan.errors import StudyRejected, TooManyQuarantined
from medgan.ledger import Ledger
from medgan.records import Quarantined, Record

R = TypeVar("R", bound=Record)


def quarantined(error: StudyRejected, *, study_key: str, stage: str, key: str, ledger: Ledger) -> Quarantined:
    """Record a rejection in the ledger, so that it is counted and not tried again under the same key."""
    ledger.set_aside(study_key, stage, key, error.reason)
    return Quarantined(study_key=study_key, stage=stage, reason=error.reason)


def within_limit(outcomes: Sequence[R | Quarantined], limit: float) -> list[R]:
    """The outcomes that are not rejections. Raises TooManyQuarantined when their share is over `limit`."""
    rejected = [outcome for outcome in outcomes if isinstance(outcome, Quarantined)]
    if outcomes and len(rejected) / len(outcomes) > limit:
        most = Counter(r.reason.value for r in rejected).most_common(3)
        raise TooManyQuarantined(
            f"{len(rejected)} of {len(outcomes)} quarantined, the recipe allows a share of {limit:g}; "
            f"most often: {', '.join(f'{reason} ({n})' for reason, n in most)}; see `medgan quarantine list`"
        )
    return [outcome for outcome in outcomes if not isinstance(outcome, Quarantined)]
