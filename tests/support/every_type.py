"""Rows of every type that a server has: written as Parquet, and looked for with pymilvus.

    every_type.py make ENGINE DIR                   with pyarrow: for each collection NAME.parquet, and what a job says of it;
                                                    prints JSON: {NAME: {"fields": …, "types": …}}
    every_type.py make lacks DIR                    a file and a job for each type, and more, that some server lacks
    every_type.py read ENGINE ADDRESS COLLECTION NAME    with pymilvus: compares all rows with those that were made
    every_type.py defaults ENGINE ADDRESS COLLECTION     makes a collection of fields with defaults
    every_type.py there ADDRESS COLLECTION…         which of these collections there are
"""
import json
import struct
import sys

DIM = 8
ENGINES = {"standalone", "python", "cpp"}


def keys(engine):
    """Keys that break what quotes them badly; one is empty, one as long as may be."""
    all_ = ["", "plain", 'a"b', "it's", "back\\slash", "ends\\", "line\nbreak", "tab\there", "bell\x07\x7f", "nul\0in",
            "percent%s{}", "ümläut", "emoji😀", "大", "k" * 65535]
    # Milvus Lite 2.5.1 cannot be asked for keys with a line break or NUL.
    return [k for k in all_ if engine != "cpp" or not set(k) & set("\n\0")]


def cycle(engine, values):
    return [values[i % len(values)] for i in range(len(keys(engine)))]


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def scalars(engine):
    """Name: type in Milvus, type in Arrow, values; every type of scalar, text, JSON and array."""
    words = cycle(engine, ["", 'a"\\\n', "ü😀", "\0nul"])
    long = [*words]
    long[1] = "x" * 65535
    # As many bytes of characters that have two.
    long[2] = "ü" * 32767 + "x"
    floats = [single(x) for x in [0.5, -0.0, 3.4028234663852886e38, 2.9e-39]]
    ints = lambda bits: [-(1 << bits - 1), -1, (1 << bits - 1) - 1]
    json_ = ['{"k": [1, null, "ü"]}', '{"big": 12345678901234567890}', "{}", '{"a": {"b": {"c": [[]]}}}']
    columns = {
        "c_bool": ("bool", "bool_", [True, False]),
        "c_float": ("float", "float32", floats),
        "c_double": ("double", "float64", [0.1, -0.0, sys.float_info.max, 5e-324]),
        "c_text": ("varchar", "string", long),
        "c_json": ("json", "string", json_),
    }
    columns |= {f"c_int{bits}": (f"int{bits}", f"int{bits}", ints(bits)) for bits in (8, 16, 32, 64)}
    columns = {name: (kind, arrow, cycle(engine, values)) for name, (kind, arrow, values) in columns.items()}
    each = {"bool": ("bool_", [True, False]), "float": ("float32", floats), "double": ("float64", [0.1, -0.0, 5e-324]),
            "varchar": ("string", words), **{f"int{b}": (f"int{b}", ints(b)) for b in (8, 16, 32, 64)}}
    for kind, (arrow, values) in each.items():
        # An empty one, one as long as may be, one between.
        lists = [[], cycle(engine, values)[:8], values[:1]]
        columns["a_" + kind] = (f"array<{kind}>", arrow, cycle(engine, lists))
    return columns


def floats(engine):
    return [[single((row * DIM + c) / 3 - 9) for c in range(DIM)] for row in range(len(keys(engine)))]


def vectors(engine):
    """Collections: name: {column: (type, values as bytes or pairs)}."""
    count = len(keys(engine))
    raw = lambda width: [bytes((row * 7 + c * 3) & 0x3F for c in range(width)) for row in range(count)]
    float_ = ("float_vector", [struct.pack(f"<{DIM}f", *v) for v in floats(engine)])
    binary = ("binary_vector", raw(DIM // 8))
    first = [(1, 0.5)] if engine == "python" else []
    sparse = ("sparse_float_vector", cycle(engine, [first, [(3, 1.5), (70000, 2.0)], [(2**32 - 2, 0.25)]]))
    return {
        "standalone": {"floats": {"v": float_}, "bits": {"v": binary}},
        "python": {"all": {"v": float_, "v_sparse": sparse}},
        "cpp": {"all": {"v": float_, "v_half": ("float16_vector", raw(2 * DIM)), "v_brain": ("bfloat16_vector", raw(2 * DIM)),
                        "v_sparse": sparse},
                "bits": {"v": binary}},
    }[engine]


def others(engine):
    """Types that only one of the servers has."""
    if engine != "python":
        return {}
    moments = [0, -1, 1_709_164_800_123_456, 253_402_300_799_999_999, -62_135_596_800_000_000]
    shapes = ["POINT (30 10)", "POINT(1.5 -2.25)", "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0))"]
    return {"c_moment": ("timestamptz", "moment", cycle(engine, moments)), "c_shape": ("geometry", "string", cycle(engine, shapes))}


def plain_columns(engine):
    columns = scalars(engine) | others(engine)
    if engine == "python":
        # It has NULL: every other value of each column is none.
        columns = {name: (kind, arrow, [None if row % 2 else v for row, v in enumerate(values)])
                   for name, (kind, arrow, values) in columns.items()}
    return columns


def dynamic(engine):
    """Columns that go to the dynamic field; where there is no value, there is no key."""
    return {"extra": cycle(engine, [1, None, -5]), "wörd": cycle(engine, ['"quoted"', "", "ü"])}


def make(engine, directory):
    import pyarrow as pa
    import pyarrow.parquet as pq

    def arrow(kind, name, values):
        if name == "moment":
            return pa.array(values, pa.timestamp("us", tz="UTC"))
        scalar = getattr(pa, name)()
        return pa.array(values, pa.list_(scalar) if kind.startswith("array") else scalar)

    jobs = {}
    for collection, of in vectors(engine).items():
        table = {"pk": pa.array(keys(engine))}
        types, fields = {}, {}
        for name, (kind, values) in of.items():
            index = {"binary_vector": "BIN_FLAT", "sparse_float_vector": "SPARSE_INVERTED_INDEX"}.get(kind, "FLAT")
            metric = {"binary_vector": "HAMMING", "sparse_float_vector": "IP"}.get(kind, "L2")
            fields[name] = {"metric": metric, "index": {"type": index}}
            types[name] = kind
            if kind == "sparse_float_vector":
                pairs = pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])
                table[name] = pa.array([{"indices": [i for i, _ in v], "values": [x for _, x in v]} for v in values], pairs)
            elif kind == "float_vector":
                table[name] = pa.array(floats(engine), pa.list_(pa.float32()))
            else:
                table[name] = pa.array([list(v) for v in values], pa.list_(pa.uint8()))
        for name, (kind, arrow_type, values) in plain_columns(engine).items():
            table[name] = arrow(kind, arrow_type, values)
            fields[name] = {"type": kind}
            if "varchar" in kind:
                fields[name]["max_length"] = 65535
            if "array" in kind:
                fields[name]["max_capacity"] = 8
            if kind in ("json", "geometry"):
                types[name] = kind
        for name, values in dynamic(engine).items():
            table[name] = pa.array(values)
        pq.write_table(pa.table(table), f"{directory}/{collection}.parquet", row_group_size=4)
        jobs[collection] = {"types": types, "columns": fields}
    print(json.dumps(jobs))


def lacks(directory):
    import pyarrow as pa
    import pyarrow.parquet as pq

    vector = pa.array([[0.5] * DIM], pa.list_(pa.float32()))
    bytes_ = lambda width: pa.array([[1] * width], pa.list_(pa.uint8()))
    pairs = pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])
    sparse = pa.array([{"indices": [1], "values": [0.5]}], pairs)
    structs = pa.array([[{"a": 1}]], pa.list_(pa.struct([("a", pa.int32())])))
    files = {
        "sparse": ({"v": sparse}, {}),
        "half": ({"v": bytes_(2 * DIM)}, {"v": "float16_vector"}),
        "brain": ({"v": bytes_(2 * DIM)}, {"v": "bfloat16_vector"}),
        "int8": ({"v": bytes_(DIM)}, {"v": "int8_vector"}),
        "bits": ({"v": bytes_(DIM // 8)}, {"v": "binary_vector"}),
        "two": ({"v": vector, "w": vector}, {}),
        "none": ({"c": pa.array([1])}, {}),
        "moment": ({"v": vector, "c": pa.array([0], pa.timestamp("us", tz="UTC"))}, {}),
        "shape": ({"v": vector, "c": pa.array(["POINT (1 2)"])}, {"c": "geometry"}),
        "structs": ({"v": vector, "c": structs}, {}),
    }
    for name, (columns, types) in files.items():
        pq.write_table(pa.table({"id": pa.array([1]), **columns}), f"{directory}/{name}.parquet")
    print(json.dumps({name: types for name, (_, types) in files.items()}))


def plain(kind, value):
    """A value as pymilvus gives it, as it can be compared."""
    if value is None:
        return None
    if kind == "sparse_float_vector":
        pairs = value.items() if isinstance(value, dict) else value
        return sorted((int(i), float(x)) for i, x in pairs)
    if kind.endswith("_vector"):
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], bytes):
            value = value[0]
        if isinstance(value, (bytes, bytearray)):
            return bytes(value).hex()
        if hasattr(value, "tobytes"):
            return value.tobytes().hex()
        return struct.pack(f"<{len(value)}f", *value).hex()
    if kind.startswith("array"):
        return [plain(kind[6:-1], v) for v in value]
    if kind in ("float", "double"):
        return struct.pack("<d", value).hex()
    if kind == "json":
        return json.loads(value) if isinstance(value, (str, bytes)) else value
    if kind == "timestamptz" and isinstance(value, str):
        import datetime

        moment = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return (since.days * 86400 + since.seconds) * 10**6 + since.microseconds
    return value


def read(engine, address, collection, name):
    from pymilvus import MilvusClient

    client = MilvusClient(uri="http://" + address)
    of = {column: (kind, values) for column, (kind, _, values) in plain_columns(engine).items()} | vectors(engine)[name]
    found = client.query(collection, 'pk != "no such key"', output_fields=["*", *of], limit=1000)
    rows = {row["pk"]: row for row in found}
    assert len(found) == len(rows) == len(keys(engine)), (len(found), len(rows))
    compared = 0
    for number, key in enumerate(keys(engine)):
        row = rows[key]
        for column, (kind, values) in of.items():
            value, sent = plain(kind, row.get(column)), plain(kind, values[number])
            assert value == sent, f"{column} of {key[:20]!r}: {str(value)[:200]} is not {str(sent)[:200]}"
            compared += 1
        for column, values in dynamic(engine).items():
            assert row.get(column) == values[number], f"{column} of {key[:20]!r}: {row.get(column)!r} is not {values[number]!r}"
            compared += 1
    print(compared)


DEFAULTS = {1: ("bool_data", True), 2: ("int_data", -128), 5: ("long_data", 7), 10: ("float_data", 0.5), 11: ("double_data", 0.1),
            21: ("string_data", "x")}


def defaults(engine, address, collection):
    import grpc
    from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2 as s

    stub = milvus_pb2_grpc.MilvusServiceStub(grpc.insecure_channel(address))
    pair = lambda key, value: [common_pb2.KeyValuePair(key=key, value=value)]
    fields = [s.FieldSchema(name="pk", data_type=21, is_primary_key=True, type_params=pair("max_length", "65535")),
              s.FieldSchema(name="v", data_type=101, type_params=pair("dim", str(DIM)))]
    for kind, (member, value) in DEFAULTS.items():
        fields.append(s.FieldSchema(name=f"d_{kind}", data_type=kind, default_value=s.ValueField(**{member: value}),
                                    type_params=pair("max_length", "9") if kind == 21 else []))
    schema = s.CollectionSchema(name=collection, fields=fields).SerializeToString()
    answer = stub.CreateCollection(milvus_pb2.CreateCollectionRequest(collection_name=collection, schema=schema))
    assert answer.code == 0 and answer.error_code == 0, answer


def read_defaults(address, collection):
    from pymilvus import MilvusClient

    names = {f"d_{kind}": value for kind, (_, value) in DEFAULTS.items()}
    found = MilvusClient(uri="http://" + address).query(collection, 'pk != "no such key"', output_fields=["pk", *names], limit=1000)
    assert found
    for row in found:
        assert all(row[name] == value for name, value in names.items()), row
    print(len(found))


def there(address, *names):
    from pymilvus import MilvusClient

    have = MilvusClient(uri="http://" + address).list_collections()
    print(json.dumps([name for name in names if name in have]))


verb, *rest = sys.argv[1:]
if verb == "make":
    lacks(rest[1]) if rest[0] == "lacks" else make(*rest)
else:
    {"read": read, "defaults": defaults, "read_defaults": read_defaults, "there": there}[verb](*rest)
