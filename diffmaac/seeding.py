"""Randomness from one seed: independent named streams, none of them global.

Each consumer owns a stream, so that drawing more in one place (a longer evaluation, another fit) changes nothing
elsewhere. Networks come out of one stream, the model before policy and critics: runs of one seed with and without a
model, or with more members, begin from the same states and random actions, and from policies of their own.

Streams are derived by hashing, as `numpy.random.SeedSequence` does for spawned children.
"""

import zlib

import numpy as np
import torch


def _entropy(seed: int, name: str) -> list[int]:
    return [seed, zlib.crc32(name.encode())]


def torch_generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """The torch generator of stream `name` under `seed`, on `device`."""
    state = np.random.SeedSequence(_entropy(seed, name)).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(state >> np.uint64(1)))


def integer_seed(seed: int, name: str) -> int:
    """A 31-bit integer of stream `name` under `seed`, for interfaces that take an integer (`gymnasium.Env.reset`)."""
    return int(np.random.SeedSequence(_entropy(seed, name)).generate_state(1)[0] >> 1)
