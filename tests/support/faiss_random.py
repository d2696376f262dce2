"""Cases of random kind and shape: the same for the same seed."""

import faiss
import numpy as np

import faiss_codes
from faiss_kit import STRANGE

FLAT_METRICS = [("L2", 1), ("IP", 0), ("L1", 2), ("Linf", 3), ("Lp", 4), ("Canberra", 20), ("BrayCurtis", 21)]
SCALARS = ["SQ8", "SQ4", "SQ6", "SQfp16", "SQbf16"]


def some_ids(rng, n):
    """Ids of several kinds; the boolean says whether they are distinct."""
    kind = rng.integers(0, 6)
    if kind == 0:
        return np.arange(n) + int(rng.integers(-1000, 1000)), True
    if kind == 1:
        return np.arange(n)[::-1].copy(), True
    if kind == 2:
        return rng.permutation(n) * int(rng.integers(1, 2**40)), True
    if kind == 3:
        return np.iinfo(np.int64).max - rng.permutation(n), True
    if kind == 4:
        return np.iinfo(np.int64).min + rng.permutation(n), True
    return rng.integers(0, max(1, n // 2), n), False


def some_rows(rng, n, d, strange):
    x = rng.standard_normal((n, d), dtype=np.float32)
    kind = rng.integers(0, 5)
    if kind == 0:
        x *= np.float32(10.0) ** rng.integers(-30, 12)
    if kind == 1:
        x = np.round(x)
    if kind == 2 and n:
        x[:] = x[rng.integers(0, max(1, n // 3), n)]
    if kind == 3 and strange and n:
        x.ravel()[rng.integers(0, n * d, n)] = rng.choice(STRANGE, n)
    return x


def cases(kit, count):
    kinds = [flat, id_map, ivf, ivf, ivf_pq, scalar, pq, graph, refine, transform, panorama, binary, dedup, disk]
    for number in range(count):
        kit.begin(f"random {number}")
        kind = kinds[kit.rng.integers(0, len(kinds))]
        n, d = int(kit.rng.choice([0, 1, 2, 17, 100, 511, 512, 513, 1500])), int(kit.rng.integers(1, 70))
        kit.attempt(f"random_{number}_{kind.__name__}_{n}_{d}", lambda name: kind(kit, name, n, d))


def lists_over(kit, d, nlist, train, metric=1, make=faiss.IndexIVFFlat):
    if kit.rng.integers(0, 3) == 0:
        quantizer = faiss.IndexHNSWFlat(d, 4, metric) if metric < 2 else faiss.IndexFlat(d, metric)
    else:
        quantizer = faiss.IndexFlat(d, metric)
    index = make(quantizer, d, nlist, metric)
    index.train(train)
    return index


def with_map(kit, index, distinct, in_order):
    kinds = [faiss.DirectMap.NoMap] + [faiss.DirectMap.Hashtable] * distinct + [faiss.DirectMap.Array] * in_order
    index.set_direct_map_type(kinds[kit.rng.integers(0, len(kinds))])


def flat(kit, name, n, d):
    metric, number = FLAT_METRICS[kit.rng.integers(0, len(FLAT_METRICS))]
    x = some_rows(kit.rng, n, d, True)
    index = faiss.IndexFlat(d, number)
    index.add(x)
    kit.add(name, index, x, metric=metric)


def id_map(kit, name, n, d):
    x = some_rows(kit.rng, n, d, False)
    ids, _ = some_ids(kit.rng, n)
    which = kit.rng.integers(0, 4)
    inner = [faiss.IndexFlatL2(d), faiss.IndexHNSWFlat(d, 4), None, faiss.IndexFlat(d, 2)][which]
    if inner is None:
        inner = lists_over(kit, d, 5, kit.rows(100, d))
    index = [faiss.IndexIDMap, faiss.IndexIDMap2][kit.rng.integers(0, 2)](inner)
    index.add_with_ids(x, ids)
    kit.add(name, index, x, ids, order="any" if which == 2 else "stored", metric="L1" if which == 3 else "L2")


def ivf(kit, name, n, d):
    metric, number = FLAT_METRICS[kit.rng.integers(0, 4)]
    x = some_rows(kit.rng, n, d, False)
    ids, distinct = some_ids(kit.rng, n)
    own = kit.rng.integers(0, 2) == 0
    index = lists_over(kit, d, int(kit.rng.choice([1, 3, 16, 200])), kit.rows(250, d), number)
    if own:
        index.add_with_ids(x, ids)
    else:
        ids, distinct = np.arange(n), True
        index.add(x)
    gone = np.zeros(n, bool)
    if distinct and kit.rng.integers(0, 3) == 0 and n:
        gone[kit.rng.integers(0, n, n // 3)] = True
        index.remove_ids(faiss.IDSelectorArray(ids[gone]))
    with_map(kit, index, distinct and n > 0, not own and not gone.any())
    kit.add(name, index, x[~gone], ids[~gone], order="any", metric=metric)


def dedup(kit, name, n, d):
    x = np.round(some_rows(kit.rng, n, max(1, d % 4), False))
    ids = kit.ids(n) if n else np.empty(0, np.int64)
    index = lists_over(kit, x.shape[1], 4, kit.rows(200, x.shape[1]), 1, faiss.IndexIVFFlatDedup)
    index.add_with_ids(x, ids)
    # Faiss takes -0.0 and 0.0, and their hashes, for different; so do we.
    kit.add(name, index, x, ids, order="any")


def disk(kit, name, n, d):
    x = some_rows(kit.rng, n, d, False)
    ids, _ = some_ids(kit.rng, n)
    index = lists_over(kit, d, int(kit.rng.choice([1, 7, 50])), kit.rows(250, d))
    data = kit.out / f"{name}.ivfdata"
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(data))
    lists.verbose = False
    index.replace_invlists(lists, True)
    lists.this.disown()
    for part in np.array_split(np.arange(n), int(kit.rng.integers(1, 9))):
        index.add_with_ids(x[part], ids[part])
    kit.add(name, index, x, ids, order="any")


def ivf_pq(kit, name, n, d):
    parts = int(kit.rng.integers(1, 6))
    d = parts * int(kit.rng.integers(1, 9))
    bits = int(kit.rng.integers(1, 8))
    metric = int(kit.rng.integers(0, 2))
    x = some_rows(kit.rng, n, d, False)
    ids = kit.ids(n)
    index = faiss.IndexIVFPQ(faiss.IndexFlat(d, metric), d, 4, parts, bits, metric)
    index.by_residual = bool(kit.rng.integers(0, 2))
    index.train(kit.rows(200, d))
    index.add_with_ids(x, ids)
    got_ids, got = faiss_codes.lists(index)
    kit.add(name, index, got, got_ids, order="any", metric=["IP", "L2"][metric], lossy="yes" if n else "no",
            may_refuse=n == 0)


def scalar(kit, name, n, d):
    spec = SCALARS[kit.rng.integers(0, len(SCALARS))]
    x = some_rows(kit.rng, n, d, False)
    if kit.rng.integers(0, 2):
        index = faiss.index_factory(d, spec)
        index.train(kit.rows(100, d))
        index.add(x)
        got = faiss_codes.rows(index) if n else x
        kit.add(name, index, got, lossy="yes" if n else "no", may_refuse=n == 0)
        return
    ids = kit.ids(n)
    index = faiss.index_factory(d, f"IVF4,{spec}")
    index.by_residual = bool(kit.rng.integers(0, 2))
    index.train(kit.rows(200, d))
    index.add_with_ids(x, ids)
    got_ids, got = faiss_codes.lists(index)
    kit.add(name, index, got, got_ids, order="any", lossy="yes" if n else "no", may_refuse=n == 0)


def pq(kit, name, n, d):
    parts, bits = int(kit.rng.integers(1, 9)), int(kit.rng.integers(1, 14))
    width = int(kit.rng.integers(1, 5))
    index = faiss.IndexPQ(parts * width, parts, bits)
    faiss.copy_array_to_vector(kit.rows(parts << bits, width).ravel(), index.pq.centroids)
    index.is_trained = True
    n = min(n, 100)
    index.add(kit.rows(n, parts * width))
    got = faiss_codes.rows(index) if n else kit.rows(0, parts * width)
    kit.add(name, index, got, lossy="yes" if n else "no", may_refuse=n == 0)


def graph(kit, name, n, d):
    x = some_rows(kit.rng, n, d, False)
    m = int(kit.rng.integers(2, 20))
    index = [lambda: faiss.IndexHNSWFlat(d, m), lambda: faiss.IndexHNSWFlat(d, m, 0)][kit.rng.integers(0, 2)]()
    for part in np.array_split(x, int(kit.rng.integers(1, 4))):
        index.add(part)
    kit.add(name, index, x, metric=["IP", "L2"][index.metric_type])


def refine(kit, name, n, d):
    spec = ["SQ8", "SQ4", "IVF4,SQ8", "HNSW4,Flat", "LSH", "RaBitQ"][kit.rng.integers(0, 6)]
    x = some_rows(kit.rng, n, d, False)
    index = faiss.index_factory(d, f"{spec},RFlat")
    index.train(kit.rows(200, d))
    index.add(x)
    kit.add(name, index, x)


def transform(kit, name, n, d):
    x = some_rows(kit.rng, n, d, False)
    chain, exact = [], True
    inner_d = d
    for _ in range(int(kit.rng.integers(1, 4))):
        which = kit.rng.integers(0, 4)
        if which == 0:
            vt = faiss.RandomRotationMatrix(inner_d, inner_d + int(kit.rng.integers(0, 5)))
            vt.init(int(kit.rng.integers(0, 99)))
            exact = False
        elif which == 1:
            vt = faiss.RemapDimensionsTransform(inner_d, inner_d + int(kit.rng.integers(0, 9)), bool(kit.rng.integers(0, 2)))
        elif which == 2:
            vt = faiss.CenteringTransform(inner_d)
            exact = False
        else:
            vt = faiss.PCAMatrix(inner_d, inner_d)
            exact = False
        chain.append(vt)
        inner_d = vt.d_out
    index = faiss.IndexPreTransform(faiss.IndexFlatL2(inner_d))
    for vt in reversed(chain):
        index.prepend_transform(vt)
    scale = float(np.abs(x).max(initial=1.0))
    x = x if 1e-3 < scale < 1e3 else np.clip(x, -3, 3)
    index.train(kit.rows(300, d))
    index.add(x)
    kit.add(name, index, x, tolerance=0.0 if exact else 3e-5 * max(1.0, scale if scale < 1e3 else 3.0))


def panorama(kit, name, n, d):
    levels, batch = int(kit.rng.integers(1, d + 1)), int(kit.rng.choice([1, 4, 32, 128, 1024]))
    x = some_rows(kit.rng, n, d, False)
    if kit.rng.integers(0, 2):
        index = faiss.IndexFlatL2Panorama(d, levels, batch)
        index.add(x)
        kit.add(name, index, x)
        return
    ids, _ = some_ids(kit.rng, n)
    index = faiss.IndexIVFFlatPanorama(faiss.IndexFlatL2(d), d, 4, levels, faiss.METRIC_L2, True, batch)
    index.train(kit.rows(200, d))
    index.add_with_ids(x, ids)
    kit.add(name, index, x, ids, order="any")


def binary(kit, name, n, d):
    bits = d * 8
    x = kit.bits(n, bits)
    ids, distinct = some_ids(kit.rng, n)
    which = kit.rng.integers(0, 5)
    if which == 0:
        index = faiss.IndexBinaryFlat(bits)
    elif which == 1:
        index = faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(bits))
    elif which == 2:
        index = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(bits), bits, 5)
        index.train(kit.bits(200, bits))
    elif which == 3:
        index = faiss.IndexBinaryHash(bits, min(bits, int(kit.rng.integers(1, 24))))
    else:
        index = faiss.IndexBinaryHNSW(bits, 4)
    if which in (0, 4):
        index.add(x)
        kit.add(name, index, x)
        return
    index.add_with_ids(x, ids)
    if which == 2:
        with_map(kit, index, distinct and n > 0, False)
    kit.add(name, index, x, ids, order="any" if which in (2, 3) else "stored")
