"""Pictures in the results of tools: shown to the model as its wire format can, kept, and counted by their size."""

from __future__ import annotations

import base64
import io
import json
from collections import deque  # which a function's fingerprint does not look into
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pytest
from modelscript import MODEL, Scripted, calling, saying
from PIL import Image as Pil

import tidemill as tm
from tidemill.agents import Image, Told
from tidemill.agents.tools.image import gives_images
from tidemill.calls.wire import Request, Response
from tidemill.errors import ConfigError
from tidemill.jobs.ledger.folder import locate_run
from tidemill.jobs.running.transcripts import read_transcripts
from tidemill.models.model import Model
from tidemill.testing import Call, Fault, Faults, FaultServer, ToolCalls

CLAUDE = Model(model="anthropic/claude-sonnet-4-5", base_url="http://scripted.invalid/v1", api_key="none")
TELLING = MODEL.model_copy(update={"tools": "told"})
SIZE = (3, 2)


def draw(*, kind: str = "PNG", size: tuple[int, int] = SIZE) -> bytes:
    """The bytes of a picture."""
    buffer = io.BytesIO()
    Pil.new("RGB", size, "navy").save(buffer, format=kind)
    return buffer.getvalue()


PNG = draw()
URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def run(give: Callable[[], Any], script: list[Any], model: Model = MODEL, **fields: Any) -> tuple[Any, Scripted]:
    """A run of an agent that looks once."""

    @tm.tool(**fields)
    def look() -> Any:
        """Look at it."""
        return give()

    agent = Scripted(tm.Agent(model, tools=[look], max_tokens=50), script)
    return agent.run("What is it?"), agent


GIVEN: list[tuple[Any, str, list[str]]] = [
    (Pil.new("RGB", SIZE, "navy"), "[image 1: image/png, 3 x 2]", ["data:image/png"]),
    (PNG, "[image 1: image/png, 3 x 2]", [URL]),
    (bytearray(draw(kind="JPEG")), "[image 1: image/jpeg, 3 x 2]", ["data:image/jpeg"]),
    (Image(PNG), "[image 1: image/png, 3 x 2]", [URL]),
    (Image(URL), "[image 1: image/png, 3 x 2]", [URL]),
    (Image("https://far.example/a.png"), "[image 1: https://far.example/a.png]", ["https://far.example/a.png"]),
    (
        {"pages": [Image(PNG), "text", {"more": PNG}], "count": 2},
        '{"pages":["[image 1: image/png, 3 x 2]","text",{"more":"[image 2: image/png, 3 x 2]"}],"count":2}',
        [URL, URL],
    ),
    (Told([Image(PNG)], {"kept": 1}), '["[image 1: image/png, 3 x 2]"]', [URL]),
]


@pytest.mark.parametrize(("given", "told", "urls"), GIVEN, ids=[f"{number}" for number in range(len(GIVEN))])
def test_a_picture_is_told_in_words_and_shown_behind_the_results(given: Any, told: str, urls: list[str]) -> None:
    """In OpenAI's format, whose results are texts, in a turn of the user's behind them."""
    result, agent = run(lambda: given, [calling(("look", {})), saying("navy")])
    *_, answered, shown = agent.asked[1]["messages"]
    assert answered["content"].splitlines()[1] == told
    text, *images = shown["content"]
    assert (shown["role"], text["type"]) == ("user", "text")
    assert "call_1" in text["text"]
    assert [each["image_url"]["url"].startswith(url) for each, url in zip(images, urls, strict=True)] == [True] * len(
        urls
    )
    outcome = result.turns[0].calls[0].outcome
    assert (outcome.kind, len(outcome.images)) == ("ok", len(urls))
    assert outcome.value in (json.loads(told) if told[0] == "{" else told, {"kept": 1})


def test_pictures_of_several_calls_stand_behind_all_their_results() -> None:
    """Each result has to stand right behind the call; what follows goes on behind the pictures."""
    two = calling(("look", {}), ("look", {}))
    result, agent = run(lambda: PNG, [two, calling(("look", {})), saying("navy")])
    roles = [message["role"] for message in agent.asked[2]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "user", "assistant", "tool", "user"]
    shown = agent.asked[2]["messages"][5]["content"]
    assert [part["type"] for part in shown] == ["text", "image_url", "text", "image_url"]
    assert agent.asked[1]["messages"] == agent.asked[2]["messages"][:6]
    assert result.output == "navy"


def test_in_anthropic_s_format_a_result_has_its_pictures_itself() -> None:
    blocks = [{"type": "tool_use", "id": "a", "name": "look", "input": {}}]
    usage = {"input_tokens": 9, "output_tokens": 3}

    def reply(content: list[Any], reason: str) -> Response:
        body = {"type": "message", "content": content, "stop_reason": reason, "usage": usage}
        return Response(200, {"content-type": "application/json"}, json.dumps(body).encode())

    script = [reply(blocks, "tool_use"), reply([{"type": "text", "text": "navy"}], "end_turn")]
    result, agent = run(lambda: PNG, script, CLAUDE)
    assert result.output == "navy"
    [block] = agent.asked[1]["messages"][-1]["content"]
    assert [part["type"] for part in block["content"]] == ["text", "image"]
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    assert block["content"][1]["source"] == source


def test_a_tool_that_is_known_to_give_pictures_is_refused_where_none_can_be_shown() -> None:
    """A model that is told of tools in its prompt gets their results as words."""

    @tm.tool
    def photo() -> Annotated[list[Image | str], "of the mill"]:
        """A photo."""
        return [Image(PNG)]

    tm.Agent(MODEL, tools=[photo])
    with pytest.raises(
        ConfigError, match="`photo` gives images, and `test/model` is told the results of tools in words"
    ):
        tm.Agent(TELLING, tools=[photo])
    with pytest.raises(ConfigError, match="`photo` gives images, and `local/smollm2`"):
        tm.Agent("local/smollm2", tools=[photo])
    assert [gives_images(kind) for kind in (Image, bytes, Pil.Image, dict[str, Pil.Image | None])] == [True] * 4
    assert [gives_images(kind) for kind in (str, Path, dict[str, int], None, Any)] == [False] * 5


def test_where_nobody_knew_the_model_is_told_that_it_cannot_see_them() -> None:
    replies = ['{"tool": "look", "arguments": {}}', '{"answer": "I cannot see it"}']
    result, agent = run(lambda: {"shot": PNG}, [saying(each) for each in replies], TELLING)
    told = agent.asked[1]["messages"][-1]["content"]
    assert "[image 1: image/png, 3 x 2]" in told
    assert told.endswith("The images in it cannot be shown to you.")
    assert (result.output, result.turns[0].calls[0].outcome.images) == ("I cannot see it", ())


def give_broken() -> Any:
    image = Pil.new("RGB", SIZE)
    image.close()
    return image


@pytest.mark.parametrize(
    ("give", "told"),
    [
        (lambda: b"no picture", "$ is a bytes"),
        (lambda: [PNG, b"no picture"], "$[1] is a bytes"),
        (lambda: Image("no/such.png"), "the image 'no/such.png'"),
        (lambda: Image(7), "expected an image, got int"),
        (lambda: [PNG] * 21, "the result has more than 20 images"),
        (give_broken, "an image cannot be written as PNG"),
    ],
)
def test_what_cannot_be_shown_is_told_and_ends_nothing(give: Callable[[], Any], told: str) -> None:
    result, _ = run(give, [calling(("look", {})), saying("none")])
    outcome = result.turns[0].calls[0].outcome
    assert (outcome.kind, result.output) == ("error", "none")
    assert told in outcome.content


def test_a_path_is_a_picture_where_it_says_so(tmp_path: Path) -> None:
    """By itself it is a text, as it always was: a tool that names a file does not send it."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    script = [calling(("look", {})), saying("navy")]
    assert run(lambda: path, list(script))[0].turns[0].calls[0].outcome.value == str(path)
    assert run(partial(Image, path), list(script))[1].asked[1]["messages"][-1]["content"][1]["image_url"]["url"] == URL


def test_an_isolated_tool_gives_pictures_too() -> None:
    import isolatedtools

    tool = tm.tool(isolatedtools.photograph, isolate=True)
    agent = Scripted(tm.Agent(MODEL, tools=[tool]), [calling(("photograph", {})), saying("navy")])
    outcome = agent.run("?").turns[0].calls[0].outcome
    assert (outcome.kind, outcome.value) == ("ok", {"shot": "[image 1: image/png, 1 x 1]"})
    assert agent.asked[1]["messages"][-1]["content"][1]["image_url"]["url"].startswith("data:image/png")


def test_a_conversation_with_pictures_goes_on() -> None:
    result, first = run(lambda: PNG, [calling(("look", {})), saying("navy")])
    again = Scripted(tm.Agent(MODEL), [saying("as I said")])
    again.run("sure?", history=json.loads(json.dumps(result.history)))
    assert again.asked[0]["messages"][0:4] == first.asked[1]["messages"][1:5]


def test_a_picture_counts_by_its_size_in_a_bound_on_history() -> None:
    """Not by its bytes, of which a photo has a hundred for each token."""
    noisy = Pil.effect_noise((256, 256), 90)

    def reply(request: Request) -> Response:
        messages = json.loads(request.body)["messages"]
        turn = sum(message["role"] == "assistant" for message in messages)
        pictures = sum(isinstance(message["content"], list) for message in messages)
        usage = (30 * len(messages) + 100 * pictures, 5)  # of 28 x 28 pixels each token, as the rule has it
        return calling(("look", {}), usage=usage) if turn < 6 else saying("navy")

    @tm.tool
    def look() -> Any:
        """Look at it."""
        return noisy

    agent = Scripted(tm.Agent(MODEL, tools=[look], max_history_tokens=2_000), reply)
    assert agent.run("?").output == "navy"
    assert len(agent.asked[-1]["messages"]) == 2 + 3 * 6
    assert max(len(json.dumps(body)) for body in agent.asked) > 200_000


def test_a_job_that_goes_on_shows_the_same_picture_again(tmp_path: Path) -> None:
    """It is kept with the result; the tool is not called again, and the request is the same to the byte."""
    called = deque[int]()

    @tm.tool
    def look() -> Any:
        """Look at it."""
        called.append(1)
        return {"shot": PNG}

    def reply(call: Call) -> str | ToolCalls:
        return call.results[0].splitlines()[1] if call.results else ToolCalls(("look", {}))

    def refuse(call: Call) -> Fault | None:
        return Fault("unauthorized") if call.results else None

    records: list[dict[str, Any]] = [{"q": "what is it?"}]
    with FaultServer(reply=reply, faults=Faults(script=refuse), keep_calls=True) as server:
        agent = tm.Agent(tm.model("test/model", base_url=server.base_url), tools=[look])
        stream = tm.from_iterable(records).agent(agent, "{{ q }}")
        assert "401" in stream.write(tmp_path / "out", progress=False).reason
        server.faults = Faults()
        stream.write(tmp_path / "out", progress=False)
        asked = [call.payload["messages"] for call in server.calls]
    assert len(called) == 1
    assert len(asked) == 3
    assert asked[1] == asked[2]
    assert asked[2][-1]["content"][1]["image_url"]["url"] == URL
    [record] = tm.dataset(tmp_path / "out")
    assert record["answer"] == '{"shot":"[image 1: image/png, 3 x 2]"}'
    [shown] = read_transcripts(locate_run(tmp_path / "out"), 1)
    assert URL not in json.dumps(shown)
    assert "[image 1: image/png, 3 x 2]" in shown["turns"][0]["calls"][0]["content"]
