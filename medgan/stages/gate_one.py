"""What the two roads through gate 1 share: the steps that a study takes, and what is said of it afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from medgan.deid.audit.validity import Validity, available, one_each
from medgan.deid.draft import Draft, Written, finish
from medgan.deid.faces.faces import deface
from medgan.deid.header import characteristics, series_of
from medgan.deid.pixels.look import look
from medgan.deid.profiles import own_profile
from medgan.deid.profiles.profile import Profile
from medgan.deid.profiles.profile import profile as named_profile
from medgan.deid.scrub.tree import DEFLATED
from medgan.errors import Reason
from medgan.recipes import DeidentifyRecipe


def profile_of(recipe: DeidentifyRecipe) -> Profile:
    """The profile that a recipe names or describes. Raises UsageError."""
    return own_profile.parse(recipe.own.mapping()) if recipe.own else named_profile(recipe.profile)


def prepare(drafts: Sequence[Draft], applied: Profile, ocr_side: int) -> None:
    """Blank burned-in text, and remove faces where the profile does; sets a reason where it could not tell."""
    if applied.cleans_pixels:
        look(drafts, ocr_side, keep_annotations=applied.keep_annotations)
    if applied.removes_faces:
        for draft in drafts:
            deface(draft.instances)


def settle(draft: Draft, applied: Profile, secret: bytes, most_days: int) -> tuple[Written, dict[str, Any]]:
    """Finish a study that was prepared; the result, and what a report says of it (see `told_of`).

    One finding of the audit sets every instance aside; a kind of error that the source does not have, its series.
    """
    written = finish(draft, applied, secret, most_days)
    validity = Validity(available())
    less_valid = _less_valid(draft, written, validity)
    leaked = Reason.AUDIT_FAILED in draft.refused().values()
    for instance in draft.instances:
        if leaked or instance.name in less_valid:
            instance.reason = instance.reason or Reason.AUDIT_FAILED
    return written, told_of(draft, written, validity)


def told_of(draft: Draft, written: Written, validity: Validity) -> dict[str, Any]:
    """Counts of one study as plain JSON values, without a value that the result does not hold itself."""
    whole = [instance for instance in draft.instances if instance.reason is None]
    refused = draft.refused()
    first = next((written.files[uid] for uid in sorted(written.files) if written.origins[uid] not in refused), None)
    return {
        "actions": by_attribute(written.counts) if whole else {},
        "boxes": sum(len(found) for instance in whole for found in instance.boxes),
        "looked": sum(instance.looked for instance in whole),
        "faceless": sum(instance.faceless for instance in whole),
        "codes": list(written.codes) if whole else [],
        "people": {draft.patient_key: characteristics(first)} if first is not None else {},
        "validity": {"checked": validity.checked, "worse": dict(sorted(validity.worse.items()))},
    }


def by_attribute(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """(keyword, action) -> how often, as keyword -> action -> how often."""
    actions: dict[str, dict[str, int]] = {}
    for (keyword, action), count in sorted(counts.items()):
        actions.setdefault(keyword, {})[action] = count
    return actions


def _less_valid(draft: Draft, written: Written, validity: Validity) -> set[str]:
    """Sources of the series of which one result, held against its source by the validator, was less valid."""
    # it reads no deflated source: what it then finds in the result would look new
    sources = {one.name: one.source for one in draft.instances if one.tree.syntax != DEFLATED}
    known: dict[str, tuple[Hashable, ...]] = {
        uid: series_of(data) for uid, data in written.files.items() if written.origins[uid] in sources
    }
    worse: set[tuple[Hashable, ...]] = set()
    for uid in one_each(known) if validity.available else ():
        if validity.weigh(sources[written.origins[uid]], written.files[uid]):
            worse.add(known[uid])
    return {written.origins[uid] for uid, series in known.items() if series in worse}
