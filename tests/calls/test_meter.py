import json
import random

from tidemill.calls.meter import Meter
from tidemill.calls.wire import Usage


def filled(seed: int = 0) -> Meter:
    meter, rng = Meter(), random.Random(seed)
    for _ in range(200):
        meter.send(is_first=True)
        meter.answer(rng.uniform(0.01, 2.0), Usage(10, 5), 1_000)
        meter.in_flight -= 1
    meter.failures["429"] += 3
    meter.share("label/schema").add(Usage(10, 5), 1_000, ("repaired",))
    meter.share("label/schema").add(None, 0)
    return meter


def test_percentiles_are_within_their_bucket() -> None:
    """A percentile is at most 12.3 % above the exact one, and never below it."""
    meter, rng = Meter(), random.Random(3)
    latencies = sorted(rng.lognormvariate(-1, 1) for _ in range(2000))
    for latency_s in latencies:
        meter.answer(latency_s, None, 0)
    for ratio in (0.5, 0.9, 0.99):
        exact = latencies[round(ratio * 2000) - 1]
        measured = meter.latency_s(ratio)
        assert measured is not None
        assert exact <= measured <= exact * 1.123


def test_a_meter_without_answers_has_no_latency() -> None:
    """Nothing measured is None, not 0."""
    assert Meter().latency_s(0.5) is None


def test_latencies_beyond_the_scale_are_kept() -> None:
    """0 s and an hour have a bucket too; the longest is known exactly."""
    meter = Meter()
    meter.answer(0.0, None, 0)
    meter.answer(3600.0, None, 0)
    meter.answer(7200.0, None, 0)
    assert (meter.latency_s(0.1), meter.latency_s(0.5), meter.latency_s(1.0)) == (1e-6, 7200.0, 7200.0)


def test_usage_that_was_not_told_is_counted_as_unknown() -> None:
    """Tokens and cost hold what was reported; the rest is a count of attempts."""
    meter = Meter()
    meter.answer(1.0, Usage(10, 5), 2 * 10**12)
    meter.answer(1.0, None, 0)
    assert (meter.input_tokens, meter.output_tokens, meter.usd, meter.unknown_usage) == (10, 5, 2.0, 1)


def test_it_goes_through_json_and_back() -> None:
    """What a run reports can be read back whole."""
    meter = filled()
    value = json.loads(json.dumps(meter.to_dict()))
    assert Meter.from_dict(value).to_dict() == meter.to_dict()
    described = meter.describe()
    assert list(described["latency_s"]) == ["p50", "p90", "p99"]
    tokens = {"input_tokens": 10, "output_tokens": 5}
    assert described["shares"] == {"label/schema": {"calls": 2, **tokens, "usd": 1e-9, "counts": {"repaired": 1}}}


def test_what_an_earlier_version_saved_is_read() -> None:
    """It kept no more of the latencies than how many were in each bucket, the first of which ended at 0.1 ms."""
    saved = {"calls": 4, "latencies": {"0": 1, "60": 3}, "first_tokens": {}}
    meter = Meter.from_dict(saved)
    assert (meter.latency_s(0.1), meter.latency_s(0.5), meter.first_token_s(0.5)) == (0.0001, 0.1, None)
    assert Meter.from_dict(meter.to_dict()).latency_s(0.5) == 0.1


def test_merging_adds_counts_and_keeps_the_peak() -> None:
    """Two sessions of one run read as one."""
    first, second = filled(1), filled(2)
    second.max_in_flight = 7
    first.merge(second)
    assert (first.calls, first.attempts, first.failures["429"], first.max_in_flight) == (400, 400, 6, 7)
    assert first.latencies.count == 400
    assert first.pico_usd == 400_000
    share = first.share("label/schema")
    assert (share.calls, share.input_tokens, share.pico_usd, share.counts["repaired"]) == (4, 20, 2_000, 2)


def test_most_in_flight_is_remembered() -> None:
    """The peak stays when calls end."""
    meter = Meter()
    meter.send(is_first=True)
    meter.send(is_first=True)
    meter.in_flight -= 2
    meter.send(is_first=True)
    assert (meter.in_flight, meter.max_in_flight, meter.calls) == (1, 2, 3)
