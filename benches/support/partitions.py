"""Run by benches/partitions: WORK PORT PROGRAM PARTITIONS ROWS DIM."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, Prepare, connections
from pymilvus.grpc_gen import milvus_pb2

# Seconds that anything here may take: beyond, something is wrong, and no figure comes of it.
MOST = 1800

work, port, program, *numbers = sys.argv[1:]
partitions, rows, dim = map(int, numbers)
each = rows // partitions
here = os.path.dirname(os.path.abspath(__file__))
make = os.path.join(here, "..", "..", "tests", "support", "make_milvus1x.py")


def ours(name, count):
    """Seconds of a whole run, and of its phases, with the rows in so many partitions."""
    rows_each = rows // count
    tags = {f"t{i}": [i * rows_each, (i + 1) * rows_each] for i in range(count)}
    spec = [{"collection": name, "dimension": dim, "metric": 1, "partitions": tags}]
    out = os.path.join(work, name)
    subprocess.run([sys.executable, make, out, json.dumps(spec)], check=True, timeout=MOST)
    job = os.path.join(work, name + ".yaml")
    with open(job, "w") as file:
        file.write(f"source: {{milvus1: {{path: {out}/milvus}}}}\nsink: {{milvus: {{address: '127.0.0.1:{port}'}}}}\n")
    report = os.path.join(work, name + ".json")
    began = time.time()
    state = dict(os.environ, XDG_STATE_HOME=os.path.join(work, "state"))
    subprocess.run([program, "run", job, "--progress", "none", "--report", report], check=True, env=state,
                   stdout=subprocess.DEVNULL, timeout=MOST)
    took = time.time() - began
    with open(report) as file:
        said = json.load(file)
    # Some of the rows of such a directory are marked deleted.
    arrived, expected = (sum(target[key] for target in said["targets"]) for key in ("delivered", "rows_read"))
    assert arrived == expected > rows / 2, f"{arrived} of {expected} rows arrived"
    phases = said["phases"]
    print(f"ours, {count} partitions: {took:.1f} s", {k: round(v, 1) for k, v in phases.items()}, flush=True)
    return took


def bare():
    """Seconds in which a client makes the partitions, fills each by one request that was made before, and flushes."""
    connections.connect(host="127.0.0.1", port=port)
    stub = connections._fetch_handler("default")._stub
    key = FieldSchema("id", DataType.INT64, is_primary=True)
    vector = FieldSchema("embedding", DataType.FLOAT_VECTOR, dim=dim)
    collection = Collection("bare", CollectionSchema([key, vector]), shards_num=1)
    fields = collection.schema.to_dict()["fields"]
    vectors = np.random.default_rng(7).standard_normal((each, dim), dtype=np.float32)

    def request(i):
        ids = list(range(i * each, (i + 1) * each))
        entities = [{"name": "id", "type": DataType.INT64, "values": ids},
                    {"name": "embedding", "type": DataType.FLOAT_VECTOR, "values": list(vectors)}]
        return Prepare.batch_insert_param("bare", entities, f"t{i}", fields)

    requests = [request(i) for i in range(partitions)]
    took = []

    def timed(deed, pieces):
        began = time.time()
        with ThreadPoolExecutor(4) as pool:
            for answer in pool.map(deed, pieces, timeout=MOST):
                status = getattr(answer, "status", answer)
                assert status.error_code == 0, status
        took.append(time.time() - began)

    name = "bare"
    timed(lambda i: stub.CreatePartition(milvus_pb2.CreatePartitionRequest(collection_name=name, partition_name=f"t{i}")),
          range(partitions))
    timed(stub.Insert, requests)
    began = time.time()
    flush = stub.Flush(milvus_pb2.FlushRequest(collection_names=[name]))
    ask = milvus_pb2.GetFlushStateRequest(segmentIDs=list(flush.coll_segIDs[name].data),
                                          flush_ts=flush.coll_flush_ts[name], collection_name=name)
    while not stub.GetFlushState(ask).flushed:
        assert time.time() - began < MOST, "the server does not get on with its flush"
        time.sleep(0.2)
    took.append(time.time() - began)
    print("bare client: makes {:.1f} s, fills {:.1f} s, flushes {:.1f} s".format(*took), flush=True)
    collection.drop()
    return took


one = ours("one", 1)
many = ours("many", partitions)
made, filled, flushed = bare()
print(f"many less what the bare client needs to make them: {(many - made) / one:.2f} times one partition, wanted: 3")
print(f"less what it needs to fill and flush them, too: {(many - made - filled - flushed) / one:.2f} times")
sys.exit((many - made) / one > 3)
