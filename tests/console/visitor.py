"""Somebody with a browser's manners at the console: cookies, Origin, the form's token."""

import re
from typing import Any

import requests

TOKEN = "a-token-that-nobody-guesses"
HTML = "text/html,application/xhtml+xml"


class Visitor:
    def __init__(self, base: str) -> None:
        self.base = base
        self.http = requests.Session()
        self.http.headers["Accept"] = HTML

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.http.get(self.base + path, timeout=10, **options)

    def post(self, path: str, origin: str | None = "", **options: Any) -> requests.Response:
        """`origin` is this site's unless another is given, or none."""
        headers = {} if origin is None else {"Origin": origin or self.base}
        headers |= options.pop("headers", {})
        return self.http.post(self.base + path, headers=headers, timeout=10, allow_redirects=False, **options)

    def log_in(self, token: str = TOKEN, **options: Any) -> requests.Response:
        return self.post("/console/login", data={"token": token, "then": "/console/calls"}, **options)

    def cookie(self) -> str:
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.http.cookies)

    def csrf(self) -> str:
        found = re.search(r'<meta name="csrf" content="(\w+)">', self.get("/console/calls").text)
        assert found, "the page has no token for its forms"
        return found[1]

    def act(self, path: str, body: object = None) -> requests.Response:
        """As the page's script does it."""
        return self.post(path, json=body or {}, headers={"X-CSRF-Token": self.csrf()})
