"""Test an installation of the two wheels in Python; the results are printed as JSON.

    ENVIRONMENT/bin/python -I tools/trial.py photo.jpg

It runs outside this project, in a folder without models, with the Python of an environment that contains only
``img2poem[local]``.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

#: Libraries for training, export and servers, which a poem in process must not need.
ABSENT = ("torch", "torchvision", "transformers", "tritonclient", "onnx", "safetensors")


def main(photo: str) -> dict[str, object]:
    """Write poems in every available way and return the observations.

    Returns:
        ``poem``: text of the first; ``first_mb``, ``all_mb``: peak resident memory after the first poem and at the
        end, in units of 10^6 bytes; ``models``: folder of the models.
    """
    present = [name for name in ABSENT if importlib.util.find_spec(name) is not None]
    assert not present, f"installed, and not needed: {', '.join(present)}"

    from img2poem import BeamSearch, Form, Greedy, Img2Poem, Sampling

    with Img2Poem() as poet:
        poem = poet.write(photo)
        first = _resident()
        assert poem.text and poem.relevance is not None
        for strategy in (Greedy(), BeamSearch(), Sampling(seed=3)):
            there, here = (poet.write(photo, strategy, where=where) for where in ("server", "client"))
            assert there.text and here.text, strategy
        assert len(poet.write(photo, form=Form(lines=4, acrostic="LOVE")).lines) == 4
        assert [line.text for line in poet.stream(photo, Sampling(seed=3))]
        assert abs(poet.score(photo, poem) - poem.relevance) < 0.05
        assert poet.search(photo, [poem.text, "the sea"], k=1)
        assert poet.describe(photo).objects and poet.info().package
        [health] = poet.health()
        assert health.ready, health
    return {"poem": poem.text, "first_mb": first, "all_mb": _resident(), "models": health.endpoint}


def _resident() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None, "the kernel reports no VmHWM"
    return int(found[1]) * 1024 / 1e6


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
