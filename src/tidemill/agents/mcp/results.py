"""What an MCP server answered: a JSON value or a text for the model, or the error that it tells."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any

from tidemill.agents.tools.image import Image
from tidemill.agents.tools.refusal import RefusalError
from tidemill.models.images.images import sniff_image

if TYPE_CHECKING:
    from mcp.types import BlobResourceContents, CallToolResult, ContentBlock, TextResourceContents

MAX_ERROR = 4000
"""Characters of a tool's error that the model is told."""


def read_result(result: CallToolResult) -> Any:
    """The structured content where texts are all that is beside it, which say the same; else the texts.

    Pictures are shown; what is neither is told in words: a sound's type and size, a resource's address.

    Raises:
        RefusalError: the tool says that it failed; its text.
    """
    if result.is_error:
        text = "\n".join(map(_render, result.content)) or "the tool failed and does not say why"
        raise RefusalError(text if len(text) <= MAX_ERROR else text[: MAX_ERROR - 1] + "\N{HORIZONTAL ELLIPSIS}")
    if result.structured_content is not None:
        others = [_take(block) for block in result.content if block.type != "text"]
        structured = result.structured_content
        return {"structured": structured, "content": others} if others else structured
    taken = list(map(_take, result.content))
    texts = [each for each in taken if isinstance(each, str)]
    return "\n".join(texts) if len(texts) == len(taken) else taken


def _take(block: ContentBlock) -> str | Image:
    """A block as a result has it: a picture itself, where providers take its format."""
    if block.type == "image":
        try:
            data = binascii.a2b_base64(block.data)
        except binascii.Error:
            return _render(block)
        return Image(data) if sniff_image(data) is not None else _render(block)
    return _render(block)


def _render(block: ContentBlock) -> str:
    if block.type == "text":
        return block.text
    if block.type == "image" or block.type == "audio":
        return f"[{block.type} {block.mime_type}, {_count_bytes(block.data)} bytes]"
    if block.type == "resource_link":
        told = ", ".join(filter(None, (block.mime_type, block.description)))
        return f"[resource {block.name}: {block.uri}{f' ({told})' if told else ''}]"
    return _render_resource(block.resource)


def _render_resource(resource: TextResourceContents | BlobResourceContents) -> str:
    if not hasattr(resource, "blob"):
        return f"[resource {resource.uri}]\n{resource.text}"
    size = _count_bytes(resource.blob)
    return f"[resource {resource.uri}: {resource.mime_type or 'no known type'}, {size} bytes]"


def _count_bytes(data: str) -> int:
    try:
        return len(binascii.a2b_base64(data))
    except binascii.Error:  # no base64: what came is counted
        return len(data)
