"""Dataclasses to JSON and back: exactly the declared type, or an error that names the field."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcgipm.codec import CodecError, from_json, to_json

Meters = NewType("Meters", int)


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Wheel:
    size: Meters
    spokes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Car:
    name: str
    colour: Colour
    wheels: tuple[Wheel, ...]
    owner: str | None
    extras: Mapping[str, int]
    gear: Literal["hand", "automatic"]
    weight: float
    electric: bool = False


CAR = Car(
    name="x",
    colour=Colour.RED,
    wheels=(Wheel(Meters(1), (2, 3)),),
    owner=None,
    extras={"a": 1},
    gear="hand",
    weight=1.5,
)


def test_what_goes_in_comes_out() -> None:
    assert from_json(Car, json.loads(json.dumps(to_json(CAR)))) == CAR


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": 3}, "Car.name: str expected, got int"),
        ({"electric": 1}, "Car.electric: bool expected, got int"),
        ({"colour": "blue"}, "Car.colour: one of red expected"),
        ({"wheels": {}}, "Car.wheels: list expected"),
        ({"wheels": [{"size": True}]}, r"Car.wheels\[0\].size: int expected, got bool"),
        ({"wheels": [{"size": 1, "tyre": 2}]}, r"Car.wheels\[0\]: unknown field 'tyre'"),
        ({"wheels": [{}]}, r"Car.wheels\[0\]: field 'size' is missing"),
        ({"owner": 1.5}, "Car.owner"),
        ({"extras": {"a": "b"}}, "Car.extras.a: int expected"),
        ({"gear": "none"}, "Car.gear: one of"),
        ({"gear": []}, "Car.gear: one of"),
        ({"weight": "heavy"}, "Car.weight: float expected"),
    ],
)
def test_another_type_is_an_error_that_names_the_field(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CodecError, match=complaint):
        from_json(Car, {**to_json(CAR), **change})


def test_a_whole_number_is_a_float_but_not_the_other_way_round() -> None:
    assert from_json(Car, {**to_json(CAR), "weight": 2}).weight == 2.0
    with pytest.raises(CodecError):
        from_json(Wheel, {"size": 1.0})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_any_json_is_a_value_or_a_codec_error(value: Any) -> None:
    try:
        from_json(Car, value)
    except CodecError:
        return


@given(st.dictionaries(st.sampled_from([*Car.__dataclass_fields__, "other"]), JSON))
def test_any_object_is_a_value_or_a_codec_error(value: Any) -> None:
    try:
        from_json(Car, {**to_json(CAR), **value})
    except CodecError:
        return
