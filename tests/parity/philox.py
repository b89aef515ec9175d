"""Kessoku's random streams (base/random.h) in NumPy: Philox4x32-10 keyed by (seed, purpose, index)."""
import numpy as np

INITIAL_LATENTS, VAE_SAMPLE, SOLVER_NOISE = 12, 3, 13
MASK = (1 << 64) - 1


def mix_bits(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def words(seed: int, purpose: int, index: int, count: int) -> np.ndarray:
    """The first `count` 32-bit words of a stream."""
    key = mix_bits(mix_bits(seed) ^ purpose)
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    low = np.uint64(0xFFFFFFFF)
    c = [blocks & low, blocks >> np.uint64(32), np.full_like(blocks, index & 0xFFFFFFFF), np.full_like(blocks, index >> 32)]
    k = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(b >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]), b & low, (a >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]), a & low]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, 1).reshape(-1)[:count].astype(np.uint32)


def normals(shape, seed: int, purpose: int, index: int = 0) -> np.ndarray:
    """Unit normals f32 of `shape` (Box-Muller)."""
    count = int(np.prod(shape))
    pairs = (words(seed, purpose, index, count + count % 2) >> 8).astype(np.float32).reshape(-1, 2)
    radius = np.sqrt(-2 * np.log((pairs[:, 0] + 1) * np.float32(2**-24)))
    angle = np.float32(2 * np.pi) * pairs[:, 1] * np.float32(2**-24)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)[:count].reshape(shape)
