"""Whether the server lives and takes calls: for load balancers, which learn no more than that."""

from flask import Blueprint, Response, jsonify

from voice import registry


def health_doors(max_calls: int) -> Blueprint:
    doors = Blueprint("health", __name__)

    @doors.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok")

    @doors.get("/readyz")
    def readyz() -> tuple[Response, int]:
        full = registry.live_calls() >= max_calls
        status = "draining" if registry.draining.is_set() else "full" if full else "ok"
        return jsonify(status=status), 200 if status == "ok" else 503

    return doors
