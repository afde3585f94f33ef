"""What a model is asked for in several tests, and a reply that is one."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

GOOD = '{"sentiment": "positive", "topic": "shoes"}'


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=10)
