from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from benchmarks.processes import workers_of
from img2poem import Img2Poem
from img2poem.errors import InvalidOption
from img2poem.serving.server import Ports
from img2poem.serving.supervisor import RestartPolicy

from .processes import gone, line_with, server_of, serving, shared_memory_of


def test_a_crashed_server_starts_again_until_it_crashes_too_often(
    repository: Path, tmp_path: Path, photo_file: Path
) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    ports, log = Ports.free(), tmp_path / "triton.log"
    with serving(copy, ports, "--restarts", "2", "--log-file", str(log)) as process:
        line_with(process, "ready: ")
        shared = shared_memory_of(copy)
        assert shared()

        os.kill(server_of(copy), signal.SIGKILL)
        assert "signal SIGKILL; starting it again in 1 s (1 of 2 restarts)" in line_with(process, "starting it again")
        line_with(process, "ready again: ")

        # Triton itself would keep running, "ready", and fail every poem.
        os.kill(workers_of(copy)["decode_image"], signal.SIGKILL)
        assert "process of decode_image died" in line_with(process, "in 2 s (2 of 2 restarts)")
        line_with(process, "ready again: ")
        with Img2Poem(f"grpc://127.0.0.1:{ports.grpc}") as poet:
            assert len(poet.write(photo_file).lines) >= 3

        os.kill(server_of(copy), signal.SIGSEGV)
        assert "giving up after 2 restarts within 10 minutes" in line_with(process, "img2poem: ")
        assert process.wait(30) == 1
        assert gone(copy, seconds=1)
    assert not shared(), "what the killed processes shared stays behind"
    assert log.read_text().count("Started GRPCInferenceService") == 3, "one log over all starts"


def test_pauses_double_up_to_the_longest() -> None:
    policy = RestartPolicy(first_delay=1, longest_delay=30)
    assert [policy.delay(restart) for restart in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize("wrong", [{"limit": -1}, {"window": 0}, {"first_delay": 0}])
def test_impossible_policies(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidOption):
        RestartPolicy(**wrong)
