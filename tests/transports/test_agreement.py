"""Every interface gives the same tokens; ``python -m benchmarks.agreement`` compares more photographs."""

from __future__ import annotations

from benchmarks.agreement import compare
from img2poem.serving.server import TritonServer


def test_every_way_gives_the_same_tokens(server: TritonServer, photos: list[bytes]) -> None:
    compared, differences = compare(server, photos[:10])
    assert not differences
    assert len(compared) == 15 and set(compared.values()) == {10}
