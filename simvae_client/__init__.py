"""Asks a SimVAE service: images in, numpy out, from Python code that waits (`Client`) or awaits (`AsyncClient`).

It knows the service by its HTTP interface only, and shares no code with it.
"""

from simvae_client.async_client import AsyncClient
from simvae_client.client import Client
from simvae_client.errors import (
    BadAnswerError,
    BadImageError,
    BusyError,
    ClientError,
    FingerprintError,
    NotReadyError,
    ProblemError,
    ServerError,
    TooLargeError,
    TooLateError,
    UnauthorizedError,
    UnknownModelError,
    UnreachableError,
)
from simvae_client.images import Image, Images
from simvae_client.results import (
    BadImage,
    Embeddings,
    FolderEmbeddings,
    ModelCard,
    ModelId,
    Models,
    Reconstructions,
    Similarity,
)
from simvae_client.retries import Retries

__all__ = [
    "AsyncClient",
    "BadAnswerError",
    "BadImage",
    "BadImageError",
    "BusyError",
    "Client",
    "ClientError",
    "Embeddings",
    "FingerprintError",
    "FolderEmbeddings",
    "Image",
    "Images",
    "ModelCard",
    "ModelId",
    "Models",
    "NotReadyError",
    "ProblemError",
    "Reconstructions",
    "Retries",
    "ServerError",
    "Similarity",
    "TooLargeError",
    "TooLateError",
    "UnauthorizedError",
    "UnknownModelError",
    "UnreachableError",
]
