"""Random JSON values and mutations of graphs and workflow files."""

from __future__ import annotations

import copy
import random
from typing import Any

from hypothesis import strategies as st

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.sampled_from(["", "KSampler", "sub", "-10", "nodes", "\ud800", "x" * 10_000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def mutate(editor: Any, value: Any, chance: random.Random) -> Any:
    """Return a copy of ``editor`` with one random value at any depth replaced by ``value``."""
    changed = copy.deepcopy(editor)
    where, parent, key = changed, None, None
    while isinstance(where, dict | list) and where and (parent is None or chance.random() < 0.85):
        parent = where
        key = chance.choice([*where]) if isinstance(where, dict) else chance.randrange(len(where))
        where = where[key]
    parent[key] = value
    return changed
