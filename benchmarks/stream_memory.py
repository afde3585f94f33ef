"""The rows of `streams.py` that are about memory."""

from __future__ import annotations

from stream_data import make_large
from stream_rows import Client, Setting, middle, run_rounds
from tables import Target

SHUFFLED = 100_000_000
MB = 10**6


def measure_growth(setting: Setting) -> list[str]:
    """Peak memory over a large file and a small one."""
    small, large = make_large(setting.small_bytes), make_large(setting.large_bytes)
    clients = [Client(path.name, "client_stream.py", ("tidemill", path, 0)) for path in (small, large)]
    results, faults = run_rounds(clients, 1)
    if not faults:
        held = [middle(results, client.name, "peak_rss_mb") for client in clients]
        print(f"\npeak RSS over JSON Lines of {setting.small_bytes // MB:,} and {setting.large_bytes // MB:,} MB")
        print(f"  {held[0]:.1f} and {held[1]:.1f} MB")
        ratio = held[1] / held[0]
        met = ratio <= 1.1 if setting.judged else None
        print(Target("peak RSS, of the small one's", f"{ratio:.2f}x", "at most 1.1x", met), flush=True)
    large.unlink()
    return faults


def measure_generated(setting: Setting) -> list[str]:
    """One map and one filter over few and over many generated records."""
    sizes = (100, setting.generated)
    way = "tidemill, generated"
    clients = [Client(f"{size:,} records", "client_stream.py", (way, size, 0)) for size in sizes]
    results, faults = run_rounds(clients, min(3, setting.rounds))
    if faults:
        return faults
    held = [middle(results, client.name, "peak_rss_mb") for client in clients]
    apart = held[1] - held[0]
    print(f"\none map + filter over generated records: {held[0]:.1f} MB at 100, {held[1]:.1f} MB at {sizes[1]:,}")
    met = apart <= 2 if setting.judged else None
    print(Target("peak RSS apart", f"{apart:.1f} MB", "at most 2 MB", met), flush=True)
    return [
        f"{client.name}: {found['records']:,} records"
        for client, size in zip(clients, sizes, strict=True)
        for found in results[client.name]
        if found["records"] != size
    ]


def measure_shuffle(setting: Setting) -> list[str]:
    """A global shuffle of 100,000,000 indices, in an order that is worked out as it is asked for."""
    sizes = (setting.shuffled // 5, setting.shuffled)
    clients = [Client(f"{size:,} indices", "client_shuffle.py", (SHUFFLED, size)) for size in sizes]
    results, faults = run_rounds(clients, 1)
    if faults:
        return faults
    (few,), (many,) = results.values()
    took_ns = many["cpu_s"] / many["indices"] * 1e9
    print(f"\nglobal shuffle of {SHUFFLED:,} indices, {sizes[0]:,} and {sizes[1]:,} of them gone through")
    print(f"  {took_ns:,.0f} ns of CPU an index, so {took_ns * SHUFFLED / 1e9:,.0f} s for all")
    print(f"  growth {few['grown_mb']:.1f} and {many['grown_mb']:.1f} MB")
    apart = many["grown_mb"] - few["grown_mb"]
    met = apart <= 4 if setting.judged else None
    print(Target("growth apart", f"{apart:.1f} MB", "at most 4 MB", met), flush=True)
    if setting.shuffled == SHUFFLED and many["total"] != SHUFFLED * (SHUFFLED - 1) // 2:
        return ["not every index was given once"]
    return []
