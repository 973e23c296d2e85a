"""Who gets what: the mix of labels, scanners and mischief, dealt from decks so that small sets are mixed too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LABEL_DECK = ("normal",) * 4 + ("nodule", "nodule", "opacity", "opacity", "effusion", "effusion")
CT_DECK, MR_DECK, BURN_DECK = 12, 20, 16  # one patient of so many
BROKEN = ("empty", "text", "truncated", "no_sop_uid", "duplicate", "conflict")
BROKEN_SHARE = 0.01
FEWEST_FOR_BROKEN = 8


@dataclass(frozen=True, slots=True)
class Deal:
    """What one patient was dealt."""

    index: int
    label: str
    has_ct: bool
    has_mr: bool
    burned: bool
    broken: tuple[str, ...]


def deal(index: int, patients: int, seed: int) -> Deal:
    """The hand of patient `index` of `patients`; depends on nothing else."""
    return Deal(
        index=index,
        label=str(cards(LABEL_DECK, index, seed)),
        has_ct=chosen(index, patients, CT_DECK, seed, 11),
        has_mr=chosen(index, patients, MR_DECK, seed, 12),
        burned=chosen(index, patients, BURN_DECK, seed, 13),
        broken=mischief(index, patients, seed),
    )


def cards(deck: tuple[str, ...], index: int, seed: int) -> str:
    """The card of `index` when the deck is shuffled anew for each round."""
    turn, place = divmod(index, len(deck))
    return deck[int(np.random.default_rng([seed, 10, turn]).permutation(len(deck))[place])]


def chosen(index: int, patients: int, deck: int, seed: int, purpose: int) -> bool:
    """Whether `index` is the one of its round; an unfinished round has one too when it is the first."""
    turn, place = divmod(index, deck)
    present = min(deck, patients) if turn == 0 else deck
    return int(np.random.default_rng([seed, purpose, turn]).integers(present)) == place


def mischief(index: int, patients: int, seed: int) -> tuple[str, ...]:
    """The broken files of this patient: about one in a hundred patients has one, all kinds at least once."""
    if patients < FEWEST_FOR_BROKEN:
        return ()
    count = max(len(BROKEN), round(BROKEN_SHARE * patients))
    victims = np.random.default_rng([seed, 14]).permutation(patients)[:count]
    return tuple(BROKEN[k % len(BROKEN)] for k, victim in enumerate(victims) if victim == index)
