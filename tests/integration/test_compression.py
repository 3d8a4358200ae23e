"""Large values, compressed on their way or not."""

from __future__ import annotations

import os

import pytest

import raymq
from raymq.protocol.compression import available
from tests.integration.conftest import Head, wait_until
from tests.integration.proxy import Proxy

pytestmark = pytest.mark.cluster

SIZE = 4_000_000
TEXT = b"".join(b"%d words about %d things, " % (n * 7919, n * n) for n in range(SIZE // 30))
NOISE = os.urandom(SIZE)
AROUND = 200_000
"""Bytes that cross beside a value: heartbeats and what frames it."""


@pytest.mark.parametrize(
    ("mode", "value", "share"),
    [
        ("zstd", TEXT, 0.7), ("lz4", TEXT, 0.7), (None, NOISE, 1.0), ("zstd", NOISE, 1.0), ("lz4", NOISE, 1.0),
    ],
    ids=["zstd", "lz4", "none", "zstd-noise", "lz4-noise"],
)  # fmt: skip
def test_the_bytes_that_cross(cluster: Head, mode: str | None, value: bytes, share: float) -> None:
    if mode not in (None, *available()):
        pytest.skip("a client without the extra")
    with Proxy(cluster.port) as proxy, raymq.connect(proxy.address, timeout=60, compression=mode) as session:
        before = dict(proxy.passed)
        reference = session.put(value)
        assert session.get(reference) == value

        def crossed() -> bool:
            """Both ways; the proxy counts a piece when it has gone, which may be after it has arrived."""
            least = len(value) if share == 1.0 else share * len(value) * 0.2
            return all(proxy.passed[way] - before[way] > least for way in before)

        wait_until(crossed, "it has crossed")
        for way in before:
            assert proxy.passed[way] - before[way] < share * len(value) + AROUND, way


def test_a_codec_that_is_none(cluster: Head) -> None:
    with pytest.raises(ValueError, match="compression is"):
        raymq.connect(cluster.address, compression="gzip")
