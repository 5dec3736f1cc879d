from __future__ import annotations

from pathlib import Path

import pytest

from img2poem.files.atomic import write_atomically


def test_a_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    for content, found in (("mère", "mère".encode()), (b"\x00\r\n", b"\x00\r\n")):
        write_atomically(path, content)
        assert path.read_bytes() == found
    assert [*tmp_path.iterdir()] == [path]


def test_what_was_there_stays_when_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "poem.txt"
    path.write_text("old")

    def full(self: Path, data: bytes) -> int:
        self.open("wb").close()  # the part that fits on the disk
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]
