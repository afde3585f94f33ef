"""`web_search`: pages that a search engine finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from tidemill.agents.builtin.search_engines import Brave, SearchEngine, SearchHit, Tavily
from tidemill.agents.tools.decorator import tool
from tidemill.agents.tools.tool import Tool
from tidemill.config.model import Config
from tidemill.config.objects.descriptions import describe_value
from tidemill.errors import ConfigError

MAX_HITS = 20
"""What Brave and Tavily give at most at once."""


def web_search(engine: SearchEngine, *, count: int = 8, name: str = "web_search") -> Tool:
    """A tool that finds pages by `SearXNG(base_url=…)`, `Brave()`, `Tavily()` or any other `SearchEngine`.

    The model gives a query, and a count of at most 20; it is told title, address, snippet and date of each page. An
    engine that asks to wait, or fails in passing, is asked again twice.

    Args:
        engine: what is asked.
        count: pages that are found where the model does not say how many.
        name: as the model sees it.

    Raises:
        ConfigError: the engine needs a key and there is none, or is no engine.
    """
    if not callable(getattr(engine, "search", None)):
        hint = "give `SearXNG(base_url=…)`, `Brave()`, `Tavily()`, or an object with `search`"
        raise ConfigError(f"expected a search engine, got `{type(engine).__name__}`", hint=hint)
    if isinstance(engine, (Brave, Tavily)):
        engine.check()

    async def search(
        query: Annotated[str, Field(min_length=1, max_length=400, description="What to look for, as in a search box.")],
        count: Annotated[int, Field(ge=1, le=MAX_HITS, description="Pages to find at most.")] = count,
    ) -> list[SearchHit]:
        """Search the web. Gives pages with title, address, snippet and date, the best first."""
        return (await engine.search(query, count))[:count]

    made: Tool = tool(search, name=name, shows_errors=True, idempotent=True, retries=2)
    return replace(made, identity={"builtin": "web_search", "count": count, **_describe(engine)})


def _describe(engine: SearchEngine) -> dict[str, Any]:
    """What decides the engine's answers, without its key."""
    described = describe_value(engine, defaults=True) if isinstance(engine, Config) else None
    return {"engine": f"{type(engine).__module__}:{type(engine).__qualname__}", "settings": described}
