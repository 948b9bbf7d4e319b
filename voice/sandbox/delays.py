"""How long the stand-ins take over their work; a value, read by the greenlets that serve."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Delays:
    """The defaults are small but not zero: nothing real answers in no time, and a zero hides races."""

    final_ms: float = 40
    """Milliseconds from a commit to its final transcript."""
    first_token_ms: float = 30
    """Milliseconds from a model request to its first token."""
    token_ms: float = 2
    """Milliseconds between two tokens."""
    first_audio_ms: float = 30
    """Milliseconds from a text to its first audio."""
    audio_speed: float = 20
    """Seconds of speech synthesized a second; 0 means at once."""

    @staticmethod
    def like_the_vendors() -> "Delays":
        """What callers meet in production, at the pace that the vendors' users have published."""
        return Delays(final_ms=850, first_token_ms=350, token_ms=15, first_audio_ms=180, audio_speed=8)
