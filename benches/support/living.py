"""A running Milvus as a source, beside others; see benches/living.

    living.py WORK FROM_PORT TO_PORT MILVUSDM READER ROUNDS ROWS LARGE
"""
import json, os, statistics, subprocess, sys, threading, time

import grpc
import numpy as np
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections, utility
from pymilvus.grpc_gen import milvus_pb2

work, source, target, milvusdm, reader = sys.argv[1:6]
rounds, rows, large = map(int, sys.argv[6:9])
DIM, FIELDS = 128, ["id", "v", "n", "price", "title", "meta"]
os.chdir(work)
connections.connect("from", uri=f"http://127.0.0.1:{source}")
connections.connect("to", uri=f"http://127.0.0.1:{target}")


def schema():
    return CollectionSchema([
        FieldSchema("id", DataType.INT64, is_primary=True), FieldSchema("v", DataType.FLOAT_VECTOR, dim=DIM),
        FieldSchema("n", DataType.INT64), FieldSchema("price", DataType.DOUBLE),
        FieldSchema("title", DataType.VARCHAR, max_length=64), FieldSchema("meta", DataType.JSON)])


def make(name, count):
    collection = Collection(name, schema(), using="from", consistency_level="Strong")
    random = np.random.default_rng(7)
    for at in range(0, count, 10000):
        ids = np.arange(at, min(at + 10000, count))
        vectors = random.standard_normal((len(ids), DIM), dtype=np.float32)
        collection.insert([ids.tolist(), list(vectors), (ids * 7).tolist(), (ids / 4).tolist(),
                           [f"title of row {i:09}" for i in ids], [{"a": int(i), "tag": "x"} for i in ids]])
    collection.flush()
    collection.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    collection.load()
    return collection


def program(*command):
    """A whole run: wall, CPU, peak memory in MiB, and what it said."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=open("said", "wb"), stderr=subprocess.STDOUT)
    peak = 0
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        for line in open(f"/proc/{process.pid}/status"):
            if line.startswith("VmHWM:"):
                peak = max(peak, int(line.split()[1]))
        time.sleep(0.02)
    _, status, usage = os.wait4(process.pid, 0)
    wall, said = time.monotonic() - start, open("said").read()
    assert status == 0, f"{command} ended with {status}: {said[-2000:]}"
    return dict(wall=wall, cpu=usage.ru_utime + usage.ru_stime, mib=peak / 1024, said=said)


def ours(name):
    with open("read.yaml", "w") as job:
        job.write(f"source: {{milvus: {{address: '127.0.0.1:{source}', collections: [{name}]}}}}\nsink: {{parquet: {{dir: none}}}}\n")
    cost = program(reader, "read.yaml")
    return dict(cost, **json.loads(cost["said"].splitlines()[-1]))


def thrown_away(name, count, page):
    """Ranges of keys that were divided before the clock started, on two connections, replies not parsed."""
    level = dict(consistency_level=3, use_default_consistency=False)
    ends = list(range(0, count, page)) + [count]
    requests = [milvus_pb2.QueryRequest(collection_name=name, expr=f"id > {a - 1} && id <= {b - 1}", output_fields=FIELDS,
                                        **level).SerializeToString() for a, b in zip(ends, ends[1:])]
    got, lock = [], threading.Lock()

    def lane():
        channel = grpc.insecure_channel(f"127.0.0.1:{source}", options=[("grpc.max_receive_message_length", -1),
                                                                        ("grpc.use_local_subchannel_pool", 1)])
        call = channel.unary_unary("/milvus.proto.milvus.MilvusService/Query", request_serializer=None,
                                   response_deserializer=None)
        while True:
            with lock:
                if not requests:
                    return
                request = requests.pop(0)
            got.append(len(call(request)))

    start, cpu = time.monotonic(), time.process_time()
    lanes = [threading.Thread(target=lane) for _ in range(2)]
    [lane.start() for lane in lanes], [lane.join() for lane in lanes]
    return dict(wall=time.monotonic() - start, cpu=time.process_time() - cpu, bytes=sum(got))


def clear():
    for name in utility.list_collections(using="to"):
        utility.drop_collection(name, using="to")
    for name in os.listdir("."):
        if name.endswith(".ckpt"):
            os.remove(name)
    time.sleep(1)


def copied(name, page="auto"):
    clear()
    open("job.yaml", "w").write(f"""source: {{milvus: {{address: "127.0.0.1:{source}", collections: [{name}], page: {page}}}}}
sink: {{milvus: {{address: "127.0.0.1:{target}"}}}}
""")
    return program(milvusdm, "run", "job.yaml", "--progress", "none")


PYMILVUS = """
import sys
from pymilvus import Collection, connections
source, target, name, page = sys.argv[1:]
connections.connect("from", uri="http://127.0.0.1:" + source)
connections.connect("to", uri="http://127.0.0.1:" + target)
old = Collection(name, using="from")
new = Collection(name, old.schema, using="to")
fields = [f.name for f in old.schema.fields]
pages = old.query_iterator(batch_size=int(page), output_fields=fields, expr="id >= 0")
while page := pages.next():
    new.insert([[row[f] for row in page] for f in fields])
new.flush()
"""


def by_pymilvus(name, page):
    clear()
    return program(sys.executable, "-c", PYMILVUS, source, target, name, str(page))


middle = statistics.median
collection = make("bench", rows)
size = rows * (4 * DIM + 8 + 8 + 8 + 22 + 25)
print(f"{rows} rows x {DIM} and 4 scalars, {size / 1e6:.0f} MB", flush=True)
ours("bench"), thrown_away("bench", rows, 4000)  # Warm.
read, raw = [], {1000: [], 4000: [], 7000: []}
for _ in range(rounds):
    read.append(ours("bench"))
    for page in raw:
        raw[page].append(thrown_away("bench", rows, page))
assert all(cost["rows"] == rows for cost in read), read
for page, costs in raw.items():
    ratios = sorted(b["wall"] / a["wall"] for a, b in zip(read, costs))
    print(f"    replies of {page} rows thrown away: {middle(c['wall'] for c in costs):.2f} s, CPU "
          f"{middle(c['cpu'] for c in costs):.2f}; its wall / ours: {middle(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
best = [min(costs, key=lambda c: c["wall"])["wall"] for costs in zip(*raw.values())]
ratios = sorted(b / a["wall"] for a, b in zip(read, best))
print(f"    ours: {middle(c['wall'] for c in read):.2f} s, of it {middle(c['divided'] for c in read):.2f} until divided, CPU "
      f"{middle(c['cpu'] for c in read):.2f}\n"
      f"  reading / the fastest of these a round: {middle(ratios):.2f} (wanted 0.8)", flush=True)

whole = [copied("bench") for _ in range(max(1, rounds // 2))]
peer = {page: by_pymilvus("bench", page) for page in (1000, 4000)}
wall, cpu = middle(c["wall"] for c in whole), middle(c["cpu"] for c in whole)
print(f"  whole copy: {wall:.2f} s, CPU {cpu:.2f} s: {cpu / size * 1e8:.2f} s per 100 MB (wanted 0.4), "
      f"{max(c['mib'] for c in whole):.0f} MiB")
for page, cost in peer.items():
    print(f"    pymilvus, pages of {page}: {cost['wall']:.2f} s, CPU {cost['cpu']:.2f}, {cost['mib']:.0f} MiB: "
          f"{cost['wall'] / wall:.1f} times (wanted 4)", flush=True)

for page in (100, "auto", 16384):
    cost = copied("bench", page)
    print(f"  memory at page {page}: {cost['mib']:.0f} MiB (wanted 200), {cost['wall']:.2f} s", flush=True)

clear()
if large:
    each = {}
    for count in (large // 10, large):
        make(f"rows_{count}", count)
        ours(f"rows_{count}")
        each[count] = middle(ours(f"rows_{count}")["wall"] for _ in range(max(1, rounds // 2))) / count
        utility.drop_collection(f"rows_{count}", using="from")
        print(f"  {count} rows: {each[count] * 1e6:.2f} µs a row")
    print(f"  a row of {large} costs {each[large] / each[large // 10]:.2f} times one of {large // 10} (flat: 1)", flush=True)
