"""Waiting, on a loop that complains if another thread touches it the wrong way."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from starlette.requests import Request

from keyman.serving.watchers import Watchers

HELD = 300.0


def request() -> Request:
    """A client that stays connected."""

    async def receive() -> Any:
        await asyncio.sleep(HELD)

    return Request({"type": "http"}, receive)


def test_news_from_another_thread_reach_a_loop_that_sleeps() -> None:
    watchers, news, looks = Watchers(), ["seven"], threading.Event()
    trouble: list[BaseException] = []

    async def look() -> str | None:
        looks.set()
        return None if news == ["seven"] else news[-1]

    def publish() -> None:
        looks.wait(20)
        time.sleep(0.2)  # the loop has nothing to do any more, and sleeps
        news.append("eight")
        try:
            watchers.published("genai")
        except RuntimeError as error:
            trouble.append(error)

    publisher = threading.Thread(target=publish)
    publisher.start()
    waits = watchers.until(request(), "genai", look, HELD)
    found = asyncio.run(asyncio.wait_for(waits, 10), debug=True)
    publisher.join()
    assert (found, trouble) == ("eight", [])
    assert watchers._waiting == {}


def test_what_was_published_before_the_wait_began_is_found() -> None:
    async def look() -> str | None:
        return "eight"

    assert asyncio.run(Watchers().until(request(), "genai", look, 0)) == "eight"


def test_news_after_the_loop_has_ended_harm_nobody() -> None:
    watchers = Watchers()

    async def look() -> str | None:
        return None

    assert asyncio.run(watchers.until(request(), "genai", look, 0)) is None
    watchers.published("genai")


def test_a_closed_room_lets_nobody_wait() -> None:
    watchers = Watchers()

    async def look() -> str | None:
        return None

    async def close_meanwhile() -> str | None:
        asyncio.get_running_loop().call_later(0.05, watchers.close)
        first = await watchers.until(request(), "genai", look, HELD)
        return first or await watchers.until(request(), "genai", look, HELD)

    assert asyncio.run(asyncio.wait_for(close_meanwhile(), 20)) is None
