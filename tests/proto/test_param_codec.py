from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mattebox_proto.codecs.params import decode_params, encode_params
from mattebox_proto.errors import InvalidMessage
from mattebox_proto.mattebox.v1 import edit_pb2

values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)


@given(st.dictionaries(st.text(), values))
def test_parameters_come_back_with_their_types(params: dict[str, bool | int | float | str]) -> None:
    edit = edit_pb2.Edit.FromString(edit_pb2.Edit(params=encode_params(params)).SerializeToString())
    back = decode_params(edit.params)
    assert back == params
    assert {name: type(value) for name, value in back.items()} == {n: type(v) for n, v in params.items()}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**63])
def test_numbers_that_do_not_fit_are_refused_by_name(value: float) -> None:
    with pytest.raises(InvalidMessage, match="parameter scale"):
        encode_params({"scale": value})


def test_a_parameter_without_a_value_or_with_an_endless_one_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="parameter scale has no value"):
        decode_params({"scale": edit_pb2.Parameter()})
    with pytest.raises(InvalidMessage, match="not a finite number"):
        decode_params({"scale": edit_pb2.Parameter(number=float("nan"))})
