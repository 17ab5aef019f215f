from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaConfig
from transformers.cache_utils import DynamicLayer

from sclvlm.engines.cache import SPARE, RoomyLayer, RowCache
from sclvlm.engines.drafts import Draft, Written

CONFIG = LlamaConfig(num_hidden_layers=2)


def feed(cache: RowCache, values: Tensor) -> None:
    """(present, columns) numbers that stand for keys, and their negatives for values, in both layers."""
    for layer in range(2):
        keys = (values + 100 * layer)[:, None, :, None].float()
        cache.cache.update(keys, -keys, layer)


def numbered(rows: int, columns: range) -> Tensor:
    """Row r, column c holds 10 r + c + 1."""
    return torch.tensor([[10 * row + column + 1 for column in columns] for row in range(rows)])


def test_rows_that_left_come_back_in_their_place_with_zeros_for_what_they_missed() -> None:
    cache = RowCache(CONFIG, 4, torch.device("cpu"))
    cache.add(torch.ones(4, 2))
    feed(cache, numbered(4, range(2)))
    cache.keep(torch.tensor([False, True, True, True]))
    feed(cache, numbered(4, range(2, 3))[1:])
    cache.keep(torch.tensor([True, False, True]))
    feed(cache, numbered(4, range(3, 4))[[1, 3]])
    cache.rejoin()
    expected = torch.tensor([[1, 2, 0, 0], [11, 12, 13, 14], [21, 22, 23, 0], [31, 32, 33, 34]]).float()
    for layer, offset in zip(cache.cache.layers, (0, 100), strict=True):
        shifted = torch.where(expected > 0, expected + offset, 0)
        assert torch.equal(layer.keys[:, 0, :, 0], shifted)
        assert torch.equal(layer.values[:, 0, :, 0], -shifted)
    assert cache.present.tolist() == [0, 1, 2, 3]


def test_columns_that_come_while_a_row_is_away_are_padding_in_it() -> None:
    cache = RowCache(CONFIG, 3, torch.device("cpu"))
    cache.add(torch.tensor([[1, 1], [0, 1], [1, 1]]))
    feed(cache, numbered(3, range(2)))
    cache.keep(torch.tensor([True, False, True]))
    assert cache.add(torch.tensor([[1], [0]])).tolist() == [[1, 1, 1], [1, 1, 0]]
    assert cache.mask.tolist() == [[1, 1, 1], [0, 1, 0], [1, 1, 0]]


def test_what_is_forgotten_is_padding_from_the_end_of_its_row() -> None:
    cache = RowCache(CONFIG, 3, torch.device("cpu"))
    cache.add(torch.tensor([[0, 1, 1, 0, 1], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]))
    cache.forget([2, 1, 0])
    assert cache.mask.tolist() == [[0, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_a_draft_keeps_what_each_row_wrote_up_to_its_stop() -> None:
    draft = Draft(3, 3, [9], torch.device("cpu"))
    everyone = torch.arange(3)
    assert draft.write(everyone, torch.tensor([5, 9, 7]), torch.tensor([-1.0, -2.0, -3.0]))
    assert draft.write(everyone, torch.tensor([9, 4, 8]), torch.tensor([-0.5, -8.0, -0.25]))  # row 1 said all
    assert draft.last(torch.tensor([2])).tolist() == [[8]]
    assert not draft.write(torch.tensor([2]), torch.tensor([6]), torch.tensor([-0.75]))  # no room for more
    assert draft.replies() == [
        Written([5, 9], True, -1.5),
        Written([9], True, -2.0),
        Written([7, 8, 6], False, -4.0),
    ]


def test_a_draft_ends_when_every_row_has_stopped() -> None:
    draft = Draft(2, 8, [9], torch.device("cpu"))
    assert not draft.write(torch.arange(2), torch.tensor([9, 9]), torch.zeros(2))


def test_a_spread_row_stands_where_its_copies_are_asked_for() -> None:
    cache = RowCache(CONFIG, 2, torch.device("cpu"))
    cache.add(torch.tensor([[0, 1], [1, 1]]))
    feed(cache, numbered(2, range(2)))
    cache.spread(torch.tensor([1, 0, 1]))
    assert cache.mask.tolist() == [[1, 1], [0, 1], [1, 1]]
    assert cache.present.tolist() == [0, 1, 2]
    assert cache.cache.layers[0].keys[:, 0, :, 0].tolist() == [[11, 12], [1, 2], [11, 12]]


def test_a_roomy_layer_holds_what_transformers_own_does() -> None:
    ours, theirs = RoomyLayer(), DynamicLayer()
    for width in (3, 1, 2, SPARE, 1):
        keys = torch.randn(4, 2, width, 5)
        for found, expected in zip(ours.update(keys, -keys), theirs.update(keys, -keys), strict=True):
            assert torch.equal(found, expected)
        rows = torch.tensor([1, 0, 3, 2])  # afterwards the space behind is no longer theirs
        for layer in (ours, theirs):
            layer.batch_select_indices(rows)
    assert ours.get_seq_length() == 3 + 1 + 2 + SPARE + 1


def test_a_roomy_layer_copies_nothing_while_there_is_space() -> None:
    layer, token = RoomyLayer(), torch.ones(1, 1, 1, 4)
    layer.update(token, token)
    places = {layer.update(token, token)[0].data_ptr() for _ in range(SPARE)}
    assert len(places) == 1
    assert layer.update(token, token)[0].data_ptr() not in places
