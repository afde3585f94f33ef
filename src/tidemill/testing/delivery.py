"""How a fault server delivers what it answers well: how fast, how long, and which usage it tells."""

from __future__ import annotations

from pydantic import Field

from tidemill.config.model import Settings


class Delivery(Settings):
    """The pace and the usage of good replies, streamed or whole.

    A reply has its first token `first_token_s` after the server's latency and each further one `token_s` later; one
    that is not streamed comes when its last token is there.

    Attributes:
        first_token_s: until the first token.
        token_s: between two tokens, those of reasoning too, which come first.
        tokens_per_event: tokens in one event of a stream.
        min_tokens: the shortest text that is made where no schema is asked for.
        reasoning_tokens: told and billed as output besides the text (OpenAI's format).
        cached_ratio: of the input, the share told as read from the provider's cache (OpenAI's format; in Anthropic's
            it follows from `cache_control` and what came before).
        min_cached_tokens: the shortest prefix that is cached in Anthropic's format; they have 1,024 and more.
        tells_usage: replies say what they used.
        dimensions: of an embedding, where the request does not say.
    """

    first_token_s: float = Field(default=0.0, ge=0)
    token_s: float = Field(default=0.0, ge=0)
    tokens_per_event: int = Field(default=1, ge=1)
    min_tokens: int = Field(default=0, ge=0)
    reasoning_tokens: int = Field(default=0, ge=0)
    cached_ratio: float = Field(default=0.0, ge=0, le=1)
    min_cached_tokens: int = Field(default=0, ge=0)
    tells_usage: bool = True
    dimensions: int = Field(default=256, ge=1)

    def wait_s(self, tokens: int) -> float:
        """Seconds until `tokens` tokens are there."""
        return self.first_token_s + self.token_s * max(0, tokens - 1)
