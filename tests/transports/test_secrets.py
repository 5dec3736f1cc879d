"""A caller's credentials appear in no text that the library produces."""

from __future__ import annotations

import logging

import pytest

from img2poem import AsyncImg2Poem, CallEvent, Greedy, Img2Poem, Img2PoemError, InvalidOption
from img2poem.serving.server import Ports, TritonServer
from img2poem.transports.address import Access, parse

SECRET = "s3cret-Zq81"
HEADERS = {"authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_headers_stand_in_no_log_error_or_repr(
    protocol: str, server: TritonServer, photos: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    urls = {"grpc": server.grpc_url, "http": server.http_url}
    nowhere = f"{protocol}://127.0.0.1:{Ports.free().grpc}"
    events: list[CallEvent] = []
    told = []
    for url, photo in ((urls[protocol], photos[0]), (urls[protocol], b"no photograph"), (nowhere, photos[0])):
        with Img2Poem(url, headers=HEADERS, retries=1, hooks=[events.append]) as poet:
            told += [repr(poet), repr(poet.health())]
            try:
                told.append(repr(poet.write(photo, Greedy())))
            except Img2PoemError as error:
                told += [str(error), repr(error), repr(error.cause), repr(vars(error))]
    assert len(events) >= 3 and any(event.error for event in events)
    assert SECRET not in "".join([*told, *map(repr, events), caplog.text, repr(Access(HEADERS))])


@pytest.mark.parametrize("value", [f"{SECRET}\n", f"{SECRET}é", f" {SECRET}", f"{SECRET}\0"])
@pytest.mark.parametrize("kind", [Img2Poem, AsyncImg2Poem])
def test_a_header_that_cannot_be_sent_is_named_without_its_value(kind: type, value: str) -> None:
    with pytest.raises(InvalidOption, match="header 'authorization'") as caught:
        kind("http://127.0.0.1:1", headers={"authorization": value})
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("who", ["user:{}", ":{}", "{}", "user:a/{}", "user@{}"])
@pytest.mark.parametrize("address", ["grpc://{}@host:1", "http://{}@host", "grpc://{}@host"])
def test_a_password_in_an_address_is_not_shown(address: str, who: str) -> None:
    with pytest.raises(InvalidOption, match=r"://\.\.\.@host") as caught:
        parse(address.format(who.format(SECRET)))
    assert SECRET not in str(caught.value)
