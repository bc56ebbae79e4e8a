"""How Google words a refusal: the OAuth way at token endpoints, google.rpc.Status elsewhere."""

from __future__ import annotations

from keyman.sandbox.server import Json, RefusedError, Reply, json_reply

NO_TOKEN = (
    "Request is missing required authentication credential. Expected OAuth 2 access token, login "
    "cookie or other valid authentication credential. See "
    "https://developers.google.com/identity/sign-in/web/devconsole-project."
)
BAD_TOKEN = NO_TOKEN.replace(
    "Request is missing required authentication credential.",
    "Request had invalid authentication credentials.",
)
TIMEFRAME = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your iat and exp values in the JWT claim."
)
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# What a refusal's code must be to appear as the reason of an ErrorInfo.
_REASONS = {
    "ACCESS_TOKEN_EXPIRED": "googleapis.com",
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": "googleapis.com",
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": "googleapis.com",
    "CREDENTIALS_MISSING": "googleapis.com",
    "USER_PROJECT_DENIED": "googleapis.com",
    "IAM_PERMISSION_DENIED": "iam.googleapis.com",
}
# A fault scripted by a test carries a code of no vendor.
_OAUTH_CODES = {
    "TooManyRequests": "rate_limit_exceeded",
    "IncorrectState": "invalid_request",
    "InternalServerError": "internal_failure",
}
_EXHAUSTED = "Resource has been exhausted (e.g. check quota)."


def oauth_refusal(error: RefusedError) -> Reply:
    """{"error", "error_description"}; a code `x:y` tells the error's subtype as well."""
    code, _, subtype = _OAUTH_CODES.get(error.code, error.code).partition(":")
    body = {"error": code, "error_description": error.message}
    if subtype:
        body["error_subtype"] = subtype
    return json_reply(error.status, body, error.headers)


def rpc_refusal(error: RefusedError, service: str, method: str, *, in_array: bool = False) -> Reply:
    """{"error": {"code", "message", "status", "details"}}; Vertex has been seen to wrap it."""
    message = _EXHAUSTED if error.status == 429 else error.message
    status = _STATUSES.get(error.status, "UNKNOWN")
    told: Json = {"code": error.status, "message": message, "status": status}
    if error.code in _REASONS:
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code}
        metadata = {"service": service, "method": method}
        told["details"] = [{**info, "domain": _REASONS[error.code], "metadata": metadata}]
    headers = dict(error.headers)
    if error.status == 401:
        headers["www-authenticate"] = 'Bearer realm="https://accounts.google.com/"'
    body = {"error": told}
    return json_reply(error.status, [body] if in_array else body, headers)


def permission_denied(permission: str, resource: str) -> RefusedError:
    text = f"Permission '{permission}' denied on resource '{resource}' (or it may not exist)."
    return RefusedError(403, "IAM_PERMISSION_DENIED", text)
