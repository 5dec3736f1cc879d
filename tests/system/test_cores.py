"""The number of cores from the kernel's control group files, versions 1 and 2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from img2poem import Img2Poem, InvalidOption
from img2poem.system.cores import allowed

CORES = len(os.sched_getaffinity(0))
V1 = {"cpu.cfs_quota_us": "{}\n", "cpu.cfs_period_us": "100000\n"}


def group(folder: Path, files: dict[str, str], quota: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text.format(quota))


@pytest.mark.parametrize(
    ("own", "place", "files", "quota", "cores"),
    [
        ("0::/box\n", "box", {"cpu.max": "{} 100000\n"}, "50000", 1),
        ("0::/box\n", "", {"cpu.max": "{} 100000\n"}, "100000", 1),
        ("0::/a/b\n", "a", {"cpu.max": "{} 100000\n"}, "90000", 1),
        ("0::/box\n", "box", {"cpu.max": "{} 100000\n"}, "max", CORES),
        ("0::/box\n", "box", {"cpu.max": "{} 100000\n"}, "99900000", CORES),
        ("4:memory:/x\n3:cpu,cpuacct:/docker/1\n", "cpu,cpuacct/docker/1", V1, "20000", 1),
        ("3:cpu:/not/seen/here\n", "cpu", V1, "100000", 1),
        ("3:cpu:/\n", "cpu", V1, "-1", CORES),
        ("junk\n0::/../..\n", "box", {"cpu.max": "{}"}, "junk", CORES),
        ("", "box", {"cpu.max": "{} 0\n"}, "1", CORES),
    ],
)
def test_the_control_group_counts(
    own: str, place: str, files: dict[str, str], quota: str, cores: int, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text(own)
    group(tmp_path / "root" / place, files, quota)
    assert allowed(tmp_path / "own", tmp_path / "root") == cores


def test_without_control_groups_all_cores_count(tmp_path: Path) -> None:
    assert allowed(tmp_path / "none", tmp_path / "none") == CORES


def test_threads_are_limited_and_the_poem_is_the_same(repository: Path, photos: list[bytes]) -> None:
    def run_threads() -> int:
        return len(os.listdir("/proc/self/task"))

    before, counts, tokens = run_threads(), [], []
    for threads in (1, 4):
        with Img2Poem(repository, threads=threads) as poet:
            tokens.append(poet.write(photos[0]).tokens)
            counts.append(run_threads() - before)
    assert tokens[0] == tokens[1] and counts[0] <= 1 < counts[1]
    for wrong in (0, -1, 1.5, "2"):
        with pytest.raises(InvalidOption, match="threads"):
            Img2Poem(repository, threads=wrong)  # type: ignore[arg-type]
