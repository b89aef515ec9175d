"""torch's samplers over N examples: the indices of an epoch as a list, from weights in memory. WeightedRandomSampler knows no epochs, ranks
or resuming, DistributedSampler no weights.

    sampler_torch.py N

Prints JSON: for each sampler the seconds, and the megabytes that the process grew by (each in a process of its own).
"""
import concurrent.futures
import json
import multiprocessing
import resource
import sys
import time

SAMPLERS = ("weighted_with_replacement", "weighted_without_replacement", "distributed_unweighted")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure(name: str, n: int) -> dict:
    import torch
    from torch.utils.data import DistributedSampler, WeightedRandomSampler

    torch.set_num_threads(1)
    weights = torch.rand(n, dtype=torch.double) + 0.1
    before = peak_mb()
    start = time.perf_counter()
    if name == "distributed_unweighted":
        sampler = DistributedSampler(weights, num_replicas=2, rank=0)
    else:
        sampler = WeightedRandomSampler(weights, n, replacement=name == "weighted_with_replacement")
    count = len(list(sampler))
    seconds = time.perf_counter() - start
    return {"n": n, "sampler": name, "draws": count, "seconds": seconds, "extra_rss_mb": peak_mb() - before}


def main() -> None:
    n = int(sys.argv[1])
    rows = []
    for name in SAMPLERS:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows.append(pool.submit(measure, name, n).result())
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
