from hypothesis import given
from hypothesis import strategies as st

from medgan import digest
from medgan.recipes import TrainRecipe


@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=5))
def test_the_order_of_a_mapping_does_not_count(value: dict[str, int]) -> None:
    assert digest.canonical(value) == digest.canonical(dict(reversed(list(value.items()))))


def test_a_key_depends_on_stage_version_inputs_and_recipe_but_not_on_their_order() -> None:
    recipe = TrainRecipe()
    base = digest.key("train", 1, ["a", "b"], recipe)
    assert base == digest.key("train", 1, ["b", "a"], recipe)
    others = {
        digest.key("train", 2, ["a", "b"], recipe),
        digest.key("other", 1, ["a", "b"], recipe),
        digest.key("train", 1, ["a"], recipe),
        digest.key("train", 1, ["a", "b"], TrainRecipe(seed=1)),
        digest.key("train", 1, ["a", "b"], recipe, key="x"),
    }
    assert len(others | {base}) == 6


@given(st.binary(min_size=1), st.text(), st.text())
def test_purposes_and_secrets_keep_keyed_digests_apart(secret: bytes, a: str, b: str) -> None:
    assert digest.keyed(secret, "patient", a) != digest.keyed(secret, "study", a)
    assert (digest.keyed(secret, "p", a) == digest.keyed(secret, "p", b)) == (a == b)


def test_blanks_around_an_id_do_not_make_another_patient() -> None:
    assert digest.patient_key(b"k", "123 ") == digest.patient_key(b"k", "123")
    assert digest.patient_key(b"k", "123") != digest.patient_key(b"k", "123", "other hospital")
