"""Tables of pandas and Arrow: large ones come without a copy of their own, as read-only views of what has arrived."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

import raymq as ray
from tests.integration.conftest import _shared, cluster, session

if find_spec("pandas") is None or find_spec("pyarrow") is None:
    pytest.skip("pandas and pyarrow are not installed: tox -e libraries", allow_module_level=True)

import pandas as pd
import pyarrow as pa

pytestmark = pytest.mark.cluster
__all__ = ["_shared", "cluster", "session"]

ROWS = 200_000


def test_a_data_frame(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def doubled(frame: pd.DataFrame) -> pd.DataFrame:
        return frame * 2

    frame = pd.DataFrame({"a": np.arange(ROWS), "b": np.arange(ROWS) / 2})
    back = ray.get(doubled.remote(frame))
    pd.testing.assert_frame_equal(back, frame * 2)
    # One array beneath, which is not to be written to: a view of what came over the wire.
    values = back["b"].to_numpy()
    assert not values.flags.writeable
    assert not values.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 1


def test_an_arrow_table(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def with_sum(table: pa.Table) -> pa.Table:
        return table.append_column("sum", pa.compute.add(table["a"], table["b"]))

    table = pa.table({"a": np.arange(ROWS), "b": np.arange(ROWS) * 3, "text": [str(row) for row in range(ROWS)]})
    before = pa.total_allocated_bytes()
    back = ray.get(with_sum.remote(table))
    assert pa.total_allocated_bytes() - before < ROWS, "Arrow has set nothing aside for it"
    assert back.num_rows == ROWS
    assert back["sum"].to_pylist()[-1] == (ROWS - 1) * 4
    assert back.select(["a", "b", "text"]).equals(table)
