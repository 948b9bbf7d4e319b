"""Twilio's callbacks about one call: each is posted on a greenlet of its own, since no call waits for one."""

from dataclasses import dataclass, field

import gevent

from voice.sandbox.call_plan import CallPlan, standard_form, status_form, stream_form
from voice.sandbox.journal import Journal
from voice.sandbox.stream_messages import StreamNames
from voice.sandbox.twiml import Stream
from voice.sandbox.webhook import WebhookFailed, Webhooks

_DETECTION_MS = 1200


@dataclass(eq=False, repr=False)
class Callbacks:
    plan: CallPlan
    web: Webhooks
    journal: Journal
    _reported: int = 0
    _posting: list[gevent.Greenlet] = field(default_factory=list)

    def status(self, event: str, state: str, lasted_s: float | None = None) -> None:
        """Tell of `event` (initiated, ringing, answered, completed) if that was asked for."""
        setup = self.plan.setup
        if setup.status_callback is not None and event in setup.status_callback_events:
            self._post(setup.status_callback, "POST", status_form(self.plan, state, self._reported, lasted_s))
            self._reported += 1

    def answering_machine(self, state: str) -> None:
        setup = self.plan.setup
        if setup.amd_callback and setup.answered_by:
            verdict = {"AnsweredBy": setup.answered_by, "MachineDetectionDuration": str(_DETECTION_MS)}
            form = standard_form(self.plan, state) | verdict
            self._posting.append(gevent.spawn(self._detect, setup.amd_callback, form))

    def stream(self, stream: Stream, names: StreamNames, event: str, error: str | None = None) -> None:
        if stream.status_callback is not None:
            form = stream_form(names, stream.name, event, error)
            self._post(stream.status_callback, stream.status_callback_method, form)

    def wait(self) -> None:
        """Until all have been answered, or given up."""
        gevent.joinall(self._posting)
        self._posting.clear()

    def _detect(self, url: str, form: dict[str, str]) -> None:
        gevent.sleep(_DETECTION_MS / 1000)
        self._deliver(self.web.absolute(url), "POST", form)

    def _post(self, url: str, method: str, form: dict[str, str]) -> None:
        self._posting.append(gevent.spawn(self._deliver, self.web.absolute(url), method, form))

    def _deliver(self, url: str, method: str, form: dict[str, str]) -> None:
        try:
            body, _ = self.web.fetch(method, url, form)
        except WebhookFailed as failure:
            self.journal.fault(failure.code, failure.text)
        else:
            if body:
                self.journal.warn(15003, f"{url} answered a callback with a body")
