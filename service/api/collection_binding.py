"""Which model a request about a collection is for: the one whose vectors it holds, and no other."""

from collections.abc import Sequence
from typing import TypeVar

from service.api.collection_options import AddOptions, SearchOptions
from service.api.errors import RequestError
from service.api.exchange import Asked
from service.api.json_items import GivenEmbedding, Item
from service.api.repository import Repository
from service.engine.engine import Engine
from service.search.errors import ForeignVectorsError
from service.search.items import Binding, Card

__all__ = ["binding_of", "bound"]

OptionsT = TypeVar("OptionsT", AddOptions, SearchOptions)


def binding_of(engine: Engine) -> Binding:
    """What a collection of a model's vectors is bound to."""
    manifest = engine.manifest
    return Binding(manifest.name, manifest.version, engine.fingerprint, manifest.embedding.dim)


def bound(repository: Repository, card: Card | None, options: OptionsT, items: Sequence[Item]) -> Asked[OptionsT]:
    """What is asked, for the collection's model where the request names none.

    Args:
        repository: The models.
        card: Of the collection; None where it is new, and any model will do.
        options: Of the request.
        items: Images and ready embeddings.

    Raises:
        ForeignVectorsError: The model, or the ready embeddings, are not the collection's.
        RequestError: Ready embeddings that do not say what they are of, or no model.
        UnknownModelError: No such model.
        NotReadyError: No model is loaded yet.
    """
    engine = _engine(repository, card, options.model)
    given = any(isinstance(item, GivenEmbedding) for item in items)
    if given and options.fingerprint is None:
        raise RequestError(
            "fingerprint: expected with ready embeddings, as the answer that brought them gave it; found none."
        )
    if options.fingerprint not in {None, engine.fingerprint}:
        raise ForeignVectorsError(
            f"Expected embeddings of {binding_of(engine)}; found the fingerprint {options.fingerprint[:40]!r}. Embed "
            "the images with this model, or send the images themselves."
        )
    return Asked(options.model_copy(update={"model": engine.manifest.reference}), {"images": list(items)})


def _engine(repository: Repository, card: Card | None, asked: str | None) -> Engine:
    repository.check_loaded()
    if card is None:
        return repository.get(asked)
    if asked is not None:
        engine = repository.get(asked)
        card.check(binding_of(engine))
        return engine
    for engine in repository.engines:
        if engine.fingerprint == card.binding.fingerprint:
            return engine
    loaded = ", ".join(f"{engine.manifest.reference} ({engine.fingerprint})" for engine in repository.engines)
    raise ForeignVectorsError(
        f"The collection {card.name!r} holds vectors of {card.binding}, which is not loaded; found {loaded}. Serve "
        "that model beside these, or add the images to a collection of another name."
    )
