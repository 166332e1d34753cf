"""How `simvae-serve` ends: the signals that tell it to, and what it says where it has to."""

import signal
import sys

__all__ = ["STOP_SIGNALS", "give_reason"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def give_reason(sentence: str) -> int:
    """Tells whoever typed the command why it ends, whatever is logged.

    Returns:
        Its exit code.
    """
    sys.stderr.write(f"simvae-serve: {sentence}\n")
    return 1
