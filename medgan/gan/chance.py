"""Secret chance: what hides a patient must not be guessed, repeated or found in a file.

torch's CPU generator is of no use here: of its seed it takes 32 bits, which can all be tried.
"""

from __future__ import annotations

import secrets

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

KEY_BYTES = 32
Floats = NDArray[np.float64]


class Chance:
    """Random numbers from ChaCha20 under a key that the operating system draws and nothing writes down.

    Each process has its own: noise is never used twice. `key` (32 bytes) is for tests.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key, self._calls = key or secrets.token_bytes(KEY_BYTES), 0

    def uniform(self, count: int) -> Floats:
        """float64 [count], above 0 and below 1, on the middles of 2^53 intervals."""
        self._calls += 1  # a nonce for each call: the block counter never runs over
        nonce = bytes(8) + self._calls.to_bytes(8, "little")
        stream = Cipher(algorithms.ChaCha20(self._key, nonce), mode=None).encryptor().update(bytes(8 * count))
        return ((np.frombuffer(stream, np.uint64) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def normal(self, count: int) -> Floats:
        """float64 [count], standard normal (Box & Muller 1958)."""
        half = (count + 1) // 2
        radius = np.sqrt(-2.0 * np.log(self.uniform(half)))
        angle = 2.0 * np.pi * self.uniform(half)
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]

    def below(self, bounds: NDArray[np.integer]) -> NDArray[np.int64]:
        """int64, one for each bound, 0 to it exclusive."""
        return np.minimum((self.uniform(len(bounds)) * bounds).astype(np.int64), bounds - 1)
