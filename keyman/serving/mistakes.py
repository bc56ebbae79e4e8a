"""What is wrong with a request, in our words: the place is named, what the caller wrote never."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError

from keyman.errors import UsageError

_OBJECT = "must be one JSON object"
_TEXT = "must be a text"
_SWITCH = "must be true or false"
_INTEGER = "must be a whole number"
_WORDS = {
    "missing": "is required",
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "string_type": _TEXT,
    "string_too_long": "must not be longer than {max_length} characters",
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "int_parsing_size": _INTEGER,
    "int_from_float": _INTEGER,
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
}
_OTHERWISE = "is not what this call takes"


def mistakes(error: RequestValidationError) -> UsageError:
    """All that is wrong with a request in one sentence, without repeating any of it."""
    said = [_mistake(problem) for problem in error.errors()]
    return UsageError("; ".join(dict.fromkeys(said)), hint="see /api/openapi.json")


def _mistake(problem: dict[str, Any]) -> str:
    kind, where, context = problem["type"], problem["loc"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        return "the body has a field that this call does not know"
    if kind == "json_invalid":
        return "the body is not JSON"
    place = ".".join(str(part) for part in where[1:]) or f"the {where[0]}"
    if kind == "value_error":
        return f"{place}: {context['error']}"
    return f"{place}: {_WORDS.get(kind, _OTHERWISE).format(**context)}"
