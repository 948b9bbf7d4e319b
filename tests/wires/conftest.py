from tests.wires.loopback import line

__all__ = ["line"]
