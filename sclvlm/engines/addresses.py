"""Where servers answer, which model they serve, and the key that goes with each request."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx2

from sclvlm.engines.requests import ServerError, served
from sclvlm.errors import ConfigError
from sclvlm.sections import KEY_VARIABLE

log = logging.getLogger(__name__)

CONNECT = 10.0  # seconds to wait for a connection, and for a list of models
Lists = dict[str, list[str] | ServerError]
"""URL to the names of the models listed there, or why that can't be told."""


class Reached(NamedTuple):
    """The servers to ask, and the name of the model to ask for."""

    urls: tuple[str, ...]
    model: str


def base_url(url: str) -> str:
    """Where the API of the server at `url` begins: a URL without a path stands for its /v1.

    Raises ConfigError for what is no such URL, and for one with a password in it, which would be written down.
    """
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL("")
    if parsed.userinfo:
        raise ConfigError("server.urls: a URL must hold no user and password. Give a key by server.api_key_env.")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query:
        raise ConfigError(f"server.urls: expected such as http://localhost:8000/v1, got {url!r}.")
    bare = url.rstrip("/")
    return bare if parsed.path.strip("/") else f"{bare}/v1"


def api_key(variable: str) -> str | None:
    """The key in the environment variable called so; None where it is empty, or not set and the default one.

    Raises ConfigError, which does not show it, for a key that no header can hold, and for another variable that is not
    set: its name, which may be the key by mistake, is not shown either.
    """
    if variable != KEY_VARIABLE and variable not in os.environ:
        raise ConfigError(
            "server.api_key_env: the environment variable that it names is not set. Put the key into it, or leave "
            f"server.api_key_env away: then {KEY_VARIABLE} is read where it is set."
        )
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"server.api_key_env: the environment variable {variable} holds no API key, but other text.")
    return key or None


def reached(urls: Sequence[str], headers: dict[str, str], model: str | None) -> Reached:
    """Those of `urls` that serve `model`, by default the only model that they list, or may once they answer.

    Raises ServerError when none answers, ConfigError when the model must be named.
    """
    found = lists(urls, headers)
    failures = [each for each in found.values() if isinstance(each, ServerError)]
    if len(failures) == len(found):
        raise _nobody(failures)
    for failure in failures:
        log.warning("%s It is asked now and then until it answers.", failure)
    names = {url: each for url, each in found.items() if not isinstance(each, ServerError)}
    wanted = model or _only_model(names)
    return Reached(_serving(urls, names, wanted), wanted)


def any_answers(urls: Sequence[str], headers: dict[str, str]) -> bool:
    """Whether there is a server at any of `urls` now."""
    return any(not isinstance(found, ServerError) for found in lists(urls, headers).values())


def lists(urls: Sequence[str], headers: dict[str, str]) -> Lists:
    """What each of `urls` serves."""
    with ThreadPoolExecutor(len(urls)) as pool:
        return dict(zip(urls, pool.map(lambda url: _list(url, headers), urls), strict=True))


def _list(url: str, headers: dict[str, str]) -> list[str] | ServerError:
    try:
        return served(url, headers, CONNECT)
    except ServerError as error:
        return error


def _nobody(failures: list[ServerError]) -> ServerError:
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return ServerError(
        f"no server answers: {failures[0]}{more} Start one (docs/servers.md), or name where it runs in server.urls."
    )


def _only_model(lists: dict[str, list[str]]) -> str:
    names = {name for names in lists.values() for name in names}
    if len(names) == 1:
        return names.pop()
    raise ConfigError(f"server.model: {', '.join(lists)} lists {_some(names)}. Name the one to ask in server.model.")


def _serving(urls: Sequence[str], lists: dict[str, list[str]], model: str) -> tuple[str, ...]:
    """`urls` but those that list other models only; all of them where none lists it, for a list may be incomplete."""
    others = [url for url, names in lists.items() if names and model not in names]
    if len(others) == len(urls):
        names = {name for names in lists.values() for name in names}
        log.warning("server.model %r is asked for, though the servers list %s only.", model, _some(names))
        return tuple(urls)
    for url in others:
        log.warning("%s does not serve %r, and is not asked.", url, model)
    return tuple(url for url in urls if url not in others)


def _some(names: Iterable[str]) -> str:
    first, more = sorted(names)[:5], len(set(names)) > 5
    return (", ".join(first) + (", ..." if more else "")) or "no model"
