"""A grid world with three ways out, seen from above in pixels.

Walls and the place where the agent starts follow from a number, the start; everything after follows from the actions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Cell = tuple[int, int]  # row, column; row 0 is north
Frames = NDArray[np.uint8]

ACTIONS = ("north", "south", "west", "east")
MOVES: tuple[Cell, ...] = ((-1, 0), (1, 0), (0, -1), (0, 1))
EXITS = ("left exit", "middle exit", "right exit")

FLOOR, WALL, AGENT = (20, 20, 30), (120, 120, 130), (255, 255, 255)
EXIT_COLOURS = ((220, 60, 60), (60, 200, 90), (70, 110, 240))


class Layout(NamedTuple):
    """What a start stands for: which cells are walls, (size, size) bool, and where the agent begins."""

    walls: NDArray[np.bool_]
    agent: Cell


class Episode(NamedTuple):
    """frames: what was seen before each action, (steps, pixels, pixels, 3). reached: an index of EXITS, if any."""

    frames: Frames
    reached: int | None


@dataclass(frozen=True)
class World:
    """size: cells a side. cell: pixels a cell's side. steps: actions until an episode ends. obstacles: walls."""

    size: int = 9
    cell: int = 4
    steps: int = 24
    obstacles: int = 9

    def __post_init__(self) -> None:
        inner = self.size * (self.size - 4)
        if self.size < 5 or not 0 <= self.obstacles <= inner // 2:
            raise ValueError(
                f"a world has at least 5 cells a side and walls on at most half of its inner {max(inner, 0)} cells, "
                f"got size={self.size}, obstacles={self.obstacles}"
            )
        if self.cell < 1 or self.steps < 1:
            raise ValueError(f"cell and steps must be at least 1, got cell={self.cell}, steps={self.steps}")

    @property
    def exits(self) -> tuple[Cell, Cell, Cell]:
        """Cells of EXITS, in the northmost row."""
        return (0, 1), (0, self.size // 2), (0, self.size - 2)

    @property
    def pixels(self) -> int:
        """A frame's side."""
        return self.size * self.cell

    def layout(self, start: int) -> Layout:
        """Walls at random between the two northmost and southmost rows, none of which shuts an exit off."""
        return _layout(self, start)

    def view(self, start: int) -> Frames:
        """The frame of `start` without the agent."""
        return _view(self, start)

    def show(self, start: int, agents: Sequence[Cell]) -> Frames:
        """One frame for each cell the agent stands on: (cells, pixels, pixels, 3)."""
        frames = np.repeat(self.view(start)[None], len(agents), axis=0)
        for frame, (row, column) in zip(frames, agents, strict=True):
            _paint(frame, (row, column), AGENT, self.cell)
        return frames

    def move(self, start: int, agent: Cell, action: int) -> Cell:
        """Where `action`, an index of ACTIONS, takes the agent; walls and borders leave it where it is."""
        row, column = agent[0] + MOVES[action][0], agent[1] + MOVES[action][1]
        inside = 0 <= row < self.size and 0 <= column < self.size
        return (row, column) if inside and not self.layout(start).walls[row, column] else agent

    def reached(self, agent: Cell) -> int | None:
        """The index of the exit that the agent stands on."""
        return self.exits.index(agent) if agent in self.exits else None

    def replay(self, start: int, actions: Sequence[int]) -> Episode:
        """The episode that `actions` make, seen again. Raises ValueError for actions that no episode has."""
        agent, cells = self.layout(start).agent, []
        if len(actions) > self.steps:
            raise ValueError(f"an episode has at most {self.steps} actions, got {len(actions)}")
        for number, action in enumerate(actions):
            if self.reached(agent) is not None:
                raise ValueError(f"the episode ends at an exit after {number} actions, got {len(actions)}")
            cells.append(agent)
            agent = self.move(start, agent, action)
        return Episode(self.show(start, cells), self.reached(agent))

    def distances(self, start: int, goal: Cell) -> NDArray[np.int64]:
        """Moves from each cell to `goal`, past the other exits; -1 where there is no way."""
        shut = self.layout(start).walls.copy()
        for exit_ in self.exits:
            shut[exit_] |= exit_ != goal
        return _distances(shut, goal)


@lru_cache(maxsize=100_000)
def _layout(world: World, start: int) -> Layout:
    random = np.random.default_rng(start)
    inner = [(row, column) for row in range(2, world.size - 2) for column in range(world.size)]
    while True:
        walls = np.zeros((world.size, world.size), dtype=bool)
        for place in random.permutation(len(inner))[: world.obstacles]:
            walls[inner[place]] = True
        agent = (world.size - 1, int(random.integers(world.size)))
        if all(_distances(walls, exit_)[agent] >= 0 for exit_ in world.exits):
            return Layout(walls, agent)


@lru_cache(maxsize=10_000)
def _view(world: World, start: int) -> Frames:
    frame = np.empty((world.pixels, world.pixels, 3), dtype=np.uint8)
    frame[:] = FLOOR
    for row, column in np.argwhere(world.layout(start).walls).tolist():
        _paint(frame, (row, column), WALL, world.cell)
    for exit_, colour in zip(world.exits, EXIT_COLOURS, strict=True):
        _paint(frame, exit_, colour, world.cell)
    return frame


def _paint(frame: Frames, cell: Cell, colour: tuple[int, int, int], side: int) -> None:
    row, column = cell[0] * side, cell[1] * side
    frame[row : row + side, column : column + side] = colour


def _distances(shut: NDArray[np.bool_], goal: Cell) -> NDArray[np.int64]:
    """Breadth first from `goal` over the cells that are not `shut`."""
    found = np.full(shut.shape, -1, dtype=np.int64)
    found[goal] = 0
    queue = deque([goal])
    while queue:
        row, column = queue.popleft()
        for down, right in MOVES:
            cell = row + down, column + right
            if 0 <= cell[0] < shut.shape[0] and 0 <= cell[1] < shut.shape[1] and not shut[cell] and found[cell] < 0:
                found[cell] = found[row, column] + 1
                queue.append(cell)
    return found
