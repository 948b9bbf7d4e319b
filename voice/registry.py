"""The live calls of this worker: three maps, one lock each. Call greenlets write, the monitor and the doors read."""

import gc
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from threading import Event
from typing import Any
from weakref import WeakSet

import gevent

from voice.core.conversation import Conversation
from voice.core.pulse import Pulse
from voice.errors import CallRefused


class State(Enum):
    CONNECTING = "connecting"
    """Twilio's socket is open; who calls is not known yet."""
    LIVE = "live"
    CLOSING = "closing"


@dataclass
class Connection:
    """One accepted Twilio socket and what hangs on it."""

    client_id: str
    # The wires of the call: a Caller, a Transcriber, a Synthesizer. None: not made yet.
    caller: Any = None
    transcriber: Any = None
    synthesizer: Any = None
    state: State = State.CONNECTING
    call_sid: str = ""
    # What we have called its stream to Twilio; empty until its `start` was taken.
    stream_name: str = ""
    # Monotonic time of the socket's beginning.
    began: float = field(default_factory=time.monotonic)
    # Monotonic time of the last thing that happened in the call; audio of a silent line is nothing.
    last_activity: float = field(default_factory=time.monotonic)
    # Twilio was told to open another stream of the call: that it stops this one is not the caller's doing.
    is_superseded: bool = False
    # The call is over, and Twilio could not be told so.
    is_untold: bool = False
    # Asks the call to end, with a reason; returns at once.
    request_end: Callable[[str], None] = lambda reason: None
    # Has the caller put through to one of the agent's names; returns at once.
    request_transfer: Callable[[str], None] = lambda to: None
    # Asks the call to leave this worker, within so many seconds; returns at once.
    request_drain: Callable[[float], None] = lambda within_s: None
    # What the call has cost by now, in US dollars.
    cost: Callable[[], float] = lambda: 0.0
    # Ends it by force, for a call that does not react.
    kill: Callable[[], None] = lambda: None
    # The greenlets of the call, for whoever looks for the one that is stuck.
    greenlets: Callable[[], list[Any]] = lambda: []

    def let_go(self) -> None:
        """Of the call, which has this connection: what holds each other in a circle is freed by the collector of
        garbage only, for which every call has to wait."""
        self.caller = self.transcriber = self.synthesizer = None
        self.request_end = lambda reason: None
        self.request_transfer = lambda to: None
        self.request_drain = lambda within_s: None
        self.cost = lambda: 0.0
        self.kill = lambda: None
        self.greenlets = lambda: []


@dataclass
class CallSession:
    """One live call: the conversation with its history, the agent that holds it, the connection it runs on."""

    call_sid: str
    stream_sid: str
    agent: Any
    caller_number: str
    called_number: str
    connection: Connection
    conversation: Conversation
    direction: str = "inbound"
    """Or `outbound`: placed by us."""
    started_at: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    pulse: Pulse = field(default_factory=Pulse)


client_connections: dict[str, Connection] = {}
active_sessions: dict[str, CallSession] = {}
stream_to_call_sid: dict[str, str] = {}
_beginning: set[str] = set()
# Greenlets of calls that were disconnected and had not ended by then.
left_over: "WeakSet[gevent.Greenlet]" = WeakSet()
_connections_lock = threading.Lock()
_sessions_lock = threading.Lock()
_streams_lock = threading.Lock()
_numbers = count(1)

draining = Event()
"""Set when this worker is going: it takes no calls any more."""

# Calls that are over, by the monotonic time of their end: /twilio/resume must not bring them back.
_over: dict[str, float] = {}
_OVER_KEPT_S = 600.0
# Longer than a call that was transferred waits for Twilio to end its stream.
_MAKE_WAY_S = 6.0


def connect() -> Connection:
    """A new entry in `client_connections`, for a socket just accepted."""
    connection = Connection(client_id=f"client_{next(_numbers)}_{secrets.token_hex(4)}")
    with _connections_lock:
        client_connections[connection.client_id] = connection
    return connection


def start(session: CallSession) -> None:
    """The call of a connection is known. Raises CallRefused when that call is live already."""
    with _sessions_lock:
        if session.call_sid in active_sessions:
            raise CallRefused(f"{session.call_sid} is live already")
        active_sessions[session.call_sid] = session
    # An earlier stream of it may have been over: the call goes on.
    _over.pop(session.call_sid, None)
    with _streams_lock:
        stream_to_call_sid[session.stream_sid] = session.call_sid
    session.connection.call_sid = session.call_sid
    session.connection.state = State.LIVE


@contextmanager
def beginning(call_sid: str) -> Iterator[None]:
    """While a stream takes the call over, no other one may: it would own the records, and be refused then by `start`.

    Raises CallRefused when one does.
    """
    with _sessions_lock:
        if call_sid in _beginning:
            raise CallRefused(f"another stream of {call_sid} is about to begin")
        _beginning.add(call_sid)
    try:
        yield
    finally:
        with _sessions_lock:
            _beginning.discard(call_sid)


def make_way(call_sid: str) -> None:
    """End an older stream of this call, if there is one, and wait until it has gone: the call has got a new one."""
    session = session_of(call_sid)
    if session:
        session.connection.request_end("superseded")
        gevent.joinall(session.connection.greenlets()[:1], timeout=_MAKE_WAY_S)


def disconnect(connection: Connection, over: bool) -> None:
    """Take the connection out of all maps; `over` when its call must not be resumed. May be called twice."""
    with _sessions_lock:
        session = active_sessions.get(connection.call_sid)
        if session is not None and session.connection is connection:
            del active_sessions[connection.call_sid]
        else:
            session = None
    if session is not None:
        with _streams_lock:
            stream_to_call_sid.pop(session.stream_sid, None)
        if over:
            _remember_over(session.call_sid)
    with _connections_lock:
        known = client_connections.pop(connection.client_id, None)
    if known is not None:
        # The first is the call's own, which disconnects it.
        left_over.update(greenlet for greenlet in connection.greenlets()[1:] if not greenlet.dead)
        connection.let_go()


def connections() -> list[Connection]:
    with _connections_lock:
        return list(client_connections.values())


def sessions() -> list[CallSession]:
    with _sessions_lock:
        return list(active_sessions.values())


def reconcile() -> list[str]:
    """Make the maps agree where they do not; what was wrong with them, one line for each fault.

    A session without its connection goes, and a stream without its session.
    """
    faults = []
    for session in sessions():
        if client_connections.get(session.connection.client_id) is not session.connection:
            faults.append(f"{session.call_sid}: a session without its connection, taken out")
            with _sessions_lock:
                active_sessions.pop(session.call_sid, None)
    with _streams_lock:
        known = {session.stream_sid: session.call_sid for session in sessions()}
        for stream_sid, call_sid in list(stream_to_call_sid.items()):
            if known.get(stream_sid) != call_sid:
                faults.append(f"{call_sid}: a stream without its session, taken out: {stream_sid}")
                del stream_to_call_sid[stream_sid]
        for stream_sid in known.keys() - stream_to_call_sid.keys():
            faults.append(f"{known[stream_sid]}: its stream was missing, put in: {stream_sid}")
            stream_to_call_sid[stream_sid] = known[stream_sid]
    return faults


def session_of(call_sid: str) -> CallSession | None:
    with _sessions_lock:
        return active_sessions.get(call_sid)


def live_calls() -> int:
    """Accepted sockets, those that have not said who they are included."""
    return len(client_connections)


def unstarted() -> int:
    """Accepted sockets that have not said who they are."""
    return sum(connection.state is State.CONNECTING for connection in connections())


def describe() -> str:
    """The live calls as text, each with its greenlets and the three innermost lines that each of them stands in."""
    greenlets = _greenlets()
    lines = [
        f"{len(client_connections)} connections, {len(active_sessions)} calls, {len(stream_to_call_sid)} streams, "
        f"{greenlets} greenlets"
    ]
    for connection in connections():
        session = session_of(connection.call_sid)
        floor = f", floor {session.conversation.floor}, turn {session.conversation.turn}" if session else ""
        quiet = time.monotonic() - connection.last_activity
        name = connection.call_sid or connection.client_id
        lines.append(f"{name}: {connection.state.value}{floor}, quiet for {quiet:.0f} s")
        for greenlet in connection.greenlets():
            frames = traceback.extract_stack(greenlet.gr_frame)[-3:] if greenlet.gr_frame else []
            places = " < ".join(f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno} {f.name}" for f in reversed(frames))
            lines.append(f"  {greenlet.name}: {places or 'not running'}")
    return "\n".join(lines) + "\n"


def _greenlets() -> int:
    """All of this process. Another thread, the database's, must not get its turn meanwhile: a tuple that it is just
    building, and that we hold, is a SystemError there."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(10.0)
    try:
        return sum(isinstance(thing, gevent.Greenlet) and not thing.dead for thing in gc.get_objects())
    finally:
        sys.setswitchinterval(interval)


def is_over(call_sid: str) -> bool:
    """Whether this worker has ended the call within the last ten minutes."""
    ended = _over.get(call_sid)
    return ended is not None and time.monotonic() - ended < _OVER_KEPT_S


def _remember_over(call_sid: str) -> None:
    now = time.monotonic()
    # In the order of insertion, so the oldest come first; a call that ends again is put last again.
    _over.pop(call_sid, None)
    _over[call_sid] = now
    for sid, ended in list(_over.items()):
        if now - ended < _OVER_KEPT_S:
            break
        del _over[sid]
