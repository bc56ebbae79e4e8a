"""How OpenAI words a refusal: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from keyman.sandbox.server import RefusedError, Reply, json_reply

_WHERE = "You can find your API key at https://platform.openai.com/account/api-keys."
# A fault scripted by a test carries a code of no vendor.
_CODES: dict[str, str | None] = {
    "TooManyRequests": "rate_limit_exceeded",
    "IncorrectState": "conflict",
    "InternalServerError": None,
    "CannotParseRequest": None,
}


class OpenAIRefusedError(RefusedError):
    """A refusal that may name the parameter it is about."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        wait: int | None = None,
    ) -> None:
        super().__init__(status, code, message, {} if wait is None else {"retry-after": str(wait)})
        self.param = param


def render_refusal(error: RefusedError) -> Reply:
    code = _CODES.get(error.code, error.code)
    body = {
        "message": error.message,
        "type": _type_of(error.status, code),
        "param": getattr(error, "param", None),
        "code": code or None,
    }
    return json_reply(error.status, {"error": body}, error.headers)


def _type_of(status: int, code: str | None) -> str:
    if status == 429:
        return code if code == "insufficient_quota" else "requests"
    return "server_error" if status >= 500 else "invalid_request_error"


def no_key() -> RefusedError:
    text = "You didn't provide an API key. You need to provide your API key in an Authorization "
    return OpenAIRefusedError(401, "", f"{text}header using Bearer auth. {_WHERE}")


def wrong_key(shown: str) -> RefusedError:
    text = f"Incorrect API key provided: {shown}. {_WHERE}"
    return OpenAIRefusedError(401, "invalid_api_key", text)


def missing_scope(status: int, scope: str) -> RefusedError:
    text = f"You have insufficient permissions for this operation. Missing scopes: {scope}."
    return OpenAIRefusedError(status, "missing_scope", text)


def invalid(message: str, param: str | None = None, code: str = "") -> RefusedError:
    return OpenAIRefusedError(400, code, message, param)


def not_found(what: str, id: str) -> RefusedError:
    return OpenAIRefusedError(404, "not_found", f"No {what} found with id '{id}'.")
