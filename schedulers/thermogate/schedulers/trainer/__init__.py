"""The gate in a training: `Gate` for any loop; adapters for PyTorch, Transformers and Lightning beside it.

Nothing of those is imported before its own adapter is.
"""

from thermogate.schedulers.trainer.gate import Gate

__all__ = ["Gate"]
