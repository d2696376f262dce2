"""Collections on a running Milvus, to be read while it runs: made, dumped row by row, and written to meanwhile.

    living.py make ADDRESS          collections of many kinds, loaded
    living.py rows ADDRESS NAME N   a plain collection of N rows, loaded
    living.py dump ADDRESS NAME...  what they are and hold, as JSON
    living.py raw ADDRESS NAME...   bytes of their JSON and dynamic fields as the server gives them, by key, as JSON
    living.py write ADDRESS NAME    inserts, upserts and deletes keys that are no multiples of three, until killed
"""
import json
import random
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections, db, utility
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

NASTY = ["", "plain", 'a"b', "it's", "back\\slash", "ends\\", "line\nbreak", "tab\there", "bell\x07\x7f",
         "percent%s{}", "ümläut", "emoji😀", "大", "k" * 60, " ", "~", "a\\b", 'x") or (1 == 1', "\x01", "zz\\\""]


def field(name, kind, **more):
    return FieldSchema(name, kind, **more)


def vector(seed, dim):
    r = random.Random(seed)
    return [struct.unpack("f", struct.pack("f", r.uniform(-1, 1)))[0] for _ in range(dim)]


def ready(c, on="v", **index):
    c.create_index(on, index or {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 8, "efConstruction": 32}})
    c.load()


def plain(name, rows, dim=16, first=0):
    c = Collection(name, CollectionSchema([field("pk", DataType.INT64, is_primary=True),
                                           field("v", DataType.FLOAT_VECTOR, dim=dim)], description="plain rows"),
                   num_shards=2)
    for at in range(first, first + rows, 5000):
        ids = list(range(at, min(at + 5000, first + rows)))
        c.insert([ids, [vector(i, dim) for i in ids]])
    return c


def make_plain():
    c = plain("plain", 6000)
    c.flush()
    c.insert([[-5, -2**63 + 1, 2**63 - 2], [vector(i, 16) for i in range(3)]])
    ready(c)
    c.delete("pk in [7, 8, 9]")


def make_every():
    c = Collection("every", CollectionSchema([
        field("v", DataType.FLOAT_VECTOR, dim=4),
        field("key", DataType.VARCHAR, is_primary=True, max_length=256, description="what it is known by"),
        field("flag", DataType.BOOL), field("i8", DataType.INT8), field("i16", DataType.INT16),
        field("i32", DataType.INT32), field("i64", DataType.INT64), field("f", DataType.FLOAT),
        field("d", DataType.DOUBLE), field("text", DataType.VARCHAR, max_length=300),
        field("json", DataType.JSON),
        field("ints", DataType.ARRAY, element_type=DataType.INT64, max_capacity=20),
        field("words", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=20, max_length=60),
        field("bools", DataType.ARRAY, element_type=DataType.BOOL, max_capacity=20),
        field("doubles", DataType.ARRAY, element_type=DataType.DOUBLE, max_capacity=20),
        field("i8s", DataType.ARRAY, element_type=DataType.INT8, max_capacity=20),
        field("i16s", DataType.ARRAY, element_type=DataType.INT16, max_capacity=20),
        field("i32s", DataType.ARRAY, element_type=DataType.INT32, max_capacity=20),
        field("floats", DataType.ARRAY, element_type=DataType.FLOAT, max_capacity=20),
    ], description="one of each", enable_dynamic_field=True), num_shards=2)

    def row(n, key):
        r = random.Random(n)
        return {"key": key, "v": vector(n, 4), "flag": n % 2 == 0, "i8": n % 256 - 128, "i16": n % 65536 - 32768,
                "i32": -n, "i64": (-1)**n * n * 10**14, "f": [0.5, -0.0, 3.0e38, float("inf")][n % 4],
                "d": [float("nan"), -0.0, 1e308, 5e-324, 0.1][n % 5], "text": "\"x\\" * (n % 50) + "ü",
                "json": [{"a": [1, {"b": None}], "big": 2**60 + n}, {"text": "{\"not\": json}"}, {}][n % 3],
                "ints": [r.randrange(-2**62, 2**62) for _ in range(n % 4)],
                "words": ["", "w\"" * (n % 9)][:n % 3], "bools": [True, False, True][:n % 4],
                "doubles": [0.25 * n] * (n % 3), "i8s": [-128, 127][:n % 3], "i16s": [-32768, n][:n % 3],
                "i32s": [-2**31, n][:n % 3], "floats": [0.5, -0.0, n / 4][:n % 4], "extra": {"n": n}, **({"tag": "x" * (n % 7)} if n % 2 else {})}

    rows = [row(n, key) for n, key in enumerate(NASTY)] + [row(n, f"key-{n:06}") for n in range(100, 3000)]
    c.insert(rows[:2000])
    c.flush()
    c.insert(rows[2000:])
    ready(c)
    c.delete('key in ["key-000200", "key-000201", "key-002900"]')


def make_parts():
    c = Collection("parts", CollectionSchema([field("pk", DataType.INT64, is_primary=True),
                                              field("v", DataType.FLOAT_VECTOR, dim=2),
                                              field("n", DataType.INT32)]))
    for number, name in enumerate(["_default", "p1", "p2", "empty"]):
        if name != "_default":
            c.create_partition(name)
        if name != "empty":
            ids = list(range(number * 50, number * 50 + 100))
            c.insert([ids, [[float(i), float(number)] for i in ids], [number] * 100], partition_name=name)
    ready(c, index_type="IVF_FLAT", metric_type="IP", params={"nlist": 4})


def make_keyed():
    c = Collection("keyed", CollectionSchema([field("pk", DataType.INT64, is_primary=True),
                                              field("v", DataType.FLOAT_VECTOR, dim=2),
                                              field("city", DataType.VARCHAR, max_length=40, is_partition_key=True)]),
                   num_partitions=8)
    ids = list(range(2000))
    c.insert([ids, [[float(i), 1.0] for i in ids], [f"city {i % 37}" for i in ids]])
    ready(c)


def make_bits():
    c = Collection("bits", CollectionSchema([field("pk", DataType.INT64, is_primary=True),
                                             field("v", DataType.BINARY_VECTOR, dim=32)]))
    c.insert([list(range(300)), [struct.pack("<I", i * 2654435761 % 2**32) for i in range(300)]])
    ready(c, index_type="BIN_FLAT", metric_type="HAMMING", params={})


def make_twice():
    # The same key in sealed and growing segments: 330 rows have the key of another.
    c = Collection("twice", CollectionSchema([field("pk", DataType.INT64, is_primary=True),
                                              field("v", DataType.FLOAT_VECTOR, dim=2)]), num_shards=2)
    for _ in range(2):
        ids = list(range(0, 200)) + [1] * 40
        c.insert([ids, [[float(i), 0.0] for i in ids]])
        c.flush()
    ids = list(range(150, 260))
    c.insert([ids, [[float(i), 0.0] for i in ids]])
    ready(c)


def make_traits():
    # What a schema carries beside columns.
    c = Collection("traits", CollectionSchema([
        field("pk", DataType.INT64, is_primary=True, auto_id=True, description="made by the server"),
        field("n", DataType.INT32, description="a number"), field("word", DataType.VARCHAR, max_length=30),
        field("v", DataType.FLOAT_VECTOR, dim=4)], description="of everything something"),
        num_shards=2, consistency_level="Bounded",
        properties={"collection.autocompaction.enabled": "false", "collection.ttl.seconds": "864000"})
    words = ['{"n": 1}', "[1, 2]", "null", "1e3", "true", "word", ""]
    c.insert([[n for n in range(900)], [words[n % 7] for n in range(900)], [vector(n, 4) for n in range(900)]])
    c.create_index("n", index_name="by_n")
    c.create_index("word", {"index_type": "Trie"}, index_name="by_word")
    c.create_index("v", {"index_type": "IVF_FLAT", "metric_type": "COSINE", "params": {"nlist": 16}}, index_name="by_v")
    c.load()
    utility.create_alias("traits", "traits_alias")


def make_wide():
    # The same keys in two partitions, more than one range of each.
    c = Collection("wide", CollectionSchema([field("pk", DataType.INT64, is_primary=True),
                                             field("v", DataType.FLOAT_VECTOR, dim=16)]), num_shards=2)
    for name in ["one", "two"]:
        c.create_partition(name)
        ids = list(range(6000))
        c.insert([ids, [vector(i + (name == "two"), 16) for i in ids]], partition_name=name)
    c.flush()
    ready(c)


def make_last():
    # Keys that servers handle badly, and no rows at all.
    c = Collection("last", CollectionSchema([field("pk", DataType.INT64, is_primary=True),
                                             field("v", DataType.FLOAT_VECTOR, dim=2)]))
    ids = [-2**63, -2**63 + 1, -1, 0, 1, 2**63 - 2, 2**63 - 1]
    c.insert([ids, [[float(n), 0.0] for n in range(len(ids))]])
    ready(c)


def make_empty():
    ready(Collection("empty", CollectionSchema([field("pk", DataType.INT64, is_primary=True),
                                                field("v", DataType.FLOAT_VECTOR, dim=2)])))


def make_long():
    # A row is nearly as long as an answer may be to hold many of them.
    c = Collection("long", CollectionSchema([
        field("pk", DataType.VARCHAR, is_primary=True, max_length=60), field("v", DataType.FLOAT_VECTOR, dim=2),
        *[field(f"t{n}", DataType.VARCHAR, max_length=65535) for n in range(3)]]))
    ids = ["%06d" % n for n in range(300)]
    for at in range(0, 300, 100):
        some = ids[at:at + 100]
        c.insert([some, [[float(n), 0.0] for n in some]] + [[n + "x" * 9000 for n in some]] * 3)
    ready(c)


def make_documents():
    for name, texts in [("verbatim", VERBATIM), ("spoilt", SPOILT)]:
        c = Collection(name, CollectionSchema([field("pk", DataType.INT64, is_primary=True),
                                               field("j", DataType.JSON), field("v", DataType.FLOAT_VECTOR, dim=2)],
                                              enable_dynamic_field=True))
        insert_bytes(name, texts)
        ready(c)


def make_asleep():
    c = Collection("asleep", CollectionSchema([field("pk", DataType.INT64, is_primary=True),
                                               field("v", DataType.FLOAT_VECTOR, dim=2)]))
    c.insert([list(range(50)), [[float(i), 0.0] for i in range(50)]])
    c.flush()
    ready(c)
    c.release()


KINDS = [make_plain, make_every, make_parts, make_keyed, make_bits, make_twice, make_traits, make_wide,
         make_last, make_empty, make_long, make_documents, make_asleep]


def make():
    # Indexing and loading is mostly waiting.
    with ThreadPoolExecutor(8) as pool:
        made = [pool.submit(one) for one in KINDS]
        [one.result() for one in made]

    # Another database, with collections of the same names.
    db.create_database("second")
    db.using_database("second")
    ready(plain("plain", 500, first=100000))
    ready(plain("more", 300, first=5000))
    db.using_database("default")


# Documents as no program would write them: each byte of them travels.
VERBATIM = [b'{"k":1}', b'{ "k" :  1.0e2 }', b'{"big": 123456789012345678901234567890, "f": 0.1000}',
            b'{"b": 1, "a": 2, "a": 3}', '{"t": "\\u00fc \u00fc \\/"}'.encode(), b"{}", b'{"deep": [[[[{"x": null}]]]]}']
# What 2.3.5 takes for JSON and is none; a filter on it fails later.
SPOILT = [b'{"k": 1}', b'{"k": "\xff\xfe"}', b'{"k": 2}']


def stub():
    return connections._fetch_handler("default")._stub


def insert_bytes(name, texts):
    """One row for each document, which is its JSON and, where it may be, its dynamic field."""
    def column(kind, name, **data):
        return schema_pb2.FieldData(type=kind, field_name=name, **data)
    n = len(texts)
    scalars = lambda **data: dict(scalars=schema_pb2.ScalarField(**data))
    json_data = lambda texts: scalars(json_data=schema_pb2.JSONArray(data=texts))
    dynamic = [text if text in VERBATIM else b"{}" for text in texts]
    floats = schema_pb2.FloatArray(data=[0.5] * 2 * n)
    answer = stub().Insert(milvus_pb2.InsertRequest(collection_name=name, num_rows=n, fields_data=[
        column(5, "pk", **scalars(long_data=schema_pb2.LongArray(data=range(n)))),
        column(23, "j", **json_data(texts)),
        column(101, "v", vectors=schema_pb2.VectorField(dim=2, float_vector=floats)),
        column(23, "$meta", is_dynamic=True, **json_data(dynamic))]))
    assert answer.status.error_code == 0, answer.status


def raw(names):
    out = {}
    for name in names:
        answer = stub().Query(milvus_pb2.QueryRequest(collection_name=name, expr="pk >= 0",
                                                      output_fields=["pk", "j", "$meta"]))
        assert answer.status.error_code == 0, answer.status
        fields = {f.field_name: f.scalars for f in answer.fields_data}
        rows = zip(fields["pk"].long_data.data, fields["j"].json_data.data, fields["$meta"].json_data.data)
        out[name] = {str(key): [j.hex(), meta.hex()] for key, j, meta in rows}
    print(json.dumps(out, sort_keys=True))


def plainly(value):
    if isinstance(value, float):
        return "nan" if value != value else value.hex()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {k: plainly(v) for k, v in sorted(value.items())}
    if hasattr(value, "tolist"):
        return plainly(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plainly(v) for v in value]
    return value


def about(c):
    told = c.describe()
    keys = ["num_shards", "consistency_level", "properties", "num_partitions", "enable_dynamic_field"]
    return {key: told.get(key) for key in keys}


def dump(names):
    out = {}
    for full in names:
        # Of another database: `second.plain`.
        where, _, name = full.rpartition(".")
        if where:
            db.using_database(where)
        if not utility.has_collection(name):
            out[full] = None
            continue
        c = Collection(name)
        if utility.load_state(name).name != "Loaded":
            if not c.indexes:
                vectors = [f for f in c.schema.fields if f.dtype in (DataType.FLOAT_VECTOR, DataType.BINARY_VECTOR)]
                binary = vectors[0].dtype == DataType.BINARY_VECTOR
                kind = {"index_type": "BIN_FLAT", "metric_type": "HAMMING", "params": {}} if binary else \
                       {"index_type": "FLAT", "metric_type": "L2", "params": {}}
                c.create_index(vectors[0].name, kind)
            c.load()
        key = c.primary_field
        any_key = f'{key.name} >= ""' if key.dtype == DataType.VARCHAR else f"{key.name} <= {2**63 - 1}"
        fields = [f.name for f in c.schema.fields] + (["$meta"] if c.schema.enable_dynamic_field else [])
        has_key = any(f.is_partition_key for f in c.schema.fields)
        rows = {}
        for p in [None] if has_key else c.partitions:
            got = c.query(any_key, output_fields=fields, partition_names=p and [p.name],
                          consistency_level="Strong")
            got = {str(r[key.name]): plainly(dict(r)) for r in got}
            rows["*" if p is None else p.name] = got
        count = c.query("", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]
        out[full] = {"rows": rows, "count": count, "schema": plainly(c.schema.to_dict()),
                     "partitions": [] if has_key else sorted(p.name for p in c.partitions),
                     "indexes": sorted([i.field_name, i.index_name, i.params] for i in c.indexes),
                     "aliases": list(c.aliases), "about": about(c)}
        if where:
            db.using_database("default")
    print(json.dumps(out, sort_keys=True))


def write(name):
    r = random.Random(7)
    print("writing", flush=True)
    while True:
        ids = [i for i in (r.randrange(60000) for _ in range(60)) if i % 3]
        ids = sorted(set(ids))
        what = r.randrange(3)
        try:
            c = Collection(name)
            if what == 0:
                c.upsert([ids, [vector(i, 16) for i in ids]])
            elif what == 1:
                fresh = [200001 + i * 3 + 1 for i in ids]
                c.upsert([fresh, [vector(i, 16) for i in ids]])
            else:
                c.delete(f"pk in {ids}")
        except Exception:
            # The server is killed now and then.
            time.sleep(0.2)
        time.sleep(0.01)


verb, address = sys.argv[1:3]
host, port = address.rsplit(":", 1)
connections.connect(host=host, port=port)
if verb == "make":
    make()
elif verb == "rows":
    c = plain(sys.argv[3], int(sys.argv[4]))
    c.flush()
    ready(c)
elif verb == "dump":
    dump(sys.argv[3:])
elif verb == "raw":
    raw(sys.argv[3:])
else:
    write(sys.argv[3])
