"""What a model says, in the shapes that the openai client reads. No model: a fixed word.

Every sandbox that answers inference calls takes its answers from here.
"""

from __future__ import annotations

import json
import time
import uuid

from keyman.sandbox.server import Json, Reply, json_reply


def complete(operation: str, body: Json) -> Reply:
    """Answer `Responses`, or else a chat completion, in one piece or as a stream."""
    if operation == "Responses":
        return json_reply(200, _response(body))
    return _streamed(body) if body.get("stream") else json_reply(200, _completion(body))


def _completion(body: Json) -> Json:
    message = {"role": "assistant", "content": "pong"}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def _streamed(body: Json) -> Reply:
    head: Json = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion.chunk"}
    head |= {"created": int(time.time()), "model": body["model"]}
    said = {"index": 0, "delta": {"role": "assistant", "content": "pong"}, "finish_reason": None}
    done: Json = {"index": 0, "delta": {}, "finish_reason": "stop"}
    events = [json.dumps({**head, "choices": [choice]}) for choice in (said, done)]
    text = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])
    return Reply(200, text.encode(), {"content-type": "text/event-stream"})


def _response(body: Json) -> Json:
    content = {"type": "output_text", "text": "pong", "annotations": []}
    message: Json = {"type": "message", "id": f"msg_{uuid.uuid4().hex}", "status": "completed"}
    message |= {"role": "assistant", "content": [content]}
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "model": body["model"],
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    }
