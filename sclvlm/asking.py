"""A stage's questions to the engine of its config: in process with the model that is asked, or over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sclvlm.config import AskSection, Config
from sclvlm.engines import Engine
from sclvlm.launch import count, index
from sclvlm.prompts import load_prompt
from sclvlm.questions import Questions
from sclvlm.records import ModelRef
from sclvlm.self_correction import Origin, collect_traces
from sclvlm.self_correction.conversing import Dialogue
from sclvlm.self_correction.journal import Answered, answered
from sclvlm.self_correction.shares import Share


def answer(questions: Questions, done: Answered | None = None) -> None:
    """This process's share of the conversations; returns when all processes have come so far.

    done: those that are on disk, where that was read before.
    """
    config, ask = questions.config, questions.ask
    done = answered(questions.traces) if done is None else done
    _meet()  # what one appends before another has read would count twice there
    engine, ref = ENGINES[ask.engine](config, ask)
    collect_traces(
        questions.samples,
        questions.traces,
        engine=engine,
        dialogue=dialogue_of(ask),
        origin=Origin(ref, _sampling(ask), config.run.seed),
        draws=ask.draws,
        batch_size=_at_once(ask),
        max_failed_share=ask.max_failed_share,
        what=questions.what,
        share=Share(index(), count()),
        count_failed=_counted(questions.what),
        done=done,
    )
    _meet()


def _meet() -> None:
    """Return when all processes have come here."""
    if count() > 1:
        from sclvlm.processes import wait

        wait()


def _counted(what: str) -> Callable[[int], int] | None:
    """Counts over all processes, where there are several."""
    if count() == 1:
        return None
    from sclvlm.processes import counted

    return partial(counted, what)


def dialogue_of(ask: AskSection) -> Dialogue:
    """What is said in its turns."""
    initial, review = load_prompt("initial", ask.initial, ask.marker), load_prompt("review", ask.review, ask.marker)
    return Dialogue(initial, review, ask.turns)


def _in_process(config: Config, ask: AskSection) -> tuple[Engine, ModelRef]:
    from sclvlm.engines.hf import HFEngine
    from sclvlm.engines.world import WorldEngine
    from sclvlm.models import load_policy

    policy = load_policy(**config.model.model_dump())
    if policy.acts:
        return WorldEngine(policy, seed=config.run.seed, **_sampling(ask)), policy.ref
    pace = ask.model_dump(include={"continue_cache", "tokens_per_batch"})
    return HFEngine(policy, seed=config.run.seed, **pace, **_sampling(ask)), policy.ref


def _at_once(ask: AskSection) -> int:
    """Conversations that an engine is given together."""
    if ask.tokens_per_batch is None or ask.engine != "hf":
        return ask.batch_size
    from sclvlm.engines.batching import WINDOW

    return WINDOW


def _by_servers(config: Config, ask: AskSection) -> tuple[Engine, ModelRef]:
    """What they serve is what speaks, with whatever adapter they have on it."""
    from sclvlm.engines.addresses import api_key
    from sclvlm.engines.server import connected

    server = ask.server
    pace = server.model_dump(include={"concurrency", "timeout", "retries", "extra"})
    key = api_key(server.api_key_env)
    engine = connected(server.urls, server.model, key=key, seed=config.run.seed, **pace, **_sampling(ask))
    return engine, ModelRef(path=engine.model)


ENGINES: dict[str, Callable[[Config, AskSection], tuple[Engine, ModelRef]]] = {
    "hf": _in_process,
    "server": _by_servers,
}


def _sampling(ask: AskSection) -> dict[str, Any]:
    return ask.model_dump(include={"temperature", "top_p", "max_new_tokens"})
