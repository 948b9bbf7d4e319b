"""The words of one answer as a chat completion: whole, or as server-sent events paced like a model."""

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from voice.sandbox.demo_script import Answer
from voice.sandbox.xai_checks import MODELS, Request, offered_tools

DONE = b"data: [DONE]\n\n"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Completion:
    """An answer cut to what the request allows."""

    tokens: list[str]
    """A word each, with the space before it."""
    tool_calls: list[dict[str, object]]
    finish_reason: str


def complete(request: Request, answer: Answer) -> Completion:
    tokens = re.findall(r"\s*\S+", answer.text)
    limit = request.get("max_tokens")
    if limit is not None and len(tokens) > limit:
        return Completion(tokens[:limit], [], "length")
    offered = offered_tools(request)
    calls: list[dict[str, object]] = []
    for index, call in enumerate(call for call in answer.tool_calls if call.name in offered or call.unasked):
        arguments = call.arguments if isinstance(call.arguments, str) else orjson.dumps(call.arguments).decode()
        function = {"name": call.name, "arguments": arguments}
        calls.append({"id": f"call_{next(_numbers):08d}", "function": function, "index": index, "type": "function"})
    return Completion(tokens, calls, "tool_calls" if calls else "stop")


def events(request: Request, completion: Completion) -> Iterator[bytes]:
    """One `data:` line a token; a tool call whole in one; the finish; the usage if asked for; [DONE] is left out."""
    head = _head(request, "chat.completion.chunk")
    role = {"role": "assistant"}
    for token in completion.tokens:
        yield _event({**head, "choices": [{"index": 0, "delta": {"content": token, **role}}]})
        role = {}
    for call in completion.tool_calls:
        yield _event({**head, "choices": [{"index": 0, "delta": {"tool_calls": [call], **role}}]})
        role = {}
    yield _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": completion.finish_reason}]})
    if (request.get("stream_options") or {}).get("include_usage"):
        yield _event({**head, "choices": [], "usage": _usage(request, completion)})


def whole(request: Request, completion: Completion) -> dict[str, object]:
    """The answer to a request that does not stream."""
    calls = [{name: value for name, value in call.items() if name != "index"} for call in completion.tool_calls]
    message = {"role": "assistant", "content": "".join(completion.tokens), **({"tool_calls": calls} if calls else {})}
    choice = {"index": 0, "message": message, "finish_reason": completion.finish_reason}
    return {**_head(request, "chat.completion"), "choices": [choice], "usage": _usage(request, completion)}


def _event(body: dict[str, object]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _head(request: Request, kind: str) -> dict[str, object]:
    name = MODELS[request["model"]].served_by or request["model"]
    head = {"id": f"sandbox-{next(_numbers)}", "object": kind, "created": int(time.time()), "model": name}
    return {**head, "system_fingerprint": "fp_sandbox"}


def _usage(request: Request, completion: Completion) -> dict[str, object]:
    prompt = sum(len(str(message.get("content") or "").split()) for message in request["messages"])
    answered = len(completion.tokens)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answered,
        "total_tokens": prompt + answered,
        "prompt_tokens_details": {"text_tokens": prompt, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        "num_sources_used": 0,
    }
