#!/usr/bin/env python3
"""The real client of Milvus 1.x (pymilvus 1.1.2), for tests. Each verb reads JSON from standard input and writes
JSON to standard output.

    client.py PORT try                     drives a server through what its users do, and asserts what it must answer
    client.py PORT read                    {collection, partition, ids} -> {id: hex of the vector, or null}
    client.py PORT insert                  {collection, partition, ids, vectors: [hex], binary} -> ids
    client.py - encode                     the same -> hex of the request the client would send
    client.py PORT drop                    {collection} -> true
    client.py PORT stats                   {collection} -> {rows, partitions: {tag: rows}, index, schema}
"""
import json, struct, sys

from milvus import IndexType, MetricType, Milvus
from milvus.client.prepare import Prepare
from milvus.grpc_gen import milvus_pb2


def vectors(q):
    raw = [bytes.fromhex(v) for v in q["vectors"]]
    return raw if q["binary"] else [list(struct.unpack("<%df" % (len(v) // 4), v)) for v in raw]


def param(q):
    # As Milvus.insert() makes it; its check of ids, which lets no negative one pass, is the client's alone.
    return Prepare.insert_param(q["collection"], vectors(q), q["partition"], q["ids"])


def good(answer):
    status = answer[0] if isinstance(answer, tuple) else answer
    assert status.OK(), answer
    return answer[1] if isinstance(answer, tuple) else None


def bad(answer, code, words):
    status = answer[0] if isinstance(answer, tuple) else answer
    assert status.code == code and words.lower() in status.message.lower(), (answer, code, words)


def raw(collection, rows, ids):
    """A request that the client's own checks would not let pass."""
    request = milvus_pb2.InsertParam(collection_name=collection, row_id_array=ids)
    for row in rows:
        request.row_record_array.add(float_data=row)
    return request


def attempt(m):
    """Codes and rules: formats/milvus-1x.md, section 4."""
    assert good(m.server_version()) == "1.1.1"
    c = {"collection_name": "t", "dimension": 4, "index_file_size": 1024, "metric_type": MetricType.L2}
    assert good(m.has_collection("t")) is False
    bad(m.count_entities("t"), 4, "does not exist")
    good(m.create_collection(c))
    bad(m.create_collection(c), 9, "already exists")
    assert good(m.has_collection("t")) is True
    assert "t" in good(m.list_collections())
    schema = good(m.get_collection_info("t"))
    assert (schema.dimension, schema.index_file_size, schema.metric_type) == (4, 1024, MetricType.L2), schema
    bad(m.create_collection({**c, "collection_name": "big", "dimension": 32769}), 7, "dimension")
    bad(m.create_collection({**c, "collection_name": "odd", "dimension": 9, "metric_type": MetricType.HAMMING}), 7, "8")

    # Rows count after a flush, or a second.
    rows = [[0.5, -0.0, float("inf"), 1e-40], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert good(m.insert("t", rows, ids=[7, 8, 7])) == [7, 8, 7]
    bad(m.get_entity_by_id("t", [7]), 1, "is empty")
    good(m.flush(["t"]))
    assert good(m.count_entities("t")) == 3, "repeats are kept"
    got = good(m.get_entity_by_id("t", [8, 9]))
    assert got == [[1, 2, 3, 4], []], got
    bad(m.get_entity_by_id("t", list(range(1001))), 5, "1000")

    # Ids are given, or made, for life.
    bad(m.insert("t", rows), 12, "user-defined")
    good(m.create_collection({**c, "collection_name": "auto"}))
    made = good(m.insert("auto", rows))
    assert len(set(made)) == 3
    bad(m.insert("auto", rows, ids=[1, 2, 3]), 12, "auto-generated")
    bad(m.insert("t", rows, ids=[1, 2, 3], partition_tag="nowhere"), 1, "partition")
    bad(m.insert("t", [[1.0, 2.0]], ids=[1]), 7, "dimension")
    # Totals are checked, not single rows.
    uneven = raw("t", [[1.0, 2.0], [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]], [100, 101])
    good(m.insert("t", rows, insert_param=uneven))
    good(m.flush(["t"]))
    assert good(m.get_entity_by_id("t", [101])) == [[5, 6, 7, 8]]
    bad(m.insert("t", rows, insert_param=raw("t", rows, [1])), 12, "size of vector id")

    # Partitions.
    good(m.create_partition("t", "p/1"))
    bad(m.create_partition("t", "p/1"), 1, "Duplicate partition")
    bad(m.create_partition("t", "_default"), 1, "reserved")
    assert good(m.has_partition("t", "p/1")) is True and good(m.has_partition("t", "_default")) is True
    assert good(m.has_partition("t", "q")) is False
    assert [p.tag for p in good(m.list_partitions("t"))] == ["_default", "p/1"]
    good(m.insert("t", rows[:1], ids=[7], partition_tag="p/1"))
    good(m.insert("t", rows[:1], ids=[55], partition_tag="_default"))  # answered, and lost: #6266
    good(m.flush(["t"]))
    stats = good(m.get_collection_stats("t"))
    assert stats["row_count"] == good(m.count_entities("t")) == 6, stats
    assert {p["tag"]: p["row_count"] for p in stats["partitions"]} == {"_default": 5, "p/1": 1}, stats

    # A deletion takes effect with the flush, in its partition alone where one is named.
    good(m.delete_entity_by_id("t", [7], partition_tag="p/1"))
    assert good(m.count_entities("t")) == 6
    good(m.flush(["t"]))
    assert good(m.count_entities("t")) == 5
    good(m.delete_entity_by_id("t", [7, 100, 101]))
    good(m.flush(["t"]))
    assert good(m.count_entities("t")) == 1
    good(m.drop_partition("t", "p/1"))
    bad(m.drop_partition("t", "p/1"), 1, "not found")

    # Binary vectors: dimensions are bits.
    good(m.create_collection({**c, "collection_name": "bin", "dimension": 16, "metric_type": MetricType.JACCARD}))
    good(m.insert("bin", [b"\x00\x01", b"\xff\x00"], ids=[1, 2]))
    bad(m.insert("bin", [b"\x00"], ids=[1]), 7, "dimension")
    good(m.flush(["bin"]))
    assert good(m.get_entity_by_id("bin", [2, 1])) == [b"\xff\x00", b"\x00\x01"]
    segment = good(m.get_collection_stats("bin"))["partitions"][0]["segments"][0]["name"]
    assert good(m.list_id_in_segment("bin", segment)) == [1, 2]

    good(m.create_index("t", IndexType.IVF_FLAT, {"nlist": 64}))
    index = good(m.get_index_info("t"))
    assert (index.index_type, index.params) == (IndexType.IVF_FLAT, {"nlist": 64}), index
    bad(m.create_index("t", IndexType.HNSW, {"M": 1000, "efConstruction": 100}), 5, "M")
    bad(m.create_index("bin", IndexType.HNSW, {"M": 16, "efConstruction": 100}), 8, "index type")
    good(m.compact("t"))

    # A dropped name is taken for a while.
    good(m.drop_collection("t"))
    assert good(m.has_collection("t")) is False
    bad(m.create_collection(c), 1, "in delete state")
    bad(m.drop_collection("t"), 4, "does not exist")
    return True


def main():
    port, verb = sys.argv[1:]
    m = port != "-" and Milvus("127.0.0.1", port)
    q = {} if verb == "try" else json.load(sys.stdin)
    if verb == "try":
        answer = attempt(m)
    elif verb == "encode":
        request = param(q)
        answer = request.SerializeToString()
        # The bytes are the same each time, also when they are asked to be.
        assert answer == param(q).SerializeToString(deterministic=True)
        answer = answer.hex()
    elif verb == "insert":
        answer = good(m.insert(q["collection"], vectors(q), insert_param=param(q)))
    elif verb == "read":
        answer = {}
        for first in range(0, len(q["ids"]), 1000):
            ids = q["ids"][first:first + 1000]
            found = good(m.get_entity_by_id(q["collection"], ids, partition_tag=q["partition"] or None))
            for i, v in zip(ids, found):
                v = v if isinstance(v, bytes) else struct.pack("<%df" % len(v), *v)
                answer[i] = v.hex() or None
    elif verb == "drop":
        good(m.drop_collection(q["collection"]))
        answer = True
    elif verb == "stats":
        stats, schema = good(m.get_collection_stats(q["collection"])), good(m.get_collection_info(q["collection"]))
        index = good(m.get_index_info(q["collection"]))
        answer = {"rows": good(m.count_entities(q["collection"])),
                  "partitions": {p["tag"]: p["row_count"] for p in stats["partitions"]},
                  "index": [int(index.index_type), index.params],
                  "schema": [schema.dimension, schema.index_file_size, int(schema.metric_type)]}
    print(json.dumps(answer))


main()
