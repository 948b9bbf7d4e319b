"""What a bad network does to a connection, for the chaos proxy.

`after` counts the bytes that the client has got since the fault took hold, in a new request from 0.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stall:
    """Nothing more comes; what does not come is kept until the proxy is healed. At a dial: accepted, never answered."""

    after: int = 0
    both: bool = False
    """Nothing more goes the other way, too."""


@dataclass(frozen=True)
class Drip:
    bytes_per_s: float
    after: int = 0


@dataclass(frozen=True)
class Reset:
    """RST to both ends. At a dial: accepted and reset at once."""

    after: int = 0


@dataclass(frozen=True)
class Cut:
    """FIN to both ends."""

    after: int = 0


@dataclass(frozen=True)
class HalfClose:
    """FIN to the client; what it sends still goes through."""

    after: int = 0


@dataclass(frozen=True)
class Corrupt:
    """The byte after these comes with all its bits turned over."""

    after: int = 0


@dataclass(frozen=True)
class Latency:
    """Both ways, each piece this much later and by chance up to `jitter_ms` more; the order stays."""

    ms: float
    jitter_ms: float = 0


Fault = Stall | Drip | Reset | Cut | HalfClose | Corrupt | Latency
