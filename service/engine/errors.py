"""What can go wrong between a valid request and its answer; images have their own errors, in `images`."""

__all__ = [
    "DeadlineExceededError",
    "DeviceError",
    "EngineError",
    "InferenceError",
    "NotReadyError",
    "QueueFullError",
    "RequestCancelledError",
    "RequestTooLargeError",
    "SimilarityError",
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
