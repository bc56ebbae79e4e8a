"""How it is with those who are told, as their memos say: for `status`, `check` and people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from keyman.config import NotifyTarget
from keyman.notify.memo import Memo, memo_of
from keyman.views import Json, time_text

OK, FAILING, UNUSED = "ok", "failing", "unused"


def standing(targets: Iterable[NotifyTarget], told: Mapping[str, str]) -> list[Json]:
    """One object for each target; `told` is what the journal keeps of them."""
    return [_of(one, memo_of(told.get(one.name)) or Memo()) for one in targets]


def _of(target: NotifyTarget, memo: Memo) -> Json:
    failing = memo.failing
    return {
        "name": target.name,
        "service": target.service,
        "events": [str(event) for event in target.events],
        "credentials": list(target.credentials),
        "state": FAILING if failing else OK if memo.reached_at else UNUSED,
        "since": time_text(failing.since) if failing else None,
        "error": failing.why if failing else None,
        "reached_at": time_text(memo.reached_at),
    }
