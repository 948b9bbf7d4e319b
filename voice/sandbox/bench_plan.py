"""What one run of the load test does, as a value."""

from dataclasses import dataclass

from voice.sandbox.bench_script import INTERRUPTED_SHARE

PEERS = ("floor", "pipecat")
TRANSCRIBERS = {"commit": "gpt-live-transcribe", "server-vad": "gpt-4o-transcribe"}
"""Who hears that the caller has finished: the server itself, or the vendor."""
FORMATS = ("pcmu", "pcm24k")


@dataclass(frozen=True)
class Plan:
    calls: int = 50
    turns: int = 4
    """Of each call."""
    seed: int = 1
    """Decides who interrupts, and when each begins."""
    preemptive: bool = False
    """The agent thinks before the final transcript; what the server adds is then hidden behind the vendors' time."""
    fast: bool = False
    """The stand-ins answer at once instead of at the vendors' pace."""
    spread_s: float = 8.0
    """Callers begin their first question within so many seconds; about the length of a turn."""
    transcriber: str = "commit"
    """One of TRANSCRIBERS."""
    audio_format: str = "pcmu"
    """One of FORMATS: what the transcriber is sent."""
    tls: bool = False
    """The vendors are met over TLS."""
    peer: str = ""
    """One of PEERS takes the server's place."""
    visitors_per_s: float = 0.0
    """While all calls are live so many more come every second, hear the greeting and hang up."""
    refusals: bool = False
    """More calls are offered than the server takes: those that it refuses are counted, and miss nothing."""

    @property
    def vendor_hears(self) -> bool:
        """The transcriber detects speech. Both peers leave it that."""
        return bool(self.peer) or self.transcriber == "server-vad"

    @property
    def as_samples(self) -> bool:
        """The caller's audio is made into samples on its way to the transcriber. Peers may do so."""
        return bool(self.peer) or self.audio_format == "pcm24k"

    def told(self) -> dict[str, str]:
        """For the head of a report."""
        how = "at the vendors' pace" if not self.fast else "fast"
        hears = "the transcriber's" if self.vendor_hears else "the server's own"
        told = {
            "run": f"{self.calls} calls of {self.turns} turns, {INTERRUPTED_SHARE:.0%} of them interrupted, "
            f"seed {self.seed}",
            "stand-ins": f"{how}{', over TLS' if self.tls else ''}; speech detection {hears}",
        }
        if self.refusals:
            told["refusals"] = "are no failures; all other figures are of the calls that were taken"
        if self.visitors_per_s:
            told["visitors"] = f"{self.visitors_per_s:g} more calls a second, which hear the greeting and go"
        if self.peer:
            return {"peer": self.peer, **told}
        return told | {"audio": self.audio_format}
