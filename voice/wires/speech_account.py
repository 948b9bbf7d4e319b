"""What ElevenLabs tells of an account, and whether a voice speaks: for `python -m voice doctor`; no call needs it.

Sources: ElevenLabs' OpenAPI document (user/subscription, text-to-speech), types of elevenlabs 2.78.0.
"""

from dataclasses import dataclass
from typing import Any

import requests

from voice.errors import VendorRefused, VendorUnavailable

TIMEOUT_S = 10
_ACCOUNT = ("invalid_api_key", "quota_exceeded", "detected_unusual_activity")
_SHOWN = 300


@dataclass(frozen=True)
class Subscription:
    tier: str
    status: str
    used: int
    limit: int
    """Characters of this month."""
    can_extend: bool
    """More are spoken, and billed."""


@dataclass(frozen=True)
class Room:
    """Requests that run at the same time."""

    now: int
    most: int


class SpeechAccount:
    def __init__(self, url: str, key: str) -> None:
        """`url` is scheme and host."""
        self._url = url
        self._headers = {"xi-api-key": key}

    def subscription(self) -> Subscription:
        """Raises VendorUnavailable or VendorRefused; the second also for a key that may speak and not read this."""
        told = self._ask("GET", "/v1/user/subscription").json()
        return Subscription(
            str(told.get("tier")),
            str(told.get("status")),
            int(told.get("character_count") or 0),
            int(told.get("character_limit") or 0),
            bool(told.get("allowed_to_extend_character_limit")),
        )

    def speak(self, voice: str, model: str) -> Room | None:
        """One character; None when the service does not tell of its room. Raises as `subscription`."""
        body = {"text": ".", "model_id": model}
        answer = self._ask("POST", f"/v1/text-to-speech/{voice}/stream?output_format=ulaw_8000", json=body)
        try:
            headers = answer.headers
            return Room(int(headers["current-concurrent-requests"]), int(headers["maximum-concurrent-requests"]))
        except (KeyError, ValueError):
            return None

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            answer = requests.request(
                method, self._url + path, headers=self._headers, timeout=TIMEOUT_S, allow_redirects=False, **options
            )
        except requests.RequestException as error:
            raise VendorUnavailable("synthesizer", f"{type(error).__name__}: {error}") from error
        if answer.ok and not answer.is_redirect:
            return answer
        slug, words = _detail(answer)
        detail = f"{answer.status_code} {slug}: {ascii(words[:_SHOWN])}"
        if answer.status_code == 429 or answer.status_code >= 500:
            raise VendorUnavailable("synthesizer", detail)
        raise VendorRefused("synthesizer", detail, account=slug in _ACCOUNT)


def _detail(answer: requests.Response) -> tuple[str, str]:
    try:
        detail = answer.json()["detail"]
        return str(detail["status"]), str(detail["message"])
    except (ValueError, KeyError, TypeError):
        return "", answer.text
