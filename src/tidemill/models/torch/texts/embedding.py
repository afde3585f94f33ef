"""Runs an `embed` step whose model is in this process: its records' texts through it, many at a time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.models.steps.calling import Ask, hook_run
from tidemill.models.steps.embed import BYTES_PER_TOKEN, Embed, find_text
from tidemill.models.torch.running.batch import Size
from tidemill.models.torch.running.gathering import Gathering
from tidemill.models.torch.running.inputs import Preparing
from tidemill.models.torch.running.outputs import to_plain
from tidemill.models.torch.running.place import find_place
from tidemill.models.torch.running.replica import Loaded, Replica
from tidemill.models.torch.texts.location import find_text_model
from tidemill.models.torch.texts.recipe import read_recipe
from tidemill.protocols import Record

if TYPE_CHECKING:
    from tidemill.models.torch.texts.embedder import TextEmbedder

logger = logging.getLogger(__name__)


class EmbeddingPredictor:
    """Runs one `Embed` node. Belongs to one loop; the model is loaded by the first record that comes.

    Args:
        name: the step's name.
        folder: what the model's path is relative to.

    Raises (constructor): ConfigError, ResourceError: the model, or a package, is not there.
    """

    def __init__(self, node: Embed, name: str, folder: Path) -> None:
        self._node = node
        self._name = name
        self._folder = find_text_model(node.model.model, folder)
        self._most = read_recipe(self._folder).max_tokens
        self._hooked = hook_run(self._run, node.bound_hooks)
        self._embedder: TextEmbedder | None = None
        self._replica = Replica(
            "",
            self._load,
            prepare=self._prepare,
            finish=to_plain,
            inference=False,
            size=Size(node.batch_size, node.batch_tokens),
        )
        self.gathering = Gathering([self._replica], name)

    def run(self, record: Record, ask: Ask) -> Awaitable[Record]:
        """`record` with the vector of its text in its column; the step's hooks are called around it.

        Raises:
            DataError: the record has no such text.
            ResourceError: the model cannot be loaded, or its device is lost.
        """
        return self._hooked(record, ask)

    async def close(self) -> None:
        """End its threads, once what they are at has ended, and say how many texts were cut."""
        await self.gathering.close()
        embedder = self._embedder
        if embedder is not None and embedder.cut:
            message = "step `%s`: %s cut to the %s tokens that the model takes"
            cut = "1 text was" if embedder.cut == 1 else f"{embedder.cut:,} texts were"
            logger.warning(message, self._name, cut, embedder.max_tokens)

    def describe(self) -> dict[str, dict[str, Any]]:
        """What was computed so far, by the name of the device; empty before it began."""
        if self._replica.place is None or self._embedder is None:
            return {}
        return {self._replica.place.name: {**self._replica.describe(), "cut": self._embedder.cut}}

    async def _run(self, record: Record, ask: Ask) -> Record:
        text = find_text(self._node, record)
        tokens = len(text.encode()) // BYTES_PER_TOKEN + 1
        vector = await self.gathering.run(text, tokens if self._most is None else min(tokens, self._most))
        return {**record, self._node.into: vector}

    def _load(self) -> Loaded:
        """The model; in the thread that is to compute."""
        from tidemill.models.torch.texts.embedder import open_embedder

        self._embedder = open_embedder(self._folder, self._node.model.load, dimensions=self._node.dimensions)
        return Loaded(self._embedder.encoder, find_place(self._embedder.encoder))

    def _prepare(self, model: Any) -> Preparing:
        assert self._embedder is not None
        return Preparing(model, prepare=self._embedder.prepare, column=None, pad=None)
