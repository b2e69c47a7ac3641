"""What hypothesis makes inputs of: arbitrary values, good ones with something changed, bytes that go and come."""

import copy

import msgspec
from hypothesis import strategies as st

CHANGES = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.integers(0, 600), st.binary(max_size=40)), min_size=1, max_size=4
)
TEXT = st.text(max_size=20)
NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([2**63, 2**64, -1, 1e308]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)


@st.composite
def changed(draw: st.DrawFn, good: object) -> object:
    """`good` with a value somewhere in it exchanged, taken out or doubled."""
    tree = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        at = tree
        while True:
            assert isinstance(at, dict | list)
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(at[key], dict | list) and at[key] and draw(st.booleans()):
                at = at[key]
                continue
            how = draw(st.sampled_from(["value", "text", "gone", "doubled"]))
            if how == "gone":
                del at[key]
            elif how == "doubled" and isinstance(at, list):
                at.append(at[key])
            else:
                at[key] = draw(st.sampled_from(INTERESTING) if how == "text" else VALUES)
            break
    return tree


INTERESTING: list[object] = ["", ".", "..", "/", "a/../b", "../x", "\0", "\n", "*", "-x", "x" * 300]
INTERESTING += ["host:0", "http://", ">= ", "bin", 0, -1, 2**63 - 1, 2**63, 0o4777, 0o100644, 1e308, 3600.5]


def json(tree: object) -> bytes:
    try:
        return msgspec.json.encode(tree)
    except OverflowError:  # numbers that msgspec does not write, peers may
        return str(tree).replace("'", '"').encode()
