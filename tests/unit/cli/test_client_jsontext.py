"""Our short way to JSON, against the standard library's long one."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.doors.client.jsontext import decode, encode, quote_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)
NEAR_JSON = st.text(st.sampled_from('[]{},:"\\ \n\t0123456789.eE+-truefalsn\u00e9\ufeffu'), max_size=30)


@given(VALUES, st.sampled_from([None, 2]))
def test_what_json_writes_is_read(value: object, indent: int | None) -> None:
    assert decode(json.dumps(value, indent=indent).encode()) == value
    assert decode(json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "replace")) is not ...


@given(VALUES)
def test_what_we_write_is_what_json_writes(value: object) -> None:
    assert encode(value) == json.dumps(value, separators=(",", ":"))


@given(st.text())
def test_quoted_text(text: str) -> None:
    assert quote_text(text) == json.dumps(text, ensure_ascii=False)


@given(NEAR_JSON.map(str.encode) | st.binary(max_size=20))
def test_garbage_is_refused_where_json_refuses_it(data: bytes) -> None:
    try:
        expected = json.loads(data)
    except ValueError:
        with pytest.raises(ValueError):
            decode(data)
    else:
        assert decode(data) == expected


def test_oddities() -> None:
    assert decode(b"[NaN, -Infinity]")[1] == float("-inf")
    assert decode(b"\xef\xbb\xbf{}") == {}
    assert decode('{"a":1}'.encode("utf-16")) == {"a": 1}
    assert encode({"a": (1, True, None), "ü": "\ud800"}) == '{"a":[1,true,null],"\\u00fc":"\\ud800"}'
    with pytest.raises(TypeError):
        encode({"a": object()})


def test_without_the_fast_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another interpreter has no `_json`."""
    monkeypatch.setitem(sys.modules, "_json", None)
    assert decode(b' {"a": [1.5]} ') == {"a": [1.5]}
    assert encode({"a": [1.5]}) == '{"a":[1.5]}'
    assert quote_text("ü\n") == '"ü\\n"'
