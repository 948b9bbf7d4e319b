"""What an agent may do besides talking. A call has one Toolbox: the model is told of its schemas, and it runs them."""

from voice.tools.toolbox import Outcome, Toolbox

__all__ = ["Outcome", "Toolbox"]
