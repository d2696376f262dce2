"""Compares the stand-in of fake_qdrant.py with Qdrant's own engine: the points of each collection go into a shard of it, and
both are read page by page. Prints how many pages were the same.

    qdrant_engine.py        with a Python that has qdrant-edge-py
"""
import os, random, sys, tempfile, uuid

sys.path.insert(0, os.path.dirname(__file__))
import qdrant_edge as edge
import fake_qdrant as fake

DISTANCES = {fake.COSINE: edge.Distance.Cosine, fake.EUCLID: edge.Distance.Euclid, fake.DOT: edge.Distance.Dot}


def made(collection, directory):
    """A shard of the engine with these points."""
    def params(v):
        size, distance, multi = v
        several = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if multi else None
        return edge.EdgeVectorParams(size, DISTANCES[distance], multivector_config=several)
    config = edge.EdgeConfig(vectors={n: params(v) for n, v in collection.vectors.items()},
                             sparse_vectors={n: edge.EdgeSparseVectorParams() for n in collection.sparse})
    shard = edge.EdgeShard.create(directory, config)
    points = []
    for i, (vectors, payload, _) in collection.points.items():
        vectors = {n: edge.SparseVector(list(v), list(v.values())) if isinstance(v, dict) else v for n, v in vectors.items()}
        points.append(edge.Point(i, vectors if "" not in vectors else vectors[""], payload))
    random.Random(1).shuffle(points)
    for first in range(0, len(points), 500):
        shard.update(edge.UpdateOperation.upsert_points(points[first:first + 500]))
    return shard


def plain(vectors):
    if not isinstance(vectors, dict):
        vectors = {"": vectors}
    return {n: dict(zip(v.indices, v.values)) if isinstance(v, edge.SparseVector) else v for n, v in vectors.items()}


def near(one, other, exactly):
    if isinstance(one, dict):
        return one == other
    if one and isinstance(one[0], list):
        return len(one) == len(other) and all(near(a, b, exactly) for a, b in zip(one, other))
    # A vector of length 1 may be brought to length 1 once more, by a last bit.
    return one == other if exactly else all(abs(a - b) < 1e-6 for a, b in zip(one, other))


def alike(one, other):
    """Payloads; the engine reads its doubles back with a last bit that differs now and then."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 2.3e-16 * abs(other)
    return type(one) is type(other) and one == other


pages = 0
for name, collection in fake.collections().items():
    with tempfile.TemporaryDirectory() as directory:
        shard = made(collection, directory)
        ours = collection.selected(None)
        offsets = [0, 8, 2**62 - 1, 2**63 + 5, 2**64 - 1, uuid.UUID(int=0), uuid.UUID(int=2**127)]
        for offset in offsets + [None]:
            at = offset
            while True:
                records, following = shard.scroll(edge.ScrollRequest(offset=at, limit=97, with_payload=True, with_vector=True))
                wanted = [p for p in ours if at is None or fake.order(p[0]) >= fake.order(at)]
                page, behind = wanted[:97], wanted[97:]
                ids = [record.id for record in records]
                assert ids == [i for i, _ in page], (name, at, ids[:3], [i for i, _ in page][:3])
                assert following == (behind[0][0] if behind else None), (name, at, following)
                for record, (i, (vectors, payload, _)) in zip(records, page):
                    assert alike(record.payload, payload), (name, i, record.payload, payload)
                    found = plain(record.vector)
                    assert set(found) == set(vectors), (name, i, found, vectors)
                    for n, v in vectors.items():
                        exactly = n in collection.sparse or collection.vectors[n][1] != fake.COSINE
                        assert near(found[n], v, exactly), (name, i, n, found[n], v)
                pages += 1
                # All pages from the beginning, one from anywhere else.
                at = following
                if at is None or offset is not None:
                    break
        for n in list(collection.vectors) + list(collection.sparse):
            without = edge.Filter(must_not=[edge.HasVectorCondition(n)])
            count = shard.count(edge.CountRequest(filter=without, exact=True))
            assert count == sum(n not in vectors for vectors, _, _ in collection.points.values()), (name, n, count)
        shard.close()
# Cosine brings vectors to length 1; lengths are gone.
with tempfile.TemporaryDirectory() as directory:
    collection = fake.Collection({"": (2, fake.COSINE, False)})
    collection.add(1, {"": [3.0, 4.0]})
    shard = made(collection, directory)
    (record,), _ = shard.scroll(edge.ScrollRequest(limit=1, with_vector=True))
    assert near(plain(record.vector)[""], [0.6, 0.8], False), record.vector
    shard.close()
print(pages)
