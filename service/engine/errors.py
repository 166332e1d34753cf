"""What can go wrong between a valid request and its answer; images have their own errors, in `images`."""

__all__ = [
    "DeadlineExceededError",
    "DeviceError",
    "DeviceLostError",
    "EngineError",
    "InferenceError",
    "NotReadyError",
    "QueueFullError",
    "RequestCancelledError",
    "RequestTooLargeError",
    "SimilarityError",
    "blame",
    "first_line",
    "not_run",
]


class EngineError(Exception):
    """Anything the engine refuses or fails to do; the message is one sentence for the person who asked."""


class QueueFullError(EngineError):
    """There is no room now, but there will be.

    Attributes:
        retry_after_s: Seconds until what waits now should be done, from the measured time per item.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RequestTooLargeError(EngineError):
    """The request has more items or bytes than the queue can ever hold; trying again cannot help."""


class DeadlineExceededError(EngineError):
    """The deadline passed before the item was started."""


class RequestCancelledError(EngineError):
    """The item was dropped because its ticket was cancelled."""


class NotReadyError(EngineError):
    """The engine is draining or closed, or its inference thread has died."""


class InferenceError(EngineError):
    """The model failed on this item, alone, and not on its neighbours."""


class SimilarityError(EngineError):
    """The similarity asked for is not defined for this model or these embeddings."""


class DeviceError(EngineError):
    """The device asked for, or ONNX Runtime itself, is not usable on this machine."""


class DeviceLostError(DeviceError):
    """The GPU has failed and will not compute again in this process."""


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def blame(error: Exception) -> EngineError:
    """The outcome of an item on which a run failed."""
    if isinstance(error, EngineError):
        return error
    outcome = InferenceError("The model failed on this image.")  # the cause stays in the log: it is ours, not theirs
    outcome.__cause__ = error
    return outcome


def not_run() -> NotReadyError:
    """The outcome of an item that nothing will run any more."""
    return NotReadyError("The engine has stopped; this item was not processed.")
