"""Whether the server lives and takes calls: for load balancers, which learn no more than that."""

from collections.abc import Callable

from flask import Blueprint, Response, jsonify

from voice import registry, supervision


def health_doors(max_calls: int, records_wait: Callable[[], bool]) -> Blueprint:
    """`records_wait`: the database does not take what is to be written. Calls go on, so it makes nobody unready."""
    doors = Blueprint("health", __name__)

    @doors.get("/healthz")
    def healthz() -> tuple[Response, int]:
        failing = bool(supervision.failing())
        return jsonify(status="failing" if failing else "ok"), 503 if failing else 200

    @doors.get("/readyz")
    def readyz() -> tuple[Response, int]:
        full = registry.live_calls() >= max_calls
        status = "draining" if registry.draining.is_set() else "full" if full else "ok"
        detail = {"records": "waiting"} if records_wait() else {}
        return jsonify(status=status, **detail), 200 if status == "ok" else 503

    return doors
