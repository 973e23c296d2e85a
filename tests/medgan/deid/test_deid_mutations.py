"""Damaged and lying files end clean or set aside; bench deid_mutations tries a thousand."""

from hypothesis import HealthCheck, Phase, given, settings
from plants_mutations import MUTATIONS, bases, layout, mutated
from plants_ordeal import undergo

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=SLOW, phases=[Phase.generate])
@given(mutated())
def test_a_damaged_file_is_clean_or_set_aside(file) -> None:  # type: ignore[no-untyped-def]
    case, data, names = file
    outcome = undergo(case, data)
    assert not outcome.wrong, (outcome, case.kind, names)


def test_files_to_damage_come_through_whole() -> None:
    states = {case.kind: undergo(case, case.data).state for case in bases()}
    assert set(states.values()) == {"written"}, states


def test_every_element_of_a_file_is_found_to_be_damaged() -> None:
    for case in bases():
        places = layout(case.data).places
        assert len(places) > 60 and places[-1][1] <= len(case.data)
    assert len(MUTATIONS) == 12
