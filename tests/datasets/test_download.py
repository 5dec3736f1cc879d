from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from img2poem.datasets.download import Download, DownloadOptions, DownloadReport, download, download_async
from img2poem.datasets.errors import DownloadStopped
from img2poem.datasets.partial import PartialFile
from img2poem.errors import InvalidOption
from img2poem.images.decode import decode
from tests.datasets.server import (
    Handler,
    PhotoServer,
    Route,
    cut,
    hang_up,
    in_turn,
    jpeg,
    photo,
    ranged,
    redirect,
    slowly,
    status,
    trickling,
)

PHOTO = jpeg(1)
LARGE = jpeg(2, (320, 240))
FAST = DownloadOptions(concurrency=4, attempts=3, first_wait=0.01, max_wait=0.05, quiet=True)
IMPATIENT = replace(FAST, read_timeout=0.3, total_timeout=1.5)  # with time to connect on a busy machine


def fetch(
    server: PhotoServer, folder: Path, routes: dict[str, Route], options: DownloadOptions = FAST
) -> DownloadReport:
    """Download ``/<name>`` of each route to ``<folder>/<name>``."""
    server.routes.update({f"/{name}": route for name, route in routes.items()})
    return download([Download(server.url(f"/{name}"), folder / name) for name in routes], folder, options)


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"download_report.json"}


@pytest.mark.parametrize(
    ("route", "outcome", "reason", "requests"),
    [
        (photo(PHOTO), "downloaded", "", 1),
        (redirect("/target.jpg"), "downloaded", "", 1),
        (in_turn(status(503), status(429), photo(PHOTO)), "downloaded", "", 3),
        (in_turn(hang_up, photo(PHOTO)), "downloaded", "", 2),
        (status(404), "dead", "HTTP 404", 1),
        (status(410), "dead", "HTTP 410", 1),
        (status(403), "dead", "HTTP 403", 1),
        (redirect("/images/photo_unavailable.png"), "dead", "placeholder", 1),
        (redirect("/a.jpg"), "dead", "redirect loop", 6),
        (redirect("ftp://127.0.0.1/a.jpg"), "dead", "bad address", 1),
        (photo(b"<html>Please log in</html>"), "invalid", "not a picture in a known format (JPEG, PNG, GIF", 1),
        (photo(b""), "invalid", "not a picture in a known format", 1),
        (photo(PHOTO[: len(PHOTO) // 2]), "invalid", "truncated or damaged", 1),
        # The declared length is too small, so for HTTP the photograph ends there.
        (lambda h: h.answer(200, PHOTO, length=len(PHOTO) - 700), "invalid", "truncated or damaged", 1),
        (lambda h: h.answer(200, PHOTO, length=10**9), "invalid", "too large", 1),
        (cut(PHOTO, 500), "failed", "cut off", 1),
        (lambda h: h.answer(200, PHOTO, length=len(PHOTO) + 10), "failed", "cut off", 1),
        (status(204), "failed", "HTTP 204", 1),
        (status(500), "failed", "HTTP 500", 3),
        (status(429, Retry_After="1000"), "failed", "HTTP 429", 3),
        (hang_up, "failed", "connection failed", 3),
    ],
)
def test_each_answer_has_its_outcome(
    photo_server: PhotoServer, tmp_path: Path, route: Route, outcome: str, reason: str, requests: int
) -> None:
    photo_server.routes["/target.jpg"] = photo_server.routes["/images/photo_unavailable.png"] = photo(PHOTO)
    [result] = fetch(photo_server, tmp_path, {"a.jpg": route}).results
    assert (result.outcome, result.reason[: len(reason)]) == (outcome, reason), result
    assert photo_server.requests["/a.jpg"] == requests
    assert kept(tmp_path) == ({"a.jpg"} if outcome == "downloaded" else set()), "nothing else is left behind"
    if outcome == "downloaded":
        assert (tmp_path / "a.jpg").read_bytes() == PHOTO


@pytest.mark.parametrize(
    ("route", "outcome", "requests"),
    [
        (in_turn(slowly(PHOTO, 0.6), photo(PHOTO)), "downloaded", 2),
        (slowly(PHOTO, 0.6), "failed", 3),
        (trickling(PHOTO, 0.02), "failed", 3),
    ],
    ids=["slow once", "slow", "trickling"],
)
def test_slow_answers_are_waited_for_so_long(
    photo_server: PhotoServer, tmp_path: Path, route: Route, outcome: str, requests: int
) -> None:
    report = fetch(photo_server, tmp_path, {"a.jpg": route}, IMPATIENT)
    assert [result.outcome for result in report.results] == [outcome]
    assert report.reasons("failed") == ({"timeout": 1} if outcome == "failed" else {})
    assert photo_server.requests["/a.jpg"] == requests


@pytest.mark.parametrize("url", ["", "a.jpg", "http://", "file:///etc/hostname", "http://[::1", "http://\ud800/a.jpg"])
def test_what_is_no_address_is_dead(tmp_path: Path, url: str) -> None:
    [result] = download([Download(url, tmp_path / "a.jpg")], None, FAST).results
    assert (result.outcome, result.reason) == ("dead", "bad address")


def test_no_server_is_a_failure_after_retries(photo_server: PhotoServer, tmp_path: Path) -> None:
    url = photo_server.url("/a.jpg")
    photo_server.server_close()
    [result] = download([Download(url, tmp_path / "a.jpg")], None, FAST).results
    assert (result.outcome, result.reason) == ("failed", "connection failed")


def test_a_body_without_length_is_limited_too(photo_server: PhotoServer, tmp_path: Path) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x" * 1000)

    options = DownloadOptions(max_bytes=5000, quiet=True)
    [result] = fetch(photo_server, tmp_path, {"a.jpg": endless}, options).results
    assert (result.outcome, result.reason) == ("invalid", "too large")
    assert kept(tmp_path) == set()


def test_the_report_adds_up_and_is_written_and_printed(
    photo_server: PhotoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    routes: dict[str, Route] = {f"good{i}.jpg": photo(jpeg(i)) for i in range(5)}
    routes |= {f"gone{i}.jpg": status(404) for i in range(3)}
    routes |= {"moved.jpg": redirect("/images/photo_unavailable.png"), "page.jpg": photo(b"<html>"), "bad.jpg": hang_up}
    (tmp_path / "good0.jpg").write_bytes(PHOTO)
    (tmp_path / "good1.jpg").write_bytes(PHOTO[:900])  # by another program: looks like a photograph but is truncated
    options = DownloadOptions(attempts=2, first_wait=0.01)
    report = fetch(photo_server, tmp_path, routes, options)
    assert report.counts == {"downloaded": 4, "present": 1, "dead": 4, "invalid": 1, "failed": 1}
    assert sum(report.counts.values()) == len(routes) == len(report.results)
    assert report.reasons("dead") == {"HTTP 404": 3, "placeholder": 1}
    for outcome in ("dead", "invalid", "failed"):
        assert sum(report.reasons(outcome).values()) == report.counts[outcome]
    written = json.loads((tmp_path / "download_report.json").read_text())
    assert written["files"] == len(routes) and written["counts"] == report.counts
    assert {lost["file"] for lost in written["lost"]} == {r.path.name for r in report.lost}
    assert len(written["lost"]) == 6 and written["reasons"]["dead"] == report.reasons("dead")
    printed = capsys.readouterr().out
    assert "HTTP 404: 3, placeholder: 1" in printed and "downloaded" in printed
    again = fetch(photo_server, tmp_path, routes, options)
    assert again.counts == {"downloaded": 0, "present": 5, "dead": 4, "invalid": 1, "failed": 1}


def test_no_more_requests_at_once_than_allowed(photo_server: PhotoServer, tmp_path: Path) -> None:
    routes = {f"{i}.jpg": slowly(PHOTO, 0.05) for i in range(20)}
    assert fetch(photo_server, tmp_path, routes).counts["downloaded"] == 20
    assert 2 <= photo_server.most_at_once <= FAST.concurrency


def test_a_cut_off_file_goes_on_where_the_server_allows(photo_server: PhotoServer, tmp_path: Path) -> None:
    first = fetch(photo_server, tmp_path, {"a.jpg": ranged(LARGE, '"v1"', first=10_000)})
    assert first.reasons("failed") == {"cut off": 1}
    assert kept(tmp_path) == {"a.jpg.part", "a.jpg.part.json"}
    fetch(photo_server, tmp_path, {"a.jpg": status(503)})
    assert (tmp_path / "a.jpg.part").stat().st_size == 10_000, "a busy server costs nothing of what is there"
    second = fetch(photo_server, tmp_path, {"a.jpg": ranged(LARGE, '"v1"')})
    assert second.counts["downloaded"] == 1 and set(photo_server.ranges) == {"bytes=10000-"}
    assert kept(tmp_path) == {"a.jpg"} and (tmp_path / "a.jpg").read_bytes() == LARGE


def test_a_timeout_goes_on_within_the_same_run(photo_server: PhotoServer, tmp_path: Path) -> None:
    def stalls(handler: Handler) -> None:
        handler.send_response(200)
        for name, value in {"Content-Length": str(len(LARGE)), "ETag": '"v1"', "Accept-Ranges": "bytes"}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(LARGE[:5000])
        time.sleep(0.6)

    report = fetch(photo_server, tmp_path, {"a.jpg": in_turn(stalls, ranged(LARGE, '"v1"'))}, IMPATIENT)
    assert report.counts["downloaded"] == 1 and photo_server.ranges == ["bytes=5000-"]
    assert (tmp_path / "a.jpg").read_bytes() == LARGE


def wrong_part(handler: Handler) -> None:
    """Return the beginning of the file, whatever range is requested."""
    if handler.headers.get("Range"):
        handler.answer(206, LARGE[:100], Content_Range=f"bytes 0-99/{len(LARGE)}")
    else:
        handler.answer(200, LARGE)


def no_part(handler: Handler) -> None:
    if handler.headers.get("Range"):
        handler.answer(416)
    else:
        handler.answer(200, LARGE)


@pytest.mark.parametrize("then", [ranged(LARGE, '"v2"'), photo(LARGE), wrong_part, no_part])
def test_a_cut_off_file_starts_anew_where_it_cannot_go_on(
    photo_server: PhotoServer, tmp_path: Path, then: Route
) -> None:
    other = jpeg(3, (320, 240))
    fetch(photo_server, tmp_path, {"a.jpg": ranged(other, '"v1"', first=10_000)})
    assert fetch(photo_server, tmp_path, {"a.jpg": then}).counts["downloaded"] == 1
    assert photo_server.ranges == ["bytes=10000-"]
    assert kept(tmp_path) == {"a.jpg"} and (tmp_path / "a.jpg").read_bytes() == LARGE


def test_only_a_part_of_known_origin_goes_on(photo_server: PhotoServer, tmp_path: Path) -> None:
    for name, route in {
        "a.jpg": cut(LARGE, 5000),
        "b.jpg": cut(LARGE, 5000, ETag='W/"1"', Accept_Ranges="bytes"),
    }.items():
        fetch(photo_server, tmp_path, {name: route})
    assert kept(tmp_path) == set(), "without a version of the file its part is of no use"
    fetch(photo_server, tmp_path, {"c.jpg": ranged(LARGE, '"v1"', first=5000)})
    with open(tmp_path / "c.jpg.part", "ab") as file:
        file.write(b"written by a process that died")
    assert fetch(photo_server, tmp_path, {"c.jpg": ranged(LARGE, '"v1"')}).counts["downloaded"] == 1
    assert photo_server.ranges == [] and (tmp_path / "c.jpg").read_bytes() == LARGE
    for note in ("", "[]", "{}", '{"url": 1, "version": 2, "size": "x"}'):
        part = PartialFile(tmp_path / "d.jpg")
        part.path.write_bytes(b"x")
        (tmp_path / "d.jpg.part.json").write_text(note)
        assert part.take_up("u") == (0, "")


CHILD = """
import signal, sys
from pathlib import Path
from img2poem.datasets.download import Download, DownloadOptions, download
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it
items = [Download(f"{sys.argv[1]}/{i}.jpg", Path(sys.argv[2], f"{i}.jpg")) for i in range(12)]
download(items, Path(sys.argv[2]), DownloadOptions(concurrency=3))
"""


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_killed_half_way_and_started_again_it_goes_on(
    photo_server: PhotoServer, tmp_path: Path, kill: signal.Signals
) -> None:
    photos = [jpeg(i, (320, 240)) for i in range(12)]

    def halting(data: bytes) -> Route:
        def route(handler: Handler) -> None:
            handler.send_response(200)
            for name, value in {"Content-Length": str(len(data)), "ETag": '"v1"', "Accept-Ranges": "bytes"}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(data[:20_000])
            time.sleep(10)

        return route

    for i, data in enumerate(photos):
        photo_server.routes[f"/{i}.jpg"] = photo(data) if i < 4 else halting(data)
    command = [sys.executable, "-c", CHILD, photo_server.url(""), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        parts = [tmp_path / f"{i}.jpg.part" for i in (4, 5, 6)]
        deadline = time.monotonic() + 30
        while not all(part.exists() and part.stat().st_size for part in parts) and time.monotonic() < deadline:
            assert child.poll() is None, child.communicate()
            time.sleep(0.02)
        child.send_signal(kill)
        _, stderr = child.communicate(timeout=20)
        assert child.returncode != 0
        if kill == signal.SIGINT:
            assert stderr.rstrip().endswith(b"KeyboardInterrupt")
    whole = list(tmp_path.glob("*.jpg"))
    assert {path.name for path in whole} == {f"{i}.jpg" for i in range(4)}
    assert all(path.read_bytes() == photos[int(path.stem)] for path in whole)
    assert not (tmp_path / "download_report.json").exists()

    report = fetch(photo_server, tmp_path, {f"{i}.jpg": ranged(data, '"v1"') for i, data in enumerate(photos)})
    assert report.counts == {"downloaded": 8, "present": 4, "dead": 0, "invalid": 0, "failed": 0}
    assert kept(tmp_path) == {f"{i}.jpg" for i in range(12)}
    assert all((tmp_path / f"{i}.jpg").read_bytes() == data for i, data in enumerate(photos))
    # After Ctrl-C there is time to record each partial file; after a kill there is not.
    assert len(photo_server.ranges) == (3 if kill == signal.SIGINT else 0)


def test_a_disk_that_is_full_stops_the_download(
    photo_server: PhotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: PartialFile) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    monkeypatch.setattr(PartialFile, "begin", full)
    routes = {f"{i}.jpg": photo(PHOTO) for i in range(30)}
    with pytest.raises(DownloadStopped, match=r"jpg\.part cannot be .*: No space left.*run it again") as caught:
        fetch(photo_server, tmp_path, routes)
    assert isinstance(caught.value, OSError)
    assert sum(photo_server.requests.values()) <= 2 * FAST.concurrency, "it stops at once"
    assert kept(tmp_path) == set()


def test_a_folder_that_is_a_file_stops_the_download(photo_server: PhotoServer, tmp_path: Path) -> None:
    (tmp_path / "photos").write_text("")
    with pytest.raises(DownloadStopped, match="photos"):
        download([Download(photo_server.url("/a.jpg"), tmp_path / "photos" / "a.jpg")], None, FAST)


def test_one_file_has_one_address(tmp_path: Path) -> None:
    items = [Download(url, tmp_path / "a.jpg") for url in ("http://127.0.0.1/1", "http://127.0.0.1/2")]
    with pytest.raises(InvalidOption, match="two addresses"):
        download(items, None, FAST)


def test_nothing_to_download_is_no_error(tmp_path: Path) -> None:
    assert download([], tmp_path / "new", FAST).results == ()
    assert json.loads((tmp_path / "new" / "download_report.json").read_text())["files"] == 0


def test_it_runs_in_an_event_loop_too(photo_server: PhotoServer, tmp_path: Path) -> None:
    photo_server.routes["/a.jpg"] = photo(PHOTO)
    item = Download(photo_server.url("/a.jpg"), tmp_path / "a.jpg")
    report = asyncio.run(download_async([item, item], None, FAST))
    assert report.counts["downloaded"] == 1
    assert decode((tmp_path / "a.jpg").read_bytes()).shape == (224, 224, 3)


@pytest.mark.parametrize("option", ["concurrency", "attempts", "first_wait", "read_timeout", "max_bytes"])
def test_options_must_be_positive(option: str) -> None:
    with pytest.raises(InvalidOption, match=f"{option} must be positive, not 0"):
        DownloadOptions(**{option: 0})
