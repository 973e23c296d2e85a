"""An own profile, from TOML: options of PS3.15 by name, rules for single attributes, and who decided.

A profile that retains more than `research` is taken only with a decision: by whom, on which day, and why.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, cast

from medgan.deid.profiles import options
from medgan.deid.profiles.ops import BY_VR, PATIENT_TAGS, RETAINED_VRS, TEMPORAL, Op, regardless
from medgan.deid.profiles.private import CLEANABLE, PrivateRule, known_vr, safe_private
from medgan.deid.profiles.profile import RULE_ACTIONS, Decision, Profile, Rule, RuleAction, profile
from medgan.deid.profiles.table import dictionary_vr, keyword, tag_of
from medgan.errors import UsageError

KEYS = ("name", "options", "rule", "age_band_years", "decision")
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,15}")  # fits DeidentificationMethod beside edition, version and key id
PRIVATE = re.compile(r"([0-9A-Fa-f]{4}),(.+?),([0-9A-Fa-f]{2})(?:,([A-Z]{2}))?")
OLDEST_BAND = 50
EXPOSING = ("keep", "clean", "uid")
HIDDEN = (Op.REMOVE, Op.EMPTY, Op.DUMMY)


def load(path: Path) -> dict[str, Any]:
    """The content of a profile file, proved to be one. Raises UsageError that says what is wrong and where."""
    try:
        mapping = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError("no profile of that name or file; expected research, basic or a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise UsageError("the profile file is not valid TOML; see docs/profiles.md for an example") from None
    parse(mapping)
    return mapping


def parse(mapping: Mapping[str, Any]) -> Profile:
    """The profile that a mapping describes. Raises UsageError: found, expected, remedy."""
    _only(mapping, KEYS, "profile")
    chosen = _options(mapping.get("options"))
    rules, private_rules = _rules(mapping.get("rule", []), chosen)
    made = Profile(
        name=_name(mapping.get("name")),
        options=tuple(name for name in options.OPTIONS if name in chosen),
        rules=rules,
        private_rules=private_rules,
        keep_annotations=options.KEEP_ANNOTATIONS in chosen,
        age_band_years=_band(mapping.get("age_band_years", 1)),
        decided=_decision(mapping.get("decision")),
    )
    more = beyond_research(made)
    if more and made.decided is None:
        raise UsageError(
            f"profile: retains more than research ({', '.join(more)}) and nobody decided it; "
            "add [decision] with by, on and because, or take that out"
        )
    return made


def beyond_research(made: Profile) -> list[str]:
    """What a profile retains that `research` does not, by name of option or attribute."""
    research = profile("research")
    more = [name for name in made.options if name.startswith("retain_") and name not in research.options]
    if not made.cleans_pixels:
        more.append("pixels without clean_pixel_data")
    more += [keyword(rule.tag) for rule in made.rules if _exposes(made, rule, research)]
    safe = safe_private()
    more += [r.creator for r in made.private_rules if r.vr and (r.group, r.creator, r.low_byte) not in safe]
    return more


def _exposes(made: Profile, rule: Rule, research: Profile) -> bool:
    if rule.action not in EXPOSING:
        return False
    vr = dictionary_vr(rule.tag)
    theirs, ours = research.op(rule.tag, vr, ""), made.op(rule.tag, vr, "")
    return theirs in HIDDEN or (ours in (Op.RETAIN, Op.KEEP) and ours is not theirs)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError("profile: name must be 1 to 16 lower-case letters, digits, dots, dashes or underscores")
    if name in ("research", "basic", "own"):
        raise UsageError(f"profile: the name {name} is taken; give an own profile another one")
    return name


def _band(years: Any) -> int:
    if not isinstance(years, int) or isinstance(years, bool) or not 1 <= years <= OLDEST_BAND:
        raise UsageError(f"profile: age_band_years must be a whole number from 1 (ages as they are) to {OLDEST_BAND}")
    return years


def _options(chosen: Any) -> tuple[str, ...]:
    expected = (*options.OPTIONS, options.KEEP_ANNOTATIONS)
    if not isinstance(chosen, list | tuple) or not all(isinstance(name, str) for name in chosen):
        raise UsageError(f"profile: options must be a list of names out of {', '.join(expected)}")
    for name in chosen:
        if name not in expected:
            raise UsageError(f"profile: unknown option {name!r}; options are {', '.join(expected)}")
    if {"retain_full_dates", "retain_modified_dates"} <= set(chosen):
        raise UsageError("profile: retain_full_dates and retain_modified_dates exclude each other; keep one")
    if options.KEEP_ANNOTATIONS in chosen and "clean_pixel_data" not in chosen:
        raise UsageError("profile: keep_annotations says what clean_pixel_data may leave; add clean_pixel_data")
    return tuple(chosen)


def _rules(tables: Any, chosen: tuple[str, ...]) -> tuple[tuple[Rule, ...], tuple[PrivateRule, ...]]:
    if not isinstance(tables, list | tuple) or not all(isinstance(table, Mapping) for table in tables):
        raise UsageError("profile: rules are written as [[rule]] tables with attribute, action and because")
    rules: dict[int, Rule] = {}
    private_rules: dict[tuple[int, str, int], PrivateRule] = {}
    for number, table in enumerate(tables, 1):
        place = f"profile rule {number}"
        _only(table, ("attribute", "action", "because"), place)
        attribute, action, because = (_text(table, key, place) for key in ("attribute", "action", "because"))
        if action not in RULE_ACTIONS:
            raise UsageError(f"{place}: unknown action; actions are {', '.join(RULE_ACTIONS)}")
        if match := PRIVATE.fullmatch(attribute):
            private = _private_rule(match, action, because, chosen, place)
            _add(private_rules, (private.group, private.creator, private.low_byte), private, place)
        else:
            rule = _rule(attribute, cast(RuleAction, action), because, chosen, place)
            _add(rules, rule.tag, rule, place)
    return tuple(rules.values()), tuple(private_rules.values())


def _add(known: dict[Any, Any], key: Any, rule: Any, place: str) -> None:
    if key in known:
        raise UsageError(f"{place}: another rule speaks of the same attribute; keep one of them")
    known[key] = rule


def _rule(attribute: str, action: RuleAction, because: str, chosen: tuple[str, ...], place: str) -> Rule:
    tag = tag_of(attribute)
    if tag is None:
        raise UsageError(
            f"{place}: unknown attribute; expected a keyword of PS3.6, 8 hex digits, or group,creator,low byte"
        )
    if tag in PATIENT_TAGS:
        raise UsageError(f"{place}: {keyword(tag)} always becomes the pseudonym; take the rule out")
    if regardless(tag) is not None:
        raise UsageError(f"{place}: {keyword(tag)} is treated the same under every profile; take the rule out")
    if action in EXPOSING:
        _check_vr(tag, action, chosen, place)
    return Rule(tag, action, because)


def _check_vr(tag: int, action: RuleAction, chosen: tuple[str, ...], place: str) -> None:
    """Refuse to expose a value that could not be judged."""
    vr = dictionary_vr(tag)
    op = BY_VR.get(vr)
    if vr == "PN":
        raise UsageError(f"{place}: a person's name is never kept; expected remove, empty or dummy")
    if action == "uid" and vr != "UI":
        raise UsageError(f"{place}: {keyword(tag)} holds no UID; expected another action than uid")
    if op is None and vr not in RETAINED_VRS:
        raise UsageError(f"{place}: values of {keyword(tag)} cannot be judged; expected remove, empty or dummy")
    if op in TEMPORAL and not {"retain_full_dates", "retain_modified_dates"} & set(chosen):
        raise UsageError(f"{place}: {keyword(tag)} needs the option retain_modified_dates or retain_full_dates")


def _private_rule(match: re.Match[str], action: str, because: str, chosen: Iterable[str], place: str) -> PrivateRule:
    group, creator, low_byte = int(match[1], 16), match[2].strip(), int(match[3], 16)
    if not group & 1:
        raise UsageError(f"{place}: private groups are odd; write a standard attribute as keyword or 8 hex digits")
    if action == "remove":
        return PrivateRule(group, creator, low_byte, "", because)
    if action not in ("keep", "clean"):
        raise UsageError(f"{place}: a private attribute is kept, cleaned or removed; expected one of these")
    if "retain_safe_private" not in chosen:
        raise UsageError(f"{place}: keeping a private attribute needs the option retain_safe_private")
    vr = match[4] or known_vr(group, creator, low_byte)
    if vr not in CLEANABLE:
        raise UsageError(
            f"{place}: no VR is known under which this private attribute could be cleaned; add one as "
            "group,creator,low byte,VR, or remove it"
        )
    return PrivateRule(group, creator, low_byte, vr, because)


def _decision(table: Any) -> Decision | None:
    if table is None:
        return None
    if not isinstance(table, Mapping):
        raise UsageError("profile: the decision is written as a [decision] table with by, on and because")
    _only(table, ("by", "on", "because"), "profile decision")
    day = table.get("on")
    try:
        on = day if isinstance(day, date) else date.fromisoformat(str(day))
    except ValueError:
        raise UsageError("profile decision: on must be a day such as 2026-11-27") from None
    return Decision(_text(table, "by", "profile decision"), on, _text(table, "because", "profile decision"))


def _only(table: Mapping[str, Any], keys: tuple[str, ...], place: str) -> None:
    for key in table:
        if key not in keys:
            raise UsageError(f"{place}: unknown key {key!r}; keys are {', '.join(keys)}")


def _text(table: Mapping[str, Any], key: str, place: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{place}: {key} is missing or empty; expected a text")
    return value.strip()
