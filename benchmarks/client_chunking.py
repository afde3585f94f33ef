"""One splitter over the texts of `chunking.py`, in a process of its own: CPU, and what its chunks are."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from children import peak_rss_mb, tell

Span = tuple[int, int]
"""Where a chunk starts and stops; a splitter that does not say where has -1."""


def main() -> None:
    name, texts_path, unit, limit, overlap, tokenizer_path = sys.argv[1:]
    texts: list[str] = json.loads(Path(texts_path).read_text())
    count = partial(count_tokens, open_tokenizer(tokenizer_path)) if unit == "tokens" else len
    split = SPLITTERS[name.partition(" ")[0]](name, unit, int(limit), int(overlap), tokenizer_path)
    for text in texts[:3]:
        split(text)
    started = time.process_time()
    found = [split(text) for text in texts]
    cpu_s = time.process_time() - started
    chunks = [chunk for each in found for _, chunk in each]
    placed = sum(
        text[start:stop] == chunk for text, each in zip(texts, found, strict=True) for (start, stop), chunk in each
    )
    sizes = [count(chunk) for chunk in chunks]
    tell(
        cpu_s=cpu_s,
        chars=sum(map(len, texts)),
        chunks=len(chunks),
        largest=max(sizes),
        over_ratio=sum(size > int(limit) for size in sizes) / len(sizes),
        mean=sum(sizes) / len(sizes),
        placed_ratio=placed / len(chunks),
        rss_mb=peak_rss_mb(),
    )


def open_tokenizer(path: str) -> Any:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def count_tokens(tokenizer: Any, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


Split = Callable[[str], Iterable[tuple[Span, str]]]


def use_tidemill(name: str, unit: str, limit: int, overlap: int, tokenizer_path: str) -> Split:
    from tidemill.data.nodes.single import Chunk
    from tidemill.data.steps.functions import record_function

    options: dict[str, Any] = {"by": name.partition(" ")[2], f"max_{unit}": limit, "overlap": overlap}
    if unit == "tokens":
        options["tokenizer"] = tokenizer_path
    chunk = record_function(Chunk(**options))
    return lambda text: [((each["start"], each["stop"]), each["text"]) for each in chunk({"text": text})]


def use_langchain(name: str, unit: str, limit: int, overlap: int, tokenizer_path: str) -> Split:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    count = partial(count_tokens, open_tokenizer(tokenizer_path)) if unit == "tokens" else len
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=limit, chunk_overlap=overlap, length_function=count, add_start_index=True
    )

    def split(text: str) -> list[tuple[Span, str]]:
        found = splitter.create_documents([text])
        places = [each.metadata["start_index"] for each in found]
        return [
            ((place, place + len(each.page_content)), each.page_content)
            for place, each in zip(places, found, strict=True)
        ]

    return split


def use_semchunk(name: str, unit: str, limit: int, overlap: int, tokenizer_path: str) -> Split:
    import semchunk

    count = partial(count_tokens, open_tokenizer(tokenizer_path)) if unit == "tokens" else len
    chunker = semchunk.chunkerify(count, limit)

    def split(text: str) -> list[tuple[Span, str]]:
        chunks, places = chunker(text, offsets=True, overlap=overlap or None)
        return list(zip(places, chunks, strict=True))

    return split


SPLITTERS = {"tidemill": use_tidemill, "langchain": use_langchain, "semchunk": use_semchunk}

if __name__ == "__main__":
    main()
