"""What tells that a source would give other records than it did, without reading them."""

from __future__ import annotations

from tidemill.config.objects.descriptions import fingerprint_json
from tidemill.protocols import Source


def stamp_source(source: Source) -> str:
    """What changes when the source does: its own `stamp`, of files their names, sizes and times of change or versions.

    Of a source that tells none, the names and sizes of its parts.
    """
    find_stamp = getattr(source, "stamp", None)
    return (find_stamp() if find_stamp else "") or stamp_sizes(source)


def stamp_sizes(source: Source) -> str:
    """What changes when a part is added, taken away or of another size."""
    return fingerprint_json([[part, source.measure_part(part, None)] for part in source.parts()])[:16]
